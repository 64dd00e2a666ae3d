"""Reads the bodies that versions 1.x took for sending: the content in a part of its own, the rest under options."""

from collections.abc import Mapping
from typing import Any

from zapline.sandbox.simulator.http.responses import Refusal

_PARTS: Mapping[str, str] = {
    "sendText": "textMessage",
    "sendMedia": "mediaMessage",
    "sendWhatsAppAudio": "audioMessage",
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
    "sendReaction": ("key", "reaction"),
    "sendLocation": ("latitude", "longitude"),
    "sendPoll": ("name", "selectableCount", "values"),
}


def is_old(version: str) -> bool:
    """Whether this version takes the old shape; each version rejects the other's (contract, section 1)."""
    return version.startswith("1.")


def flattened(kind: str, body: Any) -> dict[str, Any]:
    """The body as versions 2.x take it. Raises the refusal of a body in their shape."""
    given: dict[str, Any] = body if isinstance(body, dict) else {}
    name = _PARTS[kind]
    part = given.get(name)
    missing = [] if name in given else [f'instance requires property "{name}"']
    if isinstance(part, dict):
        missing += [
            f'instance.{name} requires property "{word}"' for word in _REQUIRED.get(kind, ()) if word not in part
        ]
    if kind != "sendReaction" and "number" not in given:
        missing.append('instance requires property "number"')
    if missing:
        raise Refusal(400, [missing])
    options = given.get("options")
    flat = {word: given[word] for word in ("number",) if word in given}
    flat |= options if isinstance(options, dict) else {}
    mentions = flat.pop("mentions", None)
    if isinstance(mentions, dict):
        flat["mentionsEveryOne"], flat["mentioned"] = mentions.get("everyOne"), mentions.get("mentioned")
    if kind == "sendContact":
        return {**flat, "contact": part}
    return {**flat, **(part if isinstance(part, dict) else {}), **_named(kind, part)}


def _named(kind: str, part: Any) -> dict[str, Any]:
    """What 2.x requires and 1.x left out."""
    if kind != "sendLocation" or not isinstance(part, dict):
        return {}
    return {"name": part.get("name", ""), "address": part.get("address", "")}
