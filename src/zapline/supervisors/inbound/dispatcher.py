"""Puts journal entries into the mailboxes in journal order; a full mailbox delays only its own unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound.unit_state import Unit

PAGE_ENTRIES = 128
"""Entries read from disk at once for a unit with a backlog."""
READ_RETRY_PAUSE = 0.5
"""Seconds until a refused read is tried again."""
_LOG = structlog.get_logger(scope="Dispatcher")


@dataclass(slots=True)
class _Backlog:
    """Entries of a unit that wait on disk."""

    read_until: Seq
    """The next read begins after this entry."""
    grew: bool = True
    """Entries were committed for the unit since the last read began."""


class Dispatcher:
    """``dispatch`` gets every group commit of the journal, in order; ``run`` reads the backlogs from disk."""

    def __init__(
        self, find: Callable[[UnitId], Unit | None], takes: Callable[[Entry], bool] = lambda entry: True
    ) -> None:
        """``takes``: whether an entry goes from the journal to its unit; others go by the inbox."""
        self._find = find
        self._takes = takes
        self._backlogs: dict[UnitId, _Backlog] = {}  # bounded by the number of units
        self._pending_reads: dict[UnitId, None] = {}
        self._wake = trio.Event()
        self.journal: Journal | None = None

    @property
    def lagging(self) -> int:
        """Active units with a backlog on disk."""
        units = (self._find(unit_id) for unit_id in self._backlogs)
        return sum(1 for unit in units if unit is not None and unit.can_act)

    def dispatch(self, entries: Sequence[Entry]) -> None:
        """Route entries that have just become durable. Never waits: what has no room is read from disk later."""
        for entry in filter(self._takes, entries):
            backlog = self._backlogs.get(entry.unit_id)
            if backlog is not None:
                backlog.grew = True
                continue
            unit = self._find(entry.unit_id)
            if unit is None or not unit.can_act:
                continue  # read from disk when it starts
            if entry.seq > unit.last_fed_seq:  # else a page read from disk was faster
                if unit.mailbox.put_entry(entry):
                    unit.last_fed_seq = entry.seq
                else:
                    self._backlogs[entry.unit_id] = _Backlog(unit.last_fed_seq)
                    unit.mailbox.room_wanted = True

    def rewind(self, unit: Unit) -> None:
        """Read all unfinished entries of a unit from disk: after a start, a crash, a release or a replay.

        Entries being processed at the moment are read again too; the actor skips those already applied.
        """
        unit.mailbox.clear_entries()
        unit.last_fed_seq = Seq(0)
        self._backlogs[unit.id] = _Backlog(Seq(0))
        self.refill(unit)

    def refill(self, unit: Unit) -> None:
        """Continue with a unit's backlog, since its mailbox may have room."""
        if unit.id in self._backlogs and unit.can_act:
            self._pending_reads[unit.id] = None
            self._wake.set()

    def forget(self, unit: UnitId) -> None:
        """Drop a unit that left the roster; its entries stay in the journal."""
        self._backlogs.pop(unit, None)
        self._pending_reads.pop(unit, None)

    async def run(self) -> None:
        """Read the backlogs in turn, one page each, until cancelled."""
        while True:
            await self._wake.wait()
            while self._pending_reads:
                unit_id = next(iter(self._pending_reads))
                del self._pending_reads[unit_id]
                try:
                    await self._read_page(unit_id)
                except JournalRefused as refused:
                    # The next read may succeed; the entries on disk are not lost.
                    _LOG.error("The journal could not be read; it is tried again", error=str(refused))
                    self._pending_reads[unit_id] = None
                    await trio.sleep(READ_RETRY_PAUSE)
            self._wake = trio.Event()

    async def _read_page(self, unit_id: UnitId) -> None:
        unit, backlog = self._find(unit_id), self._backlogs.get(unit_id)
        if unit is None or backlog is None or not unit.can_act:
            return
        assert self.journal is not None
        backlog.grew = False
        page = await self.journal.unfinished(backlog.read_until, PAGE_ENTRIES, unit_id)
        if self._backlogs.get(unit_id) is not backlog:
            return  # rewound meanwhile
        for entry in page:
            if self._takes(entry):
                if not unit.mailbox.put_entry(entry):
                    unit.mailbox.room_wanted = True
                    return
                unit.last_fed_seq = entry.seq
            backlog.read_until = entry.seq
        if page or backlog.grew:
            self.refill(unit)
        else:
            del self._backlogs[unit_id]
            unit.mailbox.room_wanted = False
