"""Fixtures of the browser tests: one running system and one Chromium, and a visitor for each test."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.browser_visitor import BrowserThread, Visitor, find_chromium, launch_chromium
from support.page_inspection import SCREENSHOTS
from support.running_system import ADMIN, RunningSystem, running_system


@pytest.fixture(scope="session")
def browser_thread() -> Iterator[BrowserThread]:
    thread = BrowserThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def executable() -> str:
    path = find_chromium(os.environ)
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)  # those of the last run
    return path


@pytest.fixture(scope="session")
def system() -> Iterator[RunningSystem]:
    """The system that all tests share; each creates its own units."""
    with running_system() as opened:
        yield opened


@pytest.fixture(scope="session")
def browser(executable: str, browser_thread: BrowserThread) -> Iterator[Browser]:
    stack = ExitStack()
    yield browser_thread.run(lambda: stack.enter_context(launch_chromium(executable)))
    browser_thread.run(stack.close)


@pytest.fixture(scope="session")
def session(system: RunningSystem, browser: Browser, browser_thread: BrowserThread) -> Any:
    """The cookies of the administrator, who signs in once for all tests."""

    def sign_in() -> Any:
        visitor = Visitor(browser.new_context(), system.url)
        visitor.sign_in(ADMIN, system.password)
        cookies = visitor.context.storage_state()
        visitor.context.close()
        return cookies

    return browser_thread.run(sign_in)


@pytest.fixture
def new_visitor(
    system: RunningSystem, browser: Browser, browser_thread: BrowserThread
) -> Iterator[Callable[..., Visitor]]:
    """``new_visitor(**options)`` opens a browser context with playwright's options; called in the browser thread.

    At the end the test fails if any visitor met trouble.
    """
    visitors: list[Visitor] = []

    def open_visitor(**options: Any) -> Visitor:
        visitors.append(Visitor(browser.new_context(**options), system.url))
        return visitors[-1]

    yield open_visitor
    try:
        for visitor in visitors:
            browser_thread.run(visitor.assert_no_troubles)
    finally:
        for visitor in visitors:
            browser_thread.run(visitor.context.close)


@pytest.fixture
def signed_in_visitor(new_visitor: Callable[..., Visitor], session: Any) -> Callable[..., Visitor]:
    """The same, signed in as the administrator."""
    return partial(new_visitor, storage_state=session)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that uses ``browser_thread`` in that thread."""
    browser_thread = pyfuncitem.funcargs.get("browser_thread")
    if not isinstance(browser_thread, BrowserThread):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    browser_thread.run(lambda: pyfuncitem.obj(**arguments))
    return True
