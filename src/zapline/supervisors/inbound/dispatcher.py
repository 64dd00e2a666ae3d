"""Feeds the mailboxes strictly in journal order; a full mailbox holds back its own unit, and nobody else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound.unit_state import Unit

PAGE = 128
"""Entries read from disk at once for a unit that lags."""
REFUSED_PAUSE = 0.5
"""Seconds until a refused read is tried again."""
_LOG = structlog.get_logger(scope="Dispatcher")


@dataclass(slots=True)
class _Lag:
    """A unit whose entries wait on disk."""

    fed: Seq
    """Read on after this one."""
    touched: bool = True
    """Something was committed for the unit since the last read began."""


class Dispatcher:
    """``committed`` is called by the journal with every group commit, in order; ``run`` feeds those that lag."""

    def __init__(self, find: Callable[[UnitId], Unit | None]) -> None:
        self._find = find
        self._lags: dict[UnitId, _Lag] = {}  # bounded by the number of units
        self._todo: dict[UnitId, None] = {}
        self._rung = trio.Event()
        self.journal: Journal | None = None

    @property
    def lagging(self) -> int:
        """Units with entries held back on disk that could be fed."""
        units = (self._find(unit_id) for unit_id in self._lags)
        return sum(1 for unit in units if unit is not None and _serving(unit))

    def committed(self, entries: Sequence[Entry]) -> None:
        """Route what has just become durable. Never waits: what has no room is read from disk later."""
        for entry in entries:
            lag = self._lags.get(entry.unit_id)
            if lag is not None:
                lag.touched = True
                continue
            unit = self._find(entry.unit_id)
            if unit is None or not _serving(unit):
                continue  # read from disk when it starts
            if entry.seq > unit.fed:  # a page read from disk may have been quicker
                if unit.mailbox.put(entry):
                    unit.fed = entry.seq
                else:
                    self._lags[entry.unit_id] = _Lag(unit.fed)
                    unit.mailbox.on_room = True

    def read_again(self, unit: Unit) -> None:
        """Feed all unfinished entries of a unit from disk: after a start, a crash, a release or a replay.

        What is in hand just now is fed again too; the actor skips what is applied.
        """
        unit.mailbox.clear_entries()
        unit.fed = Seq(0)
        self._lags[unit.id] = _Lag(Seq(0))
        self.refill(unit)

    def refill(self, unit: Unit) -> None:
        """There may be room in this unit's mailbox."""
        if unit.id in self._lags and _serving(unit):
            self._todo[unit.id] = None
            self._rung.set()

    def forget(self, unit: UnitId) -> None:
        """The unit is gone from the roster; its entries stay in the journal."""
        self._lags.pop(unit, None)
        self._todo.pop(unit, None)

    async def run(self) -> None:
        """Feed lagging units in turn, a page each, until cancelled."""
        while True:
            await self._rung.wait()
            while self._todo:
                unit_id = next(iter(self._todo))
                del self._todo[unit_id]
                try:
                    await self._feed(unit_id)
                except JournalRefused as refused:
                    # A disk that refuses a read may take the next one; what waits on it is not lost.
                    _LOG.error("The journal could not be read; it is tried again", error=str(refused))
                    self._todo[unit_id] = None
                    await trio.sleep(REFUSED_PAUSE)
            self._rung = trio.Event()

    async def _feed(self, unit_id: UnitId) -> None:
        unit, lag = self._find(unit_id), self._lags.get(unit_id)
        if unit is None or lag is None or not _serving(unit):
            return
        assert self.journal is not None
        lag.touched = False
        page = await self.journal.unfinished(lag.fed, PAGE, unit_id)
        if self._lags.get(unit_id) is not lag:
            return  # read_again began anew meanwhile
        for entry in page:
            if not unit.mailbox.put(entry):
                unit.mailbox.on_room = True
                return
            lag.fed = unit.fed = entry.seq
        if page or lag.touched:
            self.refill(unit)
        else:
            del self._lags[unit_id]
            unit.mailbox.on_room = False


def _serving(unit: Unit) -> bool:
    return unit.state is not None and unit.quarantined_at is None
