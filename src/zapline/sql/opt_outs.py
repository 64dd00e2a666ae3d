"""Stores who wants no campaigns, as part of the recorder's transaction."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from zapline.domain.ids import UnitId
from zapline.sql.driver import Connection, Json
from zapline.sql.rows import Row
from zapline.sql.statements import load

_SQL = load("opt_outs")


async def record_opt_outs(conn: Connection, rows: Sequence[Row]) -> dict[UnitId, int]:
    """Suppress these contacts for campaigns; how many of each unit are new."""
    if not rows:
        return {}
    statement = _SQL["suppress"]
    fresh = await conn.fetch(statement.sql, statement.bind(rows=Json(msgspec.json.encode(rows))))
    return dict(Counter(UnitId(row.unit_id) for row in fresh))
