"""Reads for the console's inbox: lists and searches of conversations, and quotations and work states of a thread."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, UnitId
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.postgres.search_patterns import SearchPatterns

_SQL = Queries(__name__)
PREVIEW = 140
"""Characters of the last text in a list."""
UNREAD_LIMIT = 30
"""Messages of a conversation that are counted as unread: a list shows ``30+`` above."""
_QUOTED = 200


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """A conversation in a list, with its last message. ``id`` is the root's.

    ``member`` (the conversation with the last message) and ``last_message_at`` are the position in the list.
    """

    member: UUID
    id: UUID
    last_message_at: datetime
    kind: str
    canonical: str
    phone: str | None
    name: str | None
    username: str | None
    message: UUID | None
    from_me: bool | None
    message_kind: str | None
    text: str | None
    deleted: bool | None
    sender_name: str | None
    delivery: str | None
    work_state: str | None
    unread: int
    superseded: bool
    """Another member of the same root has a later message and represents it."""


@dataclass(frozen=True, slots=True)
class ChatHeader:
    """The contact of a conversation. ``id`` is the root's; ``read_up_to``: ``seq`` of the last read message."""

    id: UUID
    kind: str
    canonical: str
    phone: str | None
    lid: str | None
    name: str | None
    username: str | None
    read_up_to: int


_SEARCHED_FIRST = 1000
"""Conversations that a search looks through before all others; it takes some milliseconds."""


@dataclass(frozen=True, slots=True)
class QuotedMessage:
    """A message with the fields that a quotation shows."""

    external_id: str
    id: UUID
    from_me: bool
    kind: str
    sender_name: str | None
    text: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class OutboxWork:
    """The work on a message: its state, and why it failed."""

    message: UUID
    state: str
    failure: str | None
    due_at: datetime
    twice: bool


async def list_chats(pool: Pool, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int) -> list[ChatSummary]:
    """A page, latest message first, after the position ``before``, superseded ones too. Raises DatabaseUnavailable."""
    at, id = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_chats", **_page(unit, limit), before_at=at, before_id=id)
    return [ChatSummary(*row) for row in rows]


async def search_chats(pool: Pool, unit: UnitId, text: str, limit: int) -> list[ChatSummary]:
    """The latest conversations whose contact's name or username contains the text, or whose phone its digits."""
    async with unit_scope(pool, unit) as conn:
        wanted = {**_page(unit, limit), **SearchPatterns.of(text).parameters}
        # What many have is found among the newest; only what few have is looked for among all contacts.
        rows = await _SQL.rows(conn, "search_newest_chats", **wanted, newest=_SEARCHED_FIRST)
        if len(rows) < limit:
            rows = await _SQL.rows(conn, "search_chats", **wanted)
    return [ChatSummary(*row) for row in rows]


def _page(unit: UnitId, limit: int) -> dict[str, Any]:
    return {"unit_id": unit, "limit": limit, "longest": PREVIEW, "most_unread": UNREAD_LIMIT}


async def find_chat(pool: Pool, unit: UnitId, conversation: UUID) -> ChatHeader | None:
    """The root of a conversation; None where the unit has no conversation of this id."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_chat", unit_id=unit, conversation_id=conversation)
    return ChatHeader(*row) if row is not None else None


async def load_thread_extras(
    pool: Pool, unit: UnitId, quoted: Sequence[str], ours: Sequence[UUID]
) -> tuple[dict[str, QuotedMessage], dict[UUID, OutboxWork]]:
    """Quoted messages by WhatsApp's id, and the work on outgoing messages."""
    messages: dict[str, QuotedMessage] = {}
    works: dict[UUID, OutboxWork] = {}
    if not quoted and not ours:
        return messages, works
    async with unit_scope(pool, unit) as conn:
        if quoted:
            for row in await _SQL.rows(
                conn, "list_quoted_messages", unit_id=unit, provider=PROVIDER, ids=list(quoted), longest=_QUOTED
            ):
                messages[row.external_id] = QuotedMessage(*row)
        if ours:
            for row in await _SQL.rows(conn, "list_work_states", unit_id=unit, ids=list(ours)):
                works[row.message_id] = OutboxWork(*row)
    return messages, works
