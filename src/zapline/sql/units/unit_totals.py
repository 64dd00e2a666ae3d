"""Counts the open work of units, and when their last messages came in and went out."""

from dataclasses import dataclass

from zapline.domain.ids import UnitId
from zapline.domain.outbox.work_states import FAILED_DAYS, RESEND_PREFIX
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, from_row
from zapline.sql.postgres.row_level_security import admin_scope, unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class UnitTotals:
    """The open work of a unit. Times are UTC seconds; ``dead``: messages given up in the last day.

    ``oldest_queued``: since when the oldest due message has waited. ``letters``: open dead letters.
    ``last_out``: when WhatsApp accepted the last outgoing message. ``failed``: messages without campaigns that were not
    sent, or that WhatsApp refused, in the last days, and about which nobody has decided.
    """

    unit: UnitId
    queued: int = 0
    uncertain: int = 0
    dead: int = 0
    letters: int = 0
    failed: int = 0
    oldest_queued: float | None = None
    last_in: float | None = None
    last_out: float | None = None


async def load_all_totals(pool: Pool) -> dict[UnitId, UnitTotals]:
    """The totals of every active unit. For administrators. Raises DatabaseUnavailable."""
    async with admin_scope(pool) as conn:
        return {total.unit: total for total in await _totals(conn, None)}


async def load_totals(pool: Pool, unit: UnitId) -> UnitTotals:
    """The totals of one unit. Raises DatabaseUnavailable."""
    async with unit_scope(pool, unit) as conn:
        rows = await _totals(conn, unit)
    return rows[0] if rows else UnitTotals(unit)


async def _totals(conn: Connection, unit: UnitId | None) -> list[UnitTotals]:
    await _SQL.one(conn, "prefer_index_order")
    rows = await _SQL.rows(conn, "load_totals", unit_id=unit, days=FAILED_DAYS, again=RESEND_PREFIX)
    return [from_row(UnitTotals, row, unit=UnitId(row.unit_id)) for row in rows]
