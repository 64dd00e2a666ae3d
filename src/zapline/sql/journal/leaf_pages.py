"""Reads entries from the leaf pages of a damaged file itself, where the pages that lead to them are rotten.

The format is SQLite's (sqlite.org/fileformat2.html, sections 1.6 and 2.1). Only what its checksum confirms is taken.
"""

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from zapline.sql.journal.schema import PAGE_BYTES, checksum

_TABLE_LEAF = 0x0D
_LOCAL_MOST = PAGE_BYTES - 35
_LOCAL_LEAST = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW_BYTES = PAGE_BYTES - 4
_MAX_PAYLOAD = 64 * 2**20
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_COLUMNS = 6

Row = tuple[Any, ...]


def carve_entries(file: Path, wanted: Collection[int]) -> list[Row]:
    """Rows of ``entries`` with these numbers, in order. Raises OSError."""
    content = file.read_bytes()
    found: dict[int, Row] = {}
    for start in range(0, len(content) - PAGE_BYTES + 1, PAGE_BYTES):
        if content[start] != _TABLE_LEAF:
            continue
        for seq, payload in _cells(content, start, wanted):
            row = _row(seq, payload)
            if row is not None:
                found[seq] = row
    return [found[seq] for seq in sorted(found)]


def _cells(content: bytes, start: int, wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Row number and record of each cell of a leaf page."""
    (count,) = struct.unpack_from(">H", content, start + 3)
    for index in range(min(count, PAGE_BYTES // 4)):
        (offset,) = struct.unpack_from(">H", content, start + 8 + 2 * index)
        try:
            size, at = _varint(content, start + offset)
            seq, at = _varint(content, at)
            if seq in wanted and size <= _MAX_PAYLOAD:
                yield seq, _payload(content, at, size)
        except (IndexError, struct.error):
            continue


def _payload(content: bytes, at: int, size: int) -> bytes:
    """A record, of which the greater part may be on overflow pages. Raises IndexError."""
    if size <= _LOCAL_MOST:
        return content[at : at + size]
    local = _LOCAL_LEAST + (size - _LOCAL_LEAST) % _OVERFLOW_BYTES
    local = local if local <= _LOCAL_MOST else _LOCAL_LEAST
    parts, left = [content[at : at + local]], size - local
    (page,) = struct.unpack_from(">I", content, at + local)
    while left > 0:
        place = (page - 1) * PAGE_BYTES
        if page == 0 or place + PAGE_BYTES > len(content):
            raise IndexError
        parts.append(content[place + 4 : place + 4 + min(left, _OVERFLOW_BYTES)])
        left -= _OVERFLOW_BYTES
        (page,) = struct.unpack_from(">I", content, place)
    return b"".join(parts)


def _row(seq: int, record: bytes) -> Row | None:
    """The entry, if its checksum says that it is one."""
    try:
        values = list(_values(record))
        _, unit, event, received_at, body, crc = values
        text = event.decode()
        if crc == checksum(seq, unit, text, float(received_at), body):
            return seq, unit, text, float(received_at), body, crc
    except (AttributeError, IndexError, TypeError, UnicodeDecodeError, ValueError, struct.error):
        pass
    return None


def _values(record: bytes) -> Iterator[Any]:
    end, at = _varint(record, 0)
    kinds: list[int] = []
    while at < end and len(kinds) < _COLUMNS:
        kind, at = _varint(record, at)
        kinds.append(kind)
    for kind in kinds:
        if kind in _INTEGERS:
            yield int.from_bytes(record[end : end + _INTEGERS[kind]], "big", signed=True)
            end += _INTEGERS[kind]
        elif kind == 7:
            yield struct.unpack_from(">d", record, end)[0]
            end += 8
        elif kind >= 12:
            length = (kind - 12) // 2
            yield record[end : end + length]
            end += length
        else:
            yield {8: 0, 9: 1}.get(kind)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of up to nine bytes, and where it ends."""
    value = 0
    for index in range(8):
        byte = content[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | content[at + 8], at + 9
