"""The overview: every unit with what is wrong and what to do, trouble first; and the health of all."""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from quart import Response

from zapline.http.console.framework.counts import RateHistory, TotalsCache
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.health.check_explanations import VERDICT_SENTENCES, describe_check
from zapline.http.console.units.line_status import LineStatus, line_status, trouble_rank
from zapline.sql.units.unit_totals import UnitTotals
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster

_PAGE = 50
"""Units of a page: those with trouble are on the first one, and the filter finds any at once."""


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit as the overview shows it. ``totals`` None: not read yet."""

    unit: Unit
    line: LineStatus
    totals: UnitTotals | None


class OverviewPage:
    """``/console/`` and its live parts."""

    def __init__(
        self, layout: Layout, roster: Roster, health: HealthMonitor, totals: TotalsCache, history: RateHistory
    ) -> None:
        self._layout = layout
        self._roster = roster
        self._health = health
        self._totals = totals
        self._history = history

    def attach(self) -> None:
        self._layout.get("/console/", "overview", self.show)
        self._layout.get("/console/part/units", "overview_units", self.units)
        self._layout.get("/console/part/rates", "overview_rates", self.rates)
        self._layout.add_section(NavigationLink("overview", N_("Overview"), "/console/", 0))

    async def show(self) -> Response:
        values = {**await self._listed(), **await self._judged()}
        return self._layout.render("overview.html", at="overview", events=ALL_UNITS_EVENTS, **values)

    async def units(self) -> Response:
        return self._layout.render("overview_units.html", **await self._listed())

    async def rates(self) -> Response:
        return self._layout.render("overview_rates.html", **await self._judged())

    async def _listed(self) -> dict[str, Any]:
        wanted, page = query_text("q"), query_number("page", 1, 10_000) or 1
        totals = await self._totals.read()
        every = self._roster.units()
        found = [unit for unit in every if _matches(unit, wanted.casefold())]
        found.sort(key=lambda unit: _sort_key(unit, totals.get(unit.id)))
        start = (page - 1) * _PAGE

        def link(to: int) -> str:
            return "/console/?" + urlencode({**({"q": wanted} if wanted else {}), "page": to})

        query = urlencode({name: value for name, value in (("q", wanted), ("page", page)) if value not in ("", 1)})
        return {
            "shown": [UnitRow(unit, line_status(unit), totals.get(unit.id)) for unit in found[start : start + _PAGE]],
            "total": len(every),
            "found": len(found),
            "wanted": wanted,
            "first": start + 1,
            "newer": link(page - 1) if page > 1 else None,
            "older": link(page + 1) if len(found) > start + _PAGE else None,
            "query": f"?{query}" if query else "",
            "away": self._totals.database_away,
        }

    async def _judged(self) -> dict[str, Any]:
        report = self._health.report(time.time())
        charts = await self._history.charts()
        return {
            "verdict": report.verdict.value,
            "said": _(VERDICT_SENTENCES[report.verdict]),
            "rates": [(describe_check(rate), charts[rate.name]) for rate in report.rates],
            "failing": [describe_check(check) for check in report.checks if check.verdict.value != "pass"],
        }


def _sort_key(unit: Unit, totals: UnitTotals | None) -> tuple[int, int, str]:
    """Trouble first; among equals those for whom something waits for a person."""
    waits = totals is not None and totals.uncertain + totals.letters > 0
    return trouble_rank(unit), 0 if waits else 1, unit.record.name.casefold()


def _matches(unit: Unit, wanted: str) -> bool:
    return wanted in unit.record.name.casefold() or wanted in unit.record.instance.casefold()
