"""Stores what an operator lets tenants set."""

from zapline.domain.tenants.ceilings import Ceilings
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


async def load_ceilings(conn: Connection) -> Ceilings:
    """Those of the installation; over a connection of the engine's role."""
    row = await _SQL.one(conn, "load_ceilings")
    return Ceilings(*row) if row is not None else Ceilings()


async def store_ceilings(conn: Connection, ceilings: Ceilings) -> None:
    """Replace them."""
    await _SQL.execute(conn, "store_ceilings", **{name: getattr(ceilings, name) for name in Ceilings.__slots__})
