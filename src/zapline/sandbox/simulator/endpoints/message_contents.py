"""Builds the content of a sent message, one function per type, as Evolution returns and echoes it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zapline.sandbox.simulator.state.server_state import ServerState

_PATH = "/v/t62.7118-24/x_n.enc?ccb=11-4&oh=01&oe=69"


@dataclass(frozen=True, slots=True)
class Content:
    """``inner``: the object that also holds the context. ``text``: what the recipient reads."""

    message: dict[str, Any]
    message_type: str
    text: str
    inner: dict[str, Any] | None = None
    has_context: bool = True
    shows_context: bool = True
    extra_context: dict[str, Any] | None = None
    media: str | None = None
    """The file as base64, if the request held it."""


def _bytes(server: ServerState, length: int) -> dict[str, int]:
    """Return random bytes as Evolution 2.3 formats them: an object of indexes."""
    return {str(index): byte for index, byte in enumerate(server.rng.randbytes(length))}


def _long(value: int, unsigned: bool = True) -> dict[str, Any]:
    return {"low": value, "high": 0, "unsigned": unsigned}


def _file(media: object) -> str | None:
    """Return the base64 of the request, or None for a URL, which is never fetched."""
    text = str(media)
    return None if text.startswith(("http://", "https://")) else text


def _size(file: str | None) -> int:
    """Return the size of the decoded base64 in bytes; 1024 for an unknown file."""
    return len(file) * 3 // 4 - file[-2:].count("=") if file else 1024


def _encrypted(server: ServerState, size: int) -> dict[str, Any]:
    return {
        "url": "https://mmg.whatsapp.net" + _PATH,
        "directPath": _PATH,
        "fileSha256": _bytes(server, 32),
        "fileEncSha256": _bytes(server, 32),
        "mediaKey": _bytes(server, 32),
        "mediaKeyTimestamp": _long(int(time.time()), unsigned=False),
        "fileLength": _long(size),
    }


def _text(body: dict[str, Any], server: ServerState) -> Content:
    return Content({"conversation": body["text"]}, "conversation", body["text"])


def _media(body: dict[str, Any], server: ServerState) -> Content:
    kind = body["mediatype"] + "Message"
    default_types = {
        "image": "image/png",
        "video": "video/mp4",
        "audio": "audio/mpeg",
        "document": "application/octet-stream",
    }
    file = _file(body.get("media", ""))
    inner = _encrypted(server, _size(file))
    inner["mimetype"] = body.get("mimetype") or default_types[body["mediatype"]]
    if body.get("caption"):
        inner["caption"] = body["caption"]
    if body["mediatype"] == "document":
        inner["fileName"] = body.get("fileName") or "file"
    if body["mediatype"] in ("image", "video"):
        inner |= {"height": 1, "width": 1, "jpegThumbnail": _bytes(server, 274)}
        inner |= {"interactiveAnnotations": [], "scanLengths": [], "annotations": []}
    return Content({kind: inner}, kind, body.get("caption") or "", inner, media=file)


def _audio(body: dict[str, Any], server: ServerState) -> Content:
    file = _file(body["audio"])
    inner = _encrypted(server, _size(file)) | {"mimetype": "audio/ogg; codecs=opus", "ptt": True}
    extra: dict[str, Any] = {"statusAttributions": []}
    return Content({"audioMessage": inner}, "audioMessage", "", inner, extra_context=extra, media=file)


def _sticker(body: dict[str, Any], server: ServerState) -> Content:
    """Any picture becomes a WebP."""
    file = _file(body.get("sticker", ""))
    inner = _encrypted(server, _size(file)) | {"mimetype": "image/webp", "height": 64, "width": 64}
    return Content({"stickerMessage": inner}, "stickerMessage", "", inner, media=file)


def _reaction(body: dict[str, Any], server: ServerState) -> Content:
    inner = {"text": body["reaction"], "key": body["key"], "senderTimestampMs": int(time.time() * 1000)}
    return Content({"reactionMessage": inner}, "reactionMessage", body["reaction"], has_context=False)


def _location(body: dict[str, Any], server: ServerState) -> Content:
    inner = {
        "degreesLatitude": body["latitude"],
        "degreesLongitude": body["longitude"],
        "name": body["name"],
        "address": body["address"],
    }
    return Content({"locationMessage": inner}, "locationMessage", body["name"], inner)


def _contact(body: dict[str, Any], server: ServerState) -> Content:
    first = body["contact"][0] if body["contact"] else {}
    name, wuid = str(first.get("fullName", "")), str(first.get("wuid", ""))
    vcard = (
        f"BEGIN:VCARD\nVERSION:3.0\nN:{name}\nFN:{name}\n"
        f"item1.TEL;waid={wuid}:{first.get('phoneNumber', wuid)}\nitem1.X-ABLabel:Celular\nEND:VCARD"
    )
    inner: dict[str, Any] = {"displayName": name, "vcard": vcard}
    return Content({"contactMessage": inner}, "contactMessage", name, inner)


def _poll(body: dict[str, Any], server: ServerState) -> Content:
    inner: dict[str, Any] = {"messageSecret": _bytes(server, 32)}
    poll = {
        "name": body["name"],
        "selectableOptionsCount": body["selectableCount"],
        "options": [{"optionName": value} for value in body["values"]],
    }
    message = {"messageContextInfo": inner, "pollCreationMessageV3": poll}
    return Content(message, "pollCreationMessageV3", body["name"], inner, shows_context=False)


CONTENTS: dict[str, Callable[[dict[str, Any], ServerState], Content]] = {
    "sendText": _text,
    "sendMedia": _media,
    "sendWhatsAppAudio": _audio,
    "sendSticker": _sticker,
    "sendReaction": _reaction,
    "sendLocation": _location,
    "sendContact": _contact,
    "sendPoll": _poll,
}
