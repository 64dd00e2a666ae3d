"""To whom alarms go: which addresses there are, how they are shown, and when a failed delivery is tried again."""

import re
from enum import StrEnum
from urllib.parse import urlsplit

from zapline.domain.errors import InvalidField
from zapline.domain.privacy.masking import mask_phone
from zapline.domain.retry_policy import Backoff

MAX_DESTINATIONS = 20
MAX_TARGET = 500
"""Characters of an address."""
GIVE_UP_AFTER = 24 * 3600.0
"""Seconds for which a notice is tried to be delivered."""
LANGUAGES = ("en", "pt-BR", "es")
"""In which an alarm can be written."""
_RETRIES = Backoff(base=15.0, factor=2.0, cap=900.0, jitter=0.2)
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"({_LOCAL})@({_LABEL}(?:\.{_LABEL})*)")


class DestinationKind(StrEnum):
    """How an alarm gets there."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    LINE = "line"
    """A WhatsApp message by the line of a unit of one's own."""


class InvalidDestination(InvalidField):
    """A destination cannot be as asked for; the text says why."""


def checked_email(text: str) -> str:
    """An e-mail address. Raises InvalidDestination."""
    found = _EMAIL.fullmatch(text.strip())
    if found is None or len(found[1]) > 64 or len(text) > 254:
        raise InvalidDestination("is no e-mail address", "to")
    return found[0]


def checked_language(tag: str) -> str:
    """The tag of a language. Raises InvalidDestination."""
    if tag not in LANGUAGES:
        raise InvalidDestination("is en, pt-BR or es", "language")
    return tag


def shown_target(kind: DestinationKind, target: str) -> str:
    """An address as it may be shown and logged: enough to know it again, too little to use it."""
    if kind is DestinationKind.EMAIL:
        local, _, domain = target.rpartition("@")
        return f"{local[:1]}…@{domain}"
    if kind is DestinationKind.LINE:
        return mask_phone(target)
    parts = urlsplit(target)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}/…"


def retry_delay(failures: int, spread: float) -> float:
    """Seconds until the next try after so many failures; ``spread`` in 0..1 is drawn by the caller."""
    return _RETRIES.delay(failures, spread)
