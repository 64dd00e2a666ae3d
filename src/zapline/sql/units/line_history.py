"""Reads what lines have shown since when, and forgets what is too old."""

from collections.abc import Mapping, Sequence
from typing import Any

from zapline.domain.ids import UnitId
from zapline.domain.line.history import LineChange, LinePeriod
from zapline.domain.line.reasons import Phase, Reason
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope

_SQL = Queries(__name__)
MOST_CHANGES = 10_000
"""Of a unit: a line that goes up and down once a minute has them in a week."""


async def list_periods(pool: Pool, unit: UnitId, before: int | None, limit: int) -> list[LinePeriod]:
    """A page of what the unit's line has shown, the latest first, below the number ``before`` of a change.

    Raises DatabaseUnavailable.
    """
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_periods", unit_id=unit, before=before, limit=limit)
    return [LinePeriod(_change(row), _next(row)) for row in rows]


async def list_changes_since(pool: Pool, unit: UnitId, since: float) -> list[LineChange]:
    """The unit's changes since a time (UTC seconds), in their order, and before them the last one from before.

    Raises DatabaseUnavailable.
    """
    async with unit_scope(pool, unit) as conn:
        return (await changes_since(conn, [unit], since))[unit]


async def list_all_changes_since(
    pool: Pool, units: Sequence[UnitId], since: float
) -> Mapping[UnitId, list[LineChange]]:
    """The same of several units, for administrators."""
    async with admin_scope(pool) as conn:
        return await changes_since(conn, units, since)


async def changes_since(
    conn: Connection, units: Sequence[UnitId], since: float, until: float | None = None
) -> dict[UnitId, list[LineChange]]:
    """The same over any connection that may read it; ``until`` (UTC seconds): none of later."""
    found: dict[UnitId, list[LineChange]] = {unit: [] for unit in units}
    for row in await _SQL.rows(conn, "list_changes_since", units=list(units), since=since, until=until):
        found[UnitId(row.unit_id)].append(_change(row))
    return found


async def prune_changes(conn: Connection, before: float, limit: int) -> int:
    """Delete changes from before a time (UTC seconds), and beyond ``MOST_CHANGES`` of a unit; returns how many."""
    return await _SQL.execute(conn, "prune_changes", before=before, most=MOST_CHANGES, limit=limit)


def _change(row: Any) -> LineChange:
    return LineChange(row.number, row.at, Phase(row.phase), Reason(row.reason))


def _next(row: Any) -> LineChange | None:
    if row.next_number is None:
        return None
    return LineChange(row.next_number, row.next_at, Phase(row.next_phase), Reason(row.next_reason))
