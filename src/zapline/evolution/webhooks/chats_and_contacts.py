"""Parses who takes part: the chat and sender of a message, contacts events, participants of groups."""

from typing import Any

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.facts import ContactSeen
from zapline.evolution.webhooks.json_fields import LONGEST_NAME, JsonObject, jid, short_text

SKIPPED_CHATS = {
    AddressKind.STATUS: "status_broadcast",
    AddressKind.NEWSLETTER: "newsletter",
    AddressKind.BROADCAST: "broadcast",
}
"""Chats that are no conversation (contract, section 3, point 14) -> the reason that is counted."""


def chat_kind(value: Any) -> AddressKind | None:
    address = resolve_address(jid(value))
    return None if address is None else address.kind


def chat_address(key: JsonObject, own: str | None) -> Address | None:
    """The chat that a key names, with every alias that its version gives.

    For our own messages (``own`` given) ``senderPn`` and ``senderLid`` are those of the sender, us, and
    2.3.0 even puts our number in the place of the contact: no alias may tie our number to the contact.
    """
    first = jid(key.get("remoteJid"))
    if first is not None and first.endswith("@g.us"):
        return resolve_address(first)
    alias, previous = jid(key.get("remoteJidAlt")), jid(key.get("previousRemoteJid"))
    sender_pn, sender_lid = jid(key.get("senderPn")), jid(key.get("senderLid"))
    if key.get("fromMe") is not True:
        return resolve_address(first, alias, sender_pn, sender_lid, previous)
    mine = resolve_address(own)
    if mine is None or mine.phone is None:
        return resolve_address(first, alias, previous)
    if (lone := resolve_address(first)) is not None and lone.phone == mine.phone:
        if previous is not None and previous != sender_lid:
            return resolve_address(previous)
        return resolve_address(first, alias)
    others = [
        other
        for other in (alias, previous, sender_pn)
        if (known := resolve_address(other)) is not None and known.phone != mine.phone
    ]
    return resolve_address(first, *others)


def sender_address(key: JsonObject, data: JsonObject) -> Address | None:
    """Who wrote in a group, or ``None`` when no version's field says it."""
    sender = resolve_address(
        jid(key.get("participant")) or jid(data.get("participant")),
        jid(key.get("participantAlt")),
        jid(key.get("participantPn")),
        jid(key.get("participantLid")),
        jid(key.get("senderPn")),
        jid(key.get("senderLid")),
    )
    return sender if sender is not None and sender.kind is AddressKind.PERSON else None


def push_name(value: Any, whose: Address) -> str | None:
    """A name; not the digits of the JID, which Evolution puts where it knows no name."""
    name = short_text(value, LONGEST_NAME)
    if name is None or not name.strip():
        return None
    if any(each.partition("@")[0] == name for each in whose.jids):
        return None
    return name


def parse_contacts(data: Any) -> list[InboundEvent]:
    """An array when WhatsApp synchronises, an object after a message (contract, section 2)."""
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        return [Unusable("no_data")]
    seen = [fact for each in data if isinstance(each, dict) for fact in _contact(each)]
    return seen or [Ignored("contact_without_name")]


def _contact(data: JsonObject) -> list[InboundEvent]:
    address = resolve_address(
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


def parse_participants(data: JsonObject) -> list[InboundEvent]:
    """Who joined or left a group is not kept; that a LID and a phone are one person is."""
    seen: dict[InboundEvent, None] = {}
    for source in (data.get("participantsData"), data.get("participants")):
        for each in source if isinstance(source, list) else []:
            if not isinstance(each, dict):
                continue
            address = resolve_address(
                jid(each.get("jid")) or jid(each.get("id")),
                jid(each.get("phoneNumber")),
                jid(each.get("lid")),
            )
            if address is not None and address.phone is not None and address.lid is not None:
                seen[ContactSeen(address, push_name(each.get("name"), address))] = None
    return list(seen) or [Ignored("group_participants")]
