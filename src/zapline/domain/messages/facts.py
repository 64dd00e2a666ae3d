"""Defines facts about messages, as frozen values; they may arrive in any order and more than once.

How they merge is defined where they are stored. Times are seconds since the epoch in UTC (``float``) unless a name
says ``_ms``. What is created for every message is a msgspec Struct, which takes a tenth of the time of a dataclass.
The class names of the facts are label values of a metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec

from zapline.domain.contacts.addresses import Address
from zapline.domain.ids import ExternalId
from zapline.domain.messages.delivery_status import DeliveryStatus


class MessageKind(StrEnum):
    """What a message is. ``UNKNOWN`` yields to any other kind when the message comes again."""

    UNKNOWN = "unknown"
    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    VOICE = "voice"
    DOCUMENT = "document"
    STICKER = "sticker"
    LOCATION = "location"
    LIVE_LOCATION = "live_location"
    CONTACT = "contact"
    CONTACTS = "contacts"
    POLL = "poll"
    BUTTON_REPLY = "button_reply"
    LIST_REPLY = "list_reply"
    TEMPLATE_REPLY = "template_reply"
    INTERACTIVE_REPLY = "interactive_reply"
    BUTTONS = "buttons"
    LIST = "list"
    TEMPLATE = "template"
    INTERACTIVE = "interactive"
    ALBUM = "album"
    ORDER = "order"
    PRODUCT = "product"
    EVENT = "event"
    GROUP_INVITE = "group_invite"
    PAYMENT = "payment"
    CALL_LOG = "call_log"
    PLACEHOLDER = "placeholder"


class MediaInfo(msgspec.Struct, frozen=True):
    """A file's description. The bytes stay with WhatsApp and are fetched through Evolution on demand."""

    mimetype: str | None = None
    file_name: str | None = None
    size: int | None = None
    seconds: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    """Base64 of the file's digest."""
    url: str | None = None
    """``mediaUrl`` of Evolution's S3; it expires."""


class MessageArrived(msgspec.Struct, frozen=True):
    """A message is known: it came in, was sent from the phone, through Evolution, or lies in the history."""

    external_id: ExternalId
    chat: Address
    from_me: bool
    kind: MessageKind
    text: str | None = None
    """Text or caption; for replies to buttons and lists what the person chose."""
    media: MediaInfo | None = None
    detail: Mapping[str, object] = msgspec.field(default_factory=dict)
    """What else the kind carries (coordinates, options, cards ...): plain JSON values."""
    sender: Address | None = None
    """Who wrote it in a group."""
    push_name: str | None = None
    sent_at: float | None = None
    delivery: DeliveryStatus | None = None
    quoted_id: ExternalId | None = None
    forwarded: bool = False
    view_once: bool = False
    expires_after: int | None = None
    """Seconds, in chats with disappearing messages."""
    source: str | None = None
    origin: str = "live"
    """``live`` from messages.upsert, ``sent`` from send.message, ``history`` from messages.set, ``backfill`` read
    back from Evolution's store."""
    keep_raw: bool = False
    """The raw body is stored with the row, because the kind is not understood."""


@dataclass(frozen=True, slots=True)
class StatusReported:
    external_id: ExternalId
    delivery: DeliveryStatus


@dataclass(frozen=True, slots=True)
class MessageEdited:
    external_id: ExternalId
    text: str
    edited_at_ms: int


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    external_id: ExternalId


@dataclass(frozen=True, slots=True)
class ReactionReported:
    """``emoji`` empty: the reaction was taken back. The latest per actor counts."""

    external_id: ExternalId
    """The message reacted to."""
    actor: str
    """Canonical identity, or ``me``."""
    emoji: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class VoteReported:
    """``options`` None: the vote is encrypted and Evolution has not told what it says."""

    external_id: ExternalId
    """The poll."""
    actor: str
    options: tuple[str, ...] | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class ContactSeen:
    """A contact's name is known, or that a LID and a phone are one person."""

    address: Address
    name: str | None = None


class SendAnswered(msgspec.Struct, frozen=True):
    """How a call that was to send a message ended, and what follows from it; decided by the sender.

    It is journaled before anything else is done with it, so it is also its own wire format.
    """

    attempt: UUID
    message: UUID
    fence: int
    outcome: str
    """Of the attempt: ``sent``, ``not_sent``, ``rejected`` or ``uncertain``."""
    move: str
    """Where the message goes: a ``zapline.domain.outbox.work_states.WorkState``."""
    ended_at: float
    external_id: ExternalId | None = None
    remote_jid: str | None = None
    """The chat as Evolution answered it, and after a space the JID that was asked for: a LID may be learnt so."""
    failure: str | None = None
    """A code of the failure vocabulary, or of our own: ``crashed``."""
    detail: str | None = None
    tries: int = 0
    """1 where the failure was the message's own fault."""
    due_at: float | None = None
    look_at: float | None = None
    """Uncertain: when Evolution's store is to be looked at. None: a person decides."""


class OptedOut(msgspec.Struct, frozen=True):
    """A contact wrote one of the words that end campaigns."""

    address: Address
    word: str
    external_id: ExternalId
    confirmation: str | None = None
    """What is answered to it; None for a message that is not live."""


MessageFact = (
    MessageArrived
    | StatusReported
    | MessageEdited
    | MessageDeleted
    | ReactionReported
    | VoteReported
    | ContactSeen
    | SendAnswered
    | OptedOut
)
