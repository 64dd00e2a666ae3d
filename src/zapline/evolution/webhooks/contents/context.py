"""Reads what stands around a content: what it answers, the advertisement that led to it, whom it mentions.

WhatsApp puts it inside the content; Evolution 2.3.7 beside the message; a server that cuts a text down to
``conversation`` may leave it in ``messageContextInfo``.
"""

from typing import Any

from zapline.domain.contacts.addresses import AddressKind, resolve_address
from zapline.domain.ids import ExternalId
from zapline.evolution.webhooks.chats_and_contacts import STATUS_JID
from zapline.evolution.webhooks.json_fields import (
    MAX_ITEMS,
    JsonObject,
    jid,
    obj,
    objects,
    short_text,
    short_texts,
    without_none,
)
from zapline.evolution.webhooks.message_content import NOT_UNDERSTOOD, UnwrappedBody, read_content, unwrap

LONGEST_QUOTE = 1000
"""Characters kept of a text that is quoted; the whole is in the message itself."""


def gather_context(data: JsonObject, unwrapped: UnwrappedBody) -> JsonObject:
    """Everything that is told around a content, from all places; what stands nearest to the content counts first."""
    value, message = unwrapped.value, data.get("message")
    inside = value.get("contextInfo") if isinstance(value, dict) else None
    beside = data.get("contextInfo")
    if message is unwrapped.holder:
        others: tuple[Any, ...] = (message.get("contextInfo"), message.get("messageContextInfo"))
    else:
        outer, holder = obj(message), unwrapped.holder
        others = (
            holder.get("contextInfo"), holder.get("messageContextInfo"),
            outer.get("contextInfo"), outer.get("messageContextInfo"),
        )  # fmt: skip
    places = [place for place in (inside, beside, *others) if isinstance(place, dict)]
    if len(places) < 2:
        return places[0] if places else {}
    merged: JsonObject = {}
    for place in places:
        for name, found in place.items():
            if name not in merged and found not in (None, "", [], {}):
                merged[name] = found
    return merged


def about_key(unwrapped: UnwrappedBody) -> JsonObject:
    """The key of the message that a content is about: a pin, a comment, an answer to a question or to a status."""
    value = obj(unwrapped.value)
    for name in _ABOUT.get(unwrapped.name or "", ()):
        if isinstance(value.get(name), dict):
            return obj(value[name])
    return unwrapped.about


_ABOUT = {
    "pinInChatMessage": ("key",),
    "keepInChatMessage": ("key",),
    "scheduledCallEditMessage": ("key",),
    "statusQuestionAnswerMessage": ("key",),
    "questionResponseMessage": ("key",),
    "statusQuotedMessage": ("originalStatusId", "originalStatusID"),
    "pollAddOptionMessage": ("pollCreationMessageKey",),
    "orderMessage": ("orderRequestMessageId",),
    "sendPaymentMessage": ("requestMessageKey",),
    "declinePaymentRequestMessage": ("key",),
    "cancelPaymentRequestMessage": ("key",),
}


def read_quote(
    identity: ExternalId | None, context: JsonObject, about: JsonObject, chat: str, own: str | None
) -> JsonObject | None:
    """What the message answers, as the API shows it; None where nothing but ``identity``, its id, is told.

    ``chat``: canonical address of the conversation; ``own``: the line's JID. ``fromMe`` is null where the author has
    a LID of which nobody knows yet whose it is.
    """
    quoted = _quoted_message(context)
    author = resolve_address(jid(context.get("participant")) or jid(about.get("participant")))
    status = STATUS_JID in (context.get("remoteJid"), about.get("remoteJid"))
    if quoted is None and author is None and not status:
        return None
    unwrapped = unwrap(quoted) if quoted is not None else None
    content = read_content(unwrapped) if unwrapped is not None else None
    if content is not None and content.kind in NOT_UNDERSTOOD:
        content = None
    text = content.text if content is not None else None
    if not text and content is not None and content.media is not None:
        text = content.media.file_name
    canonical = author.canonical if author is not None else None
    return {
        "id": identity,
        "kind": content.kind.value if content is not None else None,
        "text": text[:LONGEST_QUOTE] if text else None,
        "author": canonical,
        "fromMe": _is_ours(canonical, chat, own),
        "status": status,
    }


def _quoted_message(context: JsonObject) -> JsonObject | None:
    quoted = context.get("quotedMessage")
    if isinstance(quoted, dict) and quoted:
        return quoted
    question = obj(context.get("questionReplyQuotedMessage"))
    return obj(question.get("quotedQuestion")) or obj(question.get("quotedResponse")) or None


def _is_ours(author: str | None, chat: str, own: str | None) -> bool | None:
    if author is None:
        return None
    mine = resolve_address(own)
    if mine is not None and author == mine.canonical:
        return True
    if author == chat:
        return False
    if chat.startswith(f"{AddressKind.GROUP.value}:"):
        return None if author.startswith("lid:") else False
    # A conversation of two: who is not the one is the other, unless one of them is named by a LID alone.
    return None if author.startswith("lid:") != chat.startswith("lid:") else True


def context_detail(context: JsonObject) -> dict[str, object]:
    """The advertisement and the mentions."""
    detail: dict[str, object] = {}
    ad = _advertisement(context)
    if ad:
        detail["ad"] = ad
    mentioned = context.get("mentionedJid")
    if mentioned and isinstance(mentioned, list):
        addresses = [resolve_address(jid(raw)) for raw in mentioned[:MAX_ITEMS]]
        mentions = [address.canonical for address in addresses if address is not None]
        if mentions:
            detail["mentions"] = mentions
    groups = objects(context.get("groupMentions"))
    if groups:
        detail |= without_none(group_mentions=[short_text(group.get("groupSubject")) or "" for group in groups])
    if context.get("isQuestion") is True:
        detail["question"] = True
    return detail


_AD_KEYS = (
    "externalAdReply",
    "quotedAd",
    "conversionSource",
    "entryPointConversionSource",
    "entryPointConversionExternalSource",
    "ctwaClid",
    "ctwaSignals",
    "utm",
    "smbClientCampaignId",
    "smbServerCampaignId",
)


def _advertisement(context: JsonObject) -> dict[str, object]:
    """The advertisement that led to the message, as far as WhatsApp reports it."""
    if not any(name in context for name in _AD_KEYS):
        return {}
    reply, quoted, utm = obj(context.get("externalAdReply")), obj(context.get("quotedAd")), obj(context.get("utm"))
    texts = short_texts(reply, title="title", body="body", source_url="sourceUrl", media_url="mediaUrl")
    texts |= _first_texts(texts, short_texts(quoted, title="advertiserName", body="caption"))
    texts |= short_texts(reply, greeting="greetingMessageBody", thumbnail_url="thumbnailUrl")
    texts |= short_texts(reply, image_url="originalImageUrl", website_url="wtwaWebsiteUrl", preview_url="adPreviewUrl")
    texts |= short_texts(context, client_campaign="smbClientCampaignId", server_campaign="smbServerCampaignId")
    return texts | without_none(
        source_type=short_text(reply.get("sourceType"), 40),
        source_id=short_text(reply.get("sourceId"), 200),
        source_app=short_text(reply.get("sourceApp"), 40),
        media_type=_media_type(reply.get("mediaType")),
        click_id=short_text(reply.get("ctwaClid"), 500) or short_text(context.get("ctwaClid"), 500),
        ref=short_text(reply.get("ref"), 500),
        signals=short_text(context.get("ctwaSignals"), 500),
        conversion_source=short_text(context.get("conversionSource"), 100),
        entry_point=short_text(context.get("entryPointConversionSource"), 100),
        entry_app=short_text(context.get("entryPointConversionApp"), 100),
        external_source=short_text(context.get("entryPointConversionExternalSource"), 200),
        external_medium=short_text(context.get("entryPointConversionExternalMedium"), 200),
        utm_source=short_text(utm.get("utmSource"), 200),
        utm_campaign=short_text(utm.get("utmCampaign"), 200),
    )


def _first_texts(known: dict[str, object], others: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in others.items() if name not in known}


def _media_type(value: Any) -> str | None:
    return (
        {1: "image", 2: "video", "IMAGE": "image", "VIDEO": "video"}.get(value) if type(value) in (int, str) else None
    )
