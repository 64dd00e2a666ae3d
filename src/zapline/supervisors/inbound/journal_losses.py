"""Tells of what the journal has lost, and has it read back from Evolution's store."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
import trio

from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Entry, Loss
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.unit_state import Unit

_LOG = structlog.get_logger(scope="Journal")
_UNKNOWN_SINCE = 86_400.0
"""Seconds back from which webhooks may be missing where nothing tells: as long as the journal keeps them."""
LOSS_TEXTS = {
    "set_back": "The journal holds less than was acknowledged: its file, or its WAL, is older or damaged",
    "damaged": "The journal was damaged: it is set aside, and what could be read of it is in a new one",
    "older": "The journal is older than the database: it goes on as a new one, so that no number is used twice",
    "damaged_entry": "An entry of the journal is not what was written; it is a dead letter",
    "no_unit": "Webhooks of units that the database does not have were given up",
}


@dataclass(eq=False, repr=False)
class JournalLosses:
    """One instance per process. Every line is compared with Evolution's store from the time of a loss on."""

    _journal: Journal
    _units: Callable[[], Iterable[Unit]]
    _counters: Counters
    _pending: float | None = None
    """UTC seconds of a loss that the units do not know of yet."""
    clock: Callable[[], float] = time.time
    """UTC seconds."""
    entries: int = field(default=0, init=False)
    """Entries that are known to be lost since the start."""
    last_at: float | None = field(default=None, init=False)
    """Monotonic time of the last loss."""

    def take(self) -> None:
        """Note what the journal has found lost since the last call."""
        for loss in self._journal.take_losses():
            self.note(loss)

    def note(self, loss: Loss) -> None:
        """Log and count a loss, and have it read back."""
        self.last_at, now = trio.current_time(), self.clock()
        if loss.kind != "older":  # the database has those that are missing here
            self.entries += loss.entries
        self._counters.add("journal_losses", loss.kind)
        _LOG.critical(LOSS_TEXTS[loss.kind], kind=loss.kind, lost=loss.entries, directory="journal")
        since = loss.since if 0.0 < loss.since <= now else now - _UNKNOWN_SINCE
        self._pending = min(since, self._pending or since)
        self.tell_units()

    def note_damaged_entry(self, entry: Entry) -> None:
        """One entry is not what was written; its time may be wrong, too."""
        self.note(Loss("damaged_entry", 1, entry.received_at))

    def tell_units(self) -> None:
        """Note the gap at all units, as soon as there are any."""
        units = list(self._units())
        if self._pending is None or not any(unit.state is not None for unit in units):
            return
        for unit in units:
            unit.gap_since = min(self._pending, unit.gap_since or self._pending)
        self._pending = None
