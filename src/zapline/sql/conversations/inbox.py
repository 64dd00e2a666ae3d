"""Reads for the console's conversations: pages and searches of chats, and what a thread shows beside its texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, UnitId
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)
PREVIEW = 140
"""Characters of the last text that a list shows."""
UNREAD_LIMIT = 30
"""Messages of a conversation that are looked at for being unread: a list says ``30+`` from there on."""
_QUOTED = 200
_PLAIN = str.maketrans("áàâãäéèêëíìîïóòôõöúùûüçñ", "aaaaaeeeeiiiiooooouuuucn")


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """A conversation in a list, with its last message. ``part`` and ``last_message_at`` are its place in the list."""

    part: UUID
    id: UUID
    last_message_at: datetime
    kind: str
    canonical: str
    phone: str | None
    name: str | None
    message: UUID | None
    from_me: bool | None
    said_kind: str | None
    text: str | None
    deleted: bool | None
    sender_name: str | None
    delivery: str | None
    work_state: str | None
    unread: int
    shadowed: bool
    """Another part of the same conversation has a later message and stands for it."""


@dataclass(frozen=True, slots=True)
class ChatHeader:
    """Whom a conversation is with. ``id`` is the root's; ``read_up_to``: ``seq`` of what counts as read."""

    id: UUID
    kind: str
    canonical: str
    phone: str | None
    lid: str | None
    name: str | None
    read_up_to: int


@dataclass(frozen=True, slots=True)
class QuotedMessage:
    """A message as far as a quotation shows it."""

    external_id: str
    id: UUID
    from_me: bool
    kind: str
    sender_name: str | None
    text: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class OutboxWork:
    """The work on a message: where it stands, and why it failed."""

    message: UUID
    state: str
    failure: str | None
    due_at: datetime
    twice: bool


async def list_chats(pool: Pool, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int) -> list[ChatSummary]:
    """A page, latest message first, behind the place ``before``, shadowed ones too. Raises DatabaseUnavailable."""
    at, id = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_chats", **_page(unit, limit), before_at=at, before_id=id)
    return [ChatSummary(*row) for row in rows]


async def search_chats(pool: Pool, unit: UnitId, wanted: str, limit: int) -> list[ChatSummary]:
    """The latest conversations with somebody whose name holds these words, or whose phone these digits."""
    digits = "".join(letter for letter in wanted if letter.isascii() and letter.isdigit())
    named = any(letter.isalpha() for letter in wanted)
    words = f"%{_literal(wanted.lower().translate(_PLAIN))}%"
    # What is typed as a phone may have spaces and brackets; what has letters is no phone.
    phone = f"%{digits}%" if digits and not named else None
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "search_chats", **_page(unit, limit), words=words, digits=phone)
    return [ChatSummary(*row) for row in rows]


def _page(unit: UnitId, limit: int) -> dict[str, Any]:
    return {"unit_id": unit, "limit": limit, "longest": PREVIEW, "most_unread": UNREAD_LIMIT}


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def find_chat(pool: Pool, unit: UnitId, conversation: UUID) -> ChatHeader | None:
    """The conversation that this one belongs to; None where the unit has none of this id."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_chat", unit_id=unit, conversation_id=conversation)
    return ChatHeader(*row) if row is not None else None


async def load_thread_extras(
    pool: Pool, unit: UnitId, quoted: Sequence[str], ours: Sequence[UUID]
) -> tuple[dict[str, QuotedMessage], dict[UUID, OutboxWork]]:
    """The messages that others quote, by WhatsApp's id, and the work on some of ours."""
    found: dict[str, QuotedMessage] = {}
    works: dict[UUID, OutboxWork] = {}
    if not quoted and not ours:
        return found, works
    async with unit_scope(pool, unit) as conn:
        if quoted:
            for row in await _SQL.rows(
                conn, "quoted", unit_id=unit, provider=PROVIDER, ids=list(quoted), longest=_QUOTED
            ):
                found[row.external_id] = QuotedMessage(*row)
        if ours:
            for row in await _SQL.rows(conn, "works", unit_id=unit, ids=list(ours)):
                works[row.message_id] = OutboxWork(*row)
    return found, works
