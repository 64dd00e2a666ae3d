"""Queues and cancels outgoing messages, and reads what a new message refers to."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, kind_of_content, text_of_content
from zapline.domain.outbox.work_states import Lane
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.postgres.queries import Queries, encode_row

_SQL = Queries(__name__)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON; behind a backslash that is itself escaped it is text."""


@dataclass(frozen=True, slots=True)
class ChatAddress:
    """The contact of a conversation, and its addresses. ``conversation`` is the id of the root conversation."""

    conversation: UUID
    contact: UUID
    kind: str
    canonical: str
    phone: str | None = None
    lid: str | None = None
    jids: tuple[str, ...] = ()
    """Every JID that WhatsApp has used, those of phones first."""
    read_up_to: int = 0


@dataclass(frozen=True, slots=True)
class ReferencedMessage:
    """A message that is replied or reacted to. ``external_id`` None: it has not been sent yet."""

    external_id: ExternalId | None
    from_me: bool
    conversation: UUID
    body: str | None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be queued. Times are UTC seconds."""

    id: UUID
    client_id: str
    chat: ChatAddress
    address: str
    outgoing: OutgoingMessage
    digest: bytes
    """SHA-256 of the request."""
    media: dict[str, object] | None
    detail: dict[str, object]
    now: float
    due_at: float
    expires_at: float | None
    """None: it is not known yet what time it is; ``date_expiries`` gives it an end."""
    lane: Lane = Lane.REPLY


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """What the database has added to a message when it was queued. ``conversation_id`` is that of the root."""

    id: UUID
    seq: int
    detail: dict[str, Any]
    media: dict[str, Any] | None
    quoted_id: str | None
    sent_at: datetime
    received_at: datetime
    conversation_id: UUID
    work_seq: int
    due_at: datetime
    expires_at: datetime | None


def encode_message(unit: UnitId, new: NewMessage) -> bytes:
    """A message as ``enqueue_encoded`` takes it.

    Raises StatementFailed for text that JSON (22000) or PostgreSQL (22P05) cannot hold: others that are queued with it
    must not fail for it.
    """
    outgoing, chat = new.outgoing, new.chat
    kind = kind_of_content(outgoing.content)
    row = {
        "id": new.id,
        "unit_id": unit,
        "client_id": new.client_id,
        "conversation_id": chat.conversation,
        "contact_id": chat.contact,
        "chat_kind": chat.kind,
        "canonical": chat.canonical,
        "phone": chat.phone,
        "lid": chat.lid,
        "kind": kind,
        "body": text_of_content(outgoing.content),
        "media": new.media,
        "detail": new.detail,
        "quoted_id": outgoing.quoted.external_id if outgoing.quoted is not None else None,
        "sent_at": new.due_at,
        "now": new.now,
        # A reaction is not a message of the thread, and a message for next week is not the latest one now.
        "shown_at": None if kind == "reaction" else new.now,
        "lane": new.lane.value,
        "address": new.address,
        "fingerprint": fingerprint_content(outgoing.content),
        "content": outgoing,
        "digest": new.digest.hex(),
        "due_at": new.due_at,
        "expires_at": new.expires_at,
    }
    encoded = encode_row(row)
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise StatementFailed("22P05", "a text holds NUL")
    return encoded


async def enqueue_encoded(
    conn: Connection, messages: Iterable[bytes], lock_timeout_ms: int | None = None
) -> dict[UUID, QueuedMessage]:
    """Queue messages, all or none; those whose client id is taken are missing in the result, and change nothing.

    One statement, so that nobody sees a message without its outbox row. ``lock_timeout_ms``: how long it waits for a
    lock, where the connection's own limit is too long. After DatabaseUnavailable or a cancellation they may have been
    queued.
    """
    joined = Json(b"[" + b",".join(messages) + b"]")
    rows = await _SQL.rows(conn, "enqueue", rows=joined, provider=PROVIDER, lock_ms=lock_timeout_ms)
    return {row.id: QueuedMessage(*row) for row in rows}


async def enqueue(conn: Connection, unit: UnitId, new: NewMessage) -> bool:
    """Queue one message; False where its client id is taken, and then nothing has changed."""
    return bool(await enqueue_encoded(conn, [encode_message(unit, new)]))


async def list_present(conn: Connection, messages: Sequence[UUID]) -> set[UUID]:
    """Which of these messages are stored."""
    return {row.id for row in await _SQL.rows(conn, "list_present", ids=list(messages))}


async def find_by_client_id(conn: Connection, unit: UnitId, client_id: str) -> tuple[UUID, bytes] | None:
    """The id of the message with this client id, and the digest of its request."""
    row = await _SQL.one(conn, "find_by_client_id", unit_id=unit, client_id=client_id)
    return (row.id, bytes(row.request_digest or b"")) if row is not None else None


async def find_chat(conn: Connection, unit: UnitId, conversation: UUID) -> ChatAddress | None:
    """The contact of a conversation of the unit, also of a merged one."""
    row = await _SQL.one(conn, "find_chat", unit_id=unit, conversation_id=conversation)
    if row is None:
        return None
    jids, read = tuple(row.jids), row.read_up_to
    return ChatAddress(row.conversation, row.contact, row.kind, row.canonical, row.phone, row.lid, jids, read)


async def find_referenced_message(conn: Connection, unit: UnitId, message: UUID) -> ReferencedMessage | None:
    """A message of the unit that can be replied or reacted to."""
    row = await _SQL.one(conn, "find_referenced_message", unit_id=unit, id=message)
    return ReferencedMessage(row.external_id, row.from_me, row.conversation, row.body) if row is not None else None


async def cancel(conn: Connection, unit: UnitId, message: UUID, now: float) -> bool:
    """Cancel a queued message; False where it is not queued."""
    return await _SQL.one(conn, "cancel", unit_id=unit, id=message, now=now) is not None


async def find_work_state(conn: Connection, unit: UnitId, message: UUID) -> str | None:
    """The work state of a message, ``received`` for an incoming one; None where there is no such message."""
    row = await _SQL.one(conn, "find_work_state", unit_id=unit, id=message)
    return str(row.state) if row is not None else None


async def dismiss_failed(conn: Connection, unit: UnitId, message: UUID, now: float) -> bool:
    """Note that a person leaves a failed message alone; the first time counts. False where it has not failed."""
    return await _SQL.one(conn, "dismiss_failed", unit_id=unit, id=message, now=now) is not None
