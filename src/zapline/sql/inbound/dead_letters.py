"""Reads dead letters, and marks those that were given to their unit again or given up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter. ``raw``: its body, where it was asked for and kept; ``has_raw``: whether it was kept."""

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


async def list_dead_letters(conn: Connection, unit: UUID | None, before: int | None, limit: int) -> list[DeadLetter]:
    """The newest first, of one unit or of all, before an id. Without bodies."""
    rows = await _SQL.rows(conn, "list_dead_letters", unit_id=unit, before=before, limit=limit)
    return [_letter(row, None) for row in rows]


async def get_dead_letter(conn: Connection, id: int, unit: UUID | None = None) -> DeadLetter | None:
    """One, with its body; of this unit, where one is named."""
    row = await _SQL.one(conn, "get_dead_letter", id=id, unit_id=unit)
    return _letter(row, row.raw) if row is not None else None


def _letter(row: Any, raw: bytes | None) -> DeadLetter:
    return DeadLetter(
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
        raw=bytes(raw) if raw is not None else None,
    )


async def give_up(conn: Connection, unit: UUID, id: int) -> bool:
    """A person leaves a letter alone; False where the unit has none of this id."""
    return await _SQL.one(conn, "give_up_letter", unit_id=unit, id=id) is not None


async def mark_revived(conn: Connection, id: int) -> None:
    """Remember that the letter was given to its unit again."""
    await _SQL.execute(conn, "mark_revived", id=id)
