"""What is told of a unit as it happens: the data of live events and of the CRM's webhooks, in one form."""

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import EXPLANATIONS, Phase
from zapline.domain.line.state import Stored
from zapline.domain.line.state_machine import QR_LIFE
from zapline.domain.messages.events import SendAnswered
from zapline.domain.outbox.work_states import Work
from zapline.domain.timestamps import iso
from zapline.sql.conversations.conversations import Watched
from zapline.sql.inbound.batches import Created, Reported, Settled


class News(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whatever is told says of which unit."""

    unit_id: UUID


class StatusNews(News, frozen=True):
    """A line's status as it is now."""

    status: str
    reason: str
    phase: str
    sentence: str
    advice: str
    connected_at: str | None
    disconnected_at: str | None
    updated_at: str | None
    quarantined: bool = False
    paused: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether a person has paused its sending, where that is known."""


class QrNews(News, frozen=True):
    """There is another code to scan, or none any more. The code itself is read by who may control the line."""

    available: bool
    qr_updated_at: str | None
    qr_expires_at: str | None


class MessageNews(News, frozen=True):
    """A message that is new. ``conversation_id`` is that under which it is shown, merged ones followed."""

    id: UUID
    seq: int
    conversation_id: UUID
    contact: str | None
    phone: str | None
    external_id: str | None
    client_message_id: str | None
    from_me: bool
    kind: str
    text: str | None
    media: Any
    """What the file is, as the API shows it; its bytes are at ``.../media``."""
    detail: Any
    """What is particular to its kind, as a place or a poll."""
    sender: str | None
    """Who has written it, in a group."""
    sender_name: str | None
    quoted_id: str | None
    delivery_status: str | None
    work_state: str | None
    sent_at: str
    edited_at: str | None = None
    deleted_at: str | None = None
    backfilled: bool = False


class DeliveryNews(News, frozen=True):
    """Something of a message has changed: how far it has come, our work on it, its text, that it is there at all.

    What is null has not changed, or is not known here.
    """

    message_id: UUID
    external_id: str | None = None
    client_message_id: str | None = None
    conversation_id: UUID | None = None
    delivery_status: str | None = None
    work_state: str | None = None
    failure: str | None = None
    edited: bool = False
    deleted: bool = False


class Hello(News, frozen=True):
    """How a unit stands at this moment. Null: its state has not been read yet, the database is away."""

    status: StatusNews | None
    qr: QrNews | None


class CampaignNews(News, frozen=True):
    """Where a campaign stands: ``counts`` by state of its recipients, null where nobody has counted."""

    campaign_id: UUID
    name: str
    state: str
    counts: Mapping[str, int] | None = None


def status_news(unit: UnitId, stored: Stored, quarantined: bool, paused: bool) -> StatusNews:
    explained = EXPLANATIONS[stored.reason]
    return StatusNews(
        unit_id=unit,
        status=stored.status,
        reason=stored.reason.value,
        phase=stored.phase.value,
        sentence=explained.sentence,
        advice=explained.advice,
        connected_at=iso(stored.connected_at),
        disconnected_at=iso(stored.disconnected_at),
        updated_at=iso(stored.updated_at),
        quarantined=quarantined,
        paused=paused,
    )


def qr_news(unit: UnitId, stored: Stored) -> QrNews:
    there = stored.phase is Phase.PAIRING and stored.qr_code is not None
    expires = stored.qr_updated_at + QR_LIFE if there and stored.qr_updated_at is not None else None
    return QrNews(
        unit_id=unit,
        available=there,
        qr_updated_at=iso(stored.qr_updated_at) if there else None,
        qr_expires_at=iso(expires),
    )


def hello(unit: UnitId, stored: Stored | None, quarantined: bool, paused: bool) -> Hello:
    if stored is None:
        return Hello(unit_id=unit, status=None, qr=None)
    return Hello(unit_id=unit, status=status_news(unit, stored, quarantined, paused), qr=qr_news(unit, stored))


def created_news(unit: UnitId, made: Created) -> MessageNews:
    """A message that the recorder has stored."""
    row = made.row
    contact = str(row["contact"])
    return MessageNews(
        unit_id=unit,
        id=made.id,
        seq=made.seq,
        conversation_id=made.conversation_id,
        contact=contact,
        phone=contact if contact.startswith("+") else None,
        external_id=_text(row["external_id"]),
        client_message_id=None,
        from_me=bool(row["from_me"]),
        kind=str(row["kind"]),
        text=_text(row["body"]),
        media=row["media"],
        detail=row["detail"] or {},
        sender=_text(row["sender"]),
        quoted_id=_text(row["quoted_id"]),
        sender_name=_text(row["sender_name"]),
        delivery_status=_text(row["delivery"]),
        work_state=None,
        sent_at=iso(cast(float, row["sent_at"])) or "",
        backfilled=bool(row["backfilled"]),
    )


def queued_news(unit: UnitId, stored: Watched, contact: str) -> MessageNews:
    """A message that somebody has asked to be sent."""
    message = stored.message
    return MessageNews(
        unit_id=unit,
        id=message.id,
        seq=message.seq,
        conversation_id=message.conversation_id,
        contact=contact,
        phone=contact if contact.startswith("+") else None,
        external_id=message.external_id,
        client_message_id=message.client_message_id,
        from_me=message.from_me,
        kind=message.kind,
        text=message.text,
        media=message.media,
        detail=message.detail,
        sender=message.sender,
        quoted_id=message.quoted_id,
        sender_name=message.sender_name,
        delivery_status=message.delivery,
        work_state=message.work_state,
        sent_at=iso(message.sent_at) or "",
    )


def reported_news(told: Reported) -> DeliveryNews:
    return DeliveryNews(
        unit_id=told.unit_id,
        message_id=told.message,
        external_id=told.external_id,
        client_message_id=told.client_message_id,
        conversation_id=told.conversation_id,
        delivery_status=told.delivery,
        edited=told.edited,
        deleted=told.deleted,
    )


def settled_news(settled: Settled) -> DeliveryNews:
    return DeliveryNews(
        unit_id=settled.unit_id,
        message_id=settled.message,
        external_id=settled.external_id,
        client_message_id=settled.client_message_id,
        conversation_id=settled.conversation_id,
        delivery_status=settled.delivery,
        work_state=Work.SETTLED.value,
    )


def ended_news(unit: UnitId, answer: SendAnswered) -> DeliveryNews:
    """A call that did not send its message."""
    return DeliveryNews(unit_id=unit, message_id=answer.message, work_state=answer.move, failure=answer.failure)


def unsent_news(unit: UnitId, message: UUID, work: str) -> DeliveryNews:
    """A message of ours whose time was over before it could be sent."""
    return DeliveryNews(unit_id=unit, message_id=message, work_state=work)


def watched_news(unit: UnitId, stored: Watched) -> DeliveryNews:
    """A message of ours about which somebody has decided."""
    message = stored.message
    return DeliveryNews(
        unit_id=unit,
        message_id=message.id,
        external_id=message.external_id,
        client_message_id=message.client_message_id,
        conversation_id=message.conversation_id,
        delivery_status=message.delivery,
        work_state=message.work_state,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
