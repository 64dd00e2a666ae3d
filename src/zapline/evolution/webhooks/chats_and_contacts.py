"""Parses the chat and sender of a message, and names: contacts.*, chats.*, groups.* and participants of groups."""

from typing import Any

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.facts import ContactSeen
from zapline.evolution.webhooks.json_fields import LONGEST_NAME, JsonObject, jid, obj, short_text

SKIPPED_CHATS = {
    AddressKind.STATUS: "status_broadcast",
    AddressKind.NEWSLETTER: "newsletter",
    AddressKind.BROADCAST: "broadcast_list",
}
"""Chats that are not conversations (contract, section 3, point 14) -> the reason under which they are ignored."""


def chat_kind(value: Any) -> AddressKind | None:
    address = resolve_address(jid(value))
    return None if address is None else address.kind


def skipped_chat(value: Any, from_me: Any) -> str | None:
    """Why reports about a message of this chat are ignored. What others write to a broadcast list is not: it is a
    message of their own conversation."""
    kind = chat_kind(value)
    if kind is None or (kind is AddressKind.BROADCAST and from_me is False):
        return None
    return SKIPPED_CHATS.get(kind)


def chat_address(key: JsonObject, own: str | None) -> Address | None:
    """The chat of a message key, with every alias that its version of Evolution adds.

    For our own messages (``own`` is the line's JID) ``senderPn`` and ``senderLid`` are ours, and 2.3.0 even puts our
    number in the contact's place: no alias may join our number to the contact.
    """
    first = whole_jid(key.get("remoteJid"), key.get("addressingMode"))
    if first is not None and first.endswith("@g.us"):
        return resolve_address(first)
    if first is not None and first.endswith("@broadcast") and first != STATUS_JID and key.get("fromMe") is not True:
        return _list_sender(key) or resolve_address(first)
    alias, previous = jid(key.get("remoteJidAlt")), jid(key.get("previousRemoteJid"))
    sender_pn, sender_lid = jid(key.get("senderPn")), jid(key.get("senderLid"))
    if key.get("fromMe") is not True:
        return resolve_address(first, alias, sender_pn, sender_lid, previous)
    mine = resolve_address(own)
    if mine is None or mine.phone is None:
        return resolve_address(first, alias, previous)
    if (named := resolve_address(first)) is not None and named.phone == mine.phone:
        if previous is not None and previous != sender_lid:
            return resolve_address(previous)
        return resolve_address(first, alias)
    others = [
        other
        for other in (alias, previous, sender_pn)
        if (known := resolve_address(other)) is not None and known.phone != mine.phone
    ]
    return resolve_address(first, *others)


STATUS_JID = "status@broadcast"


def _list_sender(key: JsonObject) -> Address | None:
    """Who wrote to a broadcast list that the line is on: his messages belong to his own conversation."""
    participant = whole_jid(key.get("participant"), key.get("addressingMode"))
    others = (jid(key.get(name)) for name in ("remoteJidAlt", "participantAlt", "senderPn", "senderLid"))
    sender = resolve_address(participant, *others)
    return sender if sender is not None and sender.kind is AddressKind.PERSON else None


def is_broadcast_list(data: JsonObject) -> bool:
    """Whether a message came by a broadcast list."""
    chat = obj(data.get("key")).get("remoteJid")
    return isinstance(chat, str) and chat.endswith("@broadcast")


def whole_jid(value: Any, mode: Any = None) -> str | None:
    """A JID; one that a server has cut at its device (2.4) gets its server back, by the key's addressing mode."""
    raw = jid(value)
    if not raw or "@" in raw or not (raw.isascii() and raw.isdigit() and 7 <= len(raw) <= 20):
        return raw or None
    hidden = mode == "lid" if mode in ("lid", "pn") else len(raw) >= _SHORTEST_LID
    return f"{raw}@lid" if hidden else f"{raw}@s.whatsapp.net"


_SHORTEST_LID = 14
"""Digits: of LIDs most have more, of phones none that WhatsApp knows."""


def sender_address(key: JsonObject, data: JsonObject) -> Address | None:
    """The author of a group message, or ``None`` when no field of any version names one."""
    sender = resolve_address(
        whole_jid(key.get("participant"), key.get("addressingMode"))
        or whole_jid(data.get("participant"), key.get("addressingMode")),
        jid(key.get("participantAlt")),
        jid(key.get("participantPn")),
        jid(key.get("participantLid")),
        jid(key.get("senderPn")),
        jid(key.get("senderLid")),
    )
    return sender if sender is not None and sender.kind is AddressKind.PERSON else None


def claim_of(key: JsonObject, data: JsonObject, own: str | None) -> Claim:
    """Who reports something under this key, which WhatsApp's server and Baileys have written, not the sender."""
    from_me = key.get("fromMe") if isinstance(key.get("fromMe"), bool) else None
    chat = chat_address(key, own if from_me else None)
    in_group = chat is not None and chat.kind is AddressKind.GROUP
    return Claim(chat, from_me, sender_address(key, data) if in_group and not from_me else None)


def claim_inside(key: JsonObject, own: str | None) -> Claim:
    """The same of a key that the sender wrote: it proves nothing, and names us where a contact names his own chat."""
    named = claim_of(key, {}, own)
    mine = resolve_address(own)
    chat = named.chat if mine is None or named.chat is None or named.chat.phone != mine.phone else None
    return Claim(chat, False if named.from_me is False else None, proven=False)


def push_name(value: Any, address: Address) -> str | None:
    """A person's name; None for the digits of the JID, which Evolution puts where it knows no name."""
    name = short_text(value, LONGEST_NAME)
    if name is None or not name.strip():
        return None
    if any(raw.partition("@")[0] == name for raw in address.jids):
        return None
    return name


_OWN = frozenset({"Você", "You"})
"""What WhatsApp and Evolution call the line itself."""


def own_name(value: Any) -> str | None:
    """The name of the line's own people, where one of their messages tells it."""
    name = short_text(value, LONGEST_NAME)
    return name if name is not None and name.strip() and name not in _OWN else None


def username(value: Any) -> str | None:
    """A WhatsApp username without its ``@``."""
    name = short_text(value, LONGEST_NAME)
    return (name.strip().lstrip("@") or None) if name is not None else None


def usernames(key: JsonObject, chat: Address, sender: Address | None, at: float | None) -> list[ContactSeen]:
    """The usernames that a message key tells, of the chat and of the author in a group."""
    if "remoteJidUsername" not in key and "participantUsername" not in key:
        return []
    named = [(chat, username(key.get("remoteJidUsername"))), (sender, username(key.get("participantUsername")))]
    return [
        ContactSeen(address, username=name, at=at)
        for address, name in named
        if address is not None and address.kind is AddressKind.PERSON and name is not None
    ]


def parse_contacts(data: Any) -> list[InboundEvent]:
    """Parse contacts.*: an array when WhatsApp synchronises, an object after a message (contract, section 2).

    The object after a message in a group carries the group's JID and its author's name: only arrays name a group.
    """
    synchronised = not isinstance(data, dict)
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        return [Unusable("no_data")]
    contacts = [fact for element in data if isinstance(element, dict) for fact in _contact(element, synchronised)]
    return contacts or [Ignored("contact_without_name")]


def _contact(data: JsonObject, synchronised: bool) -> list[InboundEvent]:
    address = resolve_address(
        jid(data.get("remoteJid")) or jid(data.get("id")),
        jid(data.get("remoteJidAlt")),
        jid(data.get("phoneNumber")),
        jid(data.get("lid")),
    )
    if address is None or address.kind not in (AddressKind.PERSON, AddressKind.GROUP):
        return []
    if address.kind is AddressKind.GROUP and not synchronised:
        return []
    names = (push_name(data.get(field), address) for field in ("pushName", "name", "notify", "verifiedName"))
    name = next((name for name in names if name is not None and name not in _OWN), None)
    called = next(filter(None, map(username, (data.get("username"), data.get("remoteJidUsername")))), None)
    if name is None and called is None and (address.phone is None or address.lid is None):
        return []
    return [ContactSeen(address, name, called)]


def parse_chats(data: Any, *, history: bool = False) -> list[InboundEvent]:
    """Parse chats.*: pairs of phone and LID (2.4), names of people, which any other replaces, and subjects of groups.

    Only a history (chats.set) names groups: before 2.3.7 a chats.upsert names one after whoever wrote last.
    """
    rows = data if isinstance(data, list) else [data]
    contacts = [fact for row in rows if isinstance(row, dict) for fact in _chat(row, history)]
    return contacts or [Ignored("chats")]


def _chat(data: JsonObject, history: bool) -> list[InboundEvent]:
    address = resolve_address(
        jid(data.get("remoteJid")) or jid(data.get("id")), jid(data.get("remoteLid")), jid(data.get("lid"))
    )
    if address is None or address.kind not in (AddressKind.PERSON, AddressKind.GROUP):
        return []
    name = push_name(data.get("name"), address)
    if address.kind is AddressKind.GROUP:
        return [ContactSeen(address, name)] if name is not None and history else []
    paired = [ContactSeen(address)] if address.phone is not None and address.lid is not None else []
    return [*paired, *([ContactSeen(address, name, at=_LONG_AGO)] if name is not None and name not in _OWN else [])]


_LONG_AGO = 0.0
"""The time of a name that may be of any age."""


def parse_groups(data: Any) -> list[InboundEvent]:
    """Parse groups.*: the subject, and the pairs of LID and phone of the participants."""
    contacts: dict[InboundEvent, None] = {}
    for group in data if isinstance(data, list) else [data]:
        if not isinstance(group, dict):
            continue
        address = resolve_address(jid(group.get("id")))
        subject = short_text(group.get("subject"), LONGEST_NAME)
        if address is not None and address.kind is AddressKind.GROUP and subject is not None and subject.strip():
            contacts[ContactSeen(address, subject)] = None
        contacts |= dict.fromkeys(_pairs(group.get("participants")))
    return list(contacts) or [Ignored("groups")]


def renamed_group(data: JsonObject, chat: Address, at: float | None) -> ContactSeen | None:
    """The new subject that a system notice in a group tells."""
    if chat.kind is not AddressKind.GROUP or data.get("messageStubType") not in (21, "GROUP_CHANGE_SUBJECT"):
        return None
    told = data.get("messageStubParameters")
    subject = short_text(told[0], LONGEST_NAME) if isinstance(told, list) and told else None
    return ContactSeen(chat, subject, at=at) if subject is not None and subject.strip() else None


def parse_participants(data: JsonObject) -> list[InboundEvent]:
    """Parse group-participants.update: of a participant only the pair of LID and phone is kept, not the membership."""
    pairs = dict.fromkeys([*_pairs(data.get("participantsData")), *_pairs(data.get("participants"))])
    return list(pairs) or [Ignored("group_participants")]


def _pairs(participants: Any) -> list[InboundEvent]:
    """What an array of participants tells of people whose phone and LID it knows."""
    found: list[InboundEvent] = []
    for element in participants if isinstance(participants, list) else []:
        if not isinstance(element, dict):
            continue
        first = jid(element.get("jid")) or jid(element.get("id"))
        address = resolve_address(first, jid(element.get("phoneNumber")), jid(element.get("lid")))
        if address is not None and address.phone is not None and address.lid is not None:
            found.append(ContactSeen(address, push_name(element.get("name"), address)))
    return found
