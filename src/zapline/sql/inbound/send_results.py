"""Stores the results of send calls: settles accepted sends, and makes timed-out ones uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.inbound.authorship import Stranger, bury_reactions
from zapline.sql.inbound.recorder_types import MessageKey, Row, SettledSend
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)


@dataclass(slots=True)
class ResolvedSends:
    """What a transaction has learned about our own sends."""

    now: float
    """UTC seconds."""
    settled: list[SettledSend] = field(default_factory=list)
    unmatched: list[Row] = field(default_factory=list)
    """Message rows of decided echoes, now to be stored."""
    aliases: dict[MessageKey, ExternalId] = field(default_factory=dict)
    """Ids of second deliveries, with the primary id of their message."""
    deleted: list[Any] = field(default_factory=list)
    """Message rows that had been stored before their send was known."""
    strangers: list[Stranger] = field(default_factory=list)
    """What others wrote under the ids of our sends."""

    @property
    def keys(self) -> set[MessageKey]:
        """Messages that have just got their id, under which reports may be parked."""
        return {(send.unit_id, send.external_id) for send in self.settled}


async def load_aliases(conn: Connection) -> dict[MessageKey, ExternalId]:
    """All ids of second deliveries; there are few."""
    return {
        (UnitId(row.unit_id), ExternalId(row.external_id)): ExternalId(row.primary_id)
        for row in await _SQL.rows(conn, "load_aliases")
    }


async def restore_calls(conn: Connection, calls: Sequence[Row]) -> None:
    """Store calls that were made and that the database does not know of, before their results."""
    await _SQL.run_batch(conn, "restore_calls", calls)


async def apply_send_results(conn: Connection, answers: Sequence[Row], resolved: ResolvedSends) -> None:
    """Store the results of calls inside the recorder's transaction."""
    # Of two results of one call (its own, and that of the rescue after a crash) the first one counts.
    failed = list({row["attempt"]: row for row in reversed(answers) if row["external_id"] is None}.values())
    accepted = [row for row in answers if row["external_id"] is not None]
    await _end_calls(conn, failed)
    if accepted:
        named = ("attempt", "message", "unit_id", "external_id")
        claims = [{name: row[name] for name in named} | {"by": "reply", "at": row["ended_at"]} for row in accepted]
        await _SQL.execute(conn, "revoke_guessed_ids", rows=as_json(claims), now=resolved.now)
        settled = await settle_sends(conn, claims, resolved)
        rest = [claim for claim in claims if UUID(str(claim["attempt"])) not in settled]
        settled |= {row.id for row in await _SQL.run_batch(conn, "end_repeated", rest)}
        # A send that Evolution names by the id of another message may have been delivered nevertheless.
        await _end_calls(conn, [row | _ID_TAKEN for row in accepted if UUID(str(row["attempt"])) not in settled])


async def _end_calls(conn: Connection, rows: Sequence[Row]) -> None:
    await _SQL.run_batch(conn, "end_attempts", rows)
    await _SQL.run_batch(conn, "move_messages", rows)


_ID_TAKEN: Row = {"outcome": "uncertain", "move": "uncertain", "failure": "id_taken", "external_id": None}


async def settle_sends(conn: Connection, claims: Sequence[Row], resolved: ResolvedSends) -> set[UUID]:
    """Give calls their ids, each message at most once in a statement. Returns the calls that got an id."""
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
        replaced = []
        for taken in await _SQL.rows(conn, "take_unmatched_echoes", rows=as_json(rows)):
            if taken.foreign_one:
                resolved.strangers.append(Stranger("message", _said(taken), proven=True))
            else:
                resolved.deleted.append(taken)
                replaced.append(taken.message)
        resolved.strangers += await bury_reactions(conn, await _settling(conn, rows))
        for row in await _SQL.rows(conn, "settle_sends", rows=as_json(rows), now=resolved.now):
            unit, external = UnitId(row.unit_id), ExternalId(row.external_id)
            settled.add(row.attempt)
            send = (row.message_id, external, row.matched_by, row.was, row.alias)
            resolved.settled.append(SettledSend(unit, *send, row.client_message_id, row.conversation_id, row.delivery))
            if row.alias:
                resolved.aliases[unit, external] = ExternalId(row.primary_id)
        if replaced:
            await _SQL.execute(conn, "count_replacement", ids=replaced)
    return settled


def _said(row: Any) -> Row:
    names = ("unit_id", "external_id", "conversation_id", "sender", "kind", "body", "parked_at")
    return {name: getattr(row, name) for name in names}


async def _settling(conn: Connection, claims: Sequence[Row]) -> list[Row]:
    """The messages of these calls, with the ids that they are about to get, where somebody has reacted to these."""
    return [row._asdict() for row in await _SQL.run_batch(conn, "find_settling", claims)]
