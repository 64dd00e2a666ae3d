"""Writes the journal's file: SQLite in WAL mode, changed in explicit transactions by one thread."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

from zapline.domain.errors import MustNotWrite
from zapline.sql.journal.schema import (
    FILE_NAME,
    PAGE_BYTES,
    ROW_BYTES,
    SCHEMA,
    SCHEMA_VERSION,
    Entry,
    connect,
    refusal,
    used_bytes,
)

ROWS_AT_ONCE = 128

ADD_UNFINISHED = (
    "insert into unfinished (seq, unit_id, starts_before) select seq, unit_id, ? from entries where seq between ? and ?"
)
REPLAY = (
    "insert or ignore into unfinished (seq, unit_id, starts_before, replayed) "
    "select seq, unit_id, ?, 1 from entries where seq in (select value from json_each(?))"
)
FINISH = "delete from unfinished where seq in (select value from json_each(?))"
REMOVE = "delete from entries where seq in (select value from json_each(?))"
REMOVE_DONE = (
    "delete from entries where seq in (select value from json_each(?)) "
    "and not exists (select 1 from unfinished u where u.seq = entries.seq)"
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

    @classmethod
    def open(cls, directory: Path) -> "JournalFile":
        """Open or make the journal in ``directory`` (0700; the file 0600) and count this start.

        Raises ``JournalRefused`` where the disk does not let us, and ``MustNotWrite`` when a later
        release wrote the file.
        """
        with refused_as("open"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            path = directory.resolve() / FILE_NAME
            # SQLite gives its -wal and -shm files the mode of the database file.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            file = cls(path)
            try:
                file._start()
            except BaseException:
                file.close()
                raise
            # fsync of a file does not make its name durable.
            sync_directory(directory)
            sync_directory(directory.parent)
        return file

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is on disk at the end, or nothing is and ``JournalRefused`` is raised.

        After an error other than a full disk the connection is closed; the next transaction opens a new one.
        """
        self._added = self._added_bytes = self._inserted = 0
        self._oldest_gone = False
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
            raise refusal("write", error) from error
        self.depth += self._added
        self.stored_bytes += self._added_bytes
        self.last_seq = max(self.last_seq, self._inserted)
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
            count = min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))
            values: list[object] = []
            for entry in entries[start : start + count]:
                values += (entry.seq, entry.unit_id.bytes, entry.event, entry.received_at, entry.body)
                self._added_bytes += len(entry.body) + ROW_BYTES
            connection.execute(insert_statement(count), values)
            start += count
            left -= count
        connection.execute(ADD_UNFINISHED, (self._starts, entries[0].seq, entries[-1].seq))
        self._added += len(entries)
        self._inserted = entries[-1].seq

    def finish(self, seqs: Collection[int]) -> None:
        self._oldest_gone |= self._oldest_seq in seqs
        self._added -= self._open_connection().execute(FINISH, (as_json(seqs),)).rowcount

    def replay(self, seqs: Collection[int]) -> int:
        """Make done entries unfinished again; returns how many."""
        replayed = self._open_connection().execute(REPLAY, (self._starts, as_json(seqs))).rowcount
        self._added += replayed
        self._oldest_gone = True
        return replayed

    def remove(self, seqs: Collection[int]) -> int:
        """Delete done entries, but not those that were replayed meanwhile; returns how many."""
        return self._open_connection().execute(REMOVE_DONE, (as_json(seqs),)).rowcount

    def shed(self, seqs: Collection[int]) -> int:
        """Delete unfinished entries with their bodies; returns how many."""
        before = self._added
        self.finish(seqs)
        self._open_connection().execute(REMOVE, (as_json(seqs),))
        return before - self._added

    def note_crash(self, seqs: Collection[int]) -> None:
        self._open_connection().execute(CRASHED, (as_json(seqs),))

    def set_suspect(self, seq: int, suspect: bool) -> None:
        self._open_connection().execute(IN_HAND, (int(suspect), seq))

    def save_snapshot(self, data: bytes) -> None:
        self._open_connection().execute("insert or replace into meta values ('snapshot', ?)", (data,))

    def measure(self) -> None:
        """Correct ``stored_bytes``, which is only estimated between two measurements."""
        self._added_bytes = used_bytes(self._open_connection()) - self.stored_bytes

    def _start(self) -> None:
        """Create the tables of a new file; count this start and the deaths over suspect entries."""
        connection = self._connection = connect(self.path)
        connection.execute(f"pragma page_size = {PAGE_BYTES}")
        connection.execute("pragma journal_mode = wal")
        connection.execute("begin immediate")
        version = connection.execute("pragma user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise MustNotWrite(
                f"the journal {self.path} has format {version}, this release knows {SCHEMA_VERSION}: "
                "run the release that wrote it"
            )
        if version == 0:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("insert into meta values ('journal_id', ?), ('starts', 0)", (str(uuid4()),))
            connection.execute(f"pragma user_version = {SCHEMA_VERSION}")
        connection.execute("update meta set value = value + 1 where key = 'starts'")
        connection.execute(DIED_IN_HAND)
        connection.execute("commit")
        meta = dict(connection.execute("select key, value from meta where key <> 'snapshot'"))
        self.journal_id, self._starts = UUID(meta["journal_id"]), meta["starts"]
        row = connection.execute("select seq from sqlite_sequence where name = 'entries'").fetchone()
        self.last_seq = row[0] if row else 0
        self._count(connection)

    def _count(self, connection: sqlite3.Connection) -> None:
        self.depth = connection.execute("select count(*) from unfinished").fetchone()[0]
        self._oldest_seq, self.oldest = connection.execute(OLDEST).fetchone() or (0, None)
        self.stored_bytes = used_bytes(connection)

    def _reopen(self) -> sqlite3.Connection:
        """A new connection after an I/O error.

        A commit whose fsync failed may be complete in the WAL and take effect when the WAL is read again.
        Its entries were refused, and their callers store them elsewhere, so they are deleted.
        """
        connection = connect(self.path)
        try:
            connection.execute("begin immediate")
            for table in ("unfinished", "entries"):
                connection.execute(f"delete from {table} where seq > ?", (self.last_seq,))  # noqa: S608
            connection.execute("commit")
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


@cache
def insert_statement(rows: int) -> str:
    values = ",".join(["(?,?,?,?,?)"] * rows)
    return f"insert into entries (seq, unit_id, event, received_at, body) values {values}"  # noqa: S608


def as_json(seqs: Iterable[int]) -> str:
    return json.dumps(list(seqs))


def error_code(error: sqlite3.Error) -> int:
    """SQLite's primary code; Python's own errors have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def refused_as(action: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise refusal(action, error) from error
