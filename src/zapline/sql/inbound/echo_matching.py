"""Matches echoes of our own sends with open calls; until then they are held back as sightings."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.outbox.echo_matching import Sighting, UnansweredCall, match_echoes
from zapline.sql.inbound.recorder_types import MessageKey, Row, message_key
from zapline.sql.inbound.send_results import ResolvedSends, settle_sends
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)
POSSIBLY_DELIVERED = frozenset({"timed_out_after_relay", "failed_inside"})
"""Failure codes after which the message may be on the phone (``zapline.evolution.client.failures``)."""
_COLUMNS = ("unit_id", "external_id", "conversation_id", "fingerprint", "sent_at", "received_at", "backfilled")


async def hold_back_echoes(conn: Connection, outgoing: Sequence[Row]) -> set[MessageKey]:
    """Store those outgoing messages as sightings that an open call may own; returns their keys."""
    if not outgoing:
        return set()
    wanted = [{name: row[name] for name in ("unit_id", "external_id", "fingerprint")} for row in outgoing]
    matchable = await _SQL.rows(conn, "find_matchable_echoes", rows=as_json(wanted), provider=PROVIDER)
    held_back = {(UnitId(row.unit_id), ExternalId(row.external_id)) for row in matchable}
    if held_back:
        echoes = [row for row in outgoing if message_key(row) in held_back]
        rows = [{name: row[name] for name in _COLUMNS} | {"row": row} for row in echoes]
        await _SQL.execute(conn, "insert_sightings", rows=as_json(rows), provider=PROVIDER)
    return held_back


async def resolve_echoes(conn: Connection, units: Iterable[UnitId], resolved: ResolvedSends) -> None:
    """Match the sightings of these units with their open calls; an echo that no call owns becomes a message."""
    wanted = sorted(set(units))
    sightings = await _SQL.rows(conn, "load_sightings", units=wanted) if wanted else []
    if not sightings:
        return
    fingerprints = sorted({row.fingerprint for row in sightings})
    calls = await _SQL.rows(conn, "load_open_calls", units=wanted, fingerprints=fingerprints)
    message_of: Mapping[UUID, UUID] = {row.attempt: row.message_id for row in calls}
    by_key = {(UnitId(row.unit_id), ExternalId(row.external_id)): row for row in sightings}
    # A sighting that has become a message meanwhile (the response named its id) is decided already.
    decided = [key for key, row in by_key.items() if row.known]
    by_unit: defaultdict[UnitId, list[Any]] = defaultdict(list)
    for key, row in by_key.items():
        if not row.known:
            by_unit[key[0]].append(row)
    claims: list[Row] = []
    for unit, rows in by_unit.items():
        open_calls = [_open_call(row) for row in calls if row.unit_id == unit]
        matching = match_echoes(open_calls, [_sighting(row) for row in rows])
        for attempt, external in matching.pairs:
            echo = by_key[unit, external]
            claims.append(
                {
                    "attempt": attempt,
                    "message": message_of[attempt],
                    "unit_id": unit,
                    "external_id": external,
                    "by": "store" if echo.backfilled else "echo",
                    "at": echo.received_at,
                }
            )
        decided += [(unit, external) for external in (*(pair[1] for pair in matching.pairs), *matching.foreign)]
    await settle_sends(conn, claims, resolved)
    if decided:
        keys = [{"unit_id": unit, "external_id": external} for unit, external in decided]
        await _SQL.execute(conn, "delete_sightings", rows=as_json(keys), provider=PROVIDER)
        resolved.unmatched += [by_key[key].row | {"unit_id": key[0]} for key in decided]


def _open_call(row: Any) -> UnansweredCall:
    answered = row.failure in POSSIBLY_DELIVERED
    return UnansweredCall(row.attempt, row.conversation, row.fingerprint, row.started_at, row.ended_at, answered)


def _sighting(row: Any) -> Sighting:
    return Sighting(
        ExternalId(row.external_id), row.conversation, row.fingerprint, row.sent_at, row.received_at, row.backfilled
    )
