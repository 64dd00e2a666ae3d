"""Bearer tokens: of a unit, which administrators make for its CRM, and of an administrator's own machines."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope, TokenKind
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import note
from zapline.http.api.framework.current_principal import principal
from zapline.http.api.framework.json_bodies import Answer, Body, Moment, read_body, reply
from zapline.http.api.framework.paging import PAGED, Page, Position, cursor, encode, limit
from zapline.http.api.framework.problems import Known, Register, invalid
from zapline.http.api.framework.routes import Access, Doc, Routes
from zapline.sql.accounts.access_tokens import ShutOut, TokenRecord
from zapline.supervisors.accounts.authentication import Identity, Minted, UnknownToken
from zapline.supervisors.units.unit_commands import Submit

PROBLEMS: Register = {UnknownToken: Known(404, "token_not_found"), ShutOut: Known(401, "unauthorized")}
_Moment = Annotated[datetime, Meta(tz=True)]
_Label = Annotated[str, Meta(min_length=1, max_length=100, description="What people will know it by.")]
_Scopes = Annotated[list[Scope], Meta(min_length=1, max_length=3, description="What it may do.")]
_MOST_DAYS = 3650


class _After(Position, frozen=True, tag="t"):
    at: _Moment
    id: UUID


class NewUnitToken(Body, frozen=True):
    """Body of ``POST /units/{unit}/tokens``. ``expiresInDays`` null: it lasts until it is revoked."""

    label: _Label
    scopes: _Scopes
    expires_in_days: Annotated[int, Meta(ge=1, le=_MOST_DAYS)] | None = None


class NewAdminToken(Body, frozen=True):
    """Body of ``POST /admin/tokens``."""

    label: _Label
    expires_in_days: Annotated[int, Meta(ge=1, le=365)] = 90


class TokenBody(Answer, frozen=True, kw_only=True):
    """A token as it is known here: never the token itself."""

    id: UUID
    kind: TokenKind
    label: str
    unit_id: UUID | None
    scopes: Annotated[Sequence[Scope], Meta(description="Of a unit's token; an administrator's may everything.")]
    created_by: str
    created_at: Moment | None
    last_used_at: Annotated[Moment | None, Meta(description="To about a minute.")]
    expires_at: Moment | None
    idle_seconds: Annotated[int | None, Meta(description="Seconds without use after which it ends.")]
    revoked_at: Moment | None


class MintedBody(TokenBody, frozen=True, kw_only=True):
    """A new token, shown this once: only its digest is kept."""

    token: str


class TokenPage(Page[TokenBody], frozen=True):
    """Tokens, the newest first, also those that have ended in the last 90 days."""


_GONE = {"token_not_found": 404}
_MINT = Doc(
    "Make a token for a unit's CRM",
    {201: MintedBody},
    body=NewUnitToken,
    example={"label": "CRM", "scopes": ["read", "send"]},
)
_LIST = Doc("A unit's tokens", {200: TokenPage}, query=PAGED)
_REVOKE = Doc("End a unit's token", {204: None}, errors=_GONE)
_OWN_MINT = Doc(
    "Make a token for a machine that works in your name",
    {201: MintedBody},
    body=NewAdminToken,
    example={"label": "Backups", "expiresInDays": 90},
)
_OWN_LIST = Doc("Your own tokens and sessions", {200: TokenPage}, query=PAGED)
_OWN_REVOKE = Doc("End one of your own tokens or sessions", {204: None}, errors=_GONE)


class Tokens:
    """``/units/{unit}/tokens`` and ``/admin/tokens``; for administrators."""

    def __init__(self, submit: Submit, identity: Identity) -> None:
        self._submit = submit
        self._identity = identity

    def attach(self, routes: Routes) -> None:
        unit, own = "/units/<uuid:unit>/tokens", "/admin/tokens"
        routes.add("POST", unit, "mint_token", self.mint, Access.ADMIN, _MINT)
        routes.add("GET", unit, "list_tokens", self.list, Access.ADMIN, _LIST)
        routes.add("DELETE", f"{unit}/<uuid:token>", "revoke_token", self.revoke, Access.ADMIN, _REVOKE)
        routes.add("POST", own, "mint_own_token", self.mint_own, Access.ADMIN, _OWN_MINT)
        routes.add("GET", own, "list_own_tokens", self.list_own, Access.ADMIN, _OWN_LIST)
        routes.add("DELETE", f"{own}/<uuid:token>", "revoke_own_token", self.revoke_own, Access.ADMIN, _OWN_REVOKE)

    async def mint(self, unit: UUID) -> Response:
        asked = await read_body(NewUnitToken)
        id, label = self._submit.find(UnitId(unit)).id, _label(asked.label)
        scopes, days = frozenset(asked.scopes), asked.expires_in_days
        return _minted(await self._identity.mint_unit_token(id, label, scopes, principal().name, days))

    async def list(self, unit: UUID) -> Response:
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_After)
        return _page(await self._identity.unit_tokens(id, (after.at, after.id) if after else None, most + 1), most)

    async def revoke(self, unit: UUID, token: UUID) -> Response:
        id = self._submit.find(UnitId(unit)).id
        note(label=await self._identity.revoke_unit_token(id, token))
        return Response(b"", 204)

    async def mint_own(self) -> Response:
        asked = await read_body(NewAdminToken)
        label, days = _label(asked.label), asked.expires_in_days
        return _minted(await self._identity.mint_admin_token(principal(), label, days))

    async def list_own(self) -> Response:
        id, most, after = principal().id, limit(), cursor(_After)
        return _page(await self._identity.admin_tokens(id, (after.at, after.id) if after else None, most + 1), most)

    async def revoke_own(self, token: UUID) -> Response:
        note(label=await self._identity.revoke_admin_token(principal().id, token))
        return Response(b"", 204)


def _label(text: str) -> str:
    """Raises Problem 422 for what no list could show."""
    label = text.strip()
    if not label or not label.isprintable():
        raise invalid("label", "is a line of text")
    return label


def _minted(minted: Minted) -> Response:
    record, shown = minted.record, _token(minted.record)
    note(id=str(record.id), label=record.label, scopes=list(record.scopes))
    known = {name: getattr(shown, name) for name in TokenBody.__struct_fields__}
    return reply(MintedBody(token=minted.token, **known), 201)


def _page(found: Sequence[TokenRecord], most: int) -> Response:
    page = found[:most]
    more = encode(_After(page[-1].created_at, page[-1].id)) if len(found) > most else None
    return reply(TokenPage([_token(record) for record in page], more))


def _token(record: TokenRecord) -> TokenBody:
    return TokenBody(
        id=record.id,
        kind=record.kind,
        label=record.label,
        unit_id=record.unit,
        scopes=record.scopes,
        created_by=record.created_by,
        created_at=iso(record.created_at),
        last_used_at=iso(record.last_used_at),
        expires_at=iso(record.expires_at),
        idle_seconds=record.idle,
        revoked_at=iso(record.revoked_at),
    )
