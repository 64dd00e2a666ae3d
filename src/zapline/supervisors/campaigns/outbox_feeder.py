"""Feeds campaigns into the outbox: starts them in time, keeps a few messages ready, and ends them."""

import random
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.campaigns.states import CampaignState
from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.outbox.pacing import UnitPace
from zapline.sql.campaigns import campaigns, recipient_feed
from zapline.sql.campaigns.recipient_feed import AtWork
from zapline.sql.outbound.claims import read_pace
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.progress import Progress
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.live_feed import Feed

_SOON = 0.25
"""Seconds until the next round where less lies ready than the sender may take meanwhile."""
_AT_WORK = 1.0
_HELD = 5.0
"""The same where all campaigns wait: for their line, their window, the end of the night."""
_IDLE = 30.0
"""The same where there is no campaign: a round finds what nobody rang for."""
_AGAIN = 2.0
"""After the database did not serve a round."""
_BREATH = 0.02
"""Between two rounds, however often the bell rings."""
_MOST_OPEN = 2000
"""Messages of a campaign that lie ready at most, those that are tried again among them."""
_PACE_FOR = 10.0
"""Seconds for which a unit's limits are believed."""
_LOG = structlog.get_logger(scope="Campaigns")


class Feeder:
    """One for the process. All it does is one transaction a campaign and round, so it may be killed at any moment."""

    def __init__(
        self,
        pool: Pool,
        find: Callable[[UnitId], Unit | None],
        may_write: Callable[[], Awaitable[None]],
        wake: Callable[[UnitId], None],
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        feed: Feed | None = None,
    ) -> None:
        self._progress = Progress(pool, feed or Feed())
        self._pool = pool
        self._find = find
        self._may_write = may_write
        self._wake = wake
        self._clock = clock
        self._chance = chance
        self._bell = trio.Event()
        self._paces: dict[UnitId, tuple[float, UnitPace]] = {}
        self._look_around_at = float("-inf")
        self.campaigning: frozenset[UnitId] = frozenset()
        """Units of which a campaign is running."""
        self.loading: set[UUID] = set()
        """Campaigns into which a list is being read by this process. One that is not here and says so was left."""

    def ring(self) -> None:
        """Something has changed about a campaign: look soon."""
        self._bell.set()

    def changed(self, unit: UnitId, campaign: UUID) -> None:
        """A person has changed where a campaign stands."""
        self._progress.changed(unit, campaign)
        self.ring()

    async def run(self) -> None:
        """Feed until cancelled. A database that is away is asked again with the next round."""
        while True:
            await self._may_write()
            self._bell = trio.Event()
            try:
                pause = await self.round()
            except (DatabaseUnavailable, StatementFailed) as away:
                _LOG.warning("Campaigns must wait", error=str(away))
                pause = _AGAIN
            await trio.sleep(_BREATH)
            with trio.move_on_after(pause):
                await self._bell.wait()

    async def round(self) -> float:
        """Look after every campaign once; seconds until the next look. Raises DatabaseUnavailable, StatementFailed."""
        now = self._clock()
        async with self._pool.connection() as conn:
            if trio.current_time() >= self._look_around_at:
                await self._look_around(conn)
                self._look_around_at = trio.current_time() + _IDLE
            for row in await recipient_feed.start_due(conn, now):
                _LOG.info("A campaign starts", campaign=str(row.id), unit=str(row.unit_id))
                self._progress.changed(UnitId(row.unit_id), row.id)
            works = await recipient_feed.at_work(conn)
        running = [work for work in works if work.state is CampaignState.RUNNING]
        self.campaigning = frozenset(work.unit for work in running)
        self._paces = {unit: kept for unit, kept in self._paces.items() if unit in self.campaigning}
        pauses = [_IDLE, *(max(0.0, work.start_at - now) for work in works if work not in running and work.start_at)]
        for work in running:
            try:
                async with self._pool.connection() as conn:
                    pauses.append(await self._tend(conn, work, now))
            except (StatementFailed, msgspec.ValidationError, ArithmeticError, ValueError, KeyError) as failed:
                # Whatever is wrong with it is its own: the others go on.
                _LOG.error("A campaign cannot be fed", campaign=str(work.id), unit=str(work.unit), error=str(failed))
                pauses.append(_AGAIN)
        await self._progress.tell((work.id, work.unit) for work in running)
        return min(pauses)

    async def _look_around(self, conn: Connection) -> None:
        """Find what nobody rings for: lists whose reader is gone, campaigns that have work again after their end."""
        for left in await campaigns.left_loads(conn):
            if left not in self.loading:
                await campaigns.abandon_load(conn, left)
                _LOG.warning("A list that was not read to its end is taken back", campaign=str(left))
        for row in await recipient_feed.reopen(conn):
            _LOG.info("A campaign has work again", campaign=str(row.id), unit=str(row.unit_id))
            self._progress.changed(UnitId(row.unit_id), row.id)

    async def _tend(self, conn: Connection, work: AtWork, now: float) -> float:
        """Look after one running campaign; seconds until the next look."""
        pace = await self._pace(conn, work.unit)
        if pace is None:
            return _HELD
        opens = work.timing.window_opens_at(pace.zone, now)
        if opens is not None and work.due_before is not None and work.due_before < opens:
            await recipient_feed.postpone(conn, work.id, opens)
        if not work.pending:
            if not work.open and await recipient_feed.finish(conn, work.id, now):
                _LOG.info("A campaign is done", campaign=str(work.id), unit=str(work.unit))
                self._progress.changed(work.unit, work.id)
            return _AT_WORK
        if work.timing.opens_at(pace, now) != now or not self._line_open(work.unit):
            return _HELD
        ahead = work.timing.ahead(pace)
        room = min(ahead - work.fresh, _MOST_OPEN - work.open)
        if room > 0:
            fed = await recipient_feed.feed(conn, work, room, now, self._chance)
            if fed.queued:
                self._wake(work.unit)
            if fed.skipped:
                _LOG.info("Recipients want no campaigns by now", campaign=str(work.id), count=fed.skipped)
        return _SOON if work.fresh < ahead / 4 else _AT_WORK

    async def _pace(self, conn: Connection, unit: UnitId) -> UnitPace | None:
        kept = self._paces.get(unit)
        if kept is not None and trio.current_time() - kept[0] < _PACE_FOR:
            return kept[1]
        pace = await read_pace(conn, unit)
        if pace is not None:
            self._paces[unit] = (trio.current_time(), pace)
        return pace

    def _line_open(self, id: UnitId) -> bool:
        unit = self._find(id)
        if unit is None or unit.state is None or unit.quarantined_at is not None or unit.record.paused_at is not None:
            return False
        return unit.record.archived_at is None and unit.state.stored.phase is Phase.OPEN
