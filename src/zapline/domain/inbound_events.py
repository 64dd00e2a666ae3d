"""Defines what one element of a webhook body, or of Evolution's store, is parsed into."""

from collections.abc import Mapping
from dataclasses import dataclass

from zapline.domain.line.events import ConnectionEvent
from zapline.domain.messages.facts import MessageFact


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood, but not needed; counted under ``reason`` (a short snake_case word)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Not understood; the body becomes a dead letter with ``reason`` (a short snake_case word)."""

    reason: str


InboundEvent = ConnectionEvent | MessageFact | Ignored | Unusable

IGNORED_REASONS: Mapping[str, str] = {
    "ai_media": "a notice of Meta AI's own",
    "ai_metadata": "a notice of Meta AI's own",
    "ai_query": "a notice of Meta AI's own",
    "ambiguous_deleted_status": "`DELETED` as a status: 2.3.0 to 2.3.6 write it where the status is missing",
    "app_state_failure": "a notice between the unit's own devices",
    "app_state_keys": "a notice between the unit's own devices",
    "application_startup": "the server has started",
    "backfill_request": "a notice between the unit's own devices",
    "bot_feedback": "a notice of Meta AI's own",
    "bot_onboarding": "a notice of Meta AI's own",
    "broadcast_list": "our own message to a broadcast list: nobody tells to whom it went",
    "call_elsewhere": "a call that is in no conversation",
    "call_signal": "a step of a call that says nothing of its end",
    "chat_cleared": "a chat was emptied on the phone; nothing is deleted here",
    "chat_theme": "the look of a chat has changed",
    "chats": "a chat was archived, pinned, read: nothing that Zapline keeps",
    "cloud_api_control": "a notice of the Cloud API",
    "coexistence_sync": "a notice of the Cloud API",
    "contact_without_name": "a contact without a name or a second address, or a group named after its author",
    "context_only": "a message that holds keys alone",
    "credentials": "the server's own keys have changed",
    "deleted_report": "a deleted row of Evolution's store that tells of another message",
    "disappearing_setting": "disappearing messages were switched; each message says its own time",
    "disappearing_setting_sync": "the same between devices",
    "edit_without_text": "an edit of a kind that is not understood",
    "empty": "an array without elements",
    "encrypted_comment": "a comment that only phones can open",
    "encrypted_reaction": "a reaction that only phones can open",
    "encrypted_schedule": "the plan of a message, which only phones can open",
    "encrypted_unknown_kind": "an encrypted report of a kind that is not known yet",
    "encrypted_until_revealed": "a planned message, which WhatsApp reveals later",
    "erased": "it is about a person who was erased",
    "group_participants": "somebody joined or left a group",
    "group_receipt": "one reader of a group is not the group",
    "group_status": "a status (story) of a group",
    "groups": "the data of a group, without its subject",
    "history_notice": "a notice that a history comes",
    "history_progress": "how far a history has come",
    "instance_status": "a status of the server that says nothing of the line",
    "key_distribution": "keys of a group, without a message",
    "labels": "labels of the business app",
    "lid_mapping_sync": "a notice between the unit's own devices",
    "media_notice": "a file was uploaded anew",
    "member_label": "the label of a member of a group",
    "message_history": "the history of a group, for one who has joined",
    "message_unscheduled": "a planned message was called off",
    "new_token": "the server's own",
    "newsletter": "a channel",
    "newsletter_profile": "the profile of a channel's administrator",
    "own_call": "a call that the unit itself makes",
    "own_name": "the name of the unit's own people, reported as a contact's",
    "peer_request": "a notice between the unit's own devices",
    "peer_response": "a notice between the unit's own devices",
    "phone_number_request": "the contact asks for the unit's number",
    "phone_number_shared": "a contact shows its number; the chat's own data say which",
    "poll_option_added": "an option was added to a poll",
    "presence": "somebody is typing or online",
    "qr_not_ready": "a code is announced and not there yet",
    "reminder": "a reminder of the phone's own",
    "security_settings": "a notice between the unit's own devices",
    "sharing_limit": "whether a chat may be exported",
    "split_payment_update": "somebody paid his part",
    "status_broadcast": "a status (story)",
    "status_mention": "the unit was mentioned in a status",
    "status_notification": "a status was shared again",
    "status_sticker": "a sticker on a status",
    "sticker_sync": "a notice between the unit's own devices",
    "stop_generation": "a notice of Meta AI's own",
    "stored_unusable": "a row of Evolution's store that says nothing that can be read",
    "stored_with_bad_id": "a row of Evolution's store with an id that is none of WhatsApp's",
    "stored_without_chat": "a row of Evolution's store that does not say in which chat it was",
    "stored_without_id": "a row of Evolution's store without the id of a message",
    "stored_without_target": "a row of Evolution's store that tells of another message, and not of which",
    "system_notice": "a grey line of a chat, as that a group has a new name",
    "typebot": "the server's bot",
    "unknown_protocol": "a notice of a type that is not known yet",
    "unknown_status": "a status that is no delivery status",
    "update_without_status": "an update of a message that says nothing that is kept",
    "verified_mark": "the mark of a verified business",
    "welcome_request": "a notice of Meta AI's own",
}
"""Each reason of the counter ``ignored``, and what it stands for."""
