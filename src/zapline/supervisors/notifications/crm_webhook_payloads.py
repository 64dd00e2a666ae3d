"""Makes the body of a webhook to the CRM from what was kept of it and what is known now."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from zapline.domain.crm_webhooks import TEST, HookEvent
from zapline.domain.line.reasons import EXPLANATIONS, Reason
from zapline.domain.timestamps import iso
from zapline.sql.campaigns import campaigns
from zapline.sql.notifications import crm_webhooks
from zapline.sql.notifications.crm_webhooks import Due
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.notifications.event_payloads import CampaignNews, DeliveryNews, MessageNews, News, StatusNews

_LOG = structlog.get_logger(scope="Hooks")
_LARGEST_DETAIL = 128 * 1024
"""Bytes: what is particular to a message beyond that is read from the API."""
_WHOLE = frozenset({HookEvent.MESSAGE_RECEIVED, HookEvent.MESSAGE_SENT, HookEvent.MESSAGE_EDITED})


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a webhook. ``timestamp``: when it happened."""

    type: str
    timestamp: str
    data: News


class Tested(News, frozen=True):
    """Data of ``hook.test``."""

    message: str = "it arrives"


async def bodies(conn: Connection, dues: Sequence[Due]) -> list[bytes | None]:
    """The bodies of deliveries of one unit, in their order; None where what it was about is gone.

    Read together, so that a batch costs two queries. Raises DatabaseUnavailable, StatementFailed.
    """
    if not dues:
        return []
    unit = dues[0].unit
    messages = [due.subject for due in dues if due.event.startswith("message.") and due.subject is not None]
    known = await crm_webhooks.load_messages(conn, unit, messages) if messages else {}
    asked = [due.subject for due in dues if due.event == HookEvent.CAMPAIGN_STATE and due.subject is not None]
    standings = await campaigns.standings(conn, [unit], asked) if asked else {}
    return [_body_or_none(due, known, standings) for due in dues]


def _body_or_none(due: Due, messages: Mapping[Any, Any], standings: Mapping[Any, campaigns.Standing]) -> bytes | None:
    try:
        return _body(due, messages, standings)
    except (KeyError, ValueError, OverflowError) as unreadable:
        # A row of another version, or of somebody's own hand: it must not stop the others.
        _LOG.error("A webhook to the CRM cannot be made", delivery=str(due.id), error=repr(unreadable))
        return None


def _body(due: Due, messages: Mapping[Any, Any], standings: Mapping[Any, campaigns.Standing]) -> bytes | None:
    data: News | None
    if due.event == HookEvent.UNIT_STATUS:
        data = _status(due)
    elif due.event == TEST:
        data = Tested(unit_id=due.unit)
    elif due.event == HookEvent.CAMPAIGN_STATE:
        data = _campaign(due, standings.get(due.subject))
    else:
        data = _message(due, messages.get(due.subject))
    if data is None:
        return None
    return msgspec.json.encode(Envelope(due.event, iso(due.created_at) or "", data))


def _status(due: Due) -> StatusNews:
    facts = due.facts
    explained = EXPLANATIONS[Reason(facts["reason"])]
    return StatusNews(
        unit_id=due.unit,
        status=facts["status"],
        reason=facts["reason"],
        phase=facts["phase"],
        sentence=explained.sentence,
        advice=explained.advice,
        connected_at=iso(facts["connectedAt"]),
        disconnected_at=iso(facts["disconnectedAt"]),
        updated_at=iso(facts["updatedAt"]),
    )


def _campaign(due: Due, standing: campaigns.Standing | None) -> CampaignNews | None:
    if standing is None or due.subject is None:
        return None
    return CampaignNews(
        unit_id=due.unit,
        campaign_id=due.subject,
        name=standing.name,
        state=due.facts["state"],
        counts=standing.counts,
    )


def _message(due: Due, row: Any) -> News | None:
    if row is None:
        return None
    if due.event not in _WHOLE:
        return DeliveryNews(
            unit_id=due.unit,
            message_id=row.id,
            external_id=row.external_id,
            client_message_id=row.client_message_id,
            conversation_id=row.conversation_id,
            delivery_status=due.facts.get("deliveryStatus"),
            work_state=row.work_state,
            failure=row.failure,
            deleted=due.event == HookEvent.MESSAGE_DELETED,
        )
    detail = msgspec.json.encode(row.detail) if row.detail else b"{}"
    return MessageNews(
        unit_id=due.unit,
        id=row.id,
        seq=row.seq,
        conversation_id=row.conversation_id,
        contact=row.canonical,
        phone=row.phone,
        external_id=row.external_id,
        client_message_id=row.client_message_id,
        from_me=row.from_me,
        kind=row.kind,
        text=row.body,
        media=row.media,
        detail=msgspec.Raw(detail) if len(detail) <= _LARGEST_DETAIL else None,
        sender=row.sender,
        sender_name=row.sender_name,
        quoted_id=row.quoted_id,
        delivery_status=row.delivery,
        work_state=row.work_state,
        sent_at=iso(row.sent_at) or "",
        edited_at=iso(row.edited_at_ms / 1000) if row.edited_at_ms is not None else None,
        deleted_at=iso(row.deleted_at),
        backfilled=row.backfilled,
    )
