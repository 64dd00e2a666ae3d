"""Parses messages.update: delivery statuses, and the votes, edits and deletions that come in the same event."""

from typing import Any

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.delivery_status import (
    EVOLUTION_STATUSES,
    DeliveryStatus,
    merge_statuses,
    refusal_code,
)
from zapline.domain.messages.facts import MessageDeleted, StatusReported
from zapline.evolution.webhooks.chats_and_contacts import chat_kind, claim_of, skipped_chat
from zapline.evolution.webhooks.edits_and_deletions import embedded_edit
from zapline.evolution.webhooks.json_fields import MAX_PEOPLE, JsonObject, epoch_seconds, external_id, jid, obj, objects
from zapline.evolution.webhooks.reactions_and_votes import event_answers, tallied_votes

_NAMES_BY_NUMBER = ("ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")
_STUB_REVOKE = frozenset({"REVOKE", 1})


def parse_delivery_status(value: Any) -> DeliveryStatus | None:
    """A status from Evolution's name or WhatsApp's number; None for any other value."""
    if isinstance(value, str):
        return EVOLUTION_STATUSES.get(value)
    if type(value) is int and 0 <= value < len(_NAMES_BY_NUMBER):
        return EVOLUTION_STATUSES[_NAMES_BY_NUMBER[value]]
    return None


def merged_receipts(identity: ExternalId, data: JsonObject, chat: Address) -> list[InboundEvent]:
    """The receipts that came in one flush with our own message."""
    highest: DeliveryStatus | None = None
    for receipt in objects(data.get("userReceipt"), MAX_PEOPLE):
        for name, status in _RECEIPTS:
            if epoch_seconds(receipt.get(name)) is not None:
                highest = merge_statuses(highest, status)
    if highest is None:
        return []
    if chat.kind is AddressKind.GROUP:
        return [Ignored("group_receipt")]
    return [StatusReported(identity, highest, by=Claim(chat, from_me=True))]


_RECEIPTS = (
    ("receiptTimestamp", DeliveryStatus.DELIVERED),
    ("readTimestamp", DeliveryStatus.READ),
    ("playedTimestamp", DeliveryStatus.PLAYED),
)


def parse_message_update(data: JsonObject, own: str | None) -> list[InboundEvent]:
    """Parse one object of messages.update: votes, an edit, a deletion, or else a status.

    2.3.x adds a status that was not reported to edits and votes, so these take precedence.
    """
    key = obj(data.get("key"))
    identity = external_id(data.get("keyId") or key.get("id") or data.get("id"))
    if isinstance(identity, Unusable):
        return [identity]
    remote = data.get("remoteJid") or key.get("remoteJid")
    skipped = skipped_chat(remote, data.get("fromMe", key.get("fromMe")))
    if skipped is not None:
        return [Ignored(skipped)]
    kind = chat_kind(remote)
    by = claim_of(key or data, data, own)
    votes = tallied_votes(identity, data, own, by)
    if votes:
        return votes
    answers = event_answers(identity, data, _chat(remote), own, by)
    if answers:
        return answers
    edit = embedded_edit(identity, data, by)
    if edit is not None:
        return [edit]
    return [_status(identity, data, kind, by)]


def _chat(remote: Any) -> str:
    address = resolve_address(jid(remote))
    return "" if address is None else address.canonical


def _status(identity: ExternalId, data: JsonObject, kind: AddressKind | None, by: Claim) -> InboundEvent:
    stub = data.get("messageStubType")
    if type(stub) in (int, str) and stub in _STUB_REVOKE:
        return MessageDeleted(identity, by)
    status = data.get("status")
    if status is None:
        status = obj(data.get("update")).get("status")
    if status == "DELETED":
        return Ignored("ambiguous_deleted_status")
    reported = parse_delivery_status(status)
    if reported is None:
        return Ignored("update_without_status" if status is None else "unknown_status")
    if kind is AddressKind.GROUP and reported >= DeliveryStatus.DELIVERED:
        # One reader is not the whole group.
        return Ignored("group_receipt")
    return reported_status(identity, reported, data, by)


def reported_status(identity: ExternalId, reported: DeliveryStatus, data: JsonObject, by: Claim) -> StatusReported:
    """The fact of a status; a refusal carries the reason that stands beside it, if any does."""
    stated = data.get("messageStubParameters") or obj(data.get("update")).get("messageStubParameters")
    if reported is not DeliveryStatus.FAILED or not isinstance(stated, list):
        return StatusReported(identity, reported, by=by)
    return StatusReported(identity, reported, refusal_code(stated), by)
