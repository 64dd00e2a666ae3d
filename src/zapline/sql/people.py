"""Administrators and access tokens; only digests and hashes are stored."""

from datetime import datetime
from uuid import UUID

from zapline.sql.driver import Connection
from zapline.sql.statements import load

_SQL = load("people")


async def add_admin(conn: Connection, email: str, password_hash: str) -> UUID:
    """Add an administrator, or set the password of a known one."""
    statement = _SQL["add_admin"]
    row = await conn.fetch_one(statement.sql, statement.bind(email=email, password_hash=password_hash))
    assert row is not None
    return UUID(str(row.id))


async def find_admin(conn: Connection, email: str) -> tuple[UUID, str] | None:
    """(id, argon2 hash) of an enabled administrator."""
    statement = _SQL["find_admin"]
    row = await conn.fetch_one(statement.sql, statement.bind(email=email))
    return (row.id, row.password_hash) if row is not None else None


async def issue_token(conn: Connection, digest: bytes, admin: UUID, label: str, hours: float) -> datetime:
    """Store a token's digest; returns when it expires."""
    statement = _SQL["issue_token"]
    arguments = statement.bind(digest=digest, admin_id=admin, label=label, hours=hours)
    row = await conn.fetch_one(statement.sql, arguments)
    assert row is not None
    expires_at: datetime = row.expires_at
    return expires_at


async def holder(conn: Connection, digest: bytes) -> UUID | None:
    """The administrator who holds this valid token."""
    statement = _SQL["find_token"]
    row = await conn.fetch_one(statement.sql, statement.bind(digest=digest))
    return row.admin_id if row is not None else None


async def revoke_token(conn: Connection, digest: bytes) -> None:
    """End a token."""
    statement = _SQL["revoke_token"]
    await conn.execute(statement.sql, statement.bind(digest=digest))
