"""Lets people in: sign-in by password, bearer tokens, and how often somebody may try."""

import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from math import ceil
from typing import Annotated, Any

import argon2
import structlog
import trio
from msgspec import Meta
from quart import Response, request
from quart_trio import QuartTrio

from zapline.domain.errors import DatabaseUnavailable
from zapline.http.problems import Problem
from zapline.http.routes import Access, Routes
from zapline.http.wire import Body, iso, read_body, reply
from zapline.sql.people import find_admin
from zapline.sql.pool import Pool
from zapline.sql.reading import Holder, token_holder
from zapline.supervisors.roster import digest
from zapline.supervisors.submit import Submit

_TOKEN = re.compile(r"zl_[A-Za-z0-9_-]{43}")
_WINDOW = 300.0
"""Seconds over which attempts to sign in are counted."""
_BY_ACCOUNT = 5
_BY_SOURCE = 20
"""Attempts in a window: a person who has forgotten a password tries less often, a house behind one address not."""
_REMEMBERED = 4096
"""Accounts and sources whose attempts are remembered; the least recently seen is forgotten."""
_VERIFYING = 2
_QUEUEING = 16
"""Passwords checked at once (64 MiB and 0.1 s each), and sign-ins that may wait for their turn."""
_FRESH = 30.0
"""Seconds for which a token is believed without asking the database again."""
_STALE = 900.0
"""The same while the database is away: the status of a line must be readable then."""
_LOG = structlog.get_logger(scope="Auth")


class Attempts:
    """How often each key tried in the last window; sliding, in bounded memory."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._known: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Seconds until ``key`` may try again; 0 where it may now."""
        tried = self._known.get(key)
        while tried and now - tried[0] >= _WINDOW:
            tried.popleft()
        return tried[0] + _WINDOW - now if tried and len(tried) >= self._allowed else 0.0

    def note(self, key: str, now: float) -> None:
        """Count an attempt."""
        tried = self._known.setdefault(key, deque(maxlen=self._allowed))
        tried.append(now)
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def forgive(self, key: str) -> None:
        """The attempts were those of somebody who knows the password."""
        self._known.pop(key, None)


class Tokens:
    """Believes a valid token for a while, so that not every request asks the database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[bytes, tuple[Holder, float]] = OrderedDict()
        self._asking = trio.CapacityLimiter(2)  # who guesses tokens must not take the whole pool

    async def check(self, token: str) -> Holder | None:
        """Whose token it is, if it is valid. Raises DatabaseUnavailable where nothing is known of it."""
        key = digest(token)
        now = trio.current_time()
        known = self._known.get(key)
        if known is not None and known[0].expires_at <= datetime.now(UTC):
            del self._known[key]
            known = None
        if known is not None and now - known[1] < _FRESH:
            return known[0]
        try:
            async with self._asking:
                holder = await token_holder(self._pool, key)
        except DatabaseUnavailable:
            if known is not None and now - known[1] < _STALE:
                return known[0]
            raise
        if holder is None:
            self._known.pop(key, None)
            return None
        self._known[key] = (holder, trio.current_time())
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return holder

    def forget(self, token: str) -> None:
        self._known.pop(digest(token), None)


class SignIn(Body, frozen=True):
    """Body of ``POST /admin/login``."""

    email: Annotated[str, Meta(min_length=3, max_length=254)]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """``token_hours``: life of a token. ``trusted``: networks of proxies whose X-Forwarded-For is believed."""

    token_hours: float = 12.0
    trusted: Sequence[IPv4Network | IPv6Network] = ()
    hasher: argon2.PasswordHasher = field(default_factory=argon2.PasswordHasher)
    """What a password costs to check: the cost of the stored ones, so that an unknown account takes as long."""


class Auth:
    """``/admin/login``, ``/admin/logout``, and the gate in front of everything that is not open."""

    def __init__(self, submit: Submit, pool: Pool, policy: AuthPolicy) -> None:
        self._submit = submit
        self._pool = pool
        self._policy = policy
        self._tokens = Tokens(pool)
        self._verifying = trio.CapacityLimiter(_VERIFYING)
        self._hasher = policy.hasher
        # Checked where there is no such account, so that the answer takes as long.
        self._nobody = self._hasher.hash("nobody has this password")
        self._accounts, self._sources = Attempts(_BY_ACCOUNT), Attempts(_BY_SOURCE)

    def attach(self, app: QuartTrio, routes: Routes) -> None:
        """Add the routes, and ask every request to a route of ``routes`` that is not open for its token."""
        routes.add("POST", "/admin/login", "login", self.login, Access.OPEN)
        routes.add("POST", "/admin/logout", "logout", self.logout, Access.SIGNED_IN)

        async def gate() -> None:
            route = routes.get(request.endpoint or "")
            if route is None or route.access is Access.OPEN:
                return
            token = _presented()
            if token is None or await self._tokens.check(token) is None:
                raise _unauthorized()

        app.before_request(gate)

    async def login(self) -> Response:
        """A token for an email and a password; it is shown this once."""
        asked = await read_body(SignIn)
        source, account = source_of(request.scope, self._policy.trusted), asked.email.strip().lower()
        self._admit(source, account)
        async with self._pool.connection() as conn:
            found = await find_admin(conn, account)
        right = await self._verify(found[1] if found else self._nobody, asked.password)
        if found is None or not right:
            _LOG.warning("Sign-in failed", source=source, security=True)
            raise Problem(401, "wrong_credentials", "email or password is wrong")
        self._accounts.forgive(account)
        self._sources.forgive(source)
        token, expires_at = await self._submit.issue_token(found[0], "login", self._policy.token_hours)
        _LOG.info("Signed in", admin=str(found[0]), source=source)
        return reply({"token": token, "expiresAt": iso(expires_at)})

    async def logout(self) -> Response:
        """End the token that the request came with."""
        token = _presented()
        assert token is not None
        await self._submit.revoke_token(token)
        self._tokens.forget(token)
        return Response(b"", 204)  # without a body Quart would look for an asyncio loop

    def recognised(self) -> Callable[[], Awaitable[bool]]:
        """Tells later, of an answer that lasts, whether whoever made the present request is still let in."""
        token = _presented()

        async def still() -> bool:
            return token is not None and await self._tokens.check(token) is not None

        return still

    def _admit(self, source: str, account: str) -> None:
        """Count the attempt before it is checked, so that many at once are no way around. Raises Problem 429."""
        now = trio.current_time()
        wait = max(self._accounts.wait(account, now), self._sources.wait(source, now))
        if wait > 0:
            _LOG.warning("Sign-in refused: too many attempts", source=source, security=True)
            said = "too many attempts to sign in"
            raise Problem(429, "too_many_attempts", said, retryable=True, retry_after=ceil(wait))
        if self._verifying.statistics().tasks_waiting >= _QUEUEING:
            raise Problem(429, "busy", "too many people sign in just now", retryable=True, retry_after=2)
        self._accounts.note(account, now)
        self._sources.note(source, now)

    async def _verify(self, stored: str, password: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(stored, password)
            except argon2.exceptions.VerifyMismatchError:
                return False
            except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError):
                return False  # a row that somebody wrote by hand

        return await trio.to_thread.run_sync(check, limiter=self._verifying)


def source_of(scope: Mapping[str, Any], trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """The address of the caller of an ASGI request: the nearest one that is none of our ``trusted`` proxies.

    ``unknown`` where the connection has none.
    """
    nearest = str((scope.get("client") or ("unknown",))[0])
    if not trusted:
        return nearest
    given = b",".join(value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for")
    forwarded = [part.strip() for part in given.decode("latin-1").split(",")]
    for earlier in reversed(forwarded[-10:]):
        if not _within(nearest, trusted) or not _is_address(earlier):
            break
        nearest = earlier
    return nearest


def _within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


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
