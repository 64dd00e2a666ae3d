"""Holds the advisory lock that lets one daemon write, and receives the notifications of the command line."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.migrate import SchemaState, schema_state

ADVISORY_LOCK_KEY = 0x7A61706C696E65
"""Key of the advisory lock: the letters of zapline."""
CONTROL_CHANNEL = "zapline_control"
_RETRY_PAUSE = 0.5
_PING_INTERVAL = 10.0
_LOG = structlog.get_logger(scope="Leadership")


class LeadershipStatus(StrEnum):
    """Whether this process may write, and if not, why."""

    UNREACHABLE = "database_unreachable"
    ANOTHER_DAEMON = "another_daemon"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_OLD = "schema_older_than_program"
    LEADING = "leading"


@dataclass(eq=False, repr=False)
class Leadership:
    """Takes the lock on one direct connection, and takes it again after the connection is lost.

    ``connect`` opens it (never through a pooler). ``on_lead`` runs each time the lock is taken:
    what was loaded before may be out of date. ``on_notify`` gets the payload of each notification.
    """

    _connect: Callable[[], Awaitable[Connection]]
    _on_lead: Callable[[], Awaitable[None]]
    _on_notify: Callable[[str], Awaitable[None]]
    _leading: trio.Event = field(default_factory=trio.Event)
    _status_known: trio.Event = field(default_factory=trio.Event)
    status: LeadershipStatus = LeadershipStatus.UNREACHABLE

    async def may_write(self) -> None:
        """Return once this process holds the lock and the schema fits."""
        if not self._leading.is_set():
            await self._leading.wait()

    async def first_status(self, seconds: float) -> LeadershipStatus:
        """The status after the first attempts, or after ``seconds``."""
        with trio.move_on_after(seconds):
            await self._status_known.wait()
        return self.status

    async def run(self) -> None:
        """Take the lock whenever it can be had, until cancelled."""
        while True:
            try:
                connection = await self._connect()
                try:
                    await self._lead(connection)
                finally:
                    connection.abort()
            except (DatabaseUnavailable, StatementFailed) as failure:
                self._set_status(LeadershipStatus.UNREACHABLE, str(failure))
            await trio.sleep(_RETRY_PAUSE)

    async def _lead(self, connection: Connection) -> None:
        if not await connection.try_advisory_lock(ADVISORY_LOCK_KEY):
            self._set_status(LeadershipStatus.ANOTHER_DAEMON)
            return
        schema, status = await schema_state(connection), LeadershipStatus
        if schema is not SchemaState.FITS:
            self._set_status(status.SCHEMA_MISSING if schema is SchemaState.MISSING else status.SCHEMA_OLD)
            return
        await connection.listen([CONTROL_CHANNEL])
        await self._on_lead()
        self._set_status(LeadershipStatus.LEADING)
        self._leading.set()
        while True:
            notifications: list[tuple[str, str]] = []
            with trio.move_on_after(_PING_INTERVAL):
                notifications = await connection.notifications()
            if not notifications:
                await connection.ping()
            for _, payload in notifications:
                await self._on_notify(payload)

    def _set_status(self, status: LeadershipStatus, error: str = "") -> None:
        if status is not LeadershipStatus.LEADING and self._leading.is_set():
            self._leading = trio.Event()
        if status is not self.status or not self._status_known.is_set():
            log = _LOG.info if status is LeadershipStatus.LEADING else _LOG.warning
            log(f"Database: {status}", error=error)
        self.status = status
        # A daemon killed a moment ago may still hold the lock for a while; any other status is final at once.
        if status is not LeadershipStatus.ANOTHER_DAEMON:
            self._status_known.set()
