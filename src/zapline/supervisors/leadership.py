"""Holds the advisory lock that lets one daemon write, and receives the notifications of the command line."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.leader import DatabasePlace, find_place, read_clock, take_epoch
from zapline.sql.postgres.migrate import SchemaState, schema_state
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.clock_watch import ClockWatch

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
class WriterStanding:
    """What this process may hold against the database: the epoch under which it leads.

    ``check_again``: called when the database refused a write because of it, or because it was set back.
    """

    epoch: int | None = None
    """None: it is not checked."""
    check_again: Callable[[], None] = lambda: None
    stale: bool = True
    """Another process led before this epoch: what memory knows of the units is out of date."""
    moved: bool = False
    """The database is another one than in the epoch before, or a standby was promoted."""
    process: UUID = field(default_factory=uuid4)
    place: DatabasePlace | None = None
    used: bool = True
    """What ``stale`` and ``moved`` say was acted upon; until then they hold, whatever fails in between."""

    async def take(self, connection: Connection) -> None:
        """Begin a new epoch. The caller holds the lock. Raises DatabaseUnavailable, StatementFailed."""
        last, before = self.epoch, self.place
        epoch, earlier = await take_epoch(connection, self.process, last or 0)
        self.place = await find_place(connection)
        moved = (None not in (before, self.place) and self.place != before) or (last is not None and earlier < last)
        if moved:
            _LOG.critical("The database is not where it was: it was restored, copied, or a standby was promoted")
        self.stale = last is None or earlier > last or (self.stale and not self.used)
        self.moved = moved or (self.moved and not self.used)
        self.epoch, self.used = epoch, False


@dataclass(eq=False, repr=False)
class Leadership:
    """Takes the lock on one direct connection, and takes it again after the connection is lost.

    ``connect`` opens it (never through a pooler). ``on_lead`` runs each time the lock is taken:
    what was loaded before may be out of date. ``on_notify`` gets the payload of each notification.
    """

    _connect: Callable[[], Awaitable[Connection]]
    _on_lead: Callable[[], Awaitable[None]]
    _on_notify: Callable[[str], Awaitable[None]]
    standing: WriterStanding = field(default_factory=WriterStanding)
    clock: ClockWatch = field(default_factory=ClockWatch)
    _leads: trio.CancelScope = field(default_factory=trio.CancelScope)
    _leading: trio.Event = field(default_factory=trio.Event)
    _status_known: trio.Event = field(default_factory=trio.Event)
    _again: bool = False
    """``check_again`` was called since the lock was taken."""
    status: LeadershipStatus = LeadershipStatus.UNREACHABLE

    async def may_write(self) -> None:
        """Return once this process holds the lock and the schema fits."""
        if not self._leading.is_set():
            await self._leading.wait()

    async def first_status(self, seconds: float) -> LeadershipStatus:
        """The status after the first attempt, or after ``seconds``."""
        with trio.move_on_after(seconds):
            await self._status_known.wait()
        return self.status

    async def run(self) -> None:
        """Take the lock whenever it can be had, until cancelled."""
        self.standing.check_again = self.check_again
        while True:
            self._leads = trio.CancelScope()
            try:
                connection = await self._connect()
                try:
                    with self._leads:
                        await self._lead(connection)
                finally:
                    connection.abort()
            except RemoteError as failure:
                self._set_status(LeadershipStatus.UNREACHABLE, str(failure))
            await trio.sleep(_RETRY_PAUSE)

    def check_again(self) -> None:
        """Stop writing, take the lock anew, and compare the database with what is known.

        While that is being done it is done to its end, and once more.
        """
        self._again = True
        if self._leading.is_set():
            self._set_status(LeadershipStatus.UNREACHABLE, "the database does not hold what was stored in it")
            self._leads.cancel()

    async def _lead(self, connection: Connection) -> None:
        if not await connection.try_advisory_lock(ADVISORY_LOCK_KEY):
            self._set_status(LeadershipStatus.ANOTHER_DAEMON)
            return
        schema, status = await schema_state(connection), LeadershipStatus
        if schema is not SchemaState.FITS:
            self._set_status(status.SCHEMA_MISSING if schema is SchemaState.MISSING else status.SCHEMA_OLD)
            return
        await self._compare_clocks(connection)
        await self.standing.take(connection)
        await connection.listen([CONTROL_CHANNEL])
        self._again = False
        await self._on_lead()
        self.standing.used = True
        if self._again:
            return
        self._set_status(LeadershipStatus.LEADING)
        self._leading.set()
        while True:
            notifications: list[tuple[str, str]] = []
            with trio.move_on_after(_PING_INTERVAL):
                notifications = await connection.notifications()
            if not notifications:
                await self._compare_clocks(connection)
            for _, payload in notifications:
                await self._on_notify(payload)

    async def know_time(self, pool: Pool) -> None:
        """Compare the clocks unless they were compared already, as before this process leads for the first time.

        Raises DatabaseUnavailable.
        """
        if not self.clock.was_compared:
            async with pool.connection() as connection:
                await self._compare_clocks(connection)

    async def _compare_clocks(self, connection: Connection) -> None:
        asked = trio.current_time()
        self.clock.compare(await read_clock(connection), asked)

    def _set_status(self, status: LeadershipStatus, error: str = "") -> None:
        if status is not LeadershipStatus.LEADING and self._leading.is_set():
            self._leading = trio.Event()
        if status is not self.status or not self._status_known.is_set():
            log = _LOG.info if status is LeadershipStatus.LEADING else _LOG.warning
            log(f"Database: {status}", error=error)
        self.status = status
        self._status_known.set()
