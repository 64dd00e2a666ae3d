"""Reads dead letters, and marks those that were given to their unit again."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from zapline.sql.driver import Connection
from zapline.sql.statements import load

_SQL = load("dead_letters")


async def list_dead_letters(conn: Connection, unit: UUID | None, before: int | None, limit: int) -> Sequence[Any]:
    """Rows with ``id, unit_id, reason, detail, event, size, has_raw, received_at, created_at, revived_at``."""
    statement = _SQL["list_dead_letters"]
    return await conn.fetch(statement.sql, statement.bind(unit_id=unit, before=before, limit=limit))


async def get_dead_letter(conn: Connection, id: int) -> Any | None:
    """The row with ``id, unit_id, event, raw, received_at, revived_at``; ``raw`` is None for a body over the limit."""
    statement = _SQL["get_dead_letter"]
    return await conn.fetch_one(statement.sql, statement.bind(id=id))


async def mark_revived(conn: Connection, id: int) -> None:
    """Remember that the letter was given to its unit again."""
    statement = _SQL["mark_revived"]
    await conn.execute(statement.sql, statement.bind(id=id))
