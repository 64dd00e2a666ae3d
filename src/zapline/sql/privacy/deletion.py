"""Deletes messages with everything that refers to them, and messages older than the retention period."""

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
    """Counts of deleted rows by kind, and the external ids under which files may be cached."""

    counts: Counter[str] = field(default_factory=Counter)
    external_ids: list[ExternalId] = field(default_factory=list)


async def delete_messages(conn: Connection, unit: UnitId, rows: Sequence[Any], deleted: DeletedRows) -> None:
    """Delete messages (rows with ``id``, ``external_id``) and what refers to them; adds to ``deleted``."""
    if not rows:
        return
    ids = [row.id for row in rows]
    external_ids = {row.external_id for row in rows if row.external_id is not None}
    external_ids |= {row.external_id for row in await _SQL.rows(conn, "list_external_ids", ids=ids)}
    known = sorted(external_ids)
    counts = deleted.counts
    counts["recipients"] += await _SQL.execute(conn, "freeze_recipients", ids=ids)
    counts["uploads"] += await _SQL.execute(conn, "delete_uploads", ids=ids)
    counts["attempts"] += await _SQL.execute(conn, "delete_attempts", ids=ids)
    counts["outbox"] += await _SQL.execute(conn, "delete_outbox", ids=ids)
    counts["reactions"] += await _SQL.execute(conn, "delete_reactions", unit_id=unit, external_ids=known)
    counts["reports"] += await _SQL.execute(conn, "delete_reports", unit_id=unit, external_ids=known)
    counts["reports"] += await _SQL.execute(conn, "delete_waiting", unit_id=unit, external_ids=known)
    counts["secrets"] += await _SQL.execute(conn, "delete_secrets", unit_id=unit, external_ids=known)
    counts["reports"] += await _SQL.execute(conn, "delete_encrypted_reports", unit_id=unit, external_ids=known)
    counts["sightings"] += await _SQL.execute(conn, "delete_sightings", unit_id=unit, external_ids=known)
    await _SQL.execute(conn, "delete_second_ids", unit_id=unit, external_ids=known)
    counts["messages"] += await _SQL.execute(conn, "delete_messages", unit_id=unit, ids=ids)
    deleted.external_ids += [ExternalId(id) for id in known]


async def delete_expired_messages(
    conn: Connection,
    unit: UnitId,
    before: float,
    limit: int,
    drop_files: Callable[[UnitId, Sequence[ExternalId]], Awaitable[None]],
) -> Counter[str]:
    """Delete some messages of a unit from before a time (UTC seconds), in one transaction; at most twice ``limit``.

    Open messages stay. Files are deleted before the commit, so that none is left after a crash. Raises
    DatabaseUnavailable, StatementFailed.
    """
    deleted = DeletedRows()
    async with conn.transaction():
        for from_me in (False, True):
            old = await _SQL.rows(conn, "find_expired", unit_id=unit, from_me=from_me, before=before, limit=limit)
            await delete_messages(conn, unit, old, deleted)
        await drop_files(unit, deleted.external_ids)
    await drop_files(unit, deleted.external_ids)  # a reader may have cached one until the commit
    return deleted.counts


_REST = (
    ("letters", "delete_expired_dead_letters", True),
    ("reactions", "delete_expired_reactions", False),
    ("recipients", "blank_expired_recipients", False),
    ("checks", "delete_expired_checks", False),
    ("uploads", "delete_expired_uploads", False),
    ("conversations", "delete_empty_conversations", True),
    ("conversations", "delete_empty_conversations", True),  # the roots of deleted conversations
    ("identities", "delete_empty_identities", False),
    ("contacts", "delete_empty_contacts", False),
)


async def cancel_expired_sends(conn: Connection, unit: UnitId, before: float) -> int:
    """Cancel open messages of an archived unit from before a time (UTC seconds); returns how many."""
    return await _SQL.execute(conn, "cancel_expired_sends", unit_id=unit, before=before)


async def delete_expired_rest(conn: Connection, unit: UnitId, before: float, limit: int) -> Counter[str]:
    """Delete other rows of that age, and contacts without any; each statement is a transaction."""
    counts: Counter[str] = Counter()
    for kind, statement, bounded in _REST:
        arguments: dict[str, object] = {"unit_id": unit, "before": before} | ({"limit": limit} if bounded else {})
        counts[kind] += await _SQL.execute(conn, statement, **arguments)
    return counts


async def load_retention_days(conn: Connection) -> dict[UnitId, int]:
    """The retention period of units in days; units without one are left out."""
    return {UnitId(row.id): row.retention_days for row in await _SQL.rows(conn, "load_retention_days")}
