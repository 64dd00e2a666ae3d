"""Routes that export what is stored about one person, and erase it."""

import time
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.ids import UnitId
from zapline.domain.privacy.masking import mask_phone
from zapline.http.api.framework.audit_trail import add_audit_detail, audited_change
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import (
    AwareDatetime,
    RequestBody,
    ResponseBody,
    Timestamp,
    body_from,
    json_response,
    one_of,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, page_query, split_page
from zapline.http.api.framework.problems import Problem, ProblemType, ProblemTypes, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.server.client_address import Networks, client_address
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import unit_scope
from zapline.sql.privacy import erasure, export
from zapline.sql.privacy.export import Person
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs, UnknownContact, canonical_name
from zapline.supervisors.units.unit_commands import UnknownUnit

PROBLEMS: ProblemTypes = {UnknownContact: ProblemType(404, "contact_not_found")}
_MAX_TEXT = 80


class _After(Position, frozen=True, tag="e"):
    erased_at: AwareDatetime
    id: UUID


class WhoBody(RequestBody, frozen=True):
    """Body of ``POST .../privacy/erasures``: a phone (or ``lid:`` and digits), or a contact's or conversation's id."""

    phone: Annotated[str, Meta(min_length=1, max_length=_MAX_TEXT)] | None = None
    contact_id: UUID | None = None


class ErasureBody(ResponseBody, frozen=True):
    """The erasure of one person. It does not tell whose: nothing does any more."""

    id: UUID
    state: Annotated[str, one_of(("running", "done"))]
    erased_at: Annotated[Timestamp | None, Meta(description="What came in until then goes.")]
    ended_at: Timestamp | None
    waits_for: Annotated[
        str | None,
        Meta(
            description="`call`: a message to the person is being sent. `journal`: webhooks are undone. `files`: kept "
            "files are being removed."
        ),
    ]
    counts: Annotated[dict[str, int], Meta(description="Rows that went, by what they were.")]


class ErasurePage(Page[ErasureBody], frozen=True):
    """Erasures, the newest first."""


_PHONE = QueryParameter("phone", str, "The person's phone as people write it, or `lid:` and digits.")
_CONTACT = QueryParameter("contactId", UUID, "Or the id of a contact or a conversation.")
_ERASE = RouteDoc(
    "Erase a person",
    {202: ErasureBody},
    body=WhoBody,
    errors={"contact_not_found": 404},
    example={"phone": "+55 11 99999-0001"},
    detail="Everything that came in until now goes, under all the person's names. Asked again, it is the same job.",
    headers={"Location": "Where the job is."},
)
_LIST = RouteDoc("Erasures of a unit", {200: ErasurePage}, query=PAGED)
_GET = RouteDoc("How an erasure is", {200: ErasureBody}, errors={"erasure_not_found": 404})
_EXPORT = RouteDoc(
    "Everything that is held of one person",
    {200: "application/json"},
    query=(_PHONE, _CONTACT),
    errors={"contact_not_found": 404},
    detail="One JSON object, sent while it is read: an answer that is cut off is no JSON.",
    headers={"Content-Disposition": "The file's name."},
)


@dataclass(eq=False, repr=False)
class PrivacyRoutes:
    """``/units/{unit}/privacy``, for administrators; also of archived units."""

    _erasures: ErasureJobs
    _pool: Pool
    _audit: AuditLog
    _trusted: Networks
    _region: str

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/privacy"
        jobs = f"{path}/erasures"
        routes.add("POST", jobs, "erase_person", self.erase, Access.ADMIN, _ERASE)
        routes.add("GET", jobs, "list_erasures", self.list, Access.ADMIN, _LIST)
        routes.add("GET", f"{jobs}/<uuid:erasure>", "get_erasure", self.get, Access.ADMIN, _GET)
        routes.add("GET", f"{path}/export", "export_person", self.export, Access.ADMIN, _EXPORT)

    async def erase(self, unit: UUID) -> Response:
        body = await read_body(WhoBody)
        if (body.phone is None) is (body.contact_id is None):
            raise invalid("phone", "is given, or else contactId is")
        add_audit_detail(who=mask_phone(body.phone) if body.phone is not None else str(body.contact_id))
        try:
            id = await self._erasures.request(UnitId(unit), body.phone, body.contact_id)
        except InvalidPhone as wrong:
            raise invalid("phone", str(wrong)) from None
        response = json_response(await self._erasure(UnitId(unit), id), 202)
        response.headers["Location"] = f"/units/{unit}/privacy/erasures/{id}"
        return response

    async def list(self, unit: UUID) -> Response:
        limit, after = page_query(_After)
        before = (after.erased_at, after.id) if after is not None else None
        await self._require_unit(UnitId(unit))
        erasures = await erasure.list_erasures(self._pool, UnitId(unit), before, limit + 1)
        page, next_cursor = split_page(erasures, limit, lambda row: _After(row.erased_at, row.id))
        return json_response(ErasurePage([body_from(ErasureBody, row) for row in page], next_cursor))

    async def get(self, unit: UUID, erasure: UUID) -> Response:
        return json_response(await self._erasure(UnitId(unit), erasure))

    async def _erasure(self, unit: UnitId, id: UUID) -> ErasureBody:
        await self._require_unit(unit)
        erasures = await erasure.list_erasures(self._pool, unit, None, 1, id)
        if not erasures:
            raise Problem(404, "erasure_not_found", "the unit has no such erasure")
        return body_from(ErasureBody, erasures[0])

    async def export(self, unit: UUID) -> Response:
        await self._require_unit(UnitId(unit))
        phone = request.args.get("phone")
        source = client_address(request.scope, self._trusted)
        async with audited_change(self._audit, current_principal(), source, "export_person", UnitId(unit)) as line:
            line.note(who=mask_phone(phone) if phone is not None else request.args.get("contactId"))
            person = await self._find_person(UnitId(unit))
        return export_response(self._pool, person)

    async def _find_person(self, unit: UnitId) -> Person:
        phone, contact = request.args.get("phone"), request.args.get("contactId")
        if (phone is None) is (contact is None):
            raise invalid("phone", "is given, or else contactId is")
        try:
            names = [canonical_name(phone, self._region)] if phone is not None else []
        except InvalidPhone as wrong:
            raise invalid("phone", str(wrong)) from None
        try:
            id = UUID(contact) if contact is not None else None
        except ValueError:
            raise invalid("contactId", "is the id of a contact or a conversation") from None
        person = await export.find_person(self._pool, unit, names, id)
        if person is None:
            raise UnknownContact("the unit has no such contact")
        return person

    async def _require_unit(self, unit: UnitId) -> None:
        """Raises UnknownUnit; archived units exist."""
        async with unit_scope(self._pool, unit) as conn:
            if not await erasure.has_unit(conn, unit):
                raise UnknownUnit("there is no such unit")


def export_response(pool: Pool, person: Person) -> Response:
    """Everything that is held of a person, as a file that is sent while it is read."""
    response = Response(export.export_person(pool, person, time.time()), content_type="application/json")
    response.headers["Content-Disposition"] = 'attachment; filename="export.json"'
    response.timeout = None  # the server closes connections whose client does not read
    return response
