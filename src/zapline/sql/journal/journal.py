"""The durable journal of accepted webhooks: one writer thread, one fsync for all waiting appends."""

import re
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.reader import JournalReader
from zapline.sql.journal.schema import ROW_BYTES, Arrival, Entry, HistoryRow, clear_wal
from zapline.sql.journal.sqlite_file import JournalFile
from zapline.sql.journal.writer import JournalWriter, Request

MAX_WAITING = 4096
"""Entries in the writer's queue; about a second of the fastest intake."""
WAIT_FOR_ROOM_SECONDS = 5.0
"""A disk that does not respond for this long counts as refusing; webhooks then go directly to PostgreSQL."""
CHUNK = 250
"""Entries removed or replayed in one commit, which takes some milliseconds."""
PRUNE_COMMITS = 400
"""Commits in one call; housekeeping repeats it for the rest."""
SEARCHED_AT_ONCE = 2000
"""Entries searched in one read, which takes about 10 ms of a thread."""
READ_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JournalStatistics:
    """``oldest`` is the ``received_at`` of the oldest unfinished entry. Counters start with the process."""

    depth: int
    oldest: float | None
    stored_bytes: int
    appended: int
    refused: int
    commits: int
    last_commit_seconds: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """Counts of removed done entries and shed unfinished ones, and the bytes of all their bodies."""

    removed: int
    shed: int
    bytes: int


class Journal:
    """The durable intake journal. Methods are for the trio thread; ``open`` creates the only instance.

    An entry is on disk when ``append`` returns, and ``unfinished`` returns it after any crash until it is
    marked done. This is at least once: a refused or cancelled append may still be stored.
    """

    def __init__(
        self,
        file: JournalFile,
        on_committed: Callable[[list[Entry]], None],
        max_waiting: int,
        room_seconds: float,
    ) -> None:
        self._file = file
        self._writer = JournalWriter(file, self._on_commit)
        self._reader = JournalReader(file.path)
        self._reading = trio.CapacityLimiter(1)
        self._on_committed = on_committed
        self._max_waiting = max_waiting
        self._room_seconds = room_seconds
        self._room = trio.lowlevel.ParkingLot()
        self._waiting = 0
        self._last_seq = file.last_seq
        self._appended = self._refused = 0
        self.refusing = False
        """The last group commit was refused."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        *,
        on_committed: Callable[[list[Entry]], None],
        max_waiting: int = MAX_WAITING,
        room_seconds: float = WAIT_FOR_ROOM_SECONDS,
    ) -> AsyncIterator["Journal"]:
        """Open or create the journal; counts one more start for every unfinished entry.

        ``on_committed`` gets the entries of each group commit, in order, on the trio thread, before any of
        the appends returns; it must not raise. Leaving drains the writer, also when cancelled. Raises
        ``JournalRefused``, and ``StandstillError`` for a file of a later release; errors of the body are
        raised in an exception group, since a crash of the writer cancels the body.
        """
        file = await trio.to_thread.run_sync(JournalFile.open, directory)
        journal = cls(file, on_committed, max_waiting, room_seconds)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal._write)
                try:
                    yield journal
                finally:
                    journal._writer.stop()
                    journal._room.unpark_all()
        finally:
            journal._reader.close()

    @property
    def journal_id(self) -> UUID:
        """Random, created with the file: sequence numbers are valid only together with it."""
        return self._file.journal_id

    async def append(self, arrival: Arrival) -> Seq:
        """Store one arrival; returns when it is on disk.

        Raises ``JournalRefused`` when the disk refused it, or when the queue was full for
        ``room_seconds``. Cancellation: the entry may be stored nevertheless.
        """
        return (await self.append_many((arrival,)))[0]

    async def append_many(self, arrivals: Sequence[Arrival]) -> list[Seq]:
        """Store all or none in one commit, with consecutive numbers; otherwise as ``append``."""
        if not arrivals:
            return []
        if self._waiting >= self._max_waiting:
            await self._wait_for_room()
        if self._writer.closing:
            raise JournalRefused("the journal is closed")
        seq = self._last_seq
        entries: list[Entry] = []
        size = 0
        for arrival in arrivals:
            seq += 1
            body = arrival.body
            size += len(body)
            event = arrival.event
            if not event.isascii():
                # JSON allows a lone surrogate, SQLite does not.
                event = event.encode("utf-8", "backslashreplace").decode()
            entries.append(Entry(Seq(seq), arrival.unit_id, event, arrival.received_at, body))
        # The number of a refused entry is not used again.
        self._last_seq = seq
        self._waiting += len(entries)
        await self._writer.submit(Request(entries, size))
        return [entry.seq for entry in entries]

    def mark_done(self, seqs: Sequence[Seq]) -> None:
        """Mark entries as done; written with the next commit or within about 50 ms, and again if refused."""
        if seqs:
            self._writer.submit_done(tuple(seqs))

    async def flush(self) -> None:
        """Wait until all earlier requests are on disk. Raises ``JournalRefused``; may be cancelled."""
        await self._call(lambda file: None)

    async def note_crash(self, seqs: Sequence[Seq]) -> None:
        """Count an actor's crash for each entry, durably. Raises ``JournalRefused``."""
        await self._call(JournalFile.note_crash, seqs)

    async def mark_suspect(self, seq: Seq) -> None:
        """Mark, durably, that this entry is about to be processed as the only one. Raises ``JournalRefused``."""
        await self._call(JournalFile.set_suspect, seq, True)

    def clear_suspect(self, seq: Seq) -> None:
        """Remove the mark: the process survived. Does not wait; tried again if refused."""
        self._writer.submit_unattended(lambda file: file.set_suspect(seq, False))

    async def unfinished(
        self, after: Seq, limit: int, unit: UnitId | None = None, max_bytes: int = READ_BYTES
    ) -> list[Entry]:
        """Unfinished entries with a number above ``after``, in order, of one unit or all.

        At most ``limit``, and at most ``max_bytes`` of bodies, but at least one if there is one. Raises
        ``JournalRefused`` when the file cannot be read. Cancellation waits for the short read.
        """
        return await self._read(self._reader.unfinished, after, limit, unit, max_bytes)

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

    async def save_snapshot(self, data: bytes) -> None:
        """Store ``data`` in place of the last snapshot. Raises ``JournalRefused``."""
        await self._call(JournalFile.save_snapshot, data)

    def load_snapshot(self) -> bytes | None:
        """The last snapshot, or None. Blocks for a short read; raises ``JournalRefused``."""
        reader = JournalReader(self._file.path)
        try:
            return reader.snapshot()
        finally:
            reader.close()

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

    def statistics(self) -> JournalStatistics:
        """From memory; depth and oldest are exact as of the last commit, bytes are approximate."""
        file = self._file
        return JournalStatistics(
            file.depth,
            file.oldest,
            file.stored_bytes,
            self._appended,
            self._refused,
            self._writer.commits,
            self._writer.last_commit_seconds,
        )

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

    async def _write(self) -> None:
        # Only ``stop`` ends the writer, so that a cancelled daemon still drains.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._writer.run, limiter=trio.CapacityLimiter(1))

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have the writer do this to its file in its next commit. Cancellation: it may happen nevertheless."""
        return cast(T, await self._writer.submit(Request((), 0, lambda file: work(file, *arguments))))

    async def _read(self, read: Callable[..., T], *arguments: Any) -> T:
        return await trio.to_thread.run_sync(read, *arguments, limiter=self._reading)

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(self._room_seconds):
            while self._waiting >= self._max_waiting and not self._writer.closing:
                await self._room.park()
            return
        self._refused += 1
        raise JournalRefused(f"the journal is behind: no room in its queue for {self._room_seconds:g} s")

    def _on_commit(self, entries: list[Entry], refused: str | None) -> None:
        """Update counters after a commit or a refusal; the waiting tasks continue after this."""
        if not entries:
            return
        self.refusing = refused is not None
        if refused is None:
            self._appended += len(entries)
            self._on_committed(entries)
        else:
            self._refused += len(entries)
        self._waiting -= len(entries)
        if self._room and self._waiting < self._max_waiting:
            self._room.unpark(count=self._max_waiting - self._waiting)
