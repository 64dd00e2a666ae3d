"""Reads and changes what an operator lets tenants set."""

from collections.abc import Callable

import structlog

from zapline.domain.tenants.ceilings import Ceilings
from zapline.sql.accounts import ceilings
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.authentication import tell_daemons

_LOG = structlog.get_logger(scope="Identity")


class TenantCeilings:
    """One for the process, over the engine's pool. ``on_change``: what tokens may has changed.

    All methods raise DatabaseUnavailable.
    """

    def __init__(self, pool: Pool, on_change: Callable[[], None] = lambda: None) -> None:
        self._pool = pool
        self._on_change = on_change

    async def load(self) -> Ceilings:
        """Those of the installation."""
        async with self._pool.connection() as conn:
            return await ceilings.load_ceilings(conn)

    async def replace(self, wanted: Ceilings) -> None:
        """Replace them. What was set before stays as it is; how many requests tokens may make changes at once."""
        async with self._pool.connection() as conn, conn.transaction():
            await ceilings.store_ceilings(conn, wanted)
            await tell_daemons(conn)
        _LOG.info("The ceilings of tenants are changed")
        self._on_change()
