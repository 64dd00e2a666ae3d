"""A receiver of webhooks on a real socket, as the other side of the simulated server."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from zapline.sandbox.simulator.http.http_server import Disconnect, Listener, Request, Response


@dataclass
class Arrival:
    at: float
    path: str
    headers: dict[str, str]
    raw: bytes
    answered: int

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
    """Answers ``statuses`` one after the other, then ``status``; each after ``slow`` seconds."""

    url: str = ""
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    slow: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)

    async def handle(self, request: Request) -> Response | Disconnect:
        status = self.statuses.pop(0) if self.statuses else self.status
        arrival = Arrival(trio.current_time(), request.path, dict(request.headers), request.body, status)
        self.arrivals.append(arrival)
        await trio.sleep(self.slow)
        return Response(status, b"{}")

    def events(self) -> list[str]:
        return [arrival.event for arrival in self.arrivals]

    def of(self, event: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.event == event]

    async def until(self, event: str, count: int = 1) -> list[Arrival]:
        """Wait for so many of an event; fails after five seconds."""
        with trio.fail_after(5):
            while len(self.of(event)) < count:  # noqa: ASYNC110 - arrivals are counted by kind
                await trio.sleep(0.005)
        return self.of(event)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(Listener(None).serve, found.handle)
        found.url = f"http://127.0.0.1:{port}/hook/alpha"
        yield found
        nursery.cancel_scope.cancel()
