"""Parses calls: the ``call`` event, and the missed calls that come as messages; a call has one row, by its id.

Evolution tells of a call that it began (``offer``) and ended (``terminate``). ``terminate`` comes alike for a call that
was hung up and one that was taken on another phone; only ``timeout`` proves that nobody took it.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from zapline.domain.contacts.addresses import AddressKind, resolve_address
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.facts import MessageArrived, MessageKind
from zapline.evolution.webhooks.json_fields import JsonObject, epoch_seconds, external_id, jid

CALL_STUBS = frozenset(
    {
        40,
        41,
        45,
        46,
        "CALL_MISSED_VOICE",
        "CALL_MISSED_VIDEO",
        "CALL_MISSED_GROUP_VOICE",
        "CALL_MISSED_GROUP_VIDEO",
    }
)
_VIDEO_STUBS = frozenset({41, 46, "CALL_MISSED_VIDEO", "CALL_MISSED_GROUP_VIDEO"})
_GROUP_STUBS = frozenset({45, 46, "CALL_MISSED_GROUP_VOICE", "CALL_MISSED_GROUP_VIDEO"})
_STEPS: Mapping[str, str] = {
    "offer": "offered",
    "ringing": "offered",
    "terminate": "ended",
    "timeout": "missed",
    "reject": "rejected",
    "accept": "accepted",
}
"""Each step is a mark of its own in the detail, so that the order in which they are told does not matter."""


def missed_call(arrived: MessageArrived, stub: object) -> MessageArrived:
    """The row of a missed call that came as a message without content."""
    marks: dict[str, object] = {"missed": True}
    if stub in _VIDEO_STUBS:
        marks["video"] = True
    if stub in _GROUP_STUBS:
        marks["group"] = True
    return msgspec.structs.replace(arrived, kind=MessageKind.CALL_LOG, detail=marks)


def parse_call(data: JsonObject, own: str | None) -> list[InboundEvent]:
    """Parse one ``call`` event."""
    identity = external_id(data.get("id"), "no_call_id")
    if isinstance(identity, Unusable):
        return [identity]
    status = data.get("status")
    step = _STEPS.get(status) if isinstance(status, str) else None
    if step is None:
        return [Ignored("call_signal")]
    caller = resolve_address(
        jid(data.get("from")), jid(data.get("callerPn")), jid(data.get("callerLid")), jid(data.get("fromAlt"))
    )
    chat = resolve_address(jid(data.get("groupJid"))) or resolve_address(jid(data.get("chatId")))
    if chat is None or chat.kind is not AddressKind.GROUP:
        chat = caller if caller is not None and caller.kind is AddressKind.PERSON else chat
    if chat is None:
        return [Unusable("no_chat")]
    if chat.kind not in (AddressKind.PERSON, AddressKind.GROUP):
        return [Ignored("call_elsewhere")]
    mine = resolve_address(own)
    if caller is not None and mine is not None and caller.canonical == mine.canonical:
        return [Ignored("own_call")]
    marks: dict[str, object] = {step: True}
    if data.get("isVideo") is True:
        marks["video"] = True
    if data.get("isGroup") is True or chat.kind is AddressKind.GROUP:
        marks["group"] = True
    return [
        MessageArrived(
            external_id=identity,
            chat=chat,
            from_me=False,
            kind=MessageKind.CALL_LOG,
            detail=marks,
            sender=caller if chat.kind is AddressKind.GROUP else None,
            sent_at=_time(data.get("date")),
        )
    ]


def _time(value: object) -> float | None:
    seconds = epoch_seconds(value)
    if seconds is not None or not isinstance(value, str):
        return seconds
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return epoch_seconds(round(parsed.timestamp() * 1000)) if parsed.tzinfo is not None else None
