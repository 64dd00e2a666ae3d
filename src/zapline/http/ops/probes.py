"""Probes: /livez, /readyz, /health and /metrics; open to all, so they name no unit, phone or secret."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import trio
from msgspec import Meta
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Response

from zapline import __version__
from zapline.domain.privacy.masking import sanitize_error
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import Answer, Moment, reply
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.routes import Access, Doc, Routes
from zapline.http.ops.metrics import Metrics
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check import Check, Verdict
from zapline.supervisors.health.health_report import Health, Report
from zapline.supervisors.leadership import Standing

_AS_GOOD = 0.25
"""Seconds for which a report is good: judging ten thousand units takes milliseconds, and anybody may ask."""


class PassBody(Answer, frozen=True):
    """All is well, as far as this probe looks."""

    status: Verdict


class CheckBody(Answer, frozen=True):
    """A value, what is expected of it, and the verdict."""

    value: float
    threshold: Annotated[str, Meta(description="What is expected, in words.")]
    verdict: Verdict
    explanation: Annotated[str, Meta(description="What it means and what to do.")]


class JournalBody(Answer, frozen=True):
    """Webhooks that are on disk and not in the database yet."""

    depth: int
    age_seconds: Annotated[float, Meta(description="Of the oldest of them.")]
    bytes: Annotated[int, Meta(description="On disk, with those that are done.")]


class DatabaseBody(Answer, frozen=True):
    """Whether this process leads, and how fast the database answers."""

    standing: Standing
    latency_seconds: Annotated[float | None, Meta(description="Null while it is away.")]


class RecorderBody(Answer, frozen=True):
    """Who writes to the database."""

    waiting: int
    lanes: Sequence[str]


class FleetBody(Answer, frozen=True):
    """All units, counted."""

    total: int
    by_phase: Mapping[str, int]
    quarantined: Annotated[Sequence[str], Meta(description="Ids of the units that were stopped.")]
    lagging: int


class HealthBody(Answer, frozen=True):
    """The verdict on the process, and what it stands on."""

    status: Verdict
    version: str
    time: Moment | None
    rates: Annotated[Mapping[str, CheckBody], Meta(description="The four rates that the promise is made of.")]
    checks: Mapping[str, CheckBody]
    journal: JournalBody
    database: DatabaseBody
    recorder: RecorderBody
    units: FleetBody
    loop_lag_seconds: float


_LIVEZ = Doc("Whether the process lives", {200: PassBody})
_READYZ = Doc("Whether a webhook can be made durable", {200: PassBody}, errors={"not_ready": 503})
_HEALTH = Doc("How all is, judged", {200: HealthBody}, detail="Always 200: the verdict is inside.")
_METRICS = Doc("Metrics for Prometheus", {200: "text/plain"})


class Ops:
    """``clock`` gives seconds since the epoch."""

    def __init__(self, health: Health, counters: Counters, clock: Callable[[], float]) -> None:
        self._health = health
        self._clock = clock
        self._metrics = Metrics(counters, self._report)
        self._known: tuple[float, Report] | None = None

    def attach(self, routes: Routes) -> None:
        routes.add("GET", "/livez", "livez", self.livez, Access.OPEN, _LIVEZ)
        routes.add("GET", "/readyz", "readyz", self.readyz, Access.OPEN, _READYZ)
        routes.add("GET", "/health", "health", self.health, Access.OPEN, _HEALTH)
        routes.add("GET", "/metrics", "metrics", self.metrics, Access.OPEN, _METRICS)

    async def livez(self) -> Response:
        """The loop turns, or nobody would answer."""
        return reply(PassBody(Verdict.PASS))

    async def readyz(self) -> Response:
        if not self._health.can_accept():
            said = "neither the journal nor the database takes a webhook just now"
            raise Problem(503, "not_ready", said, retryable=True, retry_after=5)
        return reply(PassBody(Verdict.PASS))

    async def health(self) -> Response:
        """Always 200: the verdict is inside."""
        return reply(_health(self._report(), self._clock()))

    async def metrics(self) -> Response:
        return Response(self._metrics.text(), content_type=CONTENT_TYPE_LATEST)

    def _report(self) -> Report:
        now = trio.current_time()
        if self._known is None or now - self._known[0] >= _AS_GOOD:
            self._known = (now, self._health.report(self._clock()))
        return self._known[1]


def _health(report: Report, now: float) -> HealthBody:
    journal = JournalBody(report.journal.depth, report.journal_age, report.journal.stored_bytes)
    recorder = RecorderBody(report.recorder.waiting, [state.value for state in report.recorder.states])
    units = FleetBody(sum(report.phases.values()), report.phases, report.quarantined, report.lagging_units)
    return HealthBody(
        status=report.verdict,
        version=__version__,
        time=iso(now),
        rates={rate.name: _check(rate) for rate in report.rates},
        checks={check.name: _check(check) for check in report.checks},
        journal=journal,
        database=DatabaseBody(report.standing, report.database_latency),
        recorder=recorder,
        units=units,
        loop_lag_seconds=report.loop_lag,
    )


def _check(check: Check) -> CheckBody:
    """The explanation may quote a server's error: addresses of ours and accounts stay out of it."""
    return CheckBody(check.value, check.threshold, check.verdict, sanitize_error(check.explanation))
