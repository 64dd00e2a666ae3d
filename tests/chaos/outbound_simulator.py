"""Runs the simulated Evolution as a process of its own, and asks its control side what the phones have received."""

import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import trio

from zapline.sandbox.embedded_postgres.host import death_wrapper, free_port

STARTED_WITHIN = 15.0
HABITS = ("--retry-attempts", "200", "--retry-initial", "0.2", "--retry-cap", "1", "--webhook-timeout", "25")
"""Evolution's own waits of 5 to 300 s are too long to watch; it gives up as late as they would let it."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message on a phone. ``at`` in UTC seconds; ``echoed``: the line was told of it."""

    id: str
    instance: str
    number: str
    text: str
    at: float
    echoed: bool


@dataclass
class Simulator:
    """Only made by ``open_simulator``."""

    url: str
    client: httpx2.AsyncClient
    received: list[Received] = field(default_factory=list)
    by_text: defaultdict[tuple[str, str], list[Received]] = field(default_factory=lambda: defaultdict(list))
    """Instance and text -> the copies on the phone."""
    pending: int = 0
    """Webhooks that were not taken yet."""

    async def ask(self, method: str, word: str, body: object = None) -> Any:
        """One call of the control side; raises where it is refused."""
        answer = await self.client.request(method, f"/_control/{word}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def plant(self, kind: str, **more: object) -> None:
        await self.ask("POST", "faults", {"kind": kind, **more})

    async def clear(self) -> None:
        await self.ask("DELETE", "faults", {})

    async def struck(self) -> dict[str, int]:
        """How often each fault has struck since the start."""
        return dict(await self.ask("GET", "struck"))

    async def look(self) -> None:
        """Learn what has reached phones since the last look."""
        told = await self.ask("GET", f"deliveries?since={len(self.received)}")
        for row in told["rows"]:
            received = Received(*row)
            self.received.append(received)
            self.by_text[received.instance, received.text].append(received)
        self.pending = told["pending"]

    async def quiet(self, seconds: float) -> bool:
        """Wait until every webhook was taken; False where some are left."""
        deadline = trio.current_time() + seconds
        while True:
            await self.look()
            if not self.pending:
                return True
            if trio.current_time() > deadline:
                return False
            await trio.sleep(0.1)


def _launch(options: list[str]) -> subprocess.Popen[str]:
    """In the calling thread: death_wrapper ends the child when that thread ends."""
    command = [*death_wrapper(), sys.executable, "-m", "zapline.sandbox.simulator.server", "--port", str(free_port())]
    return subprocess.Popen([*command, *HABITS, *options], stdout=subprocess.PIPE, text=True, start_new_session=True)


@asynccontextmanager
async def open_simulator(*, statuses: str = "SERVER_ACK,DELIVERY_ACK", seed: int = 1) -> AsyncIterator[Simulator]:
    """A running simulator; it ends with the block."""
    process = _launch(["--statuses", statuses, "--status-gap", "0.05", "--seed", str(seed)])
    try:
        assert process.stdout is not None
        with trio.fail_after(STARTED_WITHIN):
            url = (await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)).strip()
        limits = httpx2.Limits(max_connections=8)
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False, limits=limits) as client:
            yield Simulator(url, client)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
