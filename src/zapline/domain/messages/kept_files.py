"""Decides what follows when the file of a message was not to be had, and signs the links by which it is read."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.retry_policy import Backoff

GIVEN_UP_DAYS = 30.0
"""WhatsApp keeps files for about a month."""
DENIALS = 6
"""How often it must be said that a file is nowhere: the phone may be asked for it again, which takes minutes."""
_BACKOFF = Backoff(base=5.0, factor=3.0, cap=3600.0, jitter=0.5)
_DAY = 86_400.0
_CLAIM = Struct(">16s16sQ")
_DIGEST = "sha256"


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The file is looked for again at this time, in UTC seconds."""

    at: float


@dataclass(frozen=True, slots=True)
class Gone:
    """The file will not be had any more."""


def after_failure(tries: int, denials: int, asked_at: float, now: float, spread: float) -> LookAgain | Gone:
    """What follows a failure. ``tries`` and ``denials`` count with this one; ``spread`` in 0..1 is drawn.

    Files are looked for until they are there, or it was said ``DENIALS`` times that they are nowhere, or for a month.
    """
    if denials >= DENIALS or now >= asked_at + GIVEN_UP_DAYS * _DAY:
        return Gone()
    return LookAgain(now + _BACKOFF.delay(tries, spread))


def sign_link(key: bytes, unit: UnitId, message: UUID, expires_at: int) -> str:
    """The secret part of a link to the file of a message. ``expires_at`` in UTC seconds."""
    claim = _CLAIM.pack(unit.bytes, message.bytes, expires_at)
    return urlsafe_b64encode(claim + hmac.digest(key, claim, _DIGEST)).rstrip(b"=").decode()


def read_link(key: bytes, text: str, now: float) -> tuple[UnitId, UUID] | None:
    """Unit and message of a link that we have signed and that holds at ``now`` (UTC seconds); else None."""
    try:
        signed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        claim, digest = signed[: _CLAIM.size], signed[_CLAIM.size :]
        unit, message, expires_at = _CLAIM.unpack(claim)
    except (ValueError, StructError):
        return None
    genuine = hmac.compare_digest(digest, hmac.digest(key, claim, _DIGEST))
    return (UnitId(UUID(bytes=unit)), UUID(bytes=message)) if genuine and now < expires_at else None
