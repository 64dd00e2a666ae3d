"""Computes fingerprints of contents, by which the echo of a sent message is recognised.

Only what survives the way through Evolution and WhatsApp counts: text, caption, coordinates, options; not a file's
bytes or name, which both may change.
"""

from collections.abc import Iterable
from hashlib import sha256

from zapline.domain.messages.facts import MessageArrived, MessageKind
from zapline.domain.outbox.contents import Content, File, Location, Poll, Reaction, SharedContact, Text
from zapline.domain.text import clean_text

_DEGREE_DIGITS = 4
"""About ten metres: coordinates are rounded on the way."""


def fingerprint_content(content: Content) -> str:
    """The fingerprint of a content to send."""
    match content:
        case Text(text=text):
            return _digest("text", text)
        case File(kind=kind, caption=caption):
            return _digest(_file_kind(kind), caption or "")
        case Location(latitude=latitude, longitude=longitude):
            return _digest("location", *_rounded(latitude, longitude))
        case SharedContact(name=name):
            return _digest("contact", name)
        case Poll(name=name, options=options):
            return _digest("poll", name, *options)
        case Reaction(emoji=emoji, external_id=external_id):
            return _digest("reaction", emoji, external_id)


def fingerprint_message(message: MessageArrived) -> str:
    """The fingerprint of a message that Evolution reported."""
    kind, detail = message.kind, message.detail
    if kind in (MessageKind.IMAGE, MessageKind.VIDEO, MessageKind.AUDIO, MessageKind.VOICE, MessageKind.DOCUMENT):
        return _digest(_file_kind(kind), message.text or "")
    if kind is MessageKind.LOCATION:
        return _digest("location", *_rounded(detail.get("latitude"), detail.get("longitude")))
    if kind is MessageKind.POLL:
        options = detail.get("options")
        return _digest("poll", message.text or "", *(map(str, options) if isinstance(options, list) else ()))
    return _digest(kind.value, message.text or "")


def _file_kind(kind: MessageKind) -> str:
    # Audio may come back as a voice note, and the other way round.
    return "audio" if kind is MessageKind.VOICE else kind.value


def _rounded(*degrees: object) -> Iterable[str]:
    for degree in degrees:
        yield f"{degree:.{_DEGREE_DIGITS}f}" if isinstance(degree, int | float) else ""


def _digest(*parts: str) -> str:
    joined = "\0".join(" ".join(clean_text(part).split()) for part in parts)
    return sha256(joined.encode()).hexdigest()[:32]
