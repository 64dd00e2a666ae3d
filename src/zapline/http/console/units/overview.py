"""The overview: every unit with what is wrong and what to do, trouble first; and the health of all."""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from quart import Response

from zapline.http.console.framework.counts import History, Totals
from zapline.http.console.framework.layout import Frame, asked, number_of
from zapline.http.console.framework.live_updates import ALL
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.health.check_explanations import VERDICTS, tell
from zapline.http.console.units.line_status import Standing, rank, standing
from zapline.sql.units.unit_totals import UnitTotals
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster

_PAGE = 50
"""Units of a page: those with trouble are on the first one, and the filter finds any at once."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A unit as the overview shows it. ``totals`` None: not read yet."""

    unit: Unit
    line: Standing
    totals: UnitTotals | None


class Overview:
    """``/console/`` and its live parts."""

    def __init__(self, frame: Frame, roster: Roster, health: HealthMonitor, totals: Totals, history: History) -> None:
        self._frame = frame
        self._roster = roster
        self._health = health
        self._totals = totals
        self._history = history

    def attach(self) -> None:
        self._frame.get("/console/", "overview", self.show)
        self._frame.get("/console/part/units", "overview_units", self.units)
        self._frame.get("/console/part/rates", "overview_rates", self.rates)
        self._frame.section("overview", N_("Overview"), "/console/", 0)

    async def show(self) -> Response:
        values = {**await self._listed(), **await self._judged()}
        return self._frame.render("overview.html", at="overview", events=ALL, **values)

    async def units(self) -> Response:
        return self._frame.render("overview_units.html", **await self._listed())

    async def rates(self) -> Response:
        return self._frame.render("overview_rates.html", **await self._judged())

    async def _listed(self) -> dict[str, Any]:
        wanted, page = asked("q"), number_of("page", 1, 10_000) or 1
        totals = await self._totals.all()
        every = self._roster.units()
        found = [unit for unit in every if _matches(unit, wanted.casefold())]
        found.sort(key=lambda unit: _order(unit, totals.get(unit.id)))
        start = (page - 1) * _PAGE

        def link(to: int) -> str:
            return "/console/?" + urlencode({**({"q": wanted} if wanted else {}), "page": to})

        query = urlencode({name: value for name, value in (("q", wanted), ("page", page)) if value not in ("", 1)})
        return {
            "shown": [Shown(unit, standing(unit), totals.get(unit.id)) for unit in found[start : start + _PAGE]],
            "total": len(every),
            "found": len(found),
            "wanted": wanted,
            "first": start + 1,
            "newer": link(page - 1) if page > 1 else None,
            "older": link(page + 1) if len(found) > start + _PAGE else None,
            "query": f"?{query}" if query else "",
            "away": self._totals.away,
        }

    async def _judged(self) -> dict[str, Any]:
        report = self._health.report(time.time())
        charts = await self._history.charts()
        return {
            "verdict": report.verdict.value,
            "said": _(VERDICTS[report.verdict]),
            "rates": [(tell(rate), charts[rate.name]) for rate in report.rates],
            "failing": [tell(check) for check in report.checks if check.verdict.value != "pass"],
        }


def _order(unit: Unit, totals: UnitTotals | None) -> tuple[int, int, str]:
    """Trouble first; among equals those for whom something waits for a person."""
    waits = totals is not None and totals.uncertain + totals.letters > 0
    return rank(unit), 0 if waits else 1, unit.record.name.casefold()


def _matches(unit: Unit, wanted: str) -> bool:
    return wanted in unit.record.name.casefold() or wanted in unit.record.instance.casefold()
