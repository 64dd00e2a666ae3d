"""Changing a unit: settings, pause and resume, secret, quarantine, its end; and what it has to do."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import note
from zapline.http.api.framework.json_bodies import Body, read_body, reply
from zapline.http.api.framework.problems import Known, Register, invalid
from zapline.http.api.framework.routes import Access, Doc, Routes
from zapline.http.api.units.unit_schemas import ArchivedBody, QueueBody, RotatedBody, UnitBody, queue_body, unit_body
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import unit_summaries
from zapline.supervisors.units.unit_commands import Submit
from zapline.supervisors.units.unit_lifecycle import MOST_DAYS, SecretChanged, Settings, UnitChanges, is_time_zone

PROBLEMS: Register = {SecretChanged: Known(409, "secret_changed")}


class UnitPatch(Body, frozen=True):
    """Body of ``PATCH /units/{unit}``: what is left out stays. ``retentionDays`` null: messages are kept for ever."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    time_zone: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    retention_days: Annotated[int, Meta(ge=1, le=MOST_DAYS)] | UnsetType | None = UNSET


class Rotation(Body, frozen=True):
    """Body of ``POST .../rotate-secret``. With ``generation``, the same may be asked again without another rotation."""

    generation: Annotated[int, Meta(ge=1, le=2_000_000_000)] | None = None


class UnitLife:
    """``/units/{unit}`` and what is done to it."""

    def __init__(self, submit: Submit, changes: UnitChanges, pool: Pool) -> None:
        self._submit = submit
        self._changes = changes
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        one = "/units/<uuid:unit>"
        patch = Doc(
            "Change a unit's name, time zone or retention",
            {200: UnitBody},
            body=UnitPatch,
            errors={"invalid_unit": 422},
            example={"name": "Loja Centro", "retentionDays": 365},
        )
        routes.add("PATCH", one, "change_unit", self.change, Access.ADMIN, patch)
        pause = Doc("Send nothing until it is resumed; what comes in is stored", {200: UnitBody}, body=Body)
        routes.add("POST", f"{one}/pause", "pause_unit", self.pause, Access.CONTROL, pause)
        resume = Doc("Let what waits leave again", {200: UnitBody}, body=Body)
        routes.add("POST", f"{one}/resume", "resume_unit", self.resume, Access.CONTROL, resume)
        archive = Doc("Close a unit: its phone is unlinked, its rows stay", {200: ArchivedBody}, body=Body)
        routes.add("POST", f"{one}/archive", "archive_unit", self.archive, Access.ADMIN, archive)
        rotate = Doc(
            "Give a unit a new webhook secret; the old one is accepted for a while",
            {200: RotatedBody},
            body=Rotation,
            errors={"secret_changed": 409, "unit_not_ready": 503},
            example={"generation": 2},
        )
        routes.add("POST", f"{one}/rotate-secret", "rotate_secret", self.rotate, Access.ADMIN, rotate)
        release = Doc("End a unit's quarantine", {200: UnitBody}, body=Body)
        routes.add("POST", f"{one}/release", "release_unit", self.release, Access.ADMIN, release)
        queue = Doc("What a unit has to do, and when it was last heard of", {200: QueueBody})
        routes.add("GET", f"{one}/queue", "get_queue", self.queue, Access.READ, queue)

    async def change(self, unit: UUID) -> Response:
        asked = await read_body(UnitPatch)
        if asked.time_zone is not UNSET and not is_time_zone(asked.time_zone):
            raise invalid("timeZone", "is a name of the IANA time zone database, as America/Sao_Paulo")
        days = asked.retention_days
        wanted = Settings(
            name=asked.name if asked.name is not UNSET else None,
            time_zone=asked.time_zone if asked.time_zone is not UNSET else None,
            retention_days=days if days is not UNSET else None,
            keep_retention=days is UNSET,
        )
        told = {"name": wanted.name, "timeZone": wanted.time_zone}
        note(**{field: value for field, value in told.items() if value is not None})
        if not wanted.keep_retention:
            note(retentionDays=wanted.retention_days)
        return reply(unit_body(await self._changes.change(UnitId(unit), wanted)))

    async def pause(self, unit: UUID) -> Response:
        await read_body(Body)
        return reply(unit_body(await self._changes.pause(UnitId(unit))))

    async def resume(self, unit: UUID) -> Response:
        await read_body(Body)
        return reply(unit_body(await self._changes.resume(UnitId(unit))))

    async def archive(self, unit: UUID) -> Response:
        await read_body(Body)
        return reply(ArchivedBody(unit, iso(await self._changes.archive(UnitId(unit)))))

    async def rotate(self, unit: UUID) -> Response:
        asked = await read_body(Rotation)
        generation, until = await self._changes.rotate_secret(UnitId(unit), asked.generation)
        return reply(RotatedBody(unit, generation, iso(until)))

    async def release(self, unit: UUID) -> Response:
        await read_body(Body)
        return reply(unit_body(self._changes.release(UnitId(unit))))

    async def queue(self, unit: UUID) -> Response:
        found = self._submit.find(UnitId(unit))
        return reply(queue_body(await unit_summaries.totals(self._pool, found.id)))
