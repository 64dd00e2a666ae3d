"""Stores the four rates of the health report, minute by minute."""

from collections.abc import Mapping
from dataclasses import dataclass

from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.postgres.row_level_security import admin_scope

_SQL = Queries(__name__)
COLUMNS: Mapping[str, str] = {
    "webhookErrorRate": "webhook_error_rate",
    "unknownInstances": "unknown_instances",
    "dedupeRate": "dedupe_rate",
    "unexpectedDisconnects": "unexpected_disconnects",
}
"""The rates of the health report and their columns."""


@dataclass(frozen=True, slots=True)
class RateSample:
    """The highest of each rate in the step from ``at`` (UTC seconds), by its name in the health report."""

    at: float
    rates: Mapping[str, float]


async def insert_sample(conn: Connection, verdict: str, rates: Mapping[str, float]) -> None:
    """Store the current minute; ``rates`` by their names in the health report."""
    await _SQL.execute(
        conn, "insert_sample", verdict=verdict, **{column: rates[name] for name, column in COLUMNS.items()}
    )


async def prune_samples(conn: Connection, days: float) -> int:
    """Delete older samples; returns how many."""
    return await _SQL.execute(conn, "prune_samples", days=days)


async def list_highest_rates(pool: Pool, seconds: float, step: float) -> list[RateSample]:
    """The last ``seconds`` in steps, oldest first. For administrators. Raises DatabaseUnavailable."""
    async with admin_scope(pool) as conn:
        rows = await _SQL.rows(conn, "list_highest_rates", seconds=seconds, step=step)
    return [RateSample(row.at, {name: getattr(row, column) for name, column in COLUMNS.items()}) for row in rows]
