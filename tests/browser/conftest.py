"""One house and one Chromium for all journeys; each test is played on the browser's stage with a visitor of its own."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.visiting import Stage, Visitor, chromium, find_chromium
from support.whole_house import WholeHouse, whole_house


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.fixture(scope="session")
def executable() -> str:
    return find_chromium(os.environ)


@pytest.fixture(scope="session")
def house() -> Iterator[WholeHouse]:
    """What all journeys share; each makes units of its own."""
    with whole_house() as opened:
        yield opened


@pytest.fixture(scope="session")
def browser(executable: str, stage: Stage) -> Iterator[Browser]:
    stack = ExitStack()
    yield stage.run(lambda: stack.enter_context(chromium(executable)))
    stage.run(stack.close)


@pytest.fixture
def visit(house: WholeHouse, browser: Browser, stage: Stage) -> Iterator[Callable[..., Visitor]]:
    """``visit(**more)`` gives a new visitor; ``more`` as playwright's ``new_context``. To be called on the stage.

    At the end the test fails if any visitor met trouble.
    """
    visitors: list[Visitor] = []

    def enter(**more: Any) -> Visitor:
        visitors.append(Visitor(browser.new_context(**more), house.url))
        return visitors[-1]

    yield enter
    try:
        for one in visitors:
            stage.run(one.judge)
    finally:
        for one in visitors:
            stage.run(one.context.close)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Play the test on the stage, if it has one."""
    stage = pyfuncitem.funcargs.get("stage")
    if not isinstance(stage, Stage):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    stage.run(lambda: pyfuncitem.obj(**given))
    return True
