"""One unit's part of a recorder batch: its entries with their rows, its connection and its journal position."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.state import StoredLineState
from zapline.sql.inbound.recorder_types import EntryFacts
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

    def halves(self) -> tuple["UnitBatch", "UnitBatch"]:
        """Split between entries; connection and position go with the second half.

        The position must not move before the connection does: after a crash between the halves the connection
        events of the first one would be lost. Its facts may be stored again.
        """
        middle = len(self.entries) // 2
        first, second = self.entries[:middle], self.entries[middle:]
        return (
            prepare_batch(self.unit_id, first, None, None, self.journal_id),
            prepare_batch(self.unit_id, second, self.connection, self.applied_seq, self.journal_id),
        )


def prepare_batch(
    unit_id: UnitId,
    entries: Iterable[EntryFacts],
    connection: StoredLineState | None,
    applied_seq: Seq | None,
    journal_id: UUID,
) -> UnitBatch:
    """Build the rows of a unit's entries. Runs in the unit's actor, so that a crash affects only that unit."""
    listed = tuple(entries)
    rows = BatchRows()
    for entry in listed:
        rows.add(unit_id, entry, journal_id)
    return UnitBatch(unit_id, listed, rows, connection, applied_seq, journal_id)
