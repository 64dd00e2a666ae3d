"""A real Chromium that visits the console and notes every trouble: scripts that ran, reports of the CSP, errors."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, Route, sync_playwright
from support.running_system import wait_until

T = TypeVar("T")

NONE_HERE = "no Chromium: apt-get install chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
_LISTENING = """
document.addEventListener("securitypolicyviolation", event => zaplineTrouble(
    `CSP ${event.effectiveDirective} refused ${event.blockedURI} ${event.sample} (line ${event.lineNumber})`));
window.zaplineRan = what => zaplineTrouble(`a script ran: ${what}`);
"""
"""Runs before each page's own scripts. ``zaplineRan`` is what hostile texts call."""
SECONDS = 10.0
"""For whatever a page is waited for."""
LIVE_SECONDS = 2.0
"""In which a page shows by itself what has happened."""


def find_chromium(environment: Mapping[str, str], which: Callable[[str], str | None] = shutil.which) -> str:
    """The browser's program. Where there is none the test is skipped, in continuous integration it fails."""
    found = environment.get("ZAPLINE_CHROMIUM") or next(filter(None, map(which, _NAMES)), None)
    if found is not None:
        return found
    if environment.get("CI") == "true":
        pytest.fail(NONE_HERE, pytrace=False)
    pytest.skip(NONE_HERE)


class Stage:
    """A thread that owns the browser: playwright's loop must not meet trio's in one thread."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stage")
        self._thread.start()

    def run(self, work: Callable[[], T]) -> T:
        """Do it on the stage; what it returns or raises."""
        future: Future[T] = Future()
        self._asked.put((work, future))
        return future.result()

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            work, future = asked
            try:
                future.set_result(work())
            except BaseException as error:  # skips and failures of pytest are none of Exception
                future.set_exception(error)


@contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    """To be entered and used on a stage."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """Somebody at a browser of their own: cookies, one page, and every trouble that was seen."""

    context: BrowserContext
    base_url: str
    page: Page = field(init=False)
    troubles: list[str] = field(default_factory=list)
    _forgiven: list[re.Pattern[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(SECONDS * 1000)
        self.context.expose_binding("zaplineTrouble", lambda source, what: self._note(f"{source['page'].url}: {what}"))
        self.context.add_init_script(_LISTENING)
        self.context.route(re.compile(f"^(?!{re.escape(self.base_url)}/|data:|blob:)"), self._stray)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._note(f"{self.page.url}: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("requestfailed", self._failed)

    def go(self, path: str) -> Page:
        """Open a page of the console; it must be there."""
        answer = self.page.goto(self.base_url + path)
        assert answer is not None
        assert answer.status < 400, f"{path}: {answer.status}"
        return self.page

    def sign_in(self, email: str, password: str) -> None:
        """By the form, as somebody who came to the console's front door."""
        self.go("/console/")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    @contextmanager
    def forgiving(self, pattern: str) -> Iterator[None]:
        """Within the block, trouble that looks so is expected."""
        self._forgiven.append(re.compile(pattern))
        try:
            yield
            self.page.wait_for_timeout(50)  # what happened is told a little later
        finally:
            self._forgiven.pop()

    def remember(self) -> None:
        """Mark the document that is open, so that a reload would be noticed."""
        self.page.evaluate("window.stillTheSame = true")

    def assert_not_reloaded(self) -> None:
        assert self.page.evaluate("window.stillTheSame") is True

    def until(self, expression: str, seconds: float = SECONDS) -> None:
        """Wait until this is so in the page; playwright's own way of asking is refused by the pages' CSP."""
        wait_until(lambda: self.page.evaluate(expression), seconds, expression)

    def judge(self) -> None:
        """Fail if there was any trouble."""
        self.page.wait_for_timeout(50)
        assert not self.troubles, "\n".join(self.troubles)

    def _note(self, what: str) -> None:
        if not any(pattern.search(what) for pattern in self._forgiven):
            self.troubles.append(what)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._note(f"{self.page.url}: console {message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self._note(f"{self.page.url}: a {dialog.type} says {dialog.message!r}")
        dialog.dismiss()

    def _failed(self, request: Request) -> None:
        # Live events and pages that are left end so.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"{self.page.url}: {request.method} {request.url} failed: {request.failure}")

    def _stray(self, route: Route) -> None:
        self._note(f"{self.page.url}: asks another host: {route.request.url[:200]}")
        route.abort()
