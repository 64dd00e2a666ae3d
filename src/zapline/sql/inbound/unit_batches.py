"""One unit's part of a recorder batch: its entries with their rows, its connection and its journal position."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.state import StoredLineState
from zapline.sql.inbound.recorder_types import EntryFacts, StoredPosition
from zapline.sql.inbound.rows_from_facts import BatchRows


@dataclass(frozen=True, slots=True)
class UnitBatch:
    """Entries in journal order, their rows, and the connection after them."""

    unit_id: UnitId
    entries: Sequence[EntryFacts]
    rows: BatchRows
    connection: StoredLineState | None
    """None where the connection did not change."""
    applied_seq: Seq | None
    journal_id: UUID
    stored: StoredPosition = field(default_factory=StoredPosition)

    def halves(self) -> tuple["UnitBatch", "UnitBatch"]:
        """Split between entries; connection and position go with the second half.

        The position must not move before the connection does: after a crash between the halves the connection
        events of the first one would be lost. Its facts may be stored again.
        """
        middle = len(self.entries) // 2
        first, second = self.entries[:middle], self.entries[middle:]
        return (
            prepare_batch(self.unit_id, first, None, None, self.journal_id, self.stored),
            prepare_batch(self.unit_id, second, self.connection, self.applied_seq, self.journal_id, self.stored),
        )


def prepare_batch(
    unit_id: UnitId,
    entries: Iterable[EntryFacts],
    connection: StoredLineState | None,
    applied_seq: Seq | None,
    journal_id: UUID,
    stored: StoredPosition | None = None,
) -> UnitBatch:
    """Build the rows of a unit's entries. Runs in the unit's actor, so that a crash affects only that unit."""
    listed = tuple(entries)
    rows = BatchRows()
    for entry in listed:
        rows.add(unit_id, entry, journal_id)
    return UnitBatch(unit_id, listed, rows, connection, applied_seq, journal_id, stored or StoredPosition())


def rejoin(parts: Sequence[UnitBatch]) -> UnitBatch:
    """The remaining parts of a write as one write; connection row and position are in the last part."""
    last = parts[-1]
    entries = [entry for part in parts for entry in part.entries]
    return prepare_batch(last.unit_id, entries, last.connection, last.applied_seq, last.journal_id, last.stored)
