"""Holds the advisory lock that lets one daemon write, and receives the notifications of the command line."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from math import inf
from uuid import UUID, uuid4

import structlog
import trio

from zapline.domain.errors import PositionRefused, RemoteError, TooLateToCall
from zapline.domain.outbox.send_outcomes import CALL_WITHIN
from zapline.domain.timestamps import Moment
from zapline.sql.cluster.membership import join_members
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.leader import DatabasePlace, find_place, read_clock, stay_engine, take_epoch
from zapline.sql.postgres.migrate import SchemaState, schema_state
from zapline.sql.postgres.nodes import NodeName, hand_back, join, renew_lease
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.clock_watch import ClockWatch

ADVISORY_LOCK_KEY = 0x7A61706C696E65
"""Key of the advisory lock: the letters of zapline."""
CONTROL_CHANNEL = "zapline_control"
SILENCE_SECONDS = 10.0
"""Seconds without a statement after which the server ends the lock's session, and so lets another process lead."""
_MARGIN = 2.0
"""Seconds by which this process believes in its lead for less long than the server does."""
_BEAT = 2.0
"""Seconds between two statements of the lock's session."""
_RETRY_PAUSE = 0.5
_FIRST_PAUSE = 1.0
"""Seconds between two looks whether this node is the first one by now."""
_LOG = structlog.get_logger(scope="Leadership")


def boot_time() -> float:
    """Seconds since the machine started, also those in which this process or the whole machine stood still."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeadershipStatus(StrEnum):
    """Whether this process may write, and if not, why."""

    UNREACHABLE = "database_unreachable"
    ANOTHER_DAEMON = "another_daemon"
    SCHEMA_MISSING = "schema_missing"
    SCHEMA_OLD = "schema_older_than_program"
    LEADING = "leading"


@dataclass(eq=False, repr=False)
class WriterStanding:
    """What this process may hold against the database: the epoch under which it leads, and until when that is proven.

    ``called``: what it tells of itself. ``check_again``: called when the database refused a write because of it, or
    because it was set back. ``uptime`` as ``boot_time``.
    """

    epoch: int | None = None
    """None: it is not checked."""
    check_again: Callable[[], None] = lambda: None
    stale: bool = True
    """Another process led before this epoch: what memory knows of the units is out of date."""
    moved: bool = False
    """The database is another one than in the epoch before, or a standby was promoted."""
    called: NodeName = field(default_factory=NodeName)
    node: UUID | None = None
    """As which it owns units, anew each time it takes the lead; None while it does not lead."""
    new_id: Callable[[], UUID] = uuid4
    place: DatabasePlace | None = None
    used: bool = True
    """What ``stale`` and ``moved`` say was acted upon; until then they hold, whatever fails in between."""
    uptime: Callable[[], float] = boot_time
    proven_until: float = inf
    """By ``uptime``; infinite: it is not checked."""
    shares: bool = False
    """It does not lead alone: it owns some of the units, and other nodes own the others."""

    @property
    def is_proven(self) -> bool:
        """Whether no other process can lead yet: the server has heard of this one a short time ago."""
        return self.uptime() < self.proven_until

    @property
    def lead(self) -> int | None:
        """The epoch that must still be the last one for whatever is written; None: only each unit's own counts."""
        return None if self.shares else self.epoch

    def refuse_late_call(self, since: Moment, now: Moment) -> None:
        """Raise TooLateToCall where somebody else may lead, or so much time has passed that he may have led meanwhile.

        ``since``: when the database let the call be made. The wall clock counts the time in which the whole machine
        slept, too.
        """
        if max(now.mono - since.mono, now.wall - since.wall) > CALL_WITHIN or not self.is_proven:
            raise TooLateToCall

    async def take(self, connection: Connection) -> None:
        """Begin a new epoch, as a new node that owns all units, or none yet if it shares. The caller holds the lock.

        Raises DatabaseUnavailable, StatementFailed.
        """
        last, before, node = self.epoch, self.place, self.new_id()
        self.node = None

        async def also(epoch: int) -> None:
            enter = join_members if self.shares else join
            await enter(connection, node, self.called, epoch, SILENCE_SECONDS)

        epoch, earlier = await take_epoch(connection, node, last or 0, also)
        self.place = await find_place(connection)
        moved = (None not in (before, self.place) and self.place != before) or (last is not None and earlier < last)
        if moved:
            _LOG.critical("The database is not where it was: it was restored, copied, or a standby was promoted")
        self.stale = last is None or earlier > last or (self.stale and not self.used)
        self.moved = moved or (self.moved and not self.used)
        self.epoch, self.node, self.used = epoch, node, False


@dataclass(eq=False, repr=False)
class Leadership:
    """Takes the lock on one direct connection, and takes it again after the connection is lost.

    ``connect`` opens it (never through a pooler), with a server that ends it after ``SILENCE_SECONDS`` without a
    statement. So whoever is cut off, killed with its machine or stands still has lost the lock by then, and knows
    before, by its own clock. ``on_lead`` runs each time the lock is taken: what was loaded before may be out of date.
    ``on_notify`` gets the payload of each notification.
    """

    _connect: Callable[[], Awaitable[Connection]]
    _on_lead: Callable[[], Awaitable[None]]
    _on_notify: Callable[[str], Awaitable[None]]
    standing: WriterStanding = field(default_factory=WriterStanding)
    clock: ClockWatch = field(default_factory=ClockWatch)
    _leads: trio.CancelScope = field(default_factory=trio.CancelScope)
    _leading: trio.Event = field(default_factory=trio.Event)
    _status_known: trio.Event = field(default_factory=trio.Event)
    _left: bool = False
    _again: bool = False
    """``check_again`` was called since the lock was taken."""
    _beat_at: float = -inf
    """When the lock's session was used last (monotonic)."""
    stands_by: bool = False
    """Another process leads, as far as is known: also while the database has been away since."""
    status: LeadershipStatus = LeadershipStatus.UNREACHABLE
    is_first: bool = True
    """Of the nodes that share the units, it is the one that does what one is to do."""
    leaving: bool = False
    """It hands its units over, and is to get no more webhooks; what comes all the same is taken."""

    async def may_write_alone(self) -> None:
        """The same as ``may_write``, for what one node does for all of them."""
        await self.may_write()
        while not self.is_first or not self.standing.is_proven:
            await trio.sleep(_FIRST_PAUSE)
            await self.may_write()

    async def may_write(self) -> None:
        """Return once this process holds the lock, which was proven a short time ago, and the schema fits."""
        while not (self._leading.is_set() and self.standing.is_proven):
            if self._leading.is_set():
                await trio.sleep(_RETRY_PAUSE)
            else:
                await self._leading.wait()

    async def first_status(self, seconds: float) -> LeadershipStatus:
        """The status after the first attempt, or after ``seconds``."""
        with trio.move_on_after(seconds):
            await self._status_known.wait()
        return self.status

    async def run(self) -> None:
        """Take the lock whenever it can be had, until cancelled."""
        if not self.standing.shares:  # else what was refused is a unit that another node owns by now
            self.standing.check_again = self.check_again
        while not self._left:
            self._leads = trio.CancelScope()
            try:
                connection = await self._connect()
                try:
                    with self._leads:
                        await self._lead(connection)
                finally:
                    self.standing.proven_until, self.standing.node = -inf, None
                    self.is_first = self.is_first and not self.standing.shares
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
        # Those that share the units hold it together: none of them beside one that is alone.
        if not await connection.try_advisory_lock(ADVISORY_LOCK_KEY, shared=self.standing.shares):
            self._set_status(LeadershipStatus.ANOTHER_DAEMON)
            return
        schema, status = await schema_state(connection), LeadershipStatus
        if schema is not SchemaState.FITS:
            self._set_status(status.SCHEMA_MISSING if schema is SchemaState.MISSING else status.SCHEMA_OLD)
            return
        await self._beat(connection)
        await self.standing.take(connection)
        await stay_engine(connection)
        await connection.listen([CONTROL_CHANNEL])
        self._again = False
        failures: list[RemoteError] = []
        async with trio.open_nursery() as nursery:

            async def until_failure(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except RemoteError as failure:
                    failures.append(failure)
                if failures or self._again:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(until_failure, partial(self._hold, connection))
            nursery.start_soon(until_failure, self._begin)
        if failures:
            raise failures[0]

    async def _begin(self) -> None:
        """Load what may be out of date; for thousands of units that takes longer than the lock lives unproven."""
        await self._on_lead()
        self.standing.used = True
        if not self._again:
            self._set_status(LeadershipStatus.LEADING)
            self._leading.set()

    async def _hold(self, connection: Connection) -> None:
        """Prove every two seconds that this process is there, and pass on notifications once it leads."""
        heard: list[tuple[str, str]] = []
        while True:
            with trio.move_on_at(self._beat_at + _BEAT):
                heard += await connection.notifications()
            if trio.current_time() >= self._beat_at + _BEAT:
                await self._beat(connection)
            if self._leading.is_set():
                for _, payload in heard:
                    await self._on_notify(payload)
                heard.clear()

    async def _beat(self, connection: Connection) -> None:
        """Use the session: from before that on the server counts its silence anew."""
        before, self._beat_at = self.standing.uptime(), trio.current_time()
        if self.standing.node is None:
            await self._compare_clocks(connection)
        elif not await self._renew(connection, self.standing.node) and self.standing.shares:
            return  # who shares the lock is proven by its lease alone
        self.standing.proven_until = before + SILENCE_SECONDS - _MARGIN

    async def _renew(self, connection: Connection, node: UUID) -> bool:
        """Renew the node's lease, by the server's clock; False where that could not be done.

        Raises PositionRefused where it is over: it joins anew.
        """
        asked = trio.current_time()
        try:
            now = await renew_lease(connection, node, SILENCE_SECONDS, self.clock.wall())
        except StatementFailed as failure:
            _LOG.debug("The lease could not be renewed; the lock is held", error=str(failure))
            await self._compare_clocks(connection)
            return False
        if now is None:
            raise PositionRefused("the lease of this node is over; it joins again as another one")
        self.clock.compare(now, asked)
        return True

    async def leave(self, pool: Pool) -> None:
        """Hand the units back; this process does not lead again. Raises DatabaseUnavailable, StatementFailed."""
        self._left, node = True, self.standing.node
        if node is not None:
            async with pool.connection() as connection:
                await hand_back(connection, node)
            self._leads.cancel()

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
        if status is not LeadershipStatus.UNREACHABLE:
            self.stands_by = status is LeadershipStatus.ANOTHER_DAEMON
        self._status_known.set()
