"""Routes of bearer tokens: those of a unit, for its CRM, and an administrator's own; and the bodies of all tokens."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope, TokenKind
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
from zapline.http.api.framework.problems import ProblemType, ProblemTypes, invalid
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.accounts.access_tokens import AdminLockedOut, TokenRecord, TooManyTokens
from zapline.supervisors.accounts.authentication import Authentication, IssuedToken, UnknownToken
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    UnknownToken: ProblemType(404, "token_not_found"),
    AdminLockedOut: ProblemType(401, "unauthorized"),
    TooManyTokens: ProblemType(409, "too_many_tokens"),
}
Label = Annotated[str, Meta(min_length=1, max_length=100, description="What people will know it by.")]
Scopes = Annotated[list[Scope], Meta(min_length=1, max_length=3, description="What it may do.")]
MAX_DAYS = 3650
RequestsPerMinute = Annotated[
    Annotated[int, Meta(ge=1, le=1_000_000)] | None,
    Meta(description="Requests a minute that the token may make; null: as the installation's ceilings say."),
]


class AfterToken(Position, frozen=True, tag="t"):
    """Where a page of tokens ended."""

    at: AwareDatetime
    id: UUID


class NewUnitToken(RequestBody, frozen=True):
    """Body of ``POST /units/{unit}/tokens``. ``expiresInDays`` null: it lasts until it is revoked."""

    label: Label
    scopes: Scopes
    expires_in_days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] | None = None
    requests_per_minute: RequestsPerMinute = None


class NewAdminToken(RequestBody, frozen=True):
    """Body of ``POST /admin/tokens``."""

    label: Label
    expires_in_days: Annotated[int, Meta(ge=1, le=365)] = 90


class TokenBody(ResponseBody, frozen=True, kw_only=True):
    """A token as it is known here: never the token itself."""

    id: UUID
    kind: TokenKind
    label: str
    unit_id: UUID | None
    organization_id: UUID | None
    unit_ids: Annotated[
        Sequence[UUID] | None,
        Meta(description="Of an organization's token: the units that it opens; null: all, also later ones."),
    ]
    scopes: Annotated[Sequence[Scope], Meta(description="Of a token of units; an administrator's may everything.")]
    created_by: str
    created_at: Timestamp | None
    last_used_at: Annotated[Timestamp | None, Meta(description="To about a minute.")]
    expires_at: Timestamp | None
    idle_seconds: Annotated[int | None, Meta(description="Seconds without use after which it ends.")]
    revoked_at: Timestamp | None
    requests_per_minute: RequestsPerMinute


class MintedBody(TokenBody, frozen=True, kw_only=True):
    """A new token, shown this once: only its digest is kept."""

    token: str


class TokenPage(Page[TokenBody], frozen=True):
    """Tokens, the newest first, also those that have ended in the last 90 days."""


_NOT_FOUND = {"token_not_found": 404}
_MINT = RouteDoc(
    "Make a token for a unit's CRM",
    {201: MintedBody},
    body=NewUnitToken,
    errors={"too_many_tokens": 409},
    example={"label": "CRM", "scopes": ["read", "send"]},
)
_LIST = RouteDoc("A unit's tokens", {200: TokenPage}, query=PAGED)
_REVOKE = RouteDoc("End a unit's token", {204: None}, errors=_NOT_FOUND)
_MINT_OWN = RouteDoc(
    "Make a token for a machine that works in your name",
    {201: MintedBody},
    body=NewAdminToken,
    example={"label": "Backups", "expiresInDays": 90},
)
_LIST_OWN = RouteDoc("Your own tokens and sessions", {200: TokenPage}, query=PAGED)
_REVOKE_OWN = RouteDoc("End one of your own tokens or sessions", {204: None}, errors=_NOT_FOUND)


class TokenRoutes:
    """``/units/{unit}/tokens`` and ``/admin/tokens``, for administrators."""

    def __init__(self, commands: UnitCommands, identity: Authentication) -> None:
        self._commands = commands
        self._identity = identity

    def attach(self, routes: RouteTable) -> None:
        unit, own = "/units/<uuid:unit>/tokens", "/admin/tokens"
        routes.add("POST", unit, "mint_token", self.mint, Access.ADMIN, _MINT)
        routes.add("GET", unit, "list_tokens", self.list, Access.ADMIN, _LIST)
        routes.add("DELETE", f"{unit}/<uuid:token>", "revoke_token", self.revoke, Access.ADMIN, _REVOKE)
        routes.add("POST", own, "mint_own_token", self.mint_own, Access.ADMIN, _MINT_OWN)
        routes.add("GET", own, "list_own_tokens", self.list_own, Access.PERSON, _LIST_OWN)
        routes.add("DELETE", f"{own}/<uuid:token>", "revoke_own_token", self.revoke_own, Access.PERSON, _REVOKE_OWN)

    async def mint(self, unit: UUID) -> Response:
        body = await read_body(NewUnitToken)
        id, label = self._commands.find(UnitId(unit)).id, label_of(body.label)
        scopes, days = frozenset(body.scopes), body.expires_in_days
        return new_token_response(
            await self._identity.mint_unit_token(
                id, label, scopes, current_principal().name, days, body.requests_per_minute
            )
        )

    async def list(self, unit: UUID) -> Response:
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(AfterToken)
        return token_page(
            await self._identity.unit_tokens(id, (after.at, after.id) if after else None, limit + 1), limit
        )

    async def revoke(self, unit: UUID, token: UUID) -> Response:
        id = self._commands.find(UnitId(unit)).id
        add_audit_detail(label=await self._identity.revoke_unit_token(id, token))
        return Response(b"", 204)

    async def mint_own(self) -> Response:
        body = await read_body(NewAdminToken)
        label, days = label_of(body.label), body.expires_in_days
        return new_token_response(await self._identity.mint_admin_token(current_principal(), label, days))

    async def list_own(self) -> Response:
        id, (limit, after) = current_principal().id, page_query(AfterToken)
        return token_page(
            await self._identity.admin_tokens(id, (after.at, after.id) if after else None, limit + 1), limit
        )

    async def revoke_own(self, token: UUID) -> Response:
        add_audit_detail(label=await self._identity.revoke_admin_token(current_principal().id, token))
        return Response(b"", 204)


def label_of(text: str) -> str:
    """The label without surrounding spaces. Raises Problem 422 for one that is empty or unprintable."""
    label = text.strip()
    if not label or not label.isprintable():
        raise invalid("label", "is a line of text")
    return label


def new_token_response(minted: IssuedToken) -> Response:
    """The answer that shows a new token, this once."""
    record = minted.record
    add_audit_detail(id=str(record.id), label=record.label, scopes=list(record.scopes))
    return json_response(_token_body(MintedBody, record, token=minted.token), 201)


def token_page(records: Sequence[TokenRecord], limit: int) -> Response:
    """The answer with a page of tokens, of which one more was read than it may hold."""
    page, next_cursor = split_page(records, limit, lambda record: AfterToken(record.created_at, record.id))
    return json_response(TokenPage([_token_body(TokenBody, record) for record in page], next_cursor))


def _token_body(kind: type[TokenBody], record: TokenRecord, **values: str) -> TokenBody:
    return body_from(
        kind,
        record,
        unit_id=record.unit,
        organization_id=record.organization,
        unit_ids=record.units,
        idle_seconds=record.idle,
        **values,
    )
