"""Parses edits and deletions: their own events, protocol messages, and edits inside messages.update."""

from typing import Any

from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.facts import MessageDeleted, MessageEdited
from zapline.evolution.webhooks.chats_and_contacts import SKIPPED_CHATS, chat_kind
from zapline.evolution.webhooks.json_fields import JsonObject, epoch_ms, external_id, obj
from zapline.evolution.webhooks.message_content import NOT_UNDERSTOOD, read_content, unwrap

_EDIT = frozenset({"MESSAGE_EDIT", 14})
_REVOKE = frozenset({"REVOKE", 0})
_NOTICES = {
    "EPHEMERAL_SETTING": "disappearing_setting",
    3: "disappearing_setting",
    "HISTORY_SYNC_NOTIFICATION": "history_notice",
    5: "history_notice",
}


def parse_deletions(data: JsonObject) -> list[InboundEvent]:
    """Parse messages.delete: a bare key if the contact deleted, Evolution's row with its own ``id`` if the API did."""
    keys = data.get("keys")
    if isinstance(keys, list) and keys:
        return [_deletion(obj(key)) for key in keys]
    if "key" not in data and data.get("all") is True:
        return [Ignored("chat_cleared")]
    return [_deletion(data)]


def _deletion(data: JsonObject) -> InboundEvent:
    key = obj(data.get("key"))
    identity = external_id(key.get("id") or data.get("keyId") or data.get("id"))
    if isinstance(identity, Unusable):
        return identity
    kind = chat_kind(key.get("remoteJid") or data.get("remoteJid"))
    return Ignored(SKIPPED_CHATS[kind]) if kind in SKIPPED_CHATS else MessageDeleted(identity)


def parse_edit(data: JsonObject) -> list[InboundEvent]:
    """Parse messages.edited and send.message.update: a protocol message, bare or inside its message."""
    if "type" not in data and "editedMessage" not in data and isinstance(data.get("message"), dict):
        unwrapped = unwrap(data["message"])
        if unwrapped.name == "protocolMessage":
            return [parse_protocol_message(obj(unwrapped.value), data.get("messageTimestamp"))]
    return [parse_protocol_message(data, None)]


def parse_protocol_message(value: JsonObject, sent_at: Any) -> InboundEvent:
    """Parse a protocol message: an edit or deletion, else ignored. ``sent_at`` stands for a missing edit time."""
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
    content = read_content(unwrap(obj(value.get("editedMessage"))))
    if content.kind in NOT_UNDERSTOOD:
        return Ignored("edit_without_text")
    return MessageEdited(identity, content.text or "", epoch_ms(value.get("timestampMs"), sent_at))


def embedded_edit(identity: ExternalId, data: JsonObject) -> InboundEvent | None:
    """The edit or deletion in ``message`` of messages.update; content that was decrypted late is not an edit."""
    body = data.get("message")
    if not isinstance(body, dict) or not body:
        return None
    unwrapped = unwrap(body)
    sent_at = data.get("messageTimestamp") or data.get("datetime")
    if unwrapped.name == "protocolMessage":
        value = obj(unwrapped.value)
        return parse_protocol_message({**value, "key": obj(value.get("key")) or {"id": identity}}, sent_at)
    if not unwrapped.edited:
        return None
    content = read_content(unwrapped)
    return None if content.kind in NOT_UNDERSTOOD else MessageEdited(identity, content.text or "", epoch_ms(sent_at))
