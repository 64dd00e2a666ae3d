"""Parks reports whose message is not known yet, and applies them when the message arrives."""

from collections.abc import Iterable, Mapping

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.sql.inbound.message_deduplication import find_primary_ids
from zapline.sql.inbound.recorder_types import ChangedMessage, MessageKey, message_key
from zapline.sql.inbound.status_merge import MessageReport, by_primary_id, merge_reports, report_of, report_rows
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


async def apply_reports(
    conn: Connection,
    reports: Mapping[MessageKey, MessageReport],
    arrived: Iterable[MessageKey],
    aliases: Mapping[MessageKey, ExternalId],
) -> tuple[int, list[ChangedMessage]]:
    """Apply new reports, and those that are parked for their messages or for ``arrived`` ones; park the others.

    Returns how many messages the reports reached, and what changed of them.
    """
    changed = list[ChangedMessage]()
    reached = await _merge(conn, reports, changed)
    rows = report_rows(reports)
    await _SQL.run_batch(conn, "park_reports", [row for row in rows if message_key(row) not in reached])
    keys = [
        {"unit_id": unit, "provider": PROVIDER, "external_id": external_id}
        for unit, external_id in sorted({*arrived, *reached})
    ]
    parked = [
        ((UnitId(row.unit_id), ExternalId(row.external_id)), report_of(row))
        for row in await _SQL.run_batch(conn, "take_parked_reports", keys)
    ]
    late = await _merge(conn, by_primary_id(parked, aliases), changed)
    return len(reached | late), changed


async def _merge(
    conn: Connection, reports: Mapping[MessageKey, MessageReport], changed: list[ChangedMessage]
) -> set[MessageKey]:
    """Merge reports into the messages that have these ids, also second ones. Returns the keys that reached one."""
    reached = await merge_reports(conn, report_rows(reports), changed)
    primary = await find_primary_ids(conn, reports.keys() - reached)
    if primary:
        moved = by_primary_id(((key, reports[key]) for key in primary), primary)
        existing = await merge_reports(conn, report_rows(moved), changed)
        reached |= {key for key, external_id in primary.items() if (key[0], external_id) in existing}
    return reached


async def apply_parked_reports(conn: Connection, limit: int) -> tuple[int, list[ChangedMessage]]:
    """Apply parked reports whose message is known by now: how many messages they reached, and what changed."""
    async with conn.transaction():
        rows = await _SQL.rows(conn, "find_applicable_reports", limit=limit)
        keys = [(UnitId(row.unit_id), ExternalId(row.external_id)) for row in rows]
        return await apply_reports(conn, {}, keys, {}) if keys else (0, [])


async def expire_parked_reports(conn: Connection, days: float) -> int:
    """Delete reports whose message did not arrive within ``days``; returns how many."""
    return await _SQL.execute(conn, "expire_parked_reports", days=days)
