"""Simulates the phones: receives messages, reports statuses, and replays recorded webhooks."""

import json
import re
import time
from pathlib import Path
from typing import Any

from zapline.sandbox.simulator.endpoints.messages import report_status
from zapline.sandbox.simulator.state.instances import Instance, iso_now, message_id, row_id
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_state import ServerState

RECORDINGS = Path(__file__).parents[2] / "recordings"
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
    data = {
        "key": {"remoteJid": jid, "fromMe": from_me, "id": external_id, **(key or {})},
        "pushName": instance.profile_name if from_me else push_name,
        "status": "SERVER_ACK" if from_me else "DELIVERY_ACK",
        "message": message if message is not None else {"conversation": text},
        "messageType": message_type,
        "messageTimestamp": int(at if at is not None else time.time()),
        "instanceId": instance.id,
        "source": "android",
    }
    _store(server, instance, data, media)
    if media is not None and instance.webhook is not None and instance.webhook.base64:
        data = data | {"message": {**(message or {"conversation": text}), "base64": media}}
    server.fire(instance, "messages.upsert", data)
    return external_id


def _store(server: ServerState, instance: Instance, data: dict[str, Any], media: str | None = None) -> None:
    """Store the message and its contact, if the data has the fields that the rows need."""
    key = data.get("key")
    if not isinstance(key, dict) or not isinstance(key.get("id"), str) or "remoteJid" not in key:
        return
    if not isinstance(data.get("messageTimestamp"), int) or "messageType" not in data or "message" not in data:
        return
    server.store(instance, StoredMessage(row_id(server.rng), {**data, "instanceId": instance.id}, media=media))
    if not key.get("fromMe"):
        contact = (row_id(server.rng), data.get("pushName"), iso_now())
        instance.contacts.setdefault(key["remoteJid"], contact)


def status(server: ServerState, instance: Instance, external_id: str, status: str, jid: str | None = None) -> None:
    """Report a status of a message; ``jid`` is the chat of a message that is not stored."""
    stored = instance.messages.get(external_id)
    if stored is None:
        remote = jid or "5511999990001@s.whatsapp.net"
        key = {"id": external_id, "remoteJid": remote, "fromMe": True}
        stored = StoredMessage(row_id(server.rng), {"key": key})
    report_status(server, instance, stored, status)


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
    data = body.get("data")
    if isinstance(data, dict):
        _store(server, instance, data)
    server.post(instance, str(body["event"]), body)


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
