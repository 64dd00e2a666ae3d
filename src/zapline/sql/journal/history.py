"""The history of the journal: replaying, erasing and pruning entries that are done."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.journal.reader import JournalReader
from zapline.sql.journal.schema import ROW_BYTES, HistoryRow, clear_wal
from zapline.sql.journal.sqlite_file import JournalFile

CHUNK = 250
"""Entries removed or replayed in one commit, which takes some milliseconds."""
PRUNE_COMMITS = 400
"""Commits in one call; housekeeping repeats it for the rest."""
SEARCHED_AT_ONCE = 2000
"""Entries searched in one read, which takes about 10 ms of a thread."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pruned:
    """Counts of removed done entries and shed unfinished ones, and the bytes of all their bodies."""

    removed: int
    shed: int
    bytes: int


class JournalHistory(ABC):
    """What ``Journal`` does with entries that are done; a part of it, in a module of its own."""

    _file: JournalFile
    _reader: JournalReader
    _last_seq: int

    @abstractmethod
    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have the writer do this to its file in its next commit."""

    @abstractmethod
    async def _read(self, read: Callable[..., T], *arguments: Any) -> T:
        """Read beside the writer, in another thread. Raises ``JournalRefused`` while the journal is closed."""

    async def replay(self, since: float, unit: UnitId | None = None) -> int:
        """Make done entries unfinished again that were received at or after ``since``; returns how many.

        In chunks: after a cancellation or refusal a part has been replayed; the call may be repeated.
        """
        last, after, replayed = self._last_seq, 0, 0
        owner = None if unit is None else unit.bytes
        while after < last and (rows := await self._read(self._reader.scan, after, CHUNK)):
            after = rows[-1].seq
            seqs = [
                row.seq
                for row in rows
                if row.done and row.seq <= last and row.received_at >= since and owner in (None, row.unit)
            ]
            if seqs:
                replayed += await self._call(JournalFile.replay, seqs)
        return replayed

    async def replay_unit(self, unit: UnitId, after: int, events: Collection[str] | None = None) -> int:
        """Replay a unit's entries above a number, or those of some events; calls that are unfinished, too.

        For a database that was set back. Otherwise as ``replay``.
        """
        last, replayed = self._last_seq, 0
        while after < last and (rows := await self._read(self._reader.scan, after, CHUNK)):
            after = rows[-1].seq
            seqs = [
                row.seq
                for row in rows
                if row.unit == unit.bytes and row.seq <= last and (events is None or row.event in events)
            ]
            if seqs:
                replayed += await self._call(JournalFile.replay, seqs, True)
        return replayed

    async def last_call(self, message: UUID) -> bytes | None:
        """The body of the last entry that says that this message is about to be sent. Raises ``JournalRefused``."""
        return (await self._read(self._reader.calls_of, message))[1]

    async def replay_message(self, message: UUID) -> int:
        """Replay what is noted of the calls of a message; returns how many entries. Raises ``JournalRefused``."""
        seqs, _ = await self._read(self._reader.calls_of, message)
        return await self._call(JournalFile.replay, seqs, True) if seqs else 0

    async def erase(self, unit: UnitId, pattern: re.Pattern[bytes], until: float) -> tuple[int, int]:
        """Remove a unit's done entries that match the pattern and were received until then (UTC seconds).

        Returns how many were removed, and how many matching ones are unfinished: these must be done first. Once
        none is left, their bytes are overwritten in the file and its WAL. Raises ``JournalRefused``; may be repeated.
        """
        last, removed, waiting = self._last_seq, 0, 0
        after = await self._read(self._reader.first) - 1
        while after < last:
            upto = min(after + SEARCHED_AT_ONCE, last)
            done, undone = await self._read(self._reader.search, after, upto, unit, until, pattern)
            after, waiting = upto, waiting + undone
            for at in range(0, len(done), CHUNK):
                removed += await self._call(JournalFile.remove, done[at : at + CHUNK])
        if not waiting:  # also where an earlier call removed them and could not do this
            await self._read(clear_wal, self._file.path)
        return removed, waiting

    async def prune(self, older_than: float, budget_bytes: int, shed_first: Collection[str]) -> Pruned:
        """Remove done entries received before ``older_than``, and the oldest done ones above the budget.

        If that is not enough, unfinished entries whose event is in ``shed_first`` are removed, too, oldest
        first. The budget counts bytes used inside the file, which itself never shrinks. One call makes at
        most 400 commits of 250 entries each. Raises ``JournalRefused``.
        """
        excess = await self._read(self._reader.used_bytes) - budget_bytes
        removed, freed, excess = await self._sweep(
            JournalFile.remove, excess, lambda row: bool(row.done), lambda row: row.received_at < older_than
        )
        shed = 0
        if excess > 0:
            excess = min(excess, await self._read(self._reader.used_bytes) - budget_bytes)
            shed, more, _ = await self._sweep(
                JournalFile.shed, excess, lambda row: not row.done and row.event in shed_first, lambda row: False
            )
            freed += more
        if removed or shed:
            await self._call(JournalFile.measure)
        return Pruned(removed, shed, freed)

    async def overwrite_removed(self) -> None:
        """Overwrite what was removed in the WAL too, where it would stay until others take its place.

        The writer waits meanwhile. Raises ``JournalRefused``; may be repeated.
        """
        await self._read(clear_wal, self._file.path)

    async def _sweep(
        self,
        remove: Callable[[JournalFile, Collection[int]], int],
        excess: int,
        removable: Callable[[HistoryRow], bool],
        expired: Callable[[HistoryRow], bool],
    ) -> tuple[int, int, int]:
        """From the oldest entry on, remove ``removable`` ones that are expired or exceed the budget.

        Returns how many were removed, the bytes of their bodies, and the remaining excess.
        """
        after = count = freed = 0
        commits = 0
        while commits < PRUNE_COMMITS:
            rows = await self._read(self._reader.scan, after, CHUNK)
            if not rows or (excess <= 0 and not any(expired(row) for row in rows)):
                break
            after = rows[-1].seq
            seqs = []
            for row in rows:
                if removable(row) and (excess > 0 or expired(row)):
                    seqs.append(row.seq)
                    freed += row.size
                    excess -= row.size + ROW_BYTES
            if seqs:
                commits += 1
                count += await self._call(remove, seqs)
        return count, freed, excess
