"""Follows the console's own links to every page there is, a few of each kind."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from playwright.sync_api import Error as PlaywrightError
from support.visiting import Visitor

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=/)\d+(?=/|$)|(?<==)[^&]+")
_LINKS = "[...document.querySelectorAll('a[href]')].map(link => link.href)"


def kind_of(path: str) -> str:
    """Pages that differ in an id alone, or in what is asked of a list, are of one kind."""
    return _ID.sub("*", path)


def crawl(visitor: Visitor, start: str, most: Callable[[str], int]) -> Iterator[str]:
    """The path of each page, which is open while it is yielded. ``most``: how many of a kind are visited."""
    waiting, known, visited = deque([start]), {start}, Counter[str]()
    while waiting:
        path = waiting.popleft()
        kind = kind_of(path)
        if visited[kind] >= most(kind):
            continue
        visited[kind] += 1
        try:
            visitor.go(path)
        except PlaywrightError as error:
            if "Download is starting" not in str(error):
                raise
            check_download(visitor, path)
            continue
        yield path
        for link in visitor.page.evaluate(_LINKS):
            found = urlsplit(link)
            if f"{found.scheme}://{found.netloc}" != visitor.base_url or not found.path.startswith("/console/"):
                continue
            onward = found.path + (f"?{found.query}" if found.query else "")
            # Files are fetched from WhatsApp, and those that strangers name are not there.
            if onward not in known and not found.path.endswith("/file"):
                known.add(onward)
                waiting.append(onward)


def check_download(visitor: Visitor, path: str) -> None:
    """A file of a stranger is saved, never shown: no browser may guess that it is a page."""
    answer = visitor.context.request.get(visitor.base_url + path)
    assert answer.headers["content-disposition"].startswith("attachment"), path
    assert answer.headers["x-content-type-options"] == "nosniff", path
    assert "default-src 'none'" in answer.headers["content-security-policy"], path
