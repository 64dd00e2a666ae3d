"""Reads what the brake of campaigns decides by, and stores its hold."""

from zapline.domain.ids import UnitId
from zapline.domain.messages.delivery_status import REFUSED
from zapline.domain.outbox.refusal_brake import JUDGED, LOOK_BACK, MAX_OPEN, RecentSend
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_MOST = 2 * (JUDGED + MAX_OPEN)
"""Messages of each kind that are looked at: those judged, and those of which nothing has been heard yet."""


async def list_recent_sends(conn: Connection, unit: UnitId, now: float) -> list[RecentSend]:
    """The unit's last campaign messages and refusals, in no order. ``now`` in UTC seconds."""
    rows = await _SQL.rows(conn, "list_recent_sends", unit_id=unit, since=now - LOOK_BACK, refused=REFUSED, limit=_MOST)
    return [RecentSend(row.started_at, row.campaign, row.confirmed, row.refusal) for row in rows]


async def tells_statuses(conn: Connection, unit: UnitId) -> bool:
    """Whether the unit's server tells what becomes of messages; one that keeps none does not (Evolution 2.3)."""
    row = await _SQL.one(conn, "tells_statuses", unit_id=unit)
    return row is None or row.store_kept is not False


async def hold_campaigns(conn: Connection, unit: UnitId, reason: str) -> float | None:
    """Hold a unit's campaigns; returns since when (UTC seconds), or None where they are held already."""
    row = await _SQL.one(conn, "hold_campaigns", unit_id=unit, reason=reason)
    return row.held_at if row is not None else None


async def release_campaigns(conn: Connection, unit: UnitId) -> bool:
    """End the hold; False where there is none."""
    return await _SQL.one(conn, "release_campaigns", unit_id=unit) is not None
