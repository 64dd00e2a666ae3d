"""Turns pages of findMessages into journal entries, and their records into inbound events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from zapline.domain.contacts.addresses import AddressKind
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.delivery_status import merge_statuses as merge_delivery
from zapline.domain.messages.facts import MessageArrived, MessageDeleted, MessageEdited, MessageKind, StatusReported
from zapline.evolution.webhooks.envelope import NotJson, TooDeep, decode
from zapline.evolution.webhooks.json_fields import JsonObject, epoch_ms, jid
from zapline.evolution.webhooks.message_content import NOT_UNDERSTOOD, REPORTS, read_content, unwrap
from zapline.evolution.webhooks.message_events import parse_message
from zapline.evolution.webhooks.status_updates import parse_delivery_status, reported_status

RECORDS_PER_ENTRY = 50
"""Records of one journal entry; with thumbnails they stay below half a megabyte."""
_SECOND_END = 999
"""Milliseconds added to the whole seconds of a stored edit, so that the same edit by webhook is not later."""
_SKIPPED = {
    "no_message_id": "stored_without_id",
    **dict.fromkeys(("id_too_long", "bad_message_id"), "stored_with_bad_id"),
    "no_chat": "stored_without_chat",
    "no_target_id": "stored_without_target",
}
"""Why a record cannot be used -> the reason under which it is counted."""
_REVOKED_STUBS = frozenset({None, 0, 1, "REVOKE"})


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
    """The messages, edits, deletions and statuses of one body. Never raises.

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
    records = decoded.get("records")
    for record in records if isinstance(records, list) else ():
        if not isinstance(record, dict):
            facts.append(_skipped(Unusable("not_an_object")))
            continue
        for fact in _record_facts(record, own):
            if isinstance(fact, Unusable):
                facts.append(_skipped(fact))
                continue
            facts.append(fact)
            if isinstance(fact, MessageArrived) and (status := _highest_status(record, fact)) is not None:
                facts.append(status)
    return facts


def is_stored_deletion(record: Mapping[str, Any]) -> bool:
    """Whether a record is a deleted message.

    2.3.7 empties the row of a message that its author took back, and marks the key of one deleted through the API.
    A row without content that is a notice of the system was never a message.
    """
    key = record.get("key")
    if isinstance(key, dict) and key.get("deleted") is True:
        return True
    return "message" in record and record["message"] is None and _stub_type(record) in _REVOKED_STUBS


def stored_edit(record: Mapping[str, Any]) -> str | None:
    """The newest text of an edited message; None for a record that was not edited or has no text that can be read.

    2.3.7 puts the new content, and the edit's time, in place of the original's.
    """
    message = record.get("message")
    if not isinstance(message, dict) or not _was_edited(record):
        return None
    unwrapped = unwrap(message)
    content = read_content(unwrapped)
    if unwrapped.name in REPORTS or content.kind in NOT_UNDERSTOOD:
        return None
    return content.text or ""


def is_record_of(record: Mapping[str, Any], message: ExternalId) -> bool:
    """Whether a record is of this message: a server that ignores the filter answers with others."""
    key = record.get("key")
    return isinstance(key, dict) and key.get("id") == message


def file_inside(record: Mapping[str, Any]) -> JsonObject | None:
    """The part of a record's content that describes its file, without wrappers; None where there is no file in one.

    2.3.x takes off a few wrappers by itself; a better copy of a photo or video comes in another one.
    """
    message = record.get("message")
    unwrapped = unwrap(message) if isinstance(message, dict) else None
    if unwrapped is None or unwrapped.holder is message or unwrapped.name is None:
        return None
    return {unwrapped.name: unwrapped.value} if read_content(unwrapped).media is not None else None


def _record_facts(record: Mapping[str, Any], own: str | None) -> Iterator[InboundEvent]:
    data = dict(record)
    deleted, text = is_stored_deletion(record), stored_edit(record)
    if deleted and data.get("message") is None:
        data["message"] = _emptied_message(record)
    for fact in parse_message(data, "backfill", own):
        if isinstance(fact, MessageArrived) and deleted:
            yield _emptied(fact) if record.get("message") is None else fact
            yield MessageDeleted(fact.external_id, _author(fact))
        elif isinstance(fact, MessageArrived) and text is not None:
            # The original's text and file are in no row; what a webhook knows of them stays.
            yield msgspec.structs.replace(fact, text=None, media=fact.media if _names_a_file(fact) else None)
            yield MessageEdited(fact.external_id, text, _edited_at(record), _author(fact))
        elif not (isinstance(fact, MessageEdited) and text is not None):
            yield Ignored("deleted_report") if deleted and isinstance(fact, Unusable) else fact


def _skipped(unusable: Unusable) -> Ignored:
    """Count a record that cannot be used: as a dead letter it would come again with each run that reads it."""
    return Ignored(_SKIPPED.get(unusable.reason, "stored_unusable"))


def _author(fact: MessageArrived) -> Claim:
    """Evolution's row holds the newest state of one message, under the message's own key."""
    return Claim(fact.chat, fact.from_me, fact.sender)


def _emptied_message(record: Mapping[str, Any]) -> dict[str, Any]:
    """A message of the kind that the row still names, without content."""
    kind = record.get("messageType")
    if not isinstance(kind, str) or kind == "unknown":
        return {}
    return {kind: "" if kind == "conversation" else {"text": ""}}


def _emptied(fact: MessageArrived) -> MessageArrived:
    detail = fact.detail if fact.kind is MessageKind.TEXT else {}
    return msgspec.structs.replace(fact, text=None, media=None, detail=detail, keep_raw=False)


def _names_a_file(fact: MessageArrived) -> bool:
    """Whether an edited row still describes the file; an edited caption comes alone."""
    return fact.media is not None and (fact.media.sha256 is not None or fact.media.mimetype is not None)


def _edited_at(record: Mapping[str, Any]) -> int:
    at = epoch_ms(record.get("messageTimestamp"))
    return at + _SECOND_END if at and at % 1000 == 0 else at


def _was_edited(record: Mapping[str, Any]) -> bool:
    return any(update.get("status") == "EDITED" for update in _objects(record.get("MessageUpdate")))


def _stub_type(record: Mapping[str, Any]) -> int | str | None:
    stub = record.get("messageStubType")
    return stub if type(stub) in (int, str) else None


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
    return reported_status(fact.external_id, highest, dict(record), _author(fact)) if highest is not None else None
