"""Defines what can be sent: text, file, location, contact card, reaction, poll; stored as ``outbox.content``."""

from uuid import UUID

import msgspec

from zapline.domain.ids import ExternalId
from zapline.domain.messages.facts import MessageKind


class File(msgspec.Struct, frozen=True, tag="file", rename="camel"):
    """Image, video, audio, voice note, document or sticker, given by ``url`` or by the id of an upload."""

    kind: MessageKind
    url: str | None = None
    upload: UUID | None = None
    mimetype: str | None = None
    file_name: str | None = None
    caption: str | None = None


class Text(msgspec.Struct, frozen=True, tag="text", rename="camel"):
    text: str
    link_preview: bool = True


class Location(msgspec.Struct, frozen=True, tag="location", rename="camel"):
    """Degrees."""

    latitude: float
    longitude: float
    name: str = ""
    address: str = ""


class SharedContact(msgspec.Struct, frozen=True, tag="contact", rename="camel"):
    """A contact card; ``phone`` is canonical E.164."""

    name: str
    phone: str
    organization: str | None = None
    email: str | None = None
    url: str | None = None


class Reaction(msgspec.Struct, frozen=True, tag="reaction", rename="camel"):
    """``emoji`` empty: remove the reaction. The other fields are the key of the message reacted to."""

    emoji: str
    external_id: ExternalId
    remote_jid: str
    from_me: bool


class Poll(msgspec.Struct, frozen=True, tag="poll", rename="camel"):
    name: str
    options: tuple[str, ...]
    selectable: int = 1


Content = Text | File | Location | SharedContact | Reaction | Poll


class QuotedMessage(msgspec.Struct, frozen=True, rename="camel"):
    """The message replied to."""

    external_id: ExternalId
    remote_jid: str
    from_me: bool
    text: str


class OutgoingMessage(msgspec.Struct, frozen=True, rename="camel"):
    """A message to send, as it is stored in ``outbox.content``."""

    content: Content
    quoted: QuotedMessage | None = None
    mentioned: tuple[str, ...] = ()
    """Who of a group is told that the message is about him: phones as digits, or LIDs as JIDs."""
    mentions_all: bool = False


def kind_of_content(content: Content) -> str:
    """``messages.kind`` of an outgoing message: the inbound kinds, and ``reaction``."""
    match content:
        case File(kind=kind):
            return kind.value
        case Text():
            return MessageKind.TEXT.value
        case Location():
            return MessageKind.LOCATION.value
        case SharedContact():
            return MessageKind.CONTACT.value
        case Poll():
            return MessageKind.POLL.value
        case Reaction():
            return "reaction"


def text_of_content(content: Content) -> str | None:
    """The text that a person reads of it: ``messages.body``."""
    match content:
        case Text(text=text):
            return text
        case File(caption=caption):
            return caption
        case Location():
            return None
        case SharedContact(name=name):
            return name
        case Poll(name=name):
            return name
        case Reaction(emoji=emoji):
            return emoji
