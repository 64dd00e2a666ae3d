"""The journal's file: its tables, its entries, and how a connection to it is opened."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId

FILE_NAME = "journal.db"
SCHEMA_VERSION = 1

PAGE_BYTES = 8192
"""Five usual webhooks fit on a page; at 4096 only two fit, and a quarter of the disk is wasted."""
ROW_BYTES = 96
"""Approximate size of an entry without its body."""
BUSY_SECONDS = 2.0
"""Nobody else writes; a foreign lock (such as of a reader's tool) must not stop intake for long."""
_TRIES_TO_CLEAR = 3
"""Each waits up to BUSY_SECONDS."""
WAL_LIMIT_BYTES = 32 * 1024 * 1024
"""A burst may make the WAL larger; it is truncated afterwards."""

# starts_before is the number of starts of the journal when the entry became unfinished, so that a start
# changes one row of meta and not a backlog of perhaps a million rows.
SCHEMA = """
create table meta (key text primary key, value) without rowid;
create table entries (
    seq integer primary key autoincrement,
    unit_id blob not null, event text not null, received_at real not null, body blob not null);
create table unfinished (
    seq integer primary key,
    unit_id blob not null,
    starts_before int not null,
    crashes int not null default 0,
    in_hand int not null default 0,
    deaths_in_hand int not null default 0,
    replayed int not null default 0);
create index unfinished_by_unit on unfinished (unit_id, seq);
"""


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
    """Starts of the process at which it was unfinished."""
    crashes: int = 0
    suspect_deaths: int = 0
    """Deaths of the process while it processed this entry as the only one."""
    replayed: bool = False


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


def refusal(action: str, error: Exception) -> JournalRefused:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return JournalRefused(f"cannot {action} the journal: {error} ({name})")
