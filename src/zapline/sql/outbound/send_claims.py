"""Performs what senders do in the database: claim, rescue, give back, and read what their pace is rebuilt from."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import msgspec

from zapline.domain.errors import PositionRefused
from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.outbox.contents import OutgoingMessage
from zapline.domain.outbox.message_ids import choose_message_id
from zapline.domain.outbox.work_states import Lane
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, from_row

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedSend:
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
    chosen_id: ExternalId
    """The WhatsApp id that the message gets where the server honours it."""
    campaign_seconds: float | None = None
    """The pace of its campaign."""


@dataclass(frozen=True, slots=True)
class ClaimGuard:
    """What a process knows that the database must know too, or it was set back or another process leads.

    ``epoch`` of its leadership (None: not checked), how far the unit's journal is ``stored`` (0: not known), and the
    last message that it claimed for the unit.
    """

    epoch: int | None = None
    journal_id: UUID | None = None
    stored: int = 0
    last_message: UUID | None = None
    last_fence: int | None = None


NO_GUARD = ClaimGuard()


@dataclass(frozen=True, slots=True)
class UnendedCall:
    """A call without an end. ``leased_by``: the process that holds the claim, None where there is no claim.

    ``repeatable``: sending the message again does no harm.
    """

    attempt: UUID
    message: UUID
    fence: int
    leased_by: UUID | None
    started_at: float
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class DueLane:
    """One lane of a unit. ``due_at`` None: nothing is queued; ``leased``: a call has not ended."""

    unit: UnitId
    lane: Lane
    due_at: float | None
    leased: bool


@dataclass(frozen=True, slots=True)
class NextDue:
    """When the next message of a lane is due (UTC seconds); ``later``: the next one that is not due yet."""

    due_at: float
    later: float | None


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
    guard: ClaimGuard = NO_GUARD,
    scheduled: bool = True,
) -> ClaimedSend | None:
    """Claim the next message of a unit; None where none may be sent now. Committed when this returns.

    ``scheduled``: whether messages that were asked for later may be sent.

    ``blocked``: recipients that must wait. ``lease`` in seconds. ``attempt`` is the id of the call to be made.
    Raises PositionRefused if ``guard`` does not hold. Raises DatabaseUnavailable; after it, and after a cancellation,
    the claim may exist: see ``list_unended_calls``.
    """
    row = await _SQL.one(
        conn,
        "claim",
        unit_id=unit,
        process=process,
        attempt=attempt,
        chosen_id=choose_message_id(attempt),
        now=now,
        lease=lease,
        lanes=[lane.value for lane in lanes],
        blocked=list(blocked),
        provider=PROVIDER,
        scheduled=scheduled,
        **(held := {name: getattr(guard, name) for name in guard.__slots__}),
    )
    if row is None:
        allowed = await _SQL.one(conn, "may_claim", unit_id=unit, **held)
        if allowed is None or not allowed.may:
            raise PositionRefused("the database was set back, or another process leads")
        return None
    content = msgspec.convert(row.content, OutgoingMessage)
    own = {"message": row.message_id, "lane": Lane(row.lane), "outgoing": content, "campaign": row.campaign_id}
    return from_row(ClaimedSend, row, **own)


async def list_due_lanes(conn: Connection) -> list[DueLane]:
    """Lanes with queued messages or unended calls, of all units."""
    rows = await _SQL.rows(conn, "list_due_lanes")
    return [DueLane(UnitId(row.unit_id), Lane(row.lane), row.due_at, row.leased) for row in rows]


async def find_next_due(conn: Connection, unit: UnitId, now: float) -> dict[Lane, NextDue]:
    """When each lane of a unit is due; empty lanes are left out."""
    rows = await _SQL.rows(conn, "find_next_due", unit_id=unit, now=now)
    return {Lane(row.lane): NextDue(row.due_at, row.later) for row in rows}


async def list_unended_calls(conn: Connection, unit: UnitId) -> list[UnendedCall]:
    """Calls of the unit without an end; the unit's sender must not be calling."""
    return [
        UnendedCall(row.attempt, row.message_id, row.fence, row.leased_by, row.started_at, row.repeatable)
        for row in await _SQL.rows(conn, "list_unended_calls", unit_id=unit)
    ]


async def undo_claim(conn: Connection, lease: UnendedCall) -> bool:
    """Undo a claim whose call was never made; False where there is none."""
    return (
        await _SQL.one(conn, "undo_claim", message_id=lease.message, fence=lease.fence, attempt=lease.attempt)
        is not None
    )
