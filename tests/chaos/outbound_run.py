"""Runs outbound phases one after the other: faults while messages are posted, then calm, then a look at everything."""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from .outbound_inspection import OutboundInspector, Outcome
from .outbound_place import OutboundPlace, open_outbound
from .outbound_posts import Posted
from .outbound_report import OutboundRow
from .place import PlaceFailed
from .report import say

SENDS = "/message/"
"""Path of the requests that faults strike; the line itself stays open."""
CALM_WITHIN = 45.0
LOOKED_WITHIN = 40.0
STORED_WITHIN = 20.0
FAULTS_LAST = 6.0
"""Seconds after the last POST for which faults go on; what still waits then leaves undisturbed."""

Strike = Callable[["OutboundRun"], Awaitable[int]]
Planted = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Phase:
    """``faults`` as the simulator takes them; ``strike`` does the rest and returns how often it killed.

    ``dead``: codes by which a message may end dead in this phase; ``most_uncertain``: a promise.
    """

    name: str
    faults: Sequence[Planted] = ()
    strike: Strike | None = None
    each: int = 8
    """Messages of each unit."""
    dead: frozenset[str] = frozenset()
    most_uncertain: int | None = None
    check: Callable[["OutboundRun", Outcome], None] | None = None
    text: str | None = None
    put_off: float = 0.0
    """Seconds for which a fault may put off what it does: the next phase's faults must not strike it too."""
    units: int | None = None
    """How many of the units write; None: all."""


class OutboundRun:
    """One whole run over one place."""

    def __init__(self, house: OutboundPlace, seed: int) -> None:
        self.house = house
        self.place = house.place
        self.simulator = house.simulator
        self.seed = seed
        self.chance = random.Random(seed)
        self.inspector = OutboundInspector(house.place, house.simulator, house.secrets)
        self.rows: list[OutboundRow] = []
        self.phases: dict[str, Phase] = {}
        self.failures: list[str] = []
        self.remarks: list[str] = []
        self.posting = trio.Event()
        self._started = time.monotonic()

    def require(self, kept: bool, promise: str) -> None:
        """Note a promise of this phase that was not kept."""
        if not kept:
            self.failures.append(promise)

    async def pause(self, least: float, most: float) -> None:
        await trio.sleep(self.chance.uniform(least, most))

    async def phase(self, phase: Phase) -> OutboundRow:
        """Post under the phase's faults, wait until nothing is queued, and look."""
        started = time.monotonic()
        self.failures, self.remarks = [], []
        before = await self.simulator.struck()
        for fault in phase.faults:
            await self.simulator.plant(**{"path": SENDS, **fault})
        units = self.house.units[: phase.units]
        to = self.house.posts.phones[0] if phase.text else None
        messages = self.house.posts.invent(phase.name, units, phase.each, phase.text, to)
        kills = await self._post(messages, phase.strike)
        with trio.move_on_after(FAULTS_LAST if phase.faults else 0):
            await self.inspector.calm(FAULTS_LAST)
        await self.simulator.clear()
        await trio.sleep(phase.put_off)
        struck = await self._struck_since(before, phase)
        self.require(await self.inspector.calm(CALM_WITHIN), "the queue is not empty")
        self.require(await self.inspector.stored(STORED_WITHIN), "webhooks are not taken or not stored")
        outcome = await self._compare(phase, messages)
        took = time.monotonic() - started
        row = OutboundRow(phase.name, struck, kills, outcome, took, self.failures, self.remarks)
        self.rows.append(row)
        self.phases[phase.name] = phase
        ended = time.monotonic() - self._started
        mark = "FAIL" if self.failures else "    "
        said = f"{outcome.sent} of {outcome.posted} sent, {outcome.settled} settled, {outcome.uncertain} uncertain"
        say(f"{ended:6.1f}s  {mark}  {phase.name}: {said}, struck {struck}, kills {kills}")
        return row

    async def _post(self, messages: Sequence[Posted], strike: Strike | None) -> int:
        kills = 0
        self.posting = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._all_posted, messages)
            if strike is not None:
                try:
                    kills = await strike(self)
                except PlaceFailed as failed:
                    self.failures.append(str(failed))
            if not self.place.daemon.alive:
                self.failures.append(f"the daemon is dead:\n{self.place.daemon.tail()}")
                await self.house.start()
        return kills

    async def _all_posted(self, messages: Sequence[Posted]) -> None:
        await self.house.posts.post(messages)
        self.posting.set()

    async def _compare(self, phase: Phase, messages: Sequence[Posted]) -> Outcome:
        return await (self.inspector.compare if phase.text is None else self.inspector.compare_alike)(messages)

    async def _struck_since(self, before: Mapping[str, int], phase: Phase) -> int:
        after = await self.simulator.struck()
        told = 0
        for kind in sorted({str(fault["kind"]) for fault in phase.faults}):
            count = after.get(kind, 0) - before.get(kind, 0)
            self.require(count > 0, f"{kind} never struck")
            told += count
        return told

    async def judge(self) -> None:
        """Wait until every uncertain message was looked for, then look at all phases anew and at their promises."""
        calm = await self.inspector.calm(LOOKED_WITHIN, looks=True)
        stored = await self.inspector.stored(STORED_WITHIN)
        for row in self.rows:
            phase = self.phases[row.phase]
            row.outcome = await self._compare(phase, self.house.posts.of(row.phase))
            self.failures = row.failures
            unexplained = row.outcome.failures - phase.dead
            self.require(not unexplained, f"dead of {', '.join(sorted(unexplained))}")
            if phase.most_uncertain is not None:
                within = row.outcome.uncertain <= phase.most_uncertain
                self.require(within, f"{row.outcome.uncertain} uncertain, promised at most {phase.most_uncertain}")
            if row.outcome.known:
                row.remarks.append(f"{row.outcome.known} uncertain ones were echoed")
            if phase.check is not None:
                phase.check(self, row.outcome)
        if self.rows:
            self.failures = self.rows[-1].failures
            self.require(calm, "uncertain messages are still looked for")
            self.require(stored, "webhooks are not taken or not stored")
            self.failures += await self.inspector.whole()


@asynccontextmanager
async def open_outbound_run(units: int, seed: int) -> AsyncIterator[OutboundRun]:
    """A place with a run over it."""
    async with open_outbound(units, seed) as house:
        yield OutboundRun(house, seed)
