"""The gate in front of every route, by what the route says of who may call it; and sign-in for bearers."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

import structlog
from msgspec import Meta
from quart import Response, g, request
from quart_trio import QuartTrio

from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, Principal, Scope, TokenKind
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import begin_line
from zapline.http.api.framework.current_principal import principal
from zapline.http.api.framework.json_bodies import Answer, Body, read_body, reply
from zapline.http.api.framework.password_sign_in import AuthPolicy, SignIn
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.routes import Access, Doc, Route, Routes
from zapline.http.server.client_address import source_of
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Identity
from zapline.supervisors.units.unit_commands import UnknownUnit

_TOKEN = re.compile(r"zl_[A-Za-z0-9_-]{43}")
_NEEDED = {Access.READ: Scope.READ, Access.SEND: Scope.SEND, Access.CONTROL: Scope.CONTROL}
_LOG = structlog.get_logger(scope="Auth")


class Login(Body, frozen=True):
    """Body of ``POST /admin/login``."""

    email: Annotated[str, Meta(min_length=3, max_length=254)]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


class LoggedIn(Answer, frozen=True):
    """A bearer token, shown this once."""

    token: str
    expires_at: str | None
    """It ends then at the latest, or two hours after its last use."""


class Me(Answer, frozen=True):
    """Who asks, and what he may. ``unitId`` is null for an administrator, who may everything."""

    kind: ActorKind
    id: UUID
    name: str
    unit_id: UUID | None
    scopes: list[Scope]


_EMAIL_AND_PASSWORD = {"email": "ana@example.com", "password": "correct horse battery"}
_LOGIN = Doc(
    "Sign in with e-mail and password",
    {200: LoggedIn},
    body=Login,
    errors={"wrong_credentials": 401, "too_many_attempts": 429, "busy": 429},
    example=_EMAIL_AND_PASSWORD,
)
_LOGOUT = Doc("End the token that the request comes with", {204: None})
_ME = Doc("Tell whose token this is", {200: Me})


class Auth:
    """``/admin/login``, ``/admin/logout``, ``/admin/me``, and the gate."""

    def __init__(self, identity: Identity, audit: AuditLog, sign_in: SignIn, policy: AuthPolicy) -> None:
        self._identity = identity
        self._audit = audit
        self._sign_in = sign_in
        self._policy = policy

    def attach(self, app: QuartTrio, routes: Routes) -> None:
        """Add the routes, and stand before every request."""
        # Both write their own lines into the audit log: who it was is known only after the password was checked.
        routes.add("POST", "/admin/login", "login", self.login, Access.OPEN, _LOGIN, audited=False)
        routes.add("POST", "/admin/logout", "logout", self.logout, Access.SIGNED_IN, _LOGOUT, audited=False)
        routes.add("GET", "/admin/me", "me", self.me, Access.SIGNED_IN, _ME)

        async def gate() -> None:
            if request.url_rule is None:
                return  # nothing is there, which is not the gate's to say
            route = routes.get(request.endpoint or "")
            if route is None:  # whoever serves it has not said who may call it
                _LOG.error("A route that nobody has declared is refused", endpoint=request.endpoint)
                raise Problem(404, "not_found", "there is nothing at this address")
            if route.access is not Access.OPEN:
                g.principal = await self._admit(route)
                await begin_line(self._audit, route, g.principal, self._source())

        app.before_request(gate)

    async def _admit(self, route: Route) -> Principal:
        """Who asks, where he may ask that. Raises Problem 401 and 403, and UnknownUnit for units of others."""
        token = _presented()
        holder = await self._identity.holder(token) if token is not None else None
        if holder is None or holder.kind is TokenKind.SESSION:
            raise _unauthorized()
        found = holder.principal
        asked = (request.view_args or {}).get("unit")
        if asked is not None and not found.sees(UnitId(asked)):
            raise UnknownUnit("there is no such unit")
        _permit(found, route.access)
        return found

    def _source(self) -> str:
        return source_of(request.scope, self._policy.trusted)

    async def login(self) -> Response:
        """A token for an email and a password; it is shown this once."""
        asked = await read_body(Login)
        token, expires_at = await self._sign_in.open_login(asked.email, asked.password, self._source())
        return reply(LoggedIn(token, iso(expires_at)))

    async def logout(self) -> Response:
        """End the token that the request came with."""
        token = _presented()
        assert token is not None
        await self._sign_in.close(token, principal(), self._source())
        return Response(b"", 204)  # without a body Quart would look for an asyncio loop

    def recognised(self) -> Callable[[], Awaitable[bool]]:
        """Tells later, of an answer that lasts, whether whoever made the present request is still let in.

        To look does not count as a use: an answer that goes on by itself keeps no token from its idle end.
        """
        token, asked = _presented(), principal()

        async def still() -> bool:
            holder = await self._identity.holder(token, use=False) if token is not None else None
            return holder is not None and holder.principal == asked

        return still

    async def me(self) -> Response:
        found = principal()
        scopes = [scope for scope in Scope if found.may(scope)]
        return reply(Me(found.kind, found.id, found.name, found.unit, scopes))


def _permit(found: Principal, access: Access) -> None:
    """Raises Problem 403 where a token may less than the route asks for."""
    if access is Access.SIGNED_IN or found.unit is None:
        return
    scope = _NEEDED.get(access)
    if scope is None:
        raise Problem(403, "forbidden", "this is for administrators; a unit's token may not do it")
    if not found.may(scope):
        raise Problem(403, "forbidden", f"this token may not do it: it lacks the scope {scope.value}")


def _presented() -> str | None:
    """The bearer token of the request, if it looks like one of ours."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and _TOKEN.fullmatch(token) else None


def _unauthorized() -> Problem:
    return Problem(
        401,
        "unauthorized",
        "a valid token is needed: Authorization: Bearer zl_...",
        headers={"WWW-Authenticate": 'Bearer realm="zapline"'},
    )
