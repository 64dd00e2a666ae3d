"""Stores requests of the command line to the running daemon, and the responses."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

REPLY_CHANNEL = "zapline_reply"
_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request of the command line, with the user and the machine that it came from."""

    id: UUID
    verb: str
    arguments: Any
    asked_by: str
    asked_from: str | None


async def insert_request(conn: Connection, request: ControlRequest) -> None:
    """Store a request."""
    await _SQL.execute(
        conn,
        "insert_request",
        id=request.id,
        verb=request.verb,
        arguments=as_json(request.arguments),
        asked_by=request.asked_by,
        asked_from=request.asked_from,
    )


async def list_open_requests(conn: Connection) -> list[ControlRequest]:
    """Requests without a response, oldest first."""
    return [ControlRequest(*row) for row in await _SQL.rows(conn, "list_open_requests")]


async def store_answer(conn: Connection, id: UUID, result: dict[str, Any], error: str | None) -> None:
    """Store the response to a request."""
    await _SQL.execute(conn, "store_answer", id=id, result=as_json(result), error=error)


async def read_answer(conn: Connection, id: UUID) -> Any | None:
    """The row with ``result, error``, or None while there is no response."""
    return await _SQL.one(conn, "read_answer", id=id)


async def prune_requests(conn: Connection) -> int:
    """Delete requests older than a day; returns how many."""
    return await _SQL.execute(conn, "prune_requests")
