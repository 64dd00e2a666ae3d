"""Stores how calls ended, and finds out whose an echo is: the part of the recorder's transaction about sending."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.outbox.echo_matching import OpenCall, Sighting, match
from zapline.sql.inbound.batches import Settled
from zapline.sql.inbound.message_rows import Key, Row
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.named_queries import Topic, as_json

_SQL = Topic(__name__)
ANSWERED = frozenset({"timed_out_after_relay", "failed_inside"})
"""Codes of answers after which the message may be on the phone (``zapline.evolution.client.failures``)."""


@dataclass(slots=True)
class Decided:
    """What a transaction found out about messages of ours."""

    settled: list[Settled] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """Message rows that waited to be decided, now to be stored."""
    aliases: dict[Key, ExternalId] = field(default_factory=dict)
    """Second ids that became known, with the id that their message goes by."""
    inherited: list[Any] = field(default_factory=list)
    """What rows knew that were stored before anybody knew whose they were."""

    @property
    def touched(self) -> set[Key]:
        """Messages that have an id from now on: reports may have waited for it."""
        return {(each.unit_id, each.external_id) for each in self.settled}


async def load_aliases(conn: Connection) -> dict[Key, ExternalId]:
    """Every second id there is; there are few."""
    return {
        (UnitId(row.unit_id), ExternalId(row.external_id)): ExternalId(row.primary_id)
        for row in await _SQL.rows(conn, "load_aliases")
    }


async def apply_answers(conn: Connection, answers: Sequence[Row], decided: Decided) -> None:
    """Store what became of calls. Inside the recorder's transaction."""
    # Of two about one call (its own, and the rescue's after a crash) the first one counts.
    failed = list({row["attempt"]: row for row in reversed(answers) if row["external_id"] is None}.values())
    taken = [row for row in answers if row["external_id"] is not None]
    if failed:
        await _SQL.execute(conn, "end_attempts", rows=as_json(failed))
        await _SQL.execute(conn, "move_messages", rows=as_json(failed))
    if taken:
        claims = [_claim(row, "reply") for row in taken]
        await _SQL.execute(conn, "take_from_guess", rows=as_json(claims), now=time.time())
        settled = await _settle(conn, claims, decided)
        # What Evolution calls by the id of another message may have gone out all the same.
        unclear = [row | _ID_TAKEN for row in taken if UUID(str(row["attempt"])) not in settled]
        if unclear:
            await _SQL.execute(conn, "end_attempts", rows=as_json(unclear))
            await _SQL.execute(conn, "move_messages", rows=as_json(unclear))


def _claim(row: Row, by: str) -> Row:
    return {
        "attempt": row["attempt"],
        "message": row["message"],
        "unit_id": row["unit_id"],
        "external_id": row["external_id"],
        "by": by,
        "at": row["ended_at"],
    }


_ID_TAKEN: Row = {"outcome": "uncertain", "move": "uncertain", "failure": "id_taken", "external_id": None}


async def _settle(conn: Connection, claims: Sequence[Row], decided: Decided) -> set[UUID]:
    """Give calls their ids, a message at most once a statement; the calls that got theirs now."""
    settled: set[UUID] = set()
    rounds: list[dict[object, Row]] = []
    for claim in claims:
        for one in rounds:
            if claim["message"] not in one:
                one[claim["message"]] = claim
                break
        else:
            rounds.append({claim["message"]: claim})
    for one in rounds:
        rows = list(one.values())
        decided.inherited += await _SQL.rows(conn, "take_foreign", rows=as_json(rows))
        for row in await _SQL.rows(conn, "settle", rows=as_json(rows), now=time.time()):
            unit, external = UnitId(row.unit_id), ExternalId(row.external_id)
            settled.add(row.attempt)
            found = (row.message_id, external, row.matched_by, row.was, row.alias)
            decided.settled.append(Settled(unit, *found, row.client_message_id, row.conversation_id, row.delivery))
            if row.alias:
                decided.aliases[unit, external] = ExternalId(row.primary_id)
    return settled


async def hold_echoes(conn: Connection, own: Sequence[Row]) -> set[Key]:
    """Keep back those messages of ours that an open call may own; which they are."""
    if not own:
        return set()
    asked = [{name: row[name] for name in ("unit_id", "external_id", "fingerprint")} for row in own]
    found = await _SQL.rows(conn, "find_claimable", rows=as_json(asked), provider=PROVIDER)
    held = {(UnitId(row.unit_id), ExternalId(row.external_id)) for row in found}
    if held:
        rows = [
            {
                "unit_id": row["unit_id"],
                "external_id": row["external_id"],
                "conversation_id": row["conversation_id"],
                "fingerprint": row["fingerprint"],
                "sent_at": row["sent_at"],
                "received_at": row["received_at"],
                "backfilled": row["backfilled"],
                "row": row,
            }
            for row in own
            if _key(row) in held
        ]
        await _SQL.execute(conn, "keep_sightings", rows=as_json(rows), provider=PROVIDER)
    return held


async def decide_echoes(conn: Connection, units: Iterable[UnitId], decided: Decided) -> None:
    """Match what waits in these units with their open calls; what is nobody's becomes a message like any other."""
    asked = sorted(set(units))
    if not asked:
        return
    seen = await _SQL.rows(conn, "load_sightings", units=asked)
    if not seen:
        return
    fingerprints = sorted({row.fingerprint for row in seen})
    calls = await _SQL.rows(conn, "load_open_calls", units=asked, fingerprints=fingerprints)
    message_of: Mapping[UUID, UUID] = {row.attempt: row.message_id for row in calls}
    waiting_rows = {(UnitId(row.unit_id), ExternalId(row.external_id)): row for row in seen}
    # What has become a message meanwhile (its own answer named it) is decided already.
    over = [key for key, row in waiting_rows.items() if row.known]
    by_unit: defaultdict[UnitId, list[Any]] = defaultdict(list)
    for key, row in waiting_rows.items():
        if not row.known:
            by_unit[key[0]].append(row)
    claims: list[Row] = []
    for unit, rows in by_unit.items():
        made = match([_open_call(row) for row in calls if row.unit_id == unit], [_sighting(row) for row in rows])
        for attempt, external in made.pairs:
            found = waiting_rows[unit, external]
            claims.append(
                {
                    "attempt": attempt,
                    "message": message_of[attempt],
                    "unit_id": unit,
                    "external_id": external,
                    "by": "store" if found.backfilled else "echo",
                    "at": found.received_at,
                }
            )
        over += [(unit, external) for external in (*(pair[1] for pair in made.pairs), *made.foreign)]
    await _settle(conn, claims, decided)
    if over:
        gone = [{"unit_id": unit, "external_id": external} for unit, external in over]
        await _SQL.execute(conn, "drop_sightings", rows=as_json(gone), provider=PROVIDER)
        decided.rows += [waiting_rows[key].row | {"unit_id": key[0]} for key in over]


def _open_call(row: Any) -> OpenCall:
    answered = row.failure in ANSWERED
    return OpenCall(row.attempt, row.conversation, row.fingerprint, row.started_at, row.ended_at, answered)


def _sighting(row: Any) -> Sighting:
    return Sighting(
        ExternalId(row.external_id), row.conversation, row.fingerprint, row.sent_at, row.received_at, row.backfilled
    )


def _key(row: Row) -> Key:
    return row["unit_id"], row["external_id"]  # type: ignore[return-value]
