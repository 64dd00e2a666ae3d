"""Reads the journal concurrently with its writer: unfinished entries, the history, the snapshot."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast
from uuid import UUID

from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.schema import (
    CALL_STARTED,
    Entry,
    HistoryRow,
    JournalDamaged,
    checksum,
    connect,
    refusal,
    used_bytes,
)

UNFINISHED = (
    "select u.seq, u.unit_id, e.event, e.received_at, e.body, "
    "(select value from meta where key = 'starts') - u.starts_before, "
    "u.crashes, u.deaths_in_hand, u.replayed, e.crc "
    "from unfinished u join entries e on e.seq = u.seq where u.seq > ?"
)
SCAN = (
    "select e.seq, e.unit_id, e.event, e.received_at, length(e.body), u.seq is null "
    "from entries e left join unfinished u on u.seq = e.seq where e.seq > ? order by e.seq limit ?"
)

CALLS = "select p.unit_id, e.body from positions p join entries e on e.seq = p.called"
OF_MESSAGE = "select seq from calls where message = ? order by seq"
LAST_CALL = (
    "select e.body from calls c join entries e on e.seq = c.seq "
    "where c.message = ? and e.event = ? order by c.fence desc, c.seq desc limit 1"
)
BEFORE = "select received_at from entries where seq <= ? order by seq desc limit 1"
SEARCH = (
    "select e.seq, e.body, u.seq is null from entries e left join unfinished u on u.seq = e.seq "
    "where e.seq > ? and e.seq <= ? and e.unit_id = ? and e.received_at <= ?"
)


class JournalReader:
    """Short reads concurrent with the writer; for one thread at a time. Methods raise ``JournalRefused``."""

    def __init__(self, path: Path, generation: Callable[[], int] = int) -> None:
        """``generation`` changes when another file has taken the place of this one."""
        self._path = path
        self._generation = generation
        self._opened_generation = 0
        self._connection: sqlite3.Connection | None = None

    def unfinished(self, after: int, limit: int, unit: UnitId | None, max_bytes: int) -> list[Entry]:
        query, values = UNFINISHED, cast(list[object], [after])
        if unit is not None:
            query, values = query + " and u.unit_id = ?", [*values, unit.bytes]
        with self._reading() as connection, closing(connection.cursor()) as cursor:
            rows: list[Entry] = []
            size = 0
            for row in cursor.execute(query + " order by u.seq limit ?", [*values, limit]):
                size += len(row[4])
                if rows and size > max_bytes:
                    break
                rows.append(_entry(*row))
            return rows

    def call_bodies(self) -> list[tuple[UnitId, bytes]]:
        """The last call of each unit whose entry is still there."""
        with self._reading() as connection:
            rows = connection.execute(CALLS).fetchall()
            return [(UnitId(UUID(bytes=unit)), body) for unit, body in rows]

    def calls_of(self, message: UUID) -> tuple[list[int], bytes | None]:
        """The numbers of all entries about the calls of a message, and the body of its last call."""
        with self._reading() as connection:
            seqs = [row[0] for row in connection.execute(OF_MESSAGE, (str(message),)).fetchall()]
            last = connection.execute(LAST_CALL, (str(message), CALL_STARTED)).fetchone()
            return seqs, last[0] if last else None

    def before(self, seq: int) -> float | None:
        """``received_at`` of the last entry up to this number."""
        with self._reading() as connection:
            row = connection.execute(BEFORE, (seq,)).fetchone()
            return row[0] if row else None

    def scan(self, after: int, limit: int) -> list[HistoryRow]:
        with self._reading() as connection:
            return [HistoryRow._make(row) for row in connection.execute(SCAN, (after, limit)).fetchall()]

    def search(
        self, after: int, last: int, unit: UnitId, until: float, pattern: re.Pattern[bytes]
    ) -> tuple[list[int], int]:
        """Done entries between two numbers that match the pattern, and how many unfinished ones match."""
        done, waiting = [], 0
        with self._reading() as connection, closing(connection.cursor()) as cursor:
            for seq, body, finished in cursor.execute(SEARCH, (after, last, unit.bytes, until)):
                if pattern.search(body) is None:
                    continue
                if finished:
                    done.append(seq)
                else:
                    waiting += 1
        return done, waiting

    def first(self) -> int:
        """The lowest number, 1 where there is none. Numbers are never reused, so most below it do not exist."""
        with self._reading() as connection:
            return int(connection.execute("select coalesce(min(seq), 1) from entries").fetchone()[0])

    def used_bytes(self) -> int:
        with self._reading() as connection:
            return used_bytes(connection)

    def snapshot(self) -> bytes | None:
        with self._reading() as connection:
            row = connection.execute("select value from meta where key = 'snapshot'").fetchone()
            return row[0] if row else None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            generation = self._generation()
            if self._opened_generation != generation:
                self.close()
            if self._connection is None:
                self._opened_generation = generation
                self._connection = connect(self._path)
                self._connection.execute("pragma query_only = on")
            yield self._connection
        except JournalDamaged:
            self.close()
            raise
        except sqlite3.Error as error:
            self.close()
            raise refusal("read", error) from error


def _entry(
    seq: Seq,
    unit: bytes,
    event: str,
    received_at: float,
    body: bytes,
    starts: int,
    crashes: int,
    suspect_deaths: int,
    replayed: int,
    crc: int | None,
) -> Entry:
    """The entry, ``damaged`` where it is not what was written. Raises JournalDamaged where it has no owner any more."""
    if not (isinstance(unit, bytes) and len(unit) == 16 and isinstance(event, str) and isinstance(body, bytes)):
        raise JournalDamaged(f"entry {seq} of the journal is not an entry any more")
    damaged = crc is not None and crc != checksum(seq, unit, event, received_at, body)
    owner = UnitId(UUID(bytes=unit))
    return Entry(seq, owner, event, received_at, body, starts, crashes, suspect_deaths, bool(replayed), damaged)
