"""Signs administrators in by password, with limits on attempts for each address, and for each account from it."""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

import argon2
import structlog
import trio

from zapline.domain.principals import ActorKind, AuditActor, Principal, TokenKind
from zapline.http.api.framework.problems import Problem
from zapline.http.server.client_address import Networks, rate_limit_key
from zapline.sql.accounts.access_tokens import AdminLockedOut
from zapline.sql.accounts.administrators import Admin
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.second_factors import SecondFactors, WrongCode

_WINDOW = 300.0
"""Seconds over which sign-in attempts are counted."""
_ATTEMPTS_BY_ACCOUNT = 5
_ATTEMPTS_BY_SOURCE = 20
"""Attempts allowed in a window from one address: one account needs few; many people may share it.

An account is never locked for all addresses, or whoever knows an e-mail could shut its owner out. Guesses from many
addresses are bounded by how many passwords are verified at once; each is in the log and in the audit.
"""
_ATTEMPTS_BY_PERSON = 10
"""Second factors that are tried for a person in a window."""
_MAX_KEYS = 4096
"""Addresses, and accounts from them, whose attempts are remembered; the least recently used are forgotten."""
_MAX_VERIFYING = 2
_MAX_WAITING = 16
"""Passwords verified at once (64 MiB and 0.1 s each), and sign-ins that may wait for their turn."""
_INVITATION = "invitation"
"""Attempts of codes of invitations are counted as those of one account, which no e-mail address is."""
_UNKNOWN_ACTOR = "unknown"
"""Audited for an unknown e-mail address: what was typed may be a password in the wrong field, so it is not stored."""
_LOG = structlog.get_logger(scope="Auth")


class AttemptLimit:
    """A sliding-window count of attempts for each key, in bounded memory."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Seconds until ``key`` may try again; 0 if it may now."""
        attempts = self._attempts.get(key)
        while attempts and now - attempts[0] >= _WINDOW:
            attempts.popleft()
        return attempts[0] + _WINDOW - now if attempts and len(attempts) >= self._allowed else 0.0

    def record(self, key: str, now: float) -> None:
        """Count an attempt."""
        attempts = self._attempts.setdefault(key, deque(maxlen=self._allowed))
        attempts.append(now)
        self._attempts.move_to_end(key)
        if len(self._attempts) > _MAX_KEYS:
            self._attempts.popitem(last=False)

    def reset(self, key: str) -> None:
        """Reset the count after a successful sign-in."""
        self._attempts.pop(key, None)


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """``trusted``: networks of proxies whose X-Forwarded-For is trusted."""

    trusted: Networks = ()
    hasher: argon2.PasswordHasher = field(default_factory=argon2.PasswordHasher)
    """Its cost parameters match those of stored hashes, so that unknown accounts take the same time to check."""


class PasswordSignIn:
    """One instance for the process, so that API and console count the same attempts."""

    def __init__(
        self, identity: Authentication, audit: AuditLog, policy: AuthPolicy, factors: SecondFactors | None = None
    ) -> None:
        self._factors = factors
        self._code_attempts = AttemptLimit(_ATTEMPTS_BY_PERSON)
        self._identity = identity
        self._audit = audit
        self._verifying = trio.CapacityLimiter(_MAX_VERIFYING)
        self._hasher = policy.hasher
        # Verified when there is no such account, so that the response takes as long.
        self._dummy_hash = self._hasher.hash("nobody has this password")
        self._account_attempts = AttemptLimit(_ATTEMPTS_BY_ACCOUNT)
        self._source_attempts = AttemptLimit(_ATTEMPTS_BY_SOURCE)

    async def open_session(self, email: str, password: str, source: str) -> tuple[str, datetime, bool]:
        """Open a console session: its token for the cookie, its latest end, and whether a second factor is to come.

        Raises Problem like ``open_login``.
        """
        half = False

        async def open(person: Principal, hash: str, has_factor: bool) -> tuple[str, datetime]:
            nonlocal half
            half = has_factor
            return await (self._identity.open_half_session if half else self._identity.open_session)(person, hash)

        return *await self._sign_in(email, password, source, open, halves=True), half

    async def open_login(self, email: str, password: str, source: str, code: str = "") -> tuple[str, datetime]:
        """Issue a bearer token; returns it with its latest end.

        Raises Problem 401 for a wrong e-mail or password or code, and 429 after too many attempts from there.
        """

        async def open(person: Principal, hash: str, has_factor: bool) -> tuple[str, datetime]:
            if has_factor and not code:
                raise Problem(401, "second_factor_needed", "the password is right; send a one-time code, too")
            if has_factor:
                await self._check_second_factor(person, code, source)
            return await self._identity.open_login(person, hash)

        return await self._sign_in(email, password, source, open)

    async def half_session(self, token: str) -> Principal | None:
        """Who has given the password, and not the second factor yet."""
        holder = await self._identity.find_holder(token)
        return holder.principal if holder is not None and holder.kind is TokenKind.SECOND_FACTOR else None

    async def finish(self, token: str, code: str, source: str) -> tuple[str, datetime]:
        """Open a session for a half one and a code. Raises Problem 401 and 429."""
        person = await self.half_session(token)
        if person is None:
            raise Problem(401, "unauthorized", "it took too long; begin again")
        await self._check_second_factor(person, code, source)
        await self._identity.revoke(token)
        opened = await self._identity.open_session(person)
        await self._audit.record(person.audit_actor(source), "sign_in", 200)
        _LOG.info("Signed in", admin=str(person.id), source=source)
        return opened

    async def _check_second_factor(self, person: Principal, code: str, source: str) -> None:
        """Take a code at signing in; a wrong one is audited."""
        try:
            await self.check_code(person, code, source)
        except Problem as refused:
            if refused.status == 401:
                await self._audit.record(person.audit_actor(source), "sign_in", 401)
            raise

    async def check_code(self, person: Principal, code: str, source: str) -> None:
        """Take a code, wherever one is asked for. Raises Problem 401 and 429.

        Guesses count for the person, from wherever they come: who makes them knows the password, or has the session.
        """
        now, key = trio.current_time(), str(person.id)
        wait = self._code_attempts.wait(key, now)
        if wait > 0 or self._factors is None:
            _LOG.warning("A second factor is refused: too many attempts", source=source, security=True)
            detail = "too many attempts to sign in"
            raise Problem(429, "too_many_attempts", detail, retryable=True, retry_after=ceil(wait))
        self._code_attempts.record(key, now)
        try:
            await self._factors.check(person.id, code)
        except WrongCode as wrong:
            _LOG.warning("Second factor failed", source=source, security=True)
            raise Problem(401, "wrong_credentials", str(wrong)) from None
        self._code_attempts.reset(key)

    async def _sign_in(
        self,
        email: str,
        password: str,
        source: str,
        open: Callable[[Principal, str, bool], Awaitable[tuple[str, datetime]]],
        *,
        halves: bool = False,
    ) -> tuple[str, datetime]:
        account = email.strip().lower()
        self._limit_attempts(source, account)
        # No account has a NUL in its address, and PostgreSQL refuses such a parameter.
        admin = await self._identity.find_admin(account.replace("\0", "?").encode("utf-8", "replace").decode())
        verified = await self._verify(admin.password_hash if admin else self._dummy_hash, password)
        if admin is None or not verified or admin.disabled_at is not None:
            raise await self._failed(admin, source)
        principal = admin.principal
        try:
            opened = await open(principal, admin.password_hash, admin.second_factor)
        except AdminLockedOut:  # the account changed during the verification
            raise await self._failed(admin, source) from None
        source_key = rate_limit_key(source)
        self._account_attempts.reset(_account_key(account, source_key))
        self._source_attempts.reset(source_key)
        if not (halves and admin.second_factor):
            await self._audit.record(principal.audit_actor(source), "sign_in", 200)
            _LOG.info("Signed in", admin=str(admin.id), source=source)
        return opened

    async def open_new_account(
        self,
        code: str,
        password: str,
        source: str,
        check: Callable[[str], Awaitable[object]],
        accept: Callable[[str, str], Awaitable[Principal]],
    ) -> tuple[str, datetime]:
        """Make the account of an invitation with ``accept`` (code and hash), and open its first session.

        ``check`` looks the code up before a password is hashed, which is work. Raises Problem 429 after too many
        attempts from there, counted before anything is looked up, and what ``check`` and ``accept`` raise.
        """
        self._limit_attempts(source, _INVITATION)
        await check(code)
        hashed = await trio.to_thread.run_sync(self._hasher.hash, password, limiter=self._verifying)
        person = await accept(code, hashed)
        self._account_attempts.reset(_account_key(_INVITATION, rate_limit_key(source)))  # others there may be invited
        await self._audit.record(person.audit_actor(source), "accept_invitation", 200)
        return await self._identity.open_session(person)

    async def _failed(self, admin: Admin | None, source: str) -> Problem:
        _LOG.warning("Sign-in failed", source=source, security=True)
        actor = admin.principal.audit_actor(source) if admin else None
        await self._audit.record(actor or AuditActor(ActorKind.ADMIN, _UNKNOWN_ACTOR, None, source), "sign_in", 401)
        return Problem(401, "wrong_credentials", "email or password is wrong")

    async def session(self, token: str, *, use: bool = True) -> Principal | None:
        """The principal of a valid console session; None for bearer tokens. ``use`` False does not count as a use.

        Raises DatabaseUnavailable if the token is not cached and the database is away.
        """
        holder = await self._identity.find_holder(token, use=use)
        return holder.principal if holder is not None and holder.kind is TokenKind.SESSION else None

    async def close(self, token: str, principal: Principal, source: str) -> None:
        """End a session or a bearer token."""
        await self._identity.revoke(token)
        await self._audit.record(principal.audit_actor(source), "sign_out", 204)

    def _limit_attempts(self, source: str, account: str) -> None:
        """Count the attempt before it is verified, so that parallel attempts count too. Raises Problem 429."""
        now, source_key = trio.current_time(), rate_limit_key(source)
        account_key = _account_key(account, source_key)
        wait = max(self._account_attempts.wait(account_key, now), self._source_attempts.wait(source_key, now))
        if wait > 0:
            _LOG.warning("Sign-in refused: too many attempts", source=source, security=True)
            detail = "too many attempts to sign in"
            raise Problem(429, "too_many_attempts", detail, retryable=True, retry_after=ceil(wait))
        if self._verifying.statistics().tasks_waiting >= _MAX_WAITING:
            raise Problem(429, "busy", "too many people sign in just now", retryable=True, retry_after=2)
        self._account_attempts.record(account_key, now)
        self._source_attempts.record(source_key, now)

    async def _verify(self, stored: str, password: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(stored, password)
            except (argon2.exceptions.InvalidHashError, argon2.exceptions.VerificationError):
                return False  # another password, or a hash that Zapline has not written

        return await trio.to_thread.run_sync(check, limiter=self._verifying)


def _account_key(account: str, source_key: str) -> str:
    return f"{source_key} {account}"
