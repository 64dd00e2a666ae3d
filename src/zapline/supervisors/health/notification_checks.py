"""Checks the notifications: deliveries to CRMs that wait or were given up, and CRM webhooks that are disabled."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from zapline.sql.notifications.crm_webhooks import HookTotals
from zapline.supervisors.health.check_result import NEVER, HealthCheck, grade

MAX_DELIVERY_WAIT = 600.0
"""Seconds that a delivery may wait: deploying a CRM takes less."""


@dataclass(frozen=True, slots=True)
class NotificationReport:
    """The notifications at one moment. ``totals`` None: not counted yet. ``streams``: clients that watch."""

    totals: HookTotals | None = None
    streams: int = 0

    @property
    def longest_wait(self) -> float:
        """Seconds that the oldest delivery has waited."""
        if self.totals is None or self.totals.oldest is None:
            return 0.0
        return max(0.0, time.time() - self.totals.oldest)


NO_NOTIFICATIONS = NotificationReport()


def check_notifications(report: NotificationReport) -> Iterator[HealthCheck]:
    totals = report.totals or HookTotals()
    yield HealthCheck(
        "hookWaitsSeconds",
        report.longest_wait,
        f"< {MAX_DELIVERY_WAIT:.0f}",
        grade(report.longest_wait, MAX_DELIVERY_WAIT, NEVER),
        "how long the oldest webhook to a CRM has waited to be taken",
    )
    yield HealthCheck(
        "deadHookDeliveries",
        totals.dead,
        "0",
        grade(totals.dead, 0, NEVER),
        "webhooks given up within a day; they can be replayed (GET .../hooks/{id}/deliveries?state=dead)",
    )
    yield HealthCheck(
        "hooksDisabled",
        totals.disabled,
        "0",
        grade(totals.disabled, 0, NEVER),
        "CRMs that are not told any more, because they failed for days or answered 410",
    )
