"""Simulates the phones: receives messages, reports statuses, and replays recorded webhooks."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from zapline.sandbox.simulator.endpoints.contact_events import report_contact
from zapline.sandbox.simulator.endpoints.messages import report_status
from zapline.sandbox.simulator.state.delivery_ledger import ReadReceipt
from zapline.sandbox.simulator.state.instances import Instance, device_of, message_id, row_id
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import message_form, webhook_key

RECORDINGS = Path(__file__).parents[2] / "recordings"
_PERSON_KEY = {"participant": "", "addressingMode": "pn"}
"""What the key of a message that a phone sent carries besides, until ``key`` says otherwise."""
_RECORDING_NAME = re.compile(r"[A-Za-z0-9._-]+")


def receive(
    server: ServerState,
    instance: Instance,
    text: str = "",
    sender: str = "5511999990001",
    *,
    external_id: str | None = None,
    push_name: str | None = "Maria Silva",
    from_me: bool = False,
    message: dict[str, Any] | None = None,
    message_type: str = "conversation",
    key: dict[str, Any] | None = None,
    at: float | None = None,
    media: str | None = None,
) -> str:
    """Store a message that arrives at the line and fire its webhook; return the message id.

    ``sender`` is a number or a JID. ``message`` and ``message_type`` replace the text; ``key`` adds to the
    key. ``at``: seconds since the epoch. ``media``: the file as base64, which the webhook carries if it is so
    configured.
    """
    jid = sender if "@" in sender else f"{sender}@s.whatsapp.net"
    external_id = external_id or message_id(server.rng)
    content = message if message is not None else {"conversation": text}
    data = {
        "key": {"remoteJid": jid, "fromMe": from_me, "id": external_id, **_PERSON_KEY, **(key or {})},
        "pushName": instance.profile_name if from_me else push_name,
        "status": "SERVER_ACK" if from_me else "DELIVERY_ACK",
        "message": content,
        "messageType": message_type,
        "messageTimestamp": int(at if at is not None else time.time()),
        "instanceId": instance.id,
        "source": device_of(external_id),
    }
    server.from_phone(instance, partial(_handle_message, server, instance, data, media))
    return external_id


def react(
    server: ServerState, instance: Instance, target: str, emoji: str, sender: str = "5511999990001", **more: Any
) -> str:
    """Receive a reaction to the message ``target``; an empty one takes it back. ``more``: as of :func:`receive`."""
    stored = instance.messages.get(target)
    mine = bool(stored.message["key"].get("fromMe")) if stored is not None else False
    at = float(more.get("at") or time.time())
    jid = sender if "@" in sender else f"{sender}@s.whatsapp.net"
    key = {"remoteJid": jid, "fromMe": mine, "id": target, "participant": ""}
    ms = int(at * 1000)
    sent = {"low": ms & 0xFFFFFFFF, "high": ms >> 32, "unsigned": False}
    message = {"reactionMessage": {"key": key, "text": emoji, "senderTimestampMs": sent}}
    return receive(server, instance, "", sender, message=message, message_type="reactionMessage", **more)


def call(
    server: ServerState, instance: Instance, id: str, status: str = "offer", sender: str = "5511999990001", *, at: float
) -> None:
    """Tell of a call to the line: its ``offer``, or how it ended. Evolution stores nothing of it."""
    jid = sender if "@" in sender else f"{sender}@s.whatsapp.net"
    date = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"chatId": jid, "from": jid, "id": id, "date": date, "offline": False, "status": status}

    def report() -> None:
        text = str(instance.settings["msgCall"]).strip()
        if status == "offer" and text:  # whether the call is rejected or not
            receive(server, instance, text, sender, from_me=True, at=at)
        server.fire(instance, "call", {**told, "isVideo": False, "isGroup": False})

    server.from_phone(instance, report)


def _handle_message(server: ServerState, instance: Instance, data: dict[str, Any], media: str | None) -> None:
    """Store a message and post it, then what Evolution says of its contact; the database keeps the LID's name."""
    version, key = server.behaviour.version, data["key"]
    if instance.settings["groupsIgnore"] and str(key["remoteJid"]).endswith("@g.us"):
        return
    if instance.settings["readMessages"] and not key["fromMe"]:
        server.ledger.reads.append(ReadReceipt(instance.name, key["id"], key["remoteJid"], time.time()))
    data = message_form(version, data)
    _store(server, instance, data, media)
    posted = {**data, "key": webhook_key(version, data["key"])}
    if media is not None and instance.webhook is not None and instance.webhook.base64:
        posted["message"] = {**data["message"], "base64": media}
    server.fire(instance, "messages.upsert", posted)
    report_contact(server, instance, data)


def _store(server: ServerState, instance: Instance, data: dict[str, Any], media: str | None = None) -> None:
    """Store the message, if the data has the fields that the row needs."""
    key = data.get("key")
    if not isinstance(key, dict) or not isinstance(key.get("id"), str) or "remoteJid" not in key:
        return
    if not isinstance(data.get("messageTimestamp"), int) or "message" not in data:
        return
    server.store(instance, StoredMessage(row_id(server.rng), {**data, "instanceId": instance.id}, media=media))


def status(server: ServerState, instance: Instance, external_id: str, status: str, jid: str | None = None) -> None:
    """Report a status of a message. One that is not stored is reported only if its chat, ``jid``, is given:
    Evolution itself skips it."""

    def report() -> None:
        stored = instance.messages.get(external_id)
        if stored is None and jid is not None:
            stored = StoredMessage("", {"key": {"id": external_id, "remoteJid": jid, "fromMe": True}})
        if stored is not None:
            report_status(server, instance, stored, status)

    server.from_phone(instance, report)


def read_recording(folder: str, name: str) -> bytes:
    """Return the bytes of a recording. Raises ``FileNotFoundError`` for an unknown name."""
    name = name.removesuffix(".json")
    if not _RECORDING_NAME.fullmatch(name):
        raise FileNotFoundError(name)
    return (RECORDINGS / folder / f"{name}.json").read_bytes()


def recording_names(folder: str) -> list[str]:
    return sorted(path.stem for path in (RECORDINGS / folder).glob("*.json"))


def replay(server: ServerState, instance: Instance, name: str, *, fresh: bool = False) -> None:
    """Post a recorded body as if this instance sent it, also without a subscription.

    A body that is not a JSON object is posted unchanged. ``fresh``: with a new id and the current time.
    """
    raw = read_recording("webhooks", name)
    try:
        body = json.loads(raw)
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or "event" not in body:
        server.post_raw(instance, name, None, raw)
        return
    body = address_to_instance(server, instance, body, fresh)
    event, data = str(body["event"]), body.get("data")

    def handle() -> Iterator[trio.Event]:
        if isinstance(data, dict):
            _store(server, instance, data)
        delivered = server.post(instance, event, body)
        if delivered is not None and event == "messages.edited":
            yield delivered

    server.from_phone(instance, handle)


def address_to_instance(server: ServerState, instance: Instance, body: dict[str, Any], fresh: bool) -> dict[str, Any]:
    """Replace the recorded names in the body by this instance's; what is absent stays absent."""
    hook = instance.webhook
    names = {
        "instance": instance.name,
        "destination": hook.url if hook else "",
        "server_url": server.url,
        "apikey": instance.token if server.behaviour.expose_token else None,
        "sender": instance.owner_jid or body.get("sender"),
    }
    body = {**body, **{name: value for name, value in names.items() if name in body}}
    data = body.get("data")
    if not isinstance(data, dict):
        return body
    data = dict(data)
    data_names = {"instance": instance.name, "instanceName": instance.name, "instanceId": instance.id}
    data |= {name: value for name, value in data_names.items() if name in data}
    if fresh and isinstance(data.get("key"), dict):
        data["key"] = {**data["key"], "id": message_id(server.rng)}
        data["messageTimestamp"] = int(time.time())
    return {**body, "data": data}
