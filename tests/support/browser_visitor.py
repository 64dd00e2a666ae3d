"""Visits the console with a real Chromium and records every trouble: injected scripts, CSP reports, errors."""

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

NO_CHROMIUM = "no Chromium: apt-get install chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a microphone that beeps
)
_WATCHING_SCRIPT = """
document.addEventListener("securitypolicyviolation", event => zaplineTrouble(
    `CSP ${event.effectiveDirective} refused ${event.blockedURI} ${event.sample} (line ${event.lineNumber})`));
window.zaplineRan = what => zaplineTrouble(`a script ran: ${what}`);
"""
"""Runs before the scripts of each page. Hostile texts call ``zaplineRan``."""
SECONDS = 30.0
"""The timeout for everything that a page is waited for."""
LIVE_SECONDS = 2.0
"""The time within which a page shows an event by itself, on a machine that does nothing else."""


def find_chromium(environment: Mapping[str, str], which: Callable[[str], str | None] = shutil.which) -> str:
    """The path of the browser. Without one the test is skipped, or fails in continuous integration."""
    executable = environment.get("ZAPLINE_CHROMIUM") or next(filter(None, map(which, _NAMES)), None)
    if executable is not None:
        return executable
    if environment.get("CI") == "true":
        pytest.fail(NO_CHROMIUM, pytrace=False)
    pytest.skip(NO_CHROMIUM)


class BrowserThread:
    """The thread that owns the browser: playwright's event loop must not share a thread with trio's."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="browser")
        self._thread.start()

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in this thread; return or raise what it does."""
        future: Future[T] = Future()
        self._calls.put((work, future))
        return future.result()

    def close(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            work, future = call
            try:
                future.set_result(work())
            except BaseException as error:  # skips and failures of pytest are none of Exception
                future.set_exception(error)


@contextmanager
def launch_chromium(executable: str) -> Iterator[Browser]:
    """Start the browser; only in the browser thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """A browser context with its own cookies and one page, which records every trouble."""

    context: BrowserContext
    base_url: str
    page: Page = field(init=False)
    troubles: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(SECONDS * 1000)
        self.context.expose_binding("zaplineTrouble", lambda source, what: self._note(f"{source['page'].url}: {what}"))
        self.context.add_init_script(_WATCHING_SCRIPT)
        self.context.route(re.compile(f"^(?!{re.escape(self.base_url)}/|data:|blob:)"), self._refuse_foreign)
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
        """Sign in by the form, from the overview's address."""
        self.go("/console/")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("button", name="Sign out").wait_for()

    @contextmanager
    def expecting(self, pattern: str) -> Iterator[None]:
        """Ignore troubles that match ``pattern`` within the block."""
        self._expected.append(re.compile(pattern))
        try:
            yield
            self.page.wait_for_timeout(50)  # the network reports failures a little later
        finally:
            self._expected.pop()

    def mark_document(self) -> None:
        """Mark the open document, so that ``assert_not_reloaded`` notices a reload."""
        self.page.evaluate("window.stillTheSame = true")

    def assert_not_reloaded(self) -> None:
        assert self.page.evaluate("window.stillTheSame") is True

    def until(self, expression: str, seconds: float = SECONDS) -> None:
        """Wait until the expression is true in the page; playwright's own polling is refused by the pages' CSP."""
        wait_until(lambda: self.page.evaluate(expression), seconds, expression)

    def settle(self) -> None:
        """Wait until the browser has reported everything that happened so far: events arrive in order."""
        self.page.evaluate("new Promise(done => setTimeout(done))")

    def assert_no_troubles(self) -> None:
        """Fail if there was any trouble."""
        self.settle()
        assert not self.troubles, "\n".join(self.troubles)

    def _note(self, what: str) -> None:
        if not any(pattern.search(what) for pattern in self._expected):
            self.troubles.append(what)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._note(f"{self.page.url}: console {message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self._note(f"{self.page.url}: a {dialog.type} says {dialog.message!r}")
        dialog.dismiss()

    def _failed(self, request: Request) -> None:
        # Live events and abandoned pages end this way.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"{self.page.url}: {request.method} {request.url} failed: {request.failure}")

    def _refuse_foreign(self, route: Route) -> None:
        self._note(f"{self.page.url}: asks another host: {route.request.url[:200]}")
        route.abort()
