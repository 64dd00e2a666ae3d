"""Cuts a very large history set into bodies of bounded size, so that one webhook does not hold up a unit."""

import msgspec

SPLIT_ABOVE_BYTES = 256 * 1024
"""Bytes from which ``messages.set`` is cut; smaller ones pass as they are."""
PART_BYTES = 128 * 1024


def split_history(event: str, body: bytes) -> list[bytes]:
    """The body itself, or several with the same envelope and a share of the messages each.

    ``messages.set`` carries the whole history in one array, of any size (contract, section 2). A body that
    cannot be read is left whole: the actor then buries it with its reason.
    """
    if event != "messages.set" or len(body) <= SPLIT_ABOVE_BYTES:
        return [body]
    try:
        envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        messages = msgspec.json.decode(envelope.get("data", b"null"), type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [body]
    parts: list[bytes] = []
    share: list[msgspec.Raw] = []
    size = 0
    for message in messages:
        if share and size + len(bytes(message)) > PART_BYTES:
            parts.append(_with(envelope, share))
            share, size = [], 0
        share.append(message)
        size += len(bytes(message))
    parts.append(_with(envelope, share))
    return parts


def _with(envelope: dict[str, msgspec.Raw], share: list[msgspec.Raw]) -> bytes:
    return msgspec.json.encode({**envelope, "data": share})
