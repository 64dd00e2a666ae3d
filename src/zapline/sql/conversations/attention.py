"""Reads for the console: messages and dead letters that need a person, of one unit or of all."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import Content, OutgoingMessage
from zapline.domain.outbox.work_states import FAILED_DAYS, RESEND_PREFIX
from zapline.sql.conversations.conversations import SendCall
from zapline.sql.health.dead_letters import DeadLetter
from zapline.sql.health.dead_letters import list_dead_letters as read_dead_letters
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope

_SQL = Queries(__name__)
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """An outgoing message that needs a person. ``ended_at``: when the work on it stopped."""

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
    lookups: int
    calls: tuple[SendCall, ...]


@dataclass(frozen=True, slots=True)
class AttentionItems:
    """The messages that need a person; each list is bounded."""

    uncertain: list[WaitingMessage]
    failed: list[WaitingMessage]
    stalled: list[WaitingMessage]


def _scope(pool: Pool, unit: UnitId | None) -> AbstractAsyncContextManager[Connection]:
    return unit_scope(pool, unit) if unit is not None else admin_scope(pool)


async def list_attention(pool: Pool, unit: UnitId | None, limit: int) -> AttentionItems:
    """The latest of each kind. ``unit`` None: of all units, for administrators. Raises DatabaseUnavailable."""
    arguments = {"unit_id": unit, "limit": limit, "longest": _LONGEST}
    async with _scope(pool, unit) as conn:
        return AttentionItems(
            uncertain=[_waiting_message(row) for row in await _SQL.rows(conn, "list_uncertain", **arguments)],
            failed=[
                _waiting_message(row)
                for row in await _SQL.rows(conn, "list_failed", **arguments, days=FAILED_DAYS, again=RESEND_PREFIX)
            ],
            stalled=[_waiting_message(row) for row in await _SQL.rows(conn, "list_stalled", **arguments)],
        )


async def list_open_letters(pool: Pool, unit: UnitId | None, limit: int) -> list[DeadLetter]:
    """The latest dead letters about which nobody has decided. Raises DatabaseUnavailable."""
    async with _scope(pool, unit) as conn:
        return await read_dead_letters(conn, unit, None, limit, only_open=True)


async def list_dead_letters(pool: Pool, unit: UnitId | None, before: int | None, limit: int) -> list[DeadLetter]:
    """A page of dead letters, including closed ones."""
    async with _scope(pool, unit) as conn:
        return await read_dead_letters(conn, unit, before, limit)


async def find_failed_content(pool: Pool, unit: UnitId, message: UUID) -> tuple[Content, UUID] | None:
    """The content of a failed message and its conversation; None where no message of this id has failed.

    Raises msgspec.ValidationError where another version has stored content of an unknown kind.
    """
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_failed_content", unit_id=unit, id=message)
    return (msgspec.convert(row.content, OutgoingMessage).content, row.conversation_id) if row is not None else None


def _waiting_message(row: Any) -> WaitingMessage:
    calls = tuple(SendCall(*call) for call in row.calls or ())
    return replace(WaitingMessage(*row), calls=calls)
