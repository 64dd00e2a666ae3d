"""Routes of an organization's bearer tokens, which open all its units or some of them."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.accounts.organizations import PATH
from zapline.http.api.accounts.tokens import (
    MAX_DAYS,
    AfterToken,
    Label,
    MintedBody,
    RequestsPerMinute,
    Scopes,
    TokenPage,
    label_of,
    new_token_response,
    token_page,
)
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import RequestBody, read_body
from zapline.http.api.framework.paging import PAGED, page_query
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.organizations import Organizations

_Units = Annotated[
    Annotated[list[UUID], Meta(min_length=1, max_length=1000)] | None,
    Meta(description="The units that it opens, as long as they are in the organization; null: all, later ones too."),
]


class NewOrganizationToken(RequestBody, frozen=True):
    """Body of ``POST /organizations/{organization}/tokens``. ``expiresInDays`` null: it lasts until it is revoked."""

    label: Label
    scopes: Scopes
    unit_ids: _Units = None
    expires_in_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] | None = None
    requests_per_minute: RequestsPerMinute = None


_MINT = RouteDoc(
    "Make a token for an organization's programs",
    {201: MintedBody},
    body=NewOrganizationToken,
    errors={"too_many_tokens": 409},
    example={"label": "CRM", "scopes": ["read", "send"]},
    detail="Every route of a unit takes it where it opens the unit and has the scope.",
)
_LIST = RouteDoc("An organization's tokens", {200: TokenPage}, query=PAGED)
_REVOKE = RouteDoc("End an organization's token", {204: None}, errors={"token_not_found": 404})


class OrganizationTokenRoutes:
    """``/organizations/{organization}/tokens``, for administrators."""

    def __init__(self, organizations: Organizations, identity: Authentication) -> None:
        self._organizations = organizations
        self._identity = identity

    def attach(self, routes: RouteTable) -> None:
        tokens = f"{PATH}/tokens"
        token = f"{tokens}/<uuid:token>"
        routes.add("POST", tokens, "mint_organization_token", self.mint, Access.ADMIN, _MINT)
        routes.add("GET", tokens, "list_organization_tokens", self.list, Access.ADMIN, _LIST)
        routes.add("DELETE", token, "revoke_organization_token", self.revoke, Access.ADMIN, _REVOKE)

    async def mint(self, organization: UUID) -> Response:
        body = await read_body(NewOrganizationToken)
        label = label_of(body.label)
        units = frozenset(map(UnitId, body.unit_ids)) if body.unit_ids is not None else None
        await self._organizations.check_units(organization, units or frozenset())
        scopes, who = frozenset(body.scopes), current_principal().name
        minted = await self._identity.mint_organization_token(
            organization, label, scopes, units, who, body.expires_in_days, body.requests_per_minute
        )
        return new_token_response(minted)

    async def list(self, organization: UUID) -> Response:
        limit, after = page_query(AfterToken)
        await self._organizations.check_units(organization, frozenset())
        position = (after.at, after.id) if after else None
        return token_page(await self._identity.organization_tokens(organization, position, limit + 1), limit)

    async def revoke(self, organization: UUID, token: UUID) -> Response:
        add_audit_detail(label=await self._identity.revoke_organization_token(organization, token))
        return Response(b"", 204)
