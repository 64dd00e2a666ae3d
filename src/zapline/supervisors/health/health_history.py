"""Stores a sample of the health rates once a minute, so that people see how they developed."""

from collections.abc import Callable
from dataclasses import dataclass
from time import time

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.sql.health import health_samples
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.health.health_report import HealthMonitor
from zapline.supervisors.leadership import Leadership

_EVERY = 60.0
_KEEP_DAYS = 7.0
"""A week, to compare with the same hour last week. Prometheus keeps more."""
_PRUNE_EVERY = 60
"""Samples between two deletions of old ones."""
_LOG = structlog.get_logger(scope="HealthHistory")


@dataclass(eq=False, repr=False)
class HealthHistory:
    """One for the process; only the leading process writes."""

    _pool: Pool
    _monitor: HealthMonitor
    _leadership: Leadership
    _clock: Callable[[], float] = time

    async def run(self) -> None:
        """Store a sample a minute until cancelled; skip those that the database does not accept."""
        count = 0
        while True:
            await self._leadership.may_write_alone()
            try:
                await self.sample(prune=count % _PRUNE_EVERY == 0)
            except RemoteError as away:
                _LOG.debug("A sample of the health is left out", error=str(away))
            count += 1
            await trio.sleep(_EVERY - self._clock() % _EVERY)

    async def sample(self, *, prune: bool = False) -> None:
        """Store the present rates. Raises RemoteError."""
        report = self._monitor.report(self._clock())
        async with self._pool.connection() as conn:
            rates = {rate.name: rate.value for rate in report.rates}
            await health_samples.insert_sample(conn, report.verdict.value, rates)
            if prune:
                await health_samples.prune_samples(conn, _KEEP_DAYS)
