"""Publishes campaign counts as live events: once a second while a campaign runs, and whenever its state changes."""

from collections.abc import Iterable
from functools import partial
from uuid import UUID

import trio

from zapline.domain.ids import UnitId
from zapline.sql.campaigns.campaigns import CampaignCounts, load_progress
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.event_payloads import campaign_payload
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed

EVERY = 1.0
"""Seconds between two counts of one campaign."""
_COUNT_SHARE = 20
"""Counting takes at most this part of the time, so large campaigns are counted less often."""


class ProgressPublisher:
    """One for the process; the feeder calls it after each round. Campaigns that nobody watches are not counted."""

    def __init__(self, pool: Pool, feed: LiveFeed) -> None:
        self._pool = pool
        self._feed = feed
        self._changed: dict[UUID, UnitId] = {}
        self._published: dict[UUID, CampaignCounts] = {}
        self._count_at = float("-inf")

    def changed(self, unit: UnitId, campaign: UUID) -> None:
        """Note that the campaign's state has changed, as committed."""
        self._feed.on_event(unit)
        if self._feed.is_watched(unit):
            self._changed[campaign] = unit

    async def publish(self, running: Iterable[tuple[UUID, UnitId]]) -> None:
        """Publish the changed campaigns, and the running ones if it is time. Raises DatabaseUnavailable."""
        due = dict(self._changed)
        started = trio.current_time()
        if started >= self._count_at:
            due |= {campaign: unit for campaign, unit in running if self._feed.is_watched(unit)}
        if not due:
            return
        async with self._pool.connection() as conn:
            current = await load_progress(conn, list(due.values()), list(due))
        now = trio.current_time()
        self._count_at = now + max(EVERY, _COUNT_SHARE * (now - started))
        for campaign, unit in due.items():
            self._changed.pop(campaign, None)
            progress = current.get(campaign)
            if progress is not None and progress != self._published.get(campaign):
                self._published[campaign] = progress
                self._feed.publish(
                    unit, EventKind.CAMPAIGN, partial(campaign_payload, unit, campaign, progress, progress.state)
                )
        self._published = {campaign: progress for campaign, progress in self._published.items() if campaign in due}
