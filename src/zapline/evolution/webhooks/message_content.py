"""Decides what a message is from the keys of its body: wrappers off, then one reader per kind.

``messageType`` is only a hint in every version (contract, section 2), so it is not asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.messages.facts import Kind, Media
from zapline.evolution.webhooks import rich_content
from zapline.evolution.webhooks.json_fields import Obj, digest, note, obj, present, small, text, whole
from zapline.evolution.webhooks.rich_content import Card

DEEPEST = 8
"""Wrappers inside wrappers: three are seen in real traffic."""

_BESIDE = frozenset(
    {
        "messageContextInfo",
        "senderKeyDistributionMessage",
        "fastRatchetKeySenderKeyDistributionMessage",
        "base64",
        "mediaUrl",
        "contextInfo",
    }
)
"""Stands next to the content, or alone, and is none."""

_VIEW_ONCE = frozenset({"viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension"})
_WRAPPERS = _VIEW_ONCE | {
    "ephemeralMessage",
    "documentWithCaptionMessage",
    "deviceSentMessage",
    "botInvokeMessage",
    "groupMentionedMessage",
    "associatedChildMessage",
    "lottieStickerMessage",
    "editedMessage",
    "commentMessage",
    "eventCoverImage",
    "pollCreationOptionImageMessage",
    "pollCreationMessageV4",
    "pollCreationMessageV6",
}
_CONTROL = frozenset({"protocolMessage", "reactionMessage", "pollUpdateMessage"})
"""Say something about another message; read in :mod:`zapline.evolution.webhooks.message_updates`."""

UNREADABLE: Mapping[str, str] = {
    "groupStatusMessage": "group_status",
    "groupStatusMessageV2": "group_status",
    "statusMentionMessage": "status_mention",
    "groupStatusMentionMessage": "status_mention",
    "pinInChatMessage": "pin",
    "keepInChatMessage": "keep",
    "encReactionMessage": "encrypted_report",
    "encCommentMessage": "encrypted_report",
    "encEventResponseMessage": "encrypted_report",
    "secretEncryptedMessage": "encrypted_report",
    "stickerSyncRmrMessage": "protocol",
    "messageHistoryBundle": "protocol",
    "messageHistoryNotice": "protocol",
    "requestPhoneNumberMessage": "protocol",
}
"""Content key -> why nothing of it is kept: a person has nothing to read in it."""


@dataclass(frozen=True, slots=True)
class Peeled:
    """A body without its wrappers."""

    name: str | None
    """The content's key; ``None``: there is none."""
    value: Any
    holder: Obj
    """The object that ``name`` stands in."""
    view_once: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, apart from who, when and where."""

    kind: Kind
    text: str | None = None
    media: Media | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


UNKNOWN = Content(Kind.UNKNOWN)


def peel(message: Obj) -> Peeled:
    """Take the wrappers off; below :data:`DEEPEST` of them the content counts as not understood."""
    view_once = edited = False
    for _ in range(DEEPEST):
        name = _content_key(message)
        if name is None:
            return Peeled(None, None, message, view_once, edited)
        value = message[name]
        if name not in _WRAPPERS and (name in _KNOWN or not isinstance(value, dict)):
            return Peeled(name, value, message, view_once, edited)
        inner = value.get("message") if isinstance(value, dict) else None
        if not isinstance(inner, dict):
            return Peeled(name, value, message, view_once, edited)
        view_once = view_once or name in _VIEW_ONCE
        edited = edited or name == "editedMessage"
        message = inner
    return Peeled("too_deep", None, message, view_once, edited)


def _content_key(message: Obj) -> str | None:
    """The first key that is understood, else the first that may be content."""
    other: str | None = None
    for name, value in message.items():
        if name in _BESIDE or value is None:
            continue
        if name in _KNOWN or name in _WRAPPERS:
            return name
        if other is None:
            other = name
    return other


def read(peeled: Peeled) -> Content:
    """The content of a peeled body; :data:`UNKNOWN` for what has no reader or the wrong type."""
    name, value = peeled.name, peeled.value
    if name == "conversation":
        said = text(value)
        return UNKNOWN if said is None else Content(Kind.TEXT, said)
    if name is None or not isinstance(value, dict):
        return UNKNOWN
    kind = _FILES.get(name)
    if kind is not None:
        return _file(kind, name, value, peeled.holder)
    reader = _CARDS.get(name)
    if reader is None:
        return UNKNOWN
    card = reader(value)
    return Content(card.kind, card.text, None, card.detail)


def _file(kind: Kind, name: str, value: Obj, holder: Obj) -> Content:
    detail: dict[str, object] = {}
    file_name = note(value.get("fileName"), 300)
    if kind is Kind.AUDIO and value.get("ptt") is True:
        kind = Kind.VOICE
    elif kind is Kind.DOCUMENT:
        file_name = file_name or note(value.get("title"), 300)
        detail = present(pages=small(value.get("pageCount")))
    elif kind is Kind.STICKER:
        detail = present(animated=True if value.get("isAnimated") is True else None)
    elif kind is Kind.VIDEO:
        detail = present(
            round=True if name == "ptvMessage" else None,
            gif=True if value.get("gifPlayback") is True else None,
        )
    media = Media(
        mimetype=note(value.get("mimetype"), 200),
        file_name=file_name,
        size=whole(value.get("fileLength")),
        seconds=small(value.get("seconds")),
        width=small(value.get("width")),
        height=small(value.get("height")),
        sha256=digest(value.get("fileSha256")),
        url=note(holder.get("mediaUrl")),
    )
    return Content(kind, note(value.get("caption"), 2 * 65536), media, detail)


_FILES = {
    "imageMessage": Kind.IMAGE,
    "videoMessage": Kind.VIDEO,
    "ptvMessage": Kind.VIDEO,
    "audioMessage": Kind.AUDIO,
    "documentMessage": Kind.DOCUMENT,
    "stickerMessage": Kind.STICKER,
}

_CARDS: Mapping[str, Callable[[Obj], Card]] = {
    "extendedTextMessage": rich_content.extended_text,
    "locationMessage": rich_content.location,
    "liveLocationMessage": rich_content.live_location,
    "contactMessage": rich_content.contact,
    "contactsArrayMessage": rich_content.contacts,
    "pollCreationMessage": rich_content.poll,
    "pollCreationMessageV2": rich_content.poll,
    "pollCreationMessageV3": rich_content.poll,
    "pollCreationMessageV4": rich_content.poll,
    "pollCreationMessageV5": rich_content.poll,
    "pollCreationMessageV6": rich_content.poll,
    "buttonsResponseMessage": rich_content.button_reply,
    "listResponseMessage": rich_content.list_reply,
    "templateButtonReplyMessage": rich_content.template_reply,
    "interactiveResponseMessage": rich_content.interactive_reply,
    "buttonsMessage": rich_content.buttons,
    "listMessage": rich_content.list_menu,
    "templateMessage": rich_content.template,
    "highlyStructuredMessage": rich_content.structured,
    "interactiveMessage": rich_content.interactive,
    "albumMessage": rich_content.album,
    "orderMessage": rich_content.order,
    "productMessage": rich_content.product,
    "eventMessage": rich_content.event,
    "groupInviteMessage": rich_content.group_invite,
    "requestPaymentMessage": rich_content.payment("requested"),
    "sendPaymentMessage": rich_content.payment("sent"),
    "declinePaymentRequestMessage": rich_content.payment("declined"),
    "cancelPaymentRequestMessage": rich_content.payment("cancelled"),
    "paymentInviteMessage": rich_content.payment("invited"),
    "invoiceMessage": rich_content.payment("invoiced"),
    # The three s are WhatsApp's.
    "callLogMesssage": rich_content.call_log,
    "callLogMessage": rich_content.call_log,
    "call": rich_content.call_log,
    "bcallMessage": rich_content.call_log,
    "scheduledCallCreationMessage": rich_content.call_log,
    "placeholderMessage": rich_content.placeholder,
}

_KNOWN = frozenset({"conversation", *_FILES, *_CARDS, *_CONTROL, *UNREADABLE})


def album_of(message: Obj) -> str | None:
    """The id of the album that a picture is part of, told beside the content."""
    association = obj(obj(message.get("messageContextInfo")).get("messageAssociation"))
    return note(obj(association.get("parentMessageKey")).get("id"), 200)
