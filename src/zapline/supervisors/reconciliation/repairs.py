"""Counts the messages that reconciliation restored for one line, and reports those that no known gap explains."""

from uuid import UUID

import structlog

from zapline.domain.ids import UnitId
from zapline.domain.reconciliation_windows import explained_by_gap, past_webhook_horizon
from zapline.sql.outbound import reconciliation
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.counters import Counters

_MAX_UNDECIDED = 2000
"""Recent messages whose webhooks may only be late; there are few."""
_LOG = structlog.get_logger(scope="Reconciler")


class RepairCounter:
    """Counter of one line. A repair is a message whose webhook did not come within Evolution's retry horizon.

    A message read back sooner is counted once the horizon is over, if its webhook has still not come.
    """

    __slots__ = ("_counters", "_last_seq", "_undecided", "_unit")

    def __init__(self, unit: UnitId, counters: Counters) -> None:
        self._unit = unit
        self._counters = counters
        self._last_seq: int | None = None
        self._undecided: dict[UUID, tuple[float, bool]] = {}
        """Message id -> when it was sent, and whether a known gap explains it."""

    def begin(self, last_seq: int) -> None:
        """Ignore what was stored before the first run. After a restore from a backup ``last_seq`` is lower."""
        if self._last_seq is None or last_seq < self._last_seq:
            self._last_seq = last_seq

    async def count(self, conn: Connection, gap_since: float | None, now: float) -> int:
        """Count the messages stored since the last call; return how many are new. Raises RemoteError.

        ``gap_since``: start of the known gap; ``now``: UTC seconds.
        """
        new = await reconciliation.list_backfilled_after(conn, self._unit, self._last_seq or 0)
        known = unexplained = 0
        for message in new:
            self._last_seq = message.seq
            in_gap = explained_by_gap(message.sent_at, gap_since)
            if not past_webhook_horizon(message.sent_at, message.received_at):
                if len(self._undecided) < _MAX_UNDECIDED:
                    self._undecided[message.id] = (message.sent_at, in_gap)
            elif in_gap:
                known += 1
            else:
                unexplained += 1
        due = [id for id, (sent_at, _) in self._undecided.items() if past_webhook_horizon(sent_at, now)]
        if due:
            still_missing = await reconciliation.find_still_backfilled(conn, due)
            for id in due:
                _, in_gap = self._undecided.pop(id)
                known += id in still_missing and in_gap
                unexplained += id in still_missing and not in_gap
        self._report(known, unexplained)
        return len(new)

    def _report(self, known: int, unexplained: int) -> None:
        if known:
            self._counters.add("repairs", "known_gap", known)
        if unexplained:
            self._counters.add("repairs", "unexplained", unexplained)
            self._counters.add("repairs_unexplained", amount=unexplained)
            _LOG.error(
                "Messages were missing and no gap is known that explains it; they were read back from Evolution",
                unit=str(self._unit),
                count=unexplained,
            )
