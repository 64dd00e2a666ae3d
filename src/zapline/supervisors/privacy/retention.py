"""Deletes what units do not keep any longer: messages and what hangs on them, and who is left without anything."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy import deletion
from zapline.sql.privacy.erasure import DropFiles
from zapline.supervisors.counters import Counters

_EVERY = 3600.0
_AT_ONCE = 200
"""Messages of each side deleted in one transaction: some 20 ms."""
_BREATH = 0.05
"""Seconds between two transactions, so that others get their turn."""
_DAY = 86_400.0
_LOG = structlog.get_logger(scope="Retention")


class Retention:
    """One for the process. ``drop_files`` empties the media cache of messages; ``clock`` gives UTC seconds.

    ``forget_known``: contacts that were written may be gone.
    """

    def __init__(
        self,
        pool: Pool,
        may_write: Callable[[], Awaitable[None]],
        counters: Counters,
        drop_files: DropFiles,
        forget_known: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._may_write = may_write
        self._counters = counters
        self._drop_files = drop_files
        self._forget_known = forget_known
        self._clock = clock

    async def run(self) -> None:
        """Delete until cancelled; a database that is away is asked again with the next round."""
        while True:
            await self._may_write()
            try:
                await self.round()
            except (DatabaseUnavailable, StatementFailed) as refused:
                _LOG.warning("What is too old must wait", error=str(refused))
            await trio.sleep(_EVERY)

    async def round(self) -> None:
        """Delete everything that is too old by now. Raises DatabaseUnavailable, StatementFailed; may be done again.

        A unit in which something is refused waits for the next round.
        """
        async with self._pool.connection() as conn:
            kept = await deletion.kept_for(conn)
        for unit, days in kept.items():
            try:
                counts = await self._tidy(unit, self._clock() - days * _DAY)
            except StatementFailed as refused:  # whatever is wrong with it is its own: the others go on
                _LOG.error("What is too old of a unit is refused", unit=str(unit), error=str(refused))
                continue
            for what, count in counts.items():
                self._counters.add("retention_deleted", what, count)
            if counts.total():
                _LOG.info("What was too old is deleted", unit=str(unit), days=days, **counts)

    async def _tidy(self, unit: UnitId, before: float) -> Counter[str]:
        counts: Counter[str] = Counter()
        async with self._pool.connection() as conn:
            await deletion.end_old_work(conn, unit, before)
        gone = 1
        while gone:
            async with self._pool.connection() as conn:
                some = await deletion.delete_old(conn, unit, before, _AT_ONCE, self._drop_files)
            gone = some["messages"]
            counts += some
            await trio.sleep(_BREATH)
        full = True
        while full:
            async with self._pool.connection() as conn:
                some = await deletion.delete_rest(conn, unit, before, _AT_ONCE)
            full = max(some["letters"], some["conversations"]) >= _AT_ONCE
            counts += some
            await trio.sleep(_BREATH)
        if counts["contacts"]:
            self._forget_known()
        return counts
