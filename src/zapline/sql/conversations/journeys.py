"""Reads where a message is: its rows, its calls, what the CRM was told, and what the line has shown meanwhile."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, UnitId, conversation_id
from zapline.domain.journeys.journey import Call, Told, Trace, Work, end_of_waiting
from zapline.domain.outbox.work_states import Lane, WorkState
from zapline.sql.inbound.status_merge import told_of
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json, from_row
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope
from zapline.sql.units.line_history import changes_since

_SQL = Queries(__name__)
MOST_FOUND = 10
_MOST_TOLD = 50
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class TracedMessage:
    """A message, whom it is from or to (``canonical``), and all that is known of its way."""

    id: UUID
    conversation: UUID
    """Of the root."""
    name: str | None
    canonical: str
    kind: str
    text: str | None
    external_id: str | None
    client_message_id: str | None
    trace: Trace


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that was looked for, and its unit."""

    id: UUID
    unit: UnitId


async def trace_message(pool: Pool, unit: UnitId, id: UUID) -> TracedMessage | None:
    """All that is known of a message's way; None where the unit has no such message. Raises DatabaseUnavailable."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "get_trace", unit_id=unit, id=id, longest=_LONGEST)
        if row is None:
            return None
        calls = [from_row(Call, call) for call in await _SQL.rows(conn, "list_calls", unit_id=unit, id=id)]
        told = await _SQL.rows(conn, "list_told", unit_id=unit, id=id, limit=_MOST_TOLD)
        work = from_row(Work, row, state=WorkState(row.state), lane=Lane(row.lane)) if row.state is not None else None
        line = []
        if work is not None:
            until = end_of_waiting(work, calls)
            line = (await changes_since(conn, [unit], row.received_at, until))[unit]
    trace = Trace(
        from_me=row.from_me,
        written_at=row.written_at,
        received_at=row.received_at,
        stored_at=row.stored_at,
        backfilled=row.backfilled,
        origin=row.origin,
        delivery=row.delivery,
        refusal=row.refusal,
        refused_at=row.refused_at,
        edited_at=row.edited_at,
        deleted_at=row.deleted_at,
        told=told_of(row),
        work=work,
        calls=calls,
        hooks=[from_row(Told, one) for one in told],
        line=line,
    )
    names = (row.id, row.root, row.name, row.canonical, row.kind, row.text, row.external_id, row.client_message_id)
    return TracedMessage(*names, trace)


async def find_by_id(pool: Pool, units: Sequence[UnitId], id: UUID, *, admin: bool) -> list[FoundMessage]:
    """A message by our own id, in one of these units. ``admin``: for an administrator, in any number of units."""
    async with _scope(pool, units, admin) as conn:
        return _found(await _SQL.rows(conn, "find_by_id", units=list(units), id=id))


async def find_by_name(pool: Pool, units: Sequence[UnitId], name: str, *, admin: bool) -> list[FoundMessage]:
    """Messages by the caller's own id, or by any of WhatsApp's."""
    arguments = {"units": list(units), "name": name, "provider": PROVIDER, "limit": MOST_FOUND}
    async with _scope(pool, units, admin) as conn:
        return _found(await _SQL.rows(conn, "find_by_name", **arguments))


async def find_near(
    pool: Pool, units: Sequence[UnitId], canonical: str, at: float, *, admin: bool
) -> list[FoundMessage]:
    """The messages with a person that were written nearest to a time (UTC seconds), the nearest first."""
    chats = [{"unit_id": unit, "conversation_id": conversation_id(unit, canonical)} for unit in units]
    async with _scope(pool, units, admin) as conn:
        return _found(await _SQL.rows(conn, "find_near", rows=as_json(chats), at=at, limit=MOST_FOUND))


def _scope(pool: Pool, units: Sequence[UnitId], admin: bool) -> AbstractAsyncContextManager[Connection]:
    return admin_scope(pool) if admin else unit_scope(pool, units[0])


def _found(rows: Sequence[Any]) -> list[FoundMessage]:
    return [FoundMessage(row.id, UnitId(row.unit_id)) for row in rows]
