"""Performs what people do on their phones: messages come in, recordings are played, statuses change."""

import json
import re
import time
from pathlib import Path
from typing import Any

from zapline.sandbox.simulator.endpoints.messages import report_status
from zapline.sandbox.simulator.state.instances import Instance, iso_now, message_id, row_id
from zapline.sandbox.simulator.state.message_store import Stored
from zapline.sandbox.simulator.state.world import World

RECORDINGS = Path(__file__).parents[2] / "recordings"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def receive(
    world: World,
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
    """A message arrives at the line: it is stored, and a webhook tells so. Returns its id.

    ``sender`` is a number or a JID. ``message`` and ``message_type`` replace the text; ``key`` adds to the
    key. ``at``: seconds since the epoch. ``media``: the file as base64, which the webhook carries too if it is
    set to.
    """
    jid = sender if "@" in sender else f"{sender}@s.whatsapp.net"
    external_id = external_id or message_id(world.chance)
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
    _store(world, instance, data, media)
    if media is not None and instance.webhook is not None and instance.webhook.base64:
        data = data | {"message": {**(message or {"conversation": text}), "base64": media}}
    world.fire(instance, "messages.upsert", data)
    return external_id


def _store(world: World, instance: Instance, data: dict[str, Any], media: str | None = None) -> None:
    """Keep the message and its contact, where the data has the parts that the rows need."""
    key = data.get("key")
    if not isinstance(key, dict) or not isinstance(key.get("id"), str) or "remoteJid" not in key:
        return
    if not isinstance(data.get("messageTimestamp"), int) or "messageType" not in data or "message" not in data:
        return
    world.store(instance, Stored(row_id(world.chance), {**data, "instanceId": instance.id}, media=media))
    if not key.get("fromMe"):
        contact = (row_id(world.chance), data.get("pushName"), iso_now())
        instance.contacts.setdefault(key["remoteJid"], contact)


def status(world: World, instance: Instance, external_id: str, word: str, jid: str | None = None) -> None:
    """Report a status of a message; ``jid`` tells the chat where Evolution does not know the message."""
    stored = instance.messages.get(external_id)
    if stored is None:
        remote = jid or "5511999990001@s.whatsapp.net"
        key = {"id": external_id, "remoteJid": remote, "fromMe": True}
        stored = Stored(row_id(world.chance), {"key": key})
    report_status(world, instance, stored, word)


def recorded(folder: str, name: str) -> bytes:
    """The bytes of a recording. Raises ``FileNotFoundError`` for a name that is none."""
    name = name.removesuffix(".json")
    if not _NAME.fullmatch(name):
        raise FileNotFoundError(name)
    return (RECORDINGS / folder / f"{name}.json").read_bytes()


def recorded_names(folder: str) -> list[str]:
    return sorted(path.stem for path in (RECORDINGS / folder).glob("*.json"))


def play(world: World, instance: Instance, name: str, *, fresh: bool = False) -> None:
    """Post a recorded body as if this instance sent it, whatever the webhook subscribes to.

    A body that is not JSON, or not an object, goes out as it is. ``fresh``: a new id, and the time is now.
    """
    raw = recorded("webhooks", name)
    try:
        body = json.loads(raw)
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or "event" not in body:
        world.post_raw(instance, name, None, raw)
        return
    body = adopt(world, instance, body, fresh)
    data = body.get("data")
    if isinstance(data, dict):
        _store(world, instance, data)
    world.post(instance, str(body["event"]), body)


def adopt(world: World, instance: Instance, body: dict[str, Any], fresh: bool) -> dict[str, Any]:
    """The body with this instance's names in place of the recorded ones; what is absent stays absent."""
    hook = instance.webhook
    own = {
        "instance": instance.name,
        "destination": hook.url if hook else "",
        "server_url": world.url,
        "apikey": instance.token if world.habits.expose_token else None,
        "sender": instance.owner_jid or body.get("sender"),
    }
    body = {**body, **{name: value for name, value in own.items() if name in body}}
    data = body.get("data")
    if not isinstance(data, dict):
        return body
    data = dict(data)
    inside = {"instance": instance.name, "instanceName": instance.name, "instanceId": instance.id}
    data |= {name: value for name, value in inside.items() if name in data}
    if fresh and isinstance(data.get("key"), dict):
        data["key"] = {**data["key"], "id": message_id(world.chance)}
        data["messageTimestamp"] = int(time.time())
    return {**body, "data": data}
