"""The unit's actor: receive, parse, step the machine, store, then act. The only writer of its connection."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog
import trio

from zapline.domain.connection import Action, Connection, Moment, Step, step
from zapline.domain.errors import JournalRefused
from zapline.domain.events import (
    ConnectionEvent,
    Fact,
    Ignored,
    MessageArrived,
    Parsed,
    Started,
    TimerFired,
    Unusable,
)
from zapline.domain.ids import Seq, UnitId
from zapline.evolution.payloads import parse
from zapline.sql.journal import Entry, Journal
from zapline.sql.rows import prepare
from zapline.sql.units import UnitRecord
from zapline.sql.writes import EntryWrite, Outcome
from zapline.supervisors.counters import Counters
from zapline.supervisors.lines import LineCalls
from zapline.supervisors.mailbox import Direct, Mailbox
from zapline.supervisors.recorder import Recorder, UnitMissing
from zapline.supervisors.telling import tell_line, tell_stored

TOO_LARGE = "!too_large"
"""Event of an entry whose body was over the limit; its body is the size in digits."""
RUN = 256
"""Entries stepped and stored together."""
CRASHES_BEFORE_ALONE = 2
STARTS_BEFORE_ALONE = 3
"""An entry in hand at so many crashes, or seen by so many starts, is taken alone: it may be the cause."""

DEATHS_ALONE = 2
"""Deaths of the process while an entry was in hand alone: one may be chance, two in the same millisecond are not."""
_NOTHING = Seq(0)
_LOG = structlog.get_logger(scope="Unit")


class Doing(StrEnum):
    """Where an actor is, for the watchdog: waiting and recording are progress, stepping must end soon."""

    WAITING = "waiting"
    STEPPING = "stepping"
    RECORDING = "recording"


@dataclass(slots=True)
class Unit:
    """A unit as it lives in this process."""

    record: UnitRecord
    mailbox: Mailbox = field(default_factory=Mailbox)
    state: Connection | None = None
    """None until it has been read from the database: the unit then only journals."""
    applied_seq: Seq = _NOTHING
    fed: Seq = _NOTHING
    """The last journal entry put into the mailbox in this life of the actor."""
    quarantined_at: float | None = None
    """Monotonic time since which its actor is stopped."""
    doing: Doing = Doing.WAITING
    since: float = 0.0
    last_message_at: float | None = None
    gap_since: float | None = None
    """Time of the first webhook that was lost: from there Evolution must be asked again."""
    changed: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced, whenever the connection's stored state has changed."""

    @property
    def id(self) -> UnitId:
        return self.record.id


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an actor needs of the others."""

    journal: Journal
    recorder: Recorder
    calls: LineCalls
    counters: Counters
    refill: Callable[[Unit], None]
    """Tell the dispatcher that there is room in the mailbox again."""
    rewind: Callable[[Unit], None]
    """Tell the dispatcher to read the unit's unfinished entries again."""
    alone: trio.Lock = field(default_factory=trio.Lock)
    """Held while one suspicious entry is in hand: of two in hand at a death nobody could tell which it was."""


class _Run:
    """What one pass over the mailbox came to, before it is stored."""

    __slots__ = ("calls", "direct", "entries", "facts", "state", "stored_before", "writes")

    def __init__(self, state: Connection) -> None:
        self.state = state
        self.stored_before = state.stored
        self.calls: list[Action] = []
        self.entries: list[Entry] = []
        self.direct: list[Direct] = []
        self.writes: list[EntryWrite] = []

    @property
    def worth_storing(self) -> bool:
        return self.state.stored != self.stored_before or any(w.facts or w.dead_reason for w in self.writes)


class UnitActor:
    """One life of a unit's actor. A crash ends it; the keeper starts another."""

    def __init__(self, unit: Unit, around: Surroundings, probe_every: float) -> None:
        self._unit = unit
        self._around = around
        self._probe_every = probe_every
        self._in_hand: list[Entry] = []
        self._calls: list[Action] = []
        self._calling = False

    async def run(self) -> None:
        """Serve the unit until cancelled. Raises UnitMissing, and whatever our own bugs raise."""
        unit = self._unit
        assert unit.state is not None
        unit.state = Connection(stored=unit.state.stored, probe_every=self._probe_every)
        self._in_hand = []
        self._calls, self._calling = [], False
        async with trio.open_nursery() as nursery:
            await self._turn(nursery, [Started()], [], [])
            while True:
                self._now_doing(Doing.WAITING)
                asks = await self._next_asks()
                alone = self._next_alone()
                entries = [alone] if alone is not None else unit.mailbox.take_entries(RUN, self._suspicious)
                direct = unit.mailbox.take_direct()
                await self._turn(nursery, asks, entries, direct)
                if unit.mailbox.on_room:
                    self._around.refill(unit)

    async def after_crash(self) -> None:
        """Remember durably what was in hand, and have it read again."""
        if self._in_hand:
            try:
                await self._around.journal.note_crash([entry.seq for entry in self._in_hand])
            except JournalRefused as refused:
                # The count is lost, the entries are not; a full disk must not end the process here.
                _LOG.error("A crash could not be noted in the journal", unit=str(self._unit.id), error=str(refused))
        self._in_hand = []
        self._unit.mailbox.clear_entries()
        self._around.rewind(self._unit)

    async def _next_asks(self) -> list[ConnectionEvent]:
        """Wait for mail or for the time the state asked for; return the asks, TimerFired among them."""
        state = self._unit.state
        assert state is not None
        if state.wake_at is None:
            await self._unit.mailbox.wait()
        else:
            with trio.move_on_at(state.wake_at):
                await self._unit.mailbox.wait()
        asks = self._unit.mailbox.take_asks()
        if state.wake_at is not None and trio.current_time() >= state.wake_at:
            asks.append(TimerFired())
        return asks

    @staticmethod
    def _suspicious(entry: Entry) -> bool:
        crashed = entry.crashes >= CRASHES_BEFORE_ALONE or entry.in_hand > 0
        return crashed or entry.starts_seen >= STARTS_BEFORE_ALONE

    def _next_alone(self) -> Entry | None:
        return self._unit.mailbox.take_first_if(self._suspicious)

    # -- one turn: step, store, act -------------------------------------------------------------------------

    async def _turn(
        self,
        nursery: trio.Nursery,
        asks: Sequence[ConnectionEvent],
        entries: Sequence[Entry],
        direct: Sequence[Direct],
    ) -> None:
        unit = self._unit
        assert unit.state is not None
        self._now_doing(Doing.STEPPING)
        run = _Run(unit.state)
        self._in_hand = list(entries)
        for event in asks:
            self._step(run, event, time.time())
        alone = len(entries) == 1 and self._suspicious(entries[0])
        for entry in entries:
            await self._take(run, entry, alone)
        for extra in direct:
            run.direct.append(extra)
            self._interpret(run, extra.entry, None)
        outcome = await self._store(run)
        self._in_hand = []
        self._finish(run, outcome)
        self._start_calls(nursery, run.calls)

    async def _take(self, run: _Run, entry: Entry, alone: bool) -> None:
        unit = self._unit
        run.entries.append(entry)
        if entry.seq <= unit.applied_seq and not entry.replayed:
            return
        verdict = self._condemned(entry) if alone else None
        if verdict is not None:
            run.writes.append(_buried(entry, verdict))
            return
        if not alone:
            self._interpret(run, entry, entry.seq)
            return
        self._now_doing(Doing.RECORDING)  # waiting for others is no standstill
        async with self._around.alone:
            self._now_doing(Doing.STEPPING)
            await self._take_alone(run, entry)

    async def _take_alone(self, run: _Run, entry: Entry) -> None:
        """Interpret an entry under a durable mark that says who it was, should the process die of it."""
        journal = self._around.journal
        try:
            await journal.take_in_hand(entry.seq)
        except BaseException:
            # Cancelled, the mark may be made all the same: an orderly stop must not look like a death.
            journal.release(entry.seq)
            raise
        self._interpret(run, entry, entry.seq)
        prepare(self._unit.id, run.writes[-1:], None, None, journal.journal_id)
        journal.release(entry.seq)
        await journal.flush()

    @staticmethod
    def _condemned(entry: Entry) -> str | None:
        if entry.crashes > CRASHES_BEFORE_ALONE:
            return "crashed_actor"
        return "killed_process" if entry.in_hand >= DEATHS_ALONE else None

    def _interpret(self, run: _Run, entry: Entry, seq: Seq | None) -> None:
        """Parse one entry; its connection events step the machine, its facts are to be stored."""
        if entry.event == TOO_LARGE:
            run.writes.append(_buried(entry, "too_large"))
            return
        facts: list[Fact] = []
        reasons: list[str] = []
        for parsed in parse(entry.body, event_hint=entry.event):
            match parsed:
                case Unusable(reason=reason):
                    reasons.append(reason)
                case Ignored(reason=reason):
                    self._around.counters.add("ignored", reason)
                case _ if isinstance(parsed, ConnectionEvent):
                    # A replayed entry may be older than the state: its facts merge, its events are history.
                    if not entry.replayed:
                        self._step(run, parsed, entry.received_at)
                case _:
                    facts.append(_as_fact(parsed))
        run.writes.append(
            EntryWrite(
                seq=seq,
                event=entry.event,
                received_at=entry.received_at,
                body=entry.body,
                facts=facts,
                dead_reason=reasons[0] if reasons else None,
                replayed=entry.replayed,
            )
        )

    def _step(self, run: _Run, event: ConnectionEvent, wall: float) -> None:
        at = Moment(wall, trio.current_time())
        made: Step = step(run.state, event, at, random.random())  # noqa: S311 - jitter
        counters = self._around.counters
        counters.add("connection_events", type(event).__name__)
        if made.unexpected is not None:
            counters.add("unexpected_events", made.unexpected.name.lower())
        if made.dropped:
            counters.add("unexpected_disconnects")
        run.state = made.state
        run.calls.extend(made.calls)

    async def _store(self, run: _Run) -> Outcome:
        unit, around = self._unit, self._around
        if not run.worth_storing:
            return Outcome()
        reached = max((entry.seq for entry in run.entries if not entry.replayed), default=None)
        write = prepare(
            unit.id,
            run.writes,
            run.state.stored if run.state.stored != run.stored_before else None,
            reached if reached is not None and reached > unit.applied_seq else None,
            around.journal.journal_id,
        )
        self._now_doing(Doing.RECORDING)
        try:
            outcome = await around.recorder.store(write)
        except UnitMissing:
            self._in_hand = []  # no entry is to blame
            raise
        if write.applied_seq is not None:
            unit.applied_seq = write.applied_seq
        return outcome

    def _finish(self, run: _Run, outcome: Outcome) -> None:
        """After the commit: the state is the new one, entries are done, counters move, lines are logged."""
        unit, around = self._unit, self._around
        changed = run.state.stored != run.stored_before
        unit.state = run.state
        if run.entries:
            around.journal.mark_done([entry.seq for entry in run.entries])
        for direct in run.direct:
            direct.stored = True
            direct.recorded.set()
        if changed:
            around.counters.add("connection_rows_written")
            event, unit.changed = unit.changed, trio.Event()
            event.set()
            tell_line(unit.id, run.stored_before, run.state.stored)
        tell_stored(unit.id, run.writes, outcome, around.counters)
        for write in run.writes:
            if any(isinstance(fact, MessageArrived) for fact in write.facts):
                unit.last_message_at = max(unit.last_message_at or 0.0, write.received_at)

    # -- calls to Evolution ----------------------------------------------------------------------------------

    def _start_calls(self, nursery: trio.Nursery, calls: Sequence[Action]) -> None:
        """Queue calls, each kind at most once; they run one at a time, so that answers keep their order."""
        for action in calls:
            if action not in self._calls:
                self._calls.append(action)
        if self._calls and not self._calling:
            self._calling = True
            nursery.start_soon(self._perform_calls)

    async def _perform_calls(self) -> None:
        unit = self._unit
        while self._calls:
            action = self._calls.pop(0)
            assert unit.state is not None
            number = unit.state.stored.number
            secret_of = (unit.id.bytes, unit.record.secret_generation)
            answer = await self._around.calls.perform(action, unit.record.instance, number, secret_of)
            if not unit.mailbox.ask(answer):
                self._around.counters.add("answers_dropped")  # the state asks again by its timer
        self._calling = False

    def _now_doing(self, doing: Doing) -> None:
        self._unit.doing, self._unit.since = doing, trio.current_time()


def _buried(entry: Entry, reason: str) -> EntryWrite:
    seq = entry.seq or None
    return EntryWrite(seq, entry.event, entry.received_at, entry.body, dead_reason=reason)


def _as_fact(parsed: Parsed) -> Fact:
    assert isinstance(parsed, Fact)
    return parsed


def fresh(record: UnitRecord) -> Unit:
    """A unit as read from the database, or known from the snapshot only."""
    state = Connection(stored=record.stored) if record.stored is not None else None
    return Unit(record, state=state, applied_seq=record.applied_seq)
