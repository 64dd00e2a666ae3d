"""Answers the message endpoints: checks the number, delivers to the phone, echoes, reports statuses."""

import base64
import binascii
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import trio

from zapline.sandbox.simulator.endpoints.message_contents import CONTENTS, Content
from zapline.sandbox.simulator.endpoints.v1_bodies import flattened, is_old
from zapline.sandbox.simulator.http.http_server import Answer, Request
from zapline.sandbox.simulator.http.responses import NUMBER, Field, Refusal, Schema, answer
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance, message_id, row_id
from zapline.sandbox.simulator.state.ledger import Delivered
from zapline.sandbox.simulator.state.message_store import Stored
from zapline.sandbox.simulator.state.world import World

_TEXT, _INT = Field((str,)), Field((int,), "Enter a value in milliseconds")
_COMMON = {"number": Field((str,), "Invalid format", pattern=NUMBER), "delay": _INT, "quoted": Field((dict,))}
_MEDIA_TYPES = ("image", "document", "video", "audio")
SCHEMAS: dict[str, Schema] = {
    "sendText": Schema(("number", "text"), {**_COMMON, "text": _TEXT}),
    "sendMedia": Schema(("number", "mediatype"), {**_COMMON, "mediatype": Field((str,), choices=_MEDIA_TYPES)}),
    "sendWhatsAppAudio": Schema(("number", "audio"), {**_COMMON, "audio": _TEXT}),
    "sendReaction": Schema(("key", "reaction"), {"key": Field((dict,)), "reaction": _TEXT}),
    "sendLocation": Schema(
        ("number", "latitude", "longitude", "name", "address"),
        {**_COMMON, "latitude": Field((float, int)), "longitude": Field((float, int))},
    ),
    "sendContact": Schema(("number", "contact"), {**_COMMON, "contact": Field((list,))}),
    "sendPoll": Schema(
        ("number", "name", "selectableCount", "values"),
        {**_COMMON, "selectableCount": Field((int,)), "values": Field((list,))},
    ),
    "sendTemplate": Schema(("number", "name", "language"), _COMMON),
}
_BRAZIL = re.compile(r"(55)(\d{2})\d(\d{8})")
_AT_THE_END = ("connection_closed", "whatsapp_throttle", "never_echo", "echo_off")
LONGEST_DELAY = 120.0  # seconds that a request may ask the server to "type"


@dataclass(frozen=True, slots=True)
class Recipient:
    jid: str
    number: str

    @property
    def is_person(self) -> bool:
        return not self.jid.endswith("@g.us")


async def send(world: World, instance: Instance, request: Request, body: Any, kind: str) -> Answer:
    """All the send endpoints; ``kind`` is the last word of the route."""
    schema = SCHEMAS.get(kind)
    if schema is None:
        raise Refusal(404, [f"Cannot POST {request.path}"])
    body = schema.check(flattened(kind, body) if is_old(world.habits.version) else body)
    if kind == "sendTemplate":
        raise Refusal(500, "Method not available in the Baileys service")
    _check_rules(kind, body)
    recipient = _recipient(world, instance, request.path, body)
    if kind == "sendMedia":
        _check_media_host(str(body.get("media", "")))
    delay = body.get("delay", 0)
    if delay:
        await trio.sleep(min(delay / 1000, LONGEST_DELAY))
    fault = world.faults.strike(_AT_THE_END, instance.name, request.path)
    if instance.socket != "alive" or (fault is not None and fault.kind == "connection_closed"):
        raise Refusal(400, ["Error: Connection Closed"])
    if fault is not None and fault.kind == "whatsapp_throttle":
        raise _throttled(fault)
    return _deliver(world, instance, recipient, CONTENTS[kind](body, world), body, fault)


def _throttled(fault: Fault) -> Refusal:
    """WhatsApp's own limit shows in the words alone: while the number is checked, or while the message is sent."""
    if fault.status == 463:
        return Refusal(400, ["Error: 463"])
    return Refusal(400, ["Error: rate-overlimit"]) if fault.status == 400 else Refusal(500, "rate-overlimit")


def _check_rules(kind: str, body: dict[str, Any]) -> None:
    if kind == "sendText" and not body["text"].strip():
        raise Refusal(400, ["Text is required"])
    if kind == "sendReaction" and not _single_emoji(body["reaction"]):
        raise Refusal(400, ["Reaction must be a single emoji or empty string"])
    if kind == "sendMedia":
        media = str(body.get("media", ""))
        is_url = urlsplit(media).scheme in ("http", "https")
        if not is_url and body["mediatype"] == "document" and not body.get("fileName"):
            raise Refusal(400, ["For base64 the file name must be informed."])
        if not is_url and not _is_base64(media):
            raise Refusal(400, ["Owned media must be a url or base64"])


def _single_emoji(text: str) -> bool:
    return text == "" or (len(text) <= 8 and all(ord(letter) > 0x2000 for letter in text))


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _check_media_host(media: str) -> None:
    """Hosts under .invalid do not exist; all others are taken to answer, and nothing is fetched."""
    host = urlsplit(media).hostname or ""
    if host.endswith(".invalid"):
        raise Refusal(500, [f"Error: getaddrinfo ENOTFOUND {host}"])


def create_jid(number: str) -> str:
    """Evolution's rule: a Brazilian mobile number outside the areas 11 to 30 loses its ninth digit."""
    if "@" in number:
        return number
    match = _BRAZIL.fullmatch(number)
    if match and int(match[2]) >= 31 and int(match[3][0]) >= 7:
        number = match[1] + match[2] + match[3]
    return f"{number}@s.whatsapp.net"


def look_up(world: World, number: str) -> Recipient | None:
    """Who answers to this number on WhatsApp, or None. ``TimeoutError``: the look-up gets no answer."""
    phones = world.phones
    digits = number.removesuffix("@s.whatsapp.net")
    if digits in phones.unanswered:
        raise TimeoutError
    if digits in phones.missing:
        return None
    return Recipient(create_jid(phones.aliases.get(digits, digits)), number)


def check_socket(instance: Instance) -> None:
    """The words differ between a socket that never was and one that is closed."""
    if instance.socket == "never":
        raise Refusal(500, "Cannot read properties of undefined (reading 'onWhatsApp')")
    if instance.socket == "closed":
        raise Refusal(500, "Connection Closed")


def _recipient(world: World, instance: Instance, path: str, body: dict[str, Any]) -> Recipient:
    number = str(body["number"] if "number" in body else body["key"].get("remoteJid", ""))
    check_socket(instance)
    if world.faults.strike(("number_check_timeout",), instance.name, path):
        raise Refusal(500, "Timed Out")
    try:
        found = look_up(world, number)
    except TimeoutError as exc:
        raise Refusal(500, "Timed Out") from exc
    if found is None:
        raise Refusal(400, [{"jid": create_jid(number), "exists": False, "number": number}])
    return found


def _deliver(
    world: World,
    instance: Instance,
    recipient: Recipient,
    content: Content,
    body: dict[str, Any],
    fault: Fault | None,
) -> Answer:
    """From here on the phone has it."""
    now = time.time()
    external_id = message_id(world.chance)
    lost = fault is not None and fault.kind == "never_echo"
    echoed = fault is None
    world.ledger.received(
        Delivered(external_id, instance.name, recipient.number, content.message_type, content.text, now, echoed)
    )
    if lost:
        raise Refusal(400, ["Error: Timed Out"])
    prepared = _prepare(world, instance, recipient, content, body, external_id, int(now))
    stored = world.store(instance, Stored(row_id(world.chance), prepared, media=content.media))
    if echoed:
        world.fire(instance, "send.message", prepared)
    if recipient.is_person and world.habits.statuses and world.habits.store:
        _report_statuses(world, instance, stored)
    return answer(prepared, 201)


def _prepare(
    world: World,
    instance: Instance,
    recipient: Recipient,
    content: Content,
    body: dict[str, Any],
    external_id: str,
    now: int,
) -> dict[str, Any]:
    prepared: dict[str, Any] = {
        "key": {"remoteJid": recipient.jid, "fromMe": True, "id": external_id},
        "pushName": "Você",
        "status": "PENDING",
        "message": content.message,
    }
    if content.has_context:
        context = _context(world, instance, recipient, body, now)
        context |= content.more_context or {}
        if content.inner is not None:
            content.inner["contextInfo"] = context
        if content.context_shown:
            prepared["contextInfo"] = context
    prepared |= {
        "messageType": content.message_type,
        "messageTimestamp": now,
        "instanceId": instance.id,
        "source": "web",
    }
    return prepared


def _context(world: World, instance: Instance, recipient: Recipient, body: dict[str, Any], now: int) -> dict[str, Any]:
    if not recipient.is_person:
        everyone = world.phones.groups.get(recipient.jid, ()) if body.get("mentionsEveryOne") else ()
        return {"mentionedJid": list(everyone)}
    context: dict[str, Any] = {
        "mentionedJid": list(body.get("mentioned") or []),
        "groupMentions": [],
        "ephemeralSettingTimestamp": {"low": now - 172800, "high": 0, "unsigned": False},
        "disappearingMode": {"initiator": 0},
    }
    quoted = (body.get("quoted") or {}).get("key", {}).get("id")
    if quoted:
        original = instance.messages.get(quoted)
        context["participant"] = instance.owner_jid
        context["stanzaId"] = quoted
        context["quotedMessage"] = original.message["message"] if original else {}
    return context


def _report_statuses(world: World, instance: Instance, stored: Stored) -> None:
    async def report() -> None:
        for status in world.habits.statuses:
            await trio.sleep(world.habits.status_gap)
            report_status(world, instance, stored, status)

    world.spawn(report)


def report_status(world: World, instance: Instance, stored: Stored, status: str) -> None:
    """The phone, or WhatsApp's server, reports what became of a message."""
    key = stored.message["key"]
    stored.statuses.append(status)
    data = {"keyId": key["id"], "remoteJid": key["remoteJid"], "fromMe": key["fromMe"]}
    if key.get("participant"):
        data["participant"] = key["participant"]
    data |= {"status": status, "instanceId": instance.id, "messageId": stored.row_id}
    world.fire(instance, "messages.update", data)
