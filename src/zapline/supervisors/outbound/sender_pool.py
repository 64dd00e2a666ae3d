"""Wakes the senders that have work: one due-query for all units, and whoever has something new rings."""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from uuid import UUID

import structlog
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.domain.line.state import Moment
from zapline.domain.messages.events import SendAnswered
from zapline.domain.restart_policy import GiveUp, Intensity
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.outbound import claims
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.keeper import Child, keep
from zapline.supervisors.notifications.event_payloads import unsent_news
from zapline.supervisors.notifications.live_feed import Feed, Kind
from zapline.supervisors.outbound.sender import Sender
from zapline.supervisors.outbound.sender_state import Busy, Desk, Means, SenderStatus
from zapline.supervisors.units.roster import Roster

__all__ = ["Busy", "SenderStatus", "Senders", "SendersStatistics"]

ROUND_EVERY = 5.0
"""Seconds between due-queries where nobody rings: what was inserted without a word waits no longer."""
ROUND_GAP = 0.2
"""Seconds between due-queries at least, however often the bell is rung."""
BY_REQUEST = "paused_by_request"
"""Why a unit that a person has paused sends nothing."""
DOWN = 60.0
"""Seconds for which a sender that crashed too often stays down."""
_LOG = structlog.get_logger(scope="Senders")


@dataclass(frozen=True, slots=True)
class SendersStatistics:
    """Units whose sender runs; those in a call; those whose line rests; those throttled; those that are down."""

    running: int
    calling: int
    paused: int
    throttled: int
    down: int


class Senders:
    """One for the process. ``run`` keeps the senders; everything else may be called from any task, and never waits.

    ``may_write`` returns when this process is the one that may write. ``process`` names it in leases, so it is
    a new one at each start. ``clock`` gives UTC seconds.
    """

    def __init__(
        self,
        pool: Pool,
        intake: Intake,
        roster: Roster,
        may_write: Callable[[], Awaitable[None]],
        client: EvolutionClient,
        counters: Counters,
        intensity: Intensity,
        load_upload: Callable[[UUID], Awaitable[bytes | None]],
        process: UUID,
        clock: Callable[[], float] = time.time,
        feed: Feed | None = None,
    ) -> None:
        self._feed = feed or Feed()
        self._means = Means(pool, intake, roster, may_write, client, counters, load_upload, process, clock)
        self._roster = roster
        self._counters = counters
        self._intensity = intensity
        self._desks: defaultdict[UnitId, Desk] = defaultdict(Desk)  # bounded by the units; the lost ones are dropped
        self._nursery: trio.Nursery | None = None
        self._round_at = -inf
        self._agenda: dict[UnitId, float] = {}
        """When to start which sender without asking the database again; one entry a unit."""
        self._sooner = trio.Event()
        self._failing = False

    # -- telling -----------------------------------------------------------------------------------------------

    def wake(self, unit: UnitId) -> None:
        """The unit has something new to send: look at once."""
        desk = self._desks.get(unit)
        if desk is not None and desk.running:
            desk.bell.set()
        else:
            self._start(unit)

    def ring(self) -> None:
        """Some units may have something new to send: ask which."""
        self._round_at = min(self._round_at, trio.current_time())
        self._sooner.set()

    def answered(self, unit: Unit, answer: SendAnswered) -> None:
        """What became of a call is stored (``ActorContext.answered``)."""
        desk = self._desks.get(unit.id)
        if desk is not None and desk.stored is not None and desk.stored[0] == answer.attempt:
            desk.stored[1].set()

    def opened(self, unit: Unit) -> None:
        """A line has become open (``ActorContext.opened``)."""
        desk = self._desks.get(unit.id)
        if desk is not None:
            desk.line_opened()
        self.wake(unit.id)

    def reload_pace(self, unit: UnitId) -> None:
        """The unit's limits, or its time zone, have changed."""
        desk = self._desks.get(unit)
        if desk is not None:
            desk.forget_pace()
            self.wake(unit)

    def led_anew(self) -> None:
        """This process may write again: others may have sent meanwhile, or the database was set back."""
        for desk in self._desks.values():
            desk.forget_pace()
            desk.resolved = False
            desk.bell.set()
        self.ring()

    # -- asking ------------------------------------------------------------------------------------------------

    def status(self, unit: UnitId) -> SenderStatus:
        desk, known = self._desks.get(unit), self._roster.get(unit)
        found = desk.status(self._means.moment()) if desk is not None else SenderStatus()
        if known is not None and known.record.paused_at is not None and found.state is not Busy.CALLING:
            return replace(found, state=Busy.PAUSED, paused_until=None, reason=BY_REQUEST)
        return found

    def statistics(self) -> SendersStatistics:
        now, desks = trio.current_time(), list(self._desks.values())
        return SendersStatistics(
            running=sum(desk.running for desk in desks),
            calling=sum(desk.running and desk.shown is Busy.CALLING for desk in desks),
            paused=sum(desk.paused_until > now for desk in desks),
            throttled=sum(desk.throttled_until > now for desk in desks),
            down=sum(desk.down_until > now for desk in desks),
        )

    # -- running -----------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the senders until cancelled; after ``drain`` it returns once they have all ended.

        Cancellation cuts calls: their messages become uncertain at the next start. ``drain`` comes before it.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            earliest = trio.current_time()
            while not self._means.stopping:
                await self._means.may_write()
                self._start_those_due()
                if trio.current_time() >= max(self._round_at, earliest):
                    await self._ask_which()
                    earliest = trio.current_time() + ROUND_GAP
                await self._until(min(max(self._round_at, earliest), min(self._agenda.values(), default=inf)))

    async def drain(self, seconds: float) -> None:
        """Make no claim any more; return when each call under way has ended and its answer is durable.

        After ``seconds`` at the latest.
        """
        self._means.stopping = True
        self._round_at = -inf
        self._sooner.set()
        for desk in self._desks.values():
            desk.bell.set()
        with trio.move_on_after(seconds):
            while any(desk.running and desk.in_hand for desk in self._desks.values()):  # noqa: ASYNC110 - of many tasks
                await trio.sleep(0.02)

    async def _until(self, at: float) -> None:
        """Wait until then, or until somebody has something sooner."""
        self._sooner = trio.Event()
        with trio.move_on_at(at):
            await self._sooner.wait()

    def _later(self, unit: UnitId, at: float) -> None:
        """Start the unit's sender at this time (monotonic), unless it is to start earlier."""
        if at < self._agenda.get(unit, inf):
            self._agenda[unit] = at
            self._sooner.set()

    def _start_those_due(self) -> None:
        now = trio.current_time()
        for unit in [unit for unit, at in self._agenda.items() if at <= now]:
            del self._agenda[unit]
            self._start(unit)

    async def _ask_which(self) -> None:
        """One due-query; a database that is away is asked again with the next."""
        self._round_at = trio.current_time() + ROUND_EVERY
        try:
            await self._round()
        except (DatabaseUnavailable, StatementFailed) as away:
            if not self._failing:
                _LOG.warning("The due messages cannot be read", error=str(away))
            self._failing = True
        else:
            self._failing = False

    async def _round(self) -> None:
        """End what is over, and start the senders that have something to do."""
        at = self._means.moment()
        async with self._means.pool.connection() as conn:
            dues = await claims.due_units(conn)
        at = self._means.moment()
        for due in dues:
            begin = self._begin_at(due, at)
            if begin is None:
                continue
            if begin <= at.mono:
                self._start(due.unit)
            elif begin < self._round_at:
                self._later(due.unit, begin)
        async with self._means.pool.connection() as conn:
            for row in await claims.expire_due(conn, at.wall):
                self._counters.add("messages_ended_unsent", row.state)
                unit, news = UnitId(row.unit_id), partial(unsent_news, row.unit_id, row.message_id, row.state)
                self._feed.publish(unit, Kind.DELIVERY, news)
        for id in [id for id, desk in self._desks.items() if not desk.running and self._roster.get(id) is None]:
            del self._desks[id]

    def _begin_at(self, due: claims.Due, at: Moment) -> float | None:
        """When this lane's sender is to begin; None: it runs, or somebody rings when it can."""
        unit, desk = self._roster.get(due.unit), self._desks.get(due.unit)
        if desk is not None and desk.running:
            return None
        if due.leased:
            if desk is not None:
                desk.resolved = False  # nobody is at work on it, so it was left behind
            return max(at.mono, desk.down_until) if desk is not None else at.mono
        if unit is None or unit.state is None or unit.state.stored.phase is not Phase.OPEN or due.due_at is None:
            return None
        if unit.record.paused_at is not None:
            return None
        ready = at.mono + (due.due_at - at.wall)
        if desk is None:
            return ready
        hold = desk.pacer.hold(due.lane, at) if desk.pacer is not None else None
        return max(ready, desk.free_at(at), hold.until if hold is not None else at.mono)

    def _start(self, id: UnitId) -> None:
        unit = self._roster.get(id)
        if unit is None or unit.state is None or unit.record.archived_at is not None or unit.quarantined_at is not None:
            return
        desk = self._desks[id]
        if self._nursery is None or self._means.stopping or desk.running or desk.down_until > trio.current_time():
            return
        desk.running = True
        self._nursery.start_soon(self._keep, unit, desk, name=f"sender {id}")

    async def _keep(self, unit: Unit, desk: Desk) -> None:
        sender = Sender(unit, desk, self._means)
        child = Child(f"sender of {unit.id}", sender.run, sender.after_crash)
        try:
            gave_up = await keep(child, self._intensity, lambda: self._counters.add("sender_crashes"))
        finally:
            # Nothing is awaited since the sender last looked at its bell, so nobody's ring is lost.
            desk.running = False
        if isinstance(gave_up, GiveUp):
            desk.down_until = trio.current_time() + DOWN
            self._later(unit.id, desk.down_until)
        elif desk.resume_at is not None:
            self._later(unit.id, desk.resume_at)
