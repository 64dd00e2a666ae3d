"""Lets administrators in by password: how often somebody may try, and what a try costs him."""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

import argon2
import structlog
import trio

from zapline.domain.principals import Actor, ActorKind, Principal, TokenKind
from zapline.http.api.framework.problems import Problem
from zapline.http.server.client_address import Networks, party_of
from zapline.sql.accounts.access_tokens import ShutOut
from zapline.sql.accounts.administrators import Admin
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Identity

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
_STRANGER = "unknown"
"""Who tries an address that is nobody's: what was typed may be a password in the wrong field, so it is not kept."""
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


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """``trusted``: networks of proxies whose X-Forwarded-For is believed."""

    trusted: Networks = ()
    hasher: argon2.PasswordHasher = field(default_factory=argon2.PasswordHasher)
    """What a password costs to check: the cost of the stored ones, so that an unknown account takes as long."""


class SignIn:
    """One for the process, so that API and console count the same attempts."""

    def __init__(self, identity: Identity, audit: AuditLog, policy: AuthPolicy) -> None:
        self._identity = identity
        self._audit = audit
        self._verifying = trio.CapacityLimiter(_VERIFYING)
        self._hasher = policy.hasher
        # Checked where there is no such account, so that the answer takes as long.
        self._nobody = self._hasher.hash("nobody has this password")
        self._accounts, self._sources = Attempts(_BY_ACCOUNT), Attempts(_BY_SOURCE)

    async def open_session(self, email: str, password: str, source: str) -> tuple[str, datetime]:
        """A session of the console for its cookie, and when it ends at the latest. Raises Problem as below."""
        return await self._let_in(email, password, source, self._identity.open_session)

    async def open_login(self, email: str, password: str, source: str) -> tuple[str, datetime]:
        """A bearer token, and when it ends at the latest.

        Raises Problem 401 where nobody has this e-mail and password, and 429 where he or his address has tried too
        often.
        """

        async def open_login(principal: Principal, password_hash: str) -> tuple[str, datetime]:
            return await self._identity.open_login(principal, password_hash=password_hash)

        return await self._let_in(email, password, source, open_login)

    async def _let_in(
        self,
        email: str,
        password: str,
        source: str,
        open: Callable[[Principal, str], Awaitable[tuple[str, datetime]]],
    ) -> tuple[str, datetime]:
        account = email.strip().lower()
        self._admit(source, account)
        # An address with a NUL is nobody's, and no database would look for it.
        found = await self._identity.account(account.replace("\0", "?").encode("utf-8", "replace").decode())
        right = await self._verify(found.password_hash if found else self._nobody, password)
        if found is None or not right or found.disabled_at is not None:
            raise await self._refused(found, source)
        principal = Principal(ActorKind.ADMIN, found.id, found.email)
        try:
            opened = await open(principal, found.password_hash)
        except ShutOut:  # changed while it was checked
            raise await self._refused(found, source) from None
        self._accounts.forgive(account)
        self._sources.forgive(party_of(source))
        await self._audit.happened(principal.at(source), "sign_in", 200)
        _LOG.info("Signed in", admin=str(found.id), source=source)
        return opened

    async def _refused(self, found: Admin | None, source: str) -> Problem:
        _LOG.warning("Sign-in failed", source=source, security=True)
        known = Actor(ActorKind.ADMIN, found.email, found.id, source) if found else None
        await self._audit.happened(known or Actor(ActorKind.ADMIN, _STRANGER, None, source), "sign_in", 401)
        return Problem(401, "wrong_credentials", "email or password is wrong")

    async def session(self, token: str, *, use: bool = True) -> Principal | None:
        """Who has this session, if it is valid; a bearer token is none. ``use`` False: only to look.

        Raises DatabaseUnavailable where nothing is known of it.
        """
        holder = await self._identity.holder(token, use=use)
        return holder.principal if holder is not None and holder.kind is TokenKind.SESSION else None

    async def close(self, token: str, principal: Principal, source: str) -> None:
        """End a session or a login."""
        await self._identity.end(token)
        await self._audit.happened(principal.at(source), "sign_out", 204)

    def _admit(self, source: str, account: str) -> None:
        """Count the attempt before it is checked, so that many at once are no way around. Raises Problem 429."""
        now, party = trio.current_time(), party_of(source)
        wait = max(self._accounts.wait(account, now), self._sources.wait(party, now))
        if wait > 0:
            _LOG.warning("Sign-in refused: too many attempts", source=source, security=True)
            said = "too many attempts to sign in"
            raise Problem(429, "too_many_attempts", said, retryable=True, retry_after=ceil(wait))
        if self._verifying.statistics().tasks_waiting >= _QUEUEING:
            raise Problem(429, "busy", "too many people sign in just now", retryable=True, retry_after=2)
        self._accounts.note(account, now)
        self._sources.note(party, now)

    async def _verify(self, stored: str, password: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(stored, password)
            except argon2.exceptions.VerifyMismatchError:
                return False
            except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError):
                return False  # a row that somebody wrote by hand

        return await trio.to_thread.run_sync(check, limiter=self._verifying)
