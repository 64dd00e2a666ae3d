"""Parses edits and deletions: their own events, protocol messages, and edits inside messages.update."""

from collections.abc import Mapping
from typing import Any

from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.facts import MessageDeleted, MessageEdited
from zapline.evolution.webhooks.chats_and_contacts import claim_inside, claim_of, skipped_chat
from zapline.evolution.webhooks.json_fields import JsonObject, epoch_ms, external_id, obj
from zapline.evolution.webhooks.message_content import NOT_UNDERSTOOD, read_content, unwrap

_EDIT = frozenset({"MESSAGE_EDIT", 14})
_REVOKE = frozenset({"REVOKE", 0})
NOTICES: Mapping[int | str, str] = {
    3: "disappearing_setting",
    4: "disappearing_setting_sync",
    5: "history_notice",
    6: "app_state_keys",
    7: "app_state_keys",
    8: "backfill_request",
    9: "security_settings",
    10: "app_state_failure",
    11: "phone_number_shared",
    16: "peer_request",
    17: "peer_response",
    18: "welcome_request",
    19: "bot_feedback",
    20: "media_notice",
    21: "cloud_api_control",
    22: "lid_mapping_sync",
    23: "reminder",
    24: "bot_onboarding",
    25: "status_mention",
    26: "stop_generation",
    27: "sharing_limit",
    28: "ai_metadata",
    29: "ai_query",
    30: "member_label",
    31: "ai_media",
    32: "message_unscheduled",
    34: "chat_theme",
    35: "ai_metadata",
    36: "verified_mark",
    37: "coexistence_sync",
}
"""Type of a protocol message that is not about a message's text -> the reason under which it is counted."""
NOTICE_NAMES: Mapping[str, int] = {
    "EPHEMERAL_SETTING": 3,
    "EPHEMERAL_SYNC_RESPONSE": 4,
    "HISTORY_SYNC_NOTIFICATION": 5,
    "APP_STATE_SYNC_KEY_SHARE": 6,
    "APP_STATE_SYNC_KEY_REQUEST": 7,
    "MSG_FANOUT_BACKFILL_REQUEST": 8,
    "INITIAL_SECURITY_NOTIFICATION_SETTING_SYNC": 9,
    "APP_STATE_FATAL_EXCEPTION_NOTIFICATION": 10,
    "SHARE_PHONE_NUMBER": 11,
    "PEER_DATA_OPERATION_REQUEST_MESSAGE": 16,
    "PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE": 17,
    "REQUEST_WELCOME_MESSAGE": 18,
    "BOT_FEEDBACK_MESSAGE": 19,
    "MEDIA_NOTIFY_MESSAGE": 20,
    "CLOUD_API_THREAD_CONTROL_NOTIFICATION": 21,
    "LID_MIGRATION_MAPPING_SYNC": 22,
    "REMINDER_MESSAGE": 23,
    "BOT_MEMU_ONBOARDING_MESSAGE": 24,
    "STATUS_MENTION_MESSAGE": 25,
    "STOP_GENERATION_MESSAGE": 26,
    "LIMIT_SHARING": 27,
    "AI_PSI_METADATA": 28,
    "AI_QUERY_FANOUT": 29,
    "GROUP_MEMBER_LABEL_CHANGE": 30,
    "AI_MEDIA_COLLECTION_MESSAGE": 31,
    "MESSAGE_UNSCHEDULE": 32,
    "CHAT_THEME_SETTING": 34,
    "AI_METADATA_OPERATION": 35,
    "MARK_AS_VERIFIED_ACTION": 36,
    "COEX_STATE_SYNC": 37,
}


def parse_deletions(data: JsonObject, own: str | None) -> list[InboundEvent]:
    """Parse messages.delete: a bare key if the contact deleted, Evolution's row with its own ``id`` if the API did."""
    keys = data.get("keys")
    if isinstance(keys, list) and keys:
        return [_deletion(obj(key), own) for key in keys]
    if "key" not in data and data.get("all") is True:
        return [Ignored("chat_cleared")]
    return [_deletion(data, own)]


def _deletion(data: JsonObject, own: str | None) -> InboundEvent:
    key = obj(data.get("key"))
    identity = external_id(key.get("id") or data.get("keyId") or data.get("id"))
    if isinstance(identity, Unusable):
        return identity
    from_me = key.get("fromMe", data.get("fromMe"))
    skipped = skipped_chat(key.get("remoteJid") or data.get("remoteJid"), from_me)
    return Ignored(skipped) if skipped is not None else MessageDeleted(identity, claim_of(key or data, data, own))


def parse_edit(data: JsonObject, own: str | None, *, answered: bool = False) -> list[InboundEvent]:
    """Parse messages.edited and send.message.update: a protocol message, bare or inside its message.

    ``answered``: it is what Evolution answers to an edit that was asked of it, so the edit is our own.
    """
    if "type" not in data and "editedMessage" not in data and isinstance(data.get("message"), dict):
        unwrapped = unwrap(data["message"])
        if unwrapped.name == "protocolMessage":
            by = claim_of(obj(data.get("key")), data, own)
            return [parse_protocol_message(obj(unwrapped.value), data.get("messageTimestamp"), by)]
    key = obj(data.get("key"))
    by = claim_of({**key, "fromMe": True}, data, own) if answered else claim_inside(key, own)
    return [parse_protocol_message(data, None, by)]


def parse_protocol_message(value: JsonObject, sent_at: Any, by: Claim) -> InboundEvent:
    """Parse a protocol message: an edit or deletion, else ignored. ``sent_at`` stands for a missing edit time."""
    kind = value.get("type")
    if type(kind) not in (int, str):
        kind = "MESSAGE_EDIT" if isinstance(value.get("editedMessage"), dict) else None
    if kind not in _EDIT and kind not in _REVOKE:
        number = NOTICE_NAMES.get(kind) if isinstance(kind, str) else kind
        return Ignored(NOTICES.get(number, "unknown_protocol") if number is not None else "unknown_protocol")
    key = obj(value.get("key"))
    identity = external_id(key.get("id"), "no_target_id")
    if isinstance(identity, Unusable):
        return identity
    skipped = skipped_chat(key.get("remoteJid"), key.get("fromMe"))
    if skipped is not None:
        return Ignored(skipped)
    if kind in _REVOKE:
        return MessageDeleted(identity, by)
    content = read_content(unwrap(obj(value.get("editedMessage"))))
    if content.kind in NOT_UNDERSTOOD:
        return Ignored("edit_without_text")
    return MessageEdited(identity, content.text or "", epoch_ms(value.get("timestampMs"), sent_at), by)


def embedded_edit(identity: ExternalId, data: JsonObject, by: Claim) -> InboundEvent | None:
    """The edit or deletion in ``message`` of messages.update; content that was decrypted late is not an edit."""
    body = data.get("message")
    if not isinstance(body, dict) or not body:
        return None
    unwrapped = unwrap(body)
    sent_at = data.get("messageTimestamp") or data.get("datetime")
    if unwrapped.name == "protocolMessage":
        value = obj(unwrapped.value)
        return parse_protocol_message({**value, "key": obj(value.get("key")) or {"id": identity}}, sent_at, by)
    if not unwrapped.edited:
        return None
    content = read_content(unwrapped)
    if content.kind in NOT_UNDERSTOOD:
        return None
    return MessageEdited(identity, content.text or "", epoch_ms(sent_at), by)
