"""Routes that change a unit: settings, pause and resume, secret, quarantine, archiving; and its queue."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.json_bodies import RequestBody, json_response, read_body
from zapline.http.api.framework.problems import ProblemType, ProblemTypes, invalid
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.http.api.units.unit_responses import ArchivedBody, QueueBody, RotatedBody, UnitBody, queue_body, unit_body
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import unit_totals
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import (
    MAX_RETENTION_DAYS,
    SecretChanged,
    UnitLifecycle,
    UnitSettingsChange,
    is_time_zone,
)

PROBLEMS: ProblemTypes = {SecretChanged: ProblemType(409, "secret_changed")}


class UnitPatch(RequestBody, frozen=True):
    """Body of ``PATCH /units/{unit}``: what is left out stays. ``retentionDays`` null: messages are kept for ever."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    time_zone: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    retention_days: Annotated[int, Meta(ge=1, le=MAX_RETENTION_DAYS)] | UnsetType | None = UNSET
    webhook_registration: WebhookRegistrationMode | UnsetType = UNSET


class Rotation(RequestBody, frozen=True):
    """Body of ``POST .../rotate-secret``. With ``generation``, the same may be asked again without another rotation."""

    generation: Annotated[int, Meta(ge=1, le=2_000_000_000)] | None = None


_CHANGE = RouteDoc(
    "Change a unit's name, time zone, retention, or what is done about a changed webhook",
    {200: UnitBody},
    body=UnitPatch,
    errors={"invalid_unit": 422},
    example={"name": "Loja Centro", "retentionDays": 365},
)
_PAUSE = RouteDoc("Send nothing until it is resumed; what comes in is stored", {200: UnitBody}, body=RequestBody)
_RESUME = RouteDoc("Let what waits leave again", {200: UnitBody}, body=RequestBody)
_ARCHIVE = RouteDoc("Close a unit: its phone is unlinked, its rows stay", {200: ArchivedBody}, body=RequestBody)
_ROTATE = RouteDoc(
    "Give a unit a new webhook secret; the old one is accepted for a while",
    {200: RotatedBody},
    body=Rotation,
    errors={"secret_changed": 409, "unit_not_ready": 503},
    example={"generation": 2},
)
_RELEASE = RouteDoc("End a unit's quarantine", {200: UnitBody}, body=RequestBody)
_RELEASE_CAMPAIGNS = RouteDoc(
    "Let the campaigns of a unit go on that are held because WhatsApp refused too much or confirmed nothing",
    {200: UnitBody},
    body=RequestBody,
    detail="Look first why they are held, as `campaignsHeldReason` of the unit says; they stop again if it goes on.",
)
_QUEUE = RouteDoc("What a unit has to do, and when it was last heard of", {200: QueueBody})


class UnitChangeRoutes:
    """``/units/{unit}`` and its actions."""

    def __init__(self, commands: UnitCommands, changes: UnitLifecycle, pool: Pool) -> None:
        self._commands = commands
        self._changes = changes
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>"
        routes.add("PATCH", path, "change_unit", self.change, Access.ADMIN, _CHANGE)
        routes.add("POST", f"{path}/pause", "pause_unit", self.pause, Access.CONTROL, _PAUSE)
        routes.add("POST", f"{path}/resume", "resume_unit", self.resume, Access.CONTROL, _RESUME)
        routes.add("POST", f"{path}/archive", "archive_unit", self.archive, Access.ADMIN, _ARCHIVE)
        routes.add("POST", f"{path}/rotate-secret", "rotate_secret", self.rotate, Access.ADMIN, _ROTATE)
        routes.add("POST", f"{path}/release", "release_unit", self.release, Access.ADMIN, _RELEASE)
        routes.add(
            *("POST", f"{path}/release-campaigns", "release_campaigns", self.release_campaigns),
            *(Access.CONTROL, _RELEASE_CAMPAIGNS),
        )
        routes.add("GET", f"{path}/queue", "get_queue", self.queue, Access.READ, _QUEUE)

    async def change(self, unit: UUID) -> Response:
        body = await read_body(UnitPatch)
        if body.time_zone is not UNSET and not is_time_zone(body.time_zone):
            raise invalid("timeZone", "is a name of the IANA time zone database, as America/Sao_Paulo")
        days = body.retention_days
        settings = UnitSettingsChange(
            name=body.name if body.name is not UNSET else None,
            time_zone=body.time_zone if body.time_zone is not UNSET else None,
            retention_days=days if days is not UNSET else None,
            keep_retention=days is UNSET,
            webhook_registration=body.webhook_registration if body.webhook_registration is not UNSET else None,
        )
        changed = {
            "name": settings.name,
            "timeZone": settings.time_zone,
            "webhookRegistration": settings.webhook_registration,
        }
        add_audit_detail(**{field: value for field, value in changed.items() if value is not None})
        if not settings.keep_retention:
            add_audit_detail(retentionDays=settings.retention_days)
        return json_response(unit_body(await self._changes.change(UnitId(unit), settings)))

    async def pause(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(unit_body(await self._changes.pause(UnitId(unit))))

    async def resume(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(unit_body(await self._changes.resume(UnitId(unit))))

    async def archive(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(ArchivedBody(unit, iso(await self._changes.archive(UnitId(unit)))))

    async def rotate(self, unit: UUID) -> Response:
        body = await read_body(Rotation)
        generation, until = await self._changes.rotate_secret(UnitId(unit), body.generation)
        return json_response(RotatedBody(unit, generation, iso(until)))

    async def release(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(unit_body(self._changes.release(UnitId(unit))))

    async def release_campaigns(self, unit: UUID) -> Response:
        await read_body(RequestBody)
        return json_response(unit_body(await self._changes.release_campaigns(UnitId(unit))))

    async def queue(self, unit: UUID) -> Response:
        id = self._commands.find(UnitId(unit)).id
        return json_response(queue_body(await unit_totals.load_totals(self._pool, id)))
