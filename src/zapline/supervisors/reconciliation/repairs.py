"""Counts what reconciliation brought back of one line, and tells when nothing explains why it was missing."""

import time
from uuid import UUID

import structlog

from zapline.domain.ids import UnitId
from zapline.domain.reconciliation_windows import explained, past_horizon
from zapline.sql.outbound import reconciliation
from zapline.sql.postgres.connection import Connection
from zapline.supervisors.counters import Counters

_YOUNG_BOUND = 2000
"""Messages that are judged later: those whose webhooks are a little late, which are few."""
_LOG = structlog.get_logger(scope="Reconciler")


class Repairs:
    """Of one line. A repair is a message that no webhook told of within Evolution's own retry horizon.

    What was read sooner is judged once the horizon is over: its webhook may still have come.
    """

    __slots__ = ("_counters", "_mark", "_unit", "_young")

    def __init__(self, unit: UnitId, counters: Counters) -> None:
        self._unit = unit
        self._counters = counters
        self._mark: int | None = None
        self._young: dict[UUID, tuple[float, bool]] = {}
        """When it was sent, and whether a known gap explains it."""

    def begin(self, last_seq: int) -> None:
        """What came before this process looked first is not counted. A database may have been set back."""
        if self._mark is None or last_seq < self._mark:
            self._mark = last_seq

    async def count(self, conn: Connection, gap_since: float | None) -> int:
        """Look at what came since the last look; how many messages are new. Raises RemoteError.

        ``gap_since``: from when on a gap is known.
        """
        new = await reconciliation.stored_anew(conn, self._unit, self._mark or 0)
        known = strange = 0
        for message in new:
            self._mark = message.seq
            fits = explained(message.sent_at, gap_since)
            if not past_horizon(message.sent_at, message.received_at):
                if len(self._young) < _YOUNG_BOUND:
                    self._young[message.id] = (message.sent_at, fits)
            elif fits:
                known += 1
            else:
                strange += 1
        now = time.time()
        ripe = [id for id, (sent_at, _) in self._young.items() if past_horizon(sent_at, now)]
        if ripe:
            untold = await reconciliation.still_untold(conn, ripe)
            for id in ripe:
                _, fits = self._young.pop(id)
                known += id in untold and fits
                strange += id in untold and not fits
        self._tell(known, strange)
        return len(new)

    def _tell(self, known: int, strange: int) -> None:
        if known:
            self._counters.add("repairs", "known_gap", known)
        if strange:
            self._counters.add("repairs", "unexplained", strange)
            self._counters.add("repairs_unexplained", amount=strange)
            _LOG.error(
                "Messages were missing and no gap is known that explains it; they were read back from Evolution",
                unit=str(self._unit),
                count=strange,
            )
