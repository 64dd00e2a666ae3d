"""Parses messages.upsert, messages.set and send.message, whose elements have one shape (contract, section 2).

An element is a message, or an edit, deletion, reaction or vote that is carried by a message.
"""

import msgspec

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.facts import MessageArrived, MessageDeleted, MessageEdited, MessageKind
from zapline.evolution.webhooks.calls import CALL_STUBS, missed_call
from zapline.evolution.webhooks.chats_and_contacts import (
    SKIPPED_CHATS,
    chat_address,
    is_broadcast_list,
    own_name,
    push_name,
    renamed_group,
    sender_address,
    usernames,
)
from zapline.evolution.webhooks.contents.associations import association, better_copy, part_detail
from zapline.evolution.webhooks.contents.context import about_key, context_detail, gather_context, read_quote
from zapline.evolution.webhooks.contents.plain_texts import plain_text
from zapline.evolution.webhooks.edits_and_deletions import parse_protocol_message
from zapline.evolution.webhooks.encrypted.encrypted_reports import (
    ENCRYPTED,
    own_lid,
    parse_encrypted,
    parse_encrypted_vote,
    parse_secret,
)
from zapline.evolution.webhooks.json_fields import (
    LONGEST_TEXT,
    JsonObject,
    epoch_ms,
    epoch_seconds,
    external_id,
    int32,
    obj,
    optional_id,
    short_text,
    without_none,
)
from zapline.evolution.webhooks.message_content import (
    NOT_UNDERSTOOD,
    UNKNOWN,
    UNREADABLE,
    UnwrappedBody,
    read_content,
    unwrap,
)
from zapline.evolution.webhooks.reactions_and_votes import (
    event_answers,
    merged_reactions,
    parse_reaction,
    parse_vote,
    tallied_votes,
)
from zapline.evolution.webhooks.status_updates import merged_receipts, parse_delivery_status

_CIPHERTEXT_STUBS = frozenset({2, "CIPHERTEXT", 47, "PAYMENT_CIPHERTEXT"})
_REVOKE_STUBS = frozenset({1, "REVOKE", 132, "ADMIN_REVOKE"})


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

    at = epoch_seconds(data.get("messageTimestamp"))
    named = usernames(key, chat, sender, at)
    renamed = renamed_group(data, chat, at)
    if renamed is not None:
        return [renamed, *named]
    body = data.get("message")
    actor = "me" if from_me else (sender or chat).canonical
    if not isinstance(body, dict):
        events = _without_message(data, identity, _Place(chat, sender, from_me, origin, own))
    else:
        events = _with_message(body, data, identity, _Place(chat, sender, from_me, origin, own), actor)
    if not _MERGED_IN.isdisjoint(data) and isinstance(events[0], MessageArrived):
        events += _merged_in(data, identity, _Place(chat, sender, from_me, origin, own))
    return [*events, *named] if named else events


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where an element was found: its chat, the author in a group, and how it came."""

    chat: Address
    sender: Address | None
    from_me: bool
    origin: str
    own: str | None

    @property
    def claim(self) -> Claim:
        return Claim(self.chat, self.from_me, self.sender)


_MERGED_IN = frozenset({"reactions", "userReceipt", "pollUpdates", "eventResponses"})
"""What Baileys' buffer merges into a message that came in the same flush, after a reconnect."""


def _with_message(
    body: JsonObject, data: JsonObject, identity: ExternalId, place: _Place, actor: str
) -> list[InboundEvent]:
    said = plain_text(body, data)
    if said is not None:
        return _with_what_comes_along(_plain_message(data, identity, place, said), identity, body, data, place)
    unwrapped = unwrap(body)
    name = unwrapped.name
    if name is None:
        ignored = _content_free(body)
        if ignored is not None:
            return [ignored]
    elif name in ENCRYPTED:
        told = parse_encrypted(name, obj(unwrapped.value), data, identity, place.chat, place.sender, place.own)
        return [*told, _placeholder(data, identity, place)] if told[0] in _ON_THE_PHONE_ONLY else told
    elif name in UNREADABLE:
        ignored = Ignored(UNREADABLE[name])
        return [ignored, _placeholder(data, identity, place)] if ignored in _ON_THE_PHONE_ONLY else [ignored]
    elif name in ("protocolMessage", "reactionMessage", "pollUpdateMessage"):
        value = obj(unwrapped.value)
        report = _carried_report(name, value, data, actor, place.claim)
        if name == "pollUpdateMessage":
            return parse_encrypted_vote(report, value, data, identity, place.chat, place.sender, place.own)
        return [report]
    arrived = _message_arrived(data, identity, place, unwrapped)
    if unwrapped.edited and arrived.text is not None:
        arrived = msgspec.structs.replace(arrived, edited=True)
    return _with_what_comes_along(arrived, identity, unwrapped.holder, data, place)


def _with_what_comes_along(
    arrived: MessageArrived, identity: ExternalId, holder: JsonObject, data: JsonObject, place: _Place
) -> list[InboundEvent]:
    """The message with its edit, its secret, and the LID of our own number."""
    facts: list[InboundEvent] = [arrived]
    if arrived.edited and arrived.text is not None:
        # An edit without a protocol message around it: the id is the original's, the text the newest.
        edited_at_ms = epoch_ms(data.get("messageTimestamp"))
        facts.append(MessageEdited(arrived.external_id, arrived.text, edited_at_ms, place.claim))
    if (secret := parse_secret(data, holder, identity, place.chat, arrived.kind)) is not None:
        facts.append(secret)
    if place.from_me and (mine := own_lid(obj(data.get("key")), place.own)) is not None:
        facts.append(mine)
    return facts


_ON_THE_PHONE_ONLY = (Ignored("encrypted_unknown_kind"), Ignored("encrypted_comment"))
"""Something was said that nobody here can read: counted, and shown as a message that only the phone has."""


def _placeholder(data: JsonObject, identity: ExternalId, place: _Place) -> MessageArrived:
    return _message_arrived(data, identity, place, UnwrappedBody("placeholderMessage", {}, {}))


def _without_message(data: JsonObject, identity: ExternalId, place: _Place) -> list[InboundEvent]:
    """An element without ``message``: a system notice, a missed call, a deleted or a not yet decrypted message."""
    stub = data.get("messageStubType")
    if type(stub) not in (int, str) or not stub:
        return [_message_arrived(data, identity, place, UnwrappedBody(None, None, {}))]
    if stub in _REVOKE_STUBS:
        # It was there, who wrote it is known, and what it said is told to nobody.
        return [_placeholder(data, identity, place), MessageDeleted(identity, place.claim)]
    if stub in CALL_STUBS:
        return [missed_call(_message_arrived(data, identity, place, UnwrappedBody("call", {}, {})), stub)]
    if stub in _CIPHERTEXT_STUBS:
        return [_placeholder(data, identity, place)]
    return [Ignored("system_notice")]


def _merged_in(data: JsonObject, identity: ExternalId, place: _Place) -> list[InboundEvent]:
    chat, own, by = place.chat, place.own, place.claim
    events = [
        *merged_reactions(identity, data, chat.canonical, own, by),
        *tallied_votes(identity, data, own, by),
        *event_answers(identity, data, chat.canonical, own, by),
    ]
    if place.from_me:
        events += merged_receipts(identity, data, chat)
    return events


def _carried_report(name: str, value: JsonObject, data: JsonObject, actor: str, by: Claim) -> InboundEvent:
    """A protocol message, reaction or vote in the body of a message; ``actor`` is who sent it."""
    sent_at = data.get("messageTimestamp")
    if name == "protocolMessage":
        return parse_protocol_message(value, sent_at, by)
    if name == "reactionMessage":
        return parse_reaction(value, sent_at, actor, by)
    return parse_vote(value, data, actor, by)


def _content_free(body: JsonObject) -> Ignored | None:
    """Why a body without a content key is ignored; a bare ``base64`` is a file of unknown kind."""
    if "base64" in body or "mediaUrl" in body:
        return None
    if "senderKeyDistributionMessage" in body or "fastRatchetKeySenderKeyDistributionMessage" in body:
        return Ignored("key_distribution")
    if "messageContextInfo" in body:
        return Ignored("context_only")
    return None


def _message_arrived(data: JsonObject, identity: ExternalId, place: _Place, unwrapped: UnwrappedBody) -> MessageArrived:
    chat, sender, from_me = place.chat, place.sender, place.from_me
    content = UNKNOWN if unwrapped.name is None else read_content(unwrapped)
    context = gather_context(data, unwrapped)
    about = about_key(unwrapped)
    detail, media, copy_of = {**content.detail, **_beside(data)}, content.media, None
    if context:
        detail |= context_detail(context)
    linked = association(data, unwrapped)
    if linked or "pairedMediaType" in context:
        copy_of, quality = better_copy(linked, context)
        if quality and copy_of is not None and media is not None:
            media = msgspec.structs.replace(media, quality=quality, copy_id=identity)
        else:
            copy_of = None
            detail |= part_detail(linked)
    if is_broadcast_list(data):
        detail["broadcast_list"] = True
    quoted_id, quoted = None, None
    if context or about:
        quoted_id = optional_id(context.get("stanzaId")) or optional_id(about.get("id"))
        quoted = read_quote(quoted_id, context, about, chat.canonical, place.own)
    return MessageArrived(
        external_id=copy_of or identity,
        chat=chat,
        from_me=from_me,
        kind=content.kind,
        text=content.text,
        media=media,
        detail=detail,
        sender=sender,
        push_name=None if from_me else push_name(data.get("pushName"), sender or chat),
        own_name=own_name(data.get("pushName")) if from_me else None,
        sent_at=epoch_seconds(data.get("messageTimestamp")),
        delivery=parse_delivery_status(data.get("status")),
        quoted_id=quoted_id,
        quoted=quoted,
        forwarded=context.get("isForwarded") is True or bool(int32(context.get("forwardingScore"))),
        view_once=unwrapped.view_once
        or (isinstance(unwrapped.value, dict) and unwrapped.value.get("viewOnce") is True),
        expires_after=int32(context.get("expiration")) or None,
        source=short_text(data.get("source"), 20),
        origin=place.origin,
        keep_raw=content.kind in NOT_UNDERSTOOD,
    )


def _plain_message(data: JsonObject, identity: ExternalId, place: _Place, said: str) -> MessageArrived:
    """As ``_message_arrived``, of a message that is a text and nothing else."""
    from_me, name = place.from_me, data.get("pushName")
    return MessageArrived(
        external_id=identity,
        chat=place.chat,
        from_me=from_me,
        kind=MessageKind.TEXT,
        text=said,
        detail={"broadcast_list": True} if is_broadcast_list(data) else {},
        sender=place.sender,
        push_name=None if from_me else push_name(name, place.sender or place.chat),
        own_name=own_name(name) if from_me else None,
        sent_at=epoch_seconds(data.get("messageTimestamp")),
        delivery=parse_delivery_status(data.get("status")),
        source=short_text(data.get("source"), 20),
        origin=place.origin,
    )


def _beside(data: JsonObject) -> dict[str, object]:
    """The transcript of a voice message, where the server makes one."""
    transcript = obj(data.get("message")).get("speechToText") or data.get("speechToText")
    return without_none(transcript=short_text(transcript, LONGEST_TEXT)) if transcript else {}
