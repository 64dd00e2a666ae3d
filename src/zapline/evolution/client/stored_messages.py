"""Turns pages of findMessages into journal entries, and their records into inbound events."""

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
"""Records of one journal entry; with thumbnails they stay below half a megabyte."""


def entry_bodies(records: Sequence[Mapping[str, Any]], own: str | None) -> list[bytes]:
    """Bodies for the journal, each with a part of the records; ``own`` is the line's JID."""
    parts = [records[start : start + RECORDS_PER_ENTRY] for start in range(0, len(records), RECORDS_PER_ENTRY)]
    return [_encoded({"sender": own, "records": part}) for part in parts]


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        # Half of an emoji, which the standard library writes as the escape that it was.
        return json.dumps(body).encode()


def parse_stored_messages(body: bytes) -> list[InboundEvent]:
    """The messages and statuses of one body. Never raises.

    The highest of a message's updates counts, since they are unordered (contract, section 4). In a group a status of
    one reader is not the status of the group.
    """
    try:
        decoded = decode(body)
    except NotJson:
        return [Unusable("invalid_json")]
    except TooDeep:
        return [Unusable("too_deep")]
    if not isinstance(decoded, dict):
        return [Unusable("not_an_object")]
    own = jid(decoded.get("sender"))
    facts: list[InboundEvent] = []
    for record in _objects(decoded.get("records")):
        for fact in parse_message(record, "backfill", own):
            if isinstance(fact, Unusable):
                continue  # every run would read it again and make it a dead letter each time
            facts.append(fact)
            if isinstance(fact, MessageArrived) and (status := _highest_status(record, fact)) is not None:
                facts.append(status)
    return facts


def _objects(value: Any) -> list[dict[str, Any]]:
    """All objects of an array, without a limit on their number."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _highest_status(record: Mapping[str, Any], fact: MessageArrived) -> StatusReported | None:
    highest: DeliveryStatus | None = None
    # All updates: a chat that is opened often repeats READ many times.
    for update in _objects(record.get("MessageUpdate")):
        reported = parse_delivery_status(update.get("status"))
        if fact.chat.kind is AddressKind.GROUP and reported is not None and reported >= DeliveryStatus.DELIVERED:
            continue
        highest = merge_delivery(highest, reported)
    return StatusReported(fact.external_id, highest) if highest is not None else None
