"""Units and their lines: create, list, connect, disconnect, and the status answer, read from memory alone."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Meta
from quart import Response

from zapline.domain.connection import QR_LIFE, Stored
from zapline.domain.ids import PROVIDER, UnitId
from zapline.domain.masking import MASKED
from zapline.domain.reasons import EXPLANATIONS, Phase
from zapline.http.paging import Position, cursor, encode, limit
from zapline.http.problems import Problem, invalid
from zapline.http.qr import QrPictures
from zapline.http.routes import Access, Routes
from zapline.http.wire import Body, iso, read_body, reply
from zapline.supervisors.roster import Roster
from zapline.supervisors.submit import Submit, UnitNotReady
from zapline.supervisors.unit import Unit

_NUMBER = re.compile(r"\+?(\d{8,15})")


class _After(Position, frozen=True, tag="u"):
    created_at: float
    id: UUID


class NewUnit(Body, frozen=True):
    """Body of ``POST /units``."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    instance: Annotated[str, Meta(max_length=80)] | None = None
    time_zone: Annotated[str, Meta(max_length=64)] = "America/Sao_Paulo"


class Connect(Body, frozen=True):
    """Body of ``POST .../connect``: with a number, Evolution also gives a pairing code to type in."""

    number: Annotated[str, Meta(max_length=32)] | None = None


class Units:
    """``/units``. Handlers ask ``submit`` and read the roster; nothing here waits for the database but creating."""

    def __init__(
        self,
        submit: Submit,
        roster: Roster,
        clock: Callable[[], float],
        sending: Callable[[UnitId], Mapping[str, object]] = lambda unit: {},
    ) -> None:
        self._submit = submit
        self._sending = sending
        self._roster = roster
        self._clock = clock
        self._pictures = QrPictures()

    def attach(self, routes: Routes) -> None:
        one = "/units/<uuid:unit>"
        routes.add("POST", "/units", "create_unit", self.create, Access.ADMIN)
        routes.add("GET", "/units", "list_units", self.list, Access.ADMIN)
        routes.add("GET", one, "get_unit", self.get, Access.READ)
        routes.add("POST", f"{one}/whatsapp/connect", "connect", self.connect, Access.CONTROL)
        routes.add("POST", f"{one}/whatsapp/disconnect", "disconnect", self.disconnect, Access.CONTROL)
        routes.add("GET", f"{one}/whatsapp/status", "status", self.status, Access.READ)
        routes.add("GET", f"{one}/whatsapp/qr.svg", "qr_svg", self.qr_svg, Access.CONTROL)

    async def create(self) -> Response:
        asked = await read_body(NewUnit)
        if not _is_time_zone(asked.time_zone):
            raise invalid("timeZone", "is a name of the IANA time zone database, as America/Sao_Paulo")
        unit = await self._submit.create_unit(asked.name, asked.instance, asked.time_zone)
        made = reply(_unit(unit), 201)
        made.headers["Location"] = f"/units/{unit.id}"
        return made

    async def list(self) -> Response:
        most, after = limit(), cursor(_After)
        units = sorted(self._roster.units(), key=_position)
        if after is not None:
            units = [unit for unit in units if _position(unit) > (after.created_at, after.id)]
        page = units[:most]
        more = encode(_After(*_position(page[-1]))) if len(units) > most else None
        return reply({"items": [_unit(unit) for unit in page], "nextCursor": more})

    async def get(self, unit: UUID) -> Response:
        return reply(_unit(self._submit.find(UnitId(unit))))

    async def connect(self, unit: UUID) -> Response:
        asked = await read_body(Connect)
        number = None
        if asked.number is not None:
            digits = _NUMBER.fullmatch(asked.number)
            if digits is None or not asked.number.isascii():
                raise invalid("number", "is 8 to 15 digits with the country's code, as 5511999990001")
            number = digits[1]
        stored = await self._submit.connect(UnitId(unit), number)
        return reply(await self._status(self._submit.find(UnitId(unit)), stored), 202)

    async def disconnect(self, unit: UUID) -> Response:
        await read_body(Body)
        stored = await self._submit.disconnect(UnitId(unit))
        return reply(await self._status(self._submit.find(UnitId(unit)), stored), 202)

    async def status(self, unit: UUID) -> Response:
        found, stored = self._look(unit)
        return reply(await self._status(found, stored))

    async def qr_svg(self, unit: UUID) -> Response:
        _, stored = self._look(unit)
        if stored.phase is not Phase.PAIRING or stored.qr_code is None:
            said = f"there is no code to scan: {EXPLANATIONS[stored.reason].sentence}"
            raise Problem(404, "no_qr_code", said)
        picture = await self._pictures.svg(stored.qr_code)
        return Response(picture, content_type="image/svg+xml")

    def _look(self, unit: UUID) -> tuple[Unit, Stored]:
        """The unit and its line's state; whoever reads it while it pairs waits for a code that works."""
        found = self._submit.find(UnitId(unit))
        if found.state is None:
            raise UnitNotReady("the unit's state has not been read yet: the database is away")
        stored = found.state.stored
        if stored.phase in (Phase.CONNECTING, Phase.PAIRING):
            self._submit.look_at_qr(found)
        return found, stored

    async def _status(self, unit: Unit, stored: Stored) -> dict[str, object]:
        code = stored.qr_code if stored.phase is Phase.PAIRING else None
        explained = EXPLANATIONS[stored.reason]
        return {
            "status": stored.status,
            "reason": stored.reason.value,
            "qrCode": await self._pictures.png(code) if code is not None else None,
            "connectedAt": iso(stored.connected_at),
            "disconnectedAt": iso(stored.disconnected_at),
            "qrUpdatedAt": iso(stored.qr_updated_at),
            "lastUpdate": iso(stored.updated_at),
            "phase": stored.phase.value,
            "sentence": explained.sentence,
            "advice": explained.advice,
            "wanted": stored.wanted,
            "qrText": code,
            "pairingCode": stored.pairing_code if code is not None else None,
            "qrExpiresAt": iso(stored.qr_updated_at + QR_LIFE) if code is not None and stored.qr_updated_at else None,
            "qrExpired": self._expired(stored) if code is not None else None,
            "profileName": stored.profile_name,
            "ownerJid": stored.owner_jid,
            "lastMessageAt": iso(unit.last_message_at),
            "quarantined": unit.quarantined_at is not None,
            **self._sending(unit.id),
        }

    def _expired(self, stored: Stored) -> bool:
        return stored.qr_updated_at is not None and self._clock() >= stored.qr_updated_at + QR_LIFE


def _position(unit: Unit) -> tuple[float, UUID]:
    return unit.record.created_at or 0.0, unit.id


def _unit(unit: Unit) -> dict[str, object]:
    """A unit as lists show it; ``status`` and what follows is null while its state has not been read."""
    record, stored = unit.record, unit.state.stored if unit.state is not None else None
    return {
        "id": str(unit.id),
        "name": record.name,
        "instance": record.instance,
        "status": stored.status if stored else None,
        "reason": stored.reason.value if stored else None,
        "phase": stored.phase.value if stored else None,
        "sentence": EXPLANATIONS[stored.reason].sentence if stored else None,
        "quarantined": unit.quarantined_at is not None,
        "provider": PROVIDER,
        "timeZone": record.time_zone,
        "createdAt": iso(record.created_at),
        "lastMessageAt": iso(unit.last_message_at),
        "webhookPath": f"/webhooks/whatsapp/{PROVIDER}/{MASKED}",
    }


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there; not a name; a directory
        return False
    return True
