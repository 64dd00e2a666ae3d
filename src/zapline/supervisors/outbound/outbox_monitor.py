"""Counts the messages of the outbox by state, marks stalled ones, and deletes unused uploads."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.inbound.echo_matching import prune_shown_echoes
from zapline.sql.outbound import outbox_monitoring
from zapline.sql.outbound.uploads import prune_uploads
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.outbound.submission import DEFAULT_EXPIRY

MAX_REPLY_WAIT = 120.0
"""Seconds that a reply may wait; a line that is not connected is reported by itself."""
_COUNT_EVERY = 5.0
_STALL_EVERY = 30.0
_STALL_WINDOW = 2 * 86_400.0
"""Seconds: older messages were marked before, or were sent before Zapline marked any."""
_LONGEST_WAIT = 2 * 3600.0
"""Seconds: no message that was tried waits so long for its next try (``send_outcomes``)."""
_LONGEST_LOOK = 600.0
"""Seconds: no uncertain message waits so long for its next look (``uncertain_send_lookup``)."""
_PRUNE_EVERY = 3600.0
_LOG = structlog.get_logger(scope="Outbox")


@dataclass(frozen=True, slots=True)
class OutboxTotals:
    """Messages by (state, lane): queued, leased, uncertain; dead of the last day; stalled now. Ages in seconds."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    oldest_reply: float = 0.0
    """Age of the oldest reply that waits to be sent."""
    causes: Mapping[str, tuple[UnitId, ...]] = field(default_factory=dict)
    """Units by state: ``late`` (replies over ``MAX_REPLY_WAIT``), ``waits_for_person``, ``stalled``."""

    def count(self, state: str) -> int:
        return sum(count for (counted, _), count in self.counts.items() if counted == state)


class OutboxMonitor:
    """One for the process. ``totals`` is the last count; None before the first one."""

    def __init__(
        self,
        pool: Pool,
        counters: Counters,
        stalled_after: float,
        clock: Callable[[], float] = time.time,
        clocks_agree: Callable[[], bool] = lambda: True,
        expiry: float = DEFAULT_EXPIRY,
    ) -> None:
        """``expiry``: seconds after which a message expires that was asked for while nobody knew the time."""
        self._expiry = expiry
        self._clocks_agree = clocks_agree
        self._pool = pool
        self._counters = counters
        self._stalled_after = stalled_after
        self._clock = clock
        self.totals: OutboxTotals | None = None

    async def run(self) -> None:
        """Count until cancelled; if the database is away, the next round tries again."""
        stall_at = prune_at = trio.current_time()
        while True:
            try:
                async with self._pool.connection() as conn:
                    now = trio.current_time()
                    if now >= stall_at:
                        stall_at = now + _STALL_EVERY
                        wall = self._clock()
                        before = wall - self._stalled_after
                        stalled = await outbox_monitoring.mark_stalled(conn, before, wall - _STALL_WINDOW, wall)
                        self._report_stalled(Counter(str(row.unit_id) for row in stalled))
                        if self._clocks_agree():
                            waits = (_LONGEST_WAIT, _LONGEST_LOOK)
                            self._report_misdated(await outbox_monitoring.release_misdated(conn, wall, *waits))
                            await outbox_monitoring.date_expiries(conn, wall, self._expiry)
                    if now >= prune_at and self._clocks_agree():  # by a wrong clock nothing is too old
                        prune_at = now + _PRUNE_EVERY
                        await prune_uploads(conn)
                        await prune_shown_echoes(conn)
                    counted = await outbox_monitoring.count_outbox(conn)
                    self._update_totals(counted, await outbox_monitoring.list_causes(conn, MAX_REPLY_WAIT))
            except RemoteError as away:
                _LOG.info("The outbox could not be counted", error=str(away))
            await trio.sleep(_COUNT_EVERY)

    def _report_stalled(self, stalled: Counter[str]) -> None:
        for unit, count in stalled.items():
            self._counters.add("stalled", amount=count)
            _LOG.warning("Messages that Evolution took are not confirmed by anybody", unit=unit, count=count)

    def _report_misdated(self, count: int) -> None:
        if count:
            self._counters.add("misdated", amount=count)
            _LOG.warning("Messages were to wait for a time that a wrong clock had told; they are due now", count=count)

    def _update_totals(
        self, rows: list[tuple[str, str, int, float | None]], causes: Mapping[str, tuple[UnitId, ...]]
    ) -> None:
        counts: dict[tuple[str, str], int] = {}
        oldest = None
        for state, lane, messages, since in rows:
            counts[state, lane] = messages
            if state == "queued" and lane == "reply":
                oldest = since
        waited = max(0.0, self._clock() - oldest) if oldest is not None else 0.0
        self.totals = OutboxTotals(counts, waited, causes)
