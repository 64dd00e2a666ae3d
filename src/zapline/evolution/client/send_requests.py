"""Builds send requests: the route and the JSON body of each content, in both dialects of Evolution. No I/O.

Version 2 takes the content flat; version 1 wraps it and puts the rest under ``options``. Each refuses the other's
form with a 400 that names the missing property, before anything is sent (contract, section 1).
"""

import base64
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec

from zapline.domain.ids import ExternalId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import (
    Content,
    File,
    Location,
    OutgoingMessage,
    Poll,
    QuotedMessage,
    Reaction,
    SharedContact,
    Text,
)
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import InvalidRequest


class Dialect(Enum):
    FLAT = 2
    """Version 2 and later."""
    WRAPPED = 1
    """Version 1."""

    @property
    def other(self) -> "Dialect":
        return Dialect.WRAPPED if self is Dialect.FLAT else Dialect.FLAT


@dataclass(frozen=True, slots=True)
class SendRequest:
    """``route``: the action in the path. ``wrapper``: version 1's key of the content. ``options``: fields beside it."""

    route: str
    wrapper: str
    fields: dict[str, Any] = field(repr=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    items: bool = False
    """Whether the wrapper holds the only field's list instead of the fields."""


_MEDIATYPES = frozenset({MessageKind.IMAGE, MessageKind.VIDEO, MessageKind.AUDIO, MessageKind.DOCUMENT})
"""The kinds of file whose value is Evolution's ``mediatype``."""
_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "application/pdf": ".pdf",
    "text/plain": ".txt",
    "text/csv": ".csv",
}


_WRAPPED_NAMES = {"sticker": "image"}
"""Fields that version 1 calls otherwise."""


def build_send_request(
    address: str,
    outgoing: OutgoingMessage,
    dialect: Dialect,
    media: bytes | None = None,
    message_id: ExternalId | None = None,
    typing: float = 0.0,
) -> tuple[str, bytes]:
    """(route, JSON body) of a message to ``address``: digits, or a JID.

    ``message_id``: the WhatsApp id that it is to have. From 2.4 on some routes take it; where none is taken, it is
    ignored. Version 1 is not asked.
    ``typing``: seconds for which the line is shown to be typing before a text.
    ``media`` are the bytes of an uploaded file; encoding a large one takes long, so call it in a thread.
    Raises ``InvalidRequest`` where Evolution has no request for the content.
    """
    send = _request_for(outgoing, media)
    options = dict(send.options)
    if outgoing.quoted is not None and send.route != "sendReaction":
        options["quoted"] = _quoted(outgoing.quoted)
    if typing > 0 and send.route == "sendText":
        options["delay"] = round(typing * 1000)
    body: dict[str, Any] = {} if send.route == "sendReaction" else {"number": address.removeprefix("+")}
    if dialect is Dialect.FLAT:
        if outgoing.mentions_all:
            options["mentionsEveryOne"] = True
        elif outgoing.mentioned:
            options["mentioned"] = list(outgoing.mentioned)
        body |= send.fields | options
        if message_id is not None:
            body["messageId"] = message_id
    else:
        if outgoing.mentions_all or outgoing.mentioned:
            options["mentions"] = {"everyOne": outgoing.mentions_all, "mentioned": list(outgoing.mentioned)}
        fields = {_WRAPPED_NAMES.get(name, name): value for name, value in send.fields.items()}
        body[send.wrapper] = next(iter(fields.values())) if send.items else fields
        if "delay" in options:
            options["presence"] = "composing"  # version 2 shows nothing else before a text
        if options:
            body["options"] = options
    try:
        return send.route, msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise InvalidRequest(Sentence("the text holds half of a character")) from None


def send_route(content: Content) -> str:
    """The route to which a content is sent; whether a server honours ids is a matter of the route."""
    match content:
        case Text():
            return "sendText"
        case File(kind=MessageKind.VOICE):
            return "sendWhatsAppAudio"
        case File(kind=MessageKind.STICKER):
            return "sendSticker"
        case File():
            return "sendMedia"
        case Location():
            return "sendLocation"
        case SharedContact():
            return "sendContact"
        case Reaction():
            return "sendReaction"
        case Poll():
            return "sendPoll"


def stored_send_route(type: str, kind: str | None) -> str:
    """The route of a content by its tag and its kind of file, as ``outbox.content`` holds them."""
    if type == "file":
        if kind == MessageKind.STICKER:
            return "sendSticker"
        return "sendWhatsAppAudio" if kind == MessageKind.VOICE else "sendMedia"
    return "send" + type.capitalize()


def _request_for(outgoing: OutgoingMessage, media: bytes | None) -> SendRequest:
    match outgoing.content:
        case Text(text=text, link_preview=link_preview):
            return SendRequest("sendText", "textMessage", {"text": text}, {"linkPreview": link_preview})
        case File() as file:
            return _file_request(file, media)
        case Location(latitude=latitude, longitude=longitude, name=name, address=address):
            # Both texts are required, and 2.3 takes empty ones.
            place = {"latitude": latitude, "longitude": longitude, "name": name, "address": address}
            return SendRequest("sendLocation", "locationMessage", place)
        case SharedContact() as card:
            return SendRequest("sendContact", "contactMessage", {"contact": [_card(card)]}, items=True)
        case Reaction(emoji=emoji, external_id=external_id, remote_jid=remote_jid, from_me=from_me):
            key = {"id": external_id, "remoteJid": remote_jid, "fromMe": from_me}
            return SendRequest("sendReaction", "reactionMessage", {"key": key, "reaction": emoji})
        case Poll(name=name, options=options, selectable=selectable):
            poll = {"name": name, "selectableCount": selectable, "values": list(options)}
            return SendRequest("sendPoll", "pollMessage", poll)


def _file_request(file: File, media: bytes | None) -> SendRequest:
    """``sendMedia``, or for a voice note the route that converts any audio into one."""
    if media is not None:
        source = base64.b64encode(media).decode("ascii")
    elif file.url is not None:
        source = file.url
    else:
        raise InvalidRequest(Sentence("a file without a URL and without bytes"))
    if file.kind is MessageKind.VOICE:
        return SendRequest("sendWhatsAppAudio", "audioMessage", {"audio": source}, {"encoding": True})
    if file.kind is MessageKind.STICKER:
        return SendRequest("sendSticker", "stickerMessage", {"sticker": source})
    if file.kind not in _MEDIATYPES:
        raise InvalidRequest(Sentence("{kind} is not a kind of file", kind=file.kind.value))
    fields: dict[str, Any] = {"mediatype": file.kind.value, "media": source}
    if file.mimetype is not None:
        fields["mimetype"] = file.mimetype
    name = file.file_name or (_fallback_name(file) if media is not None else None)
    if name is not None:
        fields["fileName"] = name
    if file.caption:
        fields["caption"] = file.caption
    return SendRequest("sendMedia", "mediaMessage", fields)


def _fallback_name(file: File) -> str:
    """For bytes without a name: Evolution refuses a document without one, and 2.3 derives the type from its suffix."""
    stem = "file" if file.kind is MessageKind.DOCUMENT else file.kind.value
    suffix = _SUFFIXES.get((file.mimetype or "").partition(";")[0].strip().lower(), "")
    return stem + (suffix or ".mp4" * (file.kind is MessageKind.VIDEO))


def _card(card: SharedContact) -> dict[str, str]:
    """``wuid`` are WhatsApp's digits of the phone; without them the card has no button to start a chat."""
    contact = {"fullName": card.name, "wuid": card.phone.removeprefix("+"), "phoneNumber": card.phone}
    optional = {"organization": card.organization, "email": card.email, "url": card.url}
    return contact | {name: value for name, value in optional.items() if value}


def _quoted(quoted: QuotedMessage) -> dict[str, Any]:
    """Evolution shows this text as the quoted message; without it, version 1 refuses a message that is not stored."""
    key = {"id": quoted.external_id, "remoteJid": quoted.remote_jid, "fromMe": quoted.from_me}
    return {"key": key, "message": {"conversation": quoted.text}}


# -- dialects -----------------------------------------------------------------------------------------------

_MISSING = re.compile(r'instance requires property "(\w+)"')
_WRAPPERS = frozenset({
    "textMessage", "mediaMessage", "audioMessage", "locationMessage", "contactMessage", "reactionMessage",
    "pollMessage", "stickerMessage",
})  # fmt: skip
_NO_AUDIO = "Owned media must be"
"""Version 2's schema does not require ``audio``; its controller refuses a wrapped one with this text."""


def expects_other_dialect(refusal: str, dialect: Dialect) -> bool:
    """Whether the text of a 400 shows that the server takes the other dialect; then nothing was sent."""
    missing = frozenset(_MISSING.findall(refusal)) - {"number"}
    if dialect is Dialect.FLAT:
        return bool(missing & _WRAPPERS)
    return bool(missing - _WRAPPERS) or _NO_AUDIO in refusal
