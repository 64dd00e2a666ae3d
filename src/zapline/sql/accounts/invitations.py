"""Stores invitations by the digest of their link."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Role
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Invitation:
    """One that nobody has used; ``role`` everywhere, None: in the units of ``units`` (roles by unit) alone."""

    id: UUID
    email: str
    role: str | None
    units: Mapping[str, str]
    invited_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Rights:
    """What a person may: a role everywhere, or in units."""

    everywhere: Role | None
    units: Mapping[UnitId, Role]


async def insert_invitation(
    conn: Connection, id: UUID, digest: bytes, email: str, rights: Rights, inviter: Principal, lasts: float
) -> None:
    """Store an invitation that is good for ``lasts`` seconds."""
    values = {"role": rights.everywhere.value if rights.everywhere is not None else None, "seconds": lasts}
    units = as_json({str(unit): role.value for unit, role in rights.units.items()})
    invitation = {"id": id, "digest": digest, "email": email, "units": units, "invited_by": inviter.name}
    invitation |= {"inviter_id": inviter.id}
    await _SQL.execute(conn, "insert_invitation", **invitation, **values)


async def list_open(conn: Connection, limit: int) -> list[Invitation]:
    """Invitations that still make an account, the latest first."""
    return [Invitation(*row) for row in await _SQL.rows(conn, "list_open", limit=limit)]


async def find_open(conn: Connection, digest: bytes) -> Invitation | None:
    """The invitation of a link, if it still makes an account."""
    row = await _SQL.one(conn, "find_open", digest=digest)
    return Invitation(*row) if row is not None else None


async def use_invitation(conn: Connection, digest: bytes) -> Invitation | None:
    """End an invitation; None where somebody was faster, it is too late, or the inviter is no administrator any more.

    He stays one until the transaction ends.
    """
    row = await _SQL.one(conn, "end_by_digest", digest=digest)
    return Invitation(*row) if row is not None else None


async def withdraw(conn: Connection, id: UUID) -> str | None:
    """End an invitation that was not used; its e-mail, or None where there is none."""
    row = await _SQL.one(conn, "withdraw", id=id)
    return row.email if row is not None else None


async def insert_unit_roles(conn: Connection, person: UUID, units: Mapping[str, str]) -> None:
    """Give a new person the roles in units that an invitation names."""
    await _SQL.execute(conn, "insert_unit_roles", person_id=person, units=as_json(dict(units)))
