"""Composes what tells the CRM: the hooks that people ask about, and the courier that delivers to them."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import trio

from zapline.crm.webhook_client import open_crm
from zapline.daemon.logs.setup import register_secret
from zapline.daemon.master_key import hook_key
from zapline.domain.crm_webhooks import secret
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.notification_checks import TellingReport
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.notifications.crm_webhook_commands import Hooks
from zapline.supervisors.notifications.crm_webhook_delivery import AT_ONCE, Courier
from zapline.supervisors.notifications.live_feed import Feed
from zapline.supervisors.outbound.media_url_check import look_up
from zapline.supervisors.units.unit_commands import Submit


@dataclass(frozen=True, slots=True)
class Told:
    """What stands between a unit and its CRM."""

    feed: Feed
    """For those who watch."""
    hooks: Hooks
    courier: Courier

    def report(self) -> TellingReport:
        """How telling stands, for the health report."""
        return TellingReport(self.courier.totals, self.feed.statistics().watchers)


@asynccontextmanager
async def open_told(
    master: bytes, private: bool, pool: Pool, submit: Submit, leadership: Leadership, counters: Counters, feed: Feed
) -> AsyncIterator[Told]:
    """``private``: hooks may lead into our own networks. ``courier.run`` is started by whoever opens it."""

    def key_of(hook: UUID, generation: int) -> bytes:
        key = hook_key(master, hook, generation)
        register_secret(secret(key))
        return key

    # Names whose servers are silent hold their thread longer than a delivery may take: they must not use up the room
    # of others, nor that of the URLs of files that somebody wants to send.
    resolver = partial(look_up, room=trio.CapacityLimiter(2 * AT_ONCE))
    async with open_crm(time.time, resolver, private=private) as client:
        courier = Courier(pool, client, leadership.may_write, key_of, counters)
        feed.happened = courier.ring
        yield Told(feed, Hooks(pool, submit.find, key_of, courier.changed, private=private), courier)
