"""Defines the payloads of live events and of webhooks to the CRM, and builds them from stored rows."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec

from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import EXPLANATIONS, Phase
from zapline.domain.line.state import StoredLineState
from zapline.domain.line.state_machine import QR_LIFE
from zapline.domain.messages.facts import SendAnswered
from zapline.domain.outbox.work_states import WorkState
from zapline.domain.timestamps import iso
from zapline.sql.campaigns.campaigns import CampaignCounts
from zapline.sql.conversations.conversations import Message, TrackedMessage
from zapline.sql.inbound.recorder_types import ChangedMessage, CreatedMessage, ReplacedMessage, SettledSend


class UnitPayload(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Every payload names its unit."""

    unit_id: UUID


class StatusPayload(UnitPayload, frozen=True):
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
    campaigns_held: str | None = None
    """Why its campaigns wait for a person, as a failure's code; null: they do not."""


class QrPayload(UnitPayload, frozen=True):
    """A new code can be scanned, or none any more. The code itself is read by those who may control the line."""

    available: bool
    qr_updated_at: str | None
    qr_expires_at: str | None


class MessagePayload(UnitPayload, frozen=True):
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
    quoted: Any
    """What it answers, as the API shows it; also where the original is not known."""
    delivery_status: str | None
    work_state: str | None
    sent_at: str
    edited_at: str | None = None
    edit_text_unknown: bool = False
    """It was edited, and only the phone shows the new text: `text` is the one before."""
    deleted_at: str | None = None
    backfilled: bool = False


class DeliveryPayload(UnitPayload, frozen=True):
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
    edit_text_unknown: bool = False
    """It was edited, and only the phone shows the new text."""
    deleted: bool = False
    replaced_by: UUID | None = None
    """It was an echo that seemed to be somebody else's, and has turned out to be this message: show that one alone."""


class ReactionPayload(UnitPayload, frozen=True):
    """What one person says to a message by an emoji. The latest of each person counts."""

    message_id: UUID
    external_id: str | None
    client_message_id: str | None
    conversation_id: UUID
    actor: str
    """A phone with its plus, `lid:` and digits, or `me`: the unit's own people."""
    emoji: str | None
    """Null: it was taken back."""
    at: str | None


class VotePayload(UnitPayload, frozen=True):
    """What one person has chosen of a poll. The latest of each person counts."""

    message_id: UUID
    """The poll."""
    external_id: str | None
    client_message_id: str | None
    conversation_id: UUID
    actor: str
    """A phone with its plus, `lid:` and digits, or `me`: the unit's own people."""
    options: Sequence[str] | None
    """Empty: it was taken back. Null: it is encrypted, and could not be read."""
    at: str | None


class HelloPayload(UnitPayload, frozen=True):
    """A unit's present state. Null: it has not been read yet, because the database is away."""

    status: StatusPayload | None
    qr: QrPayload | None


class CampaignPayload(UnitPayload, frozen=True):
    """Where a campaign stands: ``counts`` by state of its recipients, null where nobody has counted."""

    campaign_id: UUID
    name: str
    state: str
    counts: Mapping[str, int] | None = None


def status_payload(
    unit: UnitId, stored: StoredLineState, quarantined: bool, paused: bool, held: str | None = None
) -> StatusPayload:
    """``held``: the failure's code for which campaigns wait for a person."""
    explained = EXPLANATIONS[stored.reason]
    return StatusPayload(
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
        campaigns_held=held,
    )


def qr_payload(unit: UnitId, stored: StoredLineState) -> QrPayload:
    available = stored.phase is Phase.PAIRING and stored.qr_code is not None
    expires = stored.qr_updated_at + QR_LIFE if available and stored.qr_updated_at is not None else None
    return QrPayload(
        unit_id=unit,
        available=available,
        qr_updated_at=iso(stored.qr_updated_at) if available else None,
        qr_expires_at=iso(expires),
    )


def hello_payload(
    unit: UnitId, stored: StoredLineState | None, quarantined: bool, paused: bool, held: str | None = None
) -> HelloPayload:
    if stored is None:
        return HelloPayload(unit_id=unit, status=None, qr=None)
    status = status_payload(unit, stored, quarantined, paused, held)
    return HelloPayload(unit_id=unit, status=status, qr=qr_payload(unit, stored))


def recorded_message_payload(unit: UnitId, created: CreatedMessage, deleted: bool = False) -> MessagePayload:
    """For a message that the recorder has stored; what it said is not told if its deletion came before it."""
    row = {**created.row, **dict.fromkeys(_CONTENT)} if deleted else created.row
    contact = str(row["contact"])
    return MessagePayload(
        unit_id=unit,
        id=created.id,
        seq=created.seq,
        conversation_id=created.conversation_id,
        contact=contact,
        phone=contact if contact.startswith("+") else None,
        external_id=_text(row["external_id"]),
        client_message_id=None,
        from_me=bool(row["from_me"]),
        kind=str(row["kind"]),
        text=_text(row.get("shown_text", row["body"])),
        media=row["media"],
        detail=row["detail"] or {},
        sender=_text(row["sender"]),
        quoted_id=_text(row["quoted_id"]),
        quoted=row.get("quoted"),
        sender_name=_text(row["sender_name"]),
        delivery_status=_text(row["delivery"]) if row["from_me"] else None,
        work_state=None,
        sent_at=iso(cast(float, row["sent_at"])) or "",
        backfilled=bool(row["backfilled"]),
    )


_CONTENT = ("body", "shown_text", "media", "detail", "quoted")
"""Columns with what a message says."""


def queued_message_payload(unit: UnitId, stored: TrackedMessage, contact: str) -> MessagePayload:
    """For a message that was accepted to be sent."""
    message = stored.message
    return MessagePayload(
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
        quoted=message.quoted,
        sender_name=message.sender_name,
        delivery_status=message.delivery,
        work_state=message.work_state,
        sent_at=iso(message.sent_at) or "",
    )


def reported_delivery_payload(changed: ChangedMessage) -> DeliveryPayload:
    message, edited, deleted = changed.message, changed.edited, changed.deleted
    return _delivery(
        changed.unit_id,
        message,
        changed,
        edited=edited,
        edit_text_unknown=edited and changed.edit_text_unknown,
        deleted=deleted,
        failure=changed.refusal,
    )


def reaction_payload(reacted: Any) -> ReactionPayload | VotePayload:
    """For a reaction or a vote: a ``ReactedMessage``, or a row with its fields."""
    common: dict[str, Any] = {
        "unit_id": reacted.unit_id,
        "message_id": reacted.message,
        "external_id": reacted.external_id,
        "client_message_id": reacted.client_message_id,
        "conversation_id": reacted.conversation_id,
        "actor": reacted.actor,
        "at": iso(reacted.at_ms / 1000),
    }
    if reacted.kind == "vote":
        return VotePayload(**common, options=reacted.value if isinstance(reacted.value, list) else None)
    return ReactionPayload(**common, emoji=reacted.value or None)


def settled_delivery_payload(settled: SettledSend) -> DeliveryPayload:
    return _delivery(settled.unit_id, settled.message, settled, WorkState.SETTLED.value)


def replaced_message_payload(replaced: ReplacedMessage) -> DeliveryPayload:
    return DeliveryPayload(
        unit_id=replaced.unit_id,
        message_id=replaced.message,
        external_id=replaced.external_id,
        conversation_id=replaced.conversation_id,
        deleted=True,
        replaced_by=replaced.by,
    )


def failed_send_payload(unit: UnitId, answer: SendAnswered) -> DeliveryPayload:
    """For a call that did not send its message."""
    return DeliveryPayload(unit_id=unit, message_id=answer.message, work_state=answer.move, failure=answer.failure)


def expired_message_payload(unit: UnitId, message: UUID, work: str) -> DeliveryPayload:
    """For a message that expired before it could be sent."""
    return DeliveryPayload(unit_id=unit, message_id=message, work_state=work)


def decided_message_payload(unit: UnitId, stored: TrackedMessage) -> DeliveryPayload:
    """For a message that a person cancelled, sent again or gave up."""
    return _delivery(unit, stored.message.id, stored.message, stored.message.work_state)


def campaign_payload(unit: UnitId, campaign: UUID, progress: CampaignCounts, state: str) -> CampaignPayload:
    """``state``: that of the event, which may be over by now."""
    return CampaignPayload(unit_id=unit, campaign_id=campaign, name=progress.name, state=state, counts=progress.counts)


def _delivery(
    unit: UUID,
    message: UUID,
    row: ChangedMessage | SettledSend | Message,
    work_state: str | None = None,
    *,
    edited: bool = False,
    edit_text_unknown: bool = False,
    deleted: bool = False,
    failure: str | None = None,
) -> DeliveryPayload:
    return DeliveryPayload(
        unit_id=unit,
        message_id=message,
        external_id=row.external_id,
        client_message_id=row.client_message_id,
        conversation_id=row.conversation_id,
        delivery_status=row.delivery,
        work_state=work_state,
        failure=failure,
        edited=edited,
        edit_text_unknown=edit_text_unknown,
        deleted=deleted,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
