"""Stores campaigns and their recipients: creates, loads, starts, stops, retries and shows them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.campaigns.recipient_checks import CheckedRecipient
from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.campaigns.states import CampaignState
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.ids import UnitId
from zapline.domain.outbox.contents import OutgoingMessage
from zapline.domain.outbox.failure_texts import FAILURE_TEXTS, failure_text
from zapline.sql.campaigns.recipient_counts import CountKeeper
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries, as_json, from_row
from zapline.sql.postgres.row_level_security import unit_scope

_SQL = Queries(__name__)
_COUNTS = CountKeeper()
_UNREACHED = frozenset({"failed", "undelivered", "uncertain", "skipped"})


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """A campaign to create. ``digest``: SHA-256 of the request. ``start_at`` and ``now`` in UTC seconds."""

    id: UUID
    name: str
    outgoing: OutgoingMessage
    timing: CampaignTiming
    start_at: float | None
    client_id: str | None
    digest: bytes
    now: float
    wordings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedCampaign:
    """A campaign as planned. ``start_at`` in UTC seconds."""

    state: CampaignState
    outgoing: OutgoingMessage
    timing: CampaignTiming
    start_at: float | None
    wordings: tuple[str, ...] = ()
    """Texts that recipients get in turn, the content's first; empty: there is one."""

    @property
    def template(self) -> MessageTemplate:
        """What recipients get. Raises InvalidTemplate."""
        return MessageTemplate.parse(self.outgoing, self.wordings)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign with counts of its recipients."""

    id: UUID
    name: str
    state: CampaignState
    outgoing: OutgoingMessage
    timing: CampaignTiming
    start_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    created_at: datetime
    client_id: str | None
    wordings: tuple[str, ...] = ()
    """As in ``PlannedCampaign``."""
    held: str | None = None
    """The code of what the unit's campaigns wait for a person for, unless this one has ended."""
    counts: Counter[str] = field(default_factory=Counter)
    """By state, as ``zapline.recipient_state`` of the schema names them."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Those skipped, by reason."""
    reasons: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Those who were not sent a message, or not certainly, by state and reason."""


@dataclass(frozen=True, slots=True)
class CampaignCounts:
    """The state of a campaign at one moment; ``counts`` as in ``Campaign``."""

    name: str
    state: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient with its state."""

    number: int
    recipient: str
    values: dict[str, str]
    state: str
    reason: str | None
    detail: str | None
    message: UUID | None
    sent_at: datetime | None


# -- changes --------------------------------------------------------------------------------------------------


async def insert_campaign(conn: Connection, unit: UnitId, new: NewCampaign) -> bool:
    """Create a campaign; False where its client id is taken, and then nothing has changed."""
    row = await _SQL.one(
        conn,
        "insert_campaign",
        id=new.id,
        unit_id=unit,
        name=new.name,
        content=as_json(new.outgoing),
        seconds=new.timing.seconds,
        window_from=new.timing.window_from,
        window_until=new.timing.window_until,
        start_at=new.start_at,
        now=new.now,
        digest=new.digest,
        client_id=new.client_id,
        wordings=as_json(new.wordings) if new.wordings else None,
    )
    return row is not None


async def find_by_client_id(conn: Connection, unit: UnitId, client_id: str) -> tuple[UUID, bytes] | None:
    """The id of the campaign with this client id, and the digest of its request."""
    row = await _SQL.one(conn, "find_by_client_id", unit_id=unit, client_id=client_id)
    return (row.id, bytes(row.request_digest or b"")) if row is not None else None


async def lock_campaign(conn: Connection, unit: UnitId, id: UUID) -> PlannedCampaign | None:
    """A campaign, locked until the transaction ends; None where the unit has none of this id."""
    row = await _SQL.one(conn, "lock_campaign", unit_id=unit, id=id)
    return _planned(row) if row is not None else None


async def find_plan(conn: Connection, unit: UnitId, id: UUID) -> tuple[PlannedCampaign, int, int] | None:
    """A campaign, the number of the next recipient and the count of pending ones."""
    row = await _SQL.one(conn, "find_plan", unit_id=unit, id=id)
    return (_planned(row), row.next, row.pending) if row is not None else None


def _planned(row: Any) -> PlannedCampaign:
    outgoing = msgspec.convert(row.content, OutgoingMessage)
    wordings = tuple(row.wordings or ())
    return PlannedCampaign(CampaignState(row.state), outgoing, timing_of(row), row.start_at, wordings)


def timing_of(row: Any) -> CampaignTiming:
    return CampaignTiming(row.seconds, row.window_from, row.window_until)


async def set_state(conn: Connection, id: UUID, state: CampaignState, now: float) -> None:
    """Change the state of a locked campaign."""
    await _SQL.execute(conn, "set_state", id=id, state=state.value, now=now)


async def skip_opted_out(conn: Connection, id: UUID) -> bool:
    """Skip recipients who have opted out since; returns whether any are pending."""
    await _SQL.execute(conn, "skip_opted_out", id=id)
    row = await _SQL.one(conn, "has_pending", id=id)
    return bool(row.pending)


async def cancel_remaining(conn: Connection, id: UUID, now: float) -> None:
    """Cancel everything of a locked campaign for which no call has started."""
    await _SQL.execute(conn, "cancel_pending_recipients", id=id)
    await _SQL.execute(conn, "cancel_queued_messages", id=id, now=now)


async def retry_failed(conn: Connection, id: UUID) -> int:
    """Make recipients pending again whose message certainly was not sent; returns how many."""
    row = await _SQL.one(conn, "retry_failed", id=id)
    return int(row.recipients)


async def move_to_reply_lane(conn: Connection, rows: Sequence[dict[str, object]]) -> set[UnitId]:
    """Move queued campaign messages to the reply lane for these rows (``unit_id``, ``conversation_id``).

    Returns the units whose senders are affected.
    """
    if not rows:
        return set()
    return {UnitId(row.unit_id) for row in await _SQL.rows(conn, "move_to_reply_lane", rows=as_json(rows))}


# -- loading lists -------------------------------------------------------------------------------------------------


async def begin_load(conn: Connection, unit: UnitId, id: UUID) -> tuple[int, MessageTemplate] | None:
    """Mark the campaign as loading. Returns the number of the next recipient; None where it is not ready for a list."""
    row = await _SQL.one(conn, "begin_load", unit_id=unit, id=id)
    if row is None:
        return None
    outgoing = msgspec.convert(row.content, OutgoingMessage)
    return row.loading_from, MessageTemplate.parse(outgoing, row.wordings or ())


async def end_load(conn: Connection, id: UUID) -> bool:
    """The list has been loaded completely; False where the load was abandoned meanwhile."""
    return await _SQL.one(conn, "end_load", id=id) is not None


async def abandon_load(conn: Connection, id: UUID) -> None:
    """Delete what was loaded of a list, unless it was loaded completely."""
    async with conn.transaction():
        await _SQL.execute(conn, "delete_loaded", id=id)
        await _SQL.execute(conn, "end_load", id=id)


async def list_unfinished_loads(conn: Connection) -> list[UUID]:
    """Campaigns that are marked as loading."""
    return [row.id for row in await _SQL.rows(conn, "list_unfinished_loads")]


async def find_excluded(
    conn: Connection, unit: UnitId, id: UUID | None, checked: Iterable[CheckedRecipient]
) -> dict[int, str]:
    """Of the accepted recipients, by number: why one is excluded (opted out, or a duplicate in the campaign)."""
    rows = [{"number": one.number, "recipient": one.recipient} for one in checked if one.reason is None]
    if not rows:
        return {}
    excluded = await _SQL.rows(conn, "find_excluded_recipients", unit_id=unit, id=id, rows=as_json(rows))
    return {row.number: row.reason for row in excluded}


async def insert_recipients(conn: Connection, unit: UnitId, id: UUID, checked: Iterable[CheckedRecipient]) -> None:
    """Store a part of a checked list."""
    if rows := list(checked):
        await _SQL.execute(conn, "insert_recipients", unit_id=unit, id=id, rows=as_json(rows))


# -- reads -------------------------------------------------------------------------------------------------


async def load_progress(conn: Connection, units: Sequence[UnitId], ids: Sequence[UUID]) -> dict[UUID, CampaignCounts]:
    """The state of these campaigns of these units, with counts from the rows themselves."""
    progress: dict[UUID, CampaignCounts] = {}
    counts: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
    for row in await _SQL.rows(conn, "load_progress", units=list(units), ids=list(ids)):
        if row.recipients is not None:
            counts[row.id][row.recipients_state] = row.recipients
        progress[row.id] = CampaignCounts(row.name, row.state, counts[row.id])
    return progress


async def list_campaigns(pool: Pool, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int) -> list[Campaign]:
    """A page, newest first, after the position ``before``; counts of large ones as ``find_campaign`` has them."""
    return await _campaigns(pool, unit, None, before, limit, fresh=False)


async def find_campaign(pool: Pool, unit: UnitId, id: UUID, *, fresh: bool = False) -> Campaign | None:
    """One campaign of the unit. The counts of a large one may be some seconds old, unless they are to be ``fresh``."""
    rows = await _campaigns(pool, unit, id, None, 1, fresh=fresh)
    return rows[0] if rows else None


def forget_counts(id: UUID) -> None:
    """The campaign has just been changed, as committed: its next counts are new ones."""
    _COUNTS.forget(id)


async def has_campaign(pool: Pool, unit: UnitId, id: UUID) -> bool:
    """Whether the unit has it."""
    async with unit_scope(pool, unit) as conn:
        return await _SQL.one(conn, "has_campaign", unit_id=unit, id=id) is not None


async def _campaigns(
    pool: Pool, unit: UnitId, id: UUID | None, before: tuple[datetime, UUID] | None, limit: int, *, fresh: bool
) -> list[Campaign]:
    at, last = before or (None, None)
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_campaigns", unit_id=unit, id=id, before_at=at, before_id=last, limit=limit)
    versions = {row.id: _version(row) for row in rows}
    counts = await _COUNTS.count(pool, unit, versions, fresh=fresh)
    campaigns = [_campaign(row) for row in rows]
    for campaign in campaigns:
        for each in counts[campaign.id]:
            campaign.counts[each.state] += each.recipients
            if each.state in _UNREACHED:
                campaign.reasons[each.state, each.reason] += each.recipients
            if each.state == "skipped" and each.reason is not None:
                campaign.skipped[each.reason] += each.recipients
    return campaigns


def _version(row: Any) -> Hashable:
    """What is another one after each change of state. One that is ready may have got a list meanwhile."""
    return object() if row.state == CampaignState.READY else (row.state, row.started_at, row.ended_at)


def _campaign(row: Any) -> Campaign:
    own = {"state": CampaignState(row.state), "timing": timing_of(row), "client_id": row.client_campaign_id}
    own["wordings"] = tuple(row.wordings or ())
    outgoing = msgspec.convert(row.content, OutgoingMessage)
    return from_row(Campaign, row, **own, outgoing=outgoing, counts=Counter(), skipped=Counter(), reasons=Counter())


async def list_recipients(
    pool: Pool, unit: UnitId, id: UUID, states: Collection[str] | None, after: int, limit: int
) -> list[Recipient]:
    """A page in the order of the list, after the number ``after``; in these states, or in all (None)."""
    chosen = list(states) if states is not None else None
    async with unit_scope(pool, unit) as conn:
        rows = await _SQL.rows(conn, "list_recipients", unit_id=unit, id=id, states=chosen, after=after, limit=limit)
    return [_with_sentence(Recipient(*row)) for row in rows]


def _with_sentence(recipient: Recipient) -> Recipient:
    """The recipient with the reason in words, where it is a failure's code and nothing more is known."""
    reason, told = recipient.reason, recipient.detail is not None or recipient.state == "skipped"
    if told or reason is None or reason not in FAILURE_TEXTS:
        return recipient
    return replace(recipient, detail=failure_text(reason))


async def list_variables(pool: Pool, unit: UnitId, id: UUID) -> set[str]:
    """The names of all parameters that the campaign's recipients have."""
    async with unit_scope(pool, unit) as conn:
        return {row.name for row in await _SQL.rows(conn, "list_variables", unit_id=unit, id=id)}
