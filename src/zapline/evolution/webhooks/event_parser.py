"""Turns a webhook's body into domain events: every event of Evolution 1.8 to 2.4, dispatched by its name.

Pure. Nothing in a body can make :func:`parse` raise: what is understood and useless is
:class:`Ignored`, what is not understood is :class:`Unusable`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from zapline.domain.contacts.addresses import AddressKind, resolve
from zapline.domain.inbound_events import Ignored, Parsed, Unusable
from zapline.domain.line.events import InstanceCreated, InstanceRemoved, LoggedOutSeen
from zapline.domain.messages.facts import ContactSeen
from zapline.evolution.webhooks import connection_events, message_updates
from zapline.evolution.webhooks.envelope import (
    Envelope,
    NotJson,
    TooDeep,
    decode,
    event_name,
    extract_envelope,
    extract_instance,
    strip_secrets,
)
from zapline.evolution.webhooks.json_fields import Obj, jid
from zapline.evolution.webhooks.message_parser import message, push_name

__all__ = ["Envelope", "extract_envelope", "extract_instance", "parse", "strip_secrets"]

_IGNORED = {
    "presence.update": "presence",
    "chats.set": "chats",
    "chats.upsert": "chats",
    "chats.update": "chats",
    "chats.delete": "chats",
    "groups.upsert": "groups",
    "groups.update": "groups",
    "labels.edit": "labels",
    "labels.association": "labels",
    "call": "call",
    "typebot.start": "typebot",
    "typebot.change-status": "typebot",
    "application.startup": "application_startup",
    "new.jwt": "new_token",
    "creds.update": "credentials",
}
_WITHOUT_DATA: Mapping[str, Callable[[], Parsed]] = {
    "instance.create": InstanceCreated,
    "instance.delete": InstanceRemoved,
    "remove.instance": InstanceRemoved,
    "logout.instance": LoggedOutSeen,
}


def parse(body: bytes, *, event_hint: str | None = None) -> list[Parsed]:
    """What the body says, in its order; at least one element, and more for arrays (histories, contacts).

    ``event_hint`` is the suffix of the path (``messages-upsert``), used when the body names no known event.
    Never raises.
    """
    try:
        told = decode(body)
    except NotJson:
        return [Unusable("invalid_json")]
    except TooDeep:
        return [Unusable("too_deep")]
    if not isinstance(told, dict):
        return [Unusable("not_an_object")]
    event = event_name(told.get("event")) or event_name(event_hint)
    if event is None:
        return [Unusable("unknown_event")]
    if event in _IGNORED:
        return [Ignored(_IGNORED[event])]
    if event in _WITHOUT_DATA:
        return [_WITHOUT_DATA[event]()]
    data, own = told.get("data"), jid(told.get("sender"))
    if event == "group-participants.update":
        return _participants(data) if isinstance(data, dict) else [Unusable("no_data")]
    if event in _CONTACT_EVENTS:
        return _contacts(data)
    return _each(event, data, own)


_CONTACT_EVENTS = frozenset({"contacts.set", "contacts.upsert", "contacts.update"})

_READERS: Mapping[str, Callable[[Obj, str | None], list[Parsed]]] = {
    "messages.upsert": lambda data, own: message(data, "live", own),
    "messages.set": lambda data, own: message(data, "history", own),
    "send.message": lambda data, own: message(data, "sent", own),
    "messages.update": message_updates.update,
    "messages.delete": lambda data, own: message_updates.delete(data),
    "messages.edited": lambda data, own: message_updates.edited(data),
    "send.message.update": lambda data, own: message_updates.edited(data),
    "qrcode.updated": lambda data, own: [connection_events.qr(data)],
    "connection.update": lambda data, own: [connection_events.connection(data)],
    "status.instance": lambda data, own: [connection_events.instance_status(data)],
}


def _each(event: str, data: Any, own: str | None) -> list[Parsed]:
    """One object in 2.x; versions and forks send arrays, or ``{messages: [...]}``, for the same event."""
    reader = _READERS[event]
    if isinstance(data, dict):
        bundle = data.get("messages")
        if not (isinstance(bundle, list) and "key" not in data):
            return reader(data, own)
        data = bundle
    if not isinstance(data, list):
        return [Unusable("no_data")]
    facts: list[Parsed] = []
    for element in data:
        facts.extend(reader(element, own) if isinstance(element, dict) else [Unusable("no_data")])
    return facts or [Ignored("empty")]


# -- contacts ------------------------------------------------------------------------------------------------


def _contacts(data: Any) -> list[Parsed]:
    """An array when WhatsApp synchronises, an object after a message (contract, section 2)."""
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        return [Unusable("no_data")]
    seen = [fact for each in data if isinstance(each, dict) for fact in _contact(each)]
    return seen or [Ignored("contact_without_name")]


def _contact(data: Obj) -> list[Parsed]:
    address = resolve(
        jid(data.get("remoteJid")) or jid(data.get("id")),
        jid(data.get("remoteJidAlt")),
        jid(data.get("phoneNumber")),
        jid(data.get("lid")),
    )
    if address is None or address.kind not in (AddressKind.PERSON, AddressKind.GROUP):
        return []
    name = (
        push_name(data.get("pushName"), address)
        or push_name(data.get("name"), address)
        or push_name(data.get("notify"), address)
        or push_name(data.get("verifiedName"), address)
    )
    if name is None and (address.phone is None or address.lid is None):
        return []
    return [ContactSeen(address, name)]


def _participants(data: Obj) -> list[Parsed]:
    """Who joined or left a group is not kept; that a LID and a phone are one person is."""
    seen: dict[Parsed, None] = {}
    for source in (data.get("participantsData"), data.get("participants")):
        for each in source if isinstance(source, list) else []:
            if not isinstance(each, dict):
                continue
            address = resolve(
                jid(each.get("jid")) or jid(each.get("id")),
                jid(each.get("phoneNumber")),
                jid(each.get("lid")),
            )
            if address is not None and address.phone is not None and address.lid is not None:
                seen[ContactSeen(address, push_name(each.get("name"), address))] = None
    return list(seen) or [Ignored("group_participants")]
