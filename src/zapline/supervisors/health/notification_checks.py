"""Judges what is told to CRMs and to those who watch: what waits, what was given up, who is not told any more."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from zapline.sql.notifications.crm_webhooks import HookTotals
from zapline.supervisors.health.check import Check, above

_NEVER = float("inf")
HOOK_WAITS = 600.0
"""Seconds a delivery may wait before somebody should look at the CRM: a deployment of it takes less."""


@dataclass(frozen=True, slots=True)
class TellingReport:
    """What is told, at one moment. ``totals`` None: not counted yet. ``streams``: clients that watch now."""

    totals: HookTotals | None = None
    streams: int = 0

    @property
    def waits(self) -> float:
        """Seconds for which the oldest delivery has waited."""
        if self.totals is None or self.totals.oldest is None:
            return 0.0
        return max(0.0, time.time() - self.totals.oldest)


NOTHING_TOLD = TellingReport()


def telling_checks(report: TellingReport) -> Iterator[Check]:
    """The lines of the health report about what is told."""
    totals = report.totals or HookTotals()
    yield Check(
        "hookWaitsSeconds",
        report.waits,
        f"< {HOOK_WAITS:.0f}",
        above(report.waits, HOOK_WAITS, _NEVER),
        "how long the oldest webhook to a CRM has waited to be taken",
    )
    yield Check(
        "deadHookDeliveries",
        totals.dead,
        "0",
        above(totals.dead, 0, _NEVER),
        "webhooks given up within a day; they can be replayed (GET .../hooks/{id}/deliveries?state=dead)",
    )
    yield Check(
        "hooksDisabled",
        totals.disabled,
        "0",
        above(totals.disabled, 0, _NEVER),
        "CRMs that are not told any more, because they failed for days or answered 410",
    )
