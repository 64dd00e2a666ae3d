"""Copies what can be read of a damaged journal into a new one: the unfinished entries, row by row if necessary."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zapline.sql.journal.leaf_pages import carve_entries
from zapline.sql.journal.schema import PAGE_BYTES, connect

_CHUNK = 256
_ROWS = "select seq, unit_id, event, received_at, body, crc from entries where seq between ? and ? order by seq"
_ROW = "select seq, unit_id, event, received_at, body, crc from entries where seq = ?"
_UNIT_BYTES = 16


@dataclass(slots=True)
class Salvage:
    """What became of a damaged file. ``since``: UTC seconds of the last entry that was read before a lost one."""

    last_seq: int = 0
    copied: int = 0
    lost: int = 0
    since: float | None = None
    snapshot: bytes | None = None
    unread: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of numbers of which it is not known whether they were finished."""


_MAGIC = b"SQLite format 3\0"
_FREELIST, _VALID_FOR = slice(32, 40), slice(92, 96)
"""In the header: zeros there say that no page is free, and that the size of the file counts."""


def renew_first_page(damaged: Path, template: Path) -> None:
    """Where the first page is rotten, put that of a new journal in its place, which describes the same tables.

    Raises OSError.
    """
    with damaged.open("r+b") as file:
        head = file.read(PAGE_BYTES)
        if head[:20] == _MAGIC + PAGE_BYTES.to_bytes(2, "big") + b"\2\2":
            with suppress(sqlite3.Error), closing(connect(damaged)) as old:
                old.execute("select count(*) from sqlite_schema").fetchone()
                old.execute("select max(seq) from unfinished").fetchone()
                return
        page = bytearray(template.read_bytes()[:PAGE_BYTES])
        page[_FREELIST], page[_VALID_FOR] = bytes(8), bytes(4)
        file.seek(0)
        file.write(page)


def salvage(damaged: Path, fresh: sqlite3.Connection, reached: int, starts: int) -> Salvage:
    """Copy the unfinished entries of ``damaged`` into ``fresh``, as replayed ones: their connection events are history.

    What cannot be known to be finished is copied too, since facts merge. Raises sqlite3.Error of ``fresh`` alone.
    ``reached``: the highest number that was acknowledged.
    """
    found = Salvage(last_seq=reached)
    try:
        old = connect(damaged)
    except sqlite3.Error:
        found.unread.append((1, reached))
        found.lost = reached
        return found
    with closing(old):
        for query in ("select max(seq) from entries", "select seq from sqlite_sequence where name = 'entries'"):
            with suppress(sqlite3.Error):
                found.last_seq = max(found.last_seq, (old.execute(query).fetchone() or (0,))[0] or 0)
        with suppress(sqlite3.Error, TypeError):
            row = old.execute("select value from meta where key = 'snapshot'").fetchone()
            found.snapshot = row[0] if row and isinstance(row[0], bytes) else None
        unfinished = _unfinished(old, found)
        lost = _copy(old, fresh, _ranges(unfinished, found.unread), set(unfinished), starts, found)
        with suppress(sqlite3.Error):  # what the WAL holds comes into the file
            old.execute("pragma wal_checkpoint(passive)").fetchall()
    _carve(damaged, fresh, lost, starts, found)
    return found


def _unfinished(old: sqlite3.Connection, found: Salvage) -> list[int]:
    """The numbers that are known to be unfinished, from both ends; what lies between is unread."""
    ascending = list(_numbers(old, "select seq from unfinished where seq > ? order by seq limit ?", 0, found))
    if not found.unread:
        return ascending
    found.unread.clear()
    from_end = "select seq from unfinished where seq < ? order by seq desc limit ?"
    descending = list(_numbers(old, from_end, found.last_seq + 1, found))
    low = max(ascending, default=0) + 1
    high = min(descending, default=found.last_seq + 1) - 1
    found.unread[:] = [(low, high)] if low <= high else []
    return sorted({*ascending, *descending})


def _numbers(old: sqlite3.Connection, query: str, after: int, found: Salvage) -> Iterator[int]:
    while True:
        try:
            rows = old.execute(query, (after, _CHUNK)).fetchall()
        except sqlite3.Error:
            found.unread.append((0, 0))
            return
        if not rows:
            return
        after = rows[-1][0]
        yield from (row[0] for row in rows)


def _ranges(unfinished: list[int], unread: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges of numbers to read, of at most a chunk each, in order."""
    low = high = None
    parts: list[tuple[int, int]] = list(unread)
    for seq in unfinished:
        if low is not None and high is not None and seq - low < _CHUNK:
            high = seq
            continue
        if low is not None and high is not None:
            parts.append((low, high))
        low = high = seq
    if low is not None and high is not None:
        parts.append((low, high))
    for first, last in sorted(parts):
        for start in range(first, last + 1, _CHUNK):
            yield start, min(start + _CHUNK - 1, last)


def _copy(
    old: sqlite3.Connection,
    fresh: sqlite3.Connection,
    ranges: Iterable[tuple[int, int]],
    unfinished: set[int],
    starts: int,
    found: Salvage,
) -> dict[int, float | None]:
    """Copy what can be read; returns the numbers of what cannot, with the time of the last entry before."""
    newest: float | None = None
    lost: dict[int, float | None] = {}
    for first, last in ranges:
        unread = any(low <= last and first <= high for low, high in found.unread)
        rows, missing = _read(old, first, last)
        for row in rows:
            if (unread or row[0] in unfinished) and not _insert(fresh, row, starts, found):
                missing.append(row[0])
        missing += unfinished.intersection(range(first, last + 1)) - {row[0] for row in rows}
        for seq in missing:
            if unread or seq in unfinished:
                lost[seq] = _latest(rows, seq, newest)
        newest = _latest(rows, last + 1, newest)
    return lost


def _insert(fresh: sqlite3.Connection, row: tuple[Any, ...], starts: int, found: Salvage) -> bool:
    """Copy one entry; False if it is none any more."""
    seq, unit, event, at, body, _ = row
    usable = isinstance(unit, bytes) and len(unit) == _UNIT_BYTES and isinstance(body, bytes)
    if not (usable and isinstance(event, str) and isinstance(at, float)):
        return False
    fresh.execute("insert or ignore into entries values (?, ?, ?, ?, ?, ?)", row)
    fresh.execute(
        "insert or ignore into unfinished (seq, unit_id, starts_before, replayed) values (?, ?, ?, 1)",
        (seq, unit, starts),
    )
    found.copied += 1
    return True


def _carve(
    damaged: Path, fresh: sqlite3.Connection, lost: dict[int, float | None], starts: int, found: Salvage
) -> None:
    """Look for what is lost on the pages themselves; what stays lost is counted."""
    carved: list[tuple[Any, ...]] = []
    if lost:
        with suppress(OSError):
            carved = [row for row in carve_entries(damaged, lost) if _insert(fresh, row, starts, found)]
    for row in carved:
        del lost[row[0]]
    found.lost = len(lost)
    if lost:
        first = min(lost)
        found.since = _latest(carved, first, None) or lost[first]


def _read(old: sqlite3.Connection, first: int, last: int) -> tuple[list[tuple[Any, ...]], list[int]]:
    """The rows of a range, and the numbers whose row cannot be read."""
    with suppress(sqlite3.Error):
        return old.execute(_ROWS, (first, last)).fetchall(), []
    rows: list[tuple[Any, ...]] = []
    missing: list[int] = []
    for seq in range(first, last + 1):
        try:
            rows += old.execute(_ROW, (seq,)).fetchall()
        except sqlite3.Error:
            missing.append(seq)
    return rows, missing


def _latest(rows: Iterable[tuple[Any, ...]], before: int, default: float | None) -> float | None:
    """``received_at`` of the last row below a number."""
    return max((row[3] for row in rows if row[0] < before and isinstance(row[3], float)), default=default)
