"""Routes of units and their lines: create, list, connect, disconnect, and the line's status, read from memory."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.contacts.phone_numbers import InvalidPhone, pairing_number
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import EXPLANATIONS, Phase
from zapline.domain.line.state import StoredLineState
from zapline.domain.principals import Scope
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import RequestBody, json_response, read_body
from zapline.http.api.framework.paging import PAGED, Position, page_query, query_bool, split_page
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.units.qr_codes import QrPictures
from zapline.http.api.units.unit_responses import (
    OutboundBody,
    StatusBody,
    UnitBody,
    UnitPage,
    archived_body,
    status_body,
    unit_body,
)
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import list_archived_units
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands, UnitNotReady, refuse_elsewhere
from zapline.supervisors.units.unit_lifecycle import is_time_zone


class AfterUnit(Position, frozen=True, tag="u"):
    """Where a page of units ended."""

    created_at: float
    id: UUID


class NewUnit(RequestBody, frozen=True):
    """Body of ``POST /units``."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    instance: Annotated[str, Meta(max_length=80)] | None = None
    time_zone: Annotated[str, Meta(max_length=64)] = "America/Sao_Paulo"
    evolution_server: (
        Annotated[str, Meta(max_length=32, description="Where it is to live; by default where there is room.")] | None
    ) = None


class Connect(RequestBody, frozen=True):
    """Body of ``POST .../connect``: with a number, Evolution also gives a pairing code to type in."""

    number: Annotated[str, Meta(max_length=80)] | None = None


_CREATE = RouteDoc(
    "Make a unit",
    {201: UnitBody},
    body=NewUnit,
    errors={"instance_taken": 409, "invalid_unit": 422, "server_not_found": 404, "server_paused": 409},
    example={"name": "Loja Centro", "instance": "loja_centro", "timeZone": "America/Sao_Paulo"},
    detail="Give `instance` to be sure that a repeated request makes no second unit: it answers 409 then.",
    headers={"Location": "Where the unit is."},
)
_LIST = RouteDoc(
    "All units",
    {200: UnitPage},
    query=(*PAGED, QueryParameter("archived", bool, "`true`: those that are closed, instead of those at work.")),
    polled=True,
)
_STATUS = RouteDoc(
    "The line's status, why it is so, and what to do next",
    {200: StatusBody},
    errors={"unit_not_ready": 503},
    detail="While a code waits to be scanned, `qrCode` holds it as a picture; who looks keeps it fresh.",
    polled=True,
)
_CONNECT = RouteDoc(
    "Connect the line: start pairing, or reconnect",
    {202: StatusBody},
    body=Connect,
    errors={"unit_not_ready": 503, "journal_refused": 503},
    example={"number": "5511999990001"},
    detail="With `number`, in any usual form, there is also a pairing code to type in on the phone; a pairing that "
    "shows a QR code is closed and begun anew for it. May be repeated.",
)
_RENEW = RouteDoc(
    "Delete the instance on Evolution, create it again and connect it",
    {202: StatusBody},
    body=RequestBody,
    errors={"unit_not_ready": 503, "journal_refused": 503},
    detail="For a line that never opens again (reason `session_stuck`). The phone scans a new code; conversations and "
    "what waits to be sent stay.",
)
_DISCONNECT = RouteDoc(
    "Disconnect the line: the phone is unlinked",
    {202: StatusBody},
    body=RequestBody,
    errors={"unit_not_ready": 503, "journal_refused": 503},
    detail="It stays so until somebody asks to connect. May be repeated.",
)
_QR = RouteDoc(
    "The code to scan, as a picture",
    {200: "image/svg+xml"},
    errors={"no_qr_code": 404, "unit_not_ready": 503},
)


class UnitRoutes:
    """``/units``. Everything but creating and listing archived units is answered from memory."""

    def __init__(
        self,
        commands: UnitCommands,
        roster: Roster,
        clock: Callable[[], float],
        pool: Pool,
        region: str,
        sending: Callable[[UnitId], OutboundBody | None] = lambda unit: None,
    ) -> None:
        self._pool = pool
        self._region = region
        self._commands = commands
        self._sending = sending
        self._roster = roster
        self._clock = clock
        self._pictures = QrPictures()

    def attach(self, routes: RouteTable) -> None:
        unit = "/units/<uuid:unit>"
        line = f"{unit}/whatsapp"
        routes.add("POST", "/units", "create_unit", self.create, Access.ADMIN, _CREATE)
        routes.add("GET", "/units", "list_units", self.list, Access.PERSON, _LIST)
        routes.add("GET", unit, "get_unit", self.get, Access.READ, RouteDoc("One unit", {200: UnitBody}, polled=True))
        routes.add("POST", f"{line}/connect", "connect", self.connect, Access.CONTROL, _CONNECT)
        routes.add("POST", f"{line}/renew", "renew", self.renew, Access.CONTROL, _RENEW)
        routes.add("POST", f"{line}/disconnect", "disconnect", self.disconnect, Access.CONTROL, _DISCONNECT)
        routes.add("GET", f"{line}/status", "status", self.status, Access.READ, _STATUS)
        routes.add("GET", f"{line}/qr.svg", "qr_svg", self.qr_svg, Access.CONTROL, _QR)

    async def create(self) -> Response:
        body = await read_body(NewUnit)
        if not is_time_zone(body.time_zone):
            raise invalid("timeZone", "is a name of the IANA time zone database, as America/Sao_Paulo")
        unit = await self._commands.create_unit(body.name, body.instance, body.time_zone, body.evolution_server)
        add_audit_detail(name=unit.record.name, made=str(unit.id))
        response = json_response(unit_body(unit), 201)
        response.headers["Location"] = f"/units/{unit.id}"
        return response

    async def list(self) -> Response:
        """Active units; with ``archived=true`` archived ones."""
        limit, after = page_query(AfterUnit)
        if query_bool("archived"):
            return await self._archived(limit, after)
        caller = current_principal()
        units = sorted(filter(lambda unit: caller.sees(unit.id), self._roster.units()), key=unit_position)
        if after is not None:
            units = [unit for unit in units if unit_position(unit) > (after.created_at, after.id)]
        page, next_cursor = split_page(units, limit, lambda unit: AfterUnit(*unit_position(unit)))
        return json_response(UnitPage([unit_body(unit) for unit in page], next_cursor))

    async def _archived(self, limit: int, after: AfterUnit | None) -> Response:
        position = (after.created_at, after.id) if after is not None else None
        units = await list_archived_units(self._pool, position, limit + 1)
        page, next_cursor = split_page(units, limit, lambda unit: AfterUnit(unit.created_at, unit.id))
        return json_response(UnitPage([archived_body(unit) for unit in page], next_cursor))

    async def get(self, unit: UUID) -> Response:
        return json_response(unit_body(self._commands.find(UnitId(unit))))

    async def connect(self, unit: UUID) -> Response:
        body = await read_body(Connect)
        number = None
        if body.number is not None:
            try:
                number = pairing_number(body.number, self._region)
            except InvalidPhone as refused:
                raise invalid("number", refused.sentence) from refused
        stored = await self._commands.connect(UnitId(unit), number)
        return json_response(await self._status(self._commands.find(UnitId(unit)), stored), 202)

    async def renew(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        stored = await self._commands.renew(UnitId(unit))
        return json_response(await self._status(self._commands.find(UnitId(unit)), stored), 202)

    async def disconnect(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        stored = await self._commands.disconnect(UnitId(unit))
        return json_response(await self._status(self._commands.find(UnitId(unit)), stored), 202)

    async def status(self, unit: UUID) -> Response:
        return json_response(await self._status(*self._unit_and_state(unit)))

    async def qr_svg(self, unit: UUID) -> Response:
        _, stored = self._unit_and_state(unit)
        if stored.phase is not Phase.PAIRING or stored.qr_code is None:
            detail = f"there is no code to scan: {EXPLANATIONS[stored.reason].sentence}"
            raise Problem(404, "no_qr_code", detail)
        picture = await self._pictures.svg(stored.qr_code)
        return Response(picture, content_type="image/svg+xml")

    def _unit_and_state(self, id: UUID) -> tuple[Unit, StoredLineState]:
        """The unit and its stored line state; while the line pairs, this also keeps the QR code fresh.

        Raises UnknownUnit, UnitNotReady.
        """
        unit = self._commands.find(UnitId(id))
        if unit.state is None:
            refuse_elsewhere(unit)
            raise UnitNotReady("the unit's state has not been read yet: the database is away")
        if unit.state.stored.phase in (Phase.CONNECTING, Phase.PAIRING):
            self._commands.keep_qr_fresh(unit)
        return unit, unit.server.shown(unit.state.stored)

    async def _status(self, unit: Unit, stored: StoredLineState) -> StatusBody:
        stored = unit.server.shown(stored)
        # Who sees a code can link a phone: that is to control the line.
        seen = stored.phase is Phase.PAIRING and current_principal().may(Scope.CONTROL, unit.id)
        code = stored.qr_code if seen else None
        picture = await self._pictures.png(code) if code is not None else None
        return status_body(unit, stored, picture, self._sending(unit.id), self._clock())


def unit_position(unit: Unit) -> tuple[float, UUID]:
    """A unit's place in lists: by age."""
    return unit.record.created_at or 0.0, unit.id
