"""Queues the messages of running campaigns in the outbox, each recipient once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

import msgspec

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.campaigns.states import CampaignState, campaign_client_id
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.ids import PROVIDER, UnitId, contact_id, conversation_id
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import Content, File, OutgoingMessage, kind_of_content, text_of_content
from zapline.sql.campaigns.campaigns import timing_of
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.queries import Queries, as_json, from_row

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class ActiveCampaign:
    """A scheduled or running campaign. Times are UTC seconds."""

    id: UUID
    unit: UnitId
    state: CampaignState
    timing: CampaignTiming
    start_at: float | None
    fresh: int
    """Queued messages that were never tried."""
    open: int
    """Messages that are queued or being sent."""
    due_before: float | None
    """When the first queued message is due."""
    pending: bool
    """Whether recipients are pending."""


@dataclass(frozen=True, slots=True)
class EnqueueResult:
    """Counts of one transaction."""

    queued: int = 0
    skipped: int = 0


async def start_scheduled(conn: Connection, now: float) -> list[Any]:
    """Start campaigns whose time has come; rows (id, unit_id)."""
    return await _SQL.rows(conn, "start_scheduled", now=now)


async def reopen_campaigns(conn: Connection) -> list[Any]:
    """Reopen ended campaigns that have work again; rows (id, unit_id)."""
    return await _SQL.rows(conn, "reopen_campaigns")


async def list_active_campaigns(conn: Connection) -> list[ActiveCampaign]:
    """All scheduled and running campaigns, the ones started first first."""
    return [
        from_row(ActiveCampaign, row, unit=row.unit_id, state=CampaignState(row.state), timing=timing_of(row))
        for row in await _SQL.rows(conn, "list_active_campaigns")
    ]


async def postpone_queued(conn: Connection, campaign: UUID, opens: float, held: Ownership = UNCHECKED) -> None:
    """Postpone queued messages until the campaign's window opens (UTC seconds)."""
    await _SQL.execute(conn, "postpone_queued", id=campaign, opens=opens, **held.arguments)


async def finish_campaign(conn: Connection, campaign: UUID, now: float, held: Ownership = UNCHECKED) -> bool:
    """End a campaign that has nothing left to send; False where it has."""
    return bool(await _SQL.rows(conn, "finish_campaign", id=campaign, now=now, **held.arguments))


async def enqueue_next(
    conn: Connection,
    campaign: ActiveCampaign,
    most: int,
    now: float,
    chance: Callable[[], float],
    held: Ownership = UNCHECKED,
) -> EnqueueResult:
    """Queue the next messages of a campaign, at most ``most``, in one transaction; none where it is another node's.

    ``chance`` draws from 0..1. Raises DatabaseUnavailable; after it, and after a cancellation, they may have been
    queued: another call queues the next recipients, and no recipient twice.
    """
    async with conn.transaction():
        locked = await _SQL.rows(conn, "lock_running", id=campaign.id, **held.arguments)
        if not locked:
            return EnqueueResult()
        await _SQL.rows(conn, "lock_organization", unit_id=campaign.unit)
        recipients = await _SQL.rows(conn, "lock_next_recipients", id=campaign.id, limit=most, now=now)
        opted_out = [row.number for row in recipients if row.opted_out]
        capped = [row.number for row in recipients if row.capped and not row.opted_out]
        for reason, numbers in (("opted_out", opted_out), ("frequency_cap", capped)):
            if numbers:
                await _SQL.execute(conn, "skip_recipients", id=campaign.id, numbers=numbers, reason=reason)
        wanted = [row for row in recipients if not (row.opted_out or row.capped)]
        if not wanted:
            return EnqueueResult(skipped=len(recipients))
        outgoing = msgspec.convert(locked[0].content, OutgoingMessage)
        template = MessageTemplate.parse(outgoing, locked[0].wordings or ())
        dues = await _dues(conn, campaign, len(wanted), now, chance)
        rows = [
            _row(campaign, row, template.of(row.number).render(row.parameters), due)
            for row, due in zip(wanted, dues, strict=True)
        ]
        queued = await _enqueue(conn, campaign, rows, now)
    return EnqueueResult(queued, len(recipients) - queued)


async def _dues(
    conn: Connection, campaign: ActiveCampaign, count: int, now: float, chance: Callable[[], float]
) -> Iterable[float]:
    """The due time of each of the next messages."""
    seconds = campaign.timing.seconds
    if seconds is None:
        return [now] * count
    (row,) = await _SQL.rows(
        conn, "find_last_due", id=campaign.id, unit_id=campaign.unit, since=now - 2 * seconds, now=now
    )
    last, dues = row.at, []
    for _ in range(count):
        last = campaign.timing.due_at(last, now, chance())
        dues.append(last)
    return dues


def _row(campaign: ActiveCampaign, row: Any, outgoing: OutgoingMessage, due_at: float) -> dict[str, object]:
    encoded = msgspec.json.encode(outgoing)
    return {
        "number": row.number,
        # The same again where a database that was set back is told of it anew: the journal knows then that it was sent.
        "message_id": uuid5(campaign.id, f"{row.number}:{row.generation}"),
        "client_id": campaign_client_id(campaign.id, row.number, row.generation),
        "contact_id": contact_id(campaign.unit, row.recipient),
        "conversation_id": conversation_id(campaign.unit, row.recipient),
        "recipient": row.recipient,
        "address": row.recipient.removeprefix("+"),
        "kind": kind_of_content(outgoing.content),
        "body": text_of_content(outgoing.content),
        "media": _media(outgoing.content),
        "fingerprint": fingerprint_content(outgoing.content),
        "content": msgspec.Raw(encoded),
        "digest": sha256(encoded).hexdigest(),
        "due_at": due_at,
    }


def _media(content: Content) -> dict[str, str] | None:
    """``messages.media`` of a file, without its URL, as for every outgoing message."""
    if not isinstance(content, File):
        return None
    fields = {"mimetype": content.mimetype, "fileName": content.file_name}
    return {name: value for name, value in fields.items() if value is not None}


async def _enqueue(conn: Connection, campaign: ActiveCampaign, rows: Sequence[dict[str, object]], now: float) -> int:
    encoded = as_json(rows)
    await _SQL.execute(conn, "insert_contacts", unit_id=campaign.unit, rows=encoded)
    await _SQL.execute(conn, "upsert_conversations", unit_id=campaign.unit, rows=encoded, now=now)
    (row,) = await _SQL.rows(
        conn, "enqueue", id=campaign.id, unit_id=campaign.unit, provider=PROVIDER, rows=encoded, now=now
    )
    return int(row.queued)
