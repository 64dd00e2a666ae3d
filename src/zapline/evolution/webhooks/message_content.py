"""Reads the content of a message body: removes its wrappers and chooses the reader by the content's key.

``messageType`` is only a hint in every version (contract, section 2), so it is not used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zapline.domain.messages.facts import MediaInfo, MessageKind
from zapline.evolution.webhooks import content_readers
from zapline.evolution.webhooks.content_readers import MessageContent
from zapline.evolution.webhooks.json_fields import (
    JsonObject,
    digest,
    int32,
    obj,
    short_text,
    text,
    whole_number,
    without_none,
)

DEEPEST = 8
"""Wrappers inside wrappers; real traffic has up to three."""

_BESIDE_CONTENT = frozenset(
    {
        "messageContextInfo",
        "senderKeyDistributionMessage",
        "fastRatchetKeySenderKeyDistributionMessage",
        "base64",
        "mediaUrl",
        "contextInfo",
    }
)
"""Keys beside the content, or alone, that are no content themselves."""

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
REPORTS = frozenset({"protocolMessage", "reactionMessage", "pollUpdateMessage"})
"""Reports about another message; :mod:`zapline.evolution.webhooks.message_events` hands them on."""

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
"""Content key -> reason under which the message is ignored: it holds nothing that a person could read."""


@dataclass(frozen=True, slots=True)
class UnwrappedBody:
    """A message body without its wrappers."""

    name: str | None
    """The key of the content; ``None``: there is none."""
    value: Any
    holder: JsonObject
    """The object that has the key ``name``."""
    view_once: bool = False
    edited: bool = False


UNKNOWN = MessageContent(MessageKind.UNKNOWN)
NOT_UNDERSTOOD = (MessageKind.UNKNOWN, MessageKind.PLACEHOLDER)
"""Kinds that a later report, or a later version of Zapline, may replace."""


def unwrap(message: JsonObject) -> UnwrappedBody:
    """Remove the wrappers; below :data:`DEEPEST` of them the content counts as not understood."""
    view_once = edited = False
    for _ in range(DEEPEST):
        name = _content_key(message)
        if name is None:
            return UnwrappedBody(None, None, message, view_once, edited)
        value = message[name]
        if name not in _WRAPPERS and (name in _KNOWN or not isinstance(value, dict)):
            return UnwrappedBody(name, value, message, view_once, edited)
        inner = value.get("message") if isinstance(value, dict) else None
        if not isinstance(inner, dict):
            return UnwrappedBody(name, value, message, view_once, edited)
        view_once = view_once or name in _VIEW_ONCE
        edited = edited or name == "editedMessage"
        message = inner
    return UnwrappedBody("too_deep", None, message, view_once, edited)


def _content_key(message: JsonObject) -> str | None:
    """The first key that is understood, else the first that may be a content."""
    other: str | None = None
    for name, value in message.items():
        if name in _BESIDE_CONTENT or value is None:
            continue
        if name in _KNOWN or name in _WRAPPERS:
            return name
        if other is None:
            other = name
    return other


def read_content(unwrapped: UnwrappedBody) -> MessageContent:
    """The content of an unwrapped body; :data:`UNKNOWN` for a key without a reader or a value of the wrong type."""
    name, value = unwrapped.name, unwrapped.value
    if name == "conversation":
        body = text(value)
        return UNKNOWN if body is None else MessageContent(MessageKind.TEXT, body)
    if name is None or not isinstance(value, dict):
        return UNKNOWN
    kind = _FILES.get(name)
    if kind is not None:
        return _file(kind, name, value, unwrapped.holder)
    reader = _READERS.get(name)
    return UNKNOWN if reader is None else reader(value)


def _file(kind: MessageKind, name: str, value: JsonObject, holder: JsonObject) -> MessageContent:
    detail: dict[str, object] = {}
    file_name = short_text(value.get("fileName"), 300)
    if kind is MessageKind.AUDIO and value.get("ptt") is True:
        kind = MessageKind.VOICE
    elif kind is MessageKind.DOCUMENT:
        file_name = file_name or short_text(value.get("title"), 300)
        detail = without_none(pages=int32(value.get("pageCount")))
    elif kind is MessageKind.STICKER:
        detail = without_none(animated=True if value.get("isAnimated") is True else None)
    elif kind is MessageKind.VIDEO:
        detail = without_none(
            round=True if name == "ptvMessage" else None,
            gif=True if value.get("gifPlayback") is True else None,
        )
    media = MediaInfo(
        mimetype=short_text(value.get("mimetype"), 200),
        file_name=file_name,
        size=whole_number(value.get("fileLength")),
        seconds=int32(value.get("seconds")),
        width=int32(value.get("width")),
        height=int32(value.get("height")),
        sha256=digest(value.get("fileSha256")),
        url=short_text(holder.get("mediaUrl")),
    )
    return MessageContent(kind, short_text(value.get("caption"), 2 * 65536), detail, media)


_FILES = {
    "imageMessage": MessageKind.IMAGE,
    "videoMessage": MessageKind.VIDEO,
    "ptvMessage": MessageKind.VIDEO,
    "audioMessage": MessageKind.AUDIO,
    "documentMessage": MessageKind.DOCUMENT,
    "stickerMessage": MessageKind.STICKER,
}

_READERS: Mapping[str, Callable[[JsonObject], MessageContent]] = {
    "extendedTextMessage": content_readers.extended_text,
    "locationMessage": content_readers.location,
    "liveLocationMessage": content_readers.live_location,
    "contactMessage": content_readers.contact,
    "contactsArrayMessage": content_readers.contacts,
    "pollCreationMessage": content_readers.poll,
    "pollCreationMessageV2": content_readers.poll,
    "pollCreationMessageV3": content_readers.poll,
    "pollCreationMessageV4": content_readers.poll,
    "pollCreationMessageV5": content_readers.poll,
    "pollCreationMessageV6": content_readers.poll,
    "buttonsResponseMessage": content_readers.button_reply,
    "listResponseMessage": content_readers.list_reply,
    "templateButtonReplyMessage": content_readers.template_reply,
    "interactiveResponseMessage": content_readers.interactive_reply,
    "buttonsMessage": content_readers.buttons,
    "listMessage": content_readers.list_menu,
    "templateMessage": content_readers.template,
    "highlyStructuredMessage": content_readers.structured,
    "interactiveMessage": content_readers.interactive,
    "albumMessage": content_readers.album,
    "orderMessage": content_readers.order,
    "productMessage": content_readers.product,
    "eventMessage": content_readers.event,
    "groupInviteMessage": content_readers.group_invite,
    "requestPaymentMessage": content_readers.payment("requested"),
    "sendPaymentMessage": content_readers.payment("sent"),
    "declinePaymentRequestMessage": content_readers.payment("declined"),
    "cancelPaymentRequestMessage": content_readers.payment("cancelled"),
    "paymentInviteMessage": content_readers.payment("invited"),
    "invoiceMessage": content_readers.payment("invoiced"),
    # The three s are WhatsApp's.
    "callLogMesssage": content_readers.call_log,
    "callLogMessage": content_readers.call_log,
    "call": content_readers.call_log,
    "bcallMessage": content_readers.call_log,
    "scheduledCallCreationMessage": content_readers.call_log,
    "placeholderMessage": content_readers.placeholder,
}

_KNOWN = frozenset({"conversation", *_FILES, *_READERS, *REPORTS, *UNREADABLE})


def album_id(message: JsonObject) -> str | None:
    """The id of the album that a picture is part of; it stands beside the content."""
    association = obj(obj(message.get("messageContextInfo")).get("messageAssociation"))
    return short_text(obj(association.get("parentMessageKey")).get("id"), 200)
