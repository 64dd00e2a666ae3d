"""Crawls the console's own links, a few pages of each kind."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from playwright.sync_api import Error as PlaywrightError
from support.browser_visitor import Visitor

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=/)\d+(?=/|$)|(?<==)[^&]+")
_LINKS = "[...document.querySelectorAll('a[href]')].map(link => link.href)"


def kind_of(path: str) -> str:
    """The path without ids and query values: pages that differ only in these are of one kind."""
    return _ID.sub("*", path)


def crawl(visitor: Visitor, start: str, limit: Callable[[str], int]) -> Iterator[str]:
    """Yield the path of each page while it is open; visit at most ``limit(kind)`` pages of a kind."""
    waiting, known, visited = deque([start]), {start}, Counter[str]()
    while waiting:
        path = waiting.popleft()
        kind = kind_of(path)
        if visited[kind] >= limit(kind):
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
            target = urlsplit(link)
            if f"{target.scheme}://{target.netloc}" != visitor.base_url or not target.path.startswith("/console/"):
                continue
            onward = target.path + (f"?{target.query}" if target.query else "")
            # Files are fetched from WhatsApp; those of hostile messages do not exist.
            if onward not in known and not target.path.endswith("/file"):
                known.add(onward)
                waiting.append(onward)


def check_download(visitor: Visitor, path: str) -> None:
    """A file from a contact is saved and never shown: no browser may guess that it is a page."""
    answer = visitor.context.request.get(visitor.base_url + path)
    assert answer.headers["content-disposition"].startswith("attachment"), path
    assert answer.headers["x-content-type-options"] == "nosniff", path
    assert "default-src 'none'" in answer.headers["content-security-policy"], path
