"""Follows the log of events: up to which place it is complete, and what of it an organization is told."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.principals import OrganizationGrant
from zapline.sql.notifications import events
from zapline.sql.notifications.events import EventFilter
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import grant_scope
from zapline.supervisors.counters import Counters
from zapline.supervisors.notifications.crm_webhook_payloads import build_bodies

WINDOW = 5000
"""Places of the log that one query looks at: whoever comes back after a day reads it in steps."""
BATCH = 200
"""Events that one query returns."""
_MAX_READS = 2
"""Pages that are read at once: the API's pool is small, and its requests go first."""
_POLL = 5.0
"""Seconds between two looks while somebody reads and nothing wakes: for events that another process has stored."""
_MIN_PAUSE = 0.05
"""Seconds between two looks, however often events come."""
_WRITERS_EVERY = 0.02
_WRITERS_PATIENCE = 2.0
"""Seconds for which one look waits for transactions; a longer one is waited for by the looks after it."""
_LOG = structlog.get_logger(scope="Events")


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event as it is told: its place in the log, its kind, and the body that a hook would get."""

    seq: int
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in their order, without those that nothing is left of. ``after``: the place to go on behind.

    ``pruned_through``: up to where events were deleted for their age when this was read.
    """

    events: Sequence[ToldEvent]
    after: int
    pruned_through: int


class EventLog:
    """One for the process. ``pool`` is the engine's, ``readers`` that of the API's role."""

    def __init__(self, pool: Pool, readers: Pool | None, counters: Counters) -> None:
        self._pool = pool
        self._counters = counters
        self._readers = readers if readers is not None else pool
        self.through: int | None = None
        """All events up to this place are visible, and none of them can still come; None: not known yet."""
        self.pruned_through = 0
        self.moved = trio.Event()
        """Set once ``through`` has grown, or the log is closed; a new one follows."""
        self.closed = False
        self._wanted = trio.Event()
        self._readers_now = 0
        self._came, self._looked_for = 0, 0
        """Readers that have come, and how many of them had come when the last complete look began."""
        self._latest: dict[UUID, int] = {}
        """The last place of each unit, and of each organization, behind ``_latest_from``."""
        self._latest_from = 0
        self._reads = trio.CapacityLimiter(_MAX_READS)

    def wake(self, unit: UnitId) -> None:
        """Look soon: something has happened to a unit."""
        if self._readers_now:
            self._wanted.set()

    def close(self) -> None:
        """End all streams, for the end of the process."""
        self.closed = True
        self.moved.set()

    @contextmanager
    def reading(self) -> Iterator[int]:
        """While this is entered, the log is followed. Yields the reader's number, for ``is_fresh``."""
        if not self._readers_now:
            self.through = None  # nobody has followed the log for a while
        self._readers_now += 1
        self._came += 1
        self._wanted.set()
        try:
            yield self._came
        finally:
            self._readers_now -= 1

    def is_fresh(self, reader: int) -> bool:
        """Whether ``through`` was found after this reader had come; ``moved`` is set once it is."""
        return self.through is not None and self._looked_for >= reader

    def concerns(self, after: int, organization: UUID, units: Iterable[UnitId] | None) -> bool:
        """Whether there may be events behind ``after`` of one of the units; None: of any of the organization."""
        if after < self._latest_from:
            return True
        return any(self._latest.get(each, 0) > after for each in (units if units is not None else (organization,)))

    async def run(self) -> None:
        """Follow the log while somebody reads it, until cancelled."""
        while True:
            with trio.move_on_after(_POLL if self._readers_now else float("inf")):
                await self._wanted.wait()
            self._wanted = trio.Event()
            try:
                await self._look()
            except RemoteError as away:
                _LOG.debug("The log of events is not read", error=str(away))
            await trio.sleep(_MIN_PAUSE)

    async def _look(self) -> None:
        """Find up to where the log is complete now.

        A place is given before its transaction commits: whoever holds one up to the last was writing when that was
        read, and is waited for.
        """
        came = self._came
        async with self._pool.connection() as conn:
            position = await events.load_position(conn)
            writers = await events.list_writers(conn)
        until = trio.current_time() + _WRITERS_PATIENCE
        while writers:
            if trio.current_time() >= until:
                self._wanted.set()
                return
            await trio.sleep(_WRITERS_EVERY)
            async with self._pool.connection() as conn:
                writers &= await events.list_writers(conn)
        known, latest = self.through, None
        if known is not None and known <= position.last <= known + WINDOW:
            async with self._pool.connection() as conn:
                latest = await events.list_latest(conn, known, position.last)
        if latest is None or self.through is None:
            self._latest, self._latest_from = {}, position.last
        else:
            self._latest.update(latest)
        told = self.through != position.last or self._looked_for < came
        self.pruned_through, self._looked_for = position.pruned_through, came
        self.through = position.last  # less where the database was set back
        if told:
            moved, self.moved = self.moved, trio.Event()
            moved.set()

    async def read(self, wanted: EventFilter, grant: OrganizationGrant | None, after: int) -> EventPage:
        """A page behind the place ``after``. ``grant``: of the reader; None: an administrator.

        Raises DatabaseUnavailable, StatementFailed.
        """
        if grant is not None:
            seen = grant.units if wanted.units is None else grant.units.intersection(wanted.units)
            wanted = replace(wanted, units=tuple(seen))
        async with self._reads:
            until = min(self.through or 0, after + WINDOW)
            async with grant_scope(self._readers, grant) as conn:
                found = await events.list_events(conn, wanted, after, until, BATCH)
                bodies = await build_bodies(conn, [event.told for event in found])
                pruned_through = await events.load_pruned_through(conn)  # last: what was deleted until then is known
        told = [
            ToldEvent(event.seq, event.told.event, body)
            for event, body in zip(found, bodies, strict=True)
            if body is not None
        ]
        gone = len(found) - len(told)
        if gone:
            self._counters.add("stream_events_gone", amount=gone)
        return EventPage(told, found[-1].seq if len(found) == BATCH else max(after, until), pruned_through)
