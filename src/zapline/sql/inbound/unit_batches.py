"""One unit's part of a recorder batch: its entries with their rows, its connection and its journal position."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec

from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.history import LineChange
from zapline.domain.line.state import StoredLineState
from zapline.sql.inbound.recorder_types import EntryFacts, StoredPosition
from zapline.sql.inbound.rows_from_facts import BatchRows
from zapline.sql.postgres.nodes import UNCHECKED, Ownership


@dataclass(frozen=True, slots=True)
class UnitBatch:
    """Entries in journal order, and the connection after them."""

    unit_id: UnitId
    entries: Sequence[EntryFacts]
    connection: StoredLineState | None
    """None where the connection did not change."""
    applied_seq: Seq | None
    journal_id: UUID
    stored: StoredPosition = field(default_factory=StoredPosition)
    changes: Sequence[LineChange] = ()
    """What the line has shown on the way to the connection."""
    held: Ownership = UNCHECKED
    """By what right it is stored; shared with its unit."""
    inbox: Sequence[int] = ()
    """Its entries that are to be deleted from the inbox."""
    _rows: list[BatchRows] = field(default_factory=list, compare=False, repr=False)

    @property
    def rows(self) -> BatchRows:
        """The rows of the entries, made when they are first asked for."""
        if not self._rows:
            made = BatchRows()
            for entry in self.entries:
                made.add(self.unit_id, entry, self.journal_id)
            self._rows.append(made)
        return self._rows[0]

    @property
    def facts(self) -> int:
        return sum(len(entry.facts) for entry in self.entries)

    @property
    def divisible(self) -> bool:
        return len(self.entries) > 1 or self.facts > 1

    def halves(self) -> tuple["UnitBatch", "UnitBatch"]:
        """Split between entries, or inside of a single one; connection and position go with the second half.

        The position must not move before the connection does: after a crash between the halves the connection
        events of the first one would be lost. Its facts may be stored again.
        """
        if len(self.entries) > 1:
            middle = len(self.entries) // 2
            first, second = self.entries[:middle], self.entries[middle:]
        else:
            (entry,) = self.entries
            middle = len(entry.facts) // 2
            first, second = (_part(entry, 0, middle),), (_part(entry, middle, len(entry.facts)),)
        return self._earlier_part(first), replace(self, entries=second, _rows=[])

    def chunks(self, most: int) -> list["UnitBatch"]:
        """Parts of at most so many facts (or one entry without any); connection and position go with the last."""
        parts: list[list[EntryFacts]] = [[]]
        room = most
        for entry in self.entries:
            for start in range(0, max(len(entry.facts), 1), most):
                piece = entry if len(entry.facts) <= most else _part(entry, start, start + most)
                if len(piece.facts) > room:
                    parts.append([])
                    room = most
                parts[-1].append(piece)
                room -= len(piece.facts)
        last = replace(self, entries=tuple(parts.pop()), _rows=[])
        return [*(self._earlier_part(tuple(part)) for part in parts), last]

    def _earlier_part(self, entries: Sequence[EntryFacts]) -> "UnitBatch":
        return replace(self, entries=entries, connection=None, applied_seq=None, changes=(), inbox=(), _rows=[])


def _part(entry: EntryFacts, start: int, end: int) -> EntryFacts:
    """Some facts of an entry; the last part also says why the entry is a dead letter, if it is."""
    facts = entry.facts[start:end]
    if end >= len(entry.facts):
        return msgspec.structs.replace(entry, facts=facts)
    return msgspec.structs.replace(entry, facts=facts, dead_reason=None, dead_detail=None)


def prepare_batch(
    unit_id: UnitId,
    entries: Iterable[EntryFacts],
    connection: StoredLineState | None,
    applied_seq: Seq | None,
    journal_id: UUID,
    stored: StoredPosition | None = None,
    changes: Sequence[LineChange] = (),
    held: Ownership = UNCHECKED,
    inbox: Sequence[int] = (),
) -> UnitBatch:
    """Build the rows of a unit's entries. Runs in the unit's actor, so that a crash affects only that unit."""
    position = stored or StoredPosition()
    known = (journal_id, position, tuple(changes), held, inbox)
    batch = UnitBatch(unit_id, tuple(entries), connection, applied_seq, *known)
    assert batch.rows is not None
    return batch


def rejoin_batches(parts: Sequence[UnitBatch]) -> UnitBatch:
    """The remaining parts of a write as one write; connection row and position are in the last part."""
    entries: list[EntryFacts] = []
    for entry in (entry for part in parts for entry in part.entries):
        if entries and entry.seq is not None and entries[-1].seq == entry.seq:
            entries[-1] = msgspec.structs.replace(entry, facts=[*entries[-1].facts, *entry.facts])
        else:
            entries.append(entry)
    return replace(parts[-1], entries=tuple(entries), _rows=[])


def merge_rows(batch: Iterable[UnitBatch]) -> BatchRows:
    """The rows of all units of a transaction."""
    rows = BatchRows()
    for unit_batch in batch:
        rows.extend(unit_batch.rows)
    return rows
