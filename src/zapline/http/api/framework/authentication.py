"""Authenticates every request by what its route requires, and signs bearers in and out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, cast
from uuid import UUID

import structlog
from msgspec import Meta
from quart import Response, g, request
from quart_trio import QuartTrio

from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, Principal, Role, Scope, TokenKind
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import begin_audit_entry
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, json_response, read_body
from zapline.http.api.framework.password_sign_in import AuthPolicy, PasswordSignIn
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.route_table import Access, Route, RouteDoc, RouteTable
from zapline.http.server.client_address import client_address
from zapline.http.server.fair_places import hold_for
from zapline.sql.postgres.row_level_security import limit_to
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import TOKEN_FORM, Authentication
from zapline.supervisors.accounts.organizations import UnknownOrganization
from zapline.supervisors.accounts.request_limits import RequestLimits
from zapline.supervisors.units.unit_commands import UnknownUnit

_REQUIRED_SCOPES = {
    Access.READ: Scope.READ,
    Access.INSPECT: Scope.READ,
    Access.SEND: Scope.SEND,
    Access.CAMPAIGN: Scope.SEND,
    Access.CONTROL: Scope.CONTROL,
}
_OPERATORS = (Access.INSPECT, Access.CAMPAIGN)
"""Of people, those who may control may do it."""
_QUOTA = "zapline.quota"
"""In the scope of a request."""
_LOG = structlog.get_logger(scope="Auth")


class Login(RequestBody, frozen=True):
    """Body of ``POST /admin/login``."""

    email: Annotated[str, Meta(min_length=3, max_length=254)]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]
    code: Annotated[str, Meta(max_length=100)] = ""
    """A one-time code or a recovery code, of who has set up a second factor."""


class LoggedIn(ResponseBody, frozen=True):
    """A bearer token, shown this once."""

    token: str
    expires_at: str | None
    """It ends then at the latest, or two hours after its last use."""


class MyRoles(ResponseBody, frozen=True):
    """The roles of a person."""

    everywhere: Role | None
    units: Annotated[dict[str, Role], Meta(description="By the unit's id.")]


class Me(ResponseBody, frozen=True):
    """Who asks, and what he may. An administrator may everything; he has neither ``unitId`` nor ``organizationId``.

    ``scopes`` of an operator or attendant: what he may in any of his units.
    """

    kind: ActorKind
    id: UUID
    name: str
    unit_id: Annotated[UUID | None, Meta(description="Of a unit's token.")]
    scopes: list[Scope]
    organization_id: Annotated[UUID | None, Meta(description="Of an organization's token.")]
    unit_ids: Annotated[
        list[UUID] | None,
        Meta(description="The units of the organization that the token opens; null: all, also those added later."),
    ]
    roles: Annotated[
        MyRoles | None,
        Meta(description="Of an operator or attendant: the role everywhere, and those in single units."),
    ]


_LOGIN = RouteDoc(
    "Sign in with e-mail and password",
    {200: LoggedIn},
    body=Login,
    errors={"wrong_credentials": 401, "second_factor_needed": 401, "too_many_attempts": 429, "busy": 429},
    example={"email": "ana@example.com", "password": "correct horse battery"},
)
_LOGOUT = RouteDoc("End the token that the request comes with", {204: None})
_ME = RouteDoc("Tell whose token this is", {200: Me})


class AuthenticationRoutes:
    """``/admin/login``, ``/admin/logout``, ``/admin/me``, and the check before every request."""

    def __init__(
        self,
        identity: Authentication,
        audit: AuditLog,
        sign_in: PasswordSignIn,
        policy: AuthPolicy,
        limits: RequestLimits,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._audit = audit
        self._sign_in = sign_in
        self._policy = policy

    def attach(self, app: QuartTrio, routes: RouteTable) -> None:
        """Add the routes, and check every request of the application."""
        # Both write their own audit lines: who it was is known only after the password was checked.
        routes.add("POST", "/admin/login", "login", self.login, Access.OPEN, _LOGIN, audited=False)
        routes.add("POST", "/admin/logout", "logout", self.logout, Access.SIGNED_IN, _LOGOUT, audited=False)
        routes.add("GET", "/admin/me", "me", self.me, Access.SIGNED_IN, _ME)

        async def authenticate() -> None:
            if request.url_rule is None:
                return  # answered with 404 by the router
            route = routes.get(request.endpoint or "")
            if route is None:  # served without an entry in the route table
                _LOG.error("A route that nobody has declared is refused", endpoint=request.endpoint)
                raise Problem(404, "not_found", "there is nothing at this address")
            if route.access is not Access.OPEN:
                g.principal = await self._authenticate(route)
                limit_to(g.principal.seen_units)
                await begin_audit_entry(self._audit, route, g.principal, self._source())

        async def add_quota(response: Response) -> Response:
            response.headers.update(quota_headers(request.scope))
            return response

        app.before_request(authenticate)
        app.after_request(add_quota)

    async def _authenticate(self, route: Route) -> Principal:
        header = request.headers.get("Authorization", "")
        named = request.view_args or {}
        unit, organization = named.get("unit"), named.get("organization")
        return await authenticate_caller(
            self._identity, self._limits, header, request.scope, unit, route.access, organization
        )

    def _source(self) -> str:
        return client_address(request.scope, self._policy.trusted)

    async def login(self) -> Response:
        """A token for an e-mail and a password; it is shown only here."""
        body = await read_body(Login)
        token, expires_at = await self._sign_in.open_login(body.email, body.password, self._source(), body.code)
        return json_response(LoggedIn(token, iso(expires_at)))

    async def logout(self) -> Response:
        """End the token of this request."""
        token = _bearer_token()
        assert token is not None
        await self._sign_in.close(token, current_principal(), self._source())
        return Response(b"", 204)  # without a body Quart would look for an asyncio loop

    def access_check(self) -> Callable[[], Awaitable[bool]]:
        """A check, for a response that streams, whether the caller of this request is still authorised.

        It does not count as a use: a stream alone does not keep a token from its idle end.
        """
        still, unit = self.caller_check(), (request.view_args or {}).get("unit")

        async def is_still_authorised() -> bool:
            caller = await still()
            return caller is not None and (
                unit is None or (caller.sees(UnitId(unit)) and caller.may(Scope.READ, UnitId(unit)))
            )

        return is_still_authorised

    def caller_check(self) -> Callable[[], Awaitable[Principal | None]]:
        """The same, with the caller as he stands then: the units of an organization change."""
        token, id = _bearer_token(), current_principal().id

        async def caller_now() -> Principal | None:
            holder = await self._identity.find_holder(token, use=False) if token is not None else None
            if holder is None or holder.principal.must_enroll:
                return None
            return holder.principal if holder.principal.id == id else None

        return caller_now

    async def me(self) -> Response:
        principal = current_principal()
        scopes = [scope for scope in Scope if principal.may(scope)]
        grant = principal.grant
        organization = grant.organization if grant is not None else None
        chosen: list[UUID] | None = sorted(grant.units) if grant is not None and grant.chosen is not None else None
        held = principal.roles
        roles = MyRoles(held.everywhere, {str(id): role for id, role in held.units.items()}) if held else None
        me = Me(principal.kind, principal.id, principal.name, principal.unit, scopes, organization, chosen, roles)
        return json_response(me)


async def authenticate_caller(
    identity: Authentication,
    limits: RequestLimits,
    header: str,
    scope: Mapping[str, Any],
    unit: UUID | None,
    access: Access,
    organization: UUID | None = None,
) -> Principal:
    """The caller, if he may call a route of this unit or organization; ``header``: ``Authorization``.

    Raises Problem 401, 403 and 429, and UnknownUnit and UnknownOrganization for those of others. A request of a token
    that has a limit is counted, whatever becomes of it; ``quota_headers`` are for its answer.
    """
    token = _parse_bearer(header)
    holder = await identity.find_holder(token) if token is not None else None
    if holder is None or holder.kind in (TokenKind.SESSION, TokenKind.SECOND_FACTOR):
        detail = "a valid token is needed: Authorization: Bearer zl_..."
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="zapline"'})
    principal = holder.principal
    if principal.must_enroll:
        raise Problem(403, "forbidden", "a second factor is required of you; set one up in the console")
    hold_for(scope, ("caller", principal.id))
    if holder.requests_per_minute is not None:
        quota = limits.take(holder.token, holder.requests_per_minute)
        cast(dict[str, Any], scope)[_QUOTA] = quota.headers
        if quota.wait is not None:
            detail = f"this token may make {quota.limit} requests a minute"
            raise Problem(429, "too_many_requests", detail, retryable=True, retry_after=quota.wait)
    if unit is not None and not principal.sees(UnitId(unit)):
        raise UnknownUnit("there is no such unit")
    if organization is not None and not principal.belongs_to(organization):
        raise UnknownOrganization("there is no such organization")
    if not may_call(principal, access, UnitId(unit) if unit is not None else None):
        raise _refusal(principal, access)
    return principal


def quota_headers(scope: Mapping[str, Any]) -> Mapping[str, str]:
    """What the answer to a request says of its token's limit; empty where it has none."""
    return cast(Mapping[str, str], scope.get(_QUOTA, {}))


def may_call(principal: Principal, access: Access, unit: UnitId | None) -> bool:
    """Whether what the principal is, and has, is what a route or page with this access requires, in this unit.

    ``unit`` None: in any one that the principal sees.
    """
    if access in (Access.OPEN, Access.SIGNED_IN) or principal.is_admin:
        return True
    if access is Access.PERSON:
        return principal.is_person
    scope = _REQUIRED_SCOPES.get(access)
    if scope is None:
        return False
    return principal.may(Scope.CONTROL if principal.is_person and access in _OPERATORS else scope, unit)


def _refusal(principal: Principal, access: Access) -> Problem:
    if principal.is_person:
        return Problem(403, "forbidden", "your role does not allow this")
    scope = _REQUIRED_SCOPES.get(access)
    if scope is None:
        return Problem(403, "forbidden", "this is for administrators; a token of units may not do it")
    return Problem(403, "forbidden", f"this token may not do it: it lacks the scope {scope.value}")


def _bearer_token() -> str | None:
    """The bearer token of the request, if it is well-formed."""
    return _parse_bearer(request.headers.get("Authorization", ""))


def _parse_bearer(header: str) -> str | None:
    scheme, _, token = header.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and TOKEN_FORM.fullmatch(token) else None
