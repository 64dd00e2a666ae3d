"""Opens transactions of the API's role, which see the rows of one unit, or of all for an administrator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zapline.domain.ids import UnitId
from zapline.domain.principals import OrganizationGrant
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@asynccontextmanager
async def unit_scope(pool: Pool, unit: UnitId) -> AsyncIterator[Connection]:
    """A transaction that sees only the rows of this unit. Raises DatabaseUnavailable."""
    async with pool.connection() as conn, conn.transaction():
        await _SQL.execute(conn, "set_unit", unit_id=str(unit), role=pool.role)
        yield conn


@asynccontextmanager
async def grant_scope(pool: Pool, grant: OrganizationGrant | None) -> AsyncIterator[Connection]:
    """A transaction that sees what an organization's token opens; None: an administrator asks, who sees everything."""
    if grant is None:
        async with admin_scope(pool) as conn:
            yield conn
        return
    async with pool.connection() as conn, conn.transaction():
        chosen = sorted(grant.chosen) if grant.chosen is not None else None
        seen = {"organization_id": str(grant.organization), "units": sorted(grant.units), "chosen": chosen}
        await _SQL.execute(conn, "set_organization", **seen, role=pool.role)
        yield conn


@asynccontextmanager
async def admin_scope(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction that sees the rows of all units: for requests of administrators only."""
    async with pool.connection() as conn, conn.transaction():
        await _SQL.execute(conn, "set_admin_scope", role=pool.role)
        yield conn


@asynccontextmanager
async def engine_scope(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction of the engine's role, for statements that find ids by an index which no policy lets be used.

    Nothing but ids leaves it; what is shown of them is read in one of the other scopes.
    """
    async with pool.connection() as conn, conn.transaction():
        await _SQL.execute(conn, "set_engine")
        yield conn
