"""Stores second factors, and lists what a person has open."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.principals import Role
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Factor:
    """One-time codes of a person. ``secret`` is sealed; ``step``: the latest whose code was taken."""

    secret: bytes | None
    confirmed: bool
    step: int
    recovery_left: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session or token that is valid now. ``present``: it is the one that asks."""

    id: UUID
    kind: str
    label: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime
    source: str | None
    agent: str | None
    present: bool


async def get_factor(conn: Connection, person: UUID) -> Factor | None:
    """None where there is no such person."""
    row = await _SQL.one(conn, "get_factor", person_id=person)
    return Factor(*row) if row is not None else None


async def start_factor(conn: Connection, person: UUID, secret: bytes) -> bool:
    """Store a new sealed secret; False where there is a confirmed one."""
    return await _SQL.one(conn, "start_factor", person_id=person, secret=secret) is not None


async def confirm_factor(conn: Connection, person: UUID, secret: bytes, step: int) -> bool:
    """False where the secret was replaced or confirmed meanwhile."""
    return await _SQL.one(conn, "confirm_factor", person_id=person, secret=secret, step=step) is not None


async def take_step(conn: Connection, person: UUID, step: int) -> bool:
    """Take the code of a step, once; False where it, or a later one, was taken already."""
    return await _SQL.one(conn, "take_step", person_id=person, step=step) is not None


async def take_recovery_code(conn: Connection, person: UUID, digest: bytes) -> bool:
    """Take a recovery code, once."""
    return await _SQL.one(conn, "take_recovery_code", person_id=person, digest=digest) is not None


async def replace_recovery_codes(conn: Connection, person: UUID, digests: Sequence[bytes]) -> None:
    """Store these recovery codes instead of those before; none: there are none any more."""
    await _SQL.execute(conn, "delete_recovery_codes", person_id=person)
    await _SQL.execute(conn, "insert_recovery_codes", person_id=person, digests=list(digests))


async def remove_factor(conn: Connection, person: UUID) -> None:
    """Take the one-time codes and the recovery codes away."""
    await _SQL.execute(conn, "remove_factor", person_id=person)
    await replace_recovery_codes(conn, person, ())


async def note_place(conn: Connection, digest: bytes, source: str, agent: str) -> None:
    """Store from where a session was opened."""
    await _SQL.execute(conn, "note_place", digest=digest, source=source, agent=agent)


async def list_sessions(conn: Connection, person: UUID, digest: bytes) -> list[OpenSession]:
    """What a person has open now; ``digest``: of the session that asks."""
    rows = await _SQL.rows(conn, "list_sessions", person_id=person, digest=digest)
    return [OpenSession(*row) for row in rows]


async def end_other_sessions(conn: Connection, person: UUID, digest: bytes) -> int:
    """End all of a person's sessions and tokens but the one of this digest; returns how many."""
    return await _SQL.execute(conn, "end_other_sessions", person_id=person, digest=digest)


async def required_roles(conn: Connection) -> frozenset[Role]:
    """The roles of which a second factor is required."""
    return frozenset(Role(row.role) for row in await _SQL.rows(conn, "list_required_roles"))


async def require(conn: Connection, roles: Collection[Role]) -> None:
    """Require a second factor of these roles, and of no others."""
    await _SQL.execute(conn, "delete_required_roles")
    await _SQL.execute(conn, "insert_required_roles", roles=[role.value for role in roles])
