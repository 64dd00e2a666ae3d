"""Probes: /livez, /readyz, /health and /metrics; open to all, so they name no unit, phone or secret."""

from collections.abc import Callable
from typing import Any

import trio
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Response

from zapline import __version__
from zapline.domain.masking import sanitize_error
from zapline.http.metrics import Metrics
from zapline.http.problems import Problem
from zapline.http.routes import Access, Routes
from zapline.http.wire import iso, reply
from zapline.supervisors.checks import Check
from zapline.supervisors.counters import Counters
from zapline.supervisors.health import Health, Report

_AS_GOOD = 0.25
"""Seconds for which a report is good: judging ten thousand units takes milliseconds, and anybody may ask."""


class Ops:
    """``clock`` gives seconds since the epoch."""

    def __init__(self, health: Health, counters: Counters, clock: Callable[[], float]) -> None:
        self._health = health
        self._clock = clock
        self._metrics = Metrics(counters, self._report)
        self._known: tuple[float, Report] | None = None

    def attach(self, routes: Routes) -> None:
        routes.add("GET", "/livez", "livez", self.livez, Access.OPEN)
        routes.add("GET", "/readyz", "readyz", self.readyz, Access.OPEN)
        routes.add("GET", "/health", "health", self.health, Access.OPEN)
        routes.add("GET", "/metrics", "metrics", self.metrics, Access.OPEN)

    async def livez(self) -> Response:
        """The loop turns, or nobody would answer."""
        return reply({"status": "pass"})

    async def readyz(self) -> Response:
        if not self._health.can_accept():
            said = "neither the journal nor the database takes a webhook just now"
            raise Problem(503, "not_ready", said, retryable=True, retry_after=5)
        return reply({"status": "pass"})

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


def _health(report: Report, now: float) -> dict[str, Any]:
    return {
        "status": report.verdict.value,
        "version": __version__,
        "time": iso(now),
        "rates": {rate.name: _check(rate) for rate in report.rates},
        "checks": {check.name: _check(check) for check in report.checks},
        "journal": {
            "depth": report.journal.depth,
            "ageSeconds": report.journal_age,
            "bytes": report.journal.stored_bytes,
        },
        "database": {"standing": report.standing.value, "latencySeconds": report.database_latency},
        "recorder": {
            "waiting": report.recorder.waiting,
            "lanes": [state.value for state in report.recorder.states],
        },
        "units": {
            "total": sum(report.phases.values()),
            "byPhase": report.phases,
            "quarantined": list(report.quarantined),
            "lagging": report.lagging_units,
        },
        "loopLagSeconds": report.loop_lag,
    }


def _check(check: Check) -> dict[str, object]:
    """The explanation may quote a server's error: addresses of ours and accounts stay out of it."""
    return {
        "value": check.value,
        "threshold": check.threshold,
        "verdict": check.verdict.value,
        "explanation": sanitize_error(check.explanation),
    }
