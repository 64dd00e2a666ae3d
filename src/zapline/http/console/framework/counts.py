"""Caches the units' totals and the history of the rates for a few seconds, so that many pages share one query."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar

import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.http.console.framework.sparkline import Chart, draw_chart
from zapline.sql.health import health_samples
from zapline.sql.health.health_samples import RateSample
from zapline.sql.postgres.pool import Pool
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


class TotalsCache:
    """The totals of every unit; the last known ones, or none, while the database is unavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cached: Mapping[UnitId, UnitTotals] = {}
        self._read_at = float("-inf")
        self._reading = trio.Lock()
        self.database_away = False
        """Whether the last query failed, so that the totals are old."""

    @property
    def latest(self) -> Mapping[UnitId, UnitTotals]:
        """The cached totals, without a query."""
        return self._cached

    async def read(self) -> Mapping[UnitId, UnitTotals]:
        async with self._reading:
            if trio.current_time() - self._read_at >= _TOTALS_TTL:
                fresh = await read_if_available(lambda: unit_totals.load_all_totals(self._pool))
                self._cached = self._cached if fresh is None else fresh
                self.database_away = fresh is None
                self._read_at = trio.current_time()
        return self._cached

    async def refresh(self) -> None:
        """Query now, after a change whose effect the next page shows."""
        self._read_at = float("-inf")
        await self.read()


class RateHistory:
    """The health rates of the last day."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._cached: list[RateSample] = []
        self._read_at = float("-inf")
        self._reading = trio.Lock()

    async def charts(self) -> dict[str, Chart]:
        """A chart for each rate, by its name in the health report; an old one while the database is unavailable."""
        async with self._reading:
            if trio.current_time() - self._read_at >= _HISTORY_TTL:
                fresh = await read_if_available(lambda: health_samples.list_highest_rates(self._pool, DAY, STEP))
                self._cached = self._cached if fresh is None else fresh
                self._read_at = trio.current_time()
        now = time.time()
        return {
            name: draw_chart(
                [(step.at, step.rates[name]) for step in self._cached], now - DAY, now, STEP, CHART_LIMITS.get(name)
            )
            for name in health_samples.COLUMNS
        }
