"""Stores once a minute how the health's rates are, so that people see how they came to be so."""

from collections.abc import Callable
from time import time

import structlog
import trio

from zapline.domain.errors import RemoteError
from zapline.sql.health import health_samples
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.health.health_report import Health
from zapline.supervisors.leadership import Leadership

_EVERY = 60.0
_KEPT_DAYS = 7.0
"""A week: whether it was so last week at this hour too. For longer there is Prometheus."""
_PRUNE_EVERY = 60
"""Samples between two prunings."""
_LOG = structlog.get_logger(scope="HealthHistory")


class HealthHistory:
    """One for the process; only the daemon that leads writes."""

    def __init__(self, pool: Pool, health: Health, leadership: Leadership, clock: Callable[[], float] = time) -> None:
        self._pool = pool
        self._health = health
        self._leadership = leadership
        self._clock = clock

    async def run(self) -> None:
        """Store a sample a minute until cancelled; one that the database does not take is left out."""
        count = 0
        while True:
            await self._leadership.may_write()
            try:
                await self.sample(prune=count % _PRUNE_EVERY == 0)
            except RemoteError as away:
                _LOG.debug("A sample of the health is left out", error=str(away))
            count += 1
            await trio.sleep(_EVERY - self._clock() % _EVERY)

    async def sample(self, *, prune: bool = False) -> None:
        """Store how it is now. Raises RemoteError."""
        report = self._health.report(self._clock())
        async with self._pool.connection() as conn:
            await health_samples.add(conn, report.verdict.value, {rate.name: rate.value for rate in report.rates})
            if prune:
                await health_samples.prune(conn, _KEPT_DAYS)
