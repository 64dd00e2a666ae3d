"""Has the indexes built that a migration has left out because their tables are large; what is stored does not wait."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.later_indexes import build, list_missing
from zapline.sql.postgres.migrate import migration_text
from zapline.sql.postgres.pool import Pool

LOOK_EVERY = 600.0
"""Seconds between two looks whether something is missing: also a restored backup leaves out what was not built."""
_NOT_THE_OWNER = "42501"
_LOG = structlog.get_logger(scope="Indexes")


class LaterIndexes:
    """One instance per process. ``open_owner`` opens a session of the login, without a role and limits of time."""

    def __init__(
        self, pool: Pool, open_owner: Callable[[], Awaitable[Connection]], may_write: Callable[[], Awaitable[None]]
    ) -> None:
        self._pool = pool
        self._open_owner = open_owner
        self._may_write = may_write

    async def run(self) -> None:
        """Build what is missing until cancelled. What fails is tried again in the next round."""
        while True:
            await self._may_write()
            try:
                await self.build_missing()
            except StatementFailed as failed:
                if failed.sqlstate != _NOT_THE_OWNER:
                    _LOG.warning("An index could not be built; it is tried again", error=str(failed))
                else:
                    text = "An index is missing, and only the owner of the database may build it: "
                    _LOG.error(text + "run `zapline migrate --build-indexes` as him; nothing is stopped by it")
            except RemoteError as failed:
                _LOG.warning("An index could not be built; it is tried again", error=str(failed))
            await trio.sleep(LOOK_EVERY)

    async def build_missing(self) -> None:
        """Build what is missing, one after the other. Raises RemoteError."""
        async with self._pool.connection() as conn:
            missing = await list_missing(conn)
        for index in missing:
            began = trio.current_time()
            _LOG.info("An index is being built; everything else goes on", index=index.name)
            async with await self._open_owner() as conn:
                if await build(conn, index, migration_text(index.migration)):
                    _LOG.info("The index is there", index=index.name, seconds=round(trio.current_time() - began, 1))
                else:
                    _LOG.info("Somebody else builds the index", index=index.name)
