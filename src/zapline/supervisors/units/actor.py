"""The unit's actor: receive, parse, step the machine, store, then act. The only writer of its connection."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
import trio

from zapline.domain.errors import JournalRefused, RemoteError
from zapline.domain.ids import Seq
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import Connection, Moment
from zapline.domain.line.state_machine import Step, step
from zapline.domain.line.transitions import Action
from zapline.domain.messages.events import (
    ConnectionEvent,
    Fact,
    Ignored,
    MessageArrived,
    Parsed,
    SendAnswered,
    Started,
    TimerFired,
    Unusable,
)
from zapline.domain.privacy.erasure import spared
from zapline.sql.inbound.batches import EntryWrite, Outcome
from zapline.sql.inbound.message_rows import prepare
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound.after_commit import tell_line, tell_stored
from zapline.supervisors.inbound.journal_entries import BACKFILL, TOO_LARGE, read_entry
from zapline.supervisors.inbound.mailbox import Direct
from zapline.supervisors.inbound.unit_state import Doing, Run, Unit
from zapline.supervisors.units.actor_context import ActorContext

RUN = 256
"""Entries stepped and stored together."""
CRASHES_BEFORE_ALONE = 2
STARTS_BEFORE_ALONE = 3
"""An entry in hand at so many crashes, or seen by so many starts, is taken alone: it may be the cause."""

DEATHS_ALONE = 2
"""Deaths of the process while an entry was in hand alone: one may be chance, two in the same millisecond are not."""
JOURNAL_WITHIN = 8.0
"""Seconds for one fsync: a disk that hangs longer is as good as one that refuses."""
REFUSED_PAUSE = 1.5
"""Seconds without journal entries after the journal refused a mark; asks and directs are served meanwhile."""
_LOG = structlog.get_logger(scope="Unit")


class UnitActor:
    """One life of a unit's actor. A crash ends it; the keeper starts another."""

    def __init__(self, unit: Unit, around: ActorContext, probe_every: float) -> None:
        self._unit = unit
        self._around = around
        self._probe_every = probe_every
        self._in_hand: list[Entry] = []
        """What is being interpreted this very moment; left standing by a crash, it is to blame."""
        self._direct: list[Direct] = []
        """Taken from the mailbox, not stored yet."""
        self._held_until: float | None = None
        """Monotonic time until which the journal's refusal keeps entries where they are."""
        self._calls: list[Action] = []
        self._calling = False

    async def run(self) -> None:
        """Serve the unit until cancelled. Raises UnitMissing, StatementFailed, and what our own bugs raise."""
        unit = self._unit
        assert unit.state is not None
        self._in_hand, self._held_until = [], None
        self._calls, self._calling = [], False
        if unit.unsettled is not None:
            # The last life ended in the recorder: only with its write committed do state and row agree.
            self._finish(unit.unsettled, await self._store(unit.unsettled))
        unit.state = Connection(stored=unit.state.stored, probe_every=self._probe_every)
        async with trio.open_nursery() as nursery:
            await self._turn(nursery, [Started()])
            while True:
                self._now_doing(Doing.WAITING)
                asks = await self._next_asks()
                await self._turn(nursery, asks, self._next_entries())
                # A turn of their own: an entry that crashes the actor takes nothing else with it.
                self._direct = unit.mailbox.take_direct()
                await self._turn(nursery, (), (), self._direct)
                self._direct = []
                if unit.mailbox.on_room:
                    self._around.refill(unit)

    async def after_crash(self) -> None:
        """Remember durably what is to blame, and have it read again."""
        blamed = [entry.seq for entry in self._in_hand if entry.seq]
        for direct in self._direct:
            direct.crashes += any(direct.entry is entry for entry in self._in_hand)
        self._unit.mailbox.put_back(self._direct)
        self._in_hand, self._direct = [], []
        if blamed:
            try:
                with trio.fail_after(JOURNAL_WITHIN):
                    await self._around.journal.note_crash(blamed)
            except (JournalRefused, trio.TooSlowError) as refused:
                # The count is lost, the entries are not; a full disk must not end the process here.
                _LOG.error("A crash could not be noted in the journal", unit=str(self._unit.id), error=repr(refused))
        self._unit.mailbox.clear_entries()
        self._around.rewind(self._unit)

    async def _next_asks(self) -> list[ConnectionEvent]:
        """Wait for mail or for the time the state asked for; return the asks, TimerFired among them."""
        state = self._unit.state
        assert state is not None
        wake_at = min((at for at in (state.wake_at, self._held_until) if at is not None), default=float("inf"))
        with trio.move_on_at(wake_at):
            await self._unit.mailbox.wait(for_entries=self._held_until is None)
        asks = self._unit.mailbox.take_asks()
        if state.wake_at is not None and trio.current_time() >= state.wake_at:
            asks.append(TimerFired())
        return asks

    def _next_entries(self) -> list[Entry]:
        """A run of entries, or a suspicious one alone; none while the journal's refusal holds them up."""
        unit = self._unit
        if self._held_until is not None:
            if trio.current_time() >= self._held_until:
                self._held_until = None
                self._around.rewind(unit)  # what was left out comes again, in its place
            return []
        alone = unit.mailbox.take_first_if(self._suspicious)
        return [alone] if alone is not None else unit.mailbox.take_entries(RUN, self._suspicious)

    @staticmethod
    def _suspicious(entry: Entry) -> bool:
        crashed = entry.crashes >= CRASHES_BEFORE_ALONE or entry.in_hand > 0
        return crashed or entry.starts_seen >= STARTS_BEFORE_ALONE

    @contextmanager
    def _blamed(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Blame these for what is raised inside. Nothing is awaited there, so it is nobody else's failure."""
        self._in_hand = list(entries)
        yield
        self._in_hand = []  # on purpose not reached after a crash

    # -- one turn: step, store, act -------------------------------------------------------------------------

    async def _turn(
        self,
        nursery: trio.Nursery,
        asks: Sequence[ConnectionEvent],
        entries: Sequence[Entry] = (),
        directs: Sequence[Direct] = (),
    ) -> None:
        if not (asks or entries or directs):
            return
        unit = self._unit
        assert unit.state is not None
        self._now_doing(Doing.STEPPING)
        run = Run(unit.state)
        for event in asks:
            self._step(run, event, time.time())
        alone = len(entries) == 1 and self._suspicious(entries[0])
        for entry in entries:
            await self._take(run, entry, alone)
        for direct in directs:
            run.direct.append(direct)
            if direct.crashes > CRASHES_BEFORE_ALONE:
                run.writes.append(_buried(direct.entry, "crashed_actor"))
                continue
            with self._blamed([direct.entry]):
                self._interpret(run, direct.entry, None)
        outcome = await self._store(run)
        self._finish(run, outcome)
        self._start_calls(nursery, run.calls)

    async def _take(self, run: Run, entry: Entry, alone: bool) -> None:
        unit = self._unit
        if entry.seq <= unit.applied_seq and not entry.replayed:
            run.entries.append(entry)
            return
        verdict = self._condemned(entry) if alone else None
        if verdict is not None:
            run.writes.append(_buried(entry, verdict))
        elif not alone:
            with self._blamed([entry]):
                self._interpret(run, entry, entry.seq)
        elif not await self._take_alone(run, entry):
            return
        run.entries.append(entry)

    async def _take_alone(self, run: Run, entry: Entry) -> bool:
        """Interpret a suspicious entry under a mark; False where the journal refuses: it stays for later.

        That is a full disk, and neither the entry's fault nor the actor's.
        """
        before = (run.state, len(run.calls), len(run.writes))
        self._now_doing(Doing.RECORDING)  # waiting for others, or for the disk, is no standstill
        try:
            with trio.fail_after(JOURNAL_WITHIN):
                await self._around.alone.acquire()
            try:
                await self._under_mark(run, entry)
            finally:
                self._around.alone.release()
        except (JournalRefused, trio.TooSlowError) as refused:
            run.state = before[0]
            del run.calls[before[1] :], run.writes[before[2] :]
            self._held_until = trio.current_time() + REFUSED_PAUSE
            _LOG.error("An entry waits for the journal", unit=str(self._unit.id), seq=entry.seq, error=repr(refused))
            return False
        self._now_doing(Doing.STEPPING)
        return True

    async def _under_mark(self, run: Run, entry: Entry) -> None:
        """Interpret an entry under a durable mark that says who it was, should the process die of it."""
        journal = self._around.journal
        marked = True
        try:
            with trio.fail_after(JOURNAL_WITHIN):
                await journal.take_in_hand(entry.seq)
            self._now_doing(Doing.STEPPING)
            with self._blamed([entry]):
                self._interpret(run, entry, entry.seq)
                prepare(self._unit.id, run.writes[-1:], None, None, journal.journal_id)
        except JournalRefused:
            marked = False
            raise
        finally:
            # Cancelled, the mark may be made all the same: an orderly stop must not look like a death.
            if marked:
                journal.release(entry.seq)
            self._now_doing(Doing.RECORDING)
        with trio.fail_after(JOURNAL_WITHIN):
            await journal.flush()

    @staticmethod
    def _condemned(entry: Entry) -> str | None:
        if entry.crashes > CRASHES_BEFORE_ALONE:
            return "crashed_actor"
        return "killed_process" if entry.in_hand >= DEATHS_ALONE else None

    def _interpret(self, run: Run, entry: Entry, seq: Seq | None) -> None:
        """Parse one entry; its connection events step the machine, its facts are to be stored."""
        if entry.event == TOO_LARGE:
            run.writes.append(_buried(entry, "too_large"))
            return
        facts: list[Fact] = []
        reasons: list[str] = []
        read = read_entry(entry, self._around.opt_outs)
        for parsed in spared(read, self._unit.erased, entry.received_at):
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
                backfilled=entry.event == BACKFILL,
                replayed=entry.replayed,
            )
        )

    def _step(self, run: Run, event: ConnectionEvent, wall: float) -> None:
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

    async def _store(self, run: Run) -> Outcome:
        unit, around = self._unit, self._around
        reached = max((entry.seq for entry in run.entries if not entry.replayed), default=None)
        if not run.worth_storing:
            unit.applied_seq = max(unit.applied_seq, reached or unit.applied_seq)
            return Outcome()
        with self._blamed([*run.entries, *(direct.entry for direct in run.direct)]):
            write = prepare(
                unit.id,
                run.writes,
                run.state.stored if run.state.stored != run.stored_before else None,
                reached if reached is not None and reached > unit.applied_seq else None,
                around.journal.journal_id,
            )
        self._now_doing(Doing.RECORDING)
        unit.unsettled = run
        try:
            outcome = await around.recorder.store(write)
        except RemoteError:
            unit.unsettled = None  # an answer, though a bad one
            raise
        unit.unsettled = None
        if write.applied_seq is not None:
            unit.applied_seq = write.applied_seq
        return outcome

    def _finish(self, run: Run, outcome: Outcome) -> None:
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
            tell_line(unit, run.stored_before, run.state.stored, around.feed)
            if run.state.stored.phase is Phase.OPEN and run.stored_before.phase is not Phase.OPEN:
                around.opened(unit)
        tell_stored(unit.id, run.writes, outcome, around.counters, around.feed)
        if outcome.queued:
            around.queued(unit)
        for write in run.writes:
            for fact in write.facts:
                if isinstance(fact, SendAnswered):
                    around.answered(unit, fact)
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
