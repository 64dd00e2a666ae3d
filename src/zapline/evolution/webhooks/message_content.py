"""Reads the content of a message body: removes its wrappers and chooses the reader by the content's key.

``messageType`` is only a hint in every version (contract, section 2), so it is not used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.messages.facts import MediaInfo, MessageKind
from zapline.evolution.webhooks.contents import buttons_and_lists, cards_and_places, trade
from zapline.evolution.webhooks.contents.content import MessageContent
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

BESIDE_CONTENT = frozenset(
    {
        "messageContextInfo",
        "senderKeyDistributionMessage",
        "fastRatchetKeySenderKeyDistributionMessage",
        "base64",
        "mediaUrl",
        "contextInfo",
        "speechToText",
        "statusLinkPreviewMetadata",
    }
)
"""Keys beside the content, or alone, that are no content themselves."""

_VIEW_ONCE = frozenset({"viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension"})
WRAPPERS = _VIEW_ONCE | {
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
    "questionMessage",
    "questionReplyMessage",
    "statusAddYours",
    "limitSharingMessage",
    "botTaskMessage",
    "botForwardedMessage",
    "botPlatformRegistrationSuccessMessage",
    "spoilerMessage",
}
REPORTS = frozenset(
    {
        "protocolMessage",
        "reactionMessage",
        "pollUpdateMessage",
        "secretEncryptedMessage",
        "encEventResponseMessage",
    }
)
"""Reports about another message; :mod:`zapline.evolution.webhooks.message_events` hands them on."""

UNREADABLE: Mapping[str, str] = {
    "groupStatusMessage": "group_status",
    "groupStatusMessageV2": "group_status",
    "statusMentionMessage": "status_mention",
    "groupStatusMentionMessage": "status_mention",
    "statusNotificationMessage": "status_notification",
    "statusStickerInteractionMessage": "status_sticker",
    "newsletterAdminProfileMessage": "newsletter_profile",
    "newsletterAdminProfileStatusMessage": "newsletter_profile",
    "encReactionMessage": "encrypted_reaction",
    "encCommentMessage": "encrypted_comment",
    "conditionalRevealMessage": "encrypted_until_revealed",
    "groupRootKeyShare": "key_distribution",
    "rootSecretDistributeMessage": "key_distribution",
    "stickerSyncRmrMessage": "sticker_sync",
    "messageHistoryBundle": "message_history",
    "messageHistoryNotice": "message_history",
    "requestPhoneNumberMessage": "phone_number_request",
    "pollAddOptionMessage": "poll_option_added",
    "splitPaymentUpdateMessage": "split_payment_update",
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
    about: JsonObject = field(default_factory=dict)
    """The key of the message that a wrapper is about: a comment's."""


UNKNOWN = MessageContent(MessageKind.UNKNOWN)
NOT_UNDERSTOOD = (MessageKind.UNKNOWN, MessageKind.PLACEHOLDER)
"""Kinds that a later report, or a later version of Zapline, may replace."""


def unwrap(message: JsonObject) -> UnwrappedBody:
    """Remove the wrappers; below :data:`DEEPEST` of them the content counts as not understood."""
    view_once = edited = False
    about: JsonObject = {}
    for _ in range(DEEPEST):
        name = _content_key(message)
        if name is None:
            return UnwrappedBody(None, None, message, view_once, edited, about)
        value = message[name]
        if name not in WRAPPERS and (name in CONTENT_KEYS or not isinstance(value, dict)):
            return UnwrappedBody(name, value, message, view_once, edited, about)
        inner = value.get("message") if isinstance(value, dict) else None
        if not isinstance(inner, dict):
            return UnwrappedBody(name, value, message, view_once, edited, about)
        view_once = view_once or name in _VIEW_ONCE
        edited = edited or name == "editedMessage"
        about = about or obj(value.get("targetMessageKey"))
        message = inner
    return UnwrappedBody("too_deep", None, message, view_once, edited, about)


def _content_key(message: JsonObject) -> str | None:
    """The first key that is understood, else the first that may be a content."""
    other: str | None = None
    for name, value in message.items():
        if name in BESIDE_CONTENT or value is None:
            continue
        if name in CONTENT_KEYS or name in WRAPPERS:
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
    if reader is not None:
        return reader(value)
    # A kind of tomorrow: its name tells at least what the phone shows.
    return MessageContent(MessageKind.UNKNOWN, detail=without_none(content=short_text(name, 60)))


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
    "extendedTextMessage": cards_and_places.extended_text,
    "locationMessage": cards_and_places.location,
    "liveLocationMessage": cards_and_places.live_location,
    "contactMessage": cards_and_places.contact,
    "contactsArrayMessage": cards_and_places.contacts,
    "pollCreationMessage": cards_and_places.poll,
    "pollCreationMessageV2": cards_and_places.poll,
    "pollCreationMessageV3": cards_and_places.poll,
    "pollCreationMessageV4": cards_and_places.poll,
    "pollCreationMessageV5": cards_and_places.poll,
    "pollCreationMessageV6": cards_and_places.poll,
    "buttonsResponseMessage": buttons_and_lists.button_reply,
    "listResponseMessage": buttons_and_lists.list_reply,
    "templateButtonReplyMessage": buttons_and_lists.template_reply,
    "interactiveResponseMessage": buttons_and_lists.interactive_reply,
    "buttonsMessage": buttons_and_lists.buttons,
    "listMessage": buttons_and_lists.list_menu,
    "templateMessage": buttons_and_lists.template,
    "highlyStructuredMessage": buttons_and_lists.structured,
    "interactiveMessage": buttons_and_lists.interactive,
    "albumMessage": trade.album,
    "orderMessage": trade.order,
    "productMessage": trade.product,
    "eventMessage": cards_and_places.event,
    "groupInviteMessage": cards_and_places.group_invite,
    "requestPaymentMessage": trade.payment("requested"),
    "sendPaymentMessage": trade.payment("sent"),
    "declinePaymentRequestMessage": trade.payment("declined"),
    "cancelPaymentRequestMessage": trade.payment("cancelled"),
    "paymentInviteMessage": trade.payment("invited"),
    "invoiceMessage": trade.payment("invoiced"),
    # The three s are WhatsApp's.
    "callLogMesssage": trade.call_log,
    "callLogMessage": trade.call_log,
    "call": trade.group_call,
    "bcallMessage": trade.call_log,
    "scheduledCallCreationMessage": trade.call_log,
    "scheduledCallEditMessage": trade.call_plan_change,
    "placeholderMessage": trade.placeholder,
    "pinInChatMessage": trade.pin,
    "keepInChatMessage": trade.keep,
    "paymentReminderMessage": trade.payment("reminded"),
    "splitPaymentMessage": trade.payment("split"),
    "chat": cards_and_places.shared_chat,
    "pollResultSnapshotMessage": cards_and_places.poll_result,
    "pollResultSnapshotMessageV3": cards_and_places.poll_result,
    "eventInviteMessage": cards_and_places.event_invite,
    "newsletterAdminInviteMessage": cards_and_places.newsletter_invite,
    "newsletterFollowerInviteMessageV2": cards_and_places.newsletter_invite,
    "stickerPackMessage": cards_and_places.sticker_pack,
    "richResponseMessage": cards_and_places.rich_response,
    "musicMessage": cards_and_places.music,
    "statusQuotedMessage": cards_and_places.text_about,
    "statusQuestionAnswerMessage": cards_and_places.text_about,
    "questionResponseMessage": cards_and_places.text_about,
}

CONTENT_KEYS = frozenset({"conversation", *_FILES, *_READERS, *REPORTS, *UNREADABLE})
