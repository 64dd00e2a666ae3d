"""Removes files that nothing refers to any more: with their messages, by age, by a person's erasure, after a crash."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.files import kept_files
from zapline.sql.files.kept_files import FileTotals, Removal
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.files.disk import FileDisk

_BATCH = 100
_IDLE = 60.0
"""Seconds between two looks without a wake-up: for what its sender has deleted."""
_RETRY_AFTER = 5.0
_SWEEP_EVERY = 3600.0
"""Seconds between two looks at all that lies on disk."""
_LOG = structlog.get_logger(scope="Files")


@dataclass(eq=False, repr=False)
class FileRemoval:
    """One for the process; only the leading process takes removals up. ``clock`` returns UTC seconds."""

    _pool: Pool
    _disk: FileDisk
    _may_write: Callable[[], Awaitable[None]]
    _counters: Counters
    _clock: Callable[[], float] = time.time
    _clocks_agree: Callable[[], bool] = lambda: True
    totals: FileTotals | None = None
    """Of all units at the last look; None before the first one."""
    _wake_event: trio.Event = field(default_factory=trio.Event)

    def wake(self) -> None:
        """Files of messages may be to be removed: look at once."""
        self._wake_event.set()

    async def run(self) -> None:
        """Remove until cancelled; go on after the database was away. A kill leaves nothing behind for long."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep_often)
            await self._remove_often()

    async def _sweep_often(self) -> None:
        """Also where another process leads: its removals are not on this disk."""
        while True:
            pause = _SWEEP_EVERY
            try:
                await self.sweep()
            except (DatabaseUnavailable, StatementFailed, OSError) as refused:
                _LOG.warning("What lies on the disk is looked at later", error=type(refused).__name__)
                pause = _RETRY_AFTER
            await trio.sleep(pause)

    async def _remove_often(self) -> None:
        while True:
            await self._may_write()
            self._wake_event = trio.Event()
            pause = _IDLE
            try:
                await self.round()
            except (DatabaseUnavailable, StatementFailed) as away:
                _LOG.warning("Files to be removed must wait", error=str(away))
                pause = _RETRY_AFTER
            except OSError as refused:
                _LOG.error("The disk does not let files be removed", error=refused.strerror)
                pause = _RETRY_AFTER
            with trio.move_on_after(pause):
                await self._wake_event.wait()

    async def round(self) -> None:
        """Remove what is too old, and all that is to be removed. Raises RemoteError for the database, and OSError."""
        full = self._clocks_agree()
        while full:
            async with self._pool.connection() as conn:
                full = await kept_files.expire(conn, self._clock(), _BATCH) >= _BATCH
        while True:
            async with self._pool.connection() as conn:
                removals = await kept_files.list_removals(conn, _BATCH)
            if not removals:
                break
            await self._remove(removals)
        async with self._pool.connection() as conn:
            self.totals = await kept_files.count_all(conn)

    async def _remove(self, removals: list[Removal]) -> None:
        gone: list[UUID] = []
        try:
            for removal in removals:
                await trio.to_thread.run_sync(self._disk.remove, removal.unit, removal.name)
                gone.append(removal.name)
        finally:
            if gone:
                async with self._pool.connection() as conn:
                    await kept_files.delete_removals(conn, gone)
                self._counters.add("files_removed", amount=len(gone))

    async def sweep(self) -> None:
        """Remove files of which the database knows nothing: a crash, or a database that was set back, has left them.

        Files of units that it does not know stay: it may be another one. Raises what ``round`` raises.
        """
        names = self._disk.names()
        while (found := await trio.to_thread.run_sync(next, names, None)) is not None:
            unit, here = found
            async with self._pool.connection() as conn:
                unknown = await kept_files.find_unknown(conn, unit, here)
            for name in sorted(unknown):
                await trio.to_thread.run_sync(self._disk.remove, unit, name)
            if unknown:
                self._counters.add("files_removed", amount=len(unknown))
                _LOG.info("Files that nothing refers to are removed", unit=str(unit), count=len(unknown))
