"""Reads protobuf's wire format, and the texts of WhatsApp's ``Message`` in it; hostile input is refused cheaply.

Only what an edit, a vote or an answer to an event may hold is read. Numbers are those of WhatsApp's ``WAProto.proto``.
"""

from zapline.domain.text import clean_text

MAX_FIELDS = 2000
"""Fields of one message; real ones have below fifty, a vote one for each option."""
DEEPEST = 8
"""Wrappers inside wrappers; real traffic has up to three."""
LONGEST_TEXT = 2 * 65536
"""WhatsApp accepts 65,536 characters."""

Fields = dict[int, list[int | bytes]]
"""Values by field number, in their order: varints and fixed ones as numbers, all others as bytes."""

_WRAPPERS = (40, 37, 55, 59, 53, 58, 62, 67, 91)
"""ephemeral, viewOnce (three), documentWithCaption, edited, groupMentioned, botInvoke, associatedChild."""
_DEVICE_SENT, _CONVERSATION, _EXTENDED_TEXT = 31, 1, 6
_CAPTIONS = {3: 3, 9: 7, 66: 7, 7: 20}
"""Field of a file (image, video, round video, document) -> field of its caption."""


class BadWire(ValueError):
    """The bytes are not a protobuf message, or too many fields."""


def read_fields(data: bytes) -> Fields:
    """The fields of one message. Raises BadWire."""
    fields: Fields = {}
    at, count, end = 0, 0, len(data)
    while at < end:
        count += 1
        if count > MAX_FIELDS:
            raise BadWire("too many fields")
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = _slice(data, at, size)
        elif kind in (1, 5):
            raw, at = _slice(data, at, 8 if kind == 1 else 4)
            value = int.from_bytes(raw, "little")
        else:
            raise BadWire("a wire type that is not used any more")
        if not 0 < number < 1 << 29:
            raise BadWire("a field number out of range")
        fields.setdefault(number, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(data):
            raise BadWire("the end comes too early")
        octet = data[at + place]
        value |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
    raise BadWire("a number of more than ten bytes")


def _slice(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - at:
        raise BadWire("the end comes too early")
    return data[at : at + size], at + size


def number(fields: Fields, field: int) -> int | None:
    """The last number of this field; None where there is none."""
    numbers = [value for value in fields.get(field, ()) if isinstance(value, int)]
    return numbers[-1] if numbers else None


def octets(fields: Fields, field: int) -> bytes | None:
    """The last bytes of this field; None where there are none."""
    values = [value for value in fields.get(field, ()) if isinstance(value, bytes)]
    return values[-1] if values else None


def text(fields: Fields, field: int) -> str | None:
    """The last text of this field, storable; None where there is none."""
    raw = octets(fields, field)
    return None if raw is None else clean_text(raw[: 4 * LONGEST_TEXT].decode("utf-8", "replace"), LONGEST_TEXT)


def inner(fields: Fields, field: int) -> Fields | None:
    """The message in this field; None where there is none. Raises BadWire."""
    raw = octets(fields, field)
    return None if raw is None else read_fields(raw)


def unwrapped(message: Fields) -> Fields:
    """A ``Message`` without its wrappers. Raises BadWire."""
    for _ in range(DEEPEST):
        for field in (*_WRAPPERS, _DEVICE_SENT):
            wrapper = inner(message, field)
            wrapped = None if wrapper is None else inner(wrapper, 2 if field == _DEVICE_SENT else 1)
            if wrapped is not None:
                message = wrapped
                break
        else:
            return message
    raise BadWire("too many wrappers")


def message_text(message: Fields) -> str | None:
    """The text of a ``Message``, or the caption of its file (empty where it has none); None for other contents.

    Raises BadWire.
    """
    message = unwrapped(message)
    if (plain := text(message, _CONVERSATION)) is not None:
        return plain
    extended = inner(message, _EXTENDED_TEXT)
    if extended is not None:
        return text(extended, 1) or ""
    for file, caption in _CAPTIONS.items():
        described = inner(message, file)
        if described is not None:
            return text(described, caption) or ""
    return None
