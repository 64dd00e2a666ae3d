"""Fixtures of the simulator's tests: a webhook receiver on a real socket, and a virtual clock for every async test."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from zapline.sandbox.simulator.http.http_server import Disconnect, Listener, Request, Response

IDLE_SECONDS = 0.06
"""The clock jumps to the next deadline when no socket was ready for so long; server and clients are one process."""


def run_in_virtual_time(function: Callable[..., Any], *, clock: object, instruments: Sequence[Any]) -> Any:
    """Run an async test on a clock that stands still while there is work: its outcome does not depend on speed."""
    return trio.run(function, clock=MockClock(autojump_threshold=IDLE_SECONDS), instruments=instruments)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the async tests of this directory the virtual clock; a test with its own ``trio`` mark keeps its own."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))


@dataclass
class Arrival:
    at: float
    """Seconds on the virtual clock."""
    path: str
    headers: dict[str, str]
    raw: bytes
    response_status: int

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def event(self) -> str:
        return self.body["event"]

    @property
    def data(self) -> Any:
        return self.body["data"]


@dataclass
class Receiver:
    """Responds with ``statuses`` one after the other, then with ``status``; each after ``delay`` seconds."""

    url: str = ""
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    delay: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    _arrived: trio.Event = field(default_factory=trio.Event)

    async def handle(self, request: Request) -> Response | Disconnect:
        status = self.statuses.pop(0) if self.statuses else self.status
        arrival = Arrival(trio.current_time(), request.path, dict(request.headers), request.body, status)
        self.arrivals.append(arrival)
        self._arrived.set()
        self._arrived = trio.Event()
        await trio.sleep(self.delay)
        return Response(status, b"{}")

    def events(self) -> list[str]:
        return [arrival.event for arrival in self.arrivals]

    def received(self, event: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.event == event]

    async def wait_for(self, event: str, count: int = 1) -> list[Arrival]:
        """Wait for ``count`` arrivals of an event; fails after five seconds."""
        with trio.fail_after(5):
            while len(self.received(event)) < count:
                await self._arrived.wait()
        return self.received(event)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(Listener(None).serve, receiver.handle)
        receiver.url = f"http://127.0.0.1:{port}/hook/alpha"
        yield receiver
        nursery.cancel_scope.cancel()
