"""Finds messages by their words: without accents, the last letters of a word may be missing, the latest come first.

The index of words cannot be used below a policy: PostgreSQL asks a row's policy before any operator that might tell of
the row, and the index is one. So the ids are found by the engine's role, in units that the statement names, and what is
shown of them is read in a scope like all else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.sql.conversations.conversations import Message, list_messages
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, engine_scope

_SQL = Queries(__name__)
MAX_WORDS = 8
"""Words of a search; further ones are left out."""
_PART_BITS = 14
"""The order of arrival is looked up in parts of 16,384 places, as the index has them."""
_QUERIES = 2000
"""Parts, times units, that one statement looks up at most."""
PATIENCE = 3.0
"""Seconds after which a search ends, and says how far back it has come."""
_FAST = 0.2
"""Seconds of a statement."""
_SHOWN = 300
"""Characters of a text in a list."""


class SearchNotReady(LocalError):
    """The index of words is still being built, after an upgrade of a large database."""


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


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stop:
    """How far back a search has come that took too long: to the messages before ``seq`` it has not."""

    seq: int
    at: datetime | None
    """When the last message that it has looked at arrived."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a search has found, the latest arrival first. ``stop``: it ended before its end."""

    items: Sequence[T]
    stop: Stop | None = None


async def search_messages(
    pool: Pool, unit: UnitId, text: str, before: int | None, limit: int, patience: float = PATIENCE
) -> Found[Message] | None:
    """Messages of the unit with all words of ``text``, before a sequence number; None where it has no word.

    ``patience`` in seconds: see ``Found``. Raises SearchNotReady, DatabaseUnavailable.
    """
    found = await _find(pool, [unit], text, before, limit, patience)
    if found is None:
        return None
    return Found(await list_messages(pool, unit, found.items) if found.items else [], found.stop)


async def search_units(
    pool: Pool, units: Sequence[UnitId], text: str, before: int | None, limit: int, patience: float = PATIENCE
) -> Found[FoundMessage] | None:
    """The same for a list of messages of several units; the caller may see all of these."""
    found = await _find(pool, units, text, before, limit, patience)
    if found is None:
        return None
    if not found.items:
        return Found([], found.stop)
    async with admin_scope(pool) as conn:
        rows = await _SQL.rows(conn, "list_shown", ids=list(found.items), units=list(units), longest=_SHOWN)
    return Found([FoundMessage(*row) for row in rows], found.stop)


async def _find(
    pool: Pool, units: Sequence[UnitId], text: str, before: int | None, limit: int, patience: float
) -> Found[UUID] | None:
    """Ids of the messages, the latest arrival first; None where the text has no word."""
    until, found = trio.current_time() + patience, list[UUID]()
    async with engine_scope(pool) as conn:
        row = await _SQL.one(conn, "plain_words", text=text)
        if row is None or not row.ready:
            raise SearchNotReady("the index by which messages are found is being built; search again later")
        words = sorted(set(row.words[:MAX_WORDS]))
        if not words:
            return None
        span = await _SQL.one(conn, "find_span", units=list(units))
        if span is None or span.newest is None:
            return Found(found)
        newest = min(span.newest, before - 1) if before is not None else span.newest
        part, last, step = newest >> _PART_BITS, span.oldest >> _PART_BITS, 1
        while part >= last and len(found) < limit:
            parts = range(part, max(part - step, last - 1), -1)
            asked = [(unit, _query(unit, one, words)) for one in parts for unit in units]
            began = trio.current_time()
            rows = await _SQL.rows(
                conn,
                "find_ids",
                units=[unit for unit, _ in asked],
                queries=[query for _, query in asked],
                before_seq=newest + 1,
                limit=limit - len(found),
            )
            found += [row.id for row in rows]
            part = parts[-1] - 1
            now = trio.current_time()
            # Most searches end in what came lately; others look up more and more at a time, while that is fast.
            step = max(1, min(step * 2, _QUERIES // len(units)) if now < began + _FAST else step // 2)
            if part >= last and len(found) < limit and now >= until:
                return Found(found, await _stop(conn, units, (part + 1) << _PART_BITS))
    return Found(found)


async def _stop(conn: Connection, units: Sequence[UnitId], seq: int) -> Stop:
    row = await _SQL.one(conn, "find_time", units=list(units), after_seq=seq)
    return Stop(seq, row.received_at if row is not None else None)


def _query(unit: UnitId, part: int, words: Sequence[str]) -> str:
    """The tsquery of all words in one part of a unit's messages; the words are letters and digits alone."""
    return " & ".join(f"'{str(unit)[:8]}:{part:x}:{word}':*" for word in words)
