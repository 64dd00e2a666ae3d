"""Checks the notifications: deliveries to CRMs that wait or were given up, and CRM webhooks that are disabled."""

from dataclasses import dataclass

from zapline.sql.notifications.crm_webhooks import HookTotals
from zapline.supervisors.health.check_result import HealthCheck, expect_below, expect_none

MAX_DELIVERY_WAIT = 600.0
"""Seconds that a delivery may wait: deploying a CRM takes less."""


@dataclass(frozen=True, slots=True)
class NotificationReport:
    """The notifications at one moment. ``totals`` None: not counted yet. ``streams``: clients that watch.

    ``at``: UTC seconds.
    """

    totals: HookTotals | None = None
    streams: int = 0
    at: float = 0.0

    @property
    def longest_wait(self) -> float:
        """Seconds that the oldest delivery has waited."""
        if self.totals is None or self.totals.oldest is None:
            return 0.0
        return max(0.0, self.at - self.totals.oldest)


NO_NOTIFICATIONS = NotificationReport()


def check_notifications(report: NotificationReport) -> list[HealthCheck]:
    totals = report.totals or HookTotals()
    waits = "how long the oldest webhook to a CRM has waited to be taken; look at the CRM's log"
    dead = "webhooks given up within a day; they can be replayed (GET .../hooks/{id}/deliveries?state=dead)"
    disabled = "CRMs that are not told any more, because they failed for days or answered 410; mend and enable them"
    return [
        expect_below("hookWaitsSeconds", report.longest_wait, MAX_DELIVERY_WAIT, waits),
        expect_none("deadHookDeliveries", totals.dead, dead),
        expect_none("hooksDisabled", totals.disabled, disabled),
    ]
