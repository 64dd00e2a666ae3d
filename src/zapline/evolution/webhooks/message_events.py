"""Decides what one message body means: a message, or a report about another one that travels as a message.

Serves messages.upsert, messages.set and send.message, whose elements have one shape (contract, section 2).
"""

from typing import Any

from zapline.domain.contacts.addresses import Address, AddressKind, resolve
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, Parsed, Unusable
from zapline.domain.messages.facts import Kind, MessageArrived, MessageEdited
from zapline.evolution.webhooks import message_updates
from zapline.evolution.webhooks.json_fields import (
    LONGEST_NAME,
    MOST_ITEMS,
    Obj,
    external_id,
    jid,
    moment,
    moment_ms,
    note,
    obj,
    optional_id,
    present,
    small,
)
from zapline.evolution.webhooks.message_content import UNKNOWN, UNREADABLE, Content, Peeled, album_of, peel, read

_CALL_STUBS = frozenset({40, 41, "CALL_MISSED_VOICE", "CALL_MISSED_VIDEO"})
_CIPHERTEXT_STUBS = frozenset({2, "CIPHERTEXT"})
_UNDERSTOOD_LATER = (Kind.UNKNOWN, Kind.PLACEHOLDER)


def message(data: Obj, origin: str, own: str | None) -> list[Parsed]:
    """One element of messages.upsert, messages.set or send.message.

    ``own`` is the line's JID (``sender`` of the envelope), if it is known.
    """
    key = obj(data.get("key"))
    identity = external_id(key.get("id"))
    if isinstance(identity, Unusable):
        return [identity]
    from_me = key.get("fromMe") is True
    chat = chat_of(key, own if from_me else None)
    if chat is None:
        return [Unusable("no_chat")]
    skipped = message_updates.SKIPPED_CHATS.get(chat.kind)
    if skipped is not None:
        return [Ignored(skipped)]
    sender = sender_of(key, data) if chat.kind is AddressKind.GROUP else None

    body = data.get("message")
    if not isinstance(body, dict):
        return [_without_body(data, identity, chat, sender, from_me, origin)]
    peeled = peel(body)
    name = peeled.name
    if name is None:
        absent = _nothing_to_read(body)
        if absent is not None:
            return [absent]
    elif name in UNREADABLE:
        return [Ignored(UNREADABLE[name])]
    elif name in ("protocolMessage", "reactionMessage", "pollUpdateMessage"):
        actor = "me" if from_me else (sender or chat).canonical
        return message_updates.carried(name, obj(peeled.value), data, actor, own)
    arrived = _arrived(data, identity, chat, sender, from_me, origin, peeled)
    if peeled.edited and arrived.text is not None:
        # An edit without the protocol message around it: the id is the original's, the text the newest.
        edited_at = moment_ms(data.get("messageTimestamp"))
        return [arrived, MessageEdited(identity, arrived.text, edited_at)]
    return [arrived]


def _nothing_to_read(body: Obj) -> Ignored | None:
    """A body that only carries keys and context says nothing; a bare ``base64`` is a file of unknown kind."""
    if "base64" in body or "mediaUrl" in body:
        return None
    if "senderKeyDistributionMessage" in body or "fastRatchetKeySenderKeyDistributionMessage" in body:
        return Ignored("key_distribution")
    if "messageContextInfo" in body:
        return Ignored("context_only")
    return None


def _without_body(
    data: Obj, identity: ExternalId, chat: Address, sender: Address | None, from_me: bool, origin: str
) -> Parsed:
    """No ``message`` at all: a note of the system, a missed call, or a body that is not decrypted yet."""
    stub = data.get("messageStubType")
    if type(stub) in (int, str) and stub:
        if stub in _CALL_STUBS:
            nothing = Peeled("call", {}, {})
            return _arrived(data, identity, chat, sender, from_me, origin, nothing)
        if stub not in _CIPHERTEXT_STUBS:
            return Ignored("system_notice")
    return _arrived(data, identity, chat, sender, from_me, origin, Peeled(None, None, {}))


def _arrived(
    data: Obj,
    identity: ExternalId,
    chat: Address,
    sender: Address | None,
    from_me: bool,
    origin: str,
    peeled: Peeled,
) -> MessageArrived:
    content: Content = UNKNOWN if peeled.name is None else read(peeled)
    inner = peeled.value.get("contextInfo") if isinstance(peeled.value, dict) else None
    outer = data.get("contextInfo")
    context: Obj = (obj(outer) | obj(inner)) if inner and outer else obj(inner or outer)
    detail = content.detail
    if context:
        detail = {**detail, **_context_detail(context)}
    album = album_of(obj(data.get("message")))
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
        sent_at=moment(data.get("messageTimestamp")),
        delivery=message_updates.delivery(data.get("status")),
        quoted_id=optional_id(context.get("stanzaId")),
        forwarded=context.get("isForwarded") is True or bool(small(context.get("forwardingScore"))),
        view_once=peeled.view_once or (isinstance(peeled.value, dict) and peeled.value.get("viewOnce") is True),
        expires_after=small(context.get("expiration")) or None,
        source=note(data.get("source"), 20),
        origin=origin,
        keep_raw=content.kind in _UNDERSTOOD_LATER,
    )


# -- who ---------------------------------------------------------------------------------------------------


def chat_of(key: Obj, own: str | None) -> Address | None:
    """The chat that a key names, with every alias that its version gives.

    For our own messages (``own`` given) ``senderPn`` and ``senderLid`` are those of the sender, us, and
    2.3.0 even puts our number in the place of the contact: no alias may tie our number to the contact.
    """
    first = jid(key.get("remoteJid"))
    if first is not None and first.endswith("@g.us"):
        return resolve(first)
    alias, previous = jid(key.get("remoteJidAlt")), jid(key.get("previousRemoteJid"))
    sender_pn, sender_lid = jid(key.get("senderPn")), jid(key.get("senderLid"))
    if key.get("fromMe") is not True:
        return resolve(first, alias, sender_pn, sender_lid, previous)
    mine = resolve(own)
    if mine is None or mine.phone is None:
        return resolve(first, alias, previous)
    if (lone := resolve(first)) is not None and lone.phone == mine.phone:
        if previous is not None and previous != sender_lid:
            return resolve(previous)
        return resolve(first, alias)
    others = [
        other
        for other in (alias, previous, sender_pn)
        if (known := resolve(other)) is not None and known.phone != mine.phone
    ]
    return resolve(first, *others)


def sender_of(key: Obj, data: Obj) -> Address | None:
    """Who wrote in a group, or ``None`` when no version's field says it."""
    sender = resolve(
        jid(key.get("participant")) or jid(data.get("participant")),
        jid(key.get("participantAlt")),
        jid(key.get("participantPn")),
        jid(key.get("participantLid")),
        jid(key.get("senderPn")),
        jid(key.get("senderLid")),
    )
    return sender if sender is not None and sender.kind is AddressKind.PERSON else None


def push_name(value: Any, whose: Address) -> str | None:
    """A name; not the digits of the JID, which Evolution puts where it knows no name."""
    name = note(value, LONGEST_NAME)
    if name is None or not name.strip():
        return None
    if any(each.partition("@")[0] == name for each in whose.jids):
        return None
    return name


# -- where from ------------------------------------------------------------------------------------------


def _context_detail(context: Obj) -> dict[str, object]:
    ad = _ad(context)
    mentioned = context.get("mentionedJid")
    if not mentioned or not isinstance(mentioned, list):
        return {"ad": ad} if ad else {}
    people = [resolve(jid(each)) for each in mentioned[:MOST_ITEMS]]
    mentions = [person.canonical for person in people if person is not None]
    return present(ad=ad or None, mentions=mentions or None)


def _ad(context: Obj) -> dict[str, object]:
    """The advertisement that led here, as far as WhatsApp tells."""
    reply = context.get("externalAdReply")
    if reply is None and "conversionSource" not in context and "entryPointConversionSource" not in context:
        return {}
    reply = obj(reply)
    return present(
        title=note(reply.get("title")),
        body=note(reply.get("body")),
        source_type=note(reply.get("sourceType"), 40),
        source_id=note(reply.get("sourceId"), 200),
        source_url=note(reply.get("sourceUrl")),
        media_url=note(reply.get("mediaUrl")),
        click_id=note(reply.get("ctwaClid"), 500) or note(context.get("ctwaClid"), 500),
        ref=note(reply.get("ref"), 500),
        conversion_source=note(context.get("conversionSource"), 100),
        entry_point=note(context.get("entryPointConversionSource"), 100),
        entry_app=note(context.get("entryPointConversionApp"), 100),
    )
