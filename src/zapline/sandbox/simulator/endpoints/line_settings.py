"""Serves the endpoints of an instance's settings and of its proxy."""

from typing import Any

from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import ApiError, Field, Schema, json_response
from zapline.sandbox.simulator.state.instances import SETTINGS, Instance, iso_now, row_id
from zapline.sandbox.simulator.state.server_state import ServerState

_SETTINGS_REQUIRED = (
    "rejectCall",
    "groupsIgnore",
    "alwaysOnline",
    "readMessages",
    "readStatus",
    "syncFullHistory",
)
_SETTINGS = Schema(_SETTINGS_REQUIRED, {name: Field((bool,)) for name in _SETTINGS_REQUIRED})
_PROXY_FIELDS = ("host", "port", "protocol", "username", "password")
_PROXY = Schema(
    ("enabled", "host", "port", "protocol"),
    {"enabled": Field((bool,)), **{name: Field((str,)) for name in _PROXY_FIELDS}},
)
_PROTOCOLS = ("http", "socks")


async def set_settings(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    body = _SETTINGS.check(body)
    instance.settings |= {key: body[key] for key in SETTINGS if key in body}
    return json_response({"settings": {"instanceName": instance.name, "settings": body}}, 201)


async def find_settings(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    return json_response(instance.settings)


async def set_proxy(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """A proxy is tried out by a call to the internet before it is taken; one that is off is emptied."""
    body = dict(_PROXY.check(body))
    if not body["enabled"]:
        body |= dict.fromkeys(_PROXY_FIELDS, "")
    works = body["protocol"] in _PROTOCOLS and body["host"] not in server.numbers.dead_proxies
    if body["host"] and not works:
        raise ApiError(400, ["Invalid proxy"])
    row = instance.proxy or {"id": row_id(server.rng), "createdAt": iso_now()}
    instance.proxy = {**row, **body, "updatedAt": iso_now(), "instanceId": instance.id}
    return json_response({"proxy": {"instanceName": instance.name, "proxy": body}}, 201)


async def find_proxy(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """The row as it is stored, password and all; ``null`` where none was ever set."""
    return json_response(instance.proxy)
