"""Stores messages; a duplicate, or a better copy of a file, is merged into the row of the first arrival."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from zapline.domain.ids import PROVIDER, ExternalId, UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.sql.inbound.authorship import Stranger, bury_reactions
from zapline.sql.inbound.recorder_types import ChangedMessage, CreatedMessage, MessageKey, Row, UnitOutcome, message_key
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries, as_json

_SQL = Queries(__name__)
_OWNER = ("unit_id", "provider", "external_id", "conversation_id", "from_me", "sender")


def with_primary_id(row: Row, aliases: Mapping[MessageKey, ExternalId]) -> Row:
    """The row under the primary id of its message."""
    primary = aliases.get(message_key(row)) if aliases else None
    return row if primary is None else row | {"external_id": primary}


async def store_messages(
    conn: Connection,
    rounds: Iterable[Sequence[Row]],
    aliases: Mapping[MessageKey, ExternalId],
    outcomes: Mapping[UnitId, UnitOutcome],
) -> list[Stranger]:
    """Store rounds of message rows in their order. Adds the new ones to ``outcomes``.

    Two ids of one message may stand in one round: no statement names a message twice all the same.

    Returns those whose id another message has, and reactions to them from other conversations; they are not stored. Not
    proven: it cannot be told yet; those that say nothing new are not among these.
    """
    strangers: list[Stranger] = []
    for rows in _rounds(rounds, aliases):
        by_key = {message_key(row): row for row in rows}
        strangers += await bury_reactions(conn, [{name: row[name] for name in _OWNER} for row in rows])
        new = set[MessageKey]()
        for unit_id, external_id, id, created, seq, conversation in await _SQL.run_batch(conn, "upsert_messages", rows):
            row = by_key[unit_id, external_id]
            if created:
                new.add((unit_id, external_id))
            if unit_id not in outcomes:
                continue
            if created:
                outcomes[unit_id].created[external_id] = CreatedMessage(id, seq, conversation, row)
            elif row["kind"] == MessageKind.CALL_LOG or row.get("completes"):
                completed = ChangedMessage(unit_id, id, external_id, None, conversation, None, True, False)
                outcomes[unit_id].changed.append(completed)
        known = [{name: row[name] for name in _OWNER} for key, row in by_key.items() if key not in new]
        unsure = []
        for unit_id, external_id, proven in await _SQL.run_batch(conn, "find_strangers", known):
            if proven:
                strangers.append(Stranger("message", by_key[unit_id, external_id], proven=True))
            else:
                unsure.append(by_key[unit_id, external_id])
        for unit_id, external_id in await _SQL.run_batch(conn, "find_news", unsure):
            strangers.append(Stranger("message", by_key[unit_id, external_id], proven=False))
    await _use_root_conversations(conn, outcomes)
    return strangers


def _rounds(rounds: Iterable[Sequence[Row]], aliases: Mapping[MessageKey, ExternalId]) -> Iterator[list[Row]]:
    """The same rows under the primary ids of their messages, in rounds that hold each message once."""
    for one_round in rounds:
        once: list[list[Row]] = []
        times_seen: dict[MessageKey, int] = {}
        for ord_, row in enumerate(one_round):
            primary = with_primary_id(row, aliases) | {"ord": ord_}
            number = times_seen.get(message_key(primary), 0)
            times_seen[message_key(primary)] = number + 1
            if number == len(once):
                once.append([])
            once[number].append(primary)
        yield from once


async def _use_root_conversations(conn: Connection, outcomes: Mapping[UnitId, UnitOutcome]) -> None:
    """Name the root conversation of each new message. Only the conversation of a LID may be merged into another."""
    by_lid = [
        (outcome, external_id, message)
        for outcome in outcomes.values()
        for external_id, message in outcome.created.items()
        if str(message.row["contact"]).startswith("lid:")
    ]
    if not by_lid:
        return
    ids = sorted({message.conversation_id for _, _, message in by_lid})
    roots = {row.id: row.merged_into for row in await _SQL.rows(conn, "find_roots", ids=ids)}
    for outcome, external_id, message in by_lid:
        if message.conversation_id in roots:
            outcome.created[external_id] = replace(message, conversation_id=roots[message.conversation_id])


# -- second ids: of better copies of photos and videos, which have no row of their own ---------------------------


async def store_second_ids(conn: Connection, copies: Sequence[Row]) -> set[MessageKey]:
    """Store second ids inside the recorder's transaction. Returns those that lead to a message."""
    if not copies:
        return set()
    return {
        (UnitId(row.unit_id), ExternalId(row.external_id))
        for row in await _SQL.rows(conn, "store_second_ids", rows=as_json(copies))
    }


async def find_primary_ids(conn: Connection, keys: Iterable[MessageKey]) -> dict[MessageKey, ExternalId]:
    """Of these keys those that are second ids, with the id of their message."""
    return {
        (UnitId(row.unit_id), ExternalId(row.external_id)): ExternalId(row.primary_id)
        for row in await _SQL.run_batch(conn, "find_primary_ids", _rows(keys))
    }


def _rows(keys: Iterable[MessageKey]) -> list[Row]:
    return [{"unit_id": unit, "provider": PROVIDER, "external_id": external_id} for unit, external_id in sorted(keys)]
