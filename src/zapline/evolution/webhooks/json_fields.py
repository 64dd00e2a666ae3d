"""Reads single values of Evolution's JSON in the forms of all versions; nothing here raises.

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
"""A decoded JSON object."""

LONGEST_TEXT = 2 * 65536
"""WhatsApp accepts 65,536 characters; twice that leaves room and bounds a row."""
LONGEST_NAME = 200
LONGEST_ID = 200
LONGEST_SHORT_TEXT = 2000
"""Characters of everything beside the text: titles, descriptions, addresses, links."""
MAX_ITEMS = 100
"""Options, buttons, cards, mentions: WhatsApp's limits are far lower."""
MAX_PEOPLE = 10_000
"""Reactions, answers and receipts: one of each member of a group, of which the largest have some thousands."""

_EARLIEST, _LATEST = 1_230_768_000, 4_102_444_800
"""From 2009, when WhatsApp began, to 2100: a time outside is a mistake."""


def obj(value: Any) -> JsonObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any, limit: int = MAX_ITEMS) -> list[JsonObject]:
    """The objects of an array, at most ``limit``."""
    if not isinstance(value, list):
        return []
    return [item for item in value[:limit] if isinstance(item, dict)]


def text(value: Any, limit: int = LONGEST_TEXT) -> str | None:
    """A storable string; ``None`` for anything that is not a string."""
    return clean_text(value, limit) if isinstance(value, str) else None


def short_text(value: Any, limit: int = LONGEST_SHORT_TEXT) -> str | None:
    """As :func:`text`, but ``None`` for an empty string, and shorter by default."""
    return (clean_text(value, limit) or None) if isinstance(value, str) else None


def short_texts(value: JsonObject, **keys: str) -> dict[str, object]:
    """The :func:`short_text` of each key that has one, under the name of its argument."""
    return without_none(**{name: short_text(value.get(key)) for name, key in keys.items()})


def jid(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def external_id(value: Any, missing: str = "no_message_id") -> ExternalId | Unusable:
    """A message's id, or the reason why the value is not one."""
    if not isinstance(value, str) or not value:
        return Unusable(missing)
    if len(value) > LONGEST_ID:
        return Unusable("id_too_long")
    if not value.isprintable() or " " in value:
        # isprintable is false for NUL, other controls and surrogates, which no column takes.
        return Unusable("bad_message_id")
    return ExternalId(value)


def optional_id(value: Any) -> ExternalId | None:
    """A message's id, or ``None`` where there is no valid one."""
    parsed = external_id(value)
    return None if isinstance(parsed, Unusable) else parsed


def whole_number(value: Any, limit: int = 2**53) -> int | None:
    """A whole number from 0 to ``limit`` in any of its forms."""
    number: int
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        number = value
    elif isinstance(value, str):
        if not (0 < len(value) <= 20 and value.isascii() and value.isdigit()):
            return None
        number = int(value)
    elif isinstance(value, float):
        if not (math.isfinite(value) and value.is_integer()):
            return None
        number = int(value)
    elif isinstance(value, dict):
        low, high = value.get("low"), value.get("high", 0)
        if type(low) is not int or type(high) is not int or high < 0:
            return None
        number = (high << 32) + (low & 0xFFFFFFFF)
    else:
        return None
    return number if 0 <= number <= limit else None


def int32(value: Any) -> int | None:
    """A whole number that fits PostgreSQL's ``integer``: seconds, pixels, counts."""
    return whole_number(value, 2**31 - 1)


def finite_number(value: Any, limit: float) -> float | None:
    """A finite number from ``-limit`` to ``limit``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -limit <= value <= limit:
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
    """Milliseconds since the epoch from the first value that is a time; 0 if none is."""
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
            value = [value.get(str(index)) for index in range(len(value))]
    if not isinstance(value, list) or len(value) > 64:
        return None
    return value if all(type(octet) is int and 0 <= octet <= 255 for octet in value) else None


def without_none(**values: Any) -> dict[str, object]:
    """The values that are not ``None``."""
    return {name: value for name, value in values.items() if value is not None}
