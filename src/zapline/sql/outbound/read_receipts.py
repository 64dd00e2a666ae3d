"""Finds unread messages, and stores how far a person has read a conversation."""

from collections.abc import Sequence
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


async def find_unread(
    conn: Connection, unit: UnitId, conversation: UUID, limit: int
) -> Sequence[tuple[ExternalId, int]]:
    """External ids and sequence numbers of unread incoming messages, newest first; ``conversation`` is a root."""
    rows = await _SQL.rows(conn, "find_unread", unit_id=unit, conversation_id=conversation, limit=limit)
    return [(ExternalId(row.external_id), row.seq) for row in rows]


async def find_replied_conversation(conn: Connection, unit: UnitId, message: UUID) -> UUID | None:
    """The conversation of a reply; None for a message of a campaign, and for an answer of our own."""
    row = await _SQL.one(conn, "find_replied_conversation", unit_id=unit, message=message)
    return row.conversation_id if row is not None else None


async def mark_read_up_to(conn: Connection, unit: UnitId, conversation: UUID, seq: int) -> None:
    """Store that a person has read the conversation up to ``seq``; a lower one changes nothing."""
    await _SQL.execute(conn, "mark_read_up_to", unit_id=unit, conversation_id=conversation, seq=seq)


async def mark_unread(conn: Connection, unit: UnitId, conversation: UUID) -> bool:
    """Count the newest incoming message as unread again; False where it is unread, or there is none."""
    return await _SQL.execute(conn, "mark_unread", unit_id=unit, conversation_id=conversation) > 0
