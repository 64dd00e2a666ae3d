"""Decides what is said about a message that exists already: statuses, edits, deletions, reactions, votes."""

from typing import Any

from zapline.domain.contacts.addresses import AddressKind, resolve
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, Parsed, Unusable
from zapline.domain.messages.delivery_status import REPORTED, Delivery
from zapline.domain.messages.facts import (
    Kind,
    MessageDeleted,
    MessageEdited,
    ReactionReported,
    StatusReported,
    VoteReported,
)
from zapline.evolution.webhooks.json_fields import Obj, external_id, items, jid, moment_ms, note, obj
from zapline.evolution.webhooks.message_content import peel, read

SKIPPED_CHATS = {
    AddressKind.STATUS: "status_broadcast",
    AddressKind.NEWSLETTER: "newsletter",
    AddressKind.BROADCAST: "broadcast",
}
"""Chats that are no conversation (contract, section 3, point 14) -> the reason that is counted."""

_NUMBERED = ("ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")
_EDIT = frozenset({"MESSAGE_EDIT", 14})
_REVOKE = frozenset({"REVOKE", 0})
_STUB_REVOKE = frozenset({"REVOKE", 1})
_NOTICES = {
    "EPHEMERAL_SETTING": "disappearing_setting",
    3: "disappearing_setting",
    "HISTORY_SYNC_NOTIFICATION": "history_notice",
    5: "history_notice",
}
_WAITING = (Kind.UNKNOWN, Kind.PLACEHOLDER)


def delivery(value: Any) -> Delivery | None:
    """A status in Evolution's word, or as WhatsApp's number."""
    if isinstance(value, str):
        return REPORTED.get(value)
    if type(value) is int and 0 <= value < len(_NUMBERED):
        return REPORTED[_NUMBERED[value]]
    return None


def chat_kind(value: Any) -> AddressKind | None:
    address = resolve(jid(value))
    return None if address is None else address.kind


# -- events of their own -----------------------------------------------------------------------------------


def update(data: Obj, own: str | None) -> list[Parsed]:
    """One object of messages.update: votes, an edit, a deletion, or else a status.

    2.3.x puts a status that nobody reported into edits and votes, so those win over it.
    """
    key = obj(data.get("key"))
    identity = external_id(data.get("keyId") or key.get("id") or data.get("id"))
    if isinstance(identity, Unusable):
        return [identity]
    kind = chat_kind(data.get("remoteJid") or key.get("remoteJid"))
    if kind in SKIPPED_CHATS:
        return [Ignored(SKIPPED_CHATS[kind])]
    votes = _votes(identity, data, own)
    if votes:
        return votes
    edit = _edit_inside(identity, data)
    if edit is not None:
        return [edit]
    return [_status(identity, data, kind)]


def _status(identity: ExternalId, data: Obj, kind: AddressKind | None) -> Parsed:
    stub = data.get("messageStubType")
    if type(stub) in (int, str) and stub in _STUB_REVOKE:
        return MessageDeleted(identity)
    status = data.get("status")
    if status == "DELETED":
        return Ignored("ambiguous_deleted_status")
    reported = delivery(status)
    if reported is None:
        return Ignored("update_without_status" if status is None else "unknown_status")
    if kind is AddressKind.GROUP and reported >= Delivery.DELIVERED:
        # One reader does not speak for the group.
        return Ignored("group_receipt")
    return StatusReported(identity, reported)


def _edit_inside(identity: ExternalId, data: Obj) -> Parsed | None:
    """The edit or deletion in ``message`` of an update; the content of a late decryption is no edit."""
    body = data.get("message")
    if not isinstance(body, dict) or not body:
        return None
    peeled = peel(body)
    at = data.get("messageTimestamp") or data.get("datetime")
    if peeled.name == "protocolMessage":
        about = obj(peeled.value)
        return protocol({**about, "key": obj(about.get("key")) or {"id": identity}}, at)
    if not peeled.edited:
        return None
    content = read(peeled)
    return None if content.kind in _WAITING else MessageEdited(identity, content.text or "", moment_ms(at))


def _votes(identity: ExternalId, data: Obj, own: str | None) -> list[Parsed]:
    """``pollUpdates`` as ``[{name, voters}]``: who has chosen what, turned round into one vote per voter."""
    chosen: dict[str, list[str]] = {}
    mine = resolve(own)
    for option in items(data.get("pollUpdates")):
        name, voters = note(option.get("name")), option.get("voters")
        if name is None or not isinstance(voters, list):
            continue
        for voter in voters:
            actor = _voter(voter, None if mine is None else mine.canonical)
            if actor is not None:
                chosen.setdefault(actor, []).append(name)
    at_ms = moment_ms(data.get("messageTimestamp"), data.get("datetime"))
    return [VoteReported(identity, actor, tuple(names), at_ms) for actor, names in chosen.items()]


def _voter(voter: Any, mine: str | None) -> str | None:
    if voter == "me":
        return "me"
    address = resolve(jid(voter))
    if address is None:
        return None
    return "me" if address.canonical == mine else address.canonical


def delete(data: Obj) -> list[Parsed]:
    """One object of messages.delete: by contact a bare key, by API a row whose ``id`` is the database's."""
    keys = data.get("keys")
    if isinstance(keys, list) and keys:
        return [_deletion(obj(key)) for key in keys]
    if "key" not in data and data.get("all") is True:
        return [Ignored("chat_cleared")]
    return [_deletion(data)]


def _deletion(data: Obj) -> Parsed:
    key = obj(data.get("key"))
    identity = external_id(key.get("id") or data.get("keyId") or data.get("id"))
    if isinstance(identity, Unusable):
        return identity
    kind = chat_kind(key.get("remoteJid") or data.get("remoteJid"))
    return Ignored(SKIPPED_CHATS[kind]) if kind in SKIPPED_CHATS else MessageDeleted(identity)


def edited(data: Obj) -> list[Parsed]:
    """messages.edited and send.message.update: a protocol message, bare or still inside its message."""
    if "type" not in data and "editedMessage" not in data and isinstance(data.get("message"), dict):
        peeled = peel(data["message"])
        if peeled.name == "protocolMessage":
            return [protocol(obj(peeled.value), data.get("messageTimestamp"))]
    return [protocol(data, None)]


# -- reports that travel as messages -------------------------------------------------------------------------


def carried(name: str, value: Obj, data: Obj, actor: str, own: str | None) -> list[Parsed]:
    """A protocol message, reaction or vote in the body of a message; ``actor`` is who sent it."""
    at = data.get("messageTimestamp")
    if name == "protocolMessage":
        return [protocol(value, at)]
    if name == "reactionMessage":
        return [_reaction(value, at, actor)]
    return [_ballot(value, data, actor)]


def protocol(value: Obj, at: Any) -> Parsed:
    """A protocol message; ``at`` is when it was sent, for one that does not say when it was written."""
    kind = value.get("type")
    if type(kind) not in (int, str):
        kind = "MESSAGE_EDIT" if isinstance(value.get("editedMessage"), dict) else None
    if kind not in _EDIT and kind not in _REVOKE:
        return Ignored(_NOTICES.get(kind, "protocol") if kind is not None else "protocol")
    key = obj(value.get("key"))
    identity = external_id(key.get("id"), "no_target_id")
    if isinstance(identity, Unusable):
        return identity
    chat = chat_kind(key.get("remoteJid"))
    if chat in SKIPPED_CHATS:
        return Ignored(SKIPPED_CHATS[chat])
    if kind in _REVOKE:
        return MessageDeleted(identity)
    content = read(peel(obj(value.get("editedMessage"))))
    if content.kind in _WAITING:
        return Ignored("edit_without_text")
    return MessageEdited(identity, content.text or "", moment_ms(value.get("timestampMs"), at))


def _reaction(value: Obj, at: Any, actor: str) -> Parsed:
    identity = external_id(obj(value.get("key")).get("id"), "no_target_id")
    if isinstance(identity, Unusable):
        return identity
    emoji = note(value.get("text"), 32) or ""
    return ReactionReported(identity, actor, emoji, moment_ms(value.get("senderTimestampMs"), at))


def _ballot(value: Obj, data: Obj, actor: str) -> Parsed:
    """A vote: encrypted, or opened by Evolution, which then tells it in ``pollUpdates`` or in the vote."""
    identity = external_id(obj(value.get("pollCreationMessageKey")).get("id"), "no_target_id")
    if isinstance(identity, Unusable):
        return identity
    options: tuple[str, ...] | None = None
    counted = items(data.get("pollUpdates"))
    selected = obj(value.get("vote")).get("selectedOptions")
    if any("voters" in option for option in counted):
        options = tuple(note(option.get("name")) or "" for option in counted if option.get("voters"))
    elif isinstance(selected, list) and all(_is_name(each) for each in selected):
        options = tuple(note(each) or "" for each in selected)
    at = moment_ms(value.get("senderTimestampMs"), data.get("messageTimestamp"))
    return VoteReported(identity, actor, options, at)


def _is_name(selected: Any) -> bool:
    """Whether a selected option is readable: unopened votes hold SHA-256 digests."""
    return isinstance(selected, str) and not (len(selected) == 44 and selected.endswith("="))
