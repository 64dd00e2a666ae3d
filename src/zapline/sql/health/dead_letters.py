"""Reads dead letters, and marks those that were processed again or given up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, from_row

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A webhook that could not be used. ``has_raw``: its body is stored; ``raw``: the body, where it was read."""

    id: int
    unit_id: UnitId
    reason: str
    detail: str | None
    event: str | None
    size: int
    has_raw: bool
    received_at: datetime
    created_at: datetime
    revived_at: datetime | None
    given_up_at: datetime | None
    raw: bytes | None = None


async def list_dead_letters(
    conn: Connection, unit: UUID | None, before: int | None, limit: int, *, only_open: bool = False
) -> list[DeadLetter]:
    """A page without bodies, newest first, of one unit or of all, before an id."""
    arguments = {"unit_id": unit, "before": before, "limit": limit, "only_open": only_open}
    rows = await _SQL.rows(conn, "list_dead_letters", **arguments)
    return [_dead_letter(row, None) for row in rows]


async def get_dead_letter(conn: Connection, id: int, unit: UUID | None = None) -> DeadLetter | None:
    """One dead letter with its body; only of this unit, where one is given."""
    row = await _SQL.one(conn, "get_dead_letter", id=id, unit_id=unit)
    return _dead_letter(row, row.raw) if row is not None else None


def _dead_letter(row: Any, raw: bytes | None) -> DeadLetter:
    return from_row(DeadLetter, row, unit_id=UnitId(row.unit_id), raw=bytes(raw) if raw is not None else None)


async def give_up(conn: Connection, unit: UUID, id: int) -> bool:
    """Mark a dead letter as given up; False where the unit has none of this id."""
    return await _SQL.one(conn, "give_up", unit_id=unit, id=id) is not None


async def mark_revived(conn: Connection, id: int) -> None:
    """Mark a dead letter as processed again."""
    await _SQL.execute(conn, "mark_revived", id=id)
