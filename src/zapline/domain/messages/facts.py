"""Defines facts about messages: arrivals, statuses, edits, deletions, reactions, votes, results of sends.

Facts may arrive in any order and more than once; they merge where they are stored. Times are UTC seconds since the
epoch unless a name says ``_ms``. The class names are label values of a metric, and so fixed. The most frequent are
msgspec Structs, which are created in a tenth of a dataclass's time.
``by`` says who reports a change and in which chat; it is no part of what is reported, so it is not compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

import msgspec

from zapline.domain.contacts.addresses import Address
from zapline.domain.ids import ExternalId
from zapline.domain.messages.authority import UNNAMED, Claim
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.message_secrets import EncryptedReport, SecretSeen


class MessageKind(StrEnum):
    """The kind of a message. ``UNKNOWN`` is replaced by any other kind when the message is reported again."""

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
    STICKER_PACK = "sticker_pack"
    POLL_RESULT = "poll_result"
    PIN = "pin"
    """A message was pinned, or unpinned."""
    KEEP = "keep"
    """A message that would have disappeared is kept, or not any more."""
    PLACEHOLDER = "placeholder"


class MediaInfo(msgspec.Struct, frozen=True):
    """The description of a file, whose bytes stay with WhatsApp and are fetched through Evolution on demand."""

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
    quality: int = 0
    """Of the copies of one photo or video the one with the highest is shown; 0: the first, small one."""
    copy_id: ExternalId | None = None
    """The id under which WhatsApp has a better copy, where that is not the message's own."""


class MessageArrived(msgspec.Struct, frozen=True):
    """A message came in, was sent from the phone or through Evolution, or is part of the history."""

    external_id: ExternalId
    chat: Address
    from_me: bool
    kind: MessageKind
    text: str | None = None
    """Text or caption; for replies to buttons and lists the choice."""
    media: MediaInfo | None = None
    detail: Mapping[str, object] = msgspec.field(default_factory=dict)
    """Further content of the kind (coordinates, options, cards ...) as plain JSON values."""
    sender: Address | None = None
    """The author, in a group."""
    push_name: str | None = None
    own_name: str | None = None
    """How the line's own people are called, in a message of theirs; it is nobody else's name."""
    sent_at: float | None = None
    delivery: DeliveryStatus | None = None
    quoted_id: ExternalId | None = None
    quoted: Mapping[str, object] | None = None
    """What is quoted as WhatsApp sends it along, in the form of the API; the original may be unknown."""
    forwarded: bool = False
    view_once: bool = False
    expires_after: int | None = None
    """Seconds, in chats with disappearing messages."""
    source: str | None = None
    origin: str = "live"
    """``live``: messages.upsert, ``sent``: send.message, ``history``: messages.set, ``backfill``: Evolution's store."""
    keep_raw: bool = False
    """Whether the raw body is stored with the row, because the kind is not understood."""
    edited: bool = False
    """Whether ``text`` is that of an edit: what the message said before stands elsewhere, or nowhere."""


@dataclass(frozen=True, slots=True)
class StatusReported:
    external_id: ExternalId
    delivery: DeliveryStatus
    refusal: str | None = None
    """Why WhatsApp refused the message, as a failure code, where it said so; for ``FAILED`` only."""
    by: Claim = field(default=UNNAMED, compare=False)


@dataclass(frozen=True, slots=True)
class MessageEdited:
    external_id: ExternalId
    text: str
    edited_at_ms: int
    by: Claim = field(default=UNNAMED, compare=False)


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    external_id: ExternalId
    by: Claim = field(default=UNNAMED, compare=False)


@dataclass(frozen=True, slots=True)
class ReactionReported:
    """``emoji`` empty: the reaction was removed. The latest per actor counts."""

    external_id: ExternalId
    """The message reacted to."""
    actor: str
    """Canonical identity, or ``me``."""
    emoji: str
    at_ms: int
    by: Claim = field(default=UNNAMED, compare=False)


@dataclass(frozen=True, slots=True)
class VoteReported:
    """``options`` None: the vote is encrypted, and Evolution has not decrypted it."""

    external_id: ExternalId
    """The poll."""
    actor: str
    options: tuple[str, ...] | None
    at_ms: int
    by: Claim = field(default=UNNAMED, compare=False)


@dataclass(frozen=True, slots=True)
class ContactSeen:
    """A contact's name or username, a group's subject, or the proof that a LID and a phone are one person."""

    address: Address
    name: str | None = None
    username: str | None = None
    """Without ``@``."""
    at: float | None = None
    """When it was so; None: the report tells no time."""


class SendAnswered(msgspec.Struct, frozen=True):
    """The result of a call that sends a message, and what follows for the message, as the sender decided it.

    It is journaled before it is applied, so its field names are a storage format.
    """

    attempt: UUID
    message: UUID
    fence: int
    outcome: str
    """Of the attempt: ``sent``, ``not_sent``, ``rejected`` or ``uncertain``."""
    move: str
    """The message's next state: a ``zapline.domain.outbox.work_states.WorkState``."""
    ended_at: float
    external_id: ExternalId | None = None
    remote_jid: str | None = None
    """The chat in Evolution's response, and after a space the requested JID: so the LID of a phone is learnt."""
    failure: str | None = None
    """A code of the failure vocabulary, or of our own: ``crashed``."""
    detail: str | None = None
    tries: int = 0
    """1 if the failure was caused by the message itself."""
    due_at: float | None = None
    look_at: float | None = None
    """For an uncertain message, when Evolution's store is read. None: a person decides."""


class CallStarted(msgspec.Struct, frozen=True):
    """A claimed message is about to be sent. It is journaled before the call, so its field names are a storage format.

    A database that was set back behind the claim learns from it that the message must not be sent again.
    """

    attempt: UUID
    message: UUID
    fence: int
    started_at: float
    chosen_id: ExternalId


class OptedOut(msgspec.Struct, frozen=True):
    """A contact wrote one of the words that end campaigns."""

    address: Address
    word: str
    external_id: ExternalId
    confirmation: str | None = None
    """The text that is sent in reply; None for a message that is not live."""


MessageFact = (
    MessageArrived | StatusReported | MessageEdited | MessageDeleted | ReactionReported | VoteReported | ContactSeen
    | SendAnswered | CallStarted | OptedOut | SecretSeen | EncryptedReport
)  # fmt: skip
