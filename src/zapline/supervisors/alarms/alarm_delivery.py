"""Delivers notices: at least once under the same id, tried again with growing pauses, each destination by itself."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
import trio

from zapline.domain.alarms.destinations import GIVE_UP_AFTER, retry_delay
from zapline.domain.errors import RemoteError
from zapline.sql.health import alarms
from zapline.sql.health.alarms import DeliveryTotals, Destination, Notice
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.alarms.alarm_keeper import AlarmKeeper
from zapline.supervisors.alarms.channels import Channels, NotTold, Telling
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.alarm_checks import NO_ALARMS, AlarmReport

_BATCH = 100
_IDLE = 600.0
"""Seconds between two looks for due notices where none is known to wait."""
_LEAST = 1.0
_RETRY = 5.0
"""Seconds after the database did not serve a query."""
_KEEP = 90 * 86_400.0
"""Seconds for which closed incidents can be read."""
_LOG = structlog.get_logger(scope="Alarms")


@dataclass(slots=True)
class _MemoryTry:
    """A notice that the database does not hold yet: when it is tried again, and how often it was (monotonic)."""

    due: float = float("-inf")
    failures: int = 0


class AlarmDelivery:
    """One for the process. ``unseal`` opens a destination's address; None: it is of another master key."""

    def __init__(
        self,
        pool: Pool,
        keeper: AlarmKeeper,
        channels: Channels,
        unseal: Callable[[Destination], str | None],
        counters: Counters,
        clock: Callable[[], float],
        clocks_agree: Callable[[], bool] = lambda: True,
        draw_spread: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._keeper = keeper
        self._channels = channels
        self._unseal = unseal
        self._counters = counters
        self._clock = clock
        self._clocks_agree = clocks_agree
        self._draw_spread = draw_spread
        self._wake_event = trio.Event()
        self._memory: dict[UUID, _MemoryTry] = {}
        self._reasons: dict[UUID, str] = {}
        self._totals = DeliveryTotals()
        self._busy: set[UUID] = set()
        """Destinations to which something is being delivered."""
        keeper.set_on_said(self.wake)

    def wake(self) -> None:
        """Look for due notices soon."""
        self._wake_event.set()

    def report(self) -> AlarmReport:
        """How the deliveries stand, for the health report."""
        totals = self._totals
        if not self._keeper.destinations:
            return NO_ALARMS
        waits = max(0.0, self._clock() - totals.oldest) if totals.oldest is not None else 0.0
        known = {to.id: to for to in self._keeper.destinations}
        reasons = (f"{known[id].shown}: {code}" for id, code in self._reasons.items() if id in known)
        return AlarmReport(waits, totals.failing, totals.given_up, tuple(reasons))

    async def run(self) -> None:
        """Deliver until cancelled; a database that is away puts nothing off that it does not hold."""
        async with trio.open_nursery() as nursery:
            while True:
                self._wake_event = trio.Event()
                try:
                    pause = await self.start_due(nursery)
                    await self.count()
                except RemoteError as away:
                    _LOG.debug("Notices must wait", error=str(away))
                    pause = _RETRY
                with trio.move_on_after(pause):
                    await self._wake_event.wait()

    async def start_due(self, nursery: trio.Nursery) -> float:
        """Start to deliver what is due, except to whom something is being delivered; ``wake`` is called once it ends.

        Returns the seconds until the next look. Raises RemoteError.
        """
        if not self._keeper.acts or not self._keeper.destinations:
            return _IDLE
        if not self._keeper.leads:
            return self._start_memory(nursery)
        self._memory.clear()
        async with self._pool.connection() as conn:
            due = await alarms.list_due(conn, self._clock(), frozenset(self._busy), _BATCH)
        self._start(nursery, due, self._deliver_stored)
        async with self._pool.connection() as conn:
            next_due = await alarms.find_next_due(conn, self._busy)
        return _IDLE if next_due is None else min(_IDLE, max(_LEAST, next_due - self._clock()))

    async def count(self) -> None:
        """See how the deliveries stand, and forget what was long ago, where this process leads. Raises RemoteError."""
        if not (self._keeper.acts and self._keeper.leads and self._keeper.destinations):
            return
        async with self._pool.connection() as conn:
            self._totals = await alarms.count_deliveries(conn, self._clock())
            if self._clocks_agree():
                await alarms.prune_incidents(conn, self._clock() - _KEEP, _BATCH)

    def _start(
        self,
        nursery: trio.Nursery,
        due: Sequence[Notice],
        deliver: Callable[[Notice, Destination], Awaitable[None]],
    ) -> None:
        """Each destination's notices one after the other, each destination by itself: one may hang."""
        known = {to.id: to for to in self._keeper.destinations}

        async def one_by_one(to: Destination) -> None:
            try:
                for notice in due:
                    if notice.destination_id == to.id:
                        await deliver(notice, to)
            finally:
                self._busy.discard(to.id)
                self.wake()

        for id in {notice.destination_id for notice in due} & known.keys():
            self._busy.add(id)
            nursery.start_soon(one_by_one, known[id])

    async def _deliver_stored(self, notice: Notice, to: Destination) -> None:
        code = await self._try(notice, to)
        now = self._clock()
        try:
            async with self._pool.connection() as conn:
                await alarms.note_try(conn, to.id, now, code)
                if code is None:
                    await alarms.end_notice(conn, notice.id, "delivered", now)
                elif now - notice.created_at > GIVE_UP_AFTER:
                    await alarms.end_notice(conn, notice.id, "given_up", now, code)
                else:
                    due_at = now + retry_delay(notice.attempts + 1, self._draw_spread())
                    await alarms.retry_notice(conn, notice.id, due_at, code)
        except RemoteError as away:
            _LOG.warning("It is not stored how a notice was delivered; it may be told again", error=str(away))
            await trio.sleep(_RETRY)  # it is still due: its destination counts as busy until then

    def _start_memory(self, nursery: trio.Nursery) -> float:
        """Start to deliver what was said since the database is away, of each incident the newest."""
        now, pause, due = trio.current_time(), _IDLE, list[Notice]()
        newest = {unsaved.saying.incident.id: unsaved for unsaved in self._keeper.unsaved}
        for unsaved in newest.values():
            for notice in unsaved.notices:
                tried = self._memory.setdefault(notice.id, _MemoryTry())
                if notice.id in unsaved.told or notice.destination_id in self._busy:
                    continue
                if tried.due > now:
                    pause = min(pause, tried.due - now)
                else:
                    due.append(notice)

        async def deliver(notice: Notice, to: Destination) -> None:
            tried = self._memory.setdefault(notice.id, _MemoryTry())
            if await self._try(notice, to) is None:
                newest[notice.incident.id].told.add(notice.id)
            else:
                tried.failures += 1
                tried.due = trio.current_time() + retry_delay(tried.failures, self._draw_spread())

        self._start(nursery, due, deliver)
        return pause

    async def _try(self, notice: Notice, to: Destination) -> str | None:
        """Tell it once; why that failed, None: it is told."""
        code = None
        target = self._unseal(to)
        if target is None:
            code = "address_unreadable"
        else:
            telling = Telling(notice.id, notice.kind, notice.incident, notice.created_at)
            try:
                await self._channels.tell(to, target, telling)
            except NotTold as failure:
                code = failure.code
            except RemoteError:
                code = "database_unavailable"
        if code is None:
            self._reasons.pop(to.id, None)
        else:
            self._reasons[to.id] = code
        self._counters.add("alarm_notices", "told" if code is None else "failed")
        _LOG.info("A notice is {outcome}", outcome=code or "told", kind=notice.kind.value, to=to.shown)
        return code
