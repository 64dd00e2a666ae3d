"""Tells those who watch how campaigns stand: each about once a second while it runs, and whenever it changes."""

from collections.abc import Iterable
from functools import partial
from uuid import UUID

import trio

from zapline.domain.ids import UnitId
from zapline.sql.campaigns.campaigns import Standing, standings
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.notifications.event_payloads import CampaignNews
from zapline.supervisors.notifications.live_feed import Feed, Kind

EVERY = 1.0
"""Seconds between two counts of one campaign."""
_SHARE = 20
"""Counting takes at most such a part of the time: a campaign of a hundred thousand is counted less often."""


class Progress:
    """One for the process; the feeder calls it after each of its rounds. Nothing is counted where nobody watches."""

    def __init__(self, pool: Pool, feed: Feed) -> None:
        self._pool = pool
        self._feed = feed
        self._changed: dict[UUID, UnitId] = {}
        self._told: dict[UUID, Standing] = {}
        self._count_at = float("-inf")

    def changed(self, unit: UnitId, campaign: UUID) -> None:
        """Its state is another one, as committed."""
        self._feed.happened(unit)
        if self._feed.watched(unit):
            self._changed[campaign] = unit

    async def tell(self, running: Iterable[tuple[UUID, UnitId]]) -> None:
        """Tell of those that have changed, and of the running ones if it is time. Raises DatabaseUnavailable."""
        asked = dict(self._changed)
        started = trio.current_time()
        if started >= self._count_at:
            asked |= {campaign: unit for campaign, unit in running if self._feed.watched(unit)}
        if not asked:
            return
        async with self._pool.connection() as conn:
            found = await standings(conn, list(asked.values()), list(asked))
        now = trio.current_time()
        self._count_at = now + max(EVERY, _SHARE * (now - started))
        for campaign, unit in asked.items():
            self._changed.pop(campaign, None)
            standing = found.get(campaign)
            if standing is not None and standing != self._told.get(campaign):
                self._told[campaign] = standing
                self._feed.publish(unit, Kind.CAMPAIGN, partial(_news, unit, campaign, standing))
        self._told = {campaign: standing for campaign, standing in self._told.items() if campaign in asked}


def _news(unit: UnitId, campaign: UUID, standing: Standing) -> CampaignNews:
    return CampaignNews(
        unit_id=unit, campaign_id=campaign, name=standing.name, state=standing.state, counts=standing.counts
    )
