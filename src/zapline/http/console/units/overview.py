"""The overview: every unit with its state and advice, those with trouble first, and the health of the whole."""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from quart import Response

from zapline.http.console.framework.counts import RateHistory, TotalsCache
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS
from zapline.http.console.framework.translation import N_
from zapline.http.console.health.check_explanations import describe_check, rate_values
from zapline.http.console.units.line_status import LineStatus, line_status, trouble_rank
from zapline.sql.units.unit_totals import UnitTotals
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster

_PAGE = 50
"""Units of a page. Those with trouble are on the first one; the filter searches all."""


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit as the overview shows it; ``totals`` is None before the first query."""

    unit: Unit
    status: LineStatus
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
        values = {**await self._unit_values(), **await self._health_values()}
        return self._layout.render("overview.html", at="overview", events=ALL_UNITS_EVENTS, **values)

    async def units(self) -> Response:
        return self._layout.render("overview_units.html", **await self._unit_values())

    async def rates(self) -> Response:
        return self._layout.render("overview_rates.html", **await self._health_values())

    async def _unit_values(self) -> dict[str, Any]:
        search, page = query_text("q"), query_number("page", 1, 10_000) or 1
        totals = await self._totals.read()
        units = self._roster.units()
        matching = [unit for unit in units if _matches(unit, search.casefold())]
        matching.sort(key=lambda unit: _sort_key(unit, totals.get(unit.id)))
        start = (page - 1) * _PAGE

        def page_link(number: int) -> str:
            return "/console/?" + urlencode({**({"q": search} if search else {}), "page": number})

        query = urlencode({name: value for name, value in (("q", search), ("page", page)) if value not in ("", 1)})
        return {
            "rows": [UnitRow(unit, line_status(unit), totals.get(unit.id)) for unit in matching[start : start + _PAGE]],
            "total": len(units),
            "matching": len(matching),
            "search": search,
            "first": start + 1,
            "newer": page_link(page - 1) if page > 1 else None,
            "older": page_link(page + 1) if len(matching) > start + _PAGE else None,
            "query": f"?{query}" if query else "",
            "database_away": self._totals.database_away,
        }

    async def _health_values(self) -> dict[str, Any]:
        report = self._health.report(time.time())
        failing = [describe_check(check) for check in report.checks if check.verdict.value != "pass"]
        return {**await rate_values(report, self._history), "failing": failing}


def _sort_key(unit: Unit, totals: UnitTotals | None) -> tuple[int, int, str]:
    """Trouble first; then those with something that needs a person."""
    needs_person = totals is not None and totals.uncertain + totals.letters > 0
    return trouble_rank(unit), 0 if needs_person else 1, unit.record.name.casefold()


def _matches(unit: Unit, search: str) -> bool:
    return search in unit.record.name.casefold() or search in unit.record.instance.casefold()
