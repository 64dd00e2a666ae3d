"""The table through which the command line asks the daemon."""

from typing import Any
from uuid import UUID

import msgspec

from zapline.sql.driver import Connection, Json
from zapline.sql.statements import load

_SQL = load("control")


async def ask(conn: Connection, id: UUID, verb: str, arguments: dict[str, Any]) -> None:
    """Store a request."""
    statement = _SQL["ask_control"]
    encoded = Json(msgspec.json.encode(arguments))
    await conn.execute(statement.sql, statement.bind(id=id, verb=verb, arguments=encoded))


async def open_requests(conn: Connection) -> list[Any]:
    """Rows with ``id, verb, arguments`` that wait for their answer, oldest first."""
    return await conn.fetch(_SQL["open_requests"].sql)


async def answer(conn: Connection, id: UUID, result: dict[str, Any], error: str | None) -> None:
    """Store the answer of a request."""
    statement = _SQL["answer_control"]
    encoded = Json(msgspec.json.encode(result))
    await conn.execute(statement.sql, statement.bind(id=id, result=encoded, error=error))


async def read_answer(conn: Connection, id: UUID) -> Any | None:
    """The row with ``result, error``, or None while there is no answer."""
    statement = _SQL["read_answer"]
    return await conn.fetch_one(statement.sql, statement.bind(id=id))


async def forget_requests(conn: Connection) -> int:
    """Delete requests of yesterday."""
    return await conn.execute(_SQL["forget_requests"].sql)
