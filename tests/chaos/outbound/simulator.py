"""Runs the simulated Evolution as a process, and reads what its phones have received."""

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import httpx2
import trio
from support.prepared_processes import SIMULATOR, start

from zapline.sandbox.embedded_postgres.host import free_port

from ..environment import wait_until_none

START_SECONDS = 15.0
OPTIONS = ("--retry-attempts", "200", "--retry-initial", "0.2", "--retry-cap", "1", "--webhook-timeout", "25")
"""Evolution's own retry delays of 5 to 300 s are too long for a run; these give up as late."""


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """A message on a phone. ``at`` in UTC seconds; ``echoed``: a webhook reported it."""

    id: str
    instance: str
    number: str
    text: str
    at: float
    echoed: bool


@dataclass
class Simulator:
    """Client of the simulator's control endpoints. Created by ``open_simulator``."""

    url: str
    client: httpx2.AsyncClient
    delivered: list[DeliveredMessage] = field(default_factory=list)
    by_text: defaultdict[tuple[str, str], list[DeliveredMessage]] = field(default_factory=lambda: defaultdict(list))
    """Instance and text -> the copies on the phone."""
    pending: int = 0
    """Webhooks that are not acknowledged yet."""

    async def control(self, method: str, command: str, body: object = None) -> Any:
        """Call a control endpoint. Raises ``HTTPStatusError`` where it is refused."""
        response = await self.client.request(method, f"/_control/{command}", json=body)
        response.raise_for_status()
        return response.json()

    async def inject_fault(self, kind: str, **properties: object) -> None:
        await self.control("POST", "faults", {"kind": kind, **properties})

    async def clear_faults(self) -> None:
        await self.control("DELETE", "faults", {})

    async def fault_counts(self) -> dict[str, int]:
        """Return how often each kind of fault was triggered since the start."""
        return dict(await self.control("GET", "struck"))

    async def refresh(self) -> None:
        """Read what has reached phones since the last call."""
        deliveries = await self.control("GET", f"deliveries?since={len(self.delivered)}")
        for row in deliveries["rows"]:
            message = DeliveredMessage(*row)
            self.delivered.append(message)
            self.by_text[message.instance, message.text].append(message)
        self.pending = deliveries["pending"]

    async def wait_until_idle(self, patience: float) -> bool:
        """Wait until every webhook is acknowledged; False where none was for ``patience`` seconds."""

        async def pending() -> int:
            await self.refresh()
            return self.pending

        return await wait_until_none(pending, patience)


@contextmanager
def _launched(options: list[str]) -> Iterator[IO[bytes]]:
    """Run the process until the block ends; yields what it prints."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as printed:
        with os.fdopen(writing, "wb") as out:
            arguments = ["--port", str(free_port()), *OPTIONS, *options]
            process = start(SIMULATOR, arguments, env=os.environ, stdout=out)
        try:
            yield printed
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def open_simulator(*, statuses: str = "SERVER_ACK,DELIVERY_ACK", seed: int = 1) -> AsyncIterator[Simulator]:
    """Run a simulator until the block ends."""
    with _launched(["--statuses", statuses, "--status-gap", "0.05", "--seed", str(seed)]) as printed:
        with trio.fail_after(START_SECONDS):
            url = (await trio.to_thread.run_sync(printed.readline, abandon_on_cancel=True)).decode().strip()
        limits = httpx2.Limits(max_connections=8)
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False, limits=limits) as client:
            yield Simulator(url, client)
