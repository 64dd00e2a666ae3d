"""Stores second ids of messages, and leads what is told under them to the messages.

A photo or video in HD comes as two messages, in any order; the better copy has no row of its own.
"""

from collections.abc import Iterable, Sequence

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.sql.inbound.recorder_types import MessageKey, Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


async def store_second_ids(conn: Connection, copies: Sequence[Row]) -> set[MessageKey]:
    """Store second ids inside the recorder's transaction, and move the reactions to them. Returns the stored ones."""
    if not copies:
        return set()
    stored = {
        (UnitId(row.unit_id), ExternalId(row.external_id))
        for row in await _SQL.rows(conn, "store_second_ids", rows=as_json(copies))
    }
    await _SQL.run_batch(conn, "move_reactions", _rows(stored))
    return stored


async def find_primary_ids(conn: Connection, keys: Iterable[MessageKey]) -> dict[MessageKey, ExternalId]:
    """Of these keys those that are second ids, with the id of their message."""
    return {
        (UnitId(row.unit_id), ExternalId(row.external_id)): ExternalId(row.primary_id)
        for row in await _SQL.run_batch(conn, "find_primary_ids", _rows(keys))
    }


def _rows(keys: Iterable[MessageKey]) -> list[Row]:
    return [{"unit_id": unit, "provider": PROVIDER, "external_id": external_id} for unit, external_id in sorted(keys)]
