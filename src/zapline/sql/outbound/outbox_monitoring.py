"""Expires overdue messages, marks stalled ones and counts the outbox."""

from typing import Any

from zapline.domain.ids import UnitId
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


async def expire_overdue(conn: Connection, now: float, limit: int = 1000) -> list[Any]:
    """End at most ``limit`` messages that may not be sent any more; rows (unit_id, message_id, state)."""
    return await _SQL.rows(conn, "expire_overdue", now=now, limit=limit)


async def mark_stalled(conn: Connection, before: float, after: float, now: float, limit: int = 500) -> list[Any]:
    """Mark messages accepted between ``after`` and ``before`` and not confirmed; rows (unit_id, message_id)."""
    return await _SQL.rows(conn, "mark_stalled", before=before, after=after, now=now, limit=limit)


async def release_misdated(conn: Connection, now: float, longest: float, longest_look: float) -> int:
    """Make due what a wrong clock has put off; returns how many messages.

    ``longest``: seconds that a message that was tried may wait; ``longest_look``: the same of an uncertain one for its
    next look into Evolution's store.
    """
    return len(await _SQL.rows(conn, "release_misdated", now=now, longest=longest, longest_look=longest_look))


async def date_expiries(conn: Connection, now: float, expiry: float) -> int:
    """Give an end to messages that were asked for while nobody knew the time: ``expiry`` seconds after they are due.

    Returns how many.
    """
    return len(await _SQL.rows(conn, "date_expiries", now=now, expiry=expiry))


async def count_outbox(conn: Connection) -> list[Any]:
    """Rows (state, lane, messages, oldest) of open, dead (within a day) and stalled messages."""
    return await _SQL.rows(conn, "count_outbox")


async def list_causes(conn: Connection, late: float, limit: int = 100) -> dict[str, tuple[UnitId, ...]]:
    """The units with replies due for over ``late`` seconds (``late``), uncertain and stalled messages, by that state.

    At most ``limit`` in all, those that have waited longest first.
    """
    causes: dict[str, tuple[UnitId, ...]] = {}
    for row in await _SQL.rows(conn, "list_causes", late=late, limit=limit):
        causes[row.state] = (*causes.get(row.state, ()), UnitId(row.unit_id))
    return causes
