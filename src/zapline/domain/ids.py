"""Defines the ids that packages share, and derives those of contacts, conversations and messages."""

import re
from hashlib import sha1
from typing import NewType
from uuid import UUID

UnitId = NewType("UnitId", UUID)
ExternalId = NewType("ExternalId", str)
"""A message's id as WhatsApp gives it (``key.id``)."""
Seq = NewType("Seq", int)
"""Number of an entry in the journal; it grows and is never reused."""

PROVIDER = "evolution"

_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,80}")


def is_valid_instance_name(name: str) -> bool:
    """Whether Zapline accepts this name for an instance.

    Evolution accepts more, but trailing spaces make an instance unreachable and slashes need
    escaping in every URL (contract, section 1).
    """
    return _INSTANCE.fullmatch(name) is not None


def contact_id(unit: UnitId, canonical: str) -> str:
    """The contact's id, derived from its unit and canonical identity.

    So rows are the same in whatever order messages arrive, and nothing has to be looked up.
    """
    return _derived(unit, "contact\n" + canonical)


def conversation_id(unit: UnitId, canonical: str) -> str:
    """The conversation's id, derived from its unit and the chat's canonical identity."""
    return _derived(unit, "conversation\n" + canonical)


def message_id(unit: UnitId, external_id: ExternalId) -> str:
    """The id of a message that WhatsApp reported."""
    return _derived(unit, f"message\n{PROVIDER}\n{external_id}")


def _derived(unit: UnitId, name: str) -> str:
    """A UUID of version 5 (RFC 9562, section 5.5) as 32 hexadecimal digits; a UUID object costs four times more."""
    digits = sha1(unit.bytes + name.encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:12]}5{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:32]}"
