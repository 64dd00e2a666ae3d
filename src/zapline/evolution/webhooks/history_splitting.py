"""Splits a very large messages.set into bodies of bounded size, so that one webhook does not block a unit."""

import msgspec

SPLIT_ABOVE_BYTES = 256 * 1024
"""Bytes above which ``messages.set`` is split."""
PART_BYTES = 128 * 1024


def split_history(event: str, body: bytes) -> list[bytes]:
    """The body itself, or several with the same envelope and a part of the messages each.

    ``messages.set`` carries the whole history in one array of any size (contract, section 2). A body that cannot be
    decoded stays whole; the actor then makes it a dead letter with its reason.
    """
    if event != "messages.set" or len(body) <= SPLIT_ABOVE_BYTES:
        return [body]
    try:
        envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        messages = msgspec.json.decode(envelope.get("data", b"null"), type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [body]
    bodies: list[bytes] = []
    part: list[msgspec.Raw] = []
    size = 0
    for message in messages:
        if part and size + len(bytes(message)) > PART_BYTES:
            bodies.append(_with_messages(envelope, part))
            part, size = [], 0
        part.append(message)
        size += len(bytes(message))
    bodies.append(_with_messages(envelope, part))
    return bodies


def _with_messages(envelope: dict[str, msgspec.Raw], messages: list[msgspec.Raw]) -> bytes:
    return msgspec.json.encode({**envelope, "data": messages})
