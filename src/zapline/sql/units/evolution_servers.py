"""Reads and writes the Evolution servers, and which unit lives on which; changes need the caller's transaction."""

from dataclasses import dataclass

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.line.evolution_servers import ENVIRONMENT, MAX_SERVERS
from zapline.domain.text import Sentence
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.queries import Queries, from_row

_SQL = Queries(__name__)


class UnknownServer(LocalError):
    """There is no such Evolution server."""


class ServerExists(LocalError):
    """There is a server of this name, or at this address."""


class TooManyServers(LocalError):
    """There are as many servers as there may be."""


class ServerInUse(LocalError):
    """Units live on the server."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server as stored. ``url`` and ``sealed_key`` are None for the one of the environment; times in UTC seconds."""

    name: str
    url: str | None
    sealed_key: bytes | None
    weight: int
    paused_at: float | None
    created_at: float


@dataclass(frozen=True, slots=True)
class ServerChange:
    """What is changed of a server; None leaves it."""

    url: str | None = None
    sealed_key: bytes | None = None
    weight: int | None = None
    paused: bool | None = None


async def load_servers(conn: Connection) -> list[ServerRecord]:
    """All servers at work, by name; the environment's only where somebody has changed its share."""
    rows = await _SQL.rows(conn, "load_servers")
    return [
        from_row(ServerRecord, row, sealed_key=bytes(row.sealed_key) if row.sealed_key is not None else None)
        for row in rows
    ]


async def count_units(conn: Connection) -> dict[str, int]:
    """How many units live on each server that has some, by its name."""
    return {row.server or ENVIRONMENT: row.units for row in await _SQL.rows(conn, "count_units")}


async def insert_server(conn: Connection, name: str, url: str, sealed_key: bytes, weight: int) -> None:
    """Store a new server. Raises ServerExists, TooManyServers."""
    await _SQL.rows(conn, "serialize_changes")
    if len(await load_servers(conn)) >= MAX_SERVERS:
        raise TooManyServers(Sentence("there are {limit} servers already", limit=MAX_SERVERS))
    try:
        row = await _SQL.one(conn, "insert_server", name=name, url=url, sealed_key=sealed_key, weight=weight)
    except StatementFailed as failure:
        if failure.constraint == "evolution_servers_url":
            raise ServerExists("another server has this address") from failure
        raise
    if row is None:
        raise ServerExists(Sentence("there is a server called {name} already", name=name))


async def change_server(conn: Connection, name: str, change: ServerChange) -> None:
    """Change a server. Raises UnknownServer, ServerExists (the address is another server's).

    Behind a new address the store proves nothing of what its units have called before.
    """
    if name == ENVIRONMENT:
        await _SQL.execute(conn, "keep_environment")
    if change.url is not None:
        await _SQL.rows(conn, "lock_for_removal", name=name)
        await _SQL.execute(conn, "distrust_store", name=name, url=change.url)
    values = {"url": change.url, "sealed_key": change.sealed_key, "weight": change.weight, "paused": change.paused}
    try:
        row = await _SQL.one(conn, "change_server", name=name, **values)
    except StatementFailed as failure:
        if failure.constraint == "evolution_servers_url":
            raise ServerExists("another server has this address") from failure
        raise
    if row is None:
        raise unknown()


async def remove_server(conn: Connection, name: str) -> None:
    """Remove a server, and its key. Raises UnknownServer, ServerInUse."""
    if name == ENVIRONMENT or await _SQL.one(conn, "lock_for_removal", name=name) is None:
        raise unknown()
    if await _SQL.one(conn, "remove_server", name=name) is None:
        raise ServerInUse(Sentence("units live on {name}; move them to another server first", name=name))


async def lock_server(conn: Connection, name: str | None) -> None:
    """Keep a server from being removed until the transaction ends. Raises UnknownServer."""
    if name is not None and await _SQL.one(conn, "lock_server", name=name) is None:
        raise unknown()


async def move_unit(conn: Connection, unit: UnitId, origin: str | None, to: str | None) -> bool:
    """Have a unit live on another server; False where it does not live on ``origin`` any more.

    None is the environment's. Raises UnknownServer.
    """
    await lock_server(conn, to)
    arguments = {"unit": unit, "from": origin, "to": to}
    return await _SQL.one(conn, "move_unit", **arguments) is not None


def unknown() -> UnknownServer:
    """The error for a name that no server at work has. It does not repeat the name."""
    return UnknownServer("there is no Evolution server of this name")
