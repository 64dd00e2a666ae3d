"""Serves the message endpoints: checks the number, delivers to the phone, echoes, reports statuses."""

import base64
import binascii
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import trio

from zapline.sandbox.simulator.endpoints.message_contents import CONTENTS, Content
from zapline.sandbox.simulator.endpoints.v1_requests import is_v1, to_v2_body
from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import NUMBER, ApiError, Field, Schema, json_response
from zapline.sandbox.simulator.state.delivery_ledger import DeliveredMessage
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance, message_id, row_id
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import cut_jid, is_2_4, message_form

_TEXT, _INT = Field((str,)), Field((int,), "Enter a value in milliseconds")
_COMMON = {"number": Field((str,), "Invalid format", pattern=NUMBER), "delay": _INT, "quoted": Field((dict,))}
_MEDIA_TYPES = ("image", "document", "video", "audio")
SCHEMAS: dict[str, Schema] = {
    "sendText": Schema(("number", "text"), {**_COMMON, "text": _TEXT}),
    "sendMedia": Schema(("number", "mediatype"), {**_COMMON, "mediatype": Field((str,), choices=_MEDIA_TYPES)}),
    "sendWhatsAppAudio": Schema(("number", "audio"), {**_COMMON, "audio": _TEXT}),
    "sendSticker": Schema(("number",), {**_COMMON, "sticker": _TEXT}),
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
_FAULTS_ON_DELIVERY = ("connection_closed", "whatsapp_throttle", "never_echo", "echo_off", "refused_later")
_TAKES_ID = frozenset({"sendText", "sendMedia", "sendSticker", "sendPtv"})
"""Routes that give the message the request's ``messageId``, from 2.4 on (CHANGES-2026, 2.4 item 1)."""
MAX_DELAY = 120.0  # seconds of "typing" that a request may ask for


@dataclass(frozen=True, slots=True)
class Recipient:
    jid: str
    number: str

    @property
    def is_person(self) -> bool:
        return not self.jid.endswith("@g.us")


async def send(server: ServerState, instance: Instance, request: Request, body: Any, kind: str) -> Response:
    """Serve all send endpoints; ``kind`` is the last segment of the route."""
    schema = SCHEMAS.get(kind)
    if schema is None:
        raise ApiError(404, [f"Cannot POST {request.path}"])
    body = schema.check(to_v2_body(kind, body) if is_v1(server.behaviour.version) else body)
    if kind == "sendTemplate":
        raise ApiError(500, "Method not available in the Baileys service")
    _validate(kind, body)
    recipient = _find_recipient(server, instance, request.path, body)
    if kind == "sendMedia":
        _check_media_host(str(body.get("media", "")))
    delay = body.get("delay", 0)
    if delay:
        server.ledger.questions.append((instance.name, "typing", (recipient.number, str(delay))))
        await trio.sleep(min(delay / 1000, MAX_DELAY))
    fault = server.faults.trigger(_FAULTS_ON_DELIVERY, instance.name, request.path)
    if instance.socket != "alive" or (fault is not None and fault.kind == "connection_closed"):
        raise ApiError(400, ["Error: Connection Closed"])
    if fault is not None and fault.kind == "whatsapp_throttle":
        raise _throttled(fault)
    external_id = _external_id(server, kind, body)
    return _deliver(server, instance, recipient, CONTENTS[kind](body, server), body, external_id, fault)


def _external_id(server: ServerState, kind: str, body: dict[str, Any]) -> str:
    """The id that was asked for, where this version and route honour it; else one of the server's own."""
    chosen = body.get("messageId")
    if isinstance(chosen, str) and chosen and kind in _TAKES_ID and is_2_4(server.behaviour.version):
        return chosen
    return message_id(server.rng)


def _throttled(fault: Fault) -> ApiError:
    """Return the error of WhatsApp's own limit, which shows in the text alone, in one of its three forms."""
    if fault.status == 463:
        return ApiError(400, ["Error: 463"])
    return ApiError(400, ["Error: rate-overlimit"]) if fault.status == 400 else ApiError(500, "rate-overlimit")


def _validate(kind: str, body: dict[str, Any]) -> None:
    if kind == "sendText" and not body["text"].strip():
        raise ApiError(400, ["Text is required"])
    if kind == "sendReaction" and not _single_emoji(body["reaction"]):
        raise ApiError(400, ["Reaction must be a single emoji or empty string"])
    if kind == "sendMedia":
        media = str(body.get("media", ""))
        is_url = urlsplit(media).scheme in ("http", "https")
        if not is_url and body["mediatype"] == "document" and not body.get("fileName"):
            raise ApiError(400, ["For base64 the file name must be informed."])
        if not is_url and not _is_base64(media):
            raise ApiError(400, ["Owned media must be a url or base64"])


def _single_emoji(text: str) -> bool:
    return text == "" or (len(text) <= 8 and all(ord(character) > 0x2000 for character in text))


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _check_media_host(media: str) -> None:
    """Refuse hosts under .invalid as unknown; all others are accepted, and nothing is fetched."""
    host = urlsplit(media).hostname or ""
    if host.endswith(".invalid"):
        raise ApiError(500, [f"Error: getaddrinfo ENOTFOUND {host}"])


def create_jid(number: str) -> str:
    """Apply Evolution's rule: a Brazilian mobile number outside the areas 11 to 30 loses its ninth digit."""
    if "@" in number:
        return number
    match = _BRAZIL.fullmatch(number)
    if match and int(match[2]) >= 31 and int(match[3][0]) >= 7:
        number = match[1] + match[2] + match[3]
    return f"{number}@s.whatsapp.net"


def look_up(server: ServerState, number: str) -> Recipient | None:
    """Return who has this number on WhatsApp, or None. Raises ``TimeoutError`` where the look-up times out."""
    numbers = server.numbers
    digits = number.removesuffix("@s.whatsapp.net")
    if digits in numbers.unanswered:
        raise TimeoutError
    if digits in numbers.missing:
        return None
    return Recipient(create_jid(numbers.aliases.get(digits, digits)), number)


def check_socket(instance: Instance) -> None:
    """Raise ``ApiError`` without an open socket; its text differs between one never opened and one closed."""
    if instance.socket == "never":
        raise ApiError(500, "Cannot read properties of undefined (reading 'onWhatsApp')")
    if instance.socket == "closed":
        raise ApiError(500, "Connection Closed")


def _find_recipient(server: ServerState, instance: Instance, path: str, body: dict[str, Any]) -> Recipient:
    number = str(body["number"] if "number" in body else body["key"].get("remoteJid", ""))
    check_socket(instance)
    if server.faults.trigger(("number_check_timeout",), instance.name, path):
        raise ApiError(500, "Timed Out")
    try:
        recipient = look_up(server, number)
    except TimeoutError as exc:
        raise ApiError(500, "Timed Out") from exc
    if recipient is None:
        raise ApiError(400, [{"jid": create_jid(number), "exists": False, "number": number}])
    return recipient


def _deliver(
    server: ServerState,
    instance: Instance,
    recipient: Recipient,
    content: Content,
    body: dict[str, Any],
    external_id: str,
    fault: Fault | None,
) -> Response:
    """Deliver to the phone, then store, echo and report as the fault allows."""
    now = time.time()
    lost = fault is not None and fault.kind == "never_echo"
    refused = fault is not None and fault.kind == "refused_later"
    echoed = fault is None or refused
    # A phone shows a second message of an id that it has as little as WhatsApp does: not at all.
    if not refused and server.ledger.has_delivered(instance.name, external_id):
        server.ledger.repeated += 1
    elif not refused:
        server.ledger.add_message(
            DeliveredMessage(
                external_id, instance.name, recipient.number, content.message_type, content.text, now, echoed
            )
        )
    if lost:
        raise ApiError(400, ["Error: Timed Out"])
    message = _build_message(server, instance, recipient, content, body, external_id, int(now))
    stored = server.store(instance, StoredMessage(row_id(server.rng), message, media=content.media))
    if echoed:
        server.fire(instance, "send.message", message)
    if refused and fault is not None:
        _refuse(server, instance, stored, fault)
    elif recipient.is_person and server.behaviour.statuses and server.behaviour.store:
        _report_statuses(server, instance, stored)
    return json_response(message, 201)


def _build_message(
    server: ServerState,
    instance: Instance,
    recipient: Recipient,
    content: Content,
    body: dict[str, Any],
    external_id: str,
    now: int,
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "key": {"remoteJid": recipient.jid, "fromMe": True, "id": external_id},
        "pushName": "Você",
        "status": "PENDING",
        "message": content.message,
    }
    if content.has_context:
        context = _context(server, instance, recipient, body, now)
        context |= content.extra_context or {}
        if content.inner is not None and context:
            content.inner["contextInfo"] = context
        if content.shows_context and context:
            message["contextInfo"] = context
    message |= {
        "messageType": content.message_type,
        "messageTimestamp": now,
        "instanceId": instance.id,
        "source": "web",
    }
    return message_form(server.behaviour.version, message)


def _context(
    server: ServerState, instance: Instance, recipient: Recipient, body: dict[str, Any], now: int
) -> dict[str, Any]:
    if not recipient.is_person:
        named = [create_jid(str(one)) for one in body.get("mentioned") or ()]
        if body.get("mentionsEveryOne"):
            named = list(server.numbers.groups.get(recipient.jid, ()))
        return {"mentionedJid": named} if named else {}
    context: dict[str, Any] = {
        "mentionedJid": [],  # 2.3 hands them on for groups alone
        "groupMentions": [],
        "ephemeralSettingTimestamp": {"low": now - 172800, "high": 0, "unsigned": False},
        "disappearingMode": {"initiator": 0},
    }
    quoted = (body.get("quoted") or {}).get("key", {})
    if quoted.get("id"):
        original = instance.messages.get(quoted["id"])
        key = original.message["key"] if original else quoted
        mine = key.get("fromMe", True)
        context["participant"] = instance.owner_jid if mine else key.get("participant") or key.get("remoteJid")
        context["stanzaId"] = quoted["id"]
        context["quotedMessage"] = original.message["message"] if original else {}
    return context


def _report_statuses(server: ServerState, instance: Instance, stored: StoredMessage) -> None:
    async def report() -> None:
        for status in server.behaviour.statuses:
            await trio.sleep(server.behaviour.status_gap)
            tell = partial(server.from_phone, instance, partial(report_status, server, instance, stored, status))
            phone = stored.message["key"]["remoteJid"].partition("@")[0]
            if status != "SERVER_ACK" and phone in server.numbers.silent:
                server.numbers.unreported.setdefault(phone, []).append(tell)
            else:
                tell()

    server.spawn(report)


def switch_off(server: ServerState, numbers: Iterable[str]) -> None:
    """Have these phones be off, and no others: what those that are on again have got meanwhile is reported now."""
    silent = {create_jid(number).partition("@")[0] for number in numbers}
    on_again, server.numbers.silent = server.numbers.silent - silent, silent
    for phone in on_again:
        for tell in server.numbers.unreported.pop(phone, ()):
            tell()


def _refuse(server: ServerState, instance: Instance, stored: StoredMessage, fault: Fault) -> None:
    """WhatsApp refuses a message that was answered with 201: some time later, and most often without its code."""

    async def report() -> None:
        await trio.sleep(server.behaviour.status_gap)
        codes = [str(fault.status)] if fault.status is not None else None
        report_status(server, instance, stored, "ERROR", codes)

    server.spawn(report)


def report_status(
    server: ServerState, instance: Instance, stored: StoredMessage, status: str, codes: list[str] | None = None
) -> None:
    """Store a status of a message and fire its webhook; ``codes``: WhatsApp's own, which 2.3.7 never passes on."""
    key, version = stored.message["key"], server.behaviour.version
    stored.statuses.append(status)
    data = {"keyId": key["id"], "remoteJid": cut_jid(version, key["remoteJid"]), "fromMe": key["fromMe"]}
    if key.get("participant"):
        data["participant"] = cut_jid(version, key["participant"])
    data |= {"status": status, "instanceId": instance.id, "messageId": stored.row_id}
    if codes is not None:
        data["messageStubParameters"] = codes
    server.fire(instance, "messages.update", data)
