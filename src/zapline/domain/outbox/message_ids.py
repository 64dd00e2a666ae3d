"""Chooses the WhatsApp id of a message before it is sent, so that answer, echo, status and store meet by it."""

from hashlib import sha256
from uuid import UUID

from zapline.domain.ids import ExternalId

_WEB, _DIGITS = "3EB0", 18
"""The form of the ids that WhatsApp Web gives, as Baileys' ``generateMessageIDV2``."""


def choose_message_id(attempt: UUID) -> ExternalId:
    """The id of the message that this call is the first to send; as random and as unique as the call's own."""
    return ExternalId(_WEB + sha256(attempt.bytes).hexdigest()[:_DIGITS].upper())
