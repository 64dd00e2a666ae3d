"""Routes of the Evolution servers, for administrators, and the move of a unit from one to another."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.line.evolution_servers import DEFAULT_WEIGHT, MAX_WEIGHT, InvalidServer
from zapline.domain.line.server_versions import version_notes
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.json_bodies import (
    RequestBody,
    ResponseBody,
    Timestamp,
    json_response,
    read_body,
)
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.http.api.units.unit_responses import UnitBody, VersionNoteBody, unit_body
from zapline.sql.units.evolution_servers import ServerExists, ServerInUse, TooManyServers, UnknownServer
from zapline.supervisors.servers.server_commands import MoveRefused, ServerCommands
from zapline.supervisors.servers.server_registry import ServerPaused, ServerReport
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    UnknownServer: ProblemType(404, "server_not_found"),
    ServerExists: ProblemType(409, "server_exists"),
    ServerInUse: ProblemType(409, "server_in_use"),
    TooManyServers: ProblemType(409, "too_many_servers"),
    MoveRefused: ProblemType(409, "move_refused"),
    ServerPaused: ProblemType(409, "server_paused"),
    InvalidServer: ProblemType(422, "invalid_server"),
}
_Name = Annotated[str, Meta(min_length=1, max_length=32, description="Small letters, digits and `-`.")]
_Url = Annotated[str, Meta(min_length=1, max_length=300, description="Where Zapline reaches it.")]
_Key = Annotated[str, Meta(min_length=1, max_length=500, description="Its global key; stored encrypted, never shown.")]
_Weight = Annotated[
    int, Meta(ge=1, le=MAX_WEIGHT, description="How many units it gets in proportion to the others' weights.")
]


class NewServer(RequestBody, frozen=True):
    """Body of ``POST /evolution-servers``."""

    name: _Name
    url: _Url
    key: _Key
    weight: _Weight = DEFAULT_WEIGHT


class ServerPatch(RequestBody, frozen=True):
    """Body of ``PATCH /evolution-servers/{server}``: what is left out stays."""

    url: _Url | UnsetType = UNSET
    key: _Key | UnsetType = UNSET
    weight: _Weight | UnsetType = UNSET
    paused: Annotated[bool, Meta(description="`true`: it gets no new units.")] | UnsetType = UNSET


class Move(RequestBody, frozen=True):
    """Body of ``POST /units/{unit}/whatsapp/move``."""

    server: _Name
    leave_behind: Annotated[
        bool, Meta(description="Move although the old server does not end the session; unlink it on the phone.")
    ] = False


class ServerBody(ResponseBody, frozen=True):
    """An Evolution server, as it is now. Its key is never shown."""

    name: Annotated[str, Meta(description="`environment`: the one that the daemon's settings name.")]
    url: Annotated[str | None, Meta(description="Null for the environment's.")]
    weight: int
    paused_at: Annotated[Timestamp | None, Meta(description="Since when it gets no new units.")]
    created_at: Timestamp | None
    version: Annotated[str | None, Meta(description="Null while it has not told.")]
    away_since: Annotated[Timestamp | None, Meta(description="Since when it does not answer.")]
    key_readable: Annotated[bool, Meta(description="False: it was stored under another master key; store it again.")]
    units: Annotated[int, Meta(description="Units that live on it.")]
    connected: Annotated[int, Meta(description="Of these, the units whose line is open.")]
    notes: list[VersionNoteBody]


class ServersBody(ResponseBody, frozen=True):
    """All servers, the environment's first."""

    items: list[ServerBody]


_NOT_FOUND = {"server_not_found": 404}
_LIST = RouteDoc("The Evolution servers, with their lines", {200: ServersBody}, polled=True)
_GET = RouteDoc("One Evolution server", {200: ServerBody}, errors=_NOT_FOUND, polled=True)
_ADD = RouteDoc(
    "Add an Evolution server",
    {201: ServerBody},
    body=NewServer,
    errors={"server_exists": 409, "too_many_servers": 409, "invalid_server": 422},
    example={
        "name": "evo-2",
        "url": "https://evolution-2.example",
        "key": "AUTHENTICATION_API_KEY-of-that-server",
    },
    detail="New units go where, for its weight, the fewest live. Whether the key is right `zapline doctor` finds out.",
    headers={"Location": "Where the server is."},
)
_CHANGE = RouteDoc(
    "Change an Evolution server's address, key or weight, or whether it gets new units",
    {200: ServerBody},
    body=ServerPatch,
    errors={**_NOT_FOUND, "server_exists": 409, "invalid_server": 422},
    example={"paused": True},
    detail="Of the server `environment` only weight and pause can be changed: the rest is the daemon's settings.",
)
_REMOVE = RouteDoc(
    "Remove an Evolution server on which no unit lives",
    {204: None},
    errors={**_NOT_FOUND, "server_in_use": 409, "invalid_server": 422},
)
_MOVE = RouteDoc(
    "Move a unit to another Evolution server",
    {202: UnitBody},
    body=Move,
    errors={**_NOT_FOUND, "move_refused": 409, "server_paused": 409, "unit_not_ready": 503, "journal_refused": 503},
    example={"server": "evo-2"},
    detail="The phone is logged out on the old server and the instance deleted there; it is created on the other, and "
    "waits for a scan: see the line's status. Conversations and what waits to be sent stay. What is uncertain is left "
    "to a person, because the other server knows nothing of it.",
)


class EvolutionServerRoutes:
    """``/evolution-servers`` and ``/units/{unit}/whatsapp/move``."""

    def __init__(self, servers: ServerCommands, commands: UnitCommands) -> None:
        self._servers = servers
        self._commands = commands

    def attach(self, routes: RouteTable) -> None:
        path, one = "/evolution-servers", "/evolution-servers/<server>"
        routes.add("GET", path, "list_servers", self.list, Access.ADMIN, _LIST)
        routes.add("POST", path, "add_server", self.add, Access.ADMIN, _ADD)
        routes.add("GET", one, "get_server", self.get, Access.ADMIN, _GET)
        routes.add("PATCH", one, "change_server", self.change, Access.ADMIN, _CHANGE)
        routes.add("DELETE", one, "remove_server", self.remove, Access.ADMIN, _REMOVE)
        routes.add("POST", "/units/<uuid:unit>/whatsapp/move", "move_unit", self.move, Access.ADMIN, _MOVE)

    async def list(self) -> Response:
        return json_response(ServersBody([_body(server) for server in self._servers.list()]))

    async def get(self, server: str) -> Response:
        return json_response(_body(self._servers.find(server)))

    async def add(self) -> Response:
        body = await read_body(NewServer)
        add_audit_detail(server=body.name, weight=body.weight)
        response = json_response(_body(await self._servers.add(body.name, body.url, body.key, body.weight)), 201)
        response.headers["Location"] = f"/evolution-servers/{body.name}"
        return response

    async def change(self, server: str) -> Response:
        body = await read_body(ServerPatch)
        weight, paused = (None if value is UNSET else value for value in (body.weight, body.paused))
        add_audit_detail(server=server[:40], weight=weight, paused=paused)
        add_audit_detail(newUrl=body.url is not UNSET, newKey=body.key is not UNSET)
        changed = await self._servers.change(
            server,
            body.url if body.url is not UNSET else None,
            body.key if body.key is not UNSET else None,
            body.weight if body.weight is not UNSET else None,
            body.paused if body.paused is not UNSET else None,
        )
        return json_response(_body(changed))

    async def remove(self, server: str) -> Response:
        add_audit_detail(server=server[:40])
        await self._servers.remove(server)
        return Response(b"", 204)

    async def move(self, unit: UUID) -> Response:
        body = await read_body(Move)
        add_audit_detail(server=body.server, leaveBehind=body.leave_behind)
        await self._servers.move(UnitId(unit), body.server, body.leave_behind)
        return json_response(unit_body(self._commands.find(UnitId(unit))), 202)


def _body(server: ServerReport) -> ServerBody:
    return ServerBody(
        name=server.name,
        url=server.url,
        weight=server.weight,
        paused_at=iso(server.paused_at),
        created_at=iso(server.created_at),
        version=server.version,
        away_since=iso(server.away_since),
        key_readable=not server.key_lost,
        units=server.units,
        connected=server.connected,
        notes=[VersionNoteBody(note.sentence, note.advice, note.severe) for note in version_notes(server.version)],
    )
