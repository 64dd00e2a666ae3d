"""The journal's file: its tables, its entries, and how a connection to it is opened."""

import sqlite3
import struct
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId

FILE_NAME = "journal.db"
SCHEMA_VERSION = 3

PAGE_BYTES = 8192
"""Five usual webhooks fit on a page; at 4096 only two fit, and a quarter of the disk is wasted."""
ROW_BYTES = 96
"""Approximate size of an entry without its body."""
BUSY_SECONDS = 2.0
"""Nobody else writes; a foreign lock (such as of a reader's tool) must not stop intake for long."""
_TRIES_TO_CLEAR = 3
"""Each waits up to BUSY_SECONDS."""
ROWS_AT_ONCE = 128
"""Rows of one statement at most: there is a text, and a prepared statement, for each power of two."""
WAL_LIMIT_BYTES = 32 * 1024 * 1024
"""A burst may make the WAL larger; it is truncated afterwards."""

# starts_before is the number of starts of the journal when the entry became unfinished, so that a start
# changes one row of meta and not a backlog of perhaps a million rows.
SCHEMA = """
create table meta (key text primary key, value) without rowid;
create table entries (
    seq integer primary key autoincrement,
    unit_id blob not null, event text not null, received_at real not null, body blob not null, crc int);
create table unfinished (
    seq integer primary key,
    unit_id blob not null,
    starts_before int not null,
    crashes int not null default 0,
    in_hand int not null default 0,
    deaths_in_hand int not null default 0,
    replayed int not null default 0);
create index unfinished_by_unit on unfinished (unit_id, seq);
create table positions (unit_id blob primary key, stored int not null default 0, called int) without rowid;
create table calls (message text, seq int, fence int, primary key (message, seq)) without rowid;
create index calls_by_seq on calls (seq);
"""
CALL_STARTED = "!call"
"""Event of an entry that says that a message is about to be sent. ``positions.called`` is a unit's last one."""
SEND_ANSWER = "!answer"
"""Event of an entry that says how a call to send a message ended. No webhook's event can have such a name."""
REMOVE = "delete from entries where seq in (select value from json_each(?))"
REMOVE_DONE = (
    "delete from entries where seq in (select value from json_each(?)) "
    "and not exists (select 1 from unfinished u where u.seq = entries.seq)"
)
REPLAY_CALLS = (
    "update unfinished set replayed = 1 where seq in (select value from json_each(?)) "
    "and exists (select 1 from entries e where e.seq = unfinished.seq and e.event = ?)"
)
REPLAY_RECEIVED = (
    "update unfinished set replayed = 1 where exists (select 1 from entries e where e.seq = unfinished.seq "
    "and (substr(e.event, 1, 1) <> '!' or e.event = '!too_large'))"
)
"""What was received, and not noted by the unit's owner."""
NOTE_CALLS = (
    "insert or ignore into calls (message, seq, fence) "
    "select json_extract(cast(body as text), '$.message'), seq, json_extract(cast(body as text), '$.fence') "
    "from entries where event in ('!call', '!answer') "
    "and json_valid(cast(body as text)) and json_extract(cast(body as text), '$.message') is not null"
)
"""``calls`` names the entries of each message that was sent."""
FORGET_CALLS = (
    "delete from calls where seq in (select value from json_each(?)) "
    "and not exists (select 1 from entries e where e.seq = calls.seq)"
)
UPGRADES = {
    1: (
        "alter table entries add column crc int",
        "create table positions (unit_id blob primary key, stored int not null default 0, called int) without rowid",
    ),
    2: (
        "create table calls (message text, seq int, fence int, primary key (message, seq)) without rowid",
        "create index calls_by_seq on calls (seq)",
        NOTE_CALLS,
    ),
}
"""Statements that bring a file of an earlier format to the next one. Entries from before have no checksum."""
NOT_ROUTED = UnitId(UUID(int=0))
"""Owner of webhooks whose unit could not be known yet."""


class Arrival(msgspec.Struct, frozen=True):
    """A received webhook. ``received_at`` is in seconds since the epoch, UTC."""

    unit_id: UnitId
    event: str
    received_at: float
    body: bytes


class Entry(msgspec.Struct, frozen=True):
    """An arrival that is on disk, with the restarts and crashes since."""

    seq: Seq
    unit_id: UnitId
    event: str
    received_at: float
    body: bytes
    starts_seen: int = 0
    """Starts of the process at which it was unfinished, but those after an orderly stop."""
    crashes: int = 0
    suspect_deaths: int = 0
    """Deaths of the process while it processed this entry as the only one."""
    replayed: bool = False
    damaged: bool = False
    """What the disk gave back is not what was written."""


class Loss(NamedTuple):
    """Something that the journal has lost, or may have lost.

    ``kind``: ``set_back`` (the file is older than what was written), ``damaged`` (a part cannot be read), ``older``
    (the database knows more of it). ``entries``: how many at least. ``since``: UTC seconds from which on.
    """

    kind: str
    entries: int
    since: float


class HistoryRow(NamedTuple):
    """One entry of the history, without its body. ``unit`` is the 16 bytes of the unit's id."""

    seq: int
    unit: bytes
    event: str
    received_at: float
    size: int
    done: int
    """1 or 0."""


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing file. The connection may move between threads that use it one at a time."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("pragma synchronous = full")
        # Deleted messages are overwritten with zeros.
        connection.execute("pragma secure_delete = on")
        connection.execute(f"pragma journal_size_limit = {WAL_LIMIT_BYTES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use; free pages stay in the file and are reused."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"pragma {name}").fetchone()[0] for name in names)
    return int((pages - free) * size)


def clear_wal(path: Path) -> None:
    """Copy the WAL into the file and truncate it. Raises JournalRefused; the writer waits meanwhile."""
    try:
        with closing(connect(path)) as connection:
            for _ in range(_TRIES_TO_CLEAR):
                busy = connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
                if not busy:
                    return
    except sqlite3.Error as error:
        raise refusal("clear", error) from error
    raise JournalRefused("the journal is so busy that its WAL could not be emptied")


def checksum(seq: int, unit: bytes, event: str, received_at: float, body: bytes) -> int:
    """What is stored beside an entry to know a rotten page again."""
    return crc32(body, crc32(event.encode("utf-8", "replace"), crc32(struct.pack("<q16sd", seq, unit, received_at))))


def rows_at_once(left: int) -> int:
    """How many of so many rows the next statement takes: a power of two, so that there are few statements."""
    return min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))


@cache
def insert_statement(rows: int) -> str:
    values = ",".join(["(?,?,?,?,?,?)"] * rows)
    return f"insert into entries (seq, unit_id, event, received_at, body, crc) values {values}"  # noqa: S608


@cache
def stored_statement(rows: int) -> str:
    return (
        f"insert into positions (unit_id, stored) values {','.join(['(?,?)'] * rows)} "  # noqa: S608
        "on conflict (unit_id) do update set stored = max(stored, excluded.stored)"
    )


_DAMAGES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class JournalDamaged(JournalRefused):
    """The file cannot be read as it was written; trying again does not help."""


class DamageFound(sqlite3.DatabaseError):
    """A reader has met damage: the writer is to replace the file."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


def error_code(error: sqlite3.Error) -> int:
    """SQLite's primary code; Python's own errors have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_damage(error: BaseException) -> bool:
    """Whether the file's content is wrong, or cannot be read back from the disk."""
    if not isinstance(error, sqlite3.Error):
        return False
    return error_code(error) in _DAMAGES or getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_READ"


def refusal(action: str, error: Exception) -> JournalRefused:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = JournalDamaged if is_damage(error) else JournalRefused
    return kind(f"cannot {action} the journal: {error} ({name})")
