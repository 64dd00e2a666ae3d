"""A line's history: a strip of the last seven days, the uptime of each month, and every change with its reason."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from babel.dates import format_date
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.line.history import (
    LineChange,
    LinePeriod,
    LineUse,
    Segment,
    Span,
    Uptime,
    last_days,
    last_months,
    segments,
)
from zapline.domain.line.history import uptime as uptime_of
from zapline.domain.line.reasons import EXPLANATIONS
from zapline.http.api.units.line_history import MOST_MONTHS, csv_response, csv_rows, month_name, uptimes
from zapline.http.console.framework.counts import read_if_available
from zapline.http.console.framework.formatting import clock_time, duration, number, percent, short_date
from zapline.http.console.framework.layout import Layout, query_number
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.translation import N_, _, language, ngettext
from zapline.http.console.units.line_status import phase_label
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import line_history
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands

DAYS = 7
WIDTH = 1440.0
"""Of a day's strip, in its own units: a minute each, but for the days of a clock change."""
_LEAST = 4.0
"""Units that an outage takes at least, so that the shortest is seen."""
_PAGE = 50
_MONTHS = 12
_UNITS_AT_ONCE = 50
_USES = {
    LineUse.CONNECTED: N_("connected"),
    LineUse.OUT: N_("out"),
    LineUse.OFF: N_("off"),
    LineUse.UNKNOWN: N_("not known"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a day's strip. ``title`` is shown by the pointer."""

    x: float
    width: float
    use: str
    title: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day's strip, and the same in words."""

    name: str
    bars: tuple[Bar, ...]
    share: str
    words: str
    tone: str


def strip_of(changes: Sequence[LineChange], now: float, zone: str) -> list[Day]:
    """The last days of a line, the latest first."""
    return [_day(changes, span, zone) for span in reversed(last_days(DAYS, now, ZoneInfo(zone)))]


def _day(changes: Sequence[LineChange], span: Span, zone: str) -> Day:
    parts = segments(changes, span.start, span.end)
    bars = tuple(_bars(parts, span, zone))
    outages = [part for part in parts if part.use is LineUse.OUT]
    found = uptime_of(changes, span.start, span.end)
    if found.share is None:
        words = _("nobody wanted the line") if found.off > 0 else _("not known yet")
        return Day(_day_name(span), bars, "–", words, "idle")
    words = _("out {times}, {lasted} altogether", times=_times(len(outages)), lasted=duration(found.out))
    return Day(
        name=_day_name(span),
        bars=bars,
        share=percent(found.share, 2 if 0.9 < found.share < 1 else 0),
        words=words if outages else _("no outage"),
        tone="bad" if found.share < 0.9 else "warn" if outages else "good",
    )


def _times(count: int) -> str:
    return ngettext("once", "{count} times", count)


def _day_name(span: Span) -> str:
    return f"{format_date(span.first, 'EEE', locale=language().dates)} {short_date(span.first)}"


def _bars(parts: Sequence[Segment], span: Span, zone: str) -> Iterator[Bar]:
    """Outages come last, above what they are too short to be seen beside."""
    for part in sorted(parts, key=lambda part: part.use is LineUse.OUT):
        x, width = (part.start - span.start) / span.whole * WIDTH, (part.end - part.start) / span.whole * WIDTH
        if part.use is LineUse.OUT and width < _LEAST:
            x, width = min(x, WIDTH - _LEAST), _LEAST
        hours = f"{clock_time(part.start, zone)}–{clock_time(part.end, zone)}"
        yield Bar(round(x, 1), round(width, 1), part.use.value, f"{hours}: {_(_USES[part.use])}")


async def week_of(pool: Pool, unit: Unit, now: float) -> list[Day] | None:
    """The last days of the unit's line; None while the database is away."""
    zone = unit.record.time_zone
    since = last_days(DAYS, now, ZoneInfo(zone))[0].start
    changes = await read_if_available(lambda: line_history.list_changes_since(pool, unit.id, since))
    return strip_of(changes, now, zone) if changes is not None else None


class LineHistoryPage:
    """``/console/units/{unit}/history``, its strip as a live part, and the uptime as CSV of one unit or of all."""

    def __init__(
        self, layout: Layout, commands: UnitCommands, roster: Roster, pool: Pool, clock: Callable[[], float] = time.time
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._roster = roster
        self._pool = pool
        self._clock = clock

    def attach(self) -> None:
        unit = "/console/units/<uuid:unit>"
        self._layout.get(f"{unit}/history", "line_history", self.show)
        self._layout.get(f"{unit}/part/week", "line_week", self.week)
        self._layout.get(f"{unit}/uptime.csv", "unit_uptime", self.uptime)
        self._layout.get("/console/uptime.csv", "all_uptime", self.all_uptime)

    async def show(self, unit: UUID) -> Response:
        found, now = self._commands.find(UnitId(unit)), self._clock()
        before = query_number("before", 0, 2**62) or None
        rows = await line_history.list_periods(self._pool, found.id, before, _PAGE + 1)
        page, base = rows[:_PAGE], f"/console/units/{found.id}/history"
        older = urlencode({"before": page[-1].change.number}) if len(rows) > _PAGE else ""
        return self._layout.render(
            "line_history.html",
            at="unit",
            unit=found.record,
            record=found.record,
            events=unit_events_path(found.id),
            days=await week_of(self._pool, found, now),
            months=[_month_row(span, each) for span, each in reversed(await self._months(found, _MONTHS))],
            rows=[_period_row(period, now) for period in page],
            older=f"{base}?{older}" if older else None,
            newer=base if before is not None else None,
        )

    async def week(self, unit: UUID) -> Response:
        found = self._commands.find(UnitId(unit))
        return self._layout.render("line_week.html", days=await week_of(self._pool, found, self._clock()))

    async def uptime(self, unit: UUID) -> Response:
        found = self._commands.find(UnitId(unit))
        return csv_response(f"uptime-{found.id}.csv", csv_rows(found, await self._months(found, MOST_MONTHS)))

    async def all_uptime(self) -> Response:
        """Of all units: this month and the last."""
        units, rows, now = self._roster.units(), list[list[str]](), self._clock()
        for first in range(0, len(units), _UNITS_AT_ONCE):
            part = units[first : first + _UNITS_AT_ONCE]
            spans = {unit.id: last_months(2, now, ZoneInfo(unit.record.time_zone)) for unit in part}
            since = min(months[0].start for months in spans.values())
            changes = await line_history.list_all_changes_since(self._pool, [unit.id for unit in part], since)
            for unit in part:
                rows += csv_rows(unit, uptimes(changes[unit.id], spans[unit.id]))
        return csv_response("uptime.csv", rows)

    async def _months(self, unit: Unit, count: int) -> list[tuple[Span, Uptime]]:
        spans = last_months(count, self._clock(), ZoneInfo(unit.record.time_zone))
        return uptimes(await line_history.list_changes_since(self._pool, unit.id, spans[0].start), spans)


def _month_row(span: Span, each: Uptime) -> dict[str, Any]:
    known = each.connected + each.out + each.off > 0
    return {
        "name": month_name(span),
        "share": percent(each.share, 2 if each.share < 1 else 0) if each.share is not None else "–",
        "out": duration(each.out),
        "off": duration(each.off),
        "falls": number(each.falls),
        "known": known,
    }


def _period_row(period: LinePeriod, now: float) -> dict[str, Any]:
    change, ended = period.change, period.ended
    tone, label = phase_label(change.phase, change.reason)
    return {
        "at": change.at,
        "tone": tone,
        "label": label,
        "sentence": _(EXPLANATIONS[change.reason].sentence),
        "lasted": duration(period.seconds(now)),
        "then": phase_label(ended.phase, ended.reason) if ended is not None else None,
    }
