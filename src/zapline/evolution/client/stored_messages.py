"""Reads back what Evolution has stored: pages of findMessages as entries of ours, and their records as facts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from zapline.domain.contacts.addresses import AddressKind
from zapline.domain.inbound_events import InboundEvent, Unusable
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.delivery_status import merge_statuses as merge_delivery
from zapline.domain.messages.facts import MessageArrived, StatusReported
from zapline.evolution.webhooks.envelope import NotJson, TooDeep, decode
from zapline.evolution.webhooks.json_fields import jid
from zapline.evolution.webhooks.message_events import parse_message
from zapline.evolution.webhooks.status_updates import parse_delivery_status

RECORDS_PER_ENTRY = 50
"""Records of one entry: a page of them with thumbnails stays below half a megabyte."""


def entry_bodies(records: Sequence[Mapping[str, Any]], own: str | None) -> list[bytes]:
    """Bodies for the journal, each with some of the records; ``own`` is the line's JID."""
    parts = [records[start : start + RECORDS_PER_ENTRY] for start in range(0, len(records), RECORDS_PER_ENTRY)]
    return [_encoded({"sender": own, "records": part}) for part in parts]


def _encoded(told: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(told)
    except UnicodeEncodeError:
        # Half of an emoji, which the standard library writes as the escape that it came as.
        return json.dumps(told).encode()


def parse_stored_messages(body: bytes) -> list[InboundEvent]:
    """The messages and statuses of one such body. Never raises.

    The highest of a message's updates counts: they come unordered (contract, section 4). One reader of a group
    does not speak for the group.
    """
    try:
        told = decode(body)
    except NotJson:
        return [Unusable("invalid_json")]
    except TooDeep:
        return [Unusable("too_deep")]
    if not isinstance(told, dict):
        return [Unusable("not_an_object")]
    own = jid(told.get("sender"))
    facts: list[InboundEvent] = []
    for record in items_of(told.get("records")):
        for fact in parse_message(record, "backfill", own):
            if isinstance(fact, Unusable):
                continue  # it would be read again by every run: of no use, and no dead letter each time
            facts.append(fact)
            if isinstance(fact, MessageArrived) and (status := _status(record, fact)) is not None:
                facts.append(status)
    return facts


def items_of(value: Any) -> list[dict[str, Any]]:
    """The objects of an array, however many."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _status(record: Mapping[str, Any], fact: MessageArrived) -> StatusReported | None:
    highest: DeliveryStatus | None = None
    # All of them: a chat that is opened again and again repeats READ without end.
    for update in items_of(record.get("MessageUpdate")):
        reported = parse_delivery_status(update.get("status"))
        if fact.chat.kind is AddressKind.GROUP and reported is not None and reported >= DeliveryStatus.DELIVERED:
            continue
        highest = merge_delivery(highest, reported)
    return StatusReported(fact.external_id, highest) if highest is not None else None
