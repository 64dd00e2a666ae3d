"""Routes of organizations: several units of one customer, whose programs have one token for all of them."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import (
    AwareDatetime,
    RequestBody,
    ResponseBody,
    Timestamp,
    body_from,
    json_response,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, page_query, split_page
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.accounts import organizations as stored
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.organizations import (
    MAX_NAME,
    InvalidOrganization,
    OrganizationInUse,
    Organizations,
    UnitElsewhere,
    UnitNotInOrganization,
    UnknownOrganization,
)

PROBLEMS: ProblemTypes = {
    UnknownOrganization: ProblemType(404, "organization_not_found"),
    InvalidOrganization: ProblemType(422, "invalid_organization"),
    OrganizationInUse: ProblemType(409, "organization_in_use"),
    UnitElsewhere: ProblemType(409, "unit_elsewhere"),
    UnitNotInOrganization: ProblemType(422, "invalid_request"),
}
PATH = "/organizations/<uuid:organization>"


class _After(Position, frozen=True, tag="z"):
    at: AwareDatetime
    id: UUID


class NewOrganization(RequestBody, frozen=True):
    """Body of ``POST /organizations`` and of ``PATCH /organizations/{organization}``."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]


class CampaignRules(RequestBody, frozen=True):
    """Body of ``PUT /organizations/{organization}/campaign-rules``."""

    messages: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(description="So many messages of campaigns reach one person at most; null: no limit."),
    ]
    days: Annotated[Annotated[int, Meta(ge=1, le=365)] | None, Meta(description="In so many days.")]
    shared_opt_outs: Annotated[
        bool, Meta(description="Whoever wants no campaigns of one unit gets none of the others.")
    ] = True


class OrganizationBody(ResponseBody, frozen=True, kw_only=True):
    """An organization."""

    id: UUID
    name: str
    campaign_messages: Annotated[int | None, Meta(description="As `messages` of the rules for campaigns.")]
    campaign_days: int | None
    shared_opt_outs: bool
    units: Annotated[int, Meta(description="How many units of it you see.")]
    created_at: Timestamp | None


class OrganizationPage(Page[OrganizationBody], frozen=True):
    """Organizations, the first made first."""


_EXAMPLE = {"name": "Rede Pão & Mel"}
_CREATE = RouteDoc(
    "Make an organization",
    {201: OrganizationBody},
    body=NewOrganization,
    errors={"invalid_organization": 422},
    example=_EXAMPLE,
    headers={"Location": "Where the organization is."},
)
_LIST = RouteDoc("All organizations", {200: OrganizationPage}, query=PAGED)
_GET = RouteDoc("One organization", {200: OrganizationBody})
_RENAME = RouteDoc(
    "Give an organization another name",
    {200: OrganizationBody},
    body=NewOrganization,
    errors={"invalid_organization": 422},
    example=_EXAMPLE,
)
_RULES = RouteDoc(
    "Say how often the units of an organization write to one person, and whether they share opt-outs",
    {200: OrganizationBody},
    body=CampaignRules,
    errors={"invalid_organization": 422},
    example={"messages": 2, "days": 7, "sharedOptOuts": True},
    detail="""\
Messages of campaigns of all its units are counted, when a recipient's turn comes; who has had as many as the limit is
skipped (`frequency_cap`).""",
)
_DELETE = RouteDoc(
    "Delete an organization that has no units, and its tokens", {204: None}, errors={"organization_in_use": 409}
)
_ADD = RouteDoc(
    "Put a unit into an organization",
    {204: None},
    errors={"unit_elsewhere": 409},
    detail="A unit is in one organization at most. May be repeated.",
)
_REMOVE = RouteDoc(
    "Take a unit out of its organization",
    {204: None},
    detail="The organization's tokens do not open it any more, from then on. May be repeated.",
)


class OrganizationRoutes:
    """``/organizations``; all but reading one is for administrators."""

    def __init__(self, organizations: Organizations, pool: Pool) -> None:
        self._organizations = organizations
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        unit = f"{PATH}/units/<uuid:unit>"
        routes.add("POST", "/organizations", "create_organization", self.create, Access.ADMIN, _CREATE)
        routes.add("GET", "/organizations", "list_organizations", self.list, Access.ADMIN, _LIST)
        routes.add("GET", PATH, "get_organization", self.get, Access.READ, _GET)
        routes.add("PATCH", PATH, "rename_organization", self.rename, Access.ADMIN, _RENAME)
        rules = f"{PATH}/campaign-rules"
        routes.add("PUT", rules, "set_organization_campaign_rules", self.set_rules, Access.ADMIN, _RULES)
        routes.add("DELETE", PATH, "delete_organization", self.delete, Access.ADMIN, _DELETE)
        routes.add("PUT", unit, "add_organization_unit", self.add_unit, Access.ADMIN, _ADD)
        routes.add("DELETE", unit, "remove_organization_unit", self.remove_unit, Access.ADMIN, _REMOVE)

    async def create(self) -> Response:
        created = await self._organizations.create((await read_body(NewOrganization)).name)
        add_audit_detail(id=str(created.id), name=created.name)
        response = json_response(_body(created), 201)
        response.headers["Location"] = f"/organizations/{created.id}"
        return response

    async def list(self) -> Response:
        limit, after = page_query(_After)
        position = (after.at, after.id) if after else None
        rows = await stored.list_organizations_for_admin(self._pool, position, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _After(row.created_at, row.id))
        return json_response(OrganizationPage([_body(row) for row in page], next_cursor))

    async def get(self, organization: UUID) -> Response:
        found = await stored.load_organization(self._pool, organization, current_principal().grant)
        if found is None:
            raise UnknownOrganization("there is no such organization")
        return json_response(_body(found))

    async def rename(self, organization: UUID) -> Response:
        renamed = await self._organizations.rename(organization, (await read_body(NewOrganization)).name)
        add_audit_detail(name=renamed.name)
        return json_response(_body(renamed))

    async def set_rules(self, organization: UUID) -> Response:
        body = await read_body(CampaignRules)
        changed = await self._organizations.set_campaign_rules(
            organization, body.messages, body.days, shared_opt_outs=body.shared_opt_outs
        )
        add_audit_detail(messages=body.messages, days=body.days, sharedOptOuts=body.shared_opt_outs)
        return json_response(_body(changed))

    async def delete(self, organization: UUID) -> Response:
        await self._organizations.delete(organization)
        return Response(b"", 204)

    async def add_unit(self, organization: UUID, unit: UUID) -> Response:
        await self._organizations.add_unit(organization, UnitId(unit))
        return Response(b"", 204)

    async def remove_unit(self, organization: UUID, unit: UUID) -> Response:
        await self._organizations.remove_unit(organization, UnitId(unit))
        return Response(b"", 204)


def _body(organization: stored.Organization) -> OrganizationBody:
    return body_from(OrganizationBody, organization)
