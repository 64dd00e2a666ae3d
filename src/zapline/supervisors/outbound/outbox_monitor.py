"""Watches the outbox as a whole: counts what is at work, uncertain, dead and stalled, and marks what has stalled."""

import time
from collections import Counter
from dataclasses import dataclass, field

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.sql.outbound import claims
from zapline.sql.outbound.outbox import prune_uploads
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters

_COUNT_EVERY = 5.0
_STALL_EVERY = 30.0
_STALL_WINDOW = 2 * 86_400.0
"""Seconds: what has been silent for longer was marked long ago, or was sent before stalled ones were marked."""
_PRUNE_EVERY = 3600.0
_LOG = structlog.get_logger(scope="Outbox")


@dataclass(frozen=True, slots=True)
class OutboxTotals:
    """Messages by (state, lane): queued, leased, uncertain; dead of the last day; stalled now. Ages in seconds."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest_reply: float = 0.0
    """Since when the oldest reply waits to be sent."""

    def of(self, state: str) -> int:
        return sum(count for (known, _), count in self.counts.items() if known == state)


class OutboxWatch:
    """One for the process. ``totals`` is what was counted last; None while the database has not been asked."""

    def __init__(self, pool: Pool, counters: Counters, stalled_after: float) -> None:
        self._pool = pool
        self._counters = counters
        self._stalled_after = stalled_after
        self.totals: OutboxTotals | None = None

    async def run(self) -> None:
        """Watch until cancelled. A database that is away is asked again with the next round."""
        stall_at = prune_at = trio.current_time()
        while True:
            try:
                async with self._pool.connection() as conn:
                    now = trio.current_time()
                    if now >= stall_at:
                        stall_at = now + _STALL_EVERY
                        wall = time.time()
                        before = wall - self._stalled_after
                        stalled = await claims.mark_stalled(conn, before, wall - _STALL_WINDOW, wall)
                        self._tell(Counter(str(row.unit_id) for row in stalled))
                    if now >= prune_at:
                        prune_at = now + _PRUNE_EVERY
                        await prune_uploads(conn)
                    self._count(await claims.totals(conn))
            except RemoteError as away:
                _LOG.info("The outbox could not be counted", error=str(away))
            await trio.sleep(_COUNT_EVERY)

    def _tell(self, stalled: Counter[str]) -> None:
        for unit, count in stalled.items():
            self._counters.add("stalled", amount=count)
            _LOG.warning("Messages that Evolution took are not confirmed by anybody", unit=unit, count=count)

    def _count(self, rows: list[tuple[str, str, int, float | None]]) -> None:
        counts: dict[tuple[str, str], int] = {}
        oldest = None
        for state, lane, messages, since in rows:
            counts[state, lane] = messages
            if state == "queued" and lane == "reply":
                oldest = since
        self.totals = OutboxTotals(counts, max(0.0, time.time() - oldest) if oldest is not None else 0.0)
