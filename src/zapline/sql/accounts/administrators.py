"""Stores administrators, with argon2 hashes of their passwords."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class Admin:
    """An administrator as stored."""

    id: UUID
    email: str
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None


async def add_admin(conn: Connection, email: str, password_hash: str) -> UUID | None:
    """Add an administrator; None where the address exists already."""
    row = await _SQL.one(conn, "add_admin", email=email, password_hash=password_hash)
    return row.id if row is not None else None


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


async def list_admins(conn: Connection) -> list[Admin]:
    """All administrators by address."""
    return [Admin(*row) for row in await _SQL.rows(conn, "list_admins")]
