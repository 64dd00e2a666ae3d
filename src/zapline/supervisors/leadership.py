"""Holds the one-daemon lock in PostgreSQL; without it recorder and actors stand still. Hears control calls."""

from collections.abc import Awaitable, Callable
from enum import StrEnum

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.migrate import Fit, fit

LOCK = 0x7A61706C696E65
"""Key of the advisory lock: the letters of zapline."""
CHANNEL = "zapline_control"
_RETRY = 0.5
_PING_EVERY = 10.0
_LOG = structlog.get_logger(scope="Leadership")


class Standing(StrEnum):
    """Whether this process may write, and if not, why."""

    UNREACHABLE = "database_unreachable"
    ANOTHER_DAEMON = "another_daemon"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_OLD = "schema_older_than_program"
    LEADING = "leading"


class Leadership:
    """One direct connection whose session holds the lock; lost with it, and taken again.

    ``connect`` opens it (never through a pooler). ``on_lead`` runs each time the lock was taken: whatever
    was heard before may be out of date. ``on_notify`` gets the payload of each control call.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        on_lead: Callable[[], Awaitable[None]],
        on_notify: Callable[[str], Awaitable[None]],
    ) -> None:
        self._connect = connect
        self._on_lead = on_lead
        self._on_notify = on_notify
        self._leading = trio.Event()
        self._judged = trio.Event()
        self.standing = Standing.UNREACHABLE

    async def may_write(self) -> None:
        """Return once this process holds the lock and the schema fits."""
        if not self._leading.is_set():
            await self._leading.wait()

    async def first_judgement(self, seconds: float) -> Standing:
        """Where this process stands after its first tries; at most ``seconds`` from now."""
        with trio.move_on_after(seconds):
            await self._judged.wait()
        return self.standing

    async def run(self) -> None:
        """Take the lock whenever it can be had, until cancelled."""
        while True:
            try:
                connection = await self._connect()
                try:
                    await self._lead(connection)
                finally:
                    connection.abort()
            except (DatabaseUnavailable, StatementFailed) as away:
                self._stand(Standing.UNREACHABLE, str(away))
            await trio.sleep(_RETRY)

    async def _lead(self, connection: Connection) -> None:
        if not await connection.try_advisory_lock(LOCK):
            self._stand(Standing.ANOTHER_DAEMON)
            return
        fits = await fit(connection)
        if fits is not Fit.FITS:
            self._stand(Standing.SCHEMA_MISSING if fits is Fit.MISSING else Standing.SCHEMA_OLD)
            return
        await connection.listen([CHANNEL])
        await self._on_lead()
        self._stand(Standing.LEADING)
        self._leading.set()
        while True:
            heard: list[tuple[str, str]] = []
            with trio.move_on_after(_PING_EVERY):
                heard = await connection.notifications()
            if not heard:
                await connection.ping()
            for _, payload in heard:
                await self._on_notify(payload)

    def _stand(self, standing: Standing, why: str = "") -> None:
        if standing is not Standing.LEADING and self._leading.is_set():
            self._leading = trio.Event()
        if standing is not self.standing or not self._judged.is_set():
            log = _LOG.info if standing is Standing.LEADING else _LOG.warning
            log(f"Database: {standing}", error=why)
        self.standing = standing
        # The lock of a daemon that was killed a moment ago may linger: only another answer is final at once.
        if standing is not Standing.ANOTHER_DAEMON:
            self._judged.set()
