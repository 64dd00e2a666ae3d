"""Reads for the API: conversations, messages, the outbox and dead letters of a unit."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import trio

from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import kind_of_content, text_of_content
from zapline.domain.outbox.work_states import WorkState
from zapline.sql.health.dead_letters import DeadLetter, get_dead_letter, list_dead_letters
from zapline.sql.outbound.outbox import NewMessage, QueuedMessage
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, from_row
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A root conversation with all that are merged into it."""

    id: UUID
    kind: str
    canonical: str
    phone: str | None
    lid: str | None
    name: str | None
    username: str | None
    last_message_at: datetime
    created_at: datetime
    message: UUID | None
    """Its last message; it and the next are None where none is left."""
    from_me: bool | None
    message_kind: str | None
    text: str | None
    sent_at: datetime | None
    unread: int
    """Messages that nobody has read or answered, up to ``MOST_UNREAD``."""


MOST_UNREAD = 30
_PREVIEW = 200
"""Characters of the last text."""


@dataclass(frozen=True, slots=True)
class ReactionOrVote:
    """One person's reaction to a message: an emoji, or options of a poll (None: encrypted, and nobody could read them).

    The options of an event are ``going``, ``not_going`` and ``maybe``.
    """

    actor: str
    emoji: str | None = None
    options: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message without the content of a deleted one. ``conversation_id`` is that of the root."""

    id: UUID
    external_id: str | None
    client_message_id: str | None
    seq: int
    conversation_id: UUID
    from_me: bool
    kind: str
    text: str | None
    media: dict[str, Any] | None
    detail: dict[str, Any]
    sender: str | None
    sender_name: str | None
    quoted_id: str | None
    quoted: dict[str, Any] | None
    """What it quotes, as WhatsApp has sent it along: ``id``, ``kind``, ``text``, ``author``, ``fromMe``, ``status``."""
    forwarded: bool
    view_once: bool
    expires_after: int | None
    origin: str
    backfilled: bool
    delivery: str | None
    edited_at: datetime | None
    edit_text_unknown: bool
    """Its latest edit could not be read: ``text`` is older."""
    deleted_at: datetime | None
    sent_at: datetime
    received_at: datetime
    reactions: tuple[ReactionOrVote, ...]
    votes: tuple[ReactionOrVote, ...]
    work_state: str | None
    """The ``WorkState`` of an outgoing message; None for an incoming one."""
    failure: str | None = None
    """The code of why it was not sent, or not delivered, or not certainly."""
    failure_detail: str | None = None
    file_state: str | None = None
    """What became of its file; None: it was not to be kept."""


@dataclass(frozen=True, slots=True)
class SendCall:
    """A send call to Evolution, as in ``attempts``. Times are UTC seconds."""

    started_at: float
    ended_at: float | None
    outcome: str
    failure: str | None
    matched_by: str | None
    external_id: str | None


@dataclass(frozen=True, slots=True)
class SendWork:
    """The work on an outgoing message. ``calls`` is empty in lists; ``seq`` orders the outbox."""

    seq: int
    state: str
    lane: str
    tries: int
    resends: int
    due_at: datetime
    expires_at: datetime | None
    settled_at: datetime | None
    ended_at: datetime | None
    stalled: bool
    twice: bool
    failure: str | None
    failure_detail: str | None
    look_at: datetime | None
    campaign: UUID | None
    calls: tuple[SendCall, ...]


@dataclass(frozen=True, slots=True)
class TrackedMessage:
    """A message, and the work on it if it is an outgoing one."""

    message: Message
    sending: SendWork | None


async def list_conversations(
    pool: Pool, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int, since: datetime | None = None
) -> list[Conversation]:
    """A page, latest message first, after the position ``before``; only those with a message after ``since``."""
    at, id = before or (None, None)
    position = {"before_at": at, "before_id": id, "since": since, "longest": _PREVIEW, "most_unread": MOST_UNREAD}
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_conversations", unit_id=unit, limit=limit, **position)
    return [Conversation(*row) for row in rows]


async def find_conversation_of_phone(pool: Pool, unit: UnitId, phone: str) -> Conversation | None:
    """The conversation with this canonical phone, with all that was merged into it; None before its first message."""
    values = {"phone": phone, "longest": _PREVIEW, "most_unread": MOST_UNREAD}
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_conversation_of_phone", unit_id=unit, **values)
    return Conversation(*row) if row is not None and row.last_message_at is not None else None


async def list_thread(
    pool: Pool, unit: UnitId, conversation: UUID, before: tuple[datetime, int] | None, limit: int
) -> list[Message] | None:
    """A page of a conversation's messages, newest first; None where the unit has no such conversation."""
    position = dict(zip(("before_at", "before_seq"), before or (None, None), strict=True))
    async with unit_scope(pool, unit) as conn:
        root = await _SQL.one(conn, "find_root", unit_id=unit, conversation_id=conversation)
        if root is None:
            return None
        rows = await _SQL.rows(conn, "list_thread", unit_id=unit, root_id=root.id, limit=limit, **position)
    return [_message(row) for row in rows]


WRITERS_TIMEOUT = 1.0
"""Seconds that a page waits for transactions that were open at its request; they take milliseconds."""
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class ArrivedPage:
    """What arrived after a sequence number, up to ``last_seq``."""

    messages: Sequence[Message]
    changed: Sequence[Message]
    """Messages from before, of which something was changed."""
    last_seq: int
    more: bool


async def list_messages_after(pool: Pool, unit: UnitId, after_seq: int, limit: int) -> ArrivedPage | None:
    """A page of a unit's messages and changes in arrival order; None where open transactions do not end in time.

    Sequence numbers are taken before the commit, by several transactions at a time: a message may appear below one
    that exists already, and a client that reads on from there would miss it. So the end of the page is fixed
    first, then the transactions that may add to it are waited for, and after that the page is read.
    """
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_page_end", unit_id=unit, after_seq=after_seq, limit=limit)
        if row is None or row.seq is None:
            return ArrivedPage([], [], after_seq, False)
        last, more = int(row.seq), bool(row.more)
        writers = await _writers(conn)
        if not writers:
            return await _page_after(conn, unit, after_seq, last, more)
    with trio.move_on_after(WRITERS_TIMEOUT):
        while writers:
            await trio.sleep(_POLL_SECONDS)
            async with pool.connection() as conn:
                writers &= await _writers(conn)
    if writers:
        return None
    async with unit_scope(pool, unit) as conn:
        return await _page_after(conn, unit, after_seq, last, more)


async def _writers(conn: Connection) -> set[str]:
    return {row.name for row in await _SQL.rows(conn, "list_open_writers")}


async def _page_after(conn: Connection, unit: UnitId, after_seq: int, last: int, more: bool) -> ArrivedPage:
    part = {"unit_id": unit, "after_seq": after_seq, "last_seq": last}
    arrived = [_message(row) for row in await _SQL.rows(conn, "list_messages_after", **part)]
    changed = [_message(row) for row in await _SQL.rows(conn, "list_changed_after", **part)]
    return ArrivedPage(arrived, changed, last, more)


async def get_message(conn: Connection, unit: UnitId, id: UUID) -> TrackedMessage | None:
    """One message of the unit, over any connection that may read it."""
    row = await _SQL.one(conn, "get_message", unit_id=unit, id=id)
    return _tracked_message(row) if row is not None else None


def queued_message(new: NewMessage, queued: QueuedMessage) -> TrackedMessage:
    """A message that was just queued, as ``get_message`` would read it."""
    content = new.outgoing.content
    message = Message(
        id=queued.id,
        external_id=None,
        client_message_id=new.client_id,
        seq=queued.seq,
        conversation_id=queued.conversation_id,
        from_me=True,
        kind=kind_of_content(content),
        text=text_of_content(content),
        media=queued.media,
        detail=queued.detail,
        sender=None,
        sender_name=None,
        quoted_id=queued.quoted_id,
        quoted=None,
        forwarded=False,
        view_once=False,
        expires_after=None,
        origin="sent",
        backfilled=False,
        delivery="queued",
        edited_at=None,
        edit_text_unknown=False,
        deleted_at=None,
        sent_at=queued.sent_at,
        received_at=queued.received_at,
        reactions=(),
        votes=(),
        work_state=WorkState.QUEUED.value,
    )
    work = SendWork(
        seq=queued.work_seq,
        state=WorkState.QUEUED.value,
        lane=new.lane.value,
        tries=0,
        resends=0,
        due_at=queued.due_at,
        expires_at=queued.expires_at,
        settled_at=None,
        ended_at=None,
        stalled=False,
        twice=False,
        failure=None,
        failure_detail=None,
        look_at=None,
        campaign=None,
        calls=(),
    )
    return TrackedMessage(message, work)


async def find_message(pool: Pool, unit: UnitId, id: UUID) -> TrackedMessage | None:
    """One message of the unit."""
    async with unit_scope(pool, unit) as conn:
        return await get_message(conn, unit, id)


async def list_messages(pool: Pool, unit: UnitId, ids: Collection[UUID]) -> list[Message]:
    """These messages of the unit, the latest arrival first."""
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_messages", unit_id=unit, ids=list(ids))
    return [_message(row) for row in rows]


async def list_outbox(
    pool: Pool, unit: UnitId, states: Collection[WorkState], before: int | None, limit: int
) -> list[TrackedMessage]:
    """A page of messages in these work states, latest request first, below a ``SendWork.seq``."""
    chosen = [state.value for state in states]
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_outbox", unit_id=unit, states=chosen, before=before, limit=limit)
    return [_tracked_message(row) for row in rows]


async def list_stalled(pool: Pool, unit: UnitId, before: int | None, limit: int) -> list[TrackedMessage]:
    """A page of messages that Evolution accepted and that were not confirmed in time."""
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_stalled", unit_id=unit, before=before, limit=limit)
    return [_tracked_message(row) for row in rows]


async def list_all_dead_letters(pool: Pool, unit: UnitId | None, before: int | None, limit: int) -> list[DeadLetter]:
    """A page of dead letters of all units, or of one, newest first. For administrators."""
    async with admin_scope(pool) as conn:
        return await list_dead_letters(conn, unit, before, limit)


async def list_unit_dead_letters(pool: Pool, unit: UnitId, before: int | None, limit: int) -> list[DeadLetter]:
    """A page of a unit's dead letters, newest first."""
    async with unit_scope(pool, unit) as conn:
        return await list_dead_letters(conn, unit, before, limit)


async def find_dead_letter(pool: Pool, unit: UnitId, id: int) -> DeadLetter | None:
    """One of a unit's dead letters, with its body."""
    async with unit_scope(pool, unit) as conn:
        return await get_dead_letter(conn, id, unit)


def _message(row: Any) -> Message:
    deleted, edited = row.deleted_at is not None, row.edited_at_ms is not None
    text = row.edited_body if edited else row.body
    return from_row(
        Message,
        row,
        text=None if deleted else text,
        media=None if deleted else row.media,
        detail={} if deleted else row.detail,
        quoted=None if deleted else row.quoted,
        edited_at=None if deleted else _edited_at(row),
        failure=row.why,
        failure_detail=row.why_detail,
        reactions=tuple(_reactions(row.reports or [])),
        votes=tuple(_votes(row.reports or [])),
    )


def _tracked_message(row: Any) -> TrackedMessage:
    if row.work_state is None:
        return TrackedMessage(_message(row), None)
    calls = tuple(SendCall(*call) for call in row.calls or ())
    work = {
        "seq": row.work_seq,
        "state": row.work_state,
        "campaign": row.campaign_id,
        "calls": calls,
        "failure": row.why,
        "failure_detail": row.why_detail,
    }
    return TrackedMessage(_message(row), from_row(SendWork, row, **work))


_LAST_MS = 253_402_300_799_999
"""The end of the year 9999; a sender's clock may have any value."""


def _datetime(ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(ms, 0), _LAST_MS) / 1000, UTC)


def _edited_at(row: Any) -> datetime | None:
    """When it was edited last, whether or not the new text could be read."""
    known = [row.edited_at_ms, row.edit_unread_ms if row.edit_text_unknown else None]
    times = [at for at in known if at is not None]
    return _datetime(max(times)) if times else None


def _reactions(reports: Sequence[tuple[str, str, Any]]) -> list[ReactionOrVote]:
    """Without revoked reactions, which have an empty emoji."""
    return [ReactionOrVote(actor, emoji=value) for kind, actor, value in reports if kind == "reaction" and value]


def _votes(reports: Sequence[tuple[str, str, Any]]) -> list[ReactionOrVote]:
    """Without revoked votes, which are an empty list; a vote that is no list is encrypted."""
    return [
        ReactionOrVote(actor, options=tuple(value) if isinstance(value, list) else None)
        for kind, actor, value in reports
        if kind == "vote" and value
    ]
