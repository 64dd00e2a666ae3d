"""Decides what a message that is asked for becomes: whom it goes to, in whose words, and what is wrong with it."""

import base64
from dataclasses import dataclass
from uuid import UUID

import msgspec

from zapline.domain.contacts.phone_numbers import Address, AddressKind, InvalidPhone, parse_phone, resolve
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId, contact_id, conversation_id
from zapline.domain.outbox import work_states as sending
from zapline.domain.outbox.work_states import Card, File, Location, Poll
from zapline.sql.outbound.outbox import Chat, Upload

_MOST_AHEAD = 366 * 86400.0
"""Seconds that a message may be asked for ahead of its time: a year's birthdays, and no slip of a digit."""
_PLAIN_BYTES = "application/octet-stream"
"""What a client says that does not know the type."""


class InvalidMessage(LocalError):
    """What was asked cannot be sent. ``field`` as the caller named it; ``code``: a short snake_case word."""

    def __init__(self, field: str, message: str, code: str = "invalid_request") -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.code = code


class React(msgspec.Struct, frozen=True, tag="react"):
    """A reaction as it is asked for: ``message`` is our own id. ``emoji`` empty: take it back."""

    emoji: str
    message: UUID


Wanted = sending.Text | File | Location | Card | Poll | React


@dataclass(frozen=True, slots=True)
class SendAsked:
    """A message as it is asked for. To ``to`` (a phone in any usual form, or a JID) or into ``conversation``;
    a reaction needs neither. Times are UTC seconds. A card's phone may be in any usual form too.
    """

    client_id: str
    content: Wanted
    to: str | None = None
    conversation: UUID | None = None
    reply_to: UUID | None = None
    send_at: float | None = None
    expires_at: float | None = None


def address_of(to: str, region: str) -> Address:
    """Whom ``to`` names: a phone in any usual form, or the JID of a person or a group. Raises InvalidMessage."""
    typed = to.strip()
    if "@" in typed:
        found = resolve(typed)
        if found is None or found.kind not in (AddressKind.PERSON, AddressKind.GROUP):
            raise InvalidMessage("to", "is a phone number, or the JID of a person or a group")
        return found
    try:
        phone = parse_phone(typed, region)
    except InvalidPhone as invalid:
        raise InvalidMessage("to", str(invalid)) from None
    return Address(AddressKind.PERSON, phone, phone)


def remote_jid(chat: Chat) -> str:
    """The chat as WhatsApp names it: a phone's JID as it was seen, else as the number gives it; a LID if need be."""
    if chat.jids and (chat.phone is None or chat.jids[0].endswith("@s.whatsapp.net")):
        return chat.jids[0]
    if chat.phone is not None:
        return f"{chat.phone.removeprefix('+')}@s.whatsapp.net"
    return f"{chat.lid}@lid" if chat.lid is not None else chat.canonical.partition(":")[2]


def number_of(chat: Chat) -> str:
    """What Evolution is given: a phone's digits, else a JID."""
    return chat.phone.removeprefix("+") if chat.phone is not None else remote_jid(chat)


def chat_with(unit: UnitId, address: Address) -> Chat:
    """The chat with an address, whether it is stored or not."""
    canonical = address.canonical
    conversation, contact = UUID(conversation_id(unit, canonical)), UUID(contact_id(unit, canonical))
    return Chat(conversation, contact, address.kind.value, canonical, address.phone, address.lid, address.jids)


def untimely(asked: SendAsked, now: float) -> InvalidMessage | None:
    """What is wrong with the times asked for, as things stand now."""
    due_at = max(now, asked.send_at or 0.0)
    if due_at > now + _MOST_AHEAD:
        return InvalidMessage("sendAt", "is at most a year ahead")
    if asked.expires_at is not None and asked.expires_at <= due_at:
        return InvalidMessage("expiresAt", "is later than now and than sendAt")
    if asked.expires_at is not None and asked.expires_at > now + 2 * _MOST_AHEAD:
        return InvalidMessage("expiresAt", "is at most two years ahead")
    return None


def file_of(file: File, checked_url: str | None, upload: Upload | None) -> File:
    if upload is None:
        return msgspec.structs.replace(file, url=checked_url)
    told = upload.mimetype if upload.mimetype != _PLAIN_BYTES else None
    return msgspec.structs.replace(file, mimetype=file.mimetype or told, file_name=file.file_name or upload.file_name)


def media_of(file: File, upload: Upload | None) -> dict[str, object]:
    """``messages.media``; the URL stays out of it: a signed one opens the file to whoever reads it."""
    known: dict[str, object | None] = {"mimetype": file.mimetype, "fileName": file.file_name}
    if upload is not None:
        known |= {"size": upload.size, "sha256": base64.b64encode(upload.sha256).decode()}
    return {name: value for name, value in known.items() if value is not None}


def detail_of(content: sending.Content) -> dict[str, object]:
    """``messages.detail``, as messages that come in have it."""
    match content:
        case Location(latitude=latitude, longitude=longitude, name=name, address=address):
            place: dict[str, object] = {"latitude": latitude, "longitude": longitude}
            return place | {key: value for key, value in (("name", name), ("address", address)) if value}
        case Card(name=name, phone=phone):
            return {"contacts": [{"name": name, "phones": [phone]}]}
        case Poll(options=options, selectable=selectable):
            return {"options": options, "selectable": selectable}
        case sending.Reaction(emoji=emoji, external_id=external_id):
            return {"emoji": emoji, "externalId": external_id}
    return {}
