"""Reads what the database knows of a journal: how far it is stored, and which calls are missing."""

from collections.abc import Sequence
from uuid import UUID

from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import CallStarted
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


async def find_reached(conn: Connection, journal_id: UUID) -> int:
    """The highest number of this journal's entries that is stored anywhere, of whatever unit; 0: none."""
    row = await _SQL.one(conn, "find_reached", journal_id=journal_id)
    assert row is not None
    return int(row.reached)


async def list_lost_calls(
    conn: Connection, calls: Sequence[tuple[UnitId, CallStarted]]
) -> list[tuple[UnitId, CallStarted]]:
    """Those calls that were made and are not in the database, though their messages are still to be sent."""
    rows: list[dict[str, object]] = [
        {"attempt": call.attempt, "message": call.message, "unit_id": unit, "fence": call.fence} for unit, call in calls
    ]
    lost = {row.attempt for row in await _SQL.run_batch(conn, "list_lost_calls", rows)}
    return [(unit, call) for unit, call in calls if call.attempt in lost]
