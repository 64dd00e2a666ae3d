"""Reads single values of Evolution's JSON, whatever form a version gives them; nothing here raises.

2.3.x writes bytes as ``{"0": 12, ...}`` and 64-bit numbers as ``{low, high, unsigned}``; 1.x and 2.2 write
base64 and decimal strings (contract, section 2). A value of any other type reads as absent.
"""

import base64
import binascii
import math
from typing import Any

from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Unusable
from zapline.domain.text import clean_text

JsonObject = dict[str, Any]
"""A JSON object as it came."""

LONGEST_TEXT = 2 * 65536
"""WhatsApp takes 65,536 characters; twice that leaves room and bounds a row."""
LONGEST_NAME = 200
LONGEST_ID = 200
LONGEST_SHORT_TEXT = 2000
"""For everything beside the text: titles, descriptions, addresses, links."""
MAX_ITEMS = 100
"""Options, buttons, cards, mentions: WhatsApp's own limits are far lower."""

_EARLIEST, _LATEST = 1_230_768_000, 4_102_444_800
"""2009, when WhatsApp began, and 2100: a time outside is a mistake."""


def obj(value: Any) -> JsonObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[JsonObject]:
    """The objects of an array, at most :data:`MAX_ITEMS`."""
    if not isinstance(value, list):
        return []
    return [item for item in value[:MAX_ITEMS] if isinstance(item, dict)]


def text(value: Any, limit: int = LONGEST_TEXT) -> str | None:
    """A storable string; ``None`` for anything that is not a string."""
    return clean_text(value, limit) if isinstance(value, str) else None


def short_text(value: Any, limit: int = LONGEST_SHORT_TEXT) -> str | None:
    """As :func:`text`, and an empty string is absent."""
    return (clean_text(value, limit) or None) if isinstance(value, str) else None


def jid(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def external_id(value: Any, missing: str = "no_message_id") -> ExternalId | Unusable:
    """A message's id, or the reason why it cannot be one."""
    if not isinstance(value, str) or not value:
        return Unusable(missing)
    if len(value) > LONGEST_ID:
        return Unusable("id_too_long")
    if not value.isprintable() or " " in value:
        # isprintable is false for NUL, other controls and surrogates, which no column takes.
        return Unusable("bad_message_id")
    return ExternalId(value)


def optional_id(value: Any) -> ExternalId | None:
    """A message's id where one may be absent."""
    read = external_id(value)
    return None if isinstance(read, Unusable) else read


def whole_number(value: Any, most: int = 2**53) -> int | None:
    """A whole number from 0 to ``most`` in any of its forms."""
    finite_number: int
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        finite_number = value
    elif isinstance(value, str):
        if not (0 < len(value) <= 20 and value.isascii() and value.isdigit()):
            return None
        finite_number = int(value)
    elif isinstance(value, float):
        if not (math.isfinite(value) and value.is_integer()):
            return None
        finite_number = int(value)
    elif isinstance(value, dict):
        low, high = value.get("low"), value.get("high", 0)
        if type(low) is not int or type(high) is not int or high < 0:
            return None
        finite_number = (high << 32) + (low & 0xFFFFFFFF)
    else:
        return None
    return finite_number if 0 <= finite_number <= most else None


def int32(value: Any) -> int | None:
    """A whole number that fits PostgreSQL's ``integer``: seconds, pixels, counts."""
    return whole_number(value, 2**31 - 1)


def finite_number(value: Any, most: float) -> float | None:
    """A finite number from ``-most`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        return None
    return float(value)


def epoch_seconds(value: Any) -> float | None:
    """Seconds since the epoch from seconds, milliseconds or microseconds; ``None`` outside 2009-2100."""
    count = whole_number(value, 10**17)
    if count is None:
        return None
    seconds: float = count
    if count > 10**14:
        seconds = count / 1_000_000
    elif count > 10**11:
        seconds = count / 1000
    return float(seconds) if _EARLIEST <= seconds <= _LATEST else None


def epoch_ms(*values: Any) -> int:
    """Milliseconds since the epoch, from the first value that is a time; 0 if none is."""
    for value in values:
        seconds = epoch_seconds(value)
        if seconds is not None:
            return round(seconds * 1000)
    return 0


def digest(value: Any) -> str | None:
    """A file's digest as base64, from an index object, a Buffer, an array or base64; at most 64 bytes."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True) if len(value) <= 100 else b""
        except (binascii.Error, ValueError):
            return None
    else:
        octets = _octets(value)
        if octets is None:
            return None
        raw = bytes(octets)
    return base64.b64encode(raw).decode("ascii") if 0 < len(raw) <= 64 else None


def _octets(value: Any) -> list[int] | None:
    if isinstance(value, dict):
        if isinstance(value.get("data"), list):
            value = value["data"]
        elif len(value) <= 64:
            value = [value.get(str(place)) for place in range(len(value))]
    if not isinstance(value, list) or len(value) > 64:
        return None
    return value if all(type(octet) is int and 0 <= octet <= 255 for octet in value) else None


def without_none(**values: Any) -> dict[str, object]:
    """The values that are there."""
    return {name: value for name, value in values.items() if value is not None}
