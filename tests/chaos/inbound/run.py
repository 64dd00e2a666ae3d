"""Runs the inbound phases in turn: a fault under load, a drain, and an inspection of all that is stored."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from ..environment import DaemonFailed, Environment, open_environment
from ..output import log
from .inspection import InboundInspector
from .report import PhaseRow
from .webhook_ledger import WebhookLedger
from .webhook_sender import WebhookSender
from .webhook_traffic import WebhookTraffic

RATE = 150.0
"""Webhooks per second: what two processors carry besides the daemon, the database and the inspection."""
ACKNOWLEDGE_SECONDS = DRAIN_SECONDS = 45.0
"""Longest time without any progress."""


class InboundRun:
    """One run over one environment. A fault is an async function of the run that returns its number of kills."""

    def __init__(self, environment: Environment, nursery: trio.Nursery, seed: int) -> None:
        self.environment = environment
        self.seed = seed
        self.rng = random.Random(seed)
        self.ledger = WebhookLedger()
        traffic = WebhookTraffic(environment.instances, random.Random(seed + 1))
        self.sender = WebhookSender(nursery, environment.port, environment.paths, traffic, self.ledger)
        self.inspector = InboundInspector(environment, self.ledger, [*traffic.phones, "5511999990000"])
        self.rows: list[PhaseRow] = []
        self.failures: list[str] = []
        self.remarks: list[str] = []
        self._stored = 0
        self._started = time.monotonic()

    def require(self, condition: bool, failure: str) -> None:
        """Record a failure of this phase unless the condition holds."""
        if not condition:
            self.failures.append(failure)

    async def pause(self, least: float, most: float) -> None:
        await trio.sleep(self.rng.uniform(least, most))

    async def phase(self, name: str, fault: Callable[["InboundRun"], Awaitable[int]], rate: float = RATE) -> PhaseRow:
        """Inject the fault under load, wait until all is acknowledged and stored, and inspect."""
        ledger = self.ledger
        posted, acknowledged = ledger.posted, ledger.acknowledged
        ledger.latencies.clear()
        self.failures, self.remarks = [], []
        kills = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.sender.load, rate)
            try:
                kills = await fault(self)
            except DaemonFailed as failed:
                self.failures.append(str(failed))
            if not self.environment.daemon.alive:
                self.failures.append(f"the daemon is dead:\n{self.environment.daemon.log_tail()}")
                await self.environment.start()
            nursery.cancel_scope.cancel()
        idle = await self.sender.wait_until_idle(ACKNOWLEDGE_SECONDS)
        self.require(idle, f"{self.sender.pending} webhooks never acknowledged")
        drain = await self.inspector.wait_until_drained(DRAIN_SECONDS)
        findings = await self.inspector.inspect()
        stored, self._stored = findings.stored - self._stored, findings.stored
        counts = (ledger.posted - posted, ledger.acknowledged - acknowledged, stored)
        row = PhaseRow(name, kills, *counts, findings, drain, ledger.p99(), self.failures, self.remarks)
        self.rows.append(row)
        mark = "ok  " if row.sound else "FAIL"
        elapsed = time.monotonic() - self._started
        log(f"{elapsed:6.1f}s  {mark}  {name}: {counts[1]} of {counts[0]} acknowledged, {stored} stored")
        return row


@asynccontextmanager
async def open_inbound_run(units: int, seed: int) -> AsyncIterator[InboundRun]:
    """Open an environment and a run over it."""
    async with open_environment(units) as environment, trio.open_nursery() as nursery:
        run = InboundRun(environment, nursery, seed)
        try:
            yield run
        finally:
            nursery.cancel_scope.cancel()
            run.sender.close()
