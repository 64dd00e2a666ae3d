"""Stores people who sign in, with argon2 hashes of their passwords, and what they may."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Role
from zapline.sql.accounts.access_tokens import person_principal
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Admin:
    """A person as stored. ``role``: everywhere; None: only in the units of ``unit_roles``, which are roles by unit."""

    id: UUID
    email: str
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None
    role: str | None
    unit_roles: Mapping[str, str]
    second_factor: bool
    """Whether the person has one."""

    @property
    def principal(self) -> Principal:
        return person_principal(self.id, self.email, self.role, self.unit_roles)


async def add_admin(conn: Connection, email: str, password_hash: str, role: Role | None = Role.ADMIN) -> UUID | None:
    """Add a person with a role everywhere (None: nowhere yet); None where the address exists already."""
    role_name = role.value if role is not None else None
    row = await _SQL.one(conn, "add_admin", email=email, password_hash=password_hash, role=role_name)
    return row.id if row is not None else None


async def set_role(conn: Connection, id: UUID, role: Role | None) -> str | None:
    """Give a person another role everywhere; the e-mail, or None where there is no such person."""
    row = await _SQL.one(conn, "set_role", id=id, role=role.value if role is not None else None)
    return row.email if row is not None else None


async def set_unit_role(conn: Connection, id: UUID, unit: UnitId, role: Role | None) -> None:
    """Give a person a role in a unit; None: no longer one. Raises StatementFailed for a missing unit or person."""
    if role is None:
        await _SQL.execute(conn, "delete_unit_role", person_id=id, unit_id=unit)
    else:
        await _SQL.execute(conn, "set_unit_role", person_id=id, unit_id=unit, role=role.value)


async def clear_unit_roles(conn: Connection, id: UUID) -> None:
    """Take a person's roles in single units."""
    await _SQL.execute(conn, "clear_unit_roles", person_id=id)


async def count_other_admins(conn: Connection, id: UUID) -> int:
    """Administrators who may sign in, beside this one; nobody changes one of them until the transaction ends."""
    return len(await _SQL.rows(conn, "lock_other_admins", id=id))


async def set_password(conn: Connection, email: str, password_hash: str) -> UUID | None:
    """Store a new password; None where there is no such administrator."""
    row = await _SQL.one(conn, "set_password", email=email, password_hash=password_hash)
    return row.id if row is not None else None


async def set_enabled(conn: Connection, email: str, enabled: bool) -> UUID | None:
    """Enable or disable an administrator; None where there is none."""
    row = await _SQL.one(conn, "set_enabled", email=email, enabled=enabled)
    return row.id if row is not None else None


async def get_admin(conn: Connection, email: str) -> Admin | None:
    """An administrator, enabled or not."""
    row = await _SQL.one(conn, "get_admin", email=email)
    return Admin(*row) if row is not None else None


async def find_person(conn: Connection, id: UUID) -> Admin | None:
    """A person, enabled or not."""
    row = await _SQL.one(conn, "find_person", id=id)
    return Admin(*row) if row is not None else None


async def list_admins(conn: Connection) -> list[Admin]:
    """All people by address."""
    return [Admin(*row) for row in await _SQL.rows(conn, "list_admins")]
