"""Accepts a webhook of a known unit: on disk before the answer; else through PostgreSQL, else counted as lost."""

import time
from collections.abc import Sequence

import structlog
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq
from zapline.evolution.webhooks.envelope import strip_secrets
from zapline.evolution.webhooks.history_splitting import cut_history
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.journal_entries import TOO_LARGE
from zapline.supervisors.inbound.mailbox import Direct
from zapline.supervisors.inbound.unit_state import Unit

APPEND_WITHIN = 8.0
"""Seconds for one fsync: a disk that hangs longer is as good as one that refuses."""
HOLD_UP = 20.0
"""Seconds an answer waits for PostgreSQL where the journal refuses: Evolution gives up after 30."""
_LARGE = 256 * 1024
"""Bytes from which a body is cleaned and cut in a thread, so that the loop serves others meanwhile."""
_LOG = structlog.get_logger(scope="Intake")


class Intake:
    """One for the process. Knows nothing of HTTP."""

    def __init__(self, journal: Journal, counters: Counters, hold_up: float = HOLD_UP) -> None:
        self._journal = journal
        self._counters = counters
        self._hold_up = hold_up
        self._cleaning = trio.CapacityLimiter(1)

    async def accept(self, unit: Unit, event: str, body: bytes, received_at: float | None = None) -> bool:
        """Make a webhook durable; True unless it is lost. Returns within the hold-up in the worst case.

        ``received_at`` (UTC seconds) is given for a body that came earlier.
        """
        received_at = received_at if received_at is not None else time.time()
        if len(body) > _LARGE:
            parts = await trio.to_thread.run_sync(_cleaned, event, body, limiter=self._cleaning)
        else:
            parts = _cleaned(event, body)
        arrivals = [Arrival(unit.id, event, received_at, part) for part in parts]
        return await self._make_durable(unit, arrivals)

    async def keep(self, unit: Unit, event: str, body: bytes) -> bool:
        """Make an entry of our own durable; it goes the way of the webhooks. False: the caller tries again."""
        return await self._make_durable(unit, [Arrival(unit.id, event, time.time(), body)], repeated=True)

    async def accept_too_large(self, unit: Unit, size: int) -> bool:
        """Remember that a body over the limit came."""
        return await self._make_durable(unit, [Arrival(unit.id, TOO_LARGE, time.time(), b"%d" % size)])

    async def _make_durable(self, unit: Unit, arrivals: Sequence[Arrival], *, repeated: bool = False) -> bool:
        try:
            with trio.move_on_after(APPEND_WITHIN):
                await self._journal.append_many(arrivals)
                return True
            why = "no answer from the disk"
        except JournalRefused as refused:
            why = str(refused)
        self._counters.add("journal_refused")
        _LOG.error("The journal refused a webhook; it goes to PostgreSQL directly", error=why)
        stored = await self._through_database(unit, arrivals)
        if stored < len(arrivals) and not repeated:
            self._tell_lost(unit, arrivals, len(arrivals) - stored)
        return stored == len(arrivals)

    async def _through_database(self, unit: Unit, arrivals: Sequence[Arrival]) -> int:
        """How many were stored before the hold-up was over."""
        directs = [Direct(_entry(arrival)) for arrival in arrivals]
        with trio.move_on_after(self._hold_up):
            if unit.state is not None and unit.quarantined_at is None:
                for direct in directs:
                    await unit.mailbox.put_direct(direct)
                    await direct.recorded.wait()
        for direct in directs:
            if not direct.stored:
                unit.mailbox.withdraw(direct)  # what is counted as lost must not be kept, nor stored later
        return sum(1 for direct in directs if direct.stored)

    def _tell_lost(self, unit: Unit, arrivals: Sequence[Arrival], lost: int) -> None:
        self._counters.add("lost", amount=lost)
        unit.gap_since = min(unit.gap_since or arrivals[0].received_at, arrivals[0].received_at)
        _LOG.critical(
            "A webhook is lost: neither the journal nor PostgreSQL took it",
            unit=str(unit.id),
            webhook_event=arrivals[0].event,
        )


def _cleaned(event: str, body: bytes) -> list[bytes]:
    return cut_history(event, strip_secrets(body))


def _entry(arrival: Arrival) -> Entry:
    return Entry(Seq(0), arrival.unit_id, arrival.event, arrival.received_at, arrival.body)
