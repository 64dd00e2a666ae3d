"""Compares journal and memory with the database before it is written to: each may have been set back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.events import Started
from zapline.domain.messages.facts import CallStarted
from zapline.sql.inbound.recorder_transaction import applied_position
from zapline.sql.inbound.send_results import restore_calls
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import CALL_STARTED, SEND_ANSWER
from zapline.sql.postgres.connection import Connection
from zapline.sql.units.journal_positions import find_reached, list_lost_calls
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.journal_entries import decode_call
from zapline.supervisors.inbound.journal_losses import JournalLosses
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster

_CHECK_EVERY = 0.2
"""Seconds between looks at how far the units are that catch up."""
_CALLS = frozenset({CALL_STARTED, SEND_ANSWER})
_LOG = structlog.get_logger(scope="Comparison")


@dataclass(frozen=True, slots=True)
class DatabaseView:
    """What the database knows: the highest number of this journal, and units of which it has lost a call."""

    reached: int = 0
    lost_calls: frozenset[UnitId] = frozenset()
    changes: int = 0
    """How often the journal had changed by then: of another one, the database was not asked."""
    is_open: bool = False
    """The journal was open by then."""


@dataclass(eq=False, repr=False)
class DatabaseComparison:
    """One instance per process. ``run`` ends the holds of units that have caught up."""

    _journal: Journal
    _roster: Roster
    _dispatcher: Dispatcher
    _losses: JournalLosses
    _counters: Counters
    is_due: bool = field(default=True, init=False)
    """The journal was not compared with the database yet."""
    _set_back: dict[UnitId, int] = field(default_factory=dict, init=False)
    """Units that catch up, from which number on."""
    _waiting: dict[UnitId, None] = field(default_factory=dict, init=False)
    """Units that were brought back and did not go on since: the journal may refuse in between."""
    _lost_calls: set[UnitId] = field(default_factory=set, init=False)
    """Units whose lost calls and their ends were not replayed yet."""
    _work: trio.Event = field(default_factory=trio.Event, init=False)
    shared: bool = field(default=False, init=False)
    """Other processes own some of the units."""
    _changes: int = field(default=0, init=False)
    """How often the journal was opened late or replaced."""

    @property
    def catching_up(self) -> int:
        """Units whose sending is held until the database knows again what was sent."""
        return sum(unit.catching_up is not None for unit in self._roster.units())

    def journal_changed(self) -> None:
        """The journal was opened late, or a new file has taken the place of a damaged one.

        A late one may be older than the database: what is above its first numbers is new, whatever the database holds.
        """
        self._losses.take()
        self.is_due = True
        self._changes += 1
        journal_id = self._journal.journal_id
        for unit in self._roster.units():
            applied = applied_position(journal_id, unit.record.journal_id, unit.record.applied_seq)
            unit.applied_seq = min(max(unit.applied_seq, applied), self._journal.began_at)
            unit.stored.seq = 0
            if unit.can_act:
                self._dispatcher.rewind(unit)

    def fits(self, view: DatabaseView) -> bool:
        """Whether the journal is still that of which the database was asked."""
        return view.changes == self._changes

    async def look(self, conn: Connection, leads: bool = False) -> DatabaseView:
        """Read what the database knows. Raises DatabaseUnavailable, StatementFailed.

        Who ``leads`` has it know again at once which last calls of units it has lost: a write that has waited may hold
        their echoes, and is stored before anything is replayed. What memory knew of claims is done with by then.
        """
        changes, is_open = self._changes, self._journal.closed_because is None
        # What a file that could not be opened to its end tells of its numbers is not to be believed.
        reached = await find_reached(conn, self._journal.journal_id) if is_open else 0
        calls: list[tuple[UnitId, CallStarted]] = []
        try:
            bodies = await self._journal.last_calls()
        except JournalRefused as refused:
            _LOG.error("The journal cannot tell of the last calls", error=str(refused))
            bodies = []
        for unit, body in bodies:
            try:
                calls.append((unit, decode_call(body)))
            except msgspec.MsgspecError:
                _LOG.error("An entry of a call cannot be read", unit=str(unit))
        lost = await list_lost_calls(conn, calls)
        if lost and leads:
            await restore_calls(conn, [{"unit_id": unit, **msgspec.structs.asdict(call)} for unit, call in lost])
        if leads:
            for known in self._roster.units():
                known.stored.last_claim = None
        self._lost_calls.update(unit for unit, _ in lost)
        return DatabaseView(reached, frozenset(self._lost_calls), changes, is_open)

    async def prepare(self, records: Sequence[UnitRecord], view: DatabaseView, moved: bool) -> list[UnitId]:
        """Mend what differs before any unit goes on: returns the units for which the database was set back.

        ``view`` has to fit: see ``fits``. ``moved``: it is another database, or was promoted. Should the journal change
        meanwhile, the comparison stays due. Raises JournalRefused; the next call returns the units of this one, too.
        """
        journal = self._journal
        held_numbers = journal.began_at if self.is_due else journal.last_seq
        if view.reached > held_numbers:
            self._losses.note(await journal.take_new_id(view.reached))
            for unit in self._roster.units():
                unit.stored.seq = 0
        if moved:
            self._note_gaps()
        for record in records:
            if record.archived_at is None and await self._bring_back(record, view, moved):
                self._waiting[record.id] = None
        if self.fits(view):
            if view.is_open:
                journal.note_compared()
            self.is_due = False
        return list(self._waiting)

    def _note_gaps(self) -> None:
        """What the journal had refused was in the database alone: it is read back from Evolution's store."""
        for unit in self._roster.units():
            if unit.direct_since is not None:
                unit.gap_since = min(unit.direct_since, unit.gap_since or unit.direct_since)

    async def _bring_back(self, record: UnitRecord, view: DatabaseView, moved: bool) -> bool:
        """Replay what the database has lost of a unit."""
        journal, unit = self._journal, self._roster.get(record.id)
        if unit is not None and unit.state is None:
            unit = None
        if self.shared and record.journal_id != journal.journal_id:
            return False  # another process has stored since: what this one knew is out of date
        stored = applied_position(journal.journal_id, record.journal_id, record.applied_seq)
        known = unit.stored.seq if unit is not None else 0
        if unit is None or self.is_due:  # a journal that was opened late knows more than memory
            known = max(known, journal.stored_positions.get(record.id, 0))
        again = self._set_back.get(record.id) if moved else None
        if stored < known or again is not None:
            since = min(stored, again if again is not None else stored)
            count = await journal.replay_unit(record.id, since)
        elif record.id in view.lost_calls:
            since = 0
            count = await journal.replay_unit(record.id, since, _CALLS)
        else:
            return False
        await journal.reset_position(record.id, stored)
        self._lost_calls.discard(record.id)
        self._set_back[record.id] = since
        self._counters.add("units_set_back")
        _LOG.critical(
            "The database was set back; what the journal holds is stored again, and nothing is sent meanwhile",
            unit=str(record.id),
            entries=count,
        )
        if unit is not None:
            unit.stored.seq = stored
        return True

    async def bring_back_message(self, unit: Unit, message: UUID) -> None:
        """Store again what the journal holds of a message's calls, of which the database had known nothing."""
        try:
            await self._journal.replay_message(message)
        except JournalRefused as refused:
            # It is claimed, and becomes uncertain: the next lease recovery ends its call.
            _LOG.error("What the journal knows of a message cannot be read", error=str(refused))
        if unit.can_act:
            self._dispatcher.rewind(unit)

    def resume(self, set_back: Sequence[UnitId]) -> None:
        """Have the units go on that were set back; their connection is stored as memory has it."""
        self._losses.tell_units()
        for id in set_back:
            self._waiting.pop(id, None)
            unit = self._roster.get(id)
            if unit is None:
                continue
            unit.catching_up, unit.connection_unwritten = self._journal.last_seq, True
            if unit.can_act:
                self._dispatcher.rewind(unit)
                self._roster.send_event(unit, Started())
        if set_back:
            self._work.set()

    async def run(self, wake: Callable[[UnitId], None]) -> None:
        """Let units send again once everything up to their hold is stored. Until cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self.catching_up:
                for unit in self._roster.units():
                    if unit.catching_up is not None and await self._has_caught_up(unit.id, unit.catching_up):
                        unit.catching_up = None
                        _LOG.info("The database has caught up; the unit sends again", unit=str(unit.id))
                        wake(unit.id)
                await trio.sleep(_CHECK_EVERY)

    async def _has_caught_up(self, unit: UnitId, until: Seq) -> bool:
        try:
            left = await self._journal.unfinished(Seq(0), 1, unit)
        except JournalRefused:
            return False
        return not left or left[0].seq > until
