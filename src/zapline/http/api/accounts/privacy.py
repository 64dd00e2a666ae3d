"""Privacy: what is held of one person, and erasing him."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.ids import UnitId
from zapline.domain.privacy.masking import mask_phone
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import audited, note
from zapline.http.api.framework.current_principal import principal
from zapline.http.api.framework.json_bodies import Answer, Body, Moment, one_of, read_body, reply
from zapline.http.api.framework.paging import PAGED, Page, Position, cursor, encode, limit
from zapline.http.api.framework.problems import Known, Problem, Register, invalid
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.http.server.client_address import source_of
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.privacy import erasure, export
from zapline.sql.privacy.erasure import Erasure
from zapline.sql.privacy.export import Person
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.privacy.erasure_jobs import Erasures, UnknownContact, canonical_of
from zapline.supervisors.units.unit_commands import UnknownUnit

PROBLEMS: Register = {UnknownContact: Known(404, "contact_not_found")}
_LONGEST = 80


class _After(Position, frozen=True, tag="e"):
    erased_at: Annotated[datetime, Meta(tz=True)]
    id: UUID


class WhoBody(Body, frozen=True):
    """Body of ``POST .../privacy/erasures``: a phone (or ``lid:`` and digits), or a contact's or conversation's id."""

    phone: Annotated[str, Meta(min_length=1, max_length=_LONGEST)] | None = None
    contact_id: UUID | None = None


class ErasureBody(Answer, frozen=True):
    """The erasure of one person. It does not tell whose: nothing does any more."""

    id: UUID
    state: Annotated[str, one_of(("running", "done"))]
    erased_at: Annotated[Moment | None, Meta(description="What came in until then goes.")]
    ended_at: Moment | None
    waits_for: Annotated[
        str | None, Meta(description="`call`: a message to the person is being sent. `journal`: webhooks are undone.")
    ]
    counts: Annotated[dict[str, int], Meta(description="Rows that went, by what they were.")]


class ErasurePage(Page[ErasureBody], frozen=True):
    """Erasures, the newest first."""


_PHONE = Query("phone", str, "The person's phone as people write it, or `lid:` and digits.")
_CONTACT = Query("contactId", UUID, "Or the id of a contact or a conversation.")
_ERASE = Doc(
    "Erase a person",
    {202: ErasureBody},
    body=WhoBody,
    errors={"contact_not_found": 404},
    example={"phone": "+55 11 99999-0001"},
    detail="Everything that came in until now goes, under all the person's names. Asked again, it is the same job.",
    headers={"Location": "Where the job is."},
)
_LIST = Doc("Erasures of a unit", {200: ErasurePage}, query=PAGED)
_GET = Doc("How an erasure is", {200: ErasureBody}, errors={"erasure_not_found": 404})
_EXPORT = Doc(
    "Everything that is held of one person",
    {200: "application/json"},
    query=(_PHONE, _CONTACT),
    errors={"contact_not_found": 404},
    detail="One JSON object, sent while it is read: an answer that is cut off is no JSON.",
    headers={"Content-Disposition": "The file's name."},
)


class Privacy:
    """``/units/{unit}/privacy``, for administrators; also of units that are closed."""

    def __init__(
        self,
        erasures: Erasures,
        pool: Pool,
        audit: AuditLog,
        trusted: Sequence[IPv4Network | IPv6Network],
        region: str,
    ) -> None:
        self._audit = audit
        self._trusted = trusted
        self._erasures = erasures
        self._pool = pool
        self._region = region

    def attach(self, routes: Routes) -> None:
        one = "/units/<uuid:unit>/privacy"
        jobs = f"{one}/erasures"
        routes.add("POST", jobs, "erase_person", self.erase, Access.ADMIN, _ERASE)
        routes.add("GET", jobs, "list_erasures", self.list, Access.ADMIN, _LIST)
        routes.add("GET", f"{jobs}/<uuid:erasure>", "get_erasure", self.get, Access.ADMIN, _GET)
        routes.add("GET", f"{one}/export", "export_person", self.export, Access.ADMIN, _EXPORT)

    async def erase(self, unit: UUID) -> Response:
        asked = await read_body(WhoBody)
        if (asked.phone is None) is (asked.contact_id is None):
            raise invalid("phone", "is given, or else contactId is")
        note(who=mask_phone(asked.phone) if asked.phone is not None else str(asked.contact_id))
        try:
            id = await self._erasures.ask(UnitId(unit), asked.phone, asked.contact_id)
        except InvalidPhone as wrong:
            raise invalid("phone", str(wrong)) from None
        made = reply(await self._found(UnitId(unit), id), 202)
        made.headers["Location"] = f"/units/{unit}/privacy/erasures/{id}"
        return made

    async def list(self, unit: UUID) -> Response:
        most, after = limit(), cursor(_After)
        before = (after.erased_at, after.id) if after is not None else None
        await self._require(UnitId(unit))
        found = await erasure.list_erasures(self._pool, UnitId(unit), before, most + 1)
        page = found[:most]
        more = encode(_After(page[-1].erased_at, page[-1].id)) if len(found) > most else None
        return reply(ErasurePage([_body(erasure) for erasure in page], more))

    async def get(self, unit: UUID, erasure: UUID) -> Response:
        return reply(await self._found(UnitId(unit), erasure))

    async def _found(self, unit: UnitId, id: UUID) -> ErasureBody:
        await self._require(unit)
        found = await erasure.list_erasures(self._pool, unit, None, 1, id)
        if not found:
            raise Problem(404, "erasure_not_found", "the unit has no such erasure")
        return _body(found[0])

    async def export(self, unit: UUID) -> Response:
        await self._require(UnitId(unit))
        who = request.args.get("phone")
        source = source_of(request.scope, self._trusted)
        async with audited(self._audit, principal(), source, "export_person", UnitId(unit)) as line:
            line.note(who=mask_phone(who) if who is not None else request.args.get("contactId"))
            person = await self._person(UnitId(unit))
        answer = Response(self._streamed(person), content_type="application/json")
        answer.headers["Content-Disposition"] = 'attachment; filename="export.json"'
        answer.timeout = None  # the server itself ends what a client does not read
        return answer

    async def _streamed(self, person: Person) -> AsyncIterator[bytes]:
        async with aclosing(export.export(self._pool, person, time.time())) as pieces:
            async for piece in pieces:
                yield piece

    async def _person(self, unit: UnitId) -> Person:
        phone, contact = request.args.get("phone"), request.args.get("contactId")
        if (phone is None) is (contact is None):
            raise invalid("phone", "is given, or else contactId is")
        try:
            names = [canonical_of(phone, self._region)] if phone is not None else []
        except InvalidPhone as wrong:
            raise invalid("phone", str(wrong)) from None
        try:
            id = UUID(contact) if contact is not None else None
        except ValueError:
            raise invalid("contactId", "is the id of a contact or a conversation") from None
        found = await export.find_person(self._pool, unit, names, id)
        if found is None:
            raise UnknownContact("the unit has no such contact")
        return found

    async def _require(self, unit: UnitId) -> None:
        """Raises UnknownUnit; one that is closed is known."""
        async with unit_scope(self._pool, unit) as conn:
            if not await erasure.has_unit(conn, unit):
                raise UnknownUnit("there is no such unit")


def _body(erasure: Erasure) -> ErasureBody:
    return ErasureBody(
        id=erasure.id,
        state=erasure.state,
        erased_at=iso(erasure.erased_at),
        ended_at=iso(erasure.ended_at),
        waits_for=erasure.waits_for,
        counts=erasure.counts,
    )
