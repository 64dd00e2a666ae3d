"""Numbers that many pages show at once, read from the database once for all of them and kept for moments."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar

import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.http.console.framework.sparkline import Chart, draw_chart
from zapline.sql.health import health_samples
from zapline.sql.health.health_samples import Step
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import unit_totals
from zapline.sql.units.unit_totals import UnitTotals

T = TypeVar("T")
_TOTALS_FOR = 2.0
"""Seconds for which the totals of all units are good: a thousand units cost the database some 50 ms."""
_HISTORY_FOR = 30.0
_WITHIN = 1.5
"""Seconds for such a reading: a page is not to wait for a database that is away."""
DAY = 86400.0
STEP = 600.0
"""Seconds of one step of a day's chart: 144 of them, as wide as a phone."""
CHART_LIMITS: Mapping[str, float] = {"webhookErrorRate": 0.001, "dedupeRate": 0.02}
"""Thresholds that can be drawn; of the other two rates it is zero."""


async def read_if_available(read: Callable[[], Awaitable[T]]) -> T | None:
    """What is read, or None where the database is away or slow: the rest of the page comes from memory."""
    with trio.move_on_after(_WITHIN), suppress(RemoteError):
        return await read()
    return None


class TotalsCache:
    """What every unit has to do. While the database is away, what was last known, or nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: Mapping[UnitId, UnitTotals] = {}
        self._read_at = float("-inf")
        self._reading = trio.Lock()
        self.away = False
        """Whether the last reading failed: the numbers are old, then."""

    @property
    def latest(self) -> Mapping[UnitId, UnitTotals]:
        """What was read last, without asking."""
        return self._known

    async def all(self) -> Mapping[UnitId, UnitTotals]:
        async with self._reading:
            if trio.current_time() - self._read_at >= _TOTALS_FOR:
                found = await read_if_available(lambda: unit_totals.all_totals(self._pool))
                self._known = self._known if found is None else found
                self.away = found is None
                self._read_at = trio.current_time()
        return self._known

    async def anew(self) -> None:
        """Read them now: somebody has changed what they tell, and is about to look at them."""
        self._read_at = float("-inf")
        await self.all()


class RateHistory:
    """How the health's rates were in the last day."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: list[Step] = []
        self._read_at = float("-inf")
        self._reading = trio.Lock()

    async def charts(self) -> dict[str, Chart]:
        """A chart for each rate, by its name in the health report. While the database is away: what was last known."""
        async with self._reading:
            if trio.current_time() - self._read_at >= _HISTORY_FOR:
                found = await read_if_available(lambda: health_samples.worst(self._pool, DAY, STEP))
                self._known = self._known if found is None else found
                self._read_at = trio.current_time()
        now = time.time()
        return {
            name: draw_chart([(step.at, step.rates[name]) for step in self._known], now - DAY, now, STEP, CHART_LIMITS.get(name))
            for name in health_samples.COLUMNS
        }
