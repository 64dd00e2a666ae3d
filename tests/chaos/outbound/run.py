"""Runs the outbound phases in turn: faults while messages are submitted, a drain, and an inspection."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ..environment import DaemonFailed
from ..output import log
from .environment import OutboundEnvironment, open_outbound_environment
from .inspection import OutboundInspector, PhaseOutcome
from .message_submission import Submission
from .report import PhaseRow

SENDS = "/message/"
"""Path of the requests that faults apply to; the line itself stays open."""
QUEUE_SECONDS = LOOKUP_SECONDS = 60.0
"""Longest time without any progress: a message waits for its next try, a look into the store for its next turn."""
STORE_SECONDS = 30.0
FAULT_SECONDS = 6.0
"""Seconds for which faults stay after the last POST; what is still queued then is sent without faults."""

Attack = Callable[["OutboundRun"], Awaitable[int]]
InjectedFault = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Phase:
    """``faults`` are the simulator's; ``attack`` does everything else and returns its number of kills.

    ``dead``: codes with which a message may fail for good in this phase; ``max_uncertain``: the limit.
    """

    name: str
    faults: Sequence[InjectedFault] = ()
    attack: Attack | None = None
    per_unit: int = 8
    """Messages of each unit."""
    dead: frozenset[str] = frozenset()
    max_uncertain: int | None = None
    check: Callable[["OutboundRun", PhaseOutcome], None] | None = None
    text: str | None = None
    delay: float = 0.0
    """Longest delay in seconds of a fault's effect, which the faults of the next phase must not meet."""
    units: int | None = None
    """Number of units that send; None: all."""


class OutboundRun:
    """One run over one environment."""

    def __init__(self, environment: OutboundEnvironment, seed: int) -> None:
        self.environment = environment
        self.base = environment.base
        self.simulator = environment.simulator
        self.seed = seed
        self.rng = random.Random(seed)
        self.inspector = OutboundInspector(environment.base, environment.simulator, environment.secrets)
        self.rows: list[PhaseRow] = []
        self.phases: dict[str, Phase] = {}
        self.failures: list[str] = []
        self.remarks: list[str] = []
        self.all_submitted = trio.Event()
        self._started = time.monotonic()

    def require(self, condition: bool, failure: str) -> None:
        """Record a failure of this phase unless the condition holds."""
        if not condition:
            self.failures.append(failure)

    async def pause(self, least: float, most: float) -> None:
        await trio.sleep(self.rng.uniform(least, most))

    async def phase(self, phase: Phase) -> PhaseRow:
        """Submit messages under the phase's faults, wait until nothing is queued, and inspect."""
        started = time.monotonic()
        self.failures, self.remarks = [], []
        before = await self.simulator.fault_counts()
        for fault in phase.faults:
            await self.simulator.inject_fault(**{"path": SENDS, **fault})
        units = self.environment.units[: phase.units]
        to = self.environment.submitter.phones[0] if phase.text else None
        messages = self.environment.submitter.create(phase.name, units, phase.per_unit, phase.text, to)
        kills = await self._submit(messages, phase.attack)
        with trio.move_on_after(FAULT_SECONDS if phase.faults else 0):
            await self.inspector.wait_for_queue(FAULT_SECONDS)
        await self.simulator.clear_faults()
        await trio.sleep(phase.delay)
        triggered = await self._triggered_since(before, phase)
        self.require(await self.inspector.wait_for_queue(QUEUE_SECONDS), "the queue is not empty")
        self.require(await self.inspector.wait_until_stored(STORE_SECONDS), "webhooks are not accepted or not stored")
        outcome = await self._compare(phase, messages)
        took = time.monotonic() - started
        row = PhaseRow(phase.name, triggered, kills, outcome, took, self.failures, self.remarks)
        self.rows.append(row)
        self.phases[phase.name] = phase
        elapsed = time.monotonic() - self._started
        mark = "FAIL" if self.failures else "    "
        summary = f"{outcome.sent} of {outcome.posted} sent, {outcome.settled} settled, {outcome.uncertain} uncertain"
        log(f"{elapsed:6.1f}s  {mark}  {phase.name}: {summary}, triggered {triggered}, kills {kills}")
        return row

    async def _submit(self, messages: Sequence[Submission], attack: Attack | None) -> int:
        kills = 0
        self.all_submitted = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._submit_all, messages)
            if attack is not None:
                try:
                    kills = await attack(self)
                except DaemonFailed as failed:
                    self.failures.append(str(failed))
            if not self.base.daemon.alive:
                self.failures.append(f"the daemon is dead:\n{self.base.daemon.log_tail()}")
                await self.environment.start()
        return kills

    async def _submit_all(self, messages: Sequence[Submission]) -> None:
        await self.environment.submitter.submit(messages)
        self.all_submitted.set()

    async def _compare(self, phase: Phase, messages: Sequence[Submission]) -> PhaseOutcome:
        return await (self.inspector.compare if phase.text is None else self.inspector.compare_identical)(messages)

    async def _triggered_since(self, before: Mapping[str, int], phase: Phase) -> int:
        after = await self.simulator.fault_counts()
        total = 0
        for kind in sorted({str(fault["kind"]) for fault in phase.faults}):
            count = after.get(kind, 0) - before.get(kind, 0)
            self.require(count > 0, f"{kind} was never triggered")
            total += count
        return total

    async def check(self) -> None:
        """Wait until every uncertain message was looked up, then compare all phases again and check their limits."""
        settled = await self.inspector.wait_for_queue(LOOKUP_SECONDS, lookups=True)
        stored = await self.inspector.wait_until_stored(STORE_SECONDS)
        for row in self.rows:
            phase = self.phases[row.phase]
            row.outcome = await self._compare(phase, self.environment.submitter.of_phase(row.phase))
            self.failures = row.failures
            unexplained = row.outcome.failures - phase.dead
            self.require(not unexplained, f"dead of {', '.join(sorted(unexplained))}")
            if phase.max_uncertain is not None:
                within_limit = row.outcome.uncertain <= phase.max_uncertain
                self.require(within_limit, f"{row.outcome.uncertain} uncertain, limit {phase.max_uncertain}")
            if row.outcome.known:
                row.remarks.append(f"{row.outcome.known} uncertain ones were echoed")
            if phase.check is not None:
                phase.check(self, row.outcome)
        if self.rows:
            self.failures = self.rows[-1].failures
            self.require(settled, "uncertain messages are still looked up")
            self.require(stored, "webhooks are not accepted or not stored")
            self.failures += await self.inspector.check_database()


@asynccontextmanager
async def open_outbound_run(units: int, seed: int) -> AsyncIterator[OutboundRun]:
    """Open an environment and a run over it."""
    async with open_outbound_environment(units, seed) as environment:
        yield OutboundRun(environment, seed)
