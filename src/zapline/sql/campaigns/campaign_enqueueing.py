"""Performs what the feeder does: from a campaign's list into its unit's outbox, each recipient once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import msgspec

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.campaigns.states import CampaignState, campaign_client_id
from zapline.domain.campaigns.text_templates import MessageTemplate
from zapline.domain.ids import PROVIDER, UnitId, contact_id, conversation_id
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import Content, File, OutgoingMessage, kind_of_content, text_of_content
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class ActiveCampaign:
    """A campaign that waits for its time or is running. Times are UTC seconds."""

    id: UUID
    unit: UnitId
    state: CampaignState
    timing: CampaignTiming
    start_at: float | None
    fresh: int
    """Messages that lie ready and were never tried."""
    open: int
    """Messages that lie ready or are being sent."""
    due_before: float | None
    """When the first of those that lie ready is due."""
    pending: bool
    """Whether the list is not at its end."""


@dataclass(frozen=True, slots=True)
class EnqueueResult:
    """What a transaction came to."""

    queued: int = 0
    skipped: int = 0


async def start_scheduled(conn: Connection, now: float) -> list[Any]:
    """Start what is scheduled for now; rows (id, unit_id)."""
    return await _SQL.rows(conn, "start_due", now=now)


async def reopen_campaigns(conn: Connection) -> list[Any]:
    """Let campaigns go on that have work again after their end; rows (id, unit_id)."""
    return await _SQL.rows(conn, "reopen")


async def list_active_campaigns(conn: Connection) -> list[ActiveCampaign]:
    """All campaigns that the feeder has to look after, those started first first."""
    return [
        ActiveCampaign(
            id=row.id,
            unit=UnitId(row.unit_id),
            state=CampaignState(row.state),
            timing=CampaignTiming(row.seconds, row.window_from, row.window_until),
            start_at=row.start_at,
            fresh=row.fresh,
            open=row.open,
            due_before=row.due_before,
            pending=row.pending,
        )
        for row in await _SQL.rows(conn, "at_work")
    ]


async def postpone_queued(conn: Connection, campaign: UUID, opens: float) -> None:
    """Let what lies ready wait until the campaign's window opens (UTC seconds)."""
    await _SQL.execute(conn, "postpone", id=campaign, opens=opens)


async def finish_campaign(conn: Connection, campaign: UUID, now: float) -> bool:
    """End a campaign of which nothing is left to be sent; False where there is."""
    return bool(await _SQL.rows(conn, "finish", id=campaign, now=now))


async def enqueue_next(
    conn: Connection, work: ActiveCampaign, most: int, now: float, chance: Callable[[], float]
) -> EnqueueResult:
    """Queue the next messages of a campaign, at most ``most``, in one transaction.

    ``chance`` draws from 0..1. Raises DatabaseUnavailable; after it, and after a cancellation, they may have been
    queued: asking again queues the next ones, and nobody twice.
    """
    async with conn.transaction():
        held = await _SQL.rows(conn, "hold_running", id=work.id)
        if not held:
            return EnqueueResult()
        picked = await _SQL.rows(conn, "pick", id=work.id, limit=most)
        unwilling = [row.number for row in picked if row.opted_out]
        if unwilling:
            await _SQL.execute(conn, "skip", id=work.id, numbers=unwilling)
        willing = [row for row in picked if not row.opted_out]
        if not willing:
            return EnqueueResult(skipped=len(unwilling))
        letter = MessageTemplate.read(msgspec.convert(held[0].content, OutgoingMessage))
        dues = await _dues(conn, work, len(willing), now, chance)
        rows = [_row(work, row, letter.write(row.parameters), due) for row, due in zip(willing, dues, strict=True)]
        queued = await _enqueue(conn, work, rows, now)
    return EnqueueResult(queued, len(picked) - queued)


async def _dues(
    conn: Connection, work: ActiveCampaign, count: int, now: float, chance: Callable[[], float]
) -> Iterable[float]:
    """When each of the next messages is due."""
    seconds = work.timing.seconds
    if seconds is None:
        return [now] * count
    (row,) = await _SQL.rows(conn, "last_due", id=work.id, unit_id=work.unit, since=now - 2 * seconds)
    last, dues = row.at, []
    for _ in range(count):
        last = work.timing.due(last, now, chance())
        dues.append(last)
    return dues


def _row(work: ActiveCampaign, picked: Any, outgoing: OutgoingMessage, due_at: float) -> dict[str, object]:
    encoded = msgspec.json.encode(outgoing)
    return {
        "number": picked.number,
        "message_id": uuid4(),
        "client_id": campaign_client_id(work.id, picked.number, picked.generation),
        "contact_id": contact_id(work.unit, picked.recipient),
        "conversation_id": conversation_id(work.unit, picked.recipient),
        "recipient": picked.recipient,
        "address": picked.recipient.removeprefix("+"),
        "kind": kind_of_content(outgoing.content),
        "body": text_of_content(outgoing.content),
        "media": _media(outgoing.content),
        "fingerprint": fingerprint_content(outgoing.content),
        "content": msgspec.Raw(encoded),
        "digest": sha256(encoded).hexdigest(),
        "due_at": due_at,
    }


def _media(content: Content) -> dict[str, str] | None:
    """``messages.media`` of a file; its URL stays out of it, as for every message that is asked for."""
    if not isinstance(content, File):
        return None
    told = {"mimetype": content.mimetype, "fileName": content.file_name}
    return {name: value for name, value in told.items() if value is not None}


async def _enqueue(conn: Connection, work: ActiveCampaign, rows: Sequence[dict[str, object]], now: float) -> int:
    encoded = as_json(rows)
    await _SQL.execute(conn, "add_contacts", unit_id=work.unit, rows=encoded)
    await _SQL.execute(conn, "add_conversations", unit_id=work.unit, rows=encoded, now=now)
    (row,) = await _SQL.rows(conn, "enqueue", id=work.id, unit_id=work.unit, provider=PROVIDER, rows=encoded, now=now)
    return int(row.queued)
