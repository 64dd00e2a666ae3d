"""Routes requests to the simulated server's endpoints: faults first, then Evolution's guards in their order.

A route must exist, then the instance, then for create the name must be free, and only then the key counts
(contract, section 1).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import trio

from zapline.sandbox.simulator.endpoints import chats, instances, media, messages
from zapline.sandbox.simulator.endpoints.control import CONTROL, control
from zapline.sandbox.simulator.http.http_server import AfterCut, Answer, Cut, Handler, Outcome, Request
from zapline.sandbox.simulator.http.responses import Refusal, answer, read_json, refuse
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.world import World

Endpoint = Callable[[World, Instance, Request, Any], Awaitable[Answer]]

ROUTES: dict[tuple[str, str], Endpoint] = {
    ("GET", "instance/connect"): instances.connect,
    ("GET", "instance/connectionState"): instances.connection_state,
    ("POST", "instance/restart"): instances.restart,
    ("DELETE", "instance/logout"): instances.logout,
    ("DELETE", "instance/delete"): instances.delete,
    ("POST", "webhook/set"): instances.set_webhook,
    ("GET", "webhook/find"): instances.find_webhook,
    ("POST", "settings/set"): instances.set_settings,
    ("GET", "settings/find"): instances.find_settings,
    ("POST", "chat/findMessages"): chats.find_messages,
    ("POST", "chat/findStatusMessage"): chats.find_status,
    ("POST", "chat/findChats"): chats.find_chats,
    ("POST", "chat/findContacts"): chats.find_contacts,
    ("POST", "chat/whatsappNumbers"): chats.whatsapp_numbers,
    ("POST", "chat/markMessageAsRead"): chats.mark_read,
    ("POST", "chat/getBase64FromMediaMessage"): media.get_base64,
    ("POST", "chat/updateMessage"): chats.update_message,
    ("DELETE", "chat/deleteMessageForEveryone"): chats.delete_message,
    **{("POST", f"message/{kind}"): partial(messages.send, kind=kind) for kind in messages.SCHEMAS},
}

_BEFORE = ("refuse", "hang", "error", "throttle", "license", "html", "slow")
_CUTS = {"drop_reply": Cut.CLOSE, "act_then_hang": Cut.HANG, "act_then_reset": Cut.RESET}
"""What becomes of the connection after the request was carried out."""
_LICENSE = {
    "error": "service not activated",
    "code": "LICENSE_REQUIRED",
    "register_url": "https://evo.example/manager/login",
    "instance_id": "00000000-0000-4000-8000-000000000000",
    "docs_url": "https://docs.example/licensing",
    "message": "This server is not licensed.",
}


def handler(world: World) -> Handler:
    """The whole simulated server as one function from request to answer."""

    async def handle(request: Request) -> Outcome:
        if request.path.startswith(CONTROL):
            return await control(world, request)
        instance = _named(request)
        sends = request.path.startswith("/message/")
        fault = world.faults.strike(_BEFORE, instance, request.path)
        if fault is not None:
            struck = await _struck(fault)
            if struck is not None:
                return struck
        late = world.faults.strike(("late",), instance, request.path) if sends else None
        if late is not None:
            return AfterCut(partial(world.spawn, partial(_act_late, world, request, late.seconds)))
        cut = world.faults.strike(tuple(_CUTS) if sends else ("drop_reply",), instance, request.path)
        done = await _done(world, request)
        return done if cut is None else _CUTS[cut.kind]

    return handle


async def _done(world: World, request: Request) -> Answer:
    try:
        return await _route(world, request)
    except Refusal as refusal:
        return refuse(refusal)


async def _act_late(world: World, request: Request, seconds: float) -> None:
    """What the client no longer waits for is done all the same (contract, section 3, point 4)."""
    await trio.sleep(seconds)
    await _done(world, request)


async def _struck(fault: Fault) -> Answer | Cut | None:
    """What the fault does in place of the endpoint; None: the endpoint runs after all."""
    if fault.kind == "refuse":
        return Cut.RESET
    if fault.kind == "hang":
        return Cut.HANG
    if fault.kind == "slow":
        await trio.sleep(fault.seconds)
        return None
    if fault.kind == "throttle":
        retry_after = (("retry-after", f"{fault.seconds:g}"),)
        return answer({"status": 429, "error": "Too Many Requests"}, 429, retry_after)
    if fault.kind == "license":
        return answer(_LICENSE, 503)
    if fault.kind == "html":
        page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
        return Answer(fault.status or 502, page, "text/html")
    return refuse(Refusal(fault.status or 500, "Internal server error"))


def _named(request: Request) -> str | None:
    """The instance that a path names, or None. The name is one encoded segment, slashes included."""
    parts = request.path.split("/", 3)
    return unquote(parts[3]) if len(parts) == 4 and parts[3] else None


async def _route(world: World, request: Request) -> Answer:
    body = read_json(request.body)
    method, path = request.method, request.path
    if (method, path) == ("GET", "/"):
        return await instances.root(world)
    if (method, path) == ("GET", "/instance/fetchInstances"):
        return await instances.fetch_instances(world, request)
    if (method, path) == ("POST", "/instance/create"):
        name = body.get("instanceName") if isinstance(body, dict) else None
        if name in world.instances:
            raise Refusal(403, [f'This name "{name}" is already in use.'])
        if request.headers.get("apikey") != world.api_key:
            raise Refusal(401, "Unauthorized")
        return await instances.create(world, body)
    name = _named(request)
    endpoint = ROUTES.get((method, "/".join(path.split("/", 3)[1:3])))
    if endpoint is None or name is None:
        raise Refusal(404, [f"Cannot {method} {path}"])
    instance = world.instances.get(name)
    if instance is None:
        raise Refusal(404, [f'The "{name}" instance does not exist'])
    if request.headers.get("apikey") not in (world.api_key, instance.token):
        raise Refusal(401, "Unauthorized")
    return await endpoint(world, instance, request, body if isinstance(body, dict) else {})
