"""The health page: every check with its value, what it means, and what to do about it."""

import time
from typing import Any

from quart import Response

from zapline.http.console.framework.counts import History
from zapline.http.console.framework.layout import Frame
from zapline.http.console.framework.live_updates import ALL
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.health.check_explanations import VERDICTS, tell
from zapline.supervisors.health.health_report import HealthMonitor


class HealthPage:
    """``/console/health``."""

    def __init__(self, frame: Frame, health: HealthMonitor, history: History) -> None:
        self._frame = frame
        self._health = health
        self._history = history

    def attach(self) -> None:
        self._frame.get("/console/health", "health", self.show)
        self._frame.get("/console/part/health", "health_part", self.part)
        self._frame.section("health", N_("Health"), "/console/health", 80)

    async def show(self) -> Response:
        return self._frame.render("health.html", at="health", events=ALL, **await self._judged())

    async def part(self) -> Response:
        return self._frame.render("health_part.html", **await self._judged())

    async def _judged(self) -> dict[str, Any]:
        report = self._health.report(time.time())
        charts = await self._history.charts()
        checks = sorted(report.checks, key=lambda check: ("fail", "warn", "pass").index(check.verdict.value))
        return {
            "verdict": report.verdict.value,
            "said": _(VERDICTS[report.verdict]),
            "rates": [(tell(rate), charts[rate.name]) for rate in report.rates],
            "checks": [tell(check) for check in checks],
        }
