"""Exports and counts the personal data of one person."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId, conversation_id
from zapline.domain.privacy.erasure import mention_pattern, searchable_digits
from zapline.domain.timestamps import iso
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.privacy.erasure import find_dead_letters, find_names, lids_of, marks_in_letters

_SQL = Queries(__name__)
_PIECE = 500
_LATEST = 253_402_300_799.0
"""The end of the year 9999, in UTC seconds."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person: all names, and the digits by which others mention the person."""

    unit: UnitId
    names: tuple[str, ...]
    digits: tuple[str, ...]


async def find_person(pool: Pool, unit: UnitId, names: Collection[str], id: UUID | None = None) -> Person | None:
    """The person of these names, or of the id of a contact or conversation; None for an unknown id."""
    async with unit_scope(pool, unit) as conn:
        known, others = await find_names(conn, unit, names, id)
    every = sorted({*names, *known})
    if not every:
        return None
    return Person(unit, tuple(every), searchable_digits(every, others))


async def export_person(pool: Pool, person: Person, now: float) -> AsyncGenerator[bytes, None]:
    """One JSON object in pieces, each from a transaction of its own. Raises DatabaseUnavailable.

    Messages of others that only mention the person are not included.
    """
    names, unit = list(person.names), person.unit
    async with unit_scope(pool, unit) as conn:
        data = (await _SQL.one(conn, "load_person", unit_id=unit, names=names, lids=lids_of(names))).data
    head = {"unitId": str(unit), "exportedAt": iso(now), "names": names} | data
    yield msgspec.json.encode(head)[:-1] + b',"messages":['
    async for piece in _messages(pool, person):
        yield piece
    yield b'],"deadLetters":['
    async for piece in _dead_letters(pool, person):
        yield piece
    yield b"]}\n"


async def _messages(pool: Pool, person: Person) -> AsyncGenerator[bytes, None]:
    after, first = 0, True
    conversations = [conversation_id(person.unit, name) for name in person.names]
    while True:
        async with unit_scope(pool, person.unit) as conn:
            rows = await _SQL.rows(
                conn,
                "list_messages",
                unit_id=person.unit,
                names=list(person.names),
                conversations=conversations,
                after=after,
                limit=_PIECE,
            )
        if not rows:
            return
        after = rows[-1].seq
        yield (b"" if first else b",") + msgspec.json.encode([row.message for row in rows])[1:-1]
        first = False


async def _dead_letters(pool: Pool, person: Person) -> AsyncGenerator[bytes, None]:
    marks = marks_in_letters(person.unit, person.names, person.digits)
    after, first, named = 0, True, mention_pattern(marks)
    while True:
        async with unit_scope(pool, person.unit) as conn:
            piece = await find_dead_letters(conn, person.unit, marks, after, _LATEST)
        if piece is None:
            return
        after, rows = piece
        letters = [_dead_letter(row.id, bytes(row.raw)) for row in rows if row.raw and named.search(bytes(row.raw))]
        if letters:
            yield (b"" if first else b",") + msgspec.json.encode(letters)[1:-1]
            first = False


def _dead_letter(id: int, raw: bytes) -> dict[str, object]:
    """The body as text where it is UTF-8, else in base64."""
    try:
        return {"id": id, "text": raw.decode()}
    except UnicodeDecodeError:
        return {"id": id, "base64": b64encode(raw).decode()}


@dataclass(frozen=True, slots=True)
class PersonalDataCounts:
    """Counts of the rows about a person. ``files``: the person's messages with a file."""

    messages: int
    in_groups: int
    files: int
    reactions: int
    campaigns: int
    suppressions: int


async def count_personal_data(pool: Pool, unit: UnitId, names: Sequence[str]) -> PersonalDataCounts:
    """The counts for the person of these canonical names."""
    conversations = [conversation_id(unit, name) for name in names]
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "count_personal_data", unit_id=unit, names=list(names), conversations=conversations)
    return PersonalDataCounts(*row)
