"""Performs the recorder's transaction: a batch of many units' entries is stored as a whole or not at all."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from uuid import UUID

from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.sql.campaigns.campaigns import move_to_reply_lane
from zapline.sql.campaigns.opt_outs import record_opt_outs
from zapline.sql.inbound.contact_identities import RecorderCache, store_contacts
from zapline.sql.inbound.echo_matching import (
    ChosenCall,
    find_chosen_calls,
    hold_back_echoes,
    resolve_echoes,
    settle_chosen_calls,
)
from zapline.sql.inbound.message_deduplication import store_messages, store_second_ids
from zapline.sql.inbound.parked_reports import apply_reports
from zapline.sql.inbound.reactions import store_reactions
from zapline.sql.inbound.recorder_types import MessageKey, Row, UnitOutcome, message_key
from zapline.sql.inbound.rows_from_facts import BatchRows
from zapline.sql.inbound.send_results import ResolvedSends, apply_send_results, load_aliases
from zapline.sql.inbound.status_merge import by_primary_id, report_of
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


async def record(
    conn: Connection,
    batch: Sequence[UnitBatch],
    cache: RecorderCache,
    lock_timeout_ms: int | None = None,
    campaigning: Collection[UnitId] = (),
) -> dict[UnitId, UnitOutcome]:
    """Store a batch in one transaction; each unit occurs in it at most once.

    ``lock_timeout_ms``: how long this transaction waits for a lock, where the connection's own limit is too long.
    ``campaigning``: units with a running campaign, which replies to a sender's messages overtake.

    Raises StatementFailed or DatabaseUnavailable; then nothing of the batch is stored, except where the
    commit's outcome is unknown. All statements are merges, so the batch may be stored again. Cancellation
    rolls back.
    """
    rows = BatchRows()
    for unit_batch in batch:
        rows.extend(unit_batch.rows)
    outcomes = {unit_batch.unit_id: UnitOutcome() for unit_batch in batch}
    if cache.aliases is None:
        cache.aliases = await load_aliases(conn)
    aliases = dict(cache.aliases)
    resolved = ResolvedSends(aliases=aliases)
    async with conn.transaction():
        if lock_timeout_ms is not None:
            await _SQL.rows(conn, "set_lock_timeout", ms=lock_timeout_ms)
        chosen = await find_chosen_calls(conn, rows)
        contacts, identities = cache.unstored(rows.contacts, rows.identities)
        await store_contacts(conn, contacts, identities, rows)
        await _store_messages(conn, rows, chosen, resolved, outcomes)
        second_ids = await store_second_ids(conn, rows.copies)
        await _apply_reports(conn, rows, resolved, outcomes, second_ids)
        waiting = set(cache.waiting_reactions)
        arrived = _created(outcomes) | resolved.keys
        await store_reactions(conn, rows.reactions, arrived, aliases, waiting, outcomes)
        if campaigning:
            for unit_id in await move_to_reply_lane(conn, _senders(rows, campaigning)):
                outcomes[unit_id].queued = True
        for unit_id, count in (await record_opt_outs(conn, rows.opt_outs)).items():
            outcomes[unit_id].opted_out = count
            outcomes[unit_id].queued = True
        await _SQL.run_batch(conn, "insert_dead_letters", rows.dead_letters)
        await _store_positions(conn, batch)
    cache.remember(contacts, identities)
    cache.aliases, cache.waiting_reactions = aliases, waiting
    for settled in resolved.settled:
        outcomes[settled.unit_id].settled.append(settled)
    for unit_batch in batch:
        buried = [(entry.seq, entry.dead_reason) for entry in unit_batch.entries if entry.dead_reason is not None]
        outcomes[unit_batch.unit_id].buried.extend(buried)
    return outcomes


async def _store_messages(
    conn: Connection,
    rows: BatchRows,
    chosen: Sequence[ChosenCall],
    resolved: ResolvedSends,
    outcomes: Mapping[UnitId, UnitOutcome],
) -> None:
    """Store the results of send calls, then the messages: an echo of our own send is no message of its own."""
    await apply_send_results(conn, rows.answers, resolved)
    await settle_chosen_calls(conn, chosen, resolved)
    outgoing = [row for one_round in rows.messages for row in one_round if row["from_me"]]
    held_back = await hold_back_echoes(conn, outgoing)
    units = {key[0] for key in held_back} | {message_key(row)[0] for row in rows.answers}
    # Two chats that have become one person's: an echo under one of them may belong to a call to the other.
    units |= {UnitId(row["unit_id"]) for row in rows.merges}  # type: ignore[arg-type]
    await resolve_echoes(conn, units, resolved)
    rounds = [[row for row in one if not (row["from_me"] and message_key(row) in held_back)] for one in rows.messages]
    await store_messages(conn, chain(rounds, ([row] for row in resolved.unmatched)), resolved.aliases, outcomes)


async def _apply_reports(
    conn: Connection,
    rows: BatchRows,
    resolved: ResolvedSends,
    outcomes: Mapping[UnitId, UnitOutcome],
    second_ids: set[MessageKey],
) -> None:
    """Apply the batch's reports, and what deleted rows knew about messages that turned out to be our own sends."""
    inherited = (((UnitId(row.unit_id), ExternalId(row.external_id)), report_of(row)) for row in resolved.deleted)
    reports = by_primary_id(chain(rows.reports.items(), inherited), resolved.aliases)
    arrived = _created(outcomes) | resolved.keys | second_ids
    for message in (await apply_reports(conn, reports, arrived, resolved.aliases))[1]:
        outcomes[message.unit_id].changed.append(message)


def _created(outcomes: Mapping[UnitId, UnitOutcome]) -> set[MessageKey]:
    return {(unit, external) for unit, outcome in outcomes.items() for external in outcome.created}


def _senders(rows: BatchRows, campaigning: Collection[UnitId]) -> list[Row]:
    """The conversations of live incoming messages in units with a running campaign."""
    return [
        {"unit_id": row["unit_id"], "conversation_id": row["conversation_id"]}
        for one_round in rows.messages
        for row in one_round
        if not row["from_me"] and row["origin"] == "live" and row["unit_id"] in campaigning
    ]


async def _store_positions(conn: Connection, batch: Sequence[UnitBatch]) -> None:
    changed, advanced = [], []
    for unit_batch in batch:
        position: Row = {
            "unit_id": unit_batch.unit_id,
            "journal_id": unit_batch.journal_id if unit_batch.applied_seq is not None else None,
            "applied_seq": unit_batch.applied_seq,
        }
        connection = unit_batch.connection
        if connection is not None:
            stored = {name: getattr(connection, name) for name in connection.__slots__}
            changed.append(position | stored | {"status": connection.status})
        elif unit_batch.applied_seq is not None:
            advanced.append(position)
    await _SQL.run_batch(conn, "write_connections", changed)
    await _SQL.run_batch(conn, "advance_positions", advanced)


def applied_position(journal_id: UUID, stored_id: UUID | None, stored_seq: int) -> Seq:
    """How far this journal is applied; the position of another journal does not count."""
    return Seq(stored_seq if stored_id == journal_id else 0)
