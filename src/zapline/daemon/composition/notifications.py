"""Builds the notifications of the CRM: the commands for its hooks, and the delivery of webhooks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import trio

from zapline.crm.webhook_client import open_crm_client
from zapline.daemon.logs.configuration import register_secret
from zapline.daemon.master_key import derive, hook_key
from zapline.domain.crm_webhook_signature import format_secret
from zapline.domain.ids import UnitId
from zapline.sql.postgres.nodes import UNCHECKED
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.notification_checks import NotificationReport
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.notifications.crm_webhook_commands import CrmWebhooks
from zapline.supervisors.notifications.crm_webhook_delivery import IDLE, MAX_CALLS, CrmWebhookDelivery
from zapline.supervisors.notifications.event_log import EventLog
from zapline.supervisors.notifications.hook_headers import HeaderSealer
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.outbound.media_url_check import resolve_host
from zapline.supervisors.units.unit_commands import UnitCommands

_LOOK_EVERY = 1.0
"""Seconds between two looks at what is due, where other processes store what is to be told."""


@dataclass(frozen=True, slots=True)
class Notifications:
    """What tells a unit's CRM and its viewers of events."""

    feed: LiveFeed
    hooks: CrmWebhooks
    delivery: CrmWebhookDelivery
    events: EventLog
    clock: Callable[[], float]

    async def run(self) -> None:
        """Deliver, and follow the log of events, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.delivery.run)
            nursery.start_soon(self.events.run)

    def on_access_change(self, forget_tokens: Callable[[], None]) -> Callable[[], None]:
        """What to do once tokens have changed, or which units are in an organization."""

        def access_changed() -> None:
            forget_tokens()
            self.delivery.hook_changed()

        return access_changed

    def report(self) -> NotificationReport:
        """State of live events and deliveries, for the health report."""
        return NotificationReport(self.delivery.totals, self.feed.statistics().watchers, self.clock())


@asynccontextmanager
async def open_notifications(
    master_key: bytes,
    private: bool,
    pool: Pool,
    commands: UnitCommands,
    leadership: Leadership,
    counters: Counters,
    feed: LiveFeed,
    readers: Pool,
) -> AsyncIterator[Notifications]:
    """``private``: hooks may lead into private networks. The caller starts ``run``. ``readers``: of the API's role."""

    def signing_key(hook: UUID, generation: int) -> bytes:
        key = hook_key(master_key, hook, generation)
        register_secret(format_secret(key))
        return key

    clock, look_every = leadership.clock.now, _LOOK_EVERY if leadership.standing.shares else IDLE
    # A lookup whose DNS server is silent holds its thread longer than a delivery may take: it must not delay other
    # deliveries, nor the lookups of media URLs.
    resolver = partial(resolve_host, limiter=trio.CapacityLimiter(2 * MAX_CALLS))
    async with open_crm_client(clock, resolver, private=private) as client:
        sealer, log = HeaderSealer(derive(master_key, "hook headers")), EventLog(pool, readers, counters)
        parts = (pool, client, leadership.may_write_alone, signing_key, sealer, counters)
        # Where several processes share the units, the first of them delivers for all.
        held = commands.held if not leadership.standing.shares else lambda unit: UNCHECKED
        delivery = CrmWebhookDelivery(
            *parts, clock, leadership.clock.agrees, wall=leadership.clock.wall, held=held, look_every=look_every
        )

        def wake(unit: UnitId) -> None:
            delivery.wake(unit)
            log.wake(unit)

        feed.on_event, feed.on_close = wake, log.close
        hooks = CrmWebhooks(
            *(pool, commands.find, signing_key, sealer, delivery.hook_changed), private=private, clock=clock
        )
        yield Notifications(feed, hooks, delivery, log, clock)
