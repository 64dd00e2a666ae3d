"""A pytest plugin: the fixture ``zapline`` runs a whole Zapline with phones to play with; see docs/clients.md.

Nothing is started, and nothing but this module imported, for tests that do not ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_zapline.sandbox import Sandbox


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the command is, if it is not on the path."""
    told = "how to call Zapline for the fixture zapline (default: $ZAPLINE_COMMAND, or zapline)"
    parser.getgroup("zapline").addoption("--zapline", default=None, metavar="COMMAND", help=told)


@pytest.fixture(scope="session")
def zapline_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The Zapline that all tests of this process share; ``$ZAPLINE_SANDBOX`` names one that runs already."""
    from pytest_zapline.sandbox import running_sandbox

    with running_sandbox(request.config.getoption("--zapline", default=None)) as sandbox:
        yield sandbox


@pytest.fixture
def zapline(zapline_sandbox: Sandbox) -> Iterator[Sandbox]:
    """Zapline with an open line, no faults, and a phone that has not written yet; both again after the test."""
    zapline_sandbox.renew()
    yield zapline_sandbox
    zapline_sandbox.calm()
