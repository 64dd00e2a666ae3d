"""Writes the journal's file: SQLite in WAL mode, changed in explicit transactions by one thread."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import UnitId
from zapline.sql.journal.reached_mark import ReachedMark
from zapline.sql.journal.replacing import finish_replacement, prepare, replace_damaged
from zapline.sql.journal.schema import (
    CALL_STARTED,
    FILE_NAME,
    FORGET_CALLS,
    NOTE_CALLS,
    PAGE_BYTES,
    REMOVE,
    REMOVE_DONE,
    REPLAY_CALLS,
    REPLAY_RECEIVED,
    ROW_BYTES,
    SEND_ANSWER,
    DamageFound,
    Entry,
    JournalDamaged,
    Loss,
    checksum,
    connect,
    error_code,
    insert_statement,
    is_damage,
    refusal,
    rows_at_once,
    stored_statement,
    used_bytes,
)

ADD_UNFINISHED = (
    "insert into unfinished (seq, unit_id, starts_before) select seq, unit_id, ? from entries where seq between ? and ?"
)
REPLAY = (
    "insert or ignore into unfinished (seq, unit_id, starts_before, replayed) "
    "select seq, unit_id, ?, 1 from entries where seq in (select value from json_each(?))"
)
FINISH = "delete from unfinished where seq in (select value from json_each(?))"
REPLAY_BEFORE = "update unfinished set replayed = 1 where seq <= ?"
CALLED = (
    "insert into positions (unit_id, called) select unit_id, max(seq) from entries "
    "where seq between ? and ? and event = ? group by unit_id "
    "on conflict (unit_id) do update set called = excluded.called"
)
CRASHED = "update unfinished set crashes = crashes + 1 where seq in (select value from json_each(?))"
IN_HAND = "update unfinished set in_hand = ? where seq = ?"
DIED_IN_HAND = "update unfinished set deaths_in_hand = deaths_in_hand + 1, in_hand = 0 where in_hand"
OLDEST = "select seq, (select received_at from entries e where e.seq = u.seq) from unfinished u order by seq limit 1"


class JournalFile:
    """The writing connection. All methods except ``open`` are for one thread at a time.

    Counts of the content (``depth``, ``oldest`` ...) change only when a transaction is on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal_id = UUID(int=0)
        self.closed_because: str | None = None
        """Why the file could not be opened; it is tried again with each transaction. None: it is open."""
        self.generation = 0
        """Grows with each file that takes the place of a damaged one."""
        self.losses: list[Loss] = []
        """What was lost, to be taken by the trio thread."""
        self.positions: dict[UnitId, int] = {}
        """Up to which number each unit's entries were known to be stored in the database when the file was opened."""
        self.began_at = 0
        """The highest number at the first start since the journal was compared with the database: what is below may be
        older than the database, what is above is new."""
        self.newest: float | None = None
        """``received_at`` of the newest entry at that time."""
        self.depth = 0
        self.oldest: float | None = None
        self.stored_bytes = 0
        self.last_seq = 0
        """The highest sequence number that is or was on disk."""
        self._connection: sqlite3.Connection | None = None
        self._starts = 0
        self._oldest_seq = 0
        self._added = self._added_bytes = self._inserted = 0
        self._oldest_gone = False
        self._new_id: UUID | None = None
        self._mark = ReachedMark(path.parent)

    @classmethod
    def open(cls, directory: Path) -> "JournalFile":
        """Open or make the journal in ``directory`` (0700; the file 0600) and count this start.

        Where the disk does not let us, ``closed_because`` says why; a damaged file is replaced. Raises ``MustNotWrite``
        when a later release wrote the file.
        """
        file = cls(directory.absolute() / FILE_NAME)
        try:
            file._open()
        except JournalRefused as refused:
            file.closed_because = str(refused)
        return file

    def _open(self) -> None:
        """Raises JournalRefused, and MustNotWrite."""
        with refused_as("open"):
            directory = self.path.parent
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            finish_replacement(self.path)
            # SQLite gives its -wal and -shm files the mode of the database file.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.path.chmod(0o600)
            try:
                self._start()
            except sqlite3.Error as error:
                self.close()
                if not is_damage(error):
                    raise
                self._replace()
            except BaseException:
                self.close()
                raise
            # fsync of a file does not make its name durable.
            sync_directory(directory)
            sync_directory(directory.parent)
        self.closed_because = None

    def close(self) -> None:
        self._mark.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is on disk at the end, or nothing is and ``JournalRefused`` is raised.

        After an error other than a full disk the connection is closed; the next transaction opens a new one.
        """
        self._added = self._added_bytes = self._inserted = 0
        self._oldest_gone, self._new_id = False, None
        if self.closed_because is not None:
            self._open()
        try:
            connection = self._connection or self._reopen()
            connection.execute("begin immediate")
            yield
            oldest = None
            if self._oldest_gone or self.depth == 0:
                oldest = connection.execute(OLDEST).fetchone() or (0, None)
            connection.execute("commit")
        except sqlite3.Error as error:
            self._undo(error)
            if is_damage(error):
                with refused_as("replace"):
                    self._replace()
                raise JournalDamaged(f"the journal was damaged ({error}); a new one has taken its place") from error
            raise refusal("write", error) from error
        self.depth += self._added
        self.stored_bytes += self._added_bytes
        if self._inserted > self.last_seq or self._new_id is not None:
            self.last_seq, self.journal_id = max(self.last_seq, self._inserted), self._new_id or self.journal_id
            self._mark.write(self.journal_id, self.last_seq)
        if oldest is not None:
            self._oldest_seq, self.oldest = oldest

    def insert(self, entries: Sequence[Entry]) -> None:
        """Add entries with ascending numbers to the history and to the unfinished ones.

        Many rows in one statement: sqlite3 releases the interpreter lock for each row of ``executemany``,
        and to get it back from a busy event loop takes longer than the row.
        """
        connection = self._open_connection()
        start, left = 0, len(entries)
        while left:
            count = rows_at_once(left)
            values: list[object] = []
            for entry in entries[start : start + count]:
                row = (entry.seq, entry.unit_id.bytes, entry.event, entry.received_at, entry.body)
                values += (*row, checksum(*row))
                self._added_bytes += len(entry.body) + ROW_BYTES
            connection.execute(insert_statement(count), values)
            start += count
            left -= count
        numbers = (entries[0].seq, entries[-1].seq)
        connection.execute(ADD_UNFINISHED, (self._starts, *numbers))
        if any(entry.event in (CALL_STARTED, SEND_ANSWER) for entry in entries):
            connection.execute(CALLED, (*numbers, CALL_STARTED))
            connection.execute(f"{NOTE_CALLS} and seq between ? and ?", numbers)
        self._added += len(entries)
        self._inserted = entries[-1].seq

    def finish(self, seqs: Collection[int]) -> None:
        self._oldest_gone |= self._oldest_seq in seqs
        self._added -= self._open_connection().execute(FINISH, (as_json(seqs),)).rowcount

    def note_stored(self, positions: Iterable[tuple[UnitId, int]]) -> None:
        """Note up to which number the database has stored the entries of units."""
        stored: dict[UnitId, int] = {}
        for unit, seq in positions:
            stored[unit] = max(seq, stored.get(unit, 0))
        left = list(stored.items())
        while left:
            count = rows_at_once(len(left))
            values = [value for unit, seq in left[:count] for value in (unit.bytes, seq)]
            self._open_connection().execute(stored_statement(count), values)
            del left[:count]

    def reset_stored(self, unit: UnitId, seq: int) -> None:
        self._open_connection().execute("update positions set stored = ? where unit_id = ?", (seq, unit.bytes))

    def admit_damage(self, generation: int) -> None:
        """Have the file replaced, because a reader met damage in it; nothing where that was an earlier file."""
        if generation == self.generation:
            raise DamageFound("a reader met damage")

    def note_compared(self) -> None:
        """The journal fits the database."""
        self._open_connection().execute("delete from meta where key = 'uncompared'")

    def note_use(self, shared: bool) -> None:
        """Note whether positions say what is stored: while units are shared, what is received goes by the inbox."""
        connection = self._open_connection()
        if shared:
            connection.execute("insert or ignore into meta values ('shared', 1)")
        elif connection.execute("delete from meta where key = 'shared'").rowcount:
            connection.execute(REPLAY_RECEIVED)

    def take_new_id(self, journal_id: UUID) -> None:
        """Become another journal: the numbers so far are history, and what is unfinished of them is replayed."""
        connection = self._open_connection()
        connection.execute("update meta set value = ? where key = 'journal_id'", (str(journal_id),))
        connection.execute(REPLAY_BEFORE, (self.began_at,))
        connection.execute("delete from positions")
        self._new_id = journal_id

    def replay(self, seqs: Collection[int], calls: bool = False) -> int:
        """Make done entries unfinished again; returns how many. ``calls``: unfinished calls are replayed, too."""
        if calls:
            self._open_connection().execute(REPLAY_CALLS, (as_json(seqs), CALL_STARTED))
        replayed = self._open_connection().execute(REPLAY, (self._starts, as_json(seqs))).rowcount
        self._added += replayed
        self._oldest_gone = True
        return replayed

    def remove(self, seqs: Collection[int]) -> int:
        """Delete done entries, but not those that were replayed meanwhile; returns how many."""
        return self._delete(REMOVE_DONE, as_json(seqs))

    def shed(self, seqs: Collection[int]) -> int:
        """Delete unfinished entries with their bodies; returns how many."""
        before = self._added
        self.finish(seqs)
        self._delete(REMOVE, as_json(seqs))
        return before - self._added

    def _delete(self, statement: str, seqs: str) -> int:
        removed = self._open_connection().execute(statement, (seqs,)).rowcount
        self._open_connection().execute(FORGET_CALLS, (seqs,))
        return removed

    def note_crash(self, seqs: Collection[int]) -> None:
        self._open_connection().execute(CRASHED, (as_json(seqs),))

    def set_suspect(self, seq: int, suspect: bool) -> None:
        self._open_connection().execute(IN_HAND, (int(suspect), seq))

    def set_suspects(self, seqs: Sequence[int]) -> None:
        self._open_connection().executemany(IN_HAND, [(1, seq) for seq in seqs])

    def note_orderly_stop(self) -> None:
        self._open_connection().execute("insert or ignore into meta values ('stopped', 1)")

    def save_snapshot(self, data: bytes) -> None:
        self._open_connection().execute("insert or replace into meta values ('snapshot', ?)", (data,))

    def try_write(self) -> None:  # some pages; what they hold does not matter
        self._open_connection().execute("insert or replace into meta values ('tried', zeroblob(?))", (4 * PAGE_BYTES,))

    def measure(self) -> None:
        """Correct ``stored_bytes``, which is only estimated between two measurements."""
        self._added_bytes = used_bytes(self._open_connection()) - self.stored_bytes

    def _start(self) -> None:
        """Create the tables of a new file; count this start, but after an orderly stop, and deaths over suspects."""
        connection = self._connection = connect(self.path)
        prepare(connection, self.path)
        connection.execute("begin immediate")
        if not connection.execute("delete from meta where key = 'stopped'").rowcount:
            connection.execute("update meta set value = value + 1 where key = 'starts'")
        connection.execute(DIED_IN_HAND)
        connection.execute("commit")
        meta = dict(connection.execute("select key, value from meta where key <> 'snapshot'"))
        self.journal_id, self._starts = UUID(meta["journal_id"]), meta["starts"]
        row = connection.execute("select seq from sqlite_sequence where name = 'entries'").fetchone()
        self.last_seq = row[0] if row else 0
        newest = connection.execute("select received_at from entries order by seq desc limit 1").fetchone()
        self.newest = newest[0] if newest else None
        self.positions = {
            UnitId(UUID(bytes=unit)): stored
            for unit, stored in connection.execute("select unit_id, stored from positions")
        }
        marked, reached = self._mark.read() or (self.journal_id, 0)
        if reached > self.last_seq or marked != self.journal_id:
            # Another id: the file was created anew, or is that of another journal.
            self.losses.append(Loss("set_back", max(0, reached - self.last_seq), self.newest or 0.0))
            self.last_seq = max(self.last_seq, reached)
        self._mark.write(self.journal_id, self.last_seq)
        connection.execute("insert or ignore into meta values ('uncompared', ?)", (self.last_seq,))
        self.began_at = connection.execute("select value from meta where key = 'uncompared'").fetchone()[0]
        self._count(connection)

    def _replace(self) -> None:
        """Put a new file in the place of the damaged one, with what can be read. Raises OSError, sqlite3.Error."""
        self.close()
        reached = max(self.last_seq, (self._mark.read() or (None, 0))[1])
        found = replace_damaged(self.path, reached)
        self._mark.forget()
        self.generation += 1
        self._start()
        self.last_seq = self.began_at = max(self.last_seq, found.last_seq)
        self._mark.write(self.journal_id, self.last_seq)
        self.losses.append(Loss("damaged", found.lost, (found.since if found.lost else self.newest) or 0.0))

    def _count(self, connection: sqlite3.Connection) -> None:
        self.depth = connection.execute("select count(*) from unfinished").fetchone()[0]
        self._oldest_seq, self.oldest = connection.execute(OLDEST).fetchone() or (0, None)
        self.stored_bytes = used_bytes(connection)

    def _reopen(self) -> sqlite3.Connection:
        """A new connection after an I/O error.

        A commit whose fsync failed may be complete in the WAL and take effect when the WAL is read again.
        Its entries were refused, and their callers store them elsewhere, so they are deleted.

        The kernel takes pages whose writing failed for written. What is appended behind them would be lost with the
        power, however often it was synced: the WAL is copied into the file, and begins anew.
        """
        connection = connect(self.path)
        try:
            connection.execute("begin immediate")
            for table in ("unfinished", "entries", "calls"):
                connection.execute(f"delete from {table} where seq > ?", (self.last_seq,))  # noqa: S608
            connection.execute("commit")
            busy, *_ = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
            if busy:
                raise sqlite3.OperationalError("the write-ahead log is in use and cannot begin anew")
            self._count(connection)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _undo(self, error: sqlite3.Error) -> None:
        """Roll back. After a full disk the connection can be used on; after other errors it is closed."""
        if self._connection is None:
            return
        if error_code(error) != sqlite3.SQLITE_FULL:
            self.close()
            return
        try:
            self._connection.rollback()
            # The content of the WAL may fit into free pages of the file; then the WAL starts again in its
            # space.
            self._connection.execute("pragma wal_checkpoint(passive)").fetchall()
        except sqlite3.Error:
            self.close()

    def _open_connection(self) -> sqlite3.Connection:
        assert self._connection is not None, "only inside a transaction"
        return self._connection


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def as_json(seqs: Iterable[int]) -> str:
    return json.dumps(list(seqs))


@contextmanager
def refused_as(action: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise refusal(action, error) from error
