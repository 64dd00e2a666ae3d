"""Splits webhooks with very large arrays into bodies of bounded size, so that one webhook does not block a unit."""

from collections.abc import Iterable, Mapping

import msgspec

SPLIT_ABOVE_BYTES = 96 * 1024
"""Bytes above which a body is split."""
PART_BYTES = 48 * 1024
"""Some hundreds of contacts: the event loop reads them in some milliseconds."""
_LISTS = frozenset({"messages", "contacts", "chats", "groups", "keys", "participants", "participantsData"})
"""Arrays of things that have nothing to do with each other, where ``data`` is an object of such arrays."""


def split_arrays(body: bytes) -> list[bytes]:
    """The body itself, or several with the same envelope and a part of its array each.

    Whole histories, address books and lists of chats come in one array of any size (contract, section 2). A body that
    cannot be decoded, or holds no such array, stays whole.
    """
    if len(body) <= SPLIT_ABOVE_BYTES:
        return [body]
    try:
        envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        data = envelope.get("data", msgspec.Raw(b"null"))
        kind = bytes(data).lstrip()[:1]
        if kind == b"[":
            return [_with(envelope, data=part) for part in _parts(data)]
        if kind == b"{":
            return _split_object(envelope, msgspec.json.decode(data, type=dict[str, msgspec.Raw])) or [body]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return [body]


def _split_object(envelope: Mapping[str, msgspec.Raw], data: dict[str, msgspec.Raw]) -> list[bytes]:
    """Bodies with a part of one array each; none where ``data`` is one message, or its arrays are not what is large."""
    arrays = {name: data.pop(name) for name in list(data) if name in _LISTS and bytes(data[name]).lstrip()[:1] == b"["}
    if not arrays or "key" in data or sum(len(bytes(value)) for value in data.values()) > PART_BYTES:
        return []
    return [
        _with(envelope, data=msgspec.Raw(_with(data, **{name: part})))
        for name, array in arrays.items()
        for part in _parts(array)
    ]


def _parts(array: msgspec.Raw) -> Iterable[msgspec.Raw]:
    part: list[msgspec.Raw] = []
    size = 0
    for element in msgspec.json.decode(array, type=list[msgspec.Raw]):
        length = len(bytes(element))
        if part and size + length > PART_BYTES:
            yield msgspec.Raw(msgspec.json.encode(part))
            part, size = [], 0
        part.append(element)
        size += length
    yield msgspec.Raw(msgspec.json.encode(part))


def _with(fields: Mapping[str, msgspec.Raw], **more: msgspec.Raw) -> bytes:
    return msgspec.json.encode({**fields, **more})
