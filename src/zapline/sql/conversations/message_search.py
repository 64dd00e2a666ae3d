"""Finds messages by their words: without accents, the last letters of a word may be missing, the latest come first.

The index of words cannot be used below a policy: PostgreSQL asks a row's policy before any operator that might tell of
the row, and the index is one. So the ids are found by the engine's role, in units that the statement names, and what is
shown of them is read in a scope like all else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.conversations.conversations import Message, list_messages
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, engine_scope

_SQL = Queries(__name__)
MAX_WORDS = 8
"""Words of a search; further ones are left out."""
_PART_BITS = 14
"""The order of arrival is looked up in parts of 16,384 places, as the index has them."""
_QUERIES = 2000
"""Parts, times units, that one statement looks up."""
_SHOWN = 300
"""Characters of a text in a list."""


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message as a list of several units shows it, with the contact of its conversation."""

    id: UUID
    unit_id: UnitId
    seq: int
    sent_at: datetime
    from_me: bool
    message_kind: str
    sender_name: str | None
    text: str | None
    conversation_id: UUID
    kind: str
    canonical: str
    phone: str | None
    name: str | None
    username: str | None


async def search_messages(
    pool: Pool, unit: UnitId, text: str, before: int | None, limit: int
) -> Sequence[Message] | None:
    """Messages of the unit with all words of ``text``, before a sequence number; None where it has no word.

    Raises DatabaseUnavailable.
    """
    ids = await _find(pool, [unit], text, before, limit)
    if not ids:
        return [] if ids is not None else None
    return await list_messages(pool, unit, ids)


async def search_units(
    pool: Pool, units: Sequence[UnitId], text: str, before: int | None, limit: int
) -> Sequence[FoundMessage] | None:
    """The same for a list of messages of several units; the caller may see all of these."""
    ids = await _find(pool, units, text, before, limit)
    if not ids:
        return [] if ids is not None else None
    async with admin_scope(pool) as conn:
        rows = await _SQL.rows(conn, "list_shown", ids=ids, units=list(units), longest=_SHOWN)
    return [FoundMessage(*row) for row in rows]


async def _find(pool: Pool, units: Sequence[UnitId], text: str, before: int | None, limit: int) -> list[UUID] | None:
    """Ids of the messages, the latest arrival first; None where the text has no word."""
    found: list[UUID] = []
    async with engine_scope(pool) as conn:
        row = await _SQL.one(conn, "plain_words", text=text)
        words = sorted(set(row.words[:MAX_WORDS])) if row is not None else []
        if not words:
            return None
        span = await _SQL.one(conn, "find_span", units=list(units))
        if span is None or span.newest is None:
            return found
        newest = min(span.newest, before - 1) if before is not None else span.newest
        parts = range(newest >> _PART_BITS, (span.oldest >> _PART_BITS) - 1, -1)
        wanted = {"units": list(units), "before_seq": newest + 1}
        step = max(1, _QUERIES // len(units))
        for start in range(0, len(parts), step):
            queries = [_query(units, part, words) for part in parts[start : start + step]]
            rows = await _SQL.rows(conn, "find_ids", **wanted, queries=queries, limit=limit - len(found))
            found += [row.id for row in rows]
            if len(found) >= limit:
                break
    return found


def _query(units: Sequence[UnitId], part: int, words: Sequence[str]) -> str:
    """The tsquery of all words in one part of the units' messages; the words are letters and digits alone."""
    prefixes = [f"{str(unit)[:8]}:{part:x}:" for unit in units]
    return " | ".join("(" + " & ".join(f"'{prefix}{word}':*" for word in words) + ")" for prefix in prefixes)
