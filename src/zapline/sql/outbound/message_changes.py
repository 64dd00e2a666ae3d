"""Stores edits and deletions of our own messages that were asked for, and what became of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json, from_row
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)


class ChangeKind(StrEnum):
    """What is to become of a message."""

    EDIT = "edit"
    DELETE = "delete"


class ChangeState(StrEnum):
    """How far a change is."""

    CALLING = "calling"
    UNCERTAIN = "uncertain"
    """Evolution has not answered, and may have done it: its echo or its store will tell."""
    UNKNOWN = "unknown"
    """Nobody could tell, not even the store: only the phone shows it. It may be asked for again."""
    DONE = "done"
    FAILED = "failed"
    """Certainly nothing was changed."""


class Begun(Enum):
    """Whether a change was stored as asked for; if not, why."""

    YES = 1
    UNDER_WAY = 2
    """Another one of the message is."""
    NOT_OURS = 3
    """The unit is no longer this process's."""


@dataclass(frozen=True, slots=True)
class ChangeTarget:
    """A message that is to be changed, and the change that is under way."""

    external_id: ExternalId | None
    from_me: bool
    kind: str
    sent_at: datetime
    deleted: bool
    delivery: str | None
    work_state: str | None
    text: str | None
    """What it says now; None also where only the phone knows."""
    conversation: UUID
    open_kind: str | None
    open_text: str | None


@dataclass(frozen=True, slots=True)
class MessageChange:
    """A change that was asked for."""

    id: UUID
    kind: str
    state: str
    asked_at: datetime
    ended_at: datetime | None
    failure: str | None
    """Code of the failure of the call."""


@dataclass(frozen=True, slots=True)
class DueChange:
    """A change whose outcome is to be looked for; ``looks``: how often it was."""

    id: UUID
    unit: UnitId
    looks: int
    external_id: ExternalId
    asked_at: float
    """UTC seconds."""


async def find_target(conn: Connection, unit: UnitId, message: UUID) -> ChangeTarget | None:
    """A message of the unit that may be changed."""
    row = await _SQL.one(conn, "find_target", unit_id=unit, id=message)
    return from_row(ChangeTarget, row) if row is not None else None


async def begin(
    conn: Connection,
    unit: UnitId,
    message: UUID,
    id: UUID,
    kind: ChangeKind,
    text: str | None,
    now: float,
    look_at: float,
    held: Ownership = UNCHECKED,
) -> Begun:
    """Store that a change is asked for, if ``held`` still holds. Times are UTC seconds."""
    if held.over:
        return Begun.NOT_OURS
    row = await _SQL.one(
        conn,
        "begin",
        id=id,
        unit_id=unit,
        message_id=message,
        kind=kind.value,
        text=text,
        now=now,
        look_at=look_at,
        **held.arguments,
    )
    if not row.owned:
        return Begun.NOT_OURS
    return Begun.YES if row.begun else Begun.UNDER_WAY


async def end_call(
    conn: Connection, id: UUID, state: ChangeState, failure: str | None, now: float, look_at: float | None = None
) -> None:
    """Store how a call ended, unless its outcome is known already."""
    await _SQL.execute(conn, "end_call", id=id, state=state.value, failure=failure, now=now, look_at=look_at)


async def list_due(
    conn: Connection, now: float, busy: Collection[UnitId], units: int, limit: int
) -> dict[UnitId, list[DueChange]]:
    """Changes whose outcome is to be looked for now, of up to ``units`` units that are not ``busy``, by unit.

    Of each unit no more than ``limit``.
    """
    rows = await _SQL.rows(conn, "list_due", now=now, busy=list(busy), units=units, limit=limit)
    due: dict[UnitId, list[DueChange]] = {}
    for row in rows:
        due.setdefault(UnitId(row.unit_id), []).append(DueChange(*row))
    return due


async def end_archived(conn: Connection, ids: Collection[UUID], now: float, held: Ownership) -> set[UUID]:
    """End those whose units are archived, as unknown: their servers are not asked any more. Returns them.

    Only while ``held`` holds, as the two below.
    """
    return {row.id for row in await _fenced(conn, "end_archived", held, ids=list(ids), now=now)}


async def settle_shown(conn: Connection, ids: Collection[UUID], now: float, held: Ownership) -> set[UUID]:
    """End those whose message shows what was asked for; return them."""
    return {row.id for row in await _fenced(conn, "settle_shown", held, ids=list(ids), now=now)}


async def look_later(
    conn: Connection, looks: Sequence[tuple[DueChange, int, float | None]], now: float, held: Ownership
) -> int:
    """Store when each is looked for again (how often it was by now, when); without a time, nobody can tell.

    Returns how many are unknown for good. One that was looked for meanwhile stays.
    """
    rows = [{"id": each.id, "looks": each.looks, "next": count, "look_at": at} for each, count, at in looks]
    found = await _fenced(conn, "look_later", held, rows=as_json(rows), now=now) if rows else []
    return sum(row.state == ChangeState.UNKNOWN for row in found)


async def _fenced(conn: Connection, statement: str, held: Ownership, **values: object) -> Sequence[Any]:
    return [] if held.over else await _SQL.rows(conn, statement, **values, **held.arguments)


async def list_changes(
    pool: Pool, unit: UnitId, message: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> list[MessageChange]:
    """A page of what was asked to be changed of a message, the latest first."""
    at, id = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(
            conn, "list_changes", unit_id=unit, message_id=message, before_at=at, before_id=id, limit=limit
        )
    return [MessageChange(*row) for row in rows]
