"""The durable journal of accepted webhooks: one writer thread, one fsync for all waiting appends."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.history import JournalHistory
from zapline.sql.journal.reader import JournalReader
from zapline.sql.journal.schema import Arrival, Entry, JournalDamaged, Loss
from zapline.sql.journal.sqlite_file import JournalFile
from zapline.sql.journal.writer import JournalWriter, Request

MAX_WAITING = 4096
"""Entries in the writer's queue; about a second of the fastest intake."""
WAIT_FOR_ROOM_SECONDS = 5.0
"""A disk that does not respond for this long counts as refusing; webhooks then go directly to PostgreSQL."""
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


class Journal(JournalHistory):
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
        self._reader = JournalReader(file.path, lambda: file.generation)
        self._reading = trio.CapacityLimiter(1)
        self._on_committed = on_committed
        self._max_waiting = max_waiting
        self._room_seconds = room_seconds
        self._room = trio.lowlevel.ParkingLot()
        self._waiting = 0
        self._last_seq = file.last_seq
        self._appended = self._refused = 0
        self._replaced: UUID | None = None
        self._generation, self._was_open = file.generation, file.closed_because is None
        self.refusing = False
        """The last group commit was refused."""
        self.on_changed: Callable[[], None] = lambda: None
        """Called on the trio thread when the file was opened late, or a new one has taken its place."""

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
        """Open or create the journal; counts one more start for every unfinished entry, but after an orderly stop.

        Where the disk does not let us, the journal refuses everything until it does (``closed_because``).

        ``on_committed`` gets the entries of each group commit, in order, on the trio thread, before any of
        the appends returns; it must not raise. Leaving drains the writer, also when cancelled. Raises
        ``MustNotWrite`` for a file of a later release; errors of the body are raised in an exception group, since a
        crash of the writer cancels the body.
        """
        file = await trio.to_thread.run_sync(JournalFile.open, directory)
        journal = cls(file, on_committed, max_waiting, room_seconds)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(journal._write)
                watching = trio.CancelScope()
                nursery.start_soon(journal._writer.give_up_late, watching)
                if file.closed_because is not None:
                    journal._writer.submit_unattended(lambda file: None)  # repeated until the file can be opened
                try:
                    yield journal
                finally:
                    journal._writer.stop()
                    journal._room.unpark_all()
                    watching.cancel()
        finally:
            journal._reader.close()

    @property
    def journal_id(self) -> UUID:
        """Random, created with the file: sequence numbers are valid only together with it."""
        return self._replaced or self._file.journal_id

    @property
    def closed_because(self) -> str | None:
        """Why the file could not be opened; None: it is open."""
        return self._file.closed_because

    @property
    def stored_positions(self) -> Mapping[UnitId, int]:
        """Up to which number each unit's entries were stored in the database when the file was opened."""
        return {} if self._replaced is not None else self._file.positions

    @property
    def last_seq(self) -> Seq:
        """The highest number so far."""
        return Seq(self._last_seq)

    @property
    def began_at(self) -> Seq:
        """The highest number at the first start since the journal was compared with the database."""
        return Seq(self._file.began_at)

    def take_losses(self) -> list[Loss]:
        """What was found lost since the last call."""
        taken, self._file.losses = self._file.losses, []
        return taken

    async def take_new_id(self, reached: int) -> Loss:
        """Become another journal: the database has stored entries up to ``reached``, which this one does not hold.

        Numbers would be used twice. What was unfinished before this start is replayed. The id counts at once; if the
        disk refuses it, the next start finds out again.
        """
        file, journal_id = self._file, uuid4()
        loss = Loss("older", max(0, reached - file.began_at), file.newest or 0.0)
        self._replaced = journal_id
        self._writer.submit_unattended(lambda file: file.take_new_id(journal_id))
        with suppress(JournalRefused):
            await self.flush()
        return loss

    async def last_calls(self) -> list[tuple[UnitId, bytes]]:
        """The body of each unit's last entry that says that a message is to be sent. Raises ``JournalRefused``."""
        return await self._read(self._reader.call_bodies)

    async def append(self, arrival: Arrival) -> Seq:
        """Store one arrival; returns when it is on disk.

        Raises ``JournalRefused`` when the disk refused it, or when the queue was full for
        ``room_seconds``. Cancellation: the entry may be stored nevertheless.
        """
        return (await self.append_many((arrival,)))[0]

    async def append_many(self, arrivals: Sequence[Arrival], within: float = float("inf")) -> list[Seq]:
        """Store all or none in one commit, with consecutive numbers; otherwise as ``append``.

        Raises ``JournalRefused`` also where it takes longer than ``within`` seconds; then they may be stored later.
        """
        if not arrivals:
            return []
        deadline = trio.current_time() + within
        if self._waiting >= self._max_waiting:
            await self._wait_for_room()
        if self._writer.closing:
            raise JournalRefused("the journal is closed")
        if not self._was_open:
            raise JournalRefused(self._file.closed_because or "the journal is being opened")
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
        await self._writer.submit(Request(entries, size), deadline)
        return [entry.seq for entry in entries]

    def mark_done(self, seqs: Sequence[Seq], stored: tuple[UnitId, int] | None = None) -> None:
        """Mark entries as done; written with the next commit or within about 50 ms, and again if refused.

        ``stored``: the unit, and the position that the database has stored for it.
        """
        if seqs or stored is not None:
            self._writer.submit_done(tuple(seqs), stored)

    def note_compared(self) -> None:
        """The journal fits the database, from now on. Does not wait; tried again if refused."""
        self._writer.submit_unattended(JournalFile.note_compared)

    async def note_use(self, shared: bool) -> None:
        """Say whether several processes share the units, before anything is read.

        If they did when it was written, and do no more, what was received and is unfinished counts as replayed: the
        positions of units are beyond it. Returns within some seconds; tried again if refused.
        """
        self._writer.submit_unattended(lambda file: file.note_use(shared))
        with trio.move_on_after(self._room_seconds), suppress(JournalRefused):
            await self.flush()

    async def reset_position(self, unit: UnitId, stored: int) -> None:
        """The database holds the unit's entries up to this number only. Raises ``JournalRefused``."""
        await self._call(JournalFile.reset_stored, unit, stored)

    async def flush(self) -> None:
        """Wait until all earlier requests are on disk. Raises ``JournalRefused``; may be cancelled."""
        await self._call(lambda file: None)

    async def try_write(self) -> None:
        """Write a few pages to the disk, as a commit of entries does. Raises ``JournalRefused``; may be cancelled."""
        await self._call(JournalFile.try_write)

    async def note_crash(self, seqs: Sequence[Seq]) -> None:
        """Count an actor's crash for each entry, durably. Raises ``JournalRefused``."""
        await self._call(JournalFile.note_crash, seqs)

    async def mark_suspect(self, seq: Seq) -> None:
        """Mark, durably, that this entry is about to be processed as the only one. Raises ``JournalRefused``."""
        await self._call(JournalFile.set_suspect, seq, True)

    async def mark_suspects(self, seqs: Sequence[Seq]) -> None:
        """The same of several, in one commit. Raises ``JournalRefused``."""
        await self._call(JournalFile.set_suspects, seqs)

    def clear_suspect(self, seq: Seq) -> None:
        """Remove the mark: the process survived. Does not wait; tried again if refused."""
        self._writer.submit_unattended(lambda file: file.set_suspect(seq, False))

    async def note_orderly_stop(self) -> None:
        """The process ends because it was told to: the next start is no sign against what is unfinished.

        Raises ``JournalRefused``.
        """
        await self._call(JournalFile.note_orderly_stop)

    async def unfinished(
        self, after: Seq, limit: int, unit: UnitId | None = None, max_bytes: int = READ_BYTES
    ) -> list[Entry]:
        """Unfinished entries with a number above ``after``, in order, of one unit or all.

        At most ``limit``, and at most ``max_bytes`` of bodies, but at least one if there is one. Raises
        ``JournalRefused`` when the file cannot be read. Cancellation waits for the short read.
        """
        return await self._read(self._reader.unfinished, after, limit, unit, max_bytes)

    async def save_snapshot(self, data: bytes) -> None:
        """Store ``data`` in place of the last snapshot. Raises ``JournalRefused``."""
        await self._call(JournalFile.save_snapshot, data)

    def load_snapshot(self) -> bytes | None:
        """The last snapshot, or None. Blocks for a short read; raises ``JournalRefused``."""
        if self._file.closed_because is not None:
            return None
        reader = JournalReader(self._file.path)
        try:
            return reader.snapshot()
        finally:
            reader.close()

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

    async def _write(self) -> None:
        # Only ``stop`` ends the writer, so that a cancelled daemon still drains.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._writer.run, limiter=trio.CapacityLimiter(1))

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have the writer do this to its file in its next commit. Cancellation: it may happen nevertheless."""
        return cast(T, await self._writer.submit(Request((), 0, lambda file: work(file, *arguments))))

    async def _read(self, read: Callable[..., T], *arguments: Any) -> T:
        if self._file.closed_because is not None:
            raise JournalRefused(self._file.closed_because)
        generation = self._file.generation
        try:
            return await trio.to_thread.run_sync(read, *arguments, limiter=self._reading)
        except JournalDamaged:
            await self._call(JournalFile.admit_damage, generation)
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
        self._notice_change()
        if not entries:
            if refused is None:
                self.refusing = False
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

    def _notice_change(self) -> None:
        file = self._file
        now_open = file.closed_because is None
        if file.generation == self._generation and now_open == self._was_open:
            return
        if file.generation != self._generation:
            self._replaced = None
        self._generation, self._was_open = file.generation, now_open
        self._last_seq = max(self._last_seq, file.last_seq)
        self.on_changed()
