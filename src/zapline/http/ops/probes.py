"""Routes of probes: /livez, /readyz, /health and /metrics; open to all, so they show no unit name, phone or secret."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import trio
from msgspec import Meta
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Response

from zapline import __version__
from zapline.domain.privacy.masking import sanitize_error
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import ResponseBody, Timestamp, json_response
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.http.ops.metrics import Metrics
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import HealthCheck, Verdict
from zapline.supervisors.health.health_report import HealthMonitor, HealthReport
from zapline.supervisors.leadership import LeadershipStatus

_REPORT_SECONDS = 0.25
"""Seconds for which a report is cached: judging ten thousand units takes milliseconds, and anybody may call."""


class PassBody(ResponseBody, frozen=True):
    """All is well, as far as this probe looks."""

    status: Verdict


class CheckBody(ResponseBody, frozen=True):
    """A value, what is expected of it, and the verdict."""

    value: float
    threshold: Annotated[str, Meta(description="What is expected, in words.")]
    verdict: Verdict
    explanation: Annotated[str, Meta(description="What it means and what to do.")]


class JournalBody(ResponseBody, frozen=True):
    """Webhooks that are on disk and not in the database yet."""

    depth: int
    age_seconds: Annotated[float, Meta(description="Of the oldest of them.")]
    bytes: Annotated[int, Meta(description="On disk, with those that are done.")]


class DatabaseBody(ResponseBody, frozen=True):
    """Whether this process leads, and how fast the database answers."""

    standing: LeadershipStatus
    latency_seconds: Annotated[float | None, Meta(description="Null while it is away.")]
    node: Annotated[
        str | None, Meta(description="As which this process owns the units, anew each time. Null: it does not lead.")
    ]
    epoch: Annotated[int | None, Meta(description="Since which it does; grows with each new owner.")]


class RecorderBody(ResponseBody, frozen=True):
    """Who writes to the database."""

    waiting: int
    lanes: Sequence[str]


class FleetBody(ResponseBody, frozen=True):
    """All units, counted."""

    total: int
    by_phase: Mapping[str, int]
    quarantined: Annotated[Sequence[str], Meta(description="Ids of the units that were stopped.")]
    lagging: int


class ServerHealthBody(ResponseBody, frozen=True):
    """An Evolution server."""

    name: Annotated[str, Meta(description="`environment`: the one that the daemon's settings name.")]
    away_since: Annotated[Timestamp | None, Meta(description="Since when it does not answer; null: it does.")]
    units: Annotated[int, Meta(description="Units that live on it.")]
    connected: Annotated[int, Meta(description="Of these, the units whose line is open.")]


class HealthBody(ResponseBody, frozen=True):
    """The verdict on the process, and what it stands on."""

    status: Verdict
    version: str
    time: Timestamp | None
    rates: Annotated[Mapping[str, CheckBody], Meta(description="The four rates that the promise is made of.")]
    checks: Mapping[str, CheckBody]
    journal: JournalBody
    database: DatabaseBody
    recorder: RecorderBody
    units: FleetBody
    evolution_servers: Sequence[ServerHealthBody]
    loop_lag_seconds: float


_LIVEZ = RouteDoc("Whether the process lives", {200: PassBody})
_READYZ = RouteDoc("Whether a webhook can be made durable", {200: PassBody}, errors={"not_ready": 503, "standby": 503})
_HEALTH = RouteDoc("How all is, judged", {200: HealthBody}, detail="Always 200: the verdict is inside.")
_METRICS = RouteDoc("Metrics for Prometheus", {200: "text/plain"})


class ProbeRoutes:
    """``clock`` gives seconds since the epoch."""

    def __init__(self, health: HealthMonitor, counters: Counters, clock: Callable[[], float]) -> None:
        self._health = health
        self._clock = clock
        self._metrics = Metrics(counters, self._report)
        self._cached: tuple[float, HealthReport] | None = None

    def attach(self, routes: RouteTable) -> None:
        routes.add("GET", "/livez", "livez", self.livez, Access.OPEN, _LIVEZ)
        routes.add("GET", "/readyz", "readyz", self.readyz, Access.OPEN, _READYZ)
        routes.add("GET", "/health", "health", self.health, Access.OPEN, _HEALTH)
        routes.add("GET", "/metrics", "metrics", self.metrics, Access.OPEN, _METRICS)

    async def livez(self) -> Response:
        """Answered by the event loop, so it is alive."""
        return json_response(PassBody(Verdict.PASS))

    async def readyz(self) -> Response:
        """Not ready to take webhooks, or not the one who is to take them."""
        if self._health.stands_by():
            detail = "other daemons are to take webhooks: this one stands by, or hands its lines over and ends"
            raise Problem(503, "standby", detail, retryable=True, retry_after=5)
        if not self._health.can_accept():
            detail = "neither the journal nor the database takes a webhook just now"
            raise Problem(503, "not_ready", detail, retryable=True, retry_after=5)
        return json_response(PassBody(Verdict.PASS))

    async def health(self) -> Response:
        """Always 200: the verdict is inside."""
        return json_response(_health_body(self._report(), self._clock()))

    async def metrics(self) -> Response:
        return Response(self._metrics.text(), content_type=CONTENT_TYPE_LATEST)

    def _report(self) -> HealthReport:
        now = trio.current_time()
        if self._cached is None or now - self._cached[0] >= _REPORT_SECONDS:
            self._cached = (now, self._health.report(self._clock()))
        return self._cached[1]


def _health_body(report: HealthReport, now: float) -> HealthBody:
    journal = JournalBody(report.journal.depth, report.journal_age, report.journal.stored_bytes)
    recorder = RecorderBody(report.recorder.waiting, [state.value for state in report.recorder.states])
    node = str(report.node) if report.node is not None else None
    units = FleetBody(sum(report.phases.values()), report.phases, report.quarantined, report.lagging_units)
    return HealthBody(
        status=report.verdict,
        version=__version__,
        time=iso(now),
        rates={rate.name: _check_body(rate) for rate in report.rates},
        checks={check.name: _check_body(check) for check in report.checks},
        journal=journal,
        database=DatabaseBody(report.leadership, report.database_latency, node, report.epoch),
        recorder=recorder,
        units=units,
        evolution_servers=[
            ServerHealthBody(server.name, iso(server.away_since), server.units, server.connected)
            for server in report.servers
        ],
        loop_lag_seconds=report.loop_lag,
    )


def _check_body(check: HealthCheck) -> CheckBody:
    """Only the detail quotes others' errors: its addresses and accounts are masked, our own sentence is not."""
    detail = sanitize_error(check.detail) if check.detail else ""
    text = ": ".join(part for part in (check.explanation, detail) if part)
    return CheckBody(check.value, check.threshold, check.verdict, text)
