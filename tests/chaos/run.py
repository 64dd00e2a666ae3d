"""Runs phases one after the other: a fault under load, then calm, then a look at everything."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from .inspection import Inspector
from .ledger import Ledger
from .place import Place, PlaceFailed, open_place
from .report import Row, say
from .sender import Sender
from .traffic import Traffic

RATE = 150.0
"""Webhooks a second: what two processors carry besides the daemon, the database and the checks."""
ANSWERED_WITHIN = 30.0
CALM_WITHIN = 30.0


class Run:
    """One whole run over one place. A fault is an async function of it; it returns how often it killed."""

    def __init__(self, place: Place, nursery: trio.Nursery, seed: int) -> None:
        self.place = place
        self.seed = seed
        self.chance = random.Random(seed)
        self.ledger = Ledger()
        traffic = Traffic(place.instances, random.Random(seed + 1))
        self.sender = Sender(nursery, place.port, place.paths, traffic, self.ledger)
        self.inspector = Inspector(place, self.ledger, [*traffic.phones, "5511999990000"])
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self.remarks: list[str] = []
        self._stored = 0
        self._started = time.monotonic()

    def require(self, kept: bool, promise: str) -> None:
        """Note a promise of this phase that was not kept."""
        if not kept:
            self.failures.append(promise)

    async def pause(self, least: float, most: float) -> None:
        await trio.sleep(self.chance.uniform(least, most))

    async def phase(self, name: str, fault: Callable[["Run"], Awaitable[int]], rate: float = RATE) -> Row:
        """Strike under load, wait until all is answered and stored, and look."""
        ledger = self.ledger
        posted, answered = ledger.posted, ledger.answered
        ledger.latencies.clear()
        self.failures, self.remarks = [], []
        kills = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sender.load, rate)
            try:
                kills = await fault(self)
            except PlaceFailed as failed:
                self.failures.append(str(failed))
            if not self.place.daemon.alive:
                self.failures.append(f"the daemon is dead:\n{self.place.daemon.tail()}")
                await self.place.start()
            nursery.cancel_scope.cancel()
        with trio.move_on_after(ANSWERED_WITHIN) as patience:
            await self.sender.quiet()
        self.require(not patience.cancelled_caught, f"{self.sender.pending} webhooks never answered")
        drain = await self.inspector.calm(CALM_WITHIN)
        findings = await self.inspector.inspect()
        stored, self._stored = findings.stored - self._stored, findings.stored
        counts = (ledger.posted - posted, ledger.answered - answered, stored)
        row = Row(name, kills, *counts, findings, drain, ledger.p99(), self.failures, self.remarks)
        self.rows.append(row)
        mark = "ok  " if row.sound else "FAIL"
        took = time.monotonic() - self._started
        say(f"{took:6.1f}s  {mark}  {name}: {counts[1]} of {counts[0]} answered, {stored} stored")
        return row


@asynccontextmanager
async def open_run(units: int, seed: int) -> AsyncIterator[Run]:
    """A place with a run over it; the senders end with it."""
    async with open_place(units) as place, trio.open_nursery() as nursery:
        run = Run(place, nursery, seed)
        try:
            yield run
        finally:
            nursery.cancel_scope.cancel()
            run.sender.close()
