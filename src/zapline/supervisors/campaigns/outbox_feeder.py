"""Fills the outbox from running campaigns: starts them on time, keeps a few messages queued, and ends them."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.campaigns.states import CampaignState
from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.domain.outbox.pacing import PaceLimits
from zapline.sql.campaigns import campaign_enqueueing, campaigns
from zapline.sql.campaigns.campaign_enqueueing import ActiveCampaign
from zapline.sql.outbound.unit_pace import read_pace
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.nodes import UNCHECKED
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_progress import ProgressPublisher
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.sender_state import can_send

_SOON = 0.25
"""Seconds until the next round if fewer messages are queued than the sender may take meanwhile."""
_RUNNING = 1.0
"""The same if enough are queued."""
_HELD = 5.0
"""The same if all campaigns wait for their line, their window, or the end of the night."""
_IDLE = 30.0
"""The same without campaigns; also between two sweeps for changes that nobody announced."""
_RETRY_AFTER = 2.0
"""After the database did not serve a round."""
_MIN_PAUSE = 0.02
"""Between two rounds, however often ``wake`` is called."""
_MAX_OPEN = 2000
"""Queued messages of a campaign at most, including those that are retried."""
_PACE_FRESH = 10.0
"""Seconds for which a unit's limits are cached."""
_LOG = structlog.get_logger(scope="Campaigns")


@dataclass(eq=False, repr=False)
class OutboxFeeder:
    """One for the process. It makes one transaction for each campaign and round, so it may be killed at any time."""

    _pool: Pool
    _find: Callable[[UnitId], Unit | None]
    _may_write: Callable[[], Awaitable[None]]
    _wake_sender: Callable[[UnitId], None]
    _clock: Callable[[], float] = time.time
    _draw_spread: Callable[[], float] = random.random
    feed: LiveFeed = field(default_factory=LiveFeed)
    clocks_agree: Callable[[], bool] = lambda: True
    """While they do not, no campaign starts by its time: it might be days too early."""
    campaigning: frozenset[UnitId] = frozenset()
    """Units with a running campaign."""
    loading: set[UUID] = field(default_factory=set)
    """Campaigns that this process loads a list into. Others in this state were left by a killed process."""
    load_seconds: float = 0.0
    """For which another process may be reading a list."""
    _unfinished: dict[UUID, float] = field(default_factory=dict)
    """Since when lists are known not to be read to their end (monotonic)."""
    _wake_event: trio.Event = field(default_factory=trio.Event)
    _paces: dict[UnitId, tuple[float, PaceLimits]] = field(default_factory=dict)
    _sweep_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._progress = ProgressPublisher(self._pool, self.feed)

    def wake(self) -> None:
        """Start the next round soon: a campaign has changed."""
        self._wake_event.set()

    def campaign_changed(self, unit: UnitId, campaign: UUID) -> None:
        """Note that a person has changed a campaign, as committed."""
        self._progress.changed(unit, campaign)
        self.wake()

    async def run(self) -> None:
        """Run rounds until cancelled; if the database is away, the next round tries again."""
        while True:
            await self._may_write()
            self._wake_event = trio.Event()
            try:
                pause = await self.round()
            except (DatabaseUnavailable, StatementFailed) as away:
                _LOG.warning("Campaigns must wait", error=str(away))
                pause = _RETRY_AFTER
            await trio.sleep(_MIN_PAUSE)
            with trio.move_on_after(pause):
                await self._wake_event.wait()

    async def round(self) -> float:
        """Feed each campaign; return seconds until the next round. Raises DatabaseUnavailable, StatementFailed."""
        now = self._clock()
        async with self._pool.connection() as conn:
            if trio.current_time() >= self._sweep_at:
                await self._sweep(conn)
                self._sweep_at = trio.current_time() + _IDLE
            agree = self.clocks_agree()
            for row in await campaign_enqueueing.start_scheduled(conn, now) if agree else []:
                _LOG.info("A campaign starts", campaign=str(row.id), unit=str(row.unit_id))
                self._progress.changed(UnitId(row.unit_id), row.id)
            works = await campaign_enqueueing.list_active_campaigns(conn)
        running = [work for work in works if work.state is CampaignState.RUNNING]
        self.campaigning = frozenset(work.unit for work in running)
        self._paces = {unit: cached for unit, cached in self._paces.items() if unit in self.campaigning}
        soonest = 0.0 if agree else _HELD
        starts = [work.start_at for work in works if work not in running and work.start_at]
        pauses = [_IDLE, *(max(soonest, start - now) for start in starts)]
        for work in running:
            try:
                async with self._pool.connection() as conn:
                    pauses.append(await self._feed_campaign(conn, work, now))
            except (StatementFailed, msgspec.ValidationError, ArithmeticError, ValueError, KeyError) as failed:
                # One bad campaign must not stop the others.
                _LOG.error("A campaign cannot be fed", campaign=str(work.id), unit=str(work.unit), error=str(failed))
                pauses.append(_RETRY_AFTER)
        await self._progress.publish((work.id, work.unit) for work in running)
        return min(pauses)

    async def _sweep(self, conn: Connection) -> None:
        """Find changes that nobody announces: lists left by a killed process, ended campaigns with new work."""
        unfinished, now = await campaigns.list_unfinished_loads(conn), trio.current_time()
        self._unfinished = {id: self._unfinished.get(id, now) for id in unfinished}
        for left, since in self._unfinished.items():
            if left not in self.loading and now - since >= self.load_seconds:
                await campaigns.abandon_load(conn, left)
                _LOG.warning("A list that was not read to its end is taken back", campaign=str(left))
        for row in await campaign_enqueueing.reopen_campaigns(conn):
            _LOG.info("A campaign has work again", campaign=str(row.id), unit=str(row.unit_id))
            self._progress.changed(UnitId(row.unit_id), row.id)

    async def _feed_campaign(self, conn: Connection, work: ActiveCampaign, now: float) -> float:
        """Feed one running campaign; return seconds until the next round."""
        pace, unit = await self._pace(conn, work.unit), self._find(work.unit)
        if pace is None:
            return _HELD
        held = unit.held if unit is not None else UNCHECKED
        opens = work.timing.window_opens_at(pace.zone, now)
        if opens is not None and work.due_before is not None and work.due_before < opens:
            await campaign_enqueueing.postpone_queued(conn, work.id, opens, held)
        if not work.pending:
            if not work.open and await campaign_enqueueing.finish_campaign(conn, work.id, now, held):
                _LOG.info("A campaign is done", campaign=str(work.id), unit=str(work.unit))
                self._progress.changed(work.unit, work.id)
            return _RUNNING
        if work.timing.opens_at(pace, now) != now or unit is None or not can_send(unit):
            return _HELD
        ahead = work.timing.queue_ahead(pace)
        room = min(ahead - work.fresh, _MAX_OPEN - work.open)
        if room > 0:
            fed = await campaign_enqueueing.enqueue_next(conn, work, room, now, self._draw_spread, held)
            if fed.queued:
                self._wake_sender(work.unit)
            if fed.skipped:
                _LOG.info("Recipients are skipped at their turn", campaign=str(work.id), count=fed.skipped)
        return _SOON if work.fresh < ahead / 4 else _RUNNING

    async def _pace(self, conn: Connection, unit: UnitId) -> PaceLimits | None:
        cached = self._paces.get(unit)
        if cached is not None and trio.current_time() - cached[0] < _PACE_FRESH:
            return cached[1]
        pace = await read_pace(conn, unit)
        if pace is not None:
            self._paces[unit] = (trio.current_time(), pace)
        return pace
