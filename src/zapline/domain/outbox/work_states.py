"""What can be sent, and how the work on it stands: contents, lanes, work states and the moves between them."""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

import msgspec

from zapline.domain.ids import ExternalId
from zapline.domain.messages.events import Kind


class Lane(StrEnum):
    """Replies go before campaigns. The names sort that way in SQL too, descending."""

    REPLY = "reply"
    CAMPAIGN = "campaign"


class Work(StrEnum):
    """Where the work on a message stands; how far it has come to its reader is its delivery, another matter."""

    QUEUED = "queued"
    """To be sent when it is due. A crash changes nothing."""
    LEASED = "leased"
    """A sender has claimed it and may have called Evolution. A crash makes it uncertain."""
    UNCERTAIN = "uncertain"
    """It may have been delivered: never sent again blindly. An echo, Evolution's store or a person decides."""
    SETTLED = "settled"
    """Evolution took it."""
    DEAD = "dead"
    """Refused, or failed three times by its own fault; nothing was sent."""
    CANCELLED = "cancelled"
    """A person took it back while it was queued, or gave up an uncertain one."""
    EXPIRED = "expired"
    """Its time was over before it could be sent."""


MOVES: Mapping[Work, frozenset[Work]] = {
    Work.QUEUED: frozenset({Work.LEASED, Work.CANCELLED, Work.EXPIRED, Work.SETTLED}),
    Work.LEASED: frozenset({Work.QUEUED, Work.SETTLED, Work.DEAD, Work.UNCERTAIN}),
    Work.UNCERTAIN: frozenset({Work.QUEUED, Work.SETTLED, Work.CANCELLED}),
    # A late echo shows that it was delivered all the same: the truth wins.
    Work.DEAD: frozenset({Work.SETTLED, Work.QUEUED}),
    Work.CANCELLED: frozenset({Work.SETTLED}),
    Work.EXPIRED: frozenset({Work.SETTLED}),
    Work.SETTLED: frozenset(),
}
"""The allowed moves. ``QUEUED`` to ``SETTLED``: the echo of an earlier call came while it waited for another."""

MOST_TRIES = 3


class File(msgspec.Struct, frozen=True, tag="file", rename="camel"):
    """Image, video, audio, voice note or document: by ``url``, or by the id of what was uploaded."""

    kind: Kind
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


class Card(msgspec.Struct, frozen=True, tag="contact", rename="camel"):
    """A contact to hand on; ``phone`` is canonical E.164."""

    name: str
    phone: str
    organization: str | None = None
    email: str | None = None
    url: str | None = None


class Reaction(msgspec.Struct, frozen=True, tag="reaction", rename="camel"):
    """``emoji`` empty: take the reaction back. The message reacted to is named by its key."""

    emoji: str
    external_id: ExternalId
    remote_jid: str
    from_me: bool


class Poll(msgspec.Struct, frozen=True, tag="poll", rename="camel"):
    name: str
    options: tuple[str, ...]
    selectable: int = 1


Content = Text | File | Location | Card | Reaction | Poll


class Quoted(msgspec.Struct, frozen=True, rename="camel"):
    """The message replied to."""

    external_id: ExternalId
    remote_jid: str
    from_me: bool
    text: str


class Outgoing(msgspec.Struct, frozen=True, rename="camel"):
    """A message as it is to be sent; stored in ``outbox.content``."""

    content: Content
    quoted: Quoted | None = None


def kind_of(content: Content) -> str:
    """``messages.kind`` of an outgoing message: the inbound kinds, and ``reaction``."""
    match content:
        case File(kind=kind):
            return kind.value
        case Text():
            return Kind.TEXT.value
        case Location():
            return Kind.LOCATION.value
        case Card():
            return Kind.CONTACT.value
        case Poll():
            return Kind.POLL.value
        case Reaction():
            return "reaction"


def text_of(content: Content) -> str | None:
    """What a person reads of it: ``messages.body``."""
    match content:
        case Text(text=text):
            return text
        case File(caption=caption):
            return caption
        case Location():
            return None
        case Card(name=name):
            return name
        case Poll(name=name):
            return name
        case Reaction(emoji=emoji):
            return emoji
