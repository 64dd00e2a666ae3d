"""Starts the senders that have work: finds due messages of all units with one query, and is woken by new ones."""

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
from zapline.domain.messages.facts import SendAnswered
from zapline.domain.restart_policy import GiveUp, RestartIntensity
from zapline.domain.timestamps import Moment
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.outbound import outbox_monitoring, send_claims
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.call_announcements import DISK_REFUSES, CallAnnouncements
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.notifications.event_payloads import expired_message_payload
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed
from zapline.supervisors.outbound.batches.shared_claims import SharedClaims
from zapline.supervisors.outbound.sender import Sender
from zapline.supervisors.outbound.sender_state import SenderActivity, SenderContext, SenderState, SenderStatus
from zapline.supervisors.restart_keeper import Child, keep_running
from zapline.supervisors.units.message_id_support import MessageIdSupport
from zapline.supervisors.units.roster import Roster

__all__ = ["SenderActivity", "SenderPool", "SenderPoolStatistics", "SenderStatus"]

SCAN_EVERY = 5.0
"""Seconds between scans for due messages; one that was queued without a wake-up waits no longer."""
SCAN_GAP = 0.2
"""Least seconds between two scans, however often one is requested."""
PAUSED_BY_REQUEST = "paused_by_request"
"""The reason in the status of a unit that a person has paused."""
DOWN_FOR = 60.0
"""Seconds until a sender that crashed too often is started again."""
_GIVEN_UP = f"it rests for {DOWN_FOR:.0f} s; what is to be sent waits, what comes in is stored"
_LOG = structlog.get_logger(scope="Senders")


@dataclass(frozen=True, slots=True)
class SenderPoolStatistics:
    """Counts of units: whose sender runs, is in a call; whose line rests, is throttled; whose sender stays down."""

    running: int
    calling: int
    paused: int
    throttled: int
    down: int


class SenderPool:
    """One for the process. ``run`` runs the senders; all other methods may be called from any task and never block.

    ``may_write`` returns once this process may write. ``process`` identifies it in leases, so it must be a new one
    at each start. ``clock`` returns UTC seconds.
    ``standing``: of this process as the one that leads.
    ``patience``: seconds without an answer after which other chats of a unit go on, if its line is open.
    """

    def __init__(
        self,
        pool: Pool,
        intake: Intake,
        roster: Roster,
        may_write: Callable[[], Awaitable[None]],
        client: EvolutionClient,
        counters: Counters,
        intensity: RestartIntensity,
        load_upload: Callable[[UUID], Awaitable[bytes | None]],
        process: UUID,
        clock: Callable[[], float] = time.time,
        feed: LiveFeed | None = None,
        support: MessageIdSupport | None = None,
        patience: float = 5.0,
        standing: WriterStanding | None = None,
        clocks_agree: Callable[[], bool] = lambda: True,
    ) -> None:
        self._feed = feed or LiveFeed()
        support = support or MessageIdSupport(pool, client)
        self._announcements, claims = CallAnnouncements(intake, counters, clock), SharedClaims(pool, process)
        parts = (pool, claims, intake, roster, may_write, client, counters, load_upload, process, clock, support)
        shared = (self._announcements, standing or WriterStanding(), patience, clocks_agree)
        self._context = SenderContext(*parts, *shared)
        self._roster = roster
        self._counters = counters
        self._intensity = intensity
        # One entry for each unit; those of units that are gone are deleted.
        self._states: defaultdict[UnitId, SenderState] = defaultdict(SenderState)
        self._nursery: trio.Nursery | None = None
        self._scan_at = -inf
        self._start_times: dict[UnitId, float] = {}
        """When to start a unit's sender without another scan."""
        self._recheck = trio.Event()
        self._scan_failed = False
        self.wake_elsewhere: Callable[[UnitId], None] = lambda unit: None
        """Wakes the sender of a unit that is another process's."""

    def set_bring_back(self, bring_back: Callable[[Unit, UUID], Awaitable[None]]) -> None:
        """``bring_back`` has the database told again what the journal knows of the calls of a message."""
        self._context.bring_back = bring_back

    def wake(self, unit: UnitId) -> None:
        """Have the unit's sender look for messages at once."""
        state = self._states.get(unit)
        if state is not None and state.running:
            state.wake()
        elif self._roster.is_elsewhere(unit):
            self.wake_elsewhere(unit)
        else:
            self._start(unit)

    def scan_soon(self) -> None:
        """Scan for due messages soon: some units may have new ones."""
        self._scan_at = min(self._scan_at, trio.current_time())
        self._recheck.set()

    def answer_stored(self, unit: Unit, answer: SendAnswered) -> None:
        """Note that the answer of a call is stored."""
        state = self._states.get(unit.id)
        stored = state.pending_answers.get(answer.attempt) if state is not None else None
        if stored is not None:
            stored.set()

    def message_refused(self, unit: Unit) -> None:
        """Note that WhatsApp has refused a message, as stored: campaigns may have to stop."""
        self._states[unit.id].brake_unsure = True
        self.wake(unit.id)

    def line_opened(self, unit: Unit) -> None:
        """Note that a line has become open, and send what has waited for it."""
        state = self._states.get(unit.id)
        if state is not None:
            state.line_opened()
        self.wake(unit.id)

    def reload_pace(self, unit: UnitId) -> None:
        """Load the pace again: the unit's limits or its time zone have changed."""
        state = self._states.get(unit)
        if state is not None:
            state.invalidate_pace()
            self.wake(unit)

    def leadership_regained(self) -> None:
        """Load pace and leases again: another process may have sent meanwhile, or the database was restored."""
        for state in self._states.values():
            state.invalidate_pace()
            state.leases_resolved = False
            state.listening_since = trio.current_time()
            state.wake()
        self.scan_soon()

    def gained(self, unit: Unit) -> None:
        """Note that a unit is this process's from now on: another one has sent for it."""
        state = self._states.get(unit.id)
        if state is not None:
            state.invalidate_pace()
            state.leases_resolved = False

    def is_calling(self, unit: UnitId) -> bool:
        """Whether a message of the unit is claimed whose answer is not stored yet."""
        state = self._states.get(unit)
        return state is not None and (state.claim_in_progress or bool(state.calls) or bool(state.undurable))

    def status(self, unit: UnitId) -> SenderStatus:
        state, known = self._states.get(unit), self._roster.get(unit)
        found = state.status(self._context.moment()) if state is not None else SenderStatus()
        if known is not None and known.record.paused_at is not None and found.state is not SenderActivity.CALLING:
            return replace(found, state=SenderActivity.PAUSED, paused_until=None, reason=PAUSED_BY_REQUEST)
        if self.held_since is not None and found.state is not SenderActivity.CALLING:
            return replace(found, state=SenderActivity.PAUSED, paused_until=None, reason=DISK_REFUSES)
        return found

    @property
    def held_since(self) -> float | None:
        """UTC seconds since when nothing is sent because the journal refuses; None: it does not."""
        return self._announcements.held_since

    def statistics(self) -> SenderPoolStatistics:
        now, states = trio.current_time(), list(self._states.values())
        return SenderPoolStatistics(
            running=sum(state.running for state in states),
            calling=sum(state.running and bool(state.calls) for state in states),
            paused=sum(state.paused_until > now for state in states),
            throttled=sum(state.throttled_until > now for state in states),
            down=sum(state.down_until > now for state in states),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the senders until cancelled; after ``drain`` it returns once they have all ended.

        Cancellation cuts calls, whose messages become uncertain at the next start: call ``drain`` first.
        """
        async with trio.open_nursery() as watching:
            watching.start_soon(self._announcements.watch)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                try:
                    await self._start_all()
                finally:
                    self._nursery = None  # no more are started: whoever wakes one now comes too late
            watching.cancel_scope.cancel()

    async def _start_all(self) -> None:
        """Start senders that have something to do, until ``drain``."""
        earliest = trio.current_time()
        while not self._context.stopping:
            await self._context.may_write()
            self._start_scheduled()
            if trio.current_time() >= max(self._scan_at, earliest):
                await self._scan_or_retry_later()
                earliest = trio.current_time() + SCAN_GAP
            await self._wait_until(min(max(self._scan_at, earliest), min(self._start_times.values(), default=inf)))

    async def drain(self, seconds: float) -> None:
        """Claim nothing more; return when the answer of each call is durable, or after ``seconds``."""
        self._context.stopping = True
        self._scan_at = -inf
        self._recheck.set()
        for state in self._states.values():
            state.wake_event.set()
        with trio.move_on_after(seconds):
            while any(s.running and s.send_in_progress for s in self._states.values()):  # noqa: ASYNC110 - of many tasks
                await trio.sleep(0.02)

    async def _wait_until(self, at: float) -> None:
        """Wait until this time (monotonic), or until something is scheduled earlier."""
        self._recheck = trio.Event()
        with trio.move_on_at(at):
            await self._recheck.wait()

    def _schedule(self, unit: UnitId, at: float) -> None:
        """Start the unit's sender at this time (monotonic), unless it is scheduled earlier."""
        if at < self._start_times.get(unit, inf):
            self._start_times[unit] = at
            self._recheck.set()

    def _start_scheduled(self) -> None:
        now = trio.current_time()
        for unit in [unit for unit, at in self._start_times.items() if at <= now]:
            del self._start_times[unit]
            self._start(unit)

    async def _scan_or_retry_later(self) -> None:
        """Scan once; if the database is away, the next scan tries again."""
        self._scan_at = trio.current_time() + SCAN_EVERY
        failed, self._scan_failed = self._scan_failed, True
        try:
            await self._scan()
            self._scan_failed = False
        except (DatabaseUnavailable, StatementFailed) as away:
            if not failed:
                _LOG.warning("The due messages cannot be read", error=str(away))

    async def _scan(self) -> None:
        """Start the senders that have something to do, and expire the messages whose time is over."""
        at = self._context.moment()
        async with self._context.pool.connection() as conn:
            dues = await send_claims.list_due_lanes(conn)
        at = self._context.moment()
        for due in dues:
            begin = self._start_time(due, at)
            if begin is None:
                continue
            if begin <= at.mono:
                self._start(due.unit)
            elif begin < self._scan_at:
                self._schedule(due.unit, begin)
        async with self._context.pool.connection() as conn:
            overdue = await outbox_monitoring.expire_overdue(conn, at.wall) if self._context.clocks_agree() else []
            for row in overdue:
                self._counters.add("messages_ended_unsent", row.state)
                build = partial(expired_message_payload, row.unit_id, row.message_id, row.state)
                self._feed.publish(UnitId(row.unit_id), EventKind.DELIVERY, build)
        for id in [id for id, state in self._states.items() if not state.running and self._roster.get(id) is None]:
            del self._states[id]

    def _start_time(self, due: send_claims.DueLane, at: Moment) -> float | None:
        """When the sender is to start for this lane; None: it runs already, or it will be woken."""
        unit, state = self._roster.get(due.unit), self._states.get(due.unit)
        if state is not None and state.running:
            return None
        if due.leased:
            if state is not None:
                state.leases_resolved = False  # no sender runs, so the lease was left behind
            return max(at.mono, state.down_until) if state is not None else at.mono
        if unit is None or unit.state is None or unit.state.stored.phase is not Phase.OPEN or due.due_at is None:
            return None
        if unit.record.paused_at is not None or unit.server.away_since is not None:
            return None
        ready = at.mono + (due.due_at - at.wall)
        if state is None:
            return ready
        hold = state.pacer.hold_on(due.lane, at) if state.pacer is not None else None
        return max(ready, at.mono, state.paused_until, state.down_until, hold.until if hold is not None else at.mono)

    def _start(self, id: UnitId) -> None:
        unit = self._roster.get(id)
        if unit is None or unit.state is None or unit.record.archived_at is not None or unit.quarantined_at is not None:
            return
        state = self._states[id]
        if self._nursery is None or self._context.stopping or state.running or state.down_until > trio.current_time():
            return
        state.running = True
        self._nursery.start_soon(self._supervise, unit, state, name=f"sender {id}")

    async def _supervise(self, unit: Unit, state: SenderState) -> None:
        sender = Sender(unit, state, self._context)
        child = Child(str(unit.id), "sender", _GIVEN_UP, sender.run, sender.after_crash)
        try:
            gave_up = await keep_running(child, self._intensity, lambda: self._counters.add("sender_crashes"))
        finally:
            # No await since the sender last checked its wake event, so no wake-up is lost.
            state.running = False
        if isinstance(gave_up, GiveUp):
            state.down_until = trio.current_time() + DOWN_FOR
            self._schedule(unit.id, state.down_until)
        elif state.resume_at is not None:
            self._schedule(unit.id, state.resume_at)
