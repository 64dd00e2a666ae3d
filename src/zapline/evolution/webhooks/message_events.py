"""Parses messages.upsert, messages.set and send.message, whose elements have one shape (contract, section 2).

An element is a message, or an edit, deletion, reaction or vote that is carried by a message.
"""

from zapline.domain.contacts.addresses import Address, AddressKind, resolve_address
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.facts import MessageArrived, MessageEdited
from zapline.evolution.webhooks.chats_and_contacts import SKIPPED_CHATS, chat_address, push_name, sender_address
from zapline.evolution.webhooks.edits_and_deletions import parse_protocol_message
from zapline.evolution.webhooks.json_fields import (
    MAX_ITEMS,
    JsonObject,
    epoch_ms,
    epoch_seconds,
    external_id,
    int32,
    jid,
    obj,
    optional_id,
    short_text,
    short_texts,
    without_none,
)
from zapline.evolution.webhooks.message_content import (
    NOT_UNDERSTOOD,
    UNKNOWN,
    UNREADABLE,
    UnwrappedBody,
    album_id,
    read_content,
    unwrap,
)
from zapline.evolution.webhooks.reactions_and_votes import parse_reaction, parse_vote
from zapline.evolution.webhooks.status_updates import parse_delivery_status

_CALL_STUBS = frozenset({40, 41, "CALL_MISSED_VOICE", "CALL_MISSED_VIDEO"})
_CIPHERTEXT_STUBS = frozenset({2, "CIPHERTEXT"})


def parse_message(data: JsonObject, origin: str, own: str | None) -> list[InboundEvent]:
    """Parse one element of messages.upsert, messages.set or send.message.

    ``own`` is the line's JID (``sender`` of the envelope), if it is known.
    """
    key = obj(data.get("key"))
    identity = external_id(key.get("id"))
    if isinstance(identity, Unusable):
        return [identity]
    from_me = key.get("fromMe") is True
    chat = chat_address(key, own if from_me else None)
    if chat is None:
        return [Unusable("no_chat")]
    if chat.kind in SKIPPED_CHATS:
        return [Ignored(SKIPPED_CHATS[chat.kind])]
    sender = sender_address(key, data) if chat.kind is AddressKind.GROUP else None

    body = data.get("message")
    if not isinstance(body, dict):
        stub = _stub_body(data)
        return [
            stub if isinstance(stub, Ignored) else _message_arrived(data, identity, chat, sender, from_me, origin, stub)
        ]
    unwrapped = unwrap(body)
    name = unwrapped.name
    if name is None:
        ignored = _content_free(body)
        if ignored is not None:
            return [ignored]
    elif name in UNREADABLE:
        return [Ignored(UNREADABLE[name])]
    elif name in ("protocolMessage", "reactionMessage", "pollUpdateMessage"):
        actor = "me" if from_me else (sender or chat).canonical
        return [_carried_report(name, obj(unwrapped.value), data, actor)]
    arrived = _message_arrived(data, identity, chat, sender, from_me, origin, unwrapped)
    if unwrapped.edited and arrived.text is not None:
        # An edit without a protocol message around it: the id is the original's, the text the newest.
        edited_at = epoch_ms(data.get("messageTimestamp"))
        return [arrived, MessageEdited(identity, arrived.text, edited_at)]
    return [arrived]


def _carried_report(name: str, value: JsonObject, data: JsonObject, actor: str) -> InboundEvent:
    """A protocol message, reaction or vote in the body of a message; ``actor`` is who sent it."""
    sent_at = data.get("messageTimestamp")
    if name == "protocolMessage":
        return parse_protocol_message(value, sent_at)
    if name == "reactionMessage":
        return parse_reaction(value, sent_at, actor)
    return parse_vote(value, data, actor)


def _content_free(body: JsonObject) -> Ignored | None:
    """Why a body without a content key is ignored; a bare ``base64`` is a file of unknown kind."""
    if "base64" in body or "mediaUrl" in body:
        return None
    if "senderKeyDistributionMessage" in body or "fastRatchetKeySenderKeyDistributionMessage" in body:
        return Ignored("key_distribution")
    if "messageContextInfo" in body:
        return Ignored("context_only")
    return None


def _stub_body(data: JsonObject) -> UnwrappedBody | Ignored:
    """The body of an element without ``message``: a system notice, a missed call, or one that is not decrypted yet."""
    stub = data.get("messageStubType")
    if type(stub) in (int, str) and stub:
        if stub in _CALL_STUBS:
            return UnwrappedBody("call", {}, {})
        if stub not in _CIPHERTEXT_STUBS:
            return Ignored("system_notice")
    return UnwrappedBody(None, None, {})


def _message_arrived(
    data: JsonObject,
    identity: ExternalId,
    chat: Address,
    sender: Address | None,
    from_me: bool,
    origin: str,
    unwrapped: UnwrappedBody,
) -> MessageArrived:
    content = UNKNOWN if unwrapped.name is None else read_content(unwrapped)
    inner = unwrapped.value.get("contextInfo") if isinstance(unwrapped.value, dict) else None
    outer = data.get("contextInfo")
    context: JsonObject = (obj(outer) | obj(inner)) if inner and outer else obj(inner or outer)
    detail = content.detail
    if context:
        detail = {**detail, **_context_detail(context)}
    album = album_id(obj(data.get("message")))
    if album is not None:
        detail = {**detail, "album": album}
    return MessageArrived(
        external_id=identity,
        chat=chat,
        from_me=from_me,
        kind=content.kind,
        text=content.text,
        media=content.media,
        detail=detail,
        sender=sender,
        push_name=None if from_me else push_name(data.get("pushName"), sender or chat),
        sent_at=epoch_seconds(data.get("messageTimestamp")),
        delivery=parse_delivery_status(data.get("status")),
        quoted_id=optional_id(context.get("stanzaId")),
        forwarded=context.get("isForwarded") is True or bool(int32(context.get("forwardingScore"))),
        view_once=unwrapped.view_once
        or (isinstance(unwrapped.value, dict) and unwrapped.value.get("viewOnce") is True),
        expires_after=int32(context.get("expiration")) or None,
        source=short_text(data.get("source"), 20),
        origin=origin,
        keep_raw=content.kind in NOT_UNDERSTOOD,
    )


def _context_detail(context: JsonObject) -> dict[str, object]:
    ad = _advertisement(context)
    mentioned = context.get("mentionedJid")
    if not mentioned or not isinstance(mentioned, list):
        return {"ad": ad} if ad else {}
    addresses = [resolve_address(jid(raw)) for raw in mentioned[:MAX_ITEMS]]
    mentions = [address.canonical for address in addresses if address is not None]
    return without_none(ad=ad or None, mentions=mentions or None)


def _advertisement(context: JsonObject) -> dict[str, object]:
    """The advertisement that led to the message, as far as WhatsApp reports it."""
    reply = context.get("externalAdReply")
    if reply is None and "conversionSource" not in context and "entryPointConversionSource" not in context:
        return {}
    reply = obj(reply)
    texts = short_texts(reply, title="title", body="body", source_url="sourceUrl", media_url="mediaUrl")
    return texts | without_none(
        source_type=short_text(reply.get("sourceType"), 40),
        source_id=short_text(reply.get("sourceId"), 200),
        click_id=short_text(reply.get("ctwaClid"), 500) or short_text(context.get("ctwaClid"), 500),
        ref=short_text(reply.get("ref"), 500),
        conversion_source=short_text(context.get("conversionSource"), 100),
        entry_point=short_text(context.get("entryPointConversionSource"), 100),
        entry_app=short_text(context.get("entryPointConversionApp"), 100),
    )
