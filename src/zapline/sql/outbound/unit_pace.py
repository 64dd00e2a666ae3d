"""Reads and stores the pace limits of units, and the recent calls from which their pace is restored."""

from dataclasses import dataclass, replace
from datetime import time
from zoneinfo import ZoneInfo

from zapline.domain.ids import UnitId
from zapline.domain.outbox.pacing import PaceLimits, PastSend
from zapline.domain.outbox.typing_time import DEFAULT_TYPING_LONGEST
from zapline.domain.outbox.work_states import Lane
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class StoredPace:
    """A unit's limits as stored; all None where it has none of its own."""

    per_minute: float | None
    burst: int | None
    gap_seconds: float | None
    daily_cap: int | None
    warm_up_first: int | None
    quiet_from: time | None
    quiet_until: time | None
    campaign_seconds: float | None
    resend_lanes: tuple[Lane, ...]
    typing_speed: float | None
    typing_longest: float | None
    time_zone: str
    line_since: float | None
    campaigns_held: bool
    """Whether campaigns wait for a person, because WhatsApp refused too much or confirmed nothing."""

    @property
    def limits(self) -> PaceLimits:
        """The limits with the defaults filled in."""
        return PaceLimits.from_stored(
            ZoneInfo(self.time_zone),
            per_minute=self.per_minute,
            burst=self.burst,
            gap=self.gap_seconds,
            daily_cap=self.daily_cap,
            warm_up_first=self.warm_up_first,
            quiet_from=self.quiet_from,
            quiet_until=self.quiet_until,
            campaign_seconds=self.campaign_seconds,
            line_since=self.line_since,
            resend_lanes=self.resend_lanes,
            typing_speed=self.typing_speed,
            typing_longest=self.typing_longest,
        )


async def list_recent_calls(conn: Connection, unit: UnitId, since: float) -> list[PastSend]:
    """The unit's calls since a time, oldest first."""
    return [
        PastSend(row.started_at, row.ended_at, row.recipient, Lane(row.lane))
        for row in await _SQL.rows(conn, "list_recent_calls", unit_id=unit, since=since)
    ]


async def count_calls_since(conn: Connection, unit: UnitId, since: float) -> dict[Lane, int]:
    """How many messages of the unit may have been sent since its day began, by lane."""
    rows = await _SQL.rows(conn, "count_calls_since", unit_id=unit, since=since)
    return {Lane(row.lane): row.calls for row in rows}


async def load_pace(conn: Connection, unit: UnitId) -> StoredPace | None:
    """The unit's limits; None where there is no such unit."""
    row = await _SQL.one(conn, "load_pace", unit_id=unit)
    if row is None:
        return None
    return replace(StoredPace(*row), resend_lanes=tuple(Lane(lane) for lane in row.resend_lanes or ()))


async def find_pace(pool: Pool, unit: UnitId) -> StoredPace | None:
    """The unit's pace limits as stored."""
    async with unit_scope(pool, unit) as conn:
        return await load_pace(conn, unit)


async def read_pace(conn: Connection, unit: UnitId) -> PaceLimits | None:
    """The unit's limits with the defaults filled in; None where there is no such unit."""
    row = await load_pace(conn, unit)
    if row is None:
        return None
    return row.limits


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """A unit's own limits, as in ``unit_paces``. Hours of the day are in the unit's time zone."""

    per_minute: float
    burst: int
    gap_seconds: float
    daily_cap: int | None
    warm_up_first: int | None
    quiet_from: time | None
    quiet_until: time | None
    campaign_seconds: float
    resend_lanes: tuple[Lane, ...]
    typing_speed: float | None = None
    """Characters a second; None: nothing is shown."""
    typing_longest: float = DEFAULT_TYPING_LONGEST


async def store_pace(conn: Connection, unit: UnitId, limits: PaceSettings) -> None:
    """Replace the unit's limits."""
    values = {name: getattr(limits, name) for name in PaceSettings.__slots__}
    values["resend_lanes"] = [lane.value for lane in limits.resend_lanes]
    await _SQL.execute(conn, "store_pace", unit_id=unit, **values)
