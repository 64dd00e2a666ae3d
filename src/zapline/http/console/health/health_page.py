"""The health page: every check with its value, its meaning and advice."""

import time
from typing import Any

from quart import Response

from zapline.http.console.framework.counts import RateHistory
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS
from zapline.http.console.framework.translation import N_
from zapline.http.console.health.check_explanations import describe_check, rate_values
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.units.roster import Roster


class HealthPage:
    """``/console/health``."""

    def __init__(
        self,
        layout: Layout,
        health: HealthMonitor,
        history: RateHistory,
        roster: Roster,
        servers: bool = False,
        alarms: bool = False,
    ) -> None:
        """``servers``, ``alarms``: there is a page of them."""
        self._pages = {"servers": servers, "alarms": alarms}
        self._layout = layout
        self._health = health
        self._history = history
        self._roster = roster

    def attach(self) -> None:
        self._layout.get("/console/health", "health", self.show)
        self._layout.get("/console/part/health", "health_part", self.part)
        self._layout.add_section(NavigationLink("health", N_("Health"), "/console/health", 80))

    async def show(self) -> Response:
        values = {**await self._values(), **self._pages}
        return self._layout.render("health.html", at="health", events=ALL_UNITS_EVENTS, **values)

    async def part(self) -> Response:
        return self._layout.render("health_part.html", **await self._values())

    async def _values(self) -> dict[str, Any]:
        report = self._health.report(time.time())
        checks = sorted(report.checks, key=lambda check: ("fail", "warn", "pass").index(check.verdict.value))
        views = [describe_check(check, self._roster) for check in checks]
        return {**await rate_values(report, self._history, self._roster), "checks": views}
