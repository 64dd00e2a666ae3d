"""Caches the units' totals and the history of the rates for a few seconds, so that many pages share one query."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.http.console.framework.sparkline import Chart, draw_chart
from zapline.sql.health import health_samples
from zapline.sql.health.health_samples import RateSample
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.row_level_security import unlimited
from zapline.sql.units import unit_totals
from zapline.sql.units.unit_totals import UnitTotals

T = TypeVar("T")
_TOTALS_TTL = 2.0
"""Seconds; the totals of a thousand units take the database some 50 ms."""
_HISTORY_TTL = 30.0
_READ_TIMEOUT = 1.5
"""Seconds; a page must not wait for a database that is unavailable."""
DAY = 86400.0
STEP = 600.0
"""Seconds of one step of a day's chart: 144 steps fit the width of a phone."""
CHART_LIMITS: Mapping[str, float] = {"webhookErrorRate": 0.001, "dedupeRate": 0.02}
"""Thresholds to draw; the other two rates have the threshold zero."""


async def read_if_available(read: Callable[[], Awaitable[T]]) -> T | None:
    """The result of ``read``, or None if the database is unavailable or slow: the rest of the page is in memory."""
    with trio.move_on_after(_READ_TIMEOUT), suppress(RemoteError):
        return await read()
    return None


class _Cache(Generic[T]):
    """A value that is read again after ``seconds``; the last known one while the database is unavailable."""

    def __init__(self, load: Callable[[], Awaitable[T]], seconds: float, latest: T) -> None:
        self._load = load
        self._seconds = seconds
        self._read_at = float("-inf")
        self._reading = trio.Lock()
        self.latest = latest
        """The cached value, without a query."""
        self.database_away = False
        """Whether the last query failed, so that the value is old."""

    async def read(self) -> T:
        async with self._reading:
            if trio.current_time() - self._read_at >= self._seconds:
                with unlimited():  # whoever comes next may see more than who asks now
                    fresh = await read_if_available(self._load)
                self.latest = self.latest if fresh is None else fresh
                self.database_away = fresh is None
                self._read_at = trio.current_time()
        return self.latest

    async def refresh(self) -> None:
        """Query now, after a change whose effect the next page shows."""
        self._read_at = float("-inf")
        await self.read()


class TotalsCache(_Cache[Mapping[UnitId, UnitTotals]]):
    """The totals of every unit; the last known ones, or none, while the database is unavailable."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(lambda: unit_totals.load_all_totals(pool), _TOTALS_TTL, {})


Spans = Sequence[tuple[float, float | None]]
"""When incidents began and ended, in UTC seconds; None: it goes on."""


async def _no_incidents() -> Spans:
    return ()


class RateHistory(_Cache[tuple[list[RateSample], Spans]]):
    """The health rates of the last day, and the incidents that were told in it."""

    def __init__(self, pool: Pool, incidents: Callable[[], Awaitable[Spans]] = _no_incidents) -> None:
        async def load() -> tuple[list[RateSample], Spans]:
            return await health_samples.list_highest_rates(pool, DAY, STEP), await incidents()

        super().__init__(load, _HISTORY_TTL, ([], ()))

    async def charts(self) -> dict[str, Chart]:
        """A chart for each rate, by its name in the health report; an old one while the database is unavailable."""
        (steps, incidents), now = await self.read(), time.time()
        return {
            name: draw_chart(
                [(step.at, step.rates[name]) for step in steps],
                now - DAY,
                now,
                STEP,
                CHART_LIMITS.get(name),
                incidents,
            )
            for name in health_samples.COLUMNS
        }
