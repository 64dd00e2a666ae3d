"""Routes of a line's history: each change with its reason and how it ended, and how long the line was open."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.line import history
from zapline.domain.line.history import LineChange, LinePeriod, Span, Uptime, last_months
from zapline.domain.line.reasons import EXPLANATIONS, Phase, Reason
from zapline.domain.timestamps import iso
from zapline.http.api.framework.csv_bodies import csv_bytes
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, json_response
from zapline.http.api.framework.paging import PAGED, Page, Position, Seq, page_query, query_int, split_page
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import line_history
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.unit_commands import UnitCommands

MOST_MONTHS = 13
"""As long as a line's history is kept."""
CSV_COLUMNS = ("unit", "name", "month", "uptime", "connected_hours", "out_hours", "off_hours", "unknown_hours", "falls")


class _InHistory(Position, frozen=True, tag="l"):
    number: Seq


class EndedBody(ResponseBody, frozen=True):
    """What ended a period."""

    at: Timestamp | None
    status: str
    reason: Reason


class PeriodBody(ResponseBody, frozen=True, kw_only=True):
    """A time in which the line showed one thing."""

    at: Annotated[Timestamp | None, Meta(description="Since when.")]
    status: str
    reason: Reason
    phase: Phase
    sentence: Annotated[str, Meta(description="The reason as a sentence for people.")]
    seconds: Annotated[float, Meta(description="How long it lasted, or lasts until now.")]
    ended: Annotated[EndedBody | None, Meta(description="What came after it; null: it is still so.")]


class LineHistoryPage(Page[PeriodBody], frozen=True):
    """What the line has shown, the latest first."""


class MonthBody(ResponseBody, frozen=True, kw_only=True):
    """How long the line was open in a month of the unit's time zone; this month until now."""

    month: Annotated[str, Meta(description="As 2026-11.", pattern=r"^\d{4}-\d{2}$")]
    uptime: Annotated[
        float | None,
        Meta(description="The part of the time in which somebody wanted the line that it was open; null: nobody did."),
    ]
    connected_seconds: float
    out_seconds: Annotated[float, Meta(description="Wanted, and not open: also while it connects or waits for a scan.")]
    off_seconds: Annotated[float, Meta(description="Nobody wanted it.")]
    unknown_seconds: Annotated[float, Meta(description="Before the first change that is known.")]
    falls: Annotated[int, Meta(description="How often an open line was lost, and nobody had asked for that.")]


class UptimeBody(ResponseBody, frozen=True):
    """The months, the latest first."""

    time_zone: str
    months: Sequence[MonthBody]


_HISTORY = RouteDoc(
    "What the line has shown since when, why, for how long, and how it ended",
    {200: LineHistoryPage},
    query=PAGED,
    detail="Written in the transaction of what caused the change, and kept for 400 days. While Zapline itself does not "
    "run, the last thing that was known stands.",
)
_MONTHS = QueryParameter(
    "months", Annotated[int, Meta(ge=1, le=MOST_MONTHS)], "How many, with this one; 12 unless told."
)
_UPTIME = RouteDoc("How long the line was open, month by month", {200: UptimeBody}, query=(_MONTHS,))
_UPTIME_CSV = RouteDoc("The same as CSV", {200: "text/csv"}, query=(_MONTHS,))


class LineHistoryRoutes:
    """``/units/{unit}/line-history``, ``.../uptime`` and ``.../uptime.csv``."""

    def __init__(self, commands: UnitCommands, pool: Pool, clock: Callable[[], float] = time.time) -> None:
        self._commands = commands
        self._pool = pool
        self._clock = clock

    def attach(self, routes: RouteTable) -> None:
        unit = "/units/<uuid:unit>"
        routes.add("GET", f"{unit}/line-history", "list_line_history", self.history, Access.READ, _HISTORY)
        routes.add("GET", f"{unit}/uptime", "get_uptime", self.uptime, Access.READ, _UPTIME)
        routes.add("GET", f"{unit}/uptime.csv", "export_uptime", self.uptime_csv, Access.READ, _UPTIME_CSV)

    async def history(self, unit: UUID) -> Response:
        limit, after = page_query(_InHistory)
        id = self._commands.find(UnitId(unit)).id
        before = after.number if after is not None else None
        rows = await line_history.list_periods(self._pool, id, before, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda period: _InHistory(period.change.number))
        now = self._clock()
        return json_response(LineHistoryPage([_period_body(period, now) for period in page], next_cursor))

    async def uptime(self, unit: UUID) -> Response:
        found = self._commands.find(UnitId(unit))
        months = await self._months(found)
        body = UptimeBody(found.record.time_zone, [_month_body(span, each) for span, each in reversed(months)])
        return json_response(body)

    async def uptime_csv(self, unit: UUID) -> Response:
        found = self._commands.find(UnitId(unit))
        return csv_response(f"uptime-{found.id}.csv", csv_rows(found, await self._months(found)))

    async def _months(self, unit: Unit) -> list[tuple[Span, Uptime]]:
        spans = last_months(query_int("months", 12, 1, MOST_MONTHS), self._clock(), ZoneInfo(unit.record.time_zone))
        return uptimes(await line_history.list_changes_since(self._pool, unit.id, spans[0].start), spans)


def uptimes(changes: Sequence[LineChange], spans: Sequence[Span]) -> list[tuple[Span, Uptime]]:
    """How long a line was open in each of these, which follow each other."""
    return list(zip(spans, history.uptimes(changes, spans), strict=True))


def csv_rows(unit: Unit, months: Iterable[tuple[Span, Uptime]]) -> list[list[str]]:
    """A unit's months as lines of ``CSV_COLUMNS``; hours with a decimal point, in every language."""
    return [
        [
            str(unit.id),
            unit.record.name,
            month_name(span),
            f"{each.share:.5f}" if each.share is not None else "",
            *(f"{seconds / 3600:.2f}" for seconds in (each.connected, each.out, each.off, each.unknown)),
            str(each.falls),
        ]
        for span, each in months
    ]


def csv_response(file_name: str, rows: Iterable[Sequence[str]]) -> Response:
    """A download of these lines below the names of the columns."""
    response = Response(csv_bytes([CSV_COLUMNS, *rows]), 200, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response


def month_name(span: Span) -> str:
    """A month as 2026-11."""
    return f"{span.first:%Y-%m}"


def _month_body(span: Span, each: Uptime) -> MonthBody:
    return MonthBody(
        month=month_name(span),
        uptime=each.share,
        connected_seconds=round(each.connected, 3),
        out_seconds=round(each.out, 3),
        off_seconds=round(each.off, 3),
        unknown_seconds=round(each.unknown, 3),
        falls=each.falls,
    )


def _period_body(period: LinePeriod, now: float) -> PeriodBody:
    change, ended = period.change, period.ended
    return PeriodBody(
        at=iso(change.at),
        status=change.status,
        reason=change.reason,
        phase=change.phase,
        sentence=EXPLANATIONS[change.reason].sentence,
        seconds=round(period.seconds(now), 3),
        ended=EndedBody(iso(ended.at), ended.status, ended.reason) if ended is not None else None,
    )
