"""Reads for people: what every unit has to do and when it was last heard of, and the units that are closed."""

from dataclasses import dataclass

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class UnitTotals:
    """What a unit has to do. Times are UTC seconds; ``dead``: messages given up in the last day.

    ``oldest_queued``: since when the oldest message that could leave by now waits. ``letters``: dead letters that
    nobody has dealt with. ``last_out``: when the last message that left was taken by WhatsApp.
    """

    unit: UnitId
    queued: int = 0
    uncertain: int = 0
    dead: int = 0
    letters: int = 0
    oldest_queued: float | None = None
    last_in: float | None = None
    last_out: float | None = None


async def load_all_totals(pool: Pool) -> dict[UnitId, UnitTotals]:
    """Of every active unit, in one statement. For administrators. Raises DatabaseUnavailable."""
    async with admin_scope(pool) as conn:
        return {total.unit: total for total in await _totals(conn, None)}


async def load_totals(pool: Pool, unit: UnitId) -> UnitTotals:
    """Of one unit. Raises DatabaseUnavailable."""
    async with unit_scope(pool, unit) as conn:
        found = await _totals(conn, unit)
    return found[0] if found else UnitTotals(unit)


async def _totals(conn: Connection, unit: UnitId | None) -> list[UnitTotals]:
    await _SQL.one(conn, "walk_indexes")
    return [
        UnitTotals(
            unit=UnitId(row.unit_id),
            queued=row.queued,
            uncertain=row.uncertain,
            dead=row.dead,
            letters=row.letters,
            oldest_queued=row.oldest_queued,
            last_in=row.last_in,
            last_out=row.last_out,
        )
        for row in await _SQL.rows(conn, "unit_totals", unit_id=unit)
    ]
