"""Matches echoes of our own sends with open calls: by the id that was chosen before the call, else by their content.

What may yet be the echo of a call under way is held back as a sighting.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.outbox.echo_matching import Sighting, UnansweredCall, match_echoes
from zapline.sql.inbound.recorder_types import MessageKey, Row, message_key
from zapline.sql.inbound.rows_from_facts import BatchRows
from zapline.sql.inbound.send_results import ResolvedSends, settle_sends
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)
POSSIBLY_DELIVERED = frozenset({"timed_out_after_relay", "failed_inside"})
"""Failure codes after which the message may be on the phone (``zapline.evolution.client.failures``)."""
_COLUMNS = ("unit_id", "external_id", "conversation_id", "fingerprint", "sent_at", "received_at", "backfilled")


@dataclass(frozen=True, slots=True)
class ChosenCall:
    """A call whose chosen id was reported. ``by``: echo, store or status; ``at``: when, in UTC seconds."""

    key: MessageKey
    attempt: UUID
    message: UUID
    by: str
    at: object


async def find_chosen_calls(conn: Connection, rows: BatchRows) -> list[ChosenCall]:
    """The calls that the batch's echoes and statuses name by their id.

    An echo that names its chat by the other identity of the recipient proves that both are one person: the link is
    added to ``rows``.
    """
    echoes = {message_key(row): row for one in reversed(rows.messages) for row in one if row["from_me"]}
    statuses = {key[:2]: report for key, report in rows.reports.items() if report.delivery is not None}
    if not echoes and not statuses:
        return []
    wanted = [
        {
            "unit_id": key[0],
            "external_id": key[1],
            "hidden": key in echoes and str(echoes[key]["contact"]).startswith("lid:"),
        }
        for key in {*echoes, *statuses}
    ]
    found: list[ChosenCall] = []
    for row in await _SQL.rows(conn, "find_chosen_calls", rows=as_json(wanted), provider=PROVIDER):
        key = (UnitId(row.unit_id), ExternalId(row.external_id))
        echo = echoes.get(key)
        if echo is not None:
            rows.link_chats(key[0], str(row.recipient), str(echo["contact"]), echo["sent_at"])
        if row.settled:
            continue
        if echo is None:
            found.append(ChosenCall(key, row.attempt, row.message_id, "status", statuses[key].parked_at))
            continue
        by = "store" if echo["backfilled"] else "echo"
        found.append(ChosenCall(key, row.attempt, row.message_id, by, echo["received_at"]))
    return found


async def settle_chosen_calls(conn: Connection, calls: Sequence[ChosenCall], resolved: ResolvedSends) -> None:
    """Give these calls their ids, unless an answer has done so in the same transaction."""
    claims: list[Row] = [
        {
            "attempt": call.attempt,
            "message": call.message,
            "unit_id": call.key[0],
            "external_id": call.key[1],
            "by": call.by,
            "at": call.at,
        }
        for call in calls
    ]
    if claims:
        await settle_sends(conn, claims, resolved)


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
    """Match the sightings of these units with their open calls; an echo that no call owns becomes a message.

    One whose chat is known by another identity than that of a call with its content becomes a message too, and is
    matched again when the two turn out to be one person's.
    """
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
    unlinked: list[MessageKey] = []
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
        unlinked += [(unit, external) for external in matching.unlinked if not by_key[unit, external].shown]
    await settle_sends(conn, claims, resolved)
    if decided:
        await _SQL.execute(conn, "delete_sightings", rows=_keys(decided), provider=PROVIDER)
    if unlinked:
        await _SQL.execute(conn, "mark_shown", rows=_keys(unlinked), provider=PROVIDER, now=resolved.now)
    resolved.unmatched += [by_key[key].row | {"unit_id": key[0]} for key in (*decided, *unlinked)]


async def prune_shown_echoes(conn: Connection) -> int:
    """Delete echoes that were stored as messages of their own a week ago; returns how many."""
    return await _SQL.execute(conn, "prune_shown")


def _keys(keys: Iterable[MessageKey]) -> Json:
    return as_json([{"unit_id": unit, "external_id": external} for unit, external in keys])


def _open_call(row: Any) -> UnansweredCall:
    answered = row.failure in POSSIBLY_DELIVERED
    return UnansweredCall(
        row.attempt, row.conversation, row.fingerprint, row.started_at, row.ended_at, answered, row.hidden
    )


def _sighting(row: Any) -> Sighting:
    return Sighting(
        ExternalId(row.external_id),
        row.conversation,
        row.fingerprint,
        row.sent_at,
        row.received_at,
        row.backfilled,
        row.hidden,
    )
