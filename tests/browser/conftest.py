"""Fixtures of the browser tests: one running system and one Chromium, and a visitor for each test."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.looking import SCREENSHOTS
from support.running_system import ADMIN, RunningSystem, running_system
from support.visiting import Stage, Visitor, chromium, find_chromium


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.fixture(scope="session")
def executable() -> str:
    found = find_chromium(os.environ)
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)  # those of the last run
    return found


@pytest.fixture(scope="session")
def system() -> Iterator[RunningSystem]:
    """What all journeys share; each makes units of its own."""
    with running_system() as opened:
        yield opened


@pytest.fixture(scope="session")
def browser(executable: str, stage: Stage) -> Iterator[Browser]:
    stack = ExitStack()
    yield stage.run(lambda: stack.enter_context(chromium(executable)))
    stage.run(stack.close)


@pytest.fixture(scope="session")
def session(system: RunningSystem, browser: Browser, stage: Stage) -> Any:
    """The cookies of the administrator, who has signed in once for all visits."""

    def enter() -> Any:
        visitor = Visitor(browser.new_context(), system.url)
        visitor.sign_in(ADMIN, system.password)
        kept = visitor.context.storage_state()
        visitor.context.close()
        return kept

    return stage.run(enter)


@pytest.fixture
def stranger(system: RunningSystem, browser: Browser, stage: Stage) -> Iterator[Callable[..., Visitor]]:
    """``stranger(**more)`` gives a new visitor; ``more`` as playwright's ``new_context``. To be called on the stage.

    At the end the test fails if any visitor met trouble.
    """
    visitors: list[Visitor] = []

    def enter(**more: Any) -> Visitor:
        visitors.append(Visitor(browser.new_context(**more), system.url))
        return visitors[-1]

    yield enter
    try:
        for one in visitors:
            stage.run(one.judge)
    finally:
        for one in visitors:
            stage.run(one.context.close)


@pytest.fixture
def visit(stranger: Callable[..., Visitor], session: Any) -> Callable[..., Visitor]:
    """The same, signed in."""
    return partial(stranger, storage_state=session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the pictures are."""
    pictures = sorted(SCREENSHOTS.glob("*.png"))
    if pictures:
        terminalreporter.write_line(f"{len(pictures)} screenshots of the console in {SCREENSHOTS}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Play the test on the stage, if it has one."""
    stage = pyfuncitem.funcargs.get("stage")
    if not isinstance(stage, Stage):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    stage.run(lambda: pyfuncitem.obj(**given))
    return True
