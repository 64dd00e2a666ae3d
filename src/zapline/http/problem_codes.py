"""What each problem code means to a caller, in a sentence; the document of the API and its page read it."""

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "bad_request": "the request cannot be understood",
    "body_too_large": "the body is over the limit",
    "busy": "too many do the same just now",
    "campaign_not_found": "the unit has no such campaign",
    "campaign_state": "the campaign stands where this cannot be asked of it",
    "client_campaign_id_taken": "another campaign was made under this clientCampaignId",
    "client_message_id_taken": "another message was asked for under this clientMessageId",
    "conversation_not_found": "the unit has no such conversation",
    "database_busy": "the database is busy",
    "database_refused": "the database refuses; /health and the log say why",
    "database_unavailable": "the database cannot be reached just now",
    "dead_letter_not_found": "there is no such dead letter",
    "evolution_failed": "the Evolution server did not do it",
    "forbidden": "the token may not do this",
    "instance_taken": "another unit has this instance",
    "internal_error": "an error of Zapline itself; it is in the log",
    "invalid_campaign": "the campaign cannot be as asked for",
    "invalid_media_url": "the URL of a file is none that is fetched",
    "invalid_phone": "a phone number is none",
    "invalid_recipients": "the list of recipients cannot be read",
    "invalid_request": "something does not validate; `errors` names the field",
    "invalid_template": "the text of a campaign has a variable that cannot be filled",
    "invalid_text": "a text holds characters that cannot be stored",
    "invalid_unit": "the unit cannot be as asked for",
    "journal_refused": "the journal's disk takes nothing just now",
    "malformed_json": "the body is not JSON",
    "media_busy": "too many files are fetched just now",
    "media_gone": "neither Evolution nor WhatsApp has this file any more",
    "media_not_sent": "the message has not been sent yet",
    "media_url_refused": "the URL of a file leads where Zapline does not go",
    "media_url_unresolvable": "the host of a file's URL has no address just now",
    "message_not_found": "the unit has no such message",
    "method_not_allowed": "this address does not know this method; `Allow` names those that it knows",
    "no_media": "the message has no file",
    "no_qr_code": "there is no code to scan just now",
    "no_recipients": "the campaign has nobody to write to",
    "not_cancellable": "the message is on its way, or done",
    "not_found": "there is nothing at this address",
    "not_ready": "a webhook cannot be made durable just now",
    "not_replayable": "the letter cannot be given to its unit again",
    "not_uncertain": "the message is not uncertain",
    "outcome_unknown": "the change may have been made or not: look before asking again",
    "refused": "it cannot be done in the present state",
    "request_timeout": "the body did not arrive in time",
    "suppression_not_found": "the contact is not suppressed",
    "token_not_found": "there is no such token",
    "too_many_attempts": "too many attempts to sign in",
    "unauthorized": "a valid token is needed",
    "unavailable": "something that is needed is away",
    "unit_not_found": "there is no such unit, or the token is not for it",
    "unit_not_ready": "the unit's state has not been read yet",
    "unsupported_media_type": "the body is of a type that this address does not take",
    "wrong_credentials": "e-mail or password is wrong",
}
"""Only codes that are here may be answered; a test reads the sources for others."""

RETRYABLE = frozenset(
    {"busy", "database_busy", "database_unavailable", "journal_refused", "media_busy", "media_url_unresolvable"}
    | {"not_ready", "request_timeout", "too_many_attempts", "unavailable", "unit_not_ready"}
)
"""Codes whose request may simply be made again later; of ``evolution_failed`` the answer itself says it."""
