"""Builds the bodies of webhooks to the CRM from the stored event and the current rows."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog

from zapline.domain.crm_webhooks import TEST_EVENT, CrmWebhookEvent
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import EXPLANATIONS, Reason
from zapline.domain.timestamps import iso
from zapline.sql.campaigns.campaigns import CampaignCounts, load_progress
from zapline.sql.notifications import crm_webhooks
from zapline.sql.notifications.crm_webhooks import DueDelivery
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.notifications.contact_payloads import call_payload, contact_payload
from zapline.supervisors.notifications.event_payloads import (
    DeliveryPayload,
    MessagePayload,
    StatusPayload,
    UnitPayload,
    campaign_payload,
    reaction_payload,
)

_LOG = structlog.get_logger(scope="Hooks")
_MAX_DETAIL = 128 * 1024
"""Bytes: a larger detail of a message must be read from the API."""
_WITH_MESSAGE = (CrmWebhookEvent.MESSAGE_RECEIVED, CrmWebhookEvent.MESSAGE_SENT, CrmWebhookEvent.MESSAGE_EDITED)
_CONTACTS = (CrmWebhookEvent.CONTACT_CHANGED, CrmWebhookEvent.GROUP_CHANGED)
_REACTIONS = (CrmWebhookEvent.MESSAGE_REACTION, CrmWebhookEvent.POLL_VOTE)

Campaigns = Mapping[Any, CampaignCounts]


class WebhookBody(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a webhook. ``timestamp``: when it happened."""

    type: str
    timestamp: str
    data: UnitPayload


class HookTestPayload(UnitPayload, frozen=True):
    """Data of ``hook.test``."""

    message: str = "it arrives"


async def build_bodies(conn: Connection, dues: Sequence[DueDelivery]) -> list[bytes | None]:
    """Build the bodies of deliveries, in their order; None if the subject of one is gone.

    A batch costs four queries at most. Raises DatabaseUnavailable, StatementFailed.
    """
    if not dues:
        return []
    units = sorted({due.unit for due in dues})
    reacted = [due for due in dues if due.event in _REACTIONS and due.subject is not None]
    told = [due for due in dues if due.event.startswith(("message.", "call.")) and due not in reacted]
    message_ids = [due.subject for due in told if due.subject is not None]
    messages = await crm_webhooks.load_messages(conn, units, message_ids) if message_ids else {}
    messages = dict(messages) | await _reactions_of(conn, units, reacted)
    contact_ids = [due.subject for due in dues if due.event in _CONTACTS and due.subject is not None]
    if contact_ids:
        messages |= await crm_webhooks.load_contacts(conn, units, contact_ids)
    campaign_ids = [due.subject for due in dues if due.event == CrmWebhookEvent.CAMPAIGN_STATE and due.subject]
    campaigns = await load_progress(conn, units, campaign_ids) if campaign_ids else {}
    return [_body_or_none(due, messages, campaigns) for due in dues]


async def _reactions_of(conn: Connection, units: Sequence[UnitId], dues: Sequence[DueDelivery]) -> dict[UUID, Any]:
    """The reactions and votes that these deliveries name, by their ids."""
    named = [(due.subject, UUID(due.facts["reaction"])) for due in dues if due.subject is not None]
    if not named:
        return {}
    return await crm_webhooks.load_reactions(conn, units, [subject for subject, _ in named], [id for _, id in named])


def _body_or_none(due: DueDelivery, messages: Mapping[Any, Any], campaigns: Campaigns) -> bytes | None:
    try:
        return _body(due, messages, campaigns)
    except (KeyError, ValueError, OverflowError) as unreadable:
        # A row of another version, or written by hand, must not stop the others.
        _LOG.error("A webhook to the CRM cannot be made", delivery=str(due.id), error=repr(unreadable))
        return None


def _body(due: DueDelivery, messages: Mapping[Any, Any], campaigns: Campaigns) -> bytes | None:
    data: UnitPayload | None
    if due.event == CrmWebhookEvent.UNIT_STATUS:
        data = _status_payload(due)
    elif due.event == TEST_EVENT:
        data = HookTestPayload(unit_id=due.unit)
    elif due.event == CrmWebhookEvent.CAMPAIGN_STATE:
        progress = campaigns.get(due.subject)
        if progress is None or due.subject is None:
            return None
        data = campaign_payload(due.unit, due.subject, progress, due.facts["state"])
    elif due.event in _REACTIONS:
        reacted = messages.get(UUID(due.facts["reaction"]))
        data = reaction_payload(reacted) if reacted is not None else None
    elif due.event in (*_CONTACTS, CrmWebhookEvent.CALL_CHANGED):
        row = messages.get(due.subject)
        make = call_payload if due.event == CrmWebhookEvent.CALL_CHANGED else contact_payload
        data = make(row) if row is not None and row.unit_id == due.unit else None
    else:
        data = _message_payload(due, messages.get(due.subject))
    if data is None:
        return None
    return msgspec.json.encode(WebhookBody(due.event, iso(due.created_at) or "", data))


def _status_payload(due: DueDelivery) -> StatusPayload:
    facts = due.facts
    explained = EXPLANATIONS[Reason(facts["reason"])]
    return StatusPayload(
        unit_id=due.unit,
        status=facts["status"],
        reason=facts["reason"],
        phase=facts["phase"],
        sentence=explained.sentence,
        advice=explained.advice,
        connected_at=iso(facts["connectedAt"]),
        disconnected_at=iso(facts["disconnectedAt"]),
        updated_at=iso(facts["updatedAt"]),
        campaigns_held=facts.get("campaignsHeld"),
    )


def _message_payload(due: DueDelivery, row: Any) -> UnitPayload | None:
    if row is None or row.unit_id != due.unit:
        return None
    if replaced := due.facts.get("replaced"):
        return DeliveryPayload(
            unit_id=due.unit,
            message_id=UUID(replaced),
            external_id=row.external_id,
            conversation_id=UUID(due.facts["conversation"]),
            deleted=True,
            replaced_by=row.id,
        )
    if due.event not in _WITH_MESSAGE:
        return DeliveryPayload(
            unit_id=due.unit,
            message_id=row.id,
            external_id=row.external_id,
            client_message_id=row.client_message_id,
            conversation_id=row.conversation_id,
            delivery_status=due.facts.get("deliveryStatus"),
            work_state=row.work_state,
            failure=row.failure,
            deleted=due.event == CrmWebhookEvent.MESSAGE_DELETED,
        )
    detail = msgspec.json.encode(row.detail) if row.detail else b"{}"
    return MessagePayload(
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
        detail=msgspec.Raw(detail) if len(detail) <= _MAX_DETAIL else None,
        sender=row.sender,
        sender_name=row.sender_name,
        quoted_id=row.quoted_id,
        quoted=row.quoted,
        delivery_status=row.delivery,
        work_state=row.work_state,
        sent_at=iso(row.sent_at) or "",
        edited_at=_edited_at(row) if row.deleted_at is None else None,
        edit_text_unknown=row.edit_text_unknown,
        deleted_at=iso(row.deleted_at),
        backfilled=row.backfilled,
    )


def _edited_at(row: Any) -> str | None:
    times = [row.edited_at_ms, row.edit_unread_ms if row.edit_text_unknown else None]
    known = [at for at in times if at is not None]
    return iso(max(known) / 1000) if known else None
