"""Tells the owner of a unit that there is something to send: whoever was asked may be another node."""

from collections.abc import Callable
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.cluster.membership import inbox_channel, notify
from zapline.sql.postgres.pool import Pool

_EVERY = 0.02
"""Seconds between two transactions that notify: their commits wait for each other."""
_MOST = 1000
"""Units that wait to be told of; what is more is found by their owners, which look every five seconds."""
_LOG = structlog.get_logger(scope="Cluster")


class WakeUps:
    """One for the process. ``owner_of``: the node that owns a unit, as far as is known."""

    def __init__(self, pool: Pool, owner_of: Callable[[UnitId], UUID | None]) -> None:
        self._pool = pool
        self._owner_of = owner_of
        self._units: dict[UnitId, None] = {}
        self._arrived = trio.Event()

    def wake(self, unit: UnitId) -> None:
        """Have the owner of a unit look for messages at once."""
        if len(self._units) < _MOST:
            self._units[unit] = None
            self._arrived.set()

    async def run(self) -> None:
        """Tell owners until cancelled. One that is not told looks by itself."""
        while True:
            await self._arrived.wait()
            self._arrived, units, self._units = trio.Event(), list(self._units), {}
            try:
                async with self._pool.connection() as conn:
                    for unit in units:
                        if (owner := self._owner_of(unit)) is not None:
                            await notify(conn, [inbox_channel(owner)], str(unit))
            except RemoteError as failure:
                _LOG.debug("Owners are not told of messages", error=str(failure))
            await trio.sleep(_EVERY)
