"""Deletes messages older than their unit's retention with all their rows, and contacts left without messages."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy import deletion
from zapline.sql.privacy.erasure import DropFiles
from zapline.sql.units.line_history import prune_changes
from zapline.supervisors.counters import Counters

_EVERY = 3600.0
_BATCH_SIZE = 200
"""Messages deleted in one transaction, which takes about 20 ms."""
_PAUSE = 0.05
"""Seconds between two transactions, so that others get their turn."""
_DAY = 86_400.0
_HISTORY_DAYS = 400.0
"""For which it is kept what lines have shown: a year, and the month before."""
_LOG = structlog.get_logger(scope="Retention")


@dataclass(eq=False, repr=False)
class Retention:
    """One for the process. ``drop_files`` deletes the cached media of messages; ``clock`` returns UTC seconds.

    ``forget_contacts`` is called when contacts that the recorder has cached may be gone.
    """

    _pool: Pool
    _may_write: Callable[[], Awaitable[None]]
    _counters: Counters
    _drop_files: DropFiles
    _forget_contacts: Callable[[], None]
    _clock: Callable[[], float] = time.time
    _clocks_agree: Callable[[], bool] = lambda: True

    async def run(self) -> None:
        """Run a round each hour until cancelled; if the database is away, the next round tries again."""
        while True:
            await self._may_write()
            try:
                await self.round()
            except (DatabaseUnavailable, StatementFailed) as refused:
                _LOG.warning("What is too old must wait", error=str(refused))
            await trio.sleep(_EVERY)

    async def round(self) -> None:
        """Delete everything that is too old by now. Idempotent. Raises DatabaseUnavailable, StatementFailed.

        A unit whose deletion fails waits for the next round. Nothing is deleted while the clocks do not agree.
        """
        await self._prune_history()
        async with self._pool.connection() as conn:
            retention_days = await deletion.load_retention_days(conn)
        for unit, days in retention_days.items():
            if not self._clocks_agree():
                _LOG.warning("Nothing is deleted by its age: the clocks do not agree")
                return
            try:
                counts = await self._delete_expired(unit, self._clock() - days * _DAY)
            except StatementFailed as refused:  # one bad unit must not stop the others
                _LOG.error("What is too old of a unit is refused", unit=str(unit), error=str(refused))
                continue
            for what, count in counts.items():
                self._counters.add("retention_deleted", what, count)
            if counts.total():
                _LOG.info("What was too old is deleted", unit=str(unit), days=days, **counts)

    async def _prune_history(self) -> None:
        full = True
        while full and self._clocks_agree():
            async with self._pool.connection() as conn:
                pruned = await prune_changes(conn, self._clock() - _HISTORY_DAYS * _DAY, _BATCH_SIZE)
            self._counters.add("retention_deleted", "line_changes", pruned)
            full = pruned >= _BATCH_SIZE
            await trio.sleep(_PAUSE)

    async def _delete_expired(self, unit: UnitId, before: float) -> Counter[str]:
        counts: Counter[str] = Counter()
        async with self._pool.connection() as conn:
            await deletion.cancel_expired_sends(conn, unit, before)
        deleted = 1
        while deleted and self._clocks_agree():
            async with self._pool.connection() as conn:
                batch = await deletion.delete_expired_messages(conn, unit, before, _BATCH_SIZE, self._drop_files)
            deleted = batch["messages"]
            counts += batch
            await trio.sleep(_PAUSE)
        full = True
        while full and self._clocks_agree():
            async with self._pool.connection() as conn:
                batch = await deletion.delete_expired_rest(conn, unit, before, _BATCH_SIZE)
            full = max(batch["letters"], batch["conversations"]) >= _BATCH_SIZE
            counts += batch
            await trio.sleep(_PAUSE)
        if counts["contacts"]:
            self._forget_contacts()
        return counts
