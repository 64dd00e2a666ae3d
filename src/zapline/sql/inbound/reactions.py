"""Stores reactions and votes, and finds those that came before their message."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.sql.inbound.authorship import Stranger
from zapline.sql.inbound.message_deduplication import with_primary_id
from zapline.sql.inbound.recorder_types import MessageKey, ReactedMessage, Row, UnitOutcome
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_MAX_WAITING = 10_000
"""Messages that a lane remembers as reacted to before they came; only live events depend on it."""


async def store_reactions(
    conn: Connection,
    rows: Sequence[Row],
    arrived: Iterable[MessageKey],
    aliases: Mapping[MessageKey, ExternalId],
    waiting: set[MessageKey],
    outcomes: Mapping[UnitId, UnitOutcome],
) -> list[Stranger]:
    """Store reactions and votes; add those of known messages to ``outcomes``. Returns those from other conversations,
    and those of which that cannot be told yet.

    ``waiting`` remembers which messages they came before. Those of messages that ``arrived`` are added too.
    """
    strangers: list[Stranger] = []
    come = [key for key in arrived if key in waiting] if waiting else []
    if come:
        keys = [{"unit_id": unit, "provider": PROVIDER, "external_id": external} for unit, external in come]
        for row in await _SQL.run_batch(conn, "find_waiting_reactions", keys):
            _add(row, outcomes)
        waiting.difference_update(come)
    for row in await _SQL.run_batch(conn, "upsert_reactions", [with_primary_id(row, aliases) for row in rows]):
        if row.claim is not None:
            strangers.append(_stranger(row))
        elif row.message is not None:
            _add(row, outcomes)
        elif len(waiting) < _MAX_WAITING:
            waiting.add((UnitId(row.unit_id), ExternalId(row.external_id)))
    return strangers


async def move_reactions(
    conn: Connection, second_ids: Iterable[MessageKey], outcomes: Mapping[UnitId, UnitOutcome]
) -> list[Stranger]:
    """Move reactions and votes that came under these second ids, as ``store_reactions`` stores new ones."""
    keys = [{"unit_id": unit, "provider": PROVIDER, "external_id": external} for unit, external in sorted(second_ids)]
    strangers: list[Stranger] = []
    for row in await _SQL.run_batch(conn, "move_reactions", keys):
        if row.claim is None:
            _add(row, outcomes)
        else:
            strangers.append(_stranger(row))
    return strangers


_SAID = ("unit_id", "external_id", "kind", "claim", "actor", "value", "at_ms", "live", "entries", "received_at")


def _stranger(row: Any) -> Stranger:
    said = {name: getattr(row, name) for name in _SAID}
    return Stranger(row.kind, {"provider": PROVIDER, **said}, row.foreign_one)


def _add(row: Any, outcomes: Mapping[UnitId, UnitOutcome]) -> None:
    outcome = outcomes.get(UnitId(row.unit_id))
    if outcome is not None:
        what = (row.kind, row.actor, row.value, row.at_ms)
        outcome.reacted.append(
            ReactedMessage(
                UnitId(row.unit_id),
                row.message,
                ExternalId(row.external_id),
                row.client_message_id,
                row.conversation_id,
                *what,
            )
        )
