"""Stores the audit log: entries are begun, completed once, and never deleted."""

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
    """A change. ``action``: the id of an operation or the verb of a command; ``target``: its object in the unit."""

    actor: AuditActor
    action: str
    unit: UnitId | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the log. ``outcome`` None: in progress, or the process died meanwhile."""

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
    """Restricts a list; None: no restriction."""

    unit: UnitId | None = None
    actor: str | None = None
    action: str | None = None


async def begin_entry(conn: Connection, action: AuditedAction) -> int:
    """Store that an action is about to start; returns the id of the entry."""
    return int((await _SQL.one(conn, "begin_entry", **_arguments(action))).id)


async def complete_entry(conn: Connection, entry: int, outcome: int, detail: Mapping[str, object]) -> None:
    """Store the outcome."""
    await _SQL.execute(conn, "complete_entry", id=entry, outcome=outcome, detail=as_json(detail))


async def insert_completed(conn: Connection, action: AuditedAction, outcome: int, detail: Mapping[str, object]) -> None:
    """Store an action that is already over."""
    await _SQL.execute(conn, "insert_completed", **_arguments(action), outcome=outcome, detail=as_json(detail))


async def list_entries(conn: Connection, criteria: AuditFilter, before: int | None, limit: int) -> list[AuditEntry]:
    """A page, newest first, below the id ``before``, of the entries that the connection's role and scope may read."""
    rows = await _SQL.rows(
        conn,
        "list_entries",
        before=before,
        unit_id=criteria.unit,
        actor=criteria.actor,
        action=criteria.action,
        limit=limit,
    )
    return [AuditEntry(*row) for row in rows]


async def list_entries_for_admin(pool: Pool, criteria: AuditFilter, before: int | None, limit: int) -> list[AuditEntry]:
    """A page for an administrator. Raises DatabaseUnavailable."""
    async with admin_scope(pool) as conn:
        return await list_entries(conn, criteria, before, limit)


def _arguments(action: AuditedAction) -> dict[str, object]:
    return {
        "actor_kind": action.actor.kind.value,
        "actor": action.actor.name,
        "actor_id": action.actor.id,
        "source": action.actor.source,
        "unit_id": action.unit,
        "action": action.action,
        "target": action.target,
    }
