"""Answers the instance, webhook and settings endpoints of the simulated server."""

import uuid
from typing import Any

import trio

from zapline.sandbox.simulator.http.http_server import Answer, Request
from zapline.sandbox.simulator.http.responses import NUMBER, Field, Refusal, Schema, answer
from zapline.sandbox.simulator.state import pairing
from zapline.sandbox.simulator.state.instances import (
    EVENTS,
    SETTINGS,
    Instance,
    WebhookRow,
    instance_row,
    iso_now,
    row_id,
    webhook_row,
)
from zapline.sandbox.simulator.state.world import World

_CREATE = Schema((), {"number": Field((str,), pattern=NUMBER), "qrcode": Field((bool,)), "webhook": Field((dict,))})
_UNDEFINED_LENGTH = "Cannot read properties of undefined (reading 'length')"
_SETTINGS_REQUIRED = (
    "rejectCall",
    "groupsIgnore",
    "alwaysOnline",
    "readMessages",
    "readStatus",
    "syncFullHistory",
)
_SETTINGS = Schema(_SETTINGS_REQUIRED, {name: Field((bool,)) for name in _SETTINGS_REQUIRED})


async def root(world: World) -> Answer:
    return answer(
        {
            "status": 200,
            "message": "Welcome to the Evolution API, it is working!",
            "version": world.habits.version,
            "clientName": "evolution",
            "documentation": "https://doc.evolution-api.com",
            "whatsappWebVersion": "2.3000.1027934701",
        }
    )


async def create(world: World, body: Any) -> Answer:
    """Guards have passed: the name is free and the key is the global one."""
    body = body if isinstance(body, dict) else {}
    number = body.get("number")
    _CREATE.check(body)
    if body.get("integration") != "WHATSAPP-BAILEYS":
        raise Refusal(400, ["Invalid integration"])
    name = body.get("instanceName")
    if not isinstance(name, str) or not name:
        raise Refusal(400, ["Invalid `this.prismaRepository.instance.create()` invocation"])
    hook = body.get("webhook")
    if hook is not None and not isinstance(hook.get("events"), list):
        raise Refusal(400, [_UNDEFINED_LENGTH])
    now = iso_now()
    token = body.get("token") or str(uuid.uuid4()).upper()
    instance = Instance(name, token, body["integration"], number or None, now)
    instance.row_id, instance.updated = row_id(world.chance), now
    instance.settings |= {key: body[key] for key in SETTINGS if key in body}
    if hook is not None:
        # `enabled` is ignored here, and the event names are not looked at (contract, section 1).
        instance.webhook = _new_webhook(world, {**hook, "enabled": True})
    world.instances[name] = instance
    world.fire(instance, "instance.create", {"instanceName": name, "instanceId": instance.id})
    if body.get("qrcode"):
        pairing.start_pairing(world, instance, instance.number)
        with trio.move_on_after(world.habits.create_wait):
            await instance.code_ready.wait()
    return answer(_created(instance, hook, bool(body.get("qrcode"))), 201)


def _created(instance: Instance, hook: dict[str, Any] | None, with_code: bool) -> dict[str, Any]:
    names = {
        "url": "webhookUrl",
        "headers": "webhookHeaders",
        "byEvents": "webhookByEvents",
        "base64": "webhookBase64",
    }
    created: dict[str, Any] = {
        "instance": {
            "instanceName": instance.name,
            "instanceId": instance.id,
            "integration": instance.integration,
            "webhookWaBusiness": None,
            "accessTokenWaBusiness": "",
            "status": instance.state,
        },
        "hash": instance.token,
        "webhook": {shown: hook[name] for name, shown in names.items() if name in hook} if hook else {},
        "websocket": {},
        "rabbitmq": {},
        "nats": {},
        "sqs": {},
        "settings": instance.settings,
    }
    if with_code:
        created["qrcode"] = instance.code or {"count": 0}
    return created


def _new_webhook(world: World, hook: dict[str, Any]) -> WebhookRow:
    now = iso_now()
    events = list(hook["events"]) or list(EVENTS)
    return WebhookRow(
        id=row_id(world.chance),
        url=str(hook.get("url", "")),
        headers=hook.get("headers"),
        enabled=bool(hook["enabled"]),
        events=events if hook["enabled"] else [],
        by_events=bool(hook.get("byEvents", False)),
        base64=bool(hook.get("base64", False)),
        created=now,
        updated=now,
    )


async def connect(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    if instance.state == "open":
        return answer({"instance": {"instanceName": instance.name, "state": "open"}})
    if instance.state == "close":
        pairing.start_pairing(world, instance, request.query.get("number") or instance.number)
        with trio.move_on_after(world.habits.connect_wait):
            await instance.code_ready.wait()
    return answer(instance.code or {"count": 0})


async def connection_state(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    return answer({"instance": {"instanceName": instance.name, "state": instance.state}})


async def restart(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    if instance.state != "open":
        return answer({"error": True, "message": "[object Object]"})
    pairing.restart(world, instance)
    return answer({"instance": {"instanceName": instance.name, "state": "open"}})


async def logout(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    if instance.state == "close":
        raise Refusal(400, [f'The "{instance.name}" instance is not connected'])
    pairing.close(world, instance, 401)
    return answer({"status": "SUCCESS", "error": False, "response": {"message": "Instance logged out"}})


async def delete(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    pairing.remove(world, instance)
    return answer({"status": "SUCCESS", "error": False, "response": {"message": "Instance deleted"}})


async def fetch_instances(world: World, request: Request) -> Answer:
    """The global key sees all instances, an instance's token only its own."""
    key = request.headers.get("apikey", "")
    found = list(world.instances.values())
    if key != world.api_key:
        found = [instance for instance in found if instance.token == key]
        if not found:
            raise Refusal(401, "Unauthorized")
    for parameter, read in (("instanceName", "name"), ("instanceId", "id"), ("number", "number")):
        wanted = request.query.get(parameter)
        if wanted is not None:
            found = [instance for instance in found if getattr(instance, read) == wanted]
            if not found:
                raise Refusal(404, [f'Instance "{wanted}" not found'])
    return answer([instance_row(instance) for instance in found])


async def set_webhook(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    """What is not given keeps its value; disabling empties the events."""
    Schema(("webhook",), {"webhook": Field((dict,))}).check(body)
    hook: dict[str, Any] = body["webhook"]
    known = {"enabled": Field((bool,)), "url": Field((str,))}
    Schema(("enabled", "url"), known).check(hook)
    events = hook.get("events")
    if not isinstance(events, list):
        raise Refusal(500, _UNDEFINED_LENGTH)
    for position, event in enumerate(events):
        if event not in EVENTS:
            words = f"webhook.events[{position}] is not one of enum values: {','.join(EVENTS)}"
            raise Refusal(400, [[words]])
    row = instance.webhook
    if row is None:
        row = instance.webhook = _new_webhook(world, hook)
    else:
        row.url, row.enabled = hook["url"], hook["enabled"]
        row.events = (list(events) or list(EVENTS)) if row.enabled else []
        row.headers = hook.get("headers", row.headers)
        row.by_events = bool(hook.get("byEvents", row.by_events))
        row.base64 = bool(hook.get("base64", row.base64))
        row.updated = iso_now()
    return answer(webhook_row(row, instance.id), 201)


async def find_webhook(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    row = instance.webhook
    return answer(webhook_row(row, instance.id) if row is not None else None)


async def set_settings(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    given = _SETTINGS.check(body)
    instance.settings |= {key: given[key] for key in SETTINGS if key in given}
    return answer({"settings": {"instanceName": instance.name, "settings": given}}, 201)


async def find_settings(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    return answer(instance.settings)
