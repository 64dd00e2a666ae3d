"""Stores a unit's quick replies: texts to answer with again and again, each under a shortcut."""

from dataclasses import dataclass
from datetime import datetime

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class QuickReply:
    """``shortcut``: what is typed behind the slash."""

    shortcut: str
    text: str
    changed_at: datetime


async def list_replies(pool: Pool, unit: UnitId, after: str, limit: int) -> list[QuickReply]:
    """A page in the order of the shortcuts, behind ``after``. Raises DatabaseUnavailable."""
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_replies", unit_id=unit, after=after, limit=limit)
    return [QuickReply(*row) for row in rows]


async def find_reply(pool: Pool, unit: UnitId, shortcut: str) -> QuickReply | None:
    """The one with this shortcut. Raises DatabaseUnavailable."""
    async with unit_scope(pool, unit) as conn:
        row = await _SQL.one(conn, "find_reply", unit_id=unit, shortcut=shortcut)
    return QuickReply(*row) if row is not None else None


async def put_reply(conn: Connection, unit: UnitId, shortcut: str, text: str, most: int) -> bool | None:
    """Add it or change its text, in a transaction; whether it is new. None: the unit has ``most`` others already."""
    await _SQL.one(conn, "lock_unit", unit_id=unit)
    found = await _SQL.one(conn, "count_others", unit_id=unit, shortcut=shortcut)
    if found is not None and found.others >= most:
        return None
    stored = await _SQL.one(conn, "put_reply", unit_id=unit, shortcut=shortcut, text=text)
    return stored is not None and bool(stored.fresh)


async def delete_reply(conn: Connection, unit: UnitId, shortcut: str) -> bool:
    """Remove it; False where there is none."""
    return await _SQL.one(conn, "delete_reply", unit_id=unit, shortcut=shortcut) is not None
