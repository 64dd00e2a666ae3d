"""Calls with the standard library alone, so that a test brings along nothing that its project does not have."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Past any proxy: everything is on this machine."""
TIMEOUT = 30.0


class SandboxError(Exception):
    """Zapline or its phones refuse, or something did not come about in time; the text says what.

    ``status``: of the answer that refuses.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


def call(method: str, url: str, body: object = None, token: str | None = None) -> Any:
    """The JSON of an answer. Raises SandboxError for any other answer than 2xx."""
    content = json.dumps(body).encode() if body is not None else None
    headers = {"content-type": "application/json"} if content is not None else {}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310 - http, as the sandbox says
    try:
        with _OPENER.open(request, timeout=TIMEOUT) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        said = error.read()[:500].decode(errors="replace")
        raise SandboxError(f"{method} {url}: {error.code} {said}", error.code) from None
    return json.loads(text) if text else None


def until(found: Callable[[], T | None], what: str, seconds: float) -> T:
    """Poll until there is something, and return it. Raises SandboxError naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        result = found()
        if result:
            return result
        if time.monotonic() > deadline:
            raise SandboxError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
