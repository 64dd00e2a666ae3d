"""The unit's actor: receives, parses, steps the state machine, stores, then acts. The connection's only writer."""

from collections.abc import Sequence

import structlog
import trio

from zapline.domain.errors import JournalRefused, RemoteError
from zapline.domain.ids import Seq
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.line.events import ConnectionEvent, Registered, RegistrationChecked, Started, TimerFired
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import LineState
from zapline.domain.line.state_machine import Step, step
from zapline.domain.line.transitions import LineAction
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.messages.facts import MessageArrived, MessageFact, SendAnswered
from zapline.domain.privacy.erasure import drop_erased
from zapline.domain.timestamps import Moment
from zapline.sql.inbound.recorder_types import EntryFacts, UnitOutcome
from zapline.sql.inbound.unit_batches import prepare_batch
from zapline.sql.journal.schema import CALL_STARTED, Entry
from zapline.supervisors.inbound.after_commit import report_line_change, report_stored
from zapline.supervisors.inbound.journal_entries import BACKFILL, TOO_LARGE, dead_letter, drop_own_names, parse_entry
from zapline.supervisors.inbound.mailbox import DirectEntry
from zapline.supervisors.inbound.unit_state import ActorActivity, TurnResult, Unit
from zapline.supervisors.units.actor_context import ActorContext
from zapline.supervisors.units.registration import note_registration
from zapline.supervisors.units.suspicion import SUSPECT_AFTER_CRASHES, Blame, is_suspect, is_to_blame, poison_reason

MAX_TURN_ENTRIES = 256
"""Entries processed and stored together."""
LARGE_BYTES = 32 * 1024
"""Of a body: from here on others have their turn before the next one is parsed."""
IN_A_THREAD_BYTES = 256 * 1024
"""Of a body that could not be split: it is parsed, and its rows are made, outside of the event loop."""
JOURNAL_TIMEOUT = 8.0
"""Seconds for one fsync: a disk that hangs for longer counts as one that refuses."""
JOURNAL_RETRY_PAUSE = 1.5
"""Seconds without journal entries after the journal refused a mark; events and direct entries go on meanwhile."""
_LOG = structlog.get_logger(scope="Unit")


class UnitActor:
    """One run of a unit's actor. A crash ends it; the keeper starts it again."""

    def __init__(self, unit: Unit, context: ActorContext, probe_every: float) -> None:
        self._unit = unit
        self._context = context
        self._probe_every = probe_every
        self._blame = Blame()
        self._direct: list[DirectEntry] = []
        """Direct entries taken from the mailbox and not stored yet."""
        self._paused_until: float | None = None
        """Monotonic time until which no entries are taken, because the journal refused."""
        self._queued_calls: list[LineAction] = []
        self._calls_running = False

    async def run(self) -> None:
        """Serve the unit until cancelled. Raises UnitMissing, StatementFailed, and whatever our own bugs raise."""
        unit = self._unit
        assert unit.state is not None
        self._blame.entries, self._paused_until = (), None
        self._queued_calls, self._calls_running = [], False
        if unit.uncommitted is not None:
            # The last run ended in the recorder: state and row agree only once its write is committed.
            self._finish(unit.uncommitted, await self._store(unit.uncommitted))
        unit.state = LineState(stored=unit.state.stored, probe_every=self._probe_every)
        async with trio.open_nursery() as nursery:
            await self._process(nursery, [Started()])
            while True:
                self._set_activity(ActorActivity.WAITING)
                events = await self._next_events()
                await self._process(nursery, events, self._next_entries())
                # In a turn of their own: one that crashes the actor takes nothing else with it.
                if unit.mailbox.has_direct:
                    self._direct = unit.mailbox.take_direct()
                    await self._process(nursery, (), (), self._direct)
                    self._direct = []
                if unit.mailbox.room_wanted:
                    self._context.refill(unit)

    async def after_crash(self) -> None:
        """Note the crash in the journal for the entries to blame, and have all unfinished entries read again."""
        blamed = [entry.seq for entry in self._blame.entries if entry.seq]
        for direct in self._direct:
            direct.crashes += any(direct.entry is entry for entry in self._blame.entries)
        self._unit.mailbox.requeue_direct(self._direct)
        self._blame.entries, self._direct = (), []
        if blamed:
            try:
                with trio.fail_after(JOURNAL_TIMEOUT):
                    await self._context.journal.note_crash(blamed)
            except (JournalRefused, trio.TooSlowError) as refused:
                # The count is lost, the entries are not; a full disk must not end the process here.
                _LOG.error("A crash could not be noted in the journal", unit=str(self._unit.id), error=repr(refused))
        self._unit.mailbox.clear_entries()
        self._context.rewind(self._unit)

    async def _next_events(self) -> list[ConnectionEvent]:
        """Wait for the mailbox or the state's timer; return the events, with TimerFired if the timer is due.

        It may return without any, after an alarm that was set for an earlier state.
        """
        state = self._unit.state
        assert state is not None
        wake_at = min((at for at in (state.wake_at, self._paused_until) if at is not None), default=float("inf"))
        mailbox = self._unit.mailbox
        mailbox.wake_at(wake_at, self._context.alarms)
        await mailbox.wait(for_entries=self._paused_until is None)
        events = mailbox.take_events()
        if state.wake_at is not None and trio.current_time() >= state.wake_at:
            events.append(TimerFired())
        return events

    def _next_entries(self) -> list[Entry]:
        """Several entries, one suspect entry alone, or several that are only old; none while entries are paused."""
        unit = self._unit
        if self._paused_until is not None:
            if trio.current_time() >= self._paused_until:
                self._paused_until = None
                self._context.rewind(unit)  # the skipped entries come again, in order
            return []
        suspect = unit.mailbox.take_entry_if(is_to_blame)
        if suspect is not None:
            return [suspect]
        old = unit.mailbox.take_entries(MAX_TURN_ENTRIES, lambda entry: not is_suspect(entry) or is_to_blame(entry))
        return old or unit.mailbox.take_entries(MAX_TURN_ENTRIES, is_suspect)

    # -- one turn: step, store, act -------------------------------------------------------------------------

    async def _process(
        self,
        nursery: trio.Nursery,
        events: Sequence[ConnectionEvent],
        entries: Sequence[Entry] = (),
        directs: Sequence[DirectEntry] = (),
    ) -> None:
        unit = self._unit
        assert unit.state is not None
        if not (events or entries or directs or unit.shows_news):
            return
        self._set_activity(ActorActivity.STEPPING)
        turn = TurnResult(unit.state, unit.connection_unwritten)
        for event in events:
            self._step(turn, event, self._context.clock())
        if entries and is_suspect(entries[0]):
            await self._process_suspects(turn, entries)
            entries = ()
        for entry in entries:
            await self._process_entry(turn, entry)
        for direct in directs:
            turn.direct.append(direct)
            doomed = direct.doomed or ("crashed_actor" if direct.crashes > SUSPECT_AFTER_CRASHES else None)
            if doomed is not None:
                turn.writes.append(dead_letter(direct.entry, doomed, self._context.clock()))
                continue
            parsed = await self._parse_large(direct.entry)
            with self._blame.on([direct.entry]):
                self._interpret(turn, direct.entry, None, parsed)
        turn.note_shown(unit, self._context.clock(), again=turn.rewrite)
        outcome = await self._store(turn)
        self._finish(turn, outcome)
        self._queue_calls(nursery, turn.calls)

    async def _process_entry(self, turn: TurnResult, entry: Entry) -> None:
        if not self._is_applied(entry):
            parsed = await self._parse_large(entry)
            with self._blame.on([entry]):
                self._interpret(turn, entry, entry.seq, parsed)
        turn.entries.append(entry)

    def _is_applied(self, entry: Entry) -> bool:
        return entry.seq <= self._unit.applied_seq and not entry.replayed

    async def _process_suspects(self, turn: TurnResult, entries: Sequence[Entry]) -> None:
        """Make one that has killed too often a dead letter; interpret the others under a mark, all or none of them."""
        reason = poison_reason(entries[0]) if len(entries) == 1 else None
        open_ones = [entry for entry in entries if not self._is_applied(entry)]
        if reason is not None and open_ones:
            turn.writes.append(dead_letter(entries[0], reason, self._context.clock()))
        elif open_ones and not await self._process_marked(turn, open_ones):
            return
        turn.entries.extend(entries)

    async def _process_marked(self, turn: TurnResult, entries: Sequence[Entry]) -> bool:
        """Interpret suspect entries while the journal marks them; False if the journal refuses: they stay for later.

        A refusal means a full disk; it is neither the entries' fault nor the actor's. Several that are only old share
        a mark: if the process dies over them, each of them is to blame, and is interpreted alone after that.
        """
        before = (turn.state, len(turn.calls), len(turn.writes))
        self._set_activity(ActorActivity.RECORDING)  # waiting for other units or the disk does not count as stuck
        try:
            with trio.fail_after(JOURNAL_TIMEOUT):
                await self._context.suspect_lock.acquire()
            try:
                await self._interpret_marked(turn, entries)
            finally:
                self._context.suspect_lock.release()
        except (JournalRefused, trio.TooSlowError) as refused:
            turn.state = before[0]
            del turn.calls[before[1] :], turn.writes[before[2] :]
            self._paused_until = trio.current_time() + JOURNAL_RETRY_PAUSE
            _LOG.error("Entries wait for the journal", unit=str(self._unit.id), seq=entries[0].seq, error=repr(refused))
            return False
        self._set_activity(ActorActivity.STEPPING)
        return True

    async def _interpret_marked(self, turn: TurnResult, entries: Sequence[Entry]) -> None:
        """Interpret entries under a durable mark, which names them if the process dies of it."""
        journal = self._context.journal
        marked, seqs, written = True, [entry.seq for entry in entries], len(turn.writes)
        try:
            with trio.fail_after(JOURNAL_TIMEOUT):
                await (journal.mark_suspect(seqs[0]) if len(seqs) == 1 else journal.mark_suspects(seqs))
            self._set_activity(ActorActivity.STEPPING)
            for entry in entries:
                with self._blame.on([entry]):
                    self._interpret(turn, entry, entry.seq)
            with self._blame.on(entries):
                prepare_batch(self._unit.id, turn.writes[written:], None, None, journal.journal_id)
        except JournalRefused:
            marked = False
            raise
        finally:
            # Even if cancelled, the mark may have been written: an orderly stop must not look like a death.
            for seq in seqs if marked else ():
                journal.clear_suspect(seq)
            self._set_activity(ActorActivity.RECORDING)
        with trio.fail_after(JOURNAL_TIMEOUT):
            await journal.flush()

    async def _parse_large(self, entry: Entry) -> list[InboundEvent] | None:
        """Parse a very large entry in a thread; None for others, which :meth:`_interpret` parses."""
        if len(entry.body) <= IN_A_THREAD_BYTES or entry.event == TOO_LARGE:
            await trio.lowlevel.checkpoint() if len(entry.body) > LARGE_BYTES else None
            return None
        with self._blame.on([entry]):
            return await trio.to_thread.run_sync(parse_entry, entry, self._context.opt_out_words)

    def _interpret(
        self, turn: TurnResult, entry: Entry, seq: Seq | None, parsed_entry: list[InboundEvent] | None = None
    ) -> None:
        """Parse one entry: its connection events step the state machine, its facts are added to the writes."""
        if entry.damaged:
            turn.writes.append(dead_letter(entry, "damaged_on_disk", self._context.clock()))
            self._context.on_damaged_entry(entry)
            return
        if entry.event == TOO_LARGE:
            turn.writes.append(dead_letter(entry, "too_large", self._context.clock()))
            return
        if entry.event == CALL_STARTED and not entry.replayed:
            return  # the database that took the claim knows it
        facts: list[MessageFact] = []
        reasons: list[str] = []
        if parsed_entry is None:
            parsed_entry = parse_entry(entry, self._context.opt_out_words)
        named = drop_own_names(parsed_entry, self._unit)
        for parsed in drop_erased(named, self._unit.erased, entry.received_at):
            match parsed:
                case Unusable(reason=reason):
                    reasons.append(reason)
                case Ignored(reason=reason):
                    self._context.counters.add("ignored", reason)
                case _ if isinstance(parsed, ConnectionEvent):
                    # A replayed entry may be older than the state: its facts merge, its events are history.
                    if not entry.replayed:
                        self._step(turn, parsed, entry.received_at)
                case _:
                    facts.append(_as_fact(parsed))
        turn.writes.append(
            EntryFacts(
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

    def _step(self, turn: TurnResult, event: ConnectionEvent, wall: float) -> None:
        at = Moment(wall, trio.current_time())
        result: Step = step(turn.state, event, at, self._context.draw_spread())
        counters = self._context.counters
        counters.add("connection_events", type(event).__name__)
        if result.unexpected is not None:
            counters.add("unexpected_events", result.unexpected.name.lower())
        if result.dropped:
            counters.add("unexpected_disconnects")
        turn.opened = turn.opened or result.opened
        turn.state = result.state
        turn.note_shown(self._unit, wall)
        turn.calls.extend(result.calls)

    async def _store(self, turn: TurnResult) -> UnitOutcome:
        unit, context = self._unit, self._context
        reached = max((entry.seq for entry in turn.entries if not entry.replayed), default=None)
        if not turn.worth_storing:
            unit.applied_seq = max(unit.applied_seq, reached or unit.applied_seq)
            return UnitOutcome()
        changed = turn.rewrite or turn.changes or turn.state.stored != turn.stored_before
        stored = turn.state.stored if changed else None
        position = reached if reached is not None and reached > unit.applied_seq else None
        large = sum(len(entry.body) for entry in turn.writes) > IN_A_THREAD_BYTES * 4
        inbox = [direct.inbox_id for direct in turn.direct if direct.inbox_id is not None]
        known = (context.journal.journal_id, unit.stored, turn.changes, unit.held, inbox)
        arguments = (unit.id, turn.writes, stored, position, *known)
        with self._blame.on([*turn.entries, *(direct.entry for direct in turn.direct)]):
            write = await trio.to_thread.run_sync(prepare_batch, *arguments) if large else prepare_batch(*arguments)
        self._set_activity(ActorActivity.RECORDING)
        unit.uncommitted = turn
        try:
            outcome = await context.recorder.store(write)
        except RemoteError:
            unit.uncommitted = None  # the recorder has answered
            raise
        unit.uncommitted = None
        if write.applied_seq is not None:
            unit.applied_seq = write.applied_seq
            if write.journal_id == context.journal.journal_id:
                unit.stored.seq = write.applied_seq
        unit.note_recorded(turn.changes)
        if turn.rewrite:
            unit.connection_unwritten = False
        return outcome

    def _finish(self, turn: TurnResult, outcome: UnitOutcome) -> None:
        """After the commit: replace the state, mark entries done, update counters and logs, notify others."""
        unit, context = self._unit, self._context
        changed = turn.state.stored != turn.stored_before
        unit.state = turn.state
        if turn.entries:
            stored = (unit.id, unit.stored.seq) if unit.stored.seq else None
            context.journal.mark_done([entry.seq for entry in turn.entries], stored)
        for direct in turn.direct:
            direct.stored = True
            unit.note_direct(direct.entry.received_at)
            direct.processed.set()
        if changed:
            context.counters.add("connection_rows_written")
            event, unit.state_changed = unit.state_changed, trio.Event()
            event.set()
            report_line_change(unit, turn.stored_before, turn.state.stored, context.feed)
        if turn.opened and turn.state.stored.phase is Phase.OPEN:
            context.on_line_opened(unit)
        report_stored(unit.id, turn.writes, outcome, context.counters, context.feed)
        if outcome.queued:
            context.on_queued(unit)
        if any(message.refusal is not None for message in outcome.changed):
            context.on_message_refused(unit)
        for write in turn.writes:
            for fact in write.facts:
                if isinstance(fact, SendAnswered):
                    context.on_send_answered(unit, fact)
            if any(isinstance(fact, MessageArrived) for fact in write.facts):
                unit.last_message_at = max(unit.last_message_at or 0.0, write.received_at)

    # -- calls to Evolution ----------------------------------------------------------------------------------

    def _queue_calls(self, nursery: trio.Nursery, calls: Sequence[LineAction]) -> None:
        """Queue calls, each kind at most once; they run one at a time, so their answers keep their order."""
        for action in calls:
            if action not in self._queued_calls:
                self._queued_calls.append(action)
        if self._queued_calls and not self._calls_running:
            self._calls_running = True
            nursery.start_soon(self._perform_calls)

    async def _perform_calls(self) -> None:
        unit = self._unit
        while self._queued_calls:
            action = self._queued_calls.pop(0)
            assert unit.state is not None
            number = unit.state.stored.number
            secret_id = (unit.id.bytes, unit.record.secret_generation)
            enforce = unit.record.webhook_registration is WebhookRegistrationMode.ENFORCE
            answer = await self._context.calls.perform(action, unit.record.instance, number, secret_id, enforce)
            if isinstance(answer, Registered | RegistrationChecked):
                missed_since = note_registration(unit, answer, self._context.clock(), self._context.counters)
                if missed_since is not None:
                    unit.gap_since = min(missed_since, unit.gap_since or missed_since)
                if self._context.check_line_settings is not None:  # before the line is connected
                    await self._context.check_line_settings(unit, isinstance(answer, Registered))
            if not unit.mailbox.put_event(answer):
                self._context.counters.add("answers_dropped")  # the state's timer repeats the call
        self._calls_running = False

    def _set_activity(self, activity: ActorActivity) -> None:
        self._unit.activity, self._unit.activity_since = activity, trio.current_time()


def _as_fact(parsed: InboundEvent) -> MessageFact:
    assert isinstance(parsed, MessageFact)
    return parsed
