"""The overview: how many lines are out, every unit with its state and advice, trouble first, then the rates."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from quart import Response

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.principals import Scope
from zapline.domain.text import folded
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.console.framework.counts import RateHistory, TotalsCache
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.health.check_explanations import VERDICT_SENTENCES, describe_check, rate_values
from zapline.http.console.units.line_status import LineStatus, headline, line_status, outage_text, trouble_rank
from zapline.http.console.units.scan_code import offers_code
from zapline.sql.units.unit_totals import UnitTotals
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.health.line_checks import LineStanding, line_standing, missing_since, tally_lines
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster

_PAGE = 50
"""Units of a page. Those with trouble are on the first one; the filter searches all."""
_PAUSED = "paused"
STATES = {
    LineStanding.OUT.value: N_("Out"),
    LineStanding.RECONNECTING.value: N_("Reconnecting now"),
    LineStanding.CONNECTED.value: N_("Connected lines"),
    LineStanding.OFF.value: N_("Off"),
    _PAUSED: N_("Sending paused"),
}
"""The chips, by which the list is narrowed."""
SORTS = {
    "trouble": N_("Trouble first"),
    "name": N_("By name"),
    "outage": N_("Longest out first"),
    "queue": N_("Longest queue first"),
}
_CONNECTABLE = frozenset({Phase.IDLE, Phase.BACKING_OFF, Phase.LOGGED_OUT, Phase.REFUSED})


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit as the overview shows it; ``totals`` is None before the first query."""

    unit: Unit
    status: LineStatus
    outage: str
    """For how long the line has been out; empty if it is not."""
    connectable: bool
    totals: UnitTotals | None


@dataclass(frozen=True, slots=True)
class Chip:
    """A link that narrows the list to a state, with how many units are in it."""

    label: str
    count: int
    path: str
    current: bool


@dataclass(frozen=True, slots=True)
class _View:
    """What the query asks for."""

    search: str
    state: str
    sort: str
    page: int

    @classmethod
    def of_query(cls) -> "_View":
        state, sort = query_text("state"), query_text("sort")
        return cls(
            query_text("q"),
            state if state in STATES else "",
            sort if sort in SORTS else "trouble",
            query_number("page", 1, 10_000) or 1,
        )

    def query(self, **changed: object) -> str:
        """The query of this view with some values changed; values that are usual are left out."""
        values: dict[str, object] = {"q": self.search, "state": self.state, "sort": self.sort, "page": self.page}
        usual = {"q": "", "state": "", "sort": "trouble", "page": 1}
        query = urlencode({name: value for name, value in (values | changed).items() if value != usual[name]})
        return f"?{query}" if query else ""


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
        self._layout.get("/console/part/verdict", "overview_verdict", self.verdict)
        self._layout.add_section(NavigationLink("overview", N_("Overview"), "/console/", 0))

    async def show(self) -> Response:
        values = {**await self._unit_values(), **await self._health_values(), **self._verdict_values()}
        return self._layout.render("overview.html", at="overview", events=ALL_UNITS_EVENTS, **values)

    async def units(self) -> Response:
        return self._layout.render("overview_units.html", **await self._unit_values())

    async def rates(self) -> Response:
        return self._layout.render("overview_rates.html", **await self._health_values())

    async def verdict(self) -> Response:
        return self._layout.render("overview_verdict.html", **self._verdict_values())

    async def _unit_values(self) -> dict[str, Any]:
        view, now = _View.of_query(), time.time()
        totals = await self._totals.read()
        units = self._roster.units()
        named = [unit for unit in units if _matches(unit, folded(view.search))]
        matching = [unit for unit in named if not view.state or view.state in _states(unit)]
        matching.sort(key=lambda unit: _sort_key(view.sort, unit, totals.get(unit.id)))
        start = (view.page - 1) * _PAGE
        return {
            "rows": [_row(unit, totals.get(unit.id), now) for unit in matching[start : start + _PAGE]],
            "total": len(units),
            "matching": len(matching),
            "search": view.search,
            "state": view.state,
            "sort": view.sort,
            "sorts": SORTS,
            "chips": _chips(view, named),
            "first": start + 1,
            "newer": f"/console/{view.query(page=view.page - 1)}" if view.page > 1 else None,
            "older": f"/console/{view.query(page=view.page + 1)}" if len(matching) > start + _PAGE else None,
            "query": view.query(),
            "database_away": self._totals.database_away,
        }

    def _verdict_values(self) -> dict[str, Any]:
        now, may = time.time(), current_principal().may
        report = self._health.report(now)
        failing = [check for check in (*report.rates, *report.checks) if check.verdict.value != "pass"]
        return {
            "verdict": report.verdict.value,
            "verdict_text": _(VERDICT_SENTENCES[report.verdict]),
            "headline": headline(tally_lines(self._roster.units(), now)) if self._roster.units() else "",
            "failing": [describe_check(check, self._roster) for check in failing if check.name != "linesDown"],
            "codes": any(offers_code(unit.shown) and may(Scope.CONTROL, unit.id) for unit in self._roster.units()),
            "lines_down": any(check.name == "linesDown" for check in failing),
        }

    async def _health_values(self) -> dict[str, Any]:
        return await rate_values(self._health.report(time.time()), self._history, self._roster)


def _row(unit: Unit, totals: UnitTotals | None, now: float) -> UnitRow:
    shown, since = unit.shown, missing_since(unit.shown)
    connectable = shown is not None and shown.phase in _CONNECTABLE and shown.reason is not Reason.BANNED
    outage = outage_text(now - since) if since is not None and unit.quarantined_at is None else ""
    return UnitRow(unit, line_status(unit), outage, connectable and unit.can_act, totals)


def _states(unit: Unit) -> set[str]:
    """The chips that list this unit."""
    return {line_standing(unit.shown).value, *([_PAUSED] if unit.record.paused_at is not None else [])}


def _chips(view: _View, units: Sequence[Unit]) -> list[Chip]:
    """All, and the states that at least one of ``units`` is in."""
    counts = Counter(state for unit in units for state in _states(unit))
    chips = [Chip(_("All lines"), len(units), f"/console/{view.query(state='', page=1)}", not view.state)]
    for state, label in STATES.items():
        if counts[state] or state == view.state:
            path = f"/console/{view.query(state=state, page=1)}"
            chips.append(Chip(_(label), counts[state], path, state == view.state))
    return chips


def _sort_key(sort: str, unit: Unit, totals: UnitTotals | None) -> tuple[float, float, str]:
    """By trouble: those with something that needs a person come first among equals."""
    name = folded(unit.record.name)
    if sort == "name":
        return 0, 0, name
    if sort == "outage":
        since = missing_since(unit.shown)
        return (1, 0, name) if since is None else (0, since, name)
    if sort == "queue":
        return -(totals.queued if totals is not None else 0), 0, name
    needs_person = totals is not None and totals.uncertain + totals.failed + totals.letters > 0
    return trouble_rank(unit), 0 if needs_person else 1, name


def _matches(unit: Unit, search: str) -> bool:
    """``search`` is folded already."""
    return search in folded(unit.record.name) or search in folded(unit.record.instance)
