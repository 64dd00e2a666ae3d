"""The audit log as stored: lines are begun, completed once, read newest first, and never taken away."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.principals import AuditActor
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json
from zapline.sql.postgres.row_level_security import admin_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class AuditedAction:
    """What somebody is about to change. ``action``: an operation's id or a command's verb; ``target``: of the unit."""

    actor: AuditActor
    action: str
    unit: UnitId | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the log. ``outcome`` None: under way, or the process died over it."""

    id: int
    at: datetime
    actor_kind: str
    actor: str
    actor_id: UUID | None
    source: str | None
    unit: UnitId | None
    action: str
    target: str | None
    detail: dict[str, Any]
    outcome: int | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines; None: of all."""

    unit: UnitId | None = None
    actor: str | None = None
    action: str | None = None


async def begin_entry(conn: Connection, deed: AuditedAction) -> int:
    """Write down what is about to be tried; the line's id."""
    row = await _SQL.one(conn, "begin", **_of(deed))
    found: int = row.id
    return found


async def complete_entry(conn: Connection, line: int, outcome: int, detail: Mapping[str, object]) -> None:
    """Add what came of it."""
    await _SQL.execute(conn, "complete", id=line, outcome=outcome, detail=as_json(detail))


async def insert_completed(conn: Connection, deed: AuditedAction, outcome: int, detail: Mapping[str, object]) -> None:
    """Write down what is over already."""
    await _SQL.execute(conn, "happened", **_of(deed), outcome=outcome, detail=as_json(detail))


async def list_entries(conn: Connection, wanted: AuditFilter, before: int | None, limit: int) -> list[AuditEntry]:
    """A page, newest first, below the id ``before``; over any connection, which sees what its role and scope may."""
    rows = await _SQL.rows(
        conn,
        "list_audit",
        before=before,
        unit_id=wanted.unit,
        actor=wanted.actor,
        action=wanted.action,
        limit=limit,
    )
    return [AuditEntry(*row) for row in rows]


async def list_entries_for_admin(pool: Pool, wanted: AuditFilter, before: int | None, limit: int) -> list[AuditEntry]:
    """The same for an administrator. Raises DatabaseUnavailable."""
    async with admin_scope(pool) as conn:
        return await list_entries(conn, wanted, before, limit)


def _of(deed: AuditedAction) -> dict[str, object]:
    return {
        "actor_kind": deed.actor.kind.value,
        "actor": deed.actor.name,
        "actor_id": deed.actor.id,
        "source": deed.actor.source,
        "unit_id": deed.unit,
        "action": deed.action,
        "target": deed.target,
    }
