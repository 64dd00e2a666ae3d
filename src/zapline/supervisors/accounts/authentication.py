"""Opens, checks and ends sessions and bearer tokens; what of administrators changes while the daemon runs."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import time
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, Principal, Scope, TokenKind
from zapline.sql.accounts import access_tokens, administrators
from zapline.sql.accounts.access_tokens import Grant, Holder, TokenRecord
from zapline.sql.accounts.administrators import Admin
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.token_cache import Believed
from zapline.supervisors.units.roster import digest

_PREFIX = "zl_"
_NOTE_EVERY = 30.0
"""Seconds between the moments at which the last uses of tokens are stored: a kill loses that much of a session."""
_FORGET_EVERY = 3600.0
_FORGET_AFTER_DAYS = 90
"""Ended tokens stay in the lists that long."""
_LOG = structlog.get_logger(scope="Identity")


class UnknownToken(LocalError):
    """There is no such token of this unit or administrator."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """How long what is opened lasts, in seconds. ``idle``: without a use."""

    session: float = 12 * 3600.0
    session_idle: int = 1800
    login: float = 12 * 3600.0
    login_idle: int = 2 * 3600
    machine_idle: int = 30 * 86400
    """Of an administrator's own bearer tokens: what a machine has not used for a month is forgotten somewhere."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token, which is shown this once, and what is stored of it."""

    token: str
    record: TokenRecord


def new_token() -> str:
    """256 random bits: nothing to guess, so its digest needs no salt."""
    return _PREFIX + secrets.token_urlsafe(32)


class Identity:
    """One for the process, over the engine's pool. Everything raises DatabaseUnavailable while that is away."""

    def __init__(self, pool: Pool, lasting: Lasting | None = None, clock: Callable[[], float] = time) -> None:
        self._pool = pool
        self._lasting = lasting or Lasting()
        self._believed = Believed(self._find, clock)

    async def run(self) -> None:
        """Store when tokens were used, and delete what ended long ago, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note_uses)
            nursery.start_soon(self._forget_ended)

    # -- who comes in ----------------------------------------------------------------------------------------

    async def account(self, email: str) -> Admin | None:
        """The administrator with this address, enabled or not."""
        async with self._pool.connection() as conn:
            return await administrators.get_admin(conn, email)

    async def holder(self, token: str, *, use: bool = True) -> Holder | None:
        """Who holds this token, if it is valid. ``use``: whether that counts against its idle end.

        Believed for 30 seconds, and for 15 minutes while the database is away; what this process ends is forgotten
        at once. Raises DatabaseUnavailable where nothing is known of it.
        """
        return await self._believed.holder(token, use=use)

    def doubt(self) -> None:
        """Another process may have ended something: ask anew."""
        self._believed.doubt()

    def ended(self) -> int:
        """How often something may have ended: who lets somebody see things for longer asks anew when it grows."""
        return self._believed.forgotten

    # -- what is opened --------------------------------------------------------------------------------------

    async def open_session(self, admin: Principal, password_hash: str | None = None) -> tuple[str, datetime]:
        """A session of the console, and when it ends at the latest.

        ``password_hash``: that of the password that was shown. Raises ShutOut where it is another by now.
        """
        last, kind = self._lasting, TokenKind.SESSION
        return _timed(await self._open(admin, kind, "console", last.session, last.session_idle, password_hash))

    async def open_login(
        self, admin: Principal, seconds: float | None = None, password_hash: str | None = None
    ) -> tuple[str, datetime]:
        """The bearer token of who has signed in by API, and when it ends at the latest. Raises ShutOut."""
        last, kind = self._lasting, TokenKind.ADMIN
        lasts = last.login if seconds is None else seconds
        return _timed(await self._open(admin, kind, "login", lasts, last.login_idle, password_hash))

    async def mint_admin_token(self, admin: Principal, label: str, days: int) -> Minted:
        """A bearer token for a machine that works in an administrator's name. Raises ShutOut."""
        return await self._open(admin, TokenKind.ADMIN, label, days * 86400.0, self._lasting.machine_idle)

    async def mint_unit_token(
        self, unit: UnitId, label: str, scopes: frozenset[Scope], created_by: str, days: int | None
    ) -> Minted:
        """A bearer token of one unit; ``days`` None: it does not expire. The unit must be there."""
        lasts = days * 86400.0 if days is not None else None
        return await self._issue(Grant(TokenKind.UNIT, label, created_by, unit=unit, scopes=scopes, lasts=lasts))

    async def _open(
        self, admin: Principal, kind: TokenKind, label: str, lasts: float, idle: int, password_hash: str | None = None
    ) -> Minted:
        if admin.kind is not ActorKind.ADMIN:
            raise LocalError("only an administrator has sessions and tokens of his own")
        grant = Grant(kind, label, admin.name, admin=admin.id, lasts=lasts, idle=idle, password_hash=password_hash)
        return await self._issue(grant)

    async def _issue(self, grant: Grant) -> Minted:
        token = new_token()
        async with self._pool.connection() as conn:
            return Minted(token, await access_tokens.issue(conn, digest(token), grant))

    # -- what there is, and what ends ------------------------------------------------------------------------

    async def unit_tokens(self, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int) -> list[TokenRecord]:
        """A page of a unit's tokens, the newest first."""
        async with self._pool.connection() as conn:
            return await access_tokens.list_of_unit(conn, unit, before, limit)

    async def admin_tokens(self, admin: UUID, before: tuple[datetime, UUID] | None, limit: int) -> list[TokenRecord]:
        """A page of an administrator's tokens and sessions, the newest first."""
        async with self._pool.connection() as conn:
            return await access_tokens.list_of_admin(conn, admin, before, limit)

    async def end(self, token: str) -> None:
        """Its holder ends it."""
        async with self._pool.connection() as conn:
            await access_tokens.revoke_digest(conn, digest(token))
        self._believed.forget_token(token)

    async def revoke_unit_token(self, unit: UnitId, id: UUID) -> str:
        """End a token of this unit, which may have ended already; its label. Raises UnknownToken."""
        async with self._pool.connection() as conn:
            label = await access_tokens.revoke_of_unit(conn, unit, id)
        return self._ended(id, label)

    async def revoke_admin_token(self, admin: UUID, id: UUID) -> str:
        """End a token or session of this administrator. Raises UnknownToken."""
        async with self._pool.connection() as conn:
            label = await access_tokens.revoke_of_admin(conn, admin, id)
        return self._ended(id, label)

    def _ended(self, id: UUID, label: str | None) -> str:
        self._believed.forget(lambda holder: holder.token == id)
        if label is None:
            raise UnknownToken("there is no such token")
        return label

    # -- in the background -----------------------------------------------------------------------------------

    async def _find(self, digest: bytes, used_at: float | None) -> Holder | None:
        async with self._pool.connection() as conn:
            return await access_tokens.find_holder(conn, digest, used_at)

    async def _note_uses(self) -> None:
        while True:
            await trio.sleep(_NOTE_EVERY)
            await self.note_uses()

    async def note_uses(self) -> None:
        """Store when tokens were last used; lost while the database is away, but for what is used again."""
        used = self._believed.take_used()
        if not used:
            return
        try:
            async with self._pool.connection() as conn:
                await access_tokens.touch(conn, used)
        except RemoteError as away:
            _LOG.debug("The last uses of tokens are not stored", error=str(away))

    async def _forget_ended(self) -> None:
        while True:
            await trio.sleep(_FORGET_EVERY)
            try:
                async with self._pool.connection() as conn:
                    await access_tokens.forget(conn, _FORGET_AFTER_DAYS)
            except RemoteError as away:
                _LOG.debug("Ended tokens are not deleted yet", error=str(away))


def _timed(minted: Minted) -> tuple[str, datetime]:
    assert minted.record.expires_at is not None
    return minted.token, minted.record.expires_at
