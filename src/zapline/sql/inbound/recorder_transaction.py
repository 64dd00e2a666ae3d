"""Performs the recorder's transaction: a batch of many units' entries is stored as a whole or not at all."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, islice
from uuid import UUID

from zapline.domain.errors import PositionRefused
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.sql.campaigns.campaigns import move_to_reply_lane
from zapline.sql.campaigns.opt_outs import record_opt_outs
from zapline.sql.inbound.authorship import Stranger, dead_letter_row, letters, store_letters
from zapline.sql.inbound.contact_identities import RecorderCache, learn_own_names, store_contacts
from zapline.sql.inbound.echo_matching import (
    ChosenCall,
    find_chosen_calls,
    hold_back_echoes,
    resolve_echoes,
    settle_chosen_calls,
)
from zapline.sql.inbound.encrypted.encrypted_reports import (
    OpenedReports,
    delete_of_deleted,
    find_openable,
    list_waiting,
    open_reports,
    park_encrypted_reports,
    store_secrets,
)
from zapline.sql.inbound.message_deduplication import store_messages, store_second_ids
from zapline.sql.inbound.parked_reports import apply_reports, find_unproven
from zapline.sql.inbound.reactions import move_reactions, store_reactions
from zapline.sql.inbound.recorder_types import MessageKey, ReplacedMessage, Row, UnitOutcome, message_key
from zapline.sql.inbound.rows_from_facts import BatchRows
from zapline.sql.inbound.send_results import ResolvedSends, apply_send_results, load_aliases, restore_calls
from zapline.sql.inbound.status_merge import by_primary_id, report_of
from zapline.sql.inbound.unit_batches import UnitBatch, merge_rows
from zapline.sql.inbound.waiting.waiting_facts import TakenUp, expire_waiting, keep_waiting, take_due, take_linked
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)
_TRIED_AGAIN = 16
"""Messages whose encrypted reports are tried again when a name becomes known; the others are housekeeping's."""


async def record(
    conn: Connection,
    batch: Sequence[UnitBatch],
    cache: RecorderCache,
    lock_timeout_ms: int | None = None,
    campaigning: Collection[UnitId] = (),
    sealer: SecretSealer | None = None,
    epoch: int | None = None,
    clock: Callable[[], float] = time.time,
) -> dict[UnitId, UnitOutcome]:
    """Store a batch in one transaction; each unit occurs in it at most once.

    ``lock_timeout_ms``: how long this transaction waits for a lock, where the connection's own limit is too long.
    ``campaigning``: units with a running campaign, which replies to a sender's messages overtake.
    ``sealer``: encrypts the secrets of messages; None: they are not kept.
    ``epoch``: of this process's leadership; nothing is stored once another process leads. None: it is not checked.

    Raises StatementFailed, DatabaseUnavailable, PositionRefused; then nothing of the batch is stored, except where
    the commit's outcome is unknown. All statements are merges, so the batch may be stored again. Cancellation
    rolls back.
    """
    rows = merge_rows(batch)
    outcomes = {unit_batch.unit_id: UnitOutcome() for unit_batch in batch}
    if cache.aliases is None or cache.waiting is None:  # both at once: it may be forgotten while either is read
        loaded = await load_aliases(conn), await list_waiting(conn)
        cache.aliases, cache.waiting = loaded
    aliases, unread = dict(cache.aliases), cache.waiting
    resolved = ResolvedSends(clock(), aliases=aliases)
    async with conn.transaction():
        if lock_timeout_ms is not None:
            await _SQL.rows(conn, "set_lock_timeout", ms=lock_timeout_ms)
        await _store_positions(conn, batch, epoch)
        await restore_calls(conn, rows.calls)
        chosen = await find_chosen_calls(conn, rows)
        contacts, identities = cache.unstored(rows.contacts, rows.identities)
        linked = await store_contacts(conn, contacts, identities, rows)
        taken = await take_linked(conn, linked)
        strangers = await _store_messages(conn, rows, taken, chosen, resolved, outcomes)
        second_ids = await store_second_ids(conn, rows.copies)
        strangers += await move_reactions(conn, second_ids, outcomes)
        moved = {row["unit_id"] for row in chain(contacts, identities)}
        tried, opened = await _open_reports(conn, rows, unread, moved, resolved, second_ids, sealer)
        retried = second_ids | await find_unproven(conn, linked)
        strangers += await _apply_reports(conn, rows, opened, resolved, outcomes, retried)
        facts = ((unit.unit_id, fact) for unit in batch for entry in unit.entries for fact in entry.facts)
        own_names = await learn_own_names(conn, facts, cache)
        waiting = set(cache.waiting_reactions)
        arrived = _created(outcomes) | resolved.keys
        reactions = [*rows.reactions, *opened.reactions, *taken.reactions]
        strangers += await store_reactions(conn, reactions, arrived, aliases, waiting, outcomes)
        if campaigning:
            for unit_id in await move_to_reply_lane(conn, _senders(rows, campaigning)):
                outcomes[unit_id].queued = True
        for unit_id, count in (await record_opt_outs(conn, rows.opt_outs)).items():
            outcomes[unit_id].opted_out = count
            outcomes[unit_id].queued = True
        strangers = await _set_aside(conn, [*strangers, *resolved.strangers], outcomes)
        await store_letters(conn, [*rows.dead_letters, *_letters(rows, strangers, batch)])
    cache.remember(contacts, identities)
    cache.own_names |= own_names
    cache.waiting_reactions = waiting
    if cache.waiting is not None:  # not forgotten meanwhile
        cache.aliases, cache.waiting = aliases, (unread - tried) | opened.waiting
    _count(taken, strangers, outcomes)
    for unit_id, counts in opened.counts.items():
        outcomes[unit_id].encrypted += counts
    _tell_own_sends(resolved, outcomes)
    for unit_batch in batch:
        buried = [(entry.seq, entry.dead_reason) for entry in unit_batch.entries if entry.dead_reason is not None]
        outcomes[unit_batch.unit_id].buried.extend(buried)
    return outcomes


async def _set_aside(
    conn: Connection, strangers: Sequence[Stranger], outcomes: Mapping[UnitId, UnitOutcome]
) -> list[Stranger]:
    """Keep what is not proven yet until it is; returns what becomes dead letters."""
    unproven = [stranger for stranger in strangers if not stranger.proven]
    surplus = await keep_waiting(conn, unproven)
    for stranger in unproven:
        outcomes[stranger.unit].waiting["kept"] += 1
    return [*(stranger for stranger in strangers if stranger.proven), *surplus]


def _count(taken: TakenUp, strangers: Sequence[Stranger], outcomes: Mapping[UnitId, UnitOutcome]) -> None:
    for row in (*taken.messages, *taken.reactions):
        outcomes[row["unit_id"]].waiting["taken_up"] += 1  # type: ignore[index]
    for stranger in strangers:
        if stranger.unit in outcomes:
            outcomes[stranger.unit].strangers[stranger.change, stranger.proven] += 1


def _tell_own_sends(resolved: ResolvedSends, outcomes: Mapping[UnitId, UnitOutcome]) -> None:
    for settled in resolved.settled:
        outcomes[settled.unit_id].settled.append(settled)
    for row in resolved.deleted:
        replaced = ReplacedMessage(row.unit_id, row.replaced, row.external_id, row.conversation_id, row.message)
        outcomes[row.unit_id].replaced.append(replaced)


async def _store_messages(
    conn: Connection,
    rows: BatchRows,
    taken: TakenUp,
    chosen: Sequence[ChosenCall],
    resolved: ResolvedSends,
    outcomes: Mapping[UnitId, UnitOutcome],
) -> list[Stranger]:
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
    rounds += [taken.messages, *([row] for row in resolved.unmatched)]
    return await store_messages(conn, rounds, resolved.aliases, outcomes)


async def _open_reports(
    conn: Connection,
    rows: BatchRows,
    waiting: Collection[MessageKey],
    moved: Collection[object],
    resolved: ResolvedSends,
    second_ids: Collection[MessageKey],
    sealer: SecretSealer | None,
) -> tuple[set[MessageKey], OpenedReports]:
    """Keep the batch's secrets and encrypted reports, and open what can be opened now; returns what was tried.

    A batch without encrypted reports, in which no message has any waiting, costs no query. ``moved``: units in which
    a new name or address of somebody is known.
    """
    if sealer is not None:
        await store_secrets(conn, rows.secrets, sealer)
    surplus = await park_encrypted_reports(conn, rows.encrypted)
    wanted = {message_key(row) for row in rows.encrypted} | surplus.keys()
    if waiting:
        arrived = {message_key(row) for row in chain(rows.secrets, *rows.messages, resolved.unmatched)}
        arrived |= resolved.keys | set(second_ids)
        primary = {key for key, id in resolved.aliases.items() if key in waiting and (key[0], id) in arrived}
        wanted |= arrived.intersection(waiting) | primary
        if moved:
            wanted |= set(islice((key for key in waiting if key[0] in moved), _TRIED_AGAIN))
    opened = await open_reports(conn, wanted, sealer, resolved.aliases) if wanted else OpenedReports()
    for (unit, _), count in surplus.items():
        opened.count(unit, "surplus", count)
    return wanted, opened


async def _apply_reports(
    conn: Connection,
    rows: BatchRows,
    opened: OpenedReports,
    resolved: ResolvedSends,
    outcomes: Mapping[UnitId, UnitOutcome],
    second_ids: set[MessageKey],
) -> list[Stranger]:
    """Apply the batch's reports, and what deleted rows knew about messages that turned out to be our own sends."""
    inherited = (((UnitId(row.unit_id), ExternalId(row.external_id), ""), report_of(row)) for row in resolved.deleted)
    reports = by_primary_id(chain(rows.reports.items(), inherited, opened.reports), resolved.aliases)
    arrived = _created(outcomes) | resolved.keys | second_ids
    applied = await apply_reports(conn, reports, arrived, resolved.aliases)
    for message in applied.changed:
        outcomes[message.unit_id].changed.append(message)
    await delete_of_deleted(conn, [(one.unit_id, one.external_id) for one in applied.changed if one.deleted])
    return applied.strangers


def _letters(rows: BatchRows, strangers: Sequence[Stranger], batch: Sequence[UnitBatch]) -> list[Row]:
    """Dead letters of what strangers said, with the bodies of the batch's entries."""
    if not strangers:
        return []
    journal = batch[0].journal_id
    said = rows.sources.keys() & {source for stranger in strangers for source in stranger.sources}
    return letters(strangers, {source: dead_letter_row(*rows.sources[source], journal) for source in said})


async def apply_waiting_facts(
    conn: Connection, limit: int, days: float
) -> tuple[dict[UnitId, UnitOutcome], list[Stranger], int]:
    """Store waiting messages and reactions that can be told by now, and give up those that waited for ``days``.

    Returns what has changed, by unit; what became dead letters; and how many were given up.
    """
    async with conn.transaction():
        taken = await take_due(conn, limit)
        outcomes = {unit: UnitOutcome() for unit in taken.units}
        strangers = await store_messages(conn, [taken.messages], {}, outcomes)
        strangers += await store_reactions(conn, taken.reactions, (), {}, set(), outcomes)
        strangers = await _set_aside(conn, strangers, outcomes)
        expired, buried = await expire_waiting(conn, days)
        strangers += buried
        await store_letters(conn, letters(strangers, {}))
    _count(taken, (), outcomes)
    return outcomes, strangers, expired


async def open_waiting_reports(conn: Connection, limit: int, sealer: SecretSealer) -> dict[UnitId, UnitOutcome]:
    """Try reports again that could not be opened; returns what has changed, by unit."""
    outcomes: dict[UnitId, UnitOutcome] = {}
    async with conn.transaction():
        keys = await find_openable(conn, limit)
        if not keys:
            return outcomes
        outcomes |= {unit: UnitOutcome() for unit, _ in keys}
        opened = await open_reports(conn, keys, sealer, {})
        for message in (await apply_reports(conn, by_primary_id(opened.reports, {}), (), {})).changed:
            outcomes[message.unit_id].changed.append(message)
        await store_reactions(conn, opened.reactions, (), {}, set(), outcomes)
    for unit, counts in opened.counts.items():
        outcomes[unit].encrypted += counts
    return outcomes


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


async def _store_positions(conn: Connection, batch: Sequence[UnitBatch], epoch: int | None) -> None:
    """Store connections and positions, if the database still holds what was stored before, and the units are ours.

    It comes first: the rows are locked from then on, so that nobody else becomes the owner before the commit.
    """
    changed, advanced, held = [], [], []
    for unit_batch in batch:
        message, fence = unit_batch.stored.last_claim or (None, None)
        position: Row = {
            "unit_id": unit_batch.unit_id,
            "journal_id": unit_batch.journal_id if unit_batch.applied_seq is not None else None,
            "applied_seq": unit_batch.applied_seq,
            "expected_id": unit_batch.journal_id,
            "expected": unit_batch.stored.seq,
            "last_message": message,
            "last_fence": fence,
            "epoch": epoch,
            **unit_batch.held.arguments,
        }
        connection = unit_batch.connection
        if connection is not None:
            stored = {name: getattr(connection, name) for name in connection.__slots__}
            changed.append(position | stored | {"status": connection.status})
        elif unit_batch.applied_seq is not None:
            advanced.append(position)
        else:
            held.append(position)
    written = await _SQL.run_batch(conn, "write_connections", changed)
    written += await _SQL.run_batch(conn, "advance_positions", advanced)
    written += await _SQL.run_batch(conn, "hold_units", held)
    refused = {row["unit_id"] for row in (*changed, *advanced, *held)} - {row.unit_id for row in written}
    if refused and (there := await _SQL.rows(conn, "find_units", units=list(refused))):  # else their rows are gone
        text = "the database was set back, or another process leads"
        raise PositionRefused(text, [row.unit_id for row in there])
    taken = [{"id": id, "unit_id": unit_batch.unit_id} for unit_batch in batch for id in unit_batch.inbox]
    await _SQL.run_batch(conn, "empty_inbox", taken)
    await _SQL.run_batch(conn, "store_line_changes", [row for each in batch for row in _change_rows(each)])


def _change_rows(batch: UnitBatch) -> list[Row]:
    return [
        {
            "unit_id": batch.unit_id,
            "number": change.number,
            "at": change.at,
            "phase": change.phase,
            "reason": change.reason,
        }
        for change in batch.changes
    ]


def applied_position(journal_id: UUID, stored_id: UUID | None, stored_seq: int) -> Seq:
    """How far this journal is applied; the position of another journal does not count."""
    return Seq(stored_seq if stored_id == journal_id else 0)
