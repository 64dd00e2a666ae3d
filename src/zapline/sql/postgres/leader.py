"""Takes the epoch of the process that leads, and tells which database it leads on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """``timeline`` changes with each promotion of a standby, ``base`` when the database is replaced by a copy."""

    cluster: str
    base: str
    timeline: str


async def _nothing_else(epoch: int) -> None:
    pass


async def take_epoch(
    conn: Connection, process: UUID, known: int, also: Callable[[int], Awaitable[None]] = _nothing_else
) -> tuple[int, int]:
    """Begin a new epoch, above ``known``; returns it and the one before. The caller holds the advisory lock.

    ``also`` is done under the new epoch, in the same transaction. Raises what it raises, DatabaseUnavailable and
    StatementFailed; then no epoch has begun.
    """
    async with conn.transaction():
        await _SQL.execute(conn, "take_role")
        row = await _SQL.one(conn, "take_epoch", process=process, known=known)
        assert row is not None, "it is inserted"
        await also(row.epoch)
    return row.epoch, row.earlier


async def stay_engine(conn: Connection) -> None:
    """Take the engine's role for the rest of the session, which commits without waiting for the disk."""
    await _SQL.execute(conn, "stay_engine")


async def read_clock(conn: Connection) -> float:
    """What the database's clock shows (UTC seconds)."""
    row = await _SQL.one(conn, "read_clock")
    assert row is not None
    return float(row.now)


async def find_place(conn: Connection) -> DatabasePlace | None:
    """Where the database is; None where the server does not tell (some hosted ones)."""
    try:
        row = await _SQL.one(conn, "find_place")
    except StatementFailed:
        return None
    assert row is not None
    return DatabasePlace(row.cluster, row.base, row.timeline)
