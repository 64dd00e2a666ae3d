"""Parses a webhook body into inbound events: dispatches every event of Evolution 1.8 to 2.4 by its name.

Pure. No body makes :func:`parse_webhook` raise: an event that is understood but not needed becomes ``Ignored``,
one that is not understood ``Unusable``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.line.events import InstanceCreated, InstanceRemoved, LoggedOutSeen
from zapline.evolution.webhooks.calls import parse_call
from zapline.evolution.webhooks.chats_and_contacts import parse_chats, parse_contacts, parse_groups, parse_participants
from zapline.evolution.webhooks.connection_and_qr_events import (
    parse_connection_update,
    parse_instance_status,
    parse_qr_code,
)
from zapline.evolution.webhooks.edits_and_deletions import parse_deletions, parse_edit
from zapline.evolution.webhooks.envelope import NotJson, TooDeep, decode, event_name
from zapline.evolution.webhooks.json_fields import JsonObject, jid
from zapline.evolution.webhooks.message_events import parse_message
from zapline.evolution.webhooks.status_updates import parse_message_update

_IGNORED = {
    "chats.delete": "chats",
    **dict.fromkeys(("labels.edit", "labels.association"), "labels"),
    **dict.fromkeys(("typebot.start", "typebot.change-status"), "typebot"),
    "presence.update": "presence",
    "application.startup": "application_startup",
    "new.jwt": "new_token",
    "creds.update": "credentials",
}
_WITHOUT_DATA: Mapping[str, Callable[[], InboundEvent]] = {
    "instance.create": InstanceCreated,
    "instance.delete": InstanceRemoved,
    "remove.instance": InstanceRemoved,
    "logout.instance": LoggedOutSeen,
}


def parse_webhook(body: bytes, *, event_hint: str | None = None) -> list[InboundEvent]:
    """The events of a body in its order: at least one, and several for arrays (histories, contacts). Never raises.

    ``event_hint`` is the suffix of the path (``messages-upsert``), used when the body names no known event.
    """
    try:
        envelope = decode(body)
    except NotJson:
        return [Unusable("invalid_json")]
    except TooDeep:
        return [Unusable("too_deep")]
    if not isinstance(envelope, dict):
        return [Unusable("not_an_object")]
    event = event_name(envelope.get("event")) or event_name(event_hint)
    if event is None:
        return [Unusable("unknown_event")]
    if event in _IGNORED:
        return [Ignored(_IGNORED[event])]
    if event in _WITHOUT_DATA:
        return [_WITHOUT_DATA[event]()]
    data, own = envelope.get("data"), jid(envelope.get("sender"))
    if event == "group-participants.update":
        return parse_participants(data) if isinstance(data, dict) else [Unusable("no_data")]
    if event in _CONTACT_EVENTS:
        return _CONTACT_EVENTS[event](data)
    if event == "messaging-history.set" and isinstance(data, dict) and "messages" not in data:
        return [Ignored("history_progress")]
    return _parse_elements(event, data, own)


_CONTACT_EVENTS: Mapping[str, Callable[[Any], list[InboundEvent]]] = {
    **dict.fromkeys(("contacts.set", "contacts.upsert", "contacts.update"), parse_contacts),
    **dict.fromkeys(("chats.upsert", "chats.update"), parse_chats),
    "chats.set": lambda data: parse_chats(data, history=True),
    **dict.fromkeys(("groups.upsert", "groups.update"), parse_groups),
}

_PARSERS: Mapping[str, Callable[[JsonObject, str | None], list[InboundEvent]]] = {
    "messages.upsert": lambda data, own: parse_message(data, "live", own),
    "messages.set": lambda data, own: parse_message(data, "history", own),
    "messaging-history.set": lambda data, own: parse_message(data, "history", own),
    "send.message": lambda data, own: parse_message(data, "sent", own),
    "messages.update": parse_message_update,
    "call": parse_call,
    "messages.delete": parse_deletions,
    "messages.edited": parse_edit,
    "send.message.update": lambda data, own: parse_edit(data, own, answered=True),
    "qrcode.updated": lambda data, own: [parse_qr_code(data)],
    "connection.update": lambda data, own: [parse_connection_update(data)],
    "status.instance": lambda data, own: [parse_instance_status(data)],
}

READ_EVENTS = frozenset({*_WITHOUT_DATA, "group-participants.update", *_CONTACT_EVENTS, *_PARSERS})
"""The events that may say something; each of the others is counted under one reason."""


def _parse_elements(event: str, data: Any, own: str | None) -> list[InboundEvent]:
    """Parse one object (2.x), or the array or ``{messages: [...]}`` that other versions and forks send."""
    parser = _PARSERS[event]
    if isinstance(data, dict):
        bundle = data.get("messages")
        if not (isinstance(bundle, list) and "key" not in data):
            return parser(data, own)
        data = bundle
    if not isinstance(data, list):
        return [Unusable("no_data")]
    facts: list[InboundEvent] = []
    for element in data:
        facts.extend(parser(element, own) if isinstance(element, dict) else [Unusable("no_data")])
    return facts or [Ignored("empty")]
