"""Routes requests to the simulated server's endpoints, after faults and Evolution's guards in their order.

The guards check that the route exists, that the instance exists (create: that its name is free), and then the key
(contract, section 1).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import trio

from zapline.sandbox.simulator.endpoints import chats, groups, instances, line_settings, media, messages
from zapline.sandbox.simulator.endpoints.control import CONTROL, control
from zapline.sandbox.simulator.http.http_server import AfterDisconnect, Disconnect, Handler, Outcome, Request, Response
from zapline.sandbox.simulator.http.responses import ApiError, error_response, json_response, read_json
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.server_state import ServerState

Endpoint = Callable[[ServerState, Instance, Request, Any], Awaitable[Response]]

ROUTES: dict[tuple[str, str], Endpoint] = {
    ("GET", "instance/connect"): instances.connect,
    ("GET", "instance/connectionState"): instances.connection_state,
    ("POST", "instance/restart"): instances.restart,
    ("DELETE", "instance/logout"): instances.logout,
    ("DELETE", "instance/delete"): instances.delete,
    ("POST", "webhook/set"): instances.set_webhook,
    ("GET", "webhook/find"): instances.find_webhook,
    ("POST", "settings/set"): line_settings.set_settings,
    ("GET", "settings/find"): line_settings.find_settings,
    ("POST", "proxy/set"): line_settings.set_proxy,
    ("GET", "proxy/find"): line_settings.find_proxy,
    ("POST", "chat/findMessages"): chats.find_messages,
    ("POST", "chat/findStatusMessage"): chats.find_status,
    ("POST", "chat/findChats"): chats.find_chats,
    ("POST", "chat/findContacts"): chats.find_contacts,
    ("POST", "chat/whatsappNumbers"): chats.whatsapp_numbers,
    ("POST", "chat/fetchProfilePictureUrl"): chats.fetch_picture,
    ("POST", "chat/markMessageAsRead"): chats.mark_read,
    ("POST", "chat/getBase64FromMediaMessage"): media.get_base64,
    ("GET", "group/findGroupInfos"): groups.find_group,
    ("GET", "group/fetchAllGroups"): groups.fetch_all_groups,
    ("POST", "chat/updateMessage"): chats.update_message,
    ("DELETE", "chat/deleteMessageForEveryone"): chats.delete_message,
    **{("POST", f"message/{kind}"): partial(messages.send, kind=kind) for kind in messages.SCHEMAS},
}

_FAULTS_BEFORE_ENDPOINT = ("refuse", "hang", "error", "throttle", "license", "html", "slow")
_DISCONNECTS = {"drop_reply": Disconnect.CLOSE, "act_then_hang": Disconnect.HANG, "act_then_reset": Disconnect.RESET}
"""Fault -> how the connection ends after the request was processed."""
_LICENSE = {
    "error": "service not activated",
    "code": "LICENSE_REQUIRED",
    "register_url": "https://evo.example/manager/login",
    "instance_id": "00000000-0000-4000-8000-000000000000",
    "docs_url": "https://docs.example/licensing",
    "message": "This server is not licensed.",
}


def handler(server: ServerState) -> Handler:
    """Return the handler of all requests of the simulated server."""

    async def handle(request: Request) -> Outcome:
        if request.path.startswith(CONTROL):
            return await control(server, request)
        instance = _instance_name(request)
        sends = request.path.startswith("/message/")
        fault = server.faults.trigger(_FAULTS_BEFORE_ENDPOINT, instance, request.path)
        if fault is not None and (replacement := await _apply_fault(fault)) is not None:
            return replacement
        late = server.faults.trigger(("late",), instance, request.path) if sends else None
        if late is not None:
            return AfterDisconnect(partial(server.spawn, partial(_respond_late, server, request, late.seconds)))
        disconnect = server.faults.trigger(tuple(_DISCONNECTS) if sends else ("drop_reply",), instance, request.path)
        response = await _respond(server, request)
        return response if disconnect is None else _DISCONNECTS[disconnect.kind]

    return handle


async def _respond(server: ServerState, request: Request) -> Response:
    try:
        return await _route(server, request)
    except ApiError as error:
        return error_response(error)


async def _respond_late(server: ServerState, request: Request, seconds: float) -> None:
    """Process a request whose client has disconnected, as Evolution does (contract, section 3, point 4)."""
    await trio.sleep(seconds)
    await _respond(server, request)


async def _apply_fault(fault: Fault) -> Response | Disconnect | None:
    """Return the result that replaces the endpoint's; None: the endpoint runs."""
    if fault.kind == "refuse":
        return Disconnect.RESET
    if fault.kind == "hang":
        return Disconnect.HANG
    if fault.kind == "slow":
        await trio.sleep(fault.seconds)
        return None
    if fault.kind == "throttle":
        retry_after = (("retry-after", f"{fault.seconds:g}"),)
        return json_response({"status": 429, "error": "Too Many Requests"}, 429, retry_after)
    if fault.kind == "license":
        return json_response(_LICENSE, 503)
    if fault.kind == "html":
        page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
        return Response(fault.status or 502, page, "text/html")
    return error_response(ApiError(fault.status or 500, "Internal server error"))


def _instance_name(request: Request) -> str | None:
    """Return the instance that the path names, or None. The name is one encoded segment, which may hold slashes."""
    parts = request.path.split("/", 3)
    return unquote(parts[3]) if len(parts) == 4 and parts[3] else None


async def _route(server: ServerState, request: Request) -> Response:
    body = read_json(request.body)
    method, path = request.method, request.path
    if (method, path) == ("GET", "/"):
        return await instances.root(server)
    if (method, path) == ("GET", "/instance/fetchInstances"):
        return await instances.fetch_instances(server, request)
    if (method, path) == ("POST", "/instance/create"):
        name = body.get("instanceName") if isinstance(body, dict) else None
        if name in server.instances:
            raise ApiError(403, [f'This name "{name}" is already in use.'])
        if request.headers.get("apikey") != server.api_key:
            raise ApiError(401, "Unauthorized")
        return await instances.create(server, body)
    name = _instance_name(request)
    endpoint = ROUTES.get((method, "/".join(path.split("/", 3)[1:3])))
    if endpoint is None or name is None:
        raise ApiError(404, [f"Cannot {method} {path}"])
    instance = server.instances.get(name)
    if instance is None:
        raise ApiError(404, [f'The "{name}" instance does not exist'])
    if request.headers.get("apikey") not in (server.api_key, instance.token):
        raise ApiError(401, "Unauthorized")
    return await endpoint(server, instance, request, body if isinstance(body, dict) else {})
