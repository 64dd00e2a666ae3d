"""Performs what senders do in the database: claim, rescue, give back, and read what their pace is rebuilt from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.errors import PositionRefused
from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.messages.facts import CallStarted
from zapline.domain.outbox.contents import OutgoingMessage
from zapline.domain.outbox.message_ids import choose_message_id
from zapline.domain.outbox.work_states import Lane
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.postgres.queries import Queries, encode_row, from_row

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
    owner: UUID | None = None
    """As which node the caller owns the unit; None: not checked."""
    since: int = 0
    """The epoch of that."""


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


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a unit's sender asks for. ``attempt`` is the id of the call to be made, ``now`` in UTC seconds.

    ``blocked``: recipients that must wait. ``scheduled``: whether messages that were asked for later may be sent.
    """

    unit: UnitId
    attempt: UUID
    now: float
    lanes: Collection[Lane]
    blocked: Collection[str]
    guard: ClaimGuard = NO_GUARD
    scheduled: bool = True


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """``claimed`` None: nothing may be sent now; ``dues``: then when each lane is due, empty lanes are left out.

    ``unreadable``: a message was claimed that cannot be decoded. ``refused``: the guard does not hold. ``last``:
    nothing else of the unit is queued.
    """

    claimed: ClaimedSend | None
    dues: Mapping[Lane, NextDue]
    last: bool = False
    unreadable: bool = False
    refused: bool = False


async def claim_all(
    conn: Connection,
    requests: Sequence[ClaimRequest],
    *,
    process: UUID,
    lease: float,
    lock_timeout_ms: int | None = None,
) -> list[ClaimResult]:
    """Claim the next message of each of these units, in one statement. Committed when this returns.

    ``lease`` in seconds; ``lock_timeout_ms``: how long it waits for a lock, where the connection's own limit is too
    long. Raises DatabaseUnavailable; after it, and after a cancellation, the claims may exist: see
    ``list_unended_calls``.
    """
    asked = encode_row([_asked(request) for request in requests])
    rows = await _SQL.rows(
        conn, "claim", rows=Json(asked), process=process, lease=lease, provider=PROVIDER, lock_ms=lock_timeout_ms
    )
    results = {row.attempt: _claim_result(row) for row in rows}
    return [results[request.attempt] for request in requests]


def _asked(request: ClaimRequest) -> dict[str, object]:
    guard = request.guard
    return {
        "unit_id": request.unit,
        "attempt": request.attempt,
        "chosen_id": choose_message_id(request.attempt),
        "now": request.now,
        "lanes": [lane.value for lane in request.lanes],
        "blocked": list(request.blocked),
        "scheduled": request.scheduled,
        **{name: getattr(guard, name) for name in guard.__slots__},
    }


def _claim_result(row: Any) -> ClaimResult:
    if row.message_id is None:
        dues = {Lane(lane): NextDue(due_at, later) for lane, due_at, later in row.dues or ()}
        return ClaimResult(None, dues, refused=not row.may)
    try:
        content = msgspec.convert(row.content, OutgoingMessage)
    except msgspec.ValidationError:
        return ClaimResult(None, {}, unreadable=True)
    own = {"message": row.message_id, "lane": Lane(row.lane), "outgoing": content, "campaign": row.campaign_id}
    return ClaimResult(from_row(ClaimedSend, row, **own), {}, last=row.last)


async def claim(
    conn: Connection, unit: UnitId, *, process: UUID, lease: float, attempt: UUID, now: float, **asked: Any
) -> ClaimedSend | None:
    """Claim the next message of one unit; None where none may be sent now. Raises PositionRefused."""
    request = ClaimRequest(unit, attempt, now, **asked)
    (result,) = await claim_all(conn, [request], process=process, lease=lease)
    if result.refused:
        raise PositionRefused("the database was set back, or another process leads")
    return result.claimed


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


async def is_call_known(conn: Connection, unit: UnitId, attempt: UUID) -> bool:
    """Whether the database knows of a call."""
    return await _SQL.one(conn, "find_call", unit_id=unit, attempt=attempt) is not None


async def hand_over_claim(conn: Connection, attempt: UUID, earlier: CallStarted) -> None:
    """Have an earlier call of the message own its claim, in place of the call that is not made."""
    call = {"known": earlier.attempt, "fence": earlier.fence, "started_at": earlier.started_at}
    await _SQL.execute(conn, "hand_over_claim", attempt=attempt, chosen_id=earlier.chosen_id, **call)


async def undo_claim(conn: Connection, lease: UnendedCall) -> bool:
    """Undo a claim whose call was never made; False where there is none."""
    return (
        await _SQL.one(conn, "undo_claim", message_id=lease.message, fence=lease.fence, attempt=lease.attempt)
        is not None
    )
