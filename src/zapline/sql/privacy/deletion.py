"""Deletes messages with all that hangs on them, in the caller's transaction; finds those that are too old."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(slots=True)
class DeletedRows:
    """What went: rows by what they were, and under which ids files of it may be kept."""

    counts: Counter[str] = field(default_factory=Counter)
    external_ids: list[ExternalId] = field(default_factory=list)


async def delete_messages(conn: Connection, unit: UnitId, rows: Sequence[Any], gone: DeletedRows) -> None:
    """Delete these messages, rows with ``id`` and ``external_id``, and what hangs on them; adds to ``gone``."""
    if not rows:
        return
    ids = [row.id for row in rows]
    external_ids = {row.external_id for row in rows if row.external_id is not None}
    external_ids |= {row.external_id for row in await _SQL.rows(conn, "external_ids", ids=ids)}
    known = sorted(external_ids)
    counts = gone.counts
    counts["recipients"] += await _SQL.execute(conn, "freeze_recipients", ids=ids)
    counts["uploads"] += await _SQL.execute(conn, "delete_uploads", ids=ids)
    counts["attempts"] += await _SQL.execute(conn, "delete_attempts", ids=ids)
    counts["outbox"] += await _SQL.execute(conn, "delete_outbox", ids=ids)
    counts["reactions"] += await _SQL.execute(conn, "delete_reactions", unit_id=unit, external_ids=known)
    counts["reports"] += await _SQL.execute(conn, "delete_reports", unit_id=unit, external_ids=known)
    counts["sightings"] += await _SQL.execute(conn, "delete_sightings", unit_id=unit, external_ids=known)
    counts["messages"] += await _SQL.execute(conn, "delete_messages", unit_id=unit, ids=ids)
    gone.external_ids += [ExternalId(id) for id in known]


async def delete_expired_messages(
    conn: Connection,
    unit: UnitId,
    before: float,
    limit: int,
    drop_files: Callable[[UnitId, Sequence[ExternalId]], Awaitable[None]],
) -> Counter[str]:
    """Delete some messages of a unit from before a time (UTC seconds), in one transaction; at most twice ``limit``.

    What is at work stays; files go before the commit, so that a kill forgets none. Raises
    DatabaseUnavailable, StatementFailed.
    """
    gone = DeletedRows()
    async with conn.transaction():
        for from_me in (False, True):
            old = await _SQL.rows(conn, "find_old", unit_id=unit, from_me=from_me, before=before, limit=limit)
            await delete_messages(conn, unit, old, gone)
        await drop_files(unit, gone.external_ids)
    await drop_files(unit, gone.external_ids)  # somebody may have looked at one until the commit
    return gone.counts


_REST = (
    ("letters", "delete_old_letters", True),
    ("reactions", "delete_old_reactions", False),
    ("recipients", "blank_old_recipients", False),
    ("uploads", "delete_old_uploads", False),
    ("conversations", "delete_empty_conversations", True),
    ("conversations", "delete_empty_conversations", True),  # those into which others were merged
    ("identities", "delete_empty_identities", False),
    ("contacts", "delete_empty_contacts", False),
)


async def cancel_expired_sends(conn: Connection, unit: UnitId, before: float) -> int:
    """End what a closed unit had still to do from before a time (UTC seconds), so that it may go; how many messages."""
    return await _SQL.execute(conn, "end_old_work", unit_id=unit, before=before)


async def delete_expired_rest(conn: Connection, unit: UnitId, before: float, limit: int) -> Counter[str]:
    """Delete what else is that old, and who is left without anything; a transaction each."""
    counts: Counter[str] = Counter()
    for what, statement, bounded in _REST:
        arguments: dict[str, object] = {"unit_id": unit, "before": before} | ({"limit": limit} if bounded else {})
        counts[what] += await _SQL.execute(conn, statement, **arguments)
    return counts


async def load_retention_days(conn: Connection) -> dict[UnitId, int]:
    """For how many days which unit keeps its messages; those that keep them for ever are left out."""
    return {UnitId(row.id): row.retention_days for row in await _SQL.rows(conn, "kept_for")}
