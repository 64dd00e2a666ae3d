"""Names of things that cross rooms, and the checks that make them so."""

import re
from typing import NewType
from uuid import UUID, uuid5

UnitId = NewType("UnitId", UUID)
ExternalId = NewType("ExternalId", str)
"""A message's id as WhatsApp gives it (``key.id``)."""
Seq = NewType("Seq", int)
"""Position of an entry in the journal; grows, never reused."""

PROVIDER = "evolution"

_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,80}")


def valid_instance(name: str) -> bool:
    """Whether Zapline gives this name to an instance.

    Evolution accepts more, but trailing spaces make an instance unreachable and slashes need
    escaping in every URL (contract, section 1).
    """
    return _INSTANCE.fullmatch(name) is not None


def contact_id(unit: UnitId, canonical: str) -> UUID:
    """The contact's id follows from its unit and canonical identity.

    So rows come out the same in whatever order messages arrive, and nothing has to be looked up.
    """
    return uuid5(unit, "contact\n" + canonical)


def conversation_id(unit: UnitId, canonical: str) -> UUID:
    """The conversation's id follows from its unit and the chat's canonical identity."""
    return uuid5(unit, "conversation\n" + canonical)
