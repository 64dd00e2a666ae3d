"""Remembers whether an Evolution server honours the ids that are chosen for messages."""

from dataclasses import dataclass

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class KnownSupport:
    """What an answer has shown last. ``server``: its address, without what may identify anybody; ``route``: as
    ``sendText``; ``seen_at`` in UTC seconds."""

    server: str
    version: str
    route: str
    honoured: bool
    seen_at: float


async def list_known(conn: Connection, server: str) -> list[KnownSupport]:
    """What is known of a server (scheme, host and port), the newest first."""
    return [KnownSupport(*row) for row in await _SQL.rows(conn, "list_known", server=server)]


async def list_all(conn: Connection) -> list[KnownSupport]:
    """What is known of all servers, the newest first."""
    return [KnownSupport(*row) for row in await _SQL.rows(conn, "list_all")]


async def store(conn: Connection, server: str, version: str, route: str, honoured: bool) -> None:
    """Remember what an answer has shown."""
    await _SQL.execute(conn, "store", server=server, version=version, route=route, honoured=honoured)
