"""The table through which the command line asks the daemon."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.psycopg_trio import Json
from zapline.sql.postgres.statements import load

_SQL = load(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks, and who typed it on which machine."""

    id: UUID
    verb: str
    arguments: Any
    asked_by: str
    asked_from: str | None


async def ask(conn: Connection, request: Request) -> None:
    """Store a request."""
    statement = _SQL["ask_control"]
    arguments = statement.bind(
        id=request.id,
        verb=request.verb,
        arguments=Json(msgspec.json.encode(request.arguments)),
        asked_by=request.asked_by,
        asked_from=request.asked_from,
    )
    await conn.execute(statement.sql, arguments)


async def open_requests(conn: Connection) -> list[Request]:
    """What waits for its answer, oldest first."""
    return [Request(*row) for row in await conn.fetch(_SQL["open_requests"].sql)]


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
