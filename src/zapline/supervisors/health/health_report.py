"""Judges the process: four rates against their thresholds, and what stands still; measures loop and database."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from zapline.domain.errors import RemoteError
from zapline.sql.journal.journal import Journal, JournalStatistics
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import WINDOW, Counters
from zapline.supervisors.health.check import ORDER, Check, Verdict, above
from zapline.supervisors.health.notification_checks import NOTHING_TOLD, TellingReport, telling_checks
from zapline.supervisors.health.outbound_checks import NOTHING_SENT, SendingReport, sending_checks
from zapline.supervisors.inbound.dispatcher import Dispatcher
from zapline.supervisors.inbound.recorder import LaneState, Recorder, RecorderStatistics
from zapline.supervisors.inbound.unit_state import Doing, Unit
from zapline.supervisors.leadership import Leadership, Standing
from zapline.supervisors.units.roster import Roster

MAX_ERROR_RATE = 0.001
"""Of all webhooks; what the operators asked for."""
MAX_DEDUPE_RATE = 0.02
FAIL_DEDUPE_RATE = 0.10
"""Evolution sends 1-2% twice; far more means that answers come too late, or that somebody replays."""
MIN_SAMPLE = 100
"""Below so many messages a single duplicate is no rate."""
STUCK = 20.0
"""Seconds an actor may step without an end before the watchdog is left hungry."""
_MEASURE_EVERY = 1.0
_PING_EVERY = 5.0
_PING_DEADLINE = 3.0


@dataclass(frozen=True, slots=True)
class Report:
    """The whole health of the process at one moment."""

    verdict: Verdict
    rates: tuple[Check, ...]
    checks: tuple[Check, ...]
    standing: Standing
    phases: dict[str, int]
    quarantined: tuple[str, ...]
    journal: JournalStatistics
    recorder: RecorderStatistics
    journal_age: float
    lagging_units: int
    loop_lag: float
    database_latency: float | None
    """Seconds of the last round trip; None while the database is away."""
    sending: SendingReport
    told: TellingReport = NOTHING_TOLD


class Health:
    """One for the process. ``run`` measures; ``report`` judges."""

    def __init__(
        self,
        counters: Counters,
        roster: Roster,
        journal: Journal,
        recorder: Recorder,
        dispatcher: Dispatcher,
        leadership: Leadership,
        pool: Pool,
        sending: Callable[[], SendingReport] = lambda: NOTHING_SENT,
        told: Callable[[], TellingReport] = lambda: NOTHING_TOLD,
    ) -> None:
        self._sending = sending
        self._told = told
        self.counters = counters
        self._roster = roster
        self._journal = journal
        self._recorder = recorder
        self._dispatcher = dispatcher
        self._leadership = leadership
        self._pool = pool
        self.loop_lag = 0.0
        self.database_latency: float | None = None

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
            started = trio.current_time()
            self.database_latency = await self._ping(started)
            await trio.sleep(_PING_EVERY)

    async def _ping(self, started: float) -> float | None:
        with trio.move_on_after(_PING_DEADLINE):
            try:
                async with self._pool.connection() as conn:
                    await conn.ping()
            except RemoteError:
                return None
            return trio.current_time() - started
        return None

    def stuck_units(self) -> list[str]:
        """Units whose actor does not come to an end; while there is one, the watchdog is not fed."""
        return stuck_units(self._roster.units(), trio.current_time())

    def can_accept(self) -> bool:
        """Whether a webhook can be made durable now: by the journal, or else by the database."""
        return not self._journal.refusing or self.database_latency is not None

    def report(self, wall: float) -> Report:
        """``wall``: seconds since the epoch."""
        journal, recorder = self._journal.statistics(), self._recorder.statistics()
        age = max(0.0, wall - journal.oldest) if journal.oldest is not None else 0.0
        sending, told = self._sending(), self._told()
        rates = tuple(self._rates())
        checks = (*self._checks(recorder, age), *sending_checks(sending, self.counters), *telling_checks(told))
        worst = max((check.verdict for check in rates + checks), key=ORDER.index)
        quarantined = [str(unit.id) for unit in self._roster.units() if unit.quarantined_at is not None]
        return Report(
            verdict=worst,
            rates=rates,
            checks=checks,
            standing=self._leadership.standing,
            phases=dict(self._roster.phases()),
            quarantined=tuple(quarantined),
            journal=journal,
            recorder=recorder,
            journal_age=age,
            lagging_units=self._dispatcher.lagging,
            loop_lag=self.loop_lag,
            database_latency=self.database_latency,
            sending=sending,
            told=told,
        )

    def _rates(self) -> list[Check]:
        recent = self.counters.recent
        webhooks, errors = recent("webhooks"), recent("webhook_errors")
        error_rate = errors / webhooks if webhooks else 0.0
        seen, duplicates = recent("messages_seen"), recent("duplicates")
        dedupe_rate = duplicates / seen if seen else 0.0
        unknown, dropped = recent("unknown_instances"), recent("unexpected_disconnects")
        dedupe, enough = Verdict.PASS, seen >= MIN_SAMPLE
        if enough and dedupe_rate > MAX_DEDUPE_RATE:
            dedupe = Verdict.FAIL if dedupe_rate > FAIL_DEDUPE_RATE else Verdict.WARN
        return [
            Check(
                "webhookErrorRate",
                error_rate,
                "< 0.1%",
                above(error_rate, MAX_ERROR_RATE, 10 * MAX_ERROR_RATE),
                "webhooks of known units that could not be used, of all webhooks",
            ),
            Check(
                "unknownInstances",
                unknown,
                "0",
                Verdict.WARN if unknown else Verdict.PASS,
                "webhooks whose instance or secret is not ours",
            ),
            Check(
                "dedupeRate",
                dedupe_rate,
                "1-2% is normal" if enough or not duplicates else "1-2% is normal; too few messages to judge",
                dedupe,
                "messages that came again, of all messages",
            ),
            Check(
                "unexpectedDisconnects",
                dropped,
                "0",
                Verdict.WARN if dropped else Verdict.PASS,
                f"open lines lost in the last {WINDOW:.0f} s without anybody having asked",
            ),
        ]

    def _checks(self, recorder: RecorderStatistics, age: float) -> list[Check]:
        standing = self._leadership.standing
        leads = {Standing.LEADING: Verdict.PASS, Standing.UNREACHABLE: Verdict.WARN}.get(standing, Verdict.FAIL)
        stopped = recorder.states.count(LaneState.STOPPED)
        retrying = recorder.states.count(LaneState.RETRYING)
        quarantined = sum(1 for unit in self._roster.units() if unit.quarantined_at is not None)
        paused = sum(1 for unit in self._roster.units() if unit.record.paused_at is not None)
        lost = self.counters.recent("lost")
        stuck = len(self.stuck_units())
        return [
            Check("database", float(standing is Standing.LEADING), "reachable, ours alone", leads, standing.value),
            Check("recorderLanesStopped", stopped, "0", above(stopped, 0, 0), recorder.trouble or ""),
            Check("recorderLanesRetrying", retrying, "0", above(retrying, 0, float("inf")), recorder.trouble or ""),
            Check("journalAgeSeconds", age, "< 60", above(age, 60.0, 1200.0), "age of the oldest entry not stored"),
            Check("lostWebhooks", lost, "0", above(lost, 0, 0), "answered 200 and stored nowhere"),
            Check("quarantinedUnits", quarantined, "0", above(quarantined, 0, float("inf"))),
            Check("pausedUnits", paused, "as asked", Verdict.PASS, "a person has paused their sending"),
            Check("stuckUnits", stuck, "0", above(stuck, 0, 0)),
            Check("loopLagSeconds", self.loop_lag, "< 0.5", above(self.loop_lag, 0.5, 5.0)),
        ]


def stuck_units(units: Iterable[Unit], now: float) -> list[str]:
    """Units whose actor has been stepping for too long. Waiting for the recorder is progress."""
    return [str(unit.id) for unit in units if unit.doing is Doing.STEPPING and now - unit.since > STUCK]
