"""Converts the send requests of Evolution 1.x: content in an object of its own, the rest under ``options``."""

from collections.abc import Mapping
from typing import Any

from zapline.sandbox.simulator.http.responses import ApiError

_CONTENT_KEYS: Mapping[str, str] = {
    "sendText": "textMessage",
    "sendMedia": "mediaMessage",
    "sendWhatsAppAudio": "audioMessage",
    "sendSticker": "stickerMessage",
    "sendReaction": "reactionMessage",
    "sendLocation": "locationMessage",
    "sendContact": "contactMessage",
    "sendPoll": "pollMessage",
    "sendTemplate": "templateMessage",
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "sendText": ("text",),
    "sendMedia": ("mediatype", "media"),
    "sendWhatsAppAudio": ("audio",),
    "sendSticker": ("image",),
    "sendReaction": ("key", "reaction"),
    "sendLocation": ("latitude", "longitude"),
    "sendPoll": ("name", "selectableCount", "values"),
}


def is_v1(version: str) -> bool:
    """Whether this version takes the 1.x format; each version rejects the other's (contract, section 1)."""
    return version.startswith("1.")


def to_v2_body(kind: str, body: Any) -> dict[str, Any]:
    """Return the body in the format of versions 2.x. Raises ``ApiError`` for a body that is not in the 1.x format."""
    body = body if isinstance(body, dict) else {}
    name = _CONTENT_KEYS[kind]
    content = body.get(name)
    missing = [] if name in body else [f'instance requires property "{name}"']
    if isinstance(content, dict):
        missing += [
            f'instance.{name} requires property "{key}"' for key in _REQUIRED.get(kind, ()) if key not in content
        ]
    if kind != "sendReaction" and "number" not in body:
        missing.append('instance requires property "number"')
    if missing:
        raise ApiError(400, [missing])
    options = body.get("options")
    flat: dict[str, Any] = {"number": body["number"]} if "number" in body else {}
    flat |= options if isinstance(options, dict) else {}
    mentions = flat.pop("mentions", None)
    if isinstance(mentions, dict):
        flat["mentionsEveryOne"], flat["mentioned"] = mentions.get("everyOne"), mentions.get("mentioned")
    if kind == "sendSticker" and isinstance(content, dict):
        return {**flat, "sticker": content["image"]}
    if kind == "sendContact":
        return {**flat, "contact": content}
    return {**flat, **(content if isinstance(content, dict) else {}), **_location_defaults(kind, content)}


def _location_defaults(kind: str, content: Any) -> dict[str, Any]:
    """Return the fields of a location that 2.x requires and 1.x does not."""
    if kind != "sendLocation" or not isinstance(content, dict):
        return {}
    return {"name": content.get("name", ""), "address": content.get("address", "")}
