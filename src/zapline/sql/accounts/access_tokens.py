"""Stores sessions and bearer tokens by digest, with their holders and ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, OrganizationGrant, PersonRoles, Principal, Role, Scope, TokenKind
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to store, of an administrator, a unit or an organization. Durations in seconds; None: no such limit."""

    kind: TokenKind
    label: str
    created_by: str
    admin: UUID | None = None
    unit: UnitId | None = None
    scopes: frozenset[Scope] = frozenset()
    lasts: float | None = None
    idle: int | None = None
    password_hash: str | None = None
    """The hash that the password was just checked against; None: no password was given."""
    organization: UUID | None = None
    units: frozenset[UnitId] | None = None
    """Of an organization's token: the units that it opens; None: all, also those that are added later."""
    requests_per_minute: int | None = None
    """Of a token of units; None: as the ceilings say."""


class AdminLockedOut(LocalError):
    """The administrator is disabled, or has changed the password."""


class TooManyTokens(LocalError):
    """The unit or the organization has as many valid tokens as the operator lets it have."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as lists show it, without the token itself."""

    id: UUID
    kind: TokenKind
    unit: UnitId | None
    scopes: tuple[Scope, ...]
    label: str
    created_by: str
    created_at: datetime
    last_used_at: datetime | None
    idle: int | None
    expires_at: datetime | None
    revoked_at: datetime | None
    organization: UUID | None
    units: tuple[UnitId, ...] | None
    """Of an organization's token; None: all of them."""
    requests_per_minute: int | None
    """Its own limit; None: as the ceilings say."""


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The principal of a valid token, and its end. Times in UTC seconds, ``idle`` in seconds."""

    token: UUID
    kind: TokenKind
    principal: Principal
    used_at: float
    idle: int | None
    expires_at: float | None
    requests_per_minute: int | None = None
    """None: as many as it likes."""

    def valid(self, now: float, used_at: float) -> bool:
        """Whether the token is still valid, if it was last used at ``used_at``."""
        return (self.expires_at is None or now < self.expires_at) and (self.idle is None or now < used_at + self.idle)


async def insert_token(conn: Connection, digest: bytes, grant: NewToken) -> TokenRecord:
    """Store a new token's digest, in a transaction. Raises AdminLockedOut, TooManyTokens, and StatementFailed for a
    missing unit.

    A transaction that changes the password or disables the administrator, and revokes all tokens, also revokes
    this one, or it is not stored.
    """
    if grant.admin is None:
        await _SQL.one(conn, "lock_ceilings")
    row = await _SQL.one(
        conn,
        "insert_token",
        digest=digest,
        kind=grant.kind.value,
        admin_id=grant.admin,
        unit_id=grant.unit,
        organization_id=grant.organization,
        units=sorted(grant.units) if grant.units is not None else None,
        scopes=[scope.value for scope in Scope if scope in grant.scopes],
        label=grant.label,
        created_by=grant.created_by,
        idle_seconds=grant.idle,
        seconds=grant.lasts,
        password_hash=grant.password_hash,
        requests_per_minute=grant.requests_per_minute,
    )
    if row is None and grant.admin is None:
        raise TooManyTokens("there are as many valid tokens as the operator lets there be; revoke one first")
    if row is None:
        raise AdminLockedOut("this administrator may not come in any more")
    return _record(row)


async def find_holder(conn: Connection, digest: bytes, used_at: float | None) -> TokenHolder | None:
    """The holder of a valid token; ``used_at``: a last use (UTC seconds) that is not stored yet."""
    row = await _SQL.one(conn, "find_holder", digest=digest, used_at=used_at)
    if row is None:
        return None
    expires_at = row.expires_at.timestamp() if row.expires_at is not None else None
    used, kind = row.used_at.timestamp(), TokenKind(row.kind)
    return TokenHolder(row.id, kind, _principal(row, kind), used, row.idle_seconds, expires_at, row.requests_per_minute)


def _principal(row: Any, kind: TokenKind) -> Principal:
    scopes = frozenset(Scope(scope) for scope in row.scopes)
    match kind:
        case TokenKind.UNIT:
            return Principal(ActorKind.UNIT_TOKEN, row.id, row.label, UnitId(row.unit_id), scopes)
        case TokenKind.ORGANIZATION:
            chosen = frozenset(map(UnitId, row.chosen)) if row.chosen is not None else None
            grant = OrganizationGrant(row.organization_id, chosen, frozenset(map(UnitId, row.units)))
            return Principal(ActorKind.ORGANIZATION_TOKEN, row.id, row.label, scopes=scopes, grant=grant)
    return person_principal(row.admin_id, row.email, row.role, row.unit_roles, must_enroll=row.must_enroll)


def person_principal(
    id: UUID, email: str, role: str | None, unit_roles: Mapping[str, str], *, must_enroll: bool = False
) -> Principal:
    """A person with a role everywhere (None: nowhere but in these units)."""
    everywhere = Role(role) if role is not None else None
    if everywhere is Role.ADMIN:
        return Principal(ActorKind.ADMIN, id, email, must_enroll=must_enroll)
    units = {UnitId(UUID(unit)): Role(each) for unit, each in unit_roles.items()}
    return Principal(ActorKind.PERSON, id, email, roles=PersonRoles(everywhere, units), must_enroll=must_enroll)


async def store_last_use(conn: Connection, used: Mapping[UUID, float]) -> None:
    """Store when tokens were last used (UTC seconds)."""
    await _SQL.execute(conn, "store_last_use", ids=list(used), seconds=list(used.values()))


async def list_unit_tokens(
    conn: Connection, unit: UnitId, before: tuple[datetime, UUID] | None, limit: int
) -> list[TokenRecord]:
    """A page of a unit's tokens, newest first, including ended ones."""
    at, id = before or (None, None)
    rows = await _SQL.rows(conn, "list_unit_tokens", unit_id=unit, before_at=at, before_id=id, limit=limit)
    return [_record(row) for row in rows]


async def list_organization_tokens(
    conn: Connection, organization: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> list[TokenRecord]:
    """A page of an organization's tokens, newest first, including ended ones."""
    at, id = before or (None, None)
    page = {"before_at": at, "before_id": id, "limit": limit}
    rows = await _SQL.rows(conn, "list_organization_tokens", organization_id=organization, **page)
    return [_record(row) for row in rows]


async def list_admin_tokens(
    conn: Connection, admin: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> list[TokenRecord]:
    """A page of an administrator's tokens and sessions, newest first, including ended ones."""
    at, id = before or (None, None)
    rows = await _SQL.rows(conn, "list_admin_tokens", admin_id=admin, before_at=at, before_id=id, limit=limit)
    return [_record(row) for row in rows]


async def revoke_by_digest(conn: Connection, digest: bytes) -> None:
    """Revoke a token by its digest."""
    await _SQL.execute(conn, "revoke_by_digest", digest=digest)


async def revoke_unit_token(conn: Connection, unit: UnitId, id: UUID) -> str | None:
    """Revoke a token of this unit. Returns its label, or None where the unit has no such token."""
    row = await _SQL.one(conn, "revoke_unit_token", unit_id=unit, id=id)
    return row.label if row is not None else None


async def revoke_organization_token(conn: Connection, organization: UUID, id: UUID) -> str | None:
    """Revoke a token of this organization. Returns its label, or None where the organization has no such token."""
    row = await _SQL.one(conn, "revoke_organization_token", organization_id=organization, id=id)
    return row.label if row is not None else None


async def revoke_admin_token(conn: Connection, admin: UUID, id: UUID) -> str | None:
    """Revoke a token or session of this administrator. Returns its label, or None where there is none."""
    row = await _SQL.one(conn, "revoke_admin_token", admin_id=admin, id=id)
    return row.label if row is not None else None


async def revoke_all_admin_tokens(conn: Connection, admin: UUID) -> int:
    """Revoke all tokens and sessions of an administrator; returns how many were valid."""
    return await _SQL.execute(conn, "revoke_all_admin_tokens", admin_id=admin)


async def tell_daemons(conn: Connection, channel: str) -> None:
    """Have every daemon that listens on this channel query tokens again, once the transaction commits."""
    await _SQL.execute(conn, "tell_daemons", channel=channel)


async def prune_tokens(conn: Connection, days: int) -> int:
    """Delete tokens that ended so many days ago; returns how many."""
    return await _SQL.execute(conn, "prune_tokens", days=days)


def _record(row: Any) -> TokenRecord:
    id, kind, unit, scopes, *rest, units, per_minute = row
    rest += (tuple(map(UnitId, units)) if units is not None else None, per_minute)
    return TokenRecord(id, TokenKind(kind), unit, tuple(map(Scope, scopes)), *rest)
