"""Serves the instance, webhook and settings endpoints of the simulated server."""

import uuid
from typing import Any

import trio

from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import NUMBER, ApiError, Field, Schema, json_response
from zapline.sandbox.simulator.state import connection_lifecycle, pairing_faults
from zapline.sandbox.simulator.state.instances import (
    SETTINGS,
    Instance,
    WebhookRow,
    instance_row,
    iso_now,
    row_id,
    webhook_row,
)
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import is_2_4, webhook_events

_CREATE = Schema((), {"number": Field((str,), pattern=NUMBER), "qrcode": Field((bool,)), "webhook": Field((dict,))})
_UNDEFINED_LENGTH = "Cannot read properties of undefined (reading 'length')"


async def root(server: ServerState) -> Response:
    return json_response(
        {
            "status": 200,
            "message": "Welcome to the Evolution API, it is working!",
            "version": server.behaviour.version,
            "clientName": "evolution",
            "documentation": "https://doc.evolution-api.com",
            "whatsappWebVersion": "2.3000.1027934701",
        }
    )


async def create(server: ServerState, body: Any) -> Response:
    """The router has checked that the name is free and the key is the global one."""
    body = body if isinstance(body, dict) else {}
    number = body.get("number")
    _CREATE.check(body)
    if body.get("integration") != "WHATSAPP-BAILEYS":
        raise ApiError(400, ["Invalid integration"])
    name = body.get("instanceName")
    if not isinstance(name, str) or not name:
        raise ApiError(400, ["Invalid `this.prismaRepository.instance.create()` invocation"])
    hook = body.get("webhook")
    if hook is not None and not isinstance(hook.get("events"), list):
        raise ApiError(400, [_UNDEFINED_LENGTH])
    now = iso_now()
    token = body.get("token") or str(uuid.uuid4()).upper()
    instance = Instance(name, token, body["integration"], number or None, now)
    instance.row_id, instance.updated = row_id(server.rng), now
    instance.settings |= {key: body[key] for key in SETTINGS if key in body}
    if hook is not None:
        # `enabled` is ignored here, and the event names are not checked (contract, section 1).
        instance.webhook = _new_webhook(server, {**hook, "enabled": True})
    server.instances[name] = instance
    server.fire(instance, "instance.create", {"instanceName": name, "instanceId": instance.id})
    if body.get("qrcode"):
        connection_lifecycle.start_pairing(server, instance, instance.number)
        with trio.move_on_after(server.behaviour.create_wait):
            await instance.qr_ready.wait()
    return json_response(_created(instance, hook, bool(body.get("qrcode"))), 201)


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
        "webhook": {key: hook[name] for name, key in names.items() if name in hook} if hook else {},
        "websocket": {},
        "rabbitmq": {},
        "nats": {},
        "sqs": {},
        "settings": instance.settings,
    }
    if with_code:
        created["qrcode"] = instance.qr_code or {"count": 0}
    return created


def _new_webhook(server: ServerState, hook: dict[str, Any]) -> WebhookRow:
    now = iso_now()
    events = list(hook["events"]) or list(webhook_events(server.behaviour.version))
    return WebhookRow(
        id=row_id(server.rng),
        url=str(hook.get("url", "")),
        headers=hook.get("headers"),
        enabled=bool(hook["enabled"]),
        events=events if hook["enabled"] else [],
        by_events=bool(hook.get("byEvents", False)),
        base64=bool(hook.get("base64", False)),
        created=now,
        updated=now,
    )


async def connect(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    if instance.state == "open":
        return json_response({"instance": {"instanceName": instance.name, "state": "open"}})
    if instance.state == "close" and not pairing_faults.connects_by_itself(server, instance):
        connection_lifecycle.start_pairing(server, instance, request.query.get("number") or instance.number)
        with trio.move_on_after(server.behaviour.connect_wait):
            await instance.qr_ready.wait()
    return json_response(instance.qr_code or {"count": 0})


async def connection_state(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    return json_response({"instance": {"instanceName": instance.name, "state": instance.state}})


async def restart(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    if instance.state != "open":
        return json_response({"error": True, "message": "[object Object]"})
    connection_lifecycle.restart(server, instance)
    return json_response({"instance": {"instanceName": instance.name, "state": "open"}})


async def logout(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    said = "Instance logged out"
    if instance.state == "close":
        if not is_2_4(server.behaviour.version):
            raise ApiError(400, [f'The "{instance.name}" instance is not connected'])
        said = "Instance was already disconnected"
    else:
        connection_lifecycle.logout(server, instance)
    return json_response({"status": "SUCCESS", "error": False, "response": {"message": said}})


async def delete(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    connection_lifecycle.remove(server, instance)
    return json_response({"status": "SUCCESS", "error": False, "response": {"message": "Instance deleted"}})


async def fetch_instances(server: ServerState, request: Request) -> Response:
    """The global key sees all instances, an instance's token only that instance."""
    key = request.headers.get("apikey", "")
    selected = list(server.instances.values())
    if key != server.api_key:
        selected = [instance for instance in selected if instance.token == key]
        if not selected:
            raise ApiError(401, "Unauthorized")
    for parameter, attribute in (("instanceName", "name"), ("instanceId", "id"), ("number", "number")):
        wanted = request.query.get(parameter)
        if wanted is not None:
            selected = [instance for instance in selected if getattr(instance, attribute) == wanted]
            if not selected:
                raise ApiError(404, [f'Instance "{wanted}" not found'])
    return json_response([instance_row(instance) for instance in selected])


async def set_webhook(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """Omitted fields keep their value; disabling clears the events."""
    Schema(("webhook",), {"webhook": Field((dict,))}).check(body)
    hook: dict[str, Any] = body["webhook"]
    fields = {"enabled": Field((bool,)), "url": Field((str,))}
    Schema(("enabled", "url"), fields).check(hook)
    events = hook.get("events")
    if not isinstance(events, list):
        raise ApiError(500, _UNDEFINED_LENGTH)
    known = webhook_events(server.behaviour.version)
    for position, event in enumerate(events):
        if event not in known:
            message = f"webhook.events[{position}] is not one of enum values: {','.join(known)}"
            raise ApiError(400, [[message]])
    row = instance.webhook
    if row is None:
        row = instance.webhook = _new_webhook(server, hook)
    else:
        row.url, row.enabled = hook["url"], hook["enabled"]
        row.events = list(events or known) if row.enabled else []
        row.headers = hook.get("headers", row.headers)
        row.by_events = bool(hook.get("byEvents", row.by_events))
        row.base64 = bool(hook.get("base64", row.base64))
        row.updated = iso_now()
    return json_response(webhook_row(row, instance.id), 201)


async def find_webhook(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    row = instance.webhook
    return json_response(webhook_row(row, instance.id) if row is not None else None)
