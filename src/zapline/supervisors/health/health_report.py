"""Computes the health verdict of the process from all its checks; measures event loop lag and database latency."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import trio

from zapline.domain.errors import RemoteError
from zapline.sql.journal.journal import Journal, JournalStatistics
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.alarm_checks import NO_ALARMS, AlarmReport, check_alarms
from zapline.supervisors.health.check_result import SEVERITY, HealthCheck, Verdict
from zapline.supervisors.health.durability_checks import NO_TROUBLE, DurabilityReport, check_durability
from zapline.supervisors.health.file_checks import NO_FILES, FilesReport, check_files
from zapline.supervisors.health.inbound_checks import inbound_rates
from zapline.supervisors.health.line_checks import check_lines, check_tally, tally_lines
from zapline.supervisors.health.notification_checks import NO_NOTIFICATIONS, NotificationReport, check_notifications
from zapline.supervisors.health.outbound_checks import NO_OUTBOUND, OutboundReport, check_outbound
from zapline.supervisors.health.process_checks import ProcessReport, check_process
from zapline.supervisors.health.server_checks import check_servers
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.pending_writes import RecorderStatistics
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import ActorActivity, Unit
from zapline.supervisors.leadership import Leadership, LeadershipStatus
from zapline.supervisors.servers.server_registry import ServerReport
from zapline.supervisors.units.roster import Roster

STUCK_AFTER = 20.0
"""Seconds that an actor may spend in one step; beyond them the watchdog is not fed."""
_MEASURE_EVERY = 1.0
_PING_EVERY = 5.0
_PING_DEADLINE = 3.0


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The health of the process at one moment."""

    verdict: Verdict
    rates: tuple[HealthCheck, ...]
    checks: tuple[HealthCheck, ...]
    leadership: LeadershipStatus
    phases: dict[str, int]
    quarantined: tuple[str, ...]
    journal: JournalStatistics
    recorder: RecorderStatistics
    journal_age: float
    lagging_units: int
    loop_lag: float
    database_latency: float | None
    """Seconds of the last round trip; None while the database is away."""
    outbound: OutboundReport
    notifications: NotificationReport = NO_NOTIFICATIONS
    servers: tuple[ServerReport, ...] = ()
    node: UUID | None = None
    """As which this process owns the units; None while it does not lead."""
    files: FilesReport = NO_FILES
    epoch: int | None = None
    """Of its last lead; None: it has not led yet."""


@dataclass(eq=False, repr=False)
class HealthMonitor:
    """One for the process. ``run`` measures; ``report`` evaluates the checks."""

    counters: Counters
    _roster: Roster
    _journal: Journal
    _recorder: Recorder
    _dispatcher: Dispatcher
    _leadership: Leadership
    _pool: Pool
    _outbound: Callable[[], OutboundReport] = lambda: NO_OUTBOUND
    _notifications: Callable[[], NotificationReport] = lambda: NO_NOTIFICATIONS
    _durability: Callable[[], DurabilityReport] = lambda: NO_TROUBLE
    _servers: Callable[[], list[ServerReport]] = list
    _files: Callable[[], FilesReport] = lambda: NO_FILES
    _alarms: Callable[[], AlarmReport] = lambda: NO_ALARMS
    loop_lag: float = 0.0
    database_latency: float | None = None
    _measured: bool = False

    def set_alarms(self, report: Callable[[], AlarmReport]) -> None:
        """Have the deliveries of alarms be a part of the report; they are made of it, so it is there first."""
        self._alarms = report

    async def run(self) -> None:
        """Measure loop lag and database latency until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._measure_loop)
            nursery.start_soon(self._measure_database)

    async def _measure_loop(self) -> None:
        while True:
            due = trio.current_time() + _MEASURE_EVERY
            await trio.sleep_until(due)
            self.loop_lag = trio.current_time() - due

    async def _measure_database(self) -> None:
        while True:
            started, latency = trio.current_time(), None
            with trio.move_on_after(_PING_DEADLINE), suppress(RemoteError):
                async with self._pool.connection() as conn:
                    await conn.ping()
                latency = trio.current_time() - started
            self.database_latency, self._measured = latency, True
            await trio.sleep(_PING_EVERY)

    def stuck_units(self) -> list[str]:
        """Units whose actor does not finish its step; while there is one, the watchdog is not fed."""
        return stuck_units(self._roster.units(), trio.current_time())

    def can_accept(self) -> bool:
        """Whether a webhook can be made durable now: by the journal, or else by the database."""
        return not (self._journal.refusing or self._journal.closed_because) or self.database_latency is not None

    def stands_by(self) -> bool:
        """Whether another process leads, as far as is known, or is to: this one hands its units over."""
        return self._leadership.stands_by or self._leadership.leaving

    def report(self, now: float) -> HealthReport:
        """Evaluate all checks. ``now``: UTC seconds."""
        journal, recorder = self._journal.statistics(), self._recorder.statistics()
        age = max(0.0, now - journal.oldest) if journal.oldest is not None else 0.0
        outbound, notifications = self._outbound(), self._notifications()
        rates, checks = inbound_rates(self.counters), check_process(self._process(recorder, age))
        checks += check_durability(self._durability())
        checks += [
            check_tally(tally_lines(self._roster.units(), now)),
            *check_lines(self._roster.units(), self.counters),
        ]
        servers = self._servers()
        checks.append(check_servers(servers))
        files = self._files()
        checks += check_outbound(outbound, self.counters) + check_notifications(notifications) + check_files(files)
        checks.append(check_alarms(self._alarms()))
        worst = max((check.verdict for check in rates + checks), key=SEVERITY.index)
        quarantined = [str(unit.id) for unit in self._roster.units() if unit.quarantined_at is not None]
        return HealthReport(
            verdict=worst,
            rates=tuple(rates),
            checks=tuple(checks),
            leadership=self._leadership.status,
            phases=dict(self._roster.phase_counts()),
            quarantined=tuple(quarantined),
            journal=journal,
            recorder=recorder,
            journal_age=age,
            lagging_units=self._dispatcher.lagging,
            loop_lag=self.loop_lag,
            database_latency=self.database_latency,
            outbound=outbound,
            notifications=notifications,
            servers=tuple(servers),
            files=files,
            node=self._leadership.standing.node,
            epoch=self._leadership.standing.epoch,
        )

    def _process(self, recorder: RecorderStatistics, age: float) -> ProcessReport:
        return ProcessReport(
            standing=self._leadership.status,
            answers=not self._measured or self.database_latency is not None,
            recorder=recorder,
            journal_age=age,
            lost=self.counters.total("lost"),
            lost_recently=self.counters.recent("lost") > 0,
            quarantined=sum(1 for unit in self._roster.units() if unit.quarantined_at is not None),
            paused=sum(1 for unit in self._roster.units() if unit.record.paused_at is not None),
            stuck=len(self.stuck_units()),
            loop_lag=self.loop_lag,
            skew=self._leadership.clock.skew(),
            clocks_agree=self._leadership.clock.agrees(),
        )


def stuck_units(units: Iterable[Unit], now: float) -> list[str]:
    """Units whose actor has been in one step for too long. Waiting for the recorder counts as progress."""
    return [
        str(unit.id)
        for unit in units
        if unit.activity is ActorActivity.STEPPING and now - unit.activity_since > STUCK_AFTER
    ]
