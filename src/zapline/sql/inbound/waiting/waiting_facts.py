"""Keeps messages that come again, and reactions, while it cannot be told whether they are by whoever may say them.

A LID and a phone may be one person's: once they are linked, or prove to be two people's, what waits is stored like what
comes then. So the order of message, link and repetition does not change the end.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.ids import PROVIDER, UnitId
from zapline.sql.inbound.authorship import Stranger
from zapline.sql.inbound.recorder_types import Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_OF_MESSAGE, _OF_UNIT = 32, 2000
"""What waits about one message, and in one unit. What more comes is a dead letter at once."""
_AT_ONCE = 200
"""What is taken up in one transaction; the janitor takes the rest."""


@dataclass(slots=True)
class TakenUp:
    """Rows that waited, and that can be told now; to be stored like those of a batch."""

    messages: list[Row] = field(default_factory=list)
    reactions: list[Row] = field(default_factory=list)

    @property
    def units(self) -> set[UnitId]:
        return {UnitId(row["unit_id"]) for row in (*self.messages, *self.reactions)}  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.messages) + len(self.reactions)


async def keep_waiting(conn: Connection, unproven: Iterable[Stranger]) -> list[Stranger]:
    """Keep what is not proven yet, inside a transaction. Returns what there is no room for."""
    rows = [
        {
            "unit_id": stranger.row["unit_id"],
            "provider": PROVIDER,
            "external_id": stranger.row["external_id"],
            "what": "message" if stranger.change == "message" else "reaction",
            "said": stranger.row,
            "entries": stranger.row.get("entries") or (),
            "received_at": stranger.row["received_at"],
        }
        for stranger in unproven
    ]
    if not rows:
        return []
    await _SQL.run_batch(conn, "keep_waiting", rows)
    units = list({row["unit_id"] for row in rows})
    return _strangers(await _SQL.rows(conn, "drop_surplus", units=units, of_message=_OF_MESSAGE, of_unit=_OF_UNIT))


async def take_linked(conn: Connection, units: Collection[UnitId]) -> TakenUp:
    """Take up what can be told now in units in which somebody's names were linked, inside a transaction."""
    taken = TakenUp()
    if not units:
        return taken
    for row in await _SQL.rows(conn, "take_linked", units=list(units), limit=_AT_ONCE):
        (taken.messages if row.what == "message" else taken.reactions).append(_said(row))
    return taken


async def take_due(conn: Connection, limit: int) -> TakenUp:
    """Take up what can be told now of what was not compared for a while, inside a transaction."""
    due = await _SQL.rows(conn, "find_due", limit=limit)
    return await take_linked(conn, {UnitId(row.unit_id) for row in due})


async def expire_waiting(conn: Connection, days: float) -> tuple[int, list[Stranger]]:
    """Remove what waited for ``days`` in vain: how much, and that of it which is a dead letter."""
    rows = await _SQL.rows(conn, "expire", days=days)
    return len(rows), _strangers(rows)


def _said(row: Any) -> Row:
    return {**row.said, "unit_id": UnitId(row.unit_id), "entries": row.entries, "received_at": row.received_at}


def _strangers(rows: Sequence[Any]) -> list[Stranger]:
    return [
        Stranger(
            "message" if row.what == "message" else "react",
            _said(row),
            proven=False,
        )
        for row in rows
        if row.says_else
    ]
