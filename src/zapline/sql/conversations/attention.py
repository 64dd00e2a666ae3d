"""Reads for the console of what waits for a person, of one unit or, for an administrator, of all."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import Content, OutgoingMessage
from zapline.sql.conversations.conversations import SendCall
from zapline.sql.inbound.dead_letters import DeadLetter
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope

_SQL = Queries(__name__)
RESEND_PREFIX = "console:again:"
"""Client ids of messages that are sent anew begin so, and go on with the id of the one that failed."""
FAILED_DAYS = 7
"""For which a failed message is shown: who has not sent it anew by then does not need it any more."""
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message of ours that waits for a person. ``ended_at``: when the work on it stood still."""

    message: UUID
    unit: UnitId
    conversation: UUID
    name: str | None
    recipient: str
    kind: str
    text: str | None
    failure: str | None
    failure_detail: str | None
    campaign: UUID | None
    created_at: datetime
    ended_at: datetime | None
    look_at: datetime | None
    looks: int
    calls: tuple[SendCall, ...]


@dataclass(frozen=True, slots=True)
class AttentionItems:
    """All that waits, each list bounded."""

    uncertain: list[WaitingMessage]
    failed: list[WaitingMessage]
    stalled: list[WaitingMessage]
    letters: list[DeadLetter]


def _scope(pool: Pool, unit: UnitId | None) -> AbstractAsyncContextManager[Connection]:
    return unit_scope(pool, unit) if unit is not None else admin_scope(pool)


async def list_attention(pool: Pool, unit: UnitId | None, limit: int) -> AttentionItems:
    """The latest of each kind. ``unit`` None: of all units, for administrators. Raises DatabaseUnavailable."""
    shown = {"unit_id": unit, "limit": limit, "longest": _LONGEST}
    async with _scope(pool, unit) as conn:
        return AttentionItems(
            uncertain=[_waiting(row) for row in await _SQL.rows(conn, "uncertain", **shown)],
            failed=[
                _waiting(row) for row in await _SQL.rows(conn, "failed", **shown, days=FAILED_DAYS, again=RESEND_PREFIX)
            ],
            stalled=[_waiting(row) for row in await _SQL.rows(conn, "stalled", **shown)],
            letters=await _letters(conn, unit, None, limit, every=False),
        )


async def list_dead_letters(pool: Pool, unit: UnitId | None, before: int | None, limit: int) -> list[DeadLetter]:
    """A page of dead letters, those dealt with too."""
    async with _scope(pool, unit) as conn:
        return await _letters(conn, unit, before, limit, every=True)


async def find_failed_content(pool: Pool, unit: UnitId, message: UUID) -> tuple[Content, UUID] | None:
    """What a failed message was to say, and its conversation; None where none of this id has failed.

    Raises msgspec.ValidationError where another version has stored it in words that are not known.
    """
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "content_of", unit_id=unit, id=message)
    return (msgspec.convert(row.content, OutgoingMessage).content, row.conversation_id) if row is not None else None


async def _letters(
    conn: Connection, unit: UnitId | None, before: int | None, limit: int, *, every: bool
) -> list[DeadLetter]:
    rows = await _SQL.rows(conn, "letters", unit_id=unit, before=before, limit=limit, every=every)
    return [
        DeadLetter(
            id=row.id,
            unit_id=UnitId(row.unit_id),
            reason=row.reason,
            detail=row.detail,
            event=row.event,
            size=row.size,
            has_raw=row.has_raw,
            received_at=row.received_at,
            created_at=row.created_at,
            revived_at=row.revived_at,
            given_up_at=row.given_up_at,
        )
        for row in rows
    ]


def _waiting(row: Any) -> WaitingMessage:
    calls = tuple(SendCall(*call) for call in row.calls or ())
    return replace(WaitingMessage(*row), calls=calls)
