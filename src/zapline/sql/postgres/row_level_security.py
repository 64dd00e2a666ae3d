"""Opens transactions of the API's role, which see the rows of one unit, or of all that the caller of a request sees."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar

from zapline.domain.ids import UnitId
from zapline.domain.principals import OrganizationGrant
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_SEEN: ContextVar[frozenset[UnitId] | None] = ContextVar("seen units", default=None)
"""The units that exist for the caller of the present request; None: all. Each request runs in a task of its own."""


def limit_to(seen: frozenset[UnitId] | None) -> None:
    """From now on, transactions of this request see these units alone, whatever else is asked of them; None: all."""
    _SEEN.set(seen)


def unlimited() -> AbstractContextManager[None]:
    """What is read within is for everybody, whoever asks for it: the content of a cache."""
    return limited(None)


@contextmanager
def limited(seen: frozenset[UnitId] | None) -> Iterator[None]:
    """The same as ``limit_to``, for what is read within."""
    token = _SEEN.set(seen)
    try:
        yield
    finally:
        _SEEN.reset(token)


@asynccontextmanager
async def unit_scope(pool: Pool, unit: UnitId) -> AsyncIterator[Connection]:
    """A transaction that sees only the rows of this unit, or none where the caller does not see it.

    Raises DatabaseUnavailable.
    """
    seen = _SEEN.get()
    async with pool.connection() as conn, conn.transaction():
        shown = str(unit) if seen is None or unit in seen else ""
        await _SQL.execute(conn, "set_unit", unit_id=shown, role=pool.role)
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
    """A transaction that sees the rows of all units, as far as the caller does: for requests of people only."""
    seen = _SEEN.get()
    async with pool.connection() as conn, conn.transaction():
        if seen is None:
            await _SQL.execute(conn, "set_admin_scope", role=pool.role)
        else:
            await _SQL.execute(conn, "set_seen", units=sorted(seen), role=pool.role)
        yield conn


@asynccontextmanager
async def engine_scope(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction of the engine's role, for statements that find ids by an index which no policy lets be used.

    Nothing but ids leaves it; what is shown of them is read in one of the other scopes.
    """
    async with pool.connection() as conn, conn.transaction():
        await _SQL.execute(conn, "set_engine")
        yield conn
