"""Performs what senders do in the database: claim, rescue, give back, and read what their pace is rebuilt from."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from zapline.domain.ids import PROVIDER, UnitId
from zapline.domain.outbox.contents import OutgoingMessage
from zapline.domain.outbox.pacing import PaceLimits, PastSend
from zapline.domain.outbox.work_states import Lane
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this process may send now. ``expires_at`` in UTC seconds."""

    message: UUID
    attempt: UUID
    fence: int
    lane: Lane
    recipient: str
    address: str
    outgoing: OutgoingMessage
    tries: int
    resends: int
    expires_at: float | None
    campaign: UUID | None
    campaign_seconds: float | None = None
    """Its campaign's own pace."""


@dataclass(frozen=True, slots=True)
class LeftLease:
    """A call that was begun and not ended. ``leased_by``: the process whose claim it is, None where it is none.

    ``repeatable``: to send it once more does no harm.
    """

    attempt: UUID
    message: UUID
    fence: int
    leased_by: UUID | None
    started_at: float
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """What waits in one lane of a unit. ``due_at`` None: nothing is queued; ``leased``: a call is not ended."""

    unit: UnitId
    lane: Lane
    due_at: float | None
    leased: bool


@dataclass(frozen=True, slots=True)
class NextDue:
    """When the next message of a lane is due (UTC seconds); ``later``: the next one that is not due yet."""

    due_at: float
    later: float | None


@dataclass(frozen=True, slots=True)
class PaceRow:
    """A unit's limits as stored; None in all of them where it has none of its own."""

    per_minute: float | None
    burst: int | None
    gap_seconds: float | None
    daily_cap: int | None
    warm_up_first: int | None
    quiet_from: time | None
    quiet_until: time | None
    campaign_seconds: float | None
    resend_lanes: tuple[Lane, ...]
    time_zone: str
    line_since: float | None


async def claim(
    conn: Connection,
    unit: UnitId,
    *,
    process: UUID,
    attempt: UUID,
    now: float,
    lease: float,
    lanes: Collection[Lane],
    blocked: Collection[str],
) -> Claimed | None:
    """Take the next message of a unit; None where none may leave now. It is committed when this returns.

    ``blocked``: recipients that must wait. ``lease`` in seconds. ``attempt`` is the id of the call to be made.
    Raises DatabaseUnavailable; after it, and after a cancellation, the claim may have been made: ``left_leases``
    tells.
    """
    row = await _SQL.one(
        conn,
        "claim",
        unit_id=unit,
        process=process,
        attempt=attempt,
        now=now,
        lease=lease,
        lanes=[lane.value for lane in lanes],
        blocked=list(blocked),
        provider=PROVIDER,
    )
    if row is None:
        return None
    return Claimed(
        message=row.message_id,
        attempt=row.attempt,
        fence=row.fence,
        lane=Lane(row.lane),
        recipient=row.recipient,
        address=row.address,
        outgoing=msgspec.convert(row.content, OutgoingMessage),
        tries=row.tries,
        resends=row.resends,
        expires_at=row.expires_at,
        campaign=row.campaign_id,
        campaign_seconds=row.campaign_seconds,
    )


async def due_units(conn: Connection) -> list[Due]:
    """What waits to be sent, by unit and lane."""
    rows = await _SQL.rows(conn, "due_units")
    return [Due(UnitId(row.unit_id), Lane(row.lane), row.due_at, row.leased) for row in rows]


async def next_due(conn: Connection, unit: UnitId, now: float) -> dict[Lane, NextDue]:
    """When the lanes of one unit have something to send; a lane without anything is left out."""
    rows = await _SQL.rows(conn, "next_due", unit_id=unit, now=now)
    return {Lane(row.lane): NextDue(row.due_at, row.later) for row in rows}


async def left_leases(conn: Connection, unit: UnitId) -> list[LeftLease]:
    """Calls of the unit that nobody ended; the unit's sender must not be calling."""
    return [
        LeftLease(row.attempt, row.message_id, row.fence, row.leased_by, row.started_at, row.repeatable)
        for row in await _SQL.rows(conn, "left_leases", unit_id=unit)
    ]


async def give_back(conn: Connection, lease: LeftLease) -> bool:
    """Undo a claim whose call was never made; False where there was none."""
    return (
        await _SQL.one(conn, "give_back", message_id=lease.message, fence=lease.fence, attempt=lease.attempt)
        is not None
    )


async def expire_due(conn: Connection, now: float, limit: int = 1000) -> list[Any]:
    """End what is over before it could be sent, at most so many; rows (unit_id, message_id, state)."""
    return await _SQL.rows(conn, "expire_due", now=now, limit=limit)


async def recent_calls(conn: Connection, unit: UnitId, since: float) -> list[PastSend]:
    """The unit's calls since a time, oldest first."""
    return [
        PastSend(row.started_at, row.ended_at, row.recipient, Lane(row.lane))
        for row in await _SQL.rows(conn, "recent_calls", unit_id=unit, since=since)
    ]


async def calls_today(conn: Connection, unit: UnitId, since: float) -> dict[Lane, int]:
    """How many messages of the unit may have left since its day began."""
    rows = await _SQL.rows(conn, "calls_today", unit_id=unit, since=since)
    return {Lane(row.lane): row.calls for row in rows}


async def load_pace(conn: Connection, unit: UnitId) -> PaceRow | None:
    """The unit's limits; None where there is no such unit."""
    row = await _SQL.one(conn, "load_pace", unit_id=unit)
    if row is None:
        return None
    return PaceRow(
        per_minute=row.per_minute,
        burst=row.burst,
        gap_seconds=row.gap_seconds,
        daily_cap=row.daily_cap,
        warm_up_first=row.warm_up_first,
        quiet_from=row.quiet_from,
        quiet_until=row.quiet_until,
        campaign_seconds=row.campaign_seconds,
        resend_lanes=tuple(Lane(lane) for lane in row.resend_lanes or ()),
        time_zone=row.time_zone,
        line_since=row.line_since,
    )


async def read_pace(conn: Connection, unit: UnitId) -> PaceLimits | None:
    """What the unit allows itself; None where there is no such unit."""
    row = await load_pace(conn, unit)
    if row is None:
        return None
    return PaceLimits.given(
        ZoneInfo(row.time_zone),
        per_minute=row.per_minute,
        burst=row.burst,
        gap=row.gap_seconds,
        daily_cap=row.daily_cap,
        warm_up_first=row.warm_up_first,
        quiet_from=row.quiet_from,
        quiet_until=row.quiet_until,
        campaign_seconds=row.campaign_seconds,
        line_since=row.line_since,
        resend_lanes=row.resend_lanes,
    )


async def mark_stalled(conn: Connection, before: float, after: float, now: float, limit: int = 500) -> list[Any]:
    """Mark what Evolution took between ``after`` and ``before`` and nobody confirmed; rows (unit_id, message_id)."""
    return await _SQL.rows(conn, "mark_stalled", before=before, after=after, now=now, limit=limit)


async def totals(conn: Connection) -> list[Any]:
    """Rows (state, lane, messages, oldest) of what is at work, dead (of a day) and stalled."""
    return await _SQL.rows(conn, "totals")
