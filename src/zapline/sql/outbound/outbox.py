"""Performs what people ask about outgoing messages: queue, cancel, release, uploads, receipts, a unit's limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from uuid import UUID

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, kind_of_content, text_of_content
from zapline.domain.outbox.work_states import Lane
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Chat:
    """Whom a conversation is with. ``conversation`` is the root's id; ``canonical`` as in ``domain.phones``."""

    conversation: UUID
    contact: UUID
    kind: str
    canonical: str
    phone: str | None = None
    lid: str | None = None
    jids: tuple[str, ...] = ()
    """Every spelling that WhatsApp has used, those of phones first."""
    read_up_to: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A message that another one replies or reacts to. ``external_id`` None: it has not been sent yet."""

    external_id: ExternalId | None
    from_me: bool
    conversation: UUID
    body: str | None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be queued. Times are UTC seconds."""

    id: UUID
    client_id: str
    chat: Chat
    address: str
    outgoing: OutgoingMessage
    digest: bytes
    """SHA-256 of what was asked."""
    media: dict[str, object] | None
    detail: dict[str, object]
    now: float
    due_at: float
    expires_at: float
    lane: Lane = Lane.REPLY


@dataclass(frozen=True, slots=True)
class Upload:
    """What is known of an uploaded file, without its bytes."""

    mimetype: str
    file_name: str | None
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """A unit's own pace, as in ``unit_paces``. Hours of the day are local to the unit."""

    per_minute: float
    burst: int
    gap_seconds: float
    daily_cap: int | None
    warm_up_first: int | None
    quiet_from: time | None
    quiet_until: time | None
    campaign_seconds: float
    resend_lanes: tuple[Lane, ...]


async def enqueue(conn: Connection, unit: UnitId, new: NewMessage) -> bool:
    """Queue it; False where its client id is taken, and nothing has changed then.

    One statement, so that a message without its work is never seen. After DatabaseUnavailable or a cancellation
    it may have been queued.
    """
    outgoing, chat = new.outgoing, new.chat
    quoted = outgoing.quoted.external_id if outgoing.quoted is not None else None
    kind = kind_of_content(outgoing.content)
    row = await _SQL.one(
        conn,
        "enqueue",
        id=new.id,
        unit_id=unit,
        provider=PROVIDER,
        client_id=new.client_id,
        conversation_id=chat.conversation,
        contact_id=chat.contact,
        chat_kind=chat.kind,
        canonical=chat.canonical,
        phone=chat.phone,
        lid=chat.lid,
        kind=kind,
        body=text_of_content(outgoing.content),
        media=as_json(new.media) if new.media is not None else None,
        detail=as_json(new.detail),
        quoted_id=quoted,
        sent_at=new.due_at,
        now=new.now,
        # A reaction is no message of the thread, and one for next week does not top the list now.
        shown_at=None if kind == "reaction" else new.now,
        lane=new.lane.value,
        address=new.address,
        fingerprint=fingerprint_content(outgoing.content),
        content=as_json(outgoing),
        digest=new.digest,
        due_at=new.due_at,
        expires_at=new.expires_at,
    )
    return row is not None


async def find_by_client_id(conn: Connection, unit: UnitId, client_id: str) -> tuple[UUID, bytes] | None:
    """The message of this client id, with the digest of what was asked."""
    row = await _SQL.one(conn, "find_by_client_id", unit_id=unit, client_id=client_id)
    return (row.id, bytes(row.request_digest or b"")) if row is not None else None


async def find_chat(conn: Connection, unit: UnitId, conversation: UUID) -> Chat | None:
    """Whom a conversation of the unit is with, merged or not."""
    row = await _SQL.one(conn, "find_chat", unit_id=unit, conversation_id=conversation)
    if row is None:
        return None
    jids, read = tuple(row.jids), row.read_up_to
    return Chat(row.conversation, row.contact, row.kind, row.canonical, row.phone, row.lid, jids, read)


async def find_target(conn: Connection, unit: UnitId, message: UUID) -> Target | None:
    """A message of the unit that can be replied or reacted to."""
    row = await _SQL.one(conn, "find_target", unit_id=unit, id=message)
    return Target(row.external_id, row.from_me, row.conversation, row.body) if row is not None else None


async def cancel(conn: Connection, unit: UnitId, message: UUID, now: float) -> bool:
    """Take a queued message back; False where it is not queued."""
    return await _SQL.one(conn, "cancel", unit_id=unit, id=message, now=now) is not None


async def send_again(conn: Connection, unit: UnitId, message: UUID, now: float, expires_at: float) -> bool:
    """Queue an uncertain message once more, to live at least until ``expires_at``; False where it is not uncertain."""
    row = await _SQL.one(conn, "send_again", unit_id=unit, id=message, now=now, expires_at=expires_at)
    return row is not None


async def give_up(conn: Connection, unit: UnitId, message: UUID, now: float) -> bool:
    """Leave an uncertain message alone; False where it is not uncertain."""
    return await _SQL.one(conn, "give_up", unit_id=unit, id=message, now=now) is not None


async def find_state(conn: Connection, unit: UnitId, message: UUID) -> str | None:
    """Where the work on a message stands, ``received`` for one that came in; None where there is no such message."""
    row = await _SQL.one(conn, "find_state", unit_id=unit, id=message)
    return str(row.state) if row is not None else None


# -- uploads -------------------------------------------------------------------------------------------------


async def insert_upload(conn: Connection, unit: UnitId, id: UUID, upload: Upload, data: bytes) -> None:
    await _SQL.execute(
        conn,
        "insert_upload",
        id=id,
        unit_id=unit,
        mimetype=upload.mimetype,
        file_name=upload.file_name,
        size=upload.size,
        sha256=upload.sha256,
        bytes=data,
    )


async def find_upload(conn: Connection, unit: UnitId, id: UUID) -> Upload | None:
    """A file of the unit."""
    row = await _SQL.one(conn, "find_upload", unit_id=unit, id=id)
    return Upload(row.mimetype, row.file_name, row.size, bytes(row.sha256)) if row is not None else None


async def load_upload(pool: Pool, id: UUID) -> bytes | None:
    """The bytes of a file; None where it is gone. Raises DatabaseUnavailable."""
    async with pool.connection() as conn:
        row = await _SQL.one(conn, "load_upload", id=id)
    return bytes(row.bytes) if row is not None else None


async def prune_uploads(conn: Connection) -> int:
    """Drop files of more than 30 days ago that nothing at work will send; how many."""
    return await _SQL.execute(conn, "prune_uploads")


# -- receipts ------------------------------------------------------------------------------------------------


async def find_unread(
    conn: Connection, unit: UnitId, conversation: UUID, limit: int
) -> Sequence[tuple[ExternalId, int]]:
    """Ids and sequence numbers of what came in and was not read yet, newest first; ``conversation`` is a root."""
    rows = await _SQL.rows(conn, "find_unread", unit_id=unit, conversation_id=conversation, limit=limit)
    return [(ExternalId(row.external_id), row.seq) for row in rows]


async def read_up_to(conn: Connection, unit: UnitId, conversation: UUID, seq: int) -> None:
    """Somebody has read the conversation as far as ``seq``; it never goes back."""
    await _SQL.execute(conn, "read_up_to", unit_id=unit, conversation_id=conversation, seq=seq)


# -- pace ----------------------------------------------------------------------------------------------------


async def put_pace(conn: Connection, unit: UnitId, limits: Limits) -> None:
    """Replace the unit's limits."""
    values = {name: getattr(limits, name) for name in Limits.__slots__}
    values["resend_lanes"] = [lane.value for lane in limits.resend_lanes]
    await _SQL.execute(conn, "put_pace", unit_id=unit, **values)
