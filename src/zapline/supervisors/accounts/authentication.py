"""Issues, checks and revokes the tokens of sessions, administrators, machines, units and organizations."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from time import time
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Scope, TokenKind
from zapline.sql.accounts import access_tokens, administrators
from zapline.sql.accounts.access_tokens import NewToken, TokenHolder, TokenRecord
from zapline.sql.accounts.administrators import Admin
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.token_cache import TokenCache
from zapline.supervisors.leadership import CONTROL_CHANNEL
from zapline.supervisors.units.webhook_authentication import digest_secret

_PREFIX = "zl_"
TOKEN_FORM = re.compile(r"zl_[A-Za-z0-9_-]{43}")
"""The whole of what ``new_token`` makes; nothing else needs a query."""
_STORE_USES_EVERY = 30.0
"""Seconds between two writes of the last uses of tokens; a kill loses that much of a session's idle time."""
_DELETE_EVERY = 3600.0
_DELETE_AFTER_DAYS = 90
"""Ended tokens are listed for that long."""
_LOG = structlog.get_logger(scope="Identity")


class UnknownToken(LocalError):
    """There is no such token of this unit, organization or administrator."""


@dataclass(frozen=True, slots=True)
class TokenLifetimes:
    """Seconds for which tokens are valid. ``idle``: without a use."""

    session: float = 12 * 3600.0
    session_idle: int = 1800
    half_session: float = 600.0
    """Between the password and the second factor."""
    login: float = 12 * 3600.0
    login_idle: int = 2 * 3600
    machine_idle: int = 30 * 86400
    """Of tokens that an administrator makes for machines: one unused for a month is probably lost."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token, which is shown only once, and its stored record."""

    token: str
    record: TokenRecord


async def tell_daemons(conn: Connection) -> None:
    """In a transaction that changes what tokens open: at its commit every daemon queries them again, as this one."""
    await access_tokens.tell_daemons(conn, CONTROL_CHANNEL)


def new_token() -> str:
    """Make a token of 256 random bits: it cannot be guessed, so its digest needs no salt."""
    return _PREFIX + secrets.token_urlsafe(32)


class Authentication:
    """One for the process, over the engine's pool. All methods raise DatabaseUnavailable."""

    def __init__(self, pool: Pool, lifetimes: TokenLifetimes | None = None, clock: Callable[[], float] = time) -> None:
        self._pool = pool
        self._lifetimes = lifetimes or TokenLifetimes()
        self._cache = TokenCache(self._find, clock)

    async def run(self) -> None:
        """Store the last uses of tokens, and delete long-ended ones, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._store_last_uses)
            nursery.start_soon(self._delete_ended)

    async def find_admin(self, email: str) -> Admin | None:
        """Find an administrator by e-mail address, enabled or not."""
        async with self._pool.connection() as conn:
            return await administrators.get_admin(conn, email)

    async def find_holder(self, token: str, *, use: bool = True) -> TokenHolder | None:
        """Return the holder of a valid token. ``use``: count this as a use, which extends its idle time.

        Cached for 30 seconds, and for 15 minutes while the database is away; a token revoked by this process is
        invalid at once, by another one as soon as the database tells. Raises DatabaseUnavailable if the token is not
        cached.
        """
        return await self._cache.find_holder(token, use=use)

    def invalidate_cache(self) -> None:
        """Query tokens again: another process may have revoked some."""
        self._cache.invalidate()

    def forget_person(self, id: UUID) -> None:
        """Query a person's tokens again: his rights have changed, or he is kept out."""
        self._cache.remove(lambda holder: holder.principal.id == id)

    def invalidations(self) -> int:
        """A number that grows when tokens may have been revoked: then long-lived streams must check theirs again."""
        return self._cache.invalidations

    async def open_session(self, admin: Principal, password_hash: str | None = None) -> tuple[str, datetime]:
        """Open a session of the console; return its token and its end.

        ``password_hash``: of the password that was checked. Raises ShutOut if it has changed meanwhile.
        """
        last, kind = self._lifetimes, TokenKind.SESSION
        return _with_expiry(await self._open(admin, kind, "console", last.session, last.session_idle, password_hash))

    async def open_half_session(self, admin: Principal, password_hash: str) -> tuple[str, datetime]:
        """The same after the password alone, where a second factor is to come: it opens nothing. Raises ShutOut."""
        last, kind = self._lifetimes.half_session, TokenKind.SECOND_FACTOR
        return _with_expiry(await self._open(admin, kind, "console", last, int(last), password_hash))

    async def open_login(self, admin: Principal, password_hash: str | None = None) -> tuple[str, datetime]:
        """Issue a bearer token after a sign-in by API; return it and its end. Raises ShutOut."""
        last, kind = self._lifetimes, TokenKind.ADMIN
        return _with_expiry(await self._open(admin, kind, "login", last.login, last.login_idle, password_hash))

    async def mint_admin_token(self, admin: Principal, label: str, days: int) -> IssuedToken:
        """Issue a bearer token for a machine that acts as an administrator. Raises ShutOut."""
        return await self._open(admin, TokenKind.ADMIN, label, days * 86400.0, self._lifetimes.machine_idle)

    async def mint_unit_token(
        self,
        unit: UnitId,
        label: str,
        scopes: frozenset[Scope],
        created_by: str,
        days: int | None,
        per_minute: int | None = None,
    ) -> IssuedToken:
        """Issue a bearer token of an existing unit; ``days`` None: it does not expire. Raises TooManyTokens.

        ``per_minute``: requests that it may make; None: as the ceilings say.
        """
        lasts, kind = days * 86400.0 if days is not None else None, TokenKind.UNIT
        grant = NewToken(kind, label, created_by, unit=unit, scopes=scopes, lasts=lasts, requests_per_minute=per_minute)
        return await self._issue(grant)

    async def mint_organization_token(
        self,
        organization: UUID,
        label: str,
        scopes: frozenset[Scope],
        units: frozenset[UnitId] | None,
        created_by: str,
        days: int | None,
        per_minute: int | None = None,
    ) -> IssuedToken:
        """Issue a bearer token of an existing organization for these of its units; None: all, also later ones.

        ``per_minute``: requests that it may make; None: as the ceilings say. Raises TooManyTokens.
        """
        lasts = days * 86400.0 if days is not None else None
        kind, owner = TokenKind.ORGANIZATION, organization
        grant = NewToken(kind, label, created_by, scopes=scopes, lasts=lasts, organization=owner, units=units)
        return await self._issue(replace(grant, requests_per_minute=per_minute))

    async def _open(
        self, admin: Principal, kind: TokenKind, label: str, lasts: float, idle: int, password_hash: str | None = None
    ) -> IssuedToken:
        if not admin.is_person:
            raise LocalError("only people have sessions and tokens of their own")
        grant = NewToken(kind, label, admin.name, admin=admin.id, lasts=lasts, idle=idle, password_hash=password_hash)
        return await self._issue(grant)

    async def _issue(self, grant: NewToken) -> IssuedToken:
        token = new_token()
        async with self._pool.connection() as conn, conn.transaction():
            return IssuedToken(token, await access_tokens.insert_token(conn, digest_secret(token), grant))

    async def unit_tokens(self, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int) -> list[TokenRecord]:
        """List a page of a unit's tokens, the newest first."""
        async with self._pool.connection() as conn:
            return await access_tokens.list_unit_tokens(conn, unit, before, limit)

    async def organization_tokens(
        self, organization: UUID, before: tuple[datetime, UUID] | None, limit: int
    ) -> list[TokenRecord]:
        """List a page of an organization's tokens, the newest first."""
        async with self._pool.connection() as conn:
            return await access_tokens.list_organization_tokens(conn, organization, before, limit)

    async def admin_tokens(self, admin: UUID, before: tuple[datetime, UUID] | None, limit: int) -> list[TokenRecord]:
        """List a page of an administrator's tokens and sessions, the newest first."""
        async with self._pool.connection() as conn:
            return await access_tokens.list_admin_tokens(conn, admin, before, limit)

    async def revoke(self, token: str) -> None:
        """End a token at its holder's request."""
        async with self._pool.connection() as conn:
            await access_tokens.revoke_by_digest(conn, digest_secret(token))
        self._cache.remove_token(token)

    async def revoke_unit_token(self, unit: UnitId, id: UUID) -> str:
        """End a token of this unit, which may have ended already; return its label. Raises UnknownToken."""
        async with self._pool.connection() as conn, conn.transaction():
            label = await access_tokens.revoke_unit_token(conn, unit, id)
            await tell_daemons(conn)
        return self._require_revoked(id, label)

    async def revoke_organization_token(self, organization: UUID, id: UUID) -> str:
        """End a token of this organization, which may have ended already; return its label. Raises UnknownToken."""
        async with self._pool.connection() as conn, conn.transaction():
            label = await access_tokens.revoke_organization_token(conn, organization, id)
            await tell_daemons(conn)
        return self._require_revoked(id, label)

    async def revoke_admin_token(self, admin: UUID, id: UUID) -> str:
        """End a token or session of this administrator; return its label. Raises UnknownToken."""
        async with self._pool.connection() as conn, conn.transaction():
            label = await access_tokens.revoke_admin_token(conn, admin, id)
            await tell_daemons(conn)
        return self._require_revoked(id, label)

    def _require_revoked(self, id: UUID, label: str | None) -> str:
        self._cache.remove(lambda holder: holder.token == id)
        if label is None:
            raise UnknownToken("there is no such token")
        return label

    async def _find(self, digest_secret: bytes, used_at: float | None) -> TokenHolder | None:
        async with self._pool.connection() as conn:
            return await access_tokens.find_holder(conn, digest_secret, used_at)

    async def _store_last_uses(self) -> None:
        while True:
            await trio.sleep(_STORE_USES_EVERY)
            await self.store_last_uses()

    async def store_last_uses(self) -> None:
        """Store when tokens were last used. While the database is away these uses are lost."""
        used = self._cache.take_last_uses()
        if not used:
            return
        try:
            async with self._pool.connection() as conn:
                await access_tokens.store_last_use(conn, used)
        except RemoteError as away:
            _LOG.debug("The last uses of tokens are not stored", error=str(away))

    async def _delete_ended(self) -> None:
        while True:
            await trio.sleep(_DELETE_EVERY)
            try:
                async with self._pool.connection() as conn:
                    await access_tokens.prune_tokens(conn, _DELETE_AFTER_DAYS)
            except RemoteError as away:
                _LOG.debug("Ended tokens are not deleted yet", error=str(away))


def _with_expiry(minted: IssuedToken) -> tuple[str, datetime]:
    assert minted.record.expires_at is not None
    return minted.token, minted.record.expires_at
