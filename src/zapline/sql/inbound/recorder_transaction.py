"""Performs the recorder's transaction: a batch of many units' entries becomes rows, or nothing does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec

from zapline.domain.ids import PROVIDER, ExternalId, Seq, UnitId
from zapline.domain.messages.delivery_status import Delivery
from zapline.sql.campaigns.campaigns import promote
from zapline.sql.inbound.batches import Created, Outcome, Reported
from zapline.sql.inbound.message_rows import Key, Report, Row, Rows, UnitWrite
from zapline.sql.inbound.opt_outs import record_opt_outs
from zapline.sql.inbound.send_results import Decided, apply_answers, decide_echoes, hold_echoes, load_aliases
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.psycopg_trio import Json
from zapline.sql.postgres.statements import Statement, load

_SQL = load(__name__)
_KNOWN_BOUND = 50_000
"""Contacts remembered as written; past it the memory starts anew, which costs only a few statements."""


class Known:
    """What one lane has written of contacts, so that it is not written again with every message.

    Also the second ids of messages: whoever adds one is this lane.
    """

    def __init__(self) -> None:
        self.aliases: dict[Key, ExternalId] | None = None
        """None: not read yet."""
        self._contacts: dict[object, tuple[object, ...]] = {}
        self._identities: set[tuple[object, ...]] = set()

    def __bool__(self) -> bool:
        return bool(self._contacts or self._identities)

    def unwritten(self, contacts: Iterable[Row], identities: Iterable[Row]) -> tuple[list[Row], list[Row]]:
        """The rows that say something new."""
        return (
            [row for row in contacts if self._contacts.get(row["id"]) != _told(row)],
            [row for row in identities if _spelling(row) not in self._identities],
        )

    def remember(self, contacts: Iterable[Row], identities: Iterable[Row]) -> None:
        """Call only after the commit."""
        if len(self._contacts) > _KNOWN_BOUND or len(self._identities) > _KNOWN_BOUND:
            self.forget()
        self._contacts.update((row["id"], _told(row)) for row in contacts)
        self._identities.update(_spelling(row) for row in identities)

    def forget(self) -> None:
        """Call where the database may have been set back."""
        self.aliases = None
        self._contacts.clear()
        self._identities.clear()


def _told(row: Row) -> tuple[object, ...]:
    return row["phone"], row["lid"], row["name"], row["name_at"]


def _spelling(row: Row) -> tuple[object, ...]:
    return row["unit_id"], row["identity"]


async def record(
    conn: Connection,
    batch: Sequence[UnitWrite],
    known: Known,
    lock_timeout_ms: int | None = None,
    campaigning: Collection[UnitId] = (),
) -> dict[UnitId, Outcome]:
    """Store a batch in one transaction; each unit stands in it at most once.

    ``lock_timeout_ms``: how long this transaction waits for a lock, where the connection's own is too long.
    ``campaigning``: units of which a campaign runs; whoever writes to them is talked with first.

    Raises StatementFailed or DatabaseUnavailable; then nothing of the batch is stored, except where the
    commit's outcome is unknown. All statements are merges, so the batch may be given again. Cancellation
    rolls back.
    """
    rows = Rows()
    for write in batch:
        rows.extend(write.rows)
    outcomes = {write.unit_id: Outcome() for write in batch}
    contacts, identities = known.unwritten(rows.contacts, rows.identities)
    if known.aliases is None:
        known.aliases = await load_aliases(conn)
    aliases = dict(known.aliases)
    decided = Decided(aliases=aliases)
    async with conn.transaction():
        if lock_timeout_ms is not None:
            await conn.fetch(_SQL["wait_less"].sql, _SQL["wait_less"].bind(ms=lock_timeout_ms))
        await _run(conn, _SQL["upsert_contacts"], contacts)
        await _run(conn, _SQL["upsert_identities"], identities)
        await _run(conn, _SQL["upsert_conversations"], rows.conversations)
        await _run(conn, _SQL["merge_conversations"], rows.merges)
        await _store_messages(conn, rows, decided, outcomes)
        reports = _led(rows.reports, aliases)
        for row in decided.inherited:
            _inherit(reports, row, aliases)
        created_keys = [(unit, external) for unit, outcome in outcomes.items() for external in outcome.created]
        for reported in (await _apply_reports(conn, reports, {*created_keys, *decided.touched}, aliases))[1]:
            outcomes[reported.unit_id].reported.append(reported)
        await _run(conn, _SQL["upsert_reactions"], [_led_row(row, aliases) for row in rows.reactions])
        if campaigning:
            for unit_id in await promote(conn, _writers(rows, campaigning)):
                outcomes[unit_id].queued = True
        for unit_id, count in (await record_opt_outs(conn, rows.opt_outs)).items():
            outcomes[unit_id].opted_out = count
            outcomes[unit_id].queued = True
        await _run(conn, _SQL["insert_dead_letters"], rows.dead_letters)
        await _store_positions(conn, batch)
    known.remember(contacts, identities)
    known.aliases = aliases
    for settled in decided.settled:
        outcomes[settled.unit_id].settled.append(settled)
    for write in batch:
        buried = [(entry.seq, entry.dead_reason) for entry in write.entries if entry.dead_reason is not None]
        outcomes[write.unit_id].buried.extend(buried)
    return outcomes


async def _store_messages(conn: Connection, rows: Rows, decided: Decided, outcomes: dict[UnitId, Outcome]) -> None:
    """Messages, and before them how our own calls ended: an echo of ours is no message of its own."""
    await apply_answers(conn, rows.answers, decided)
    own = [row for one_round in rows.messages for row in one_round if row["from_me"]]
    held = await hold_echoes(conn, own)
    asking = {key[0] for key in held} | {UnitId(row["unit_id"]) for row in rows.answers}  # type: ignore[arg-type]
    await decide_echoes(conn, asking, decided)
    rounds = [[row for row in one if not (row["from_me"] and _key_of(row) in held)] for one in rows.messages]
    rounds.extend([row] for row in decided.rows)
    for one_round in rounds:
        led = [_led_row(row, decided.aliases) | {"ord": ord_} for ord_, row in enumerate(one_round)]
        by_key = {(row["unit_id"], row["external_id"]): row for row in led}
        for unit_id, external_id, id, created, seq, conversation in await _run(conn, _SQL["upsert_messages"], led):
            if created and unit_id in outcomes:
                made = Created(id, seq, conversation, by_key[unit_id, external_id])
                outcomes[unit_id].created[external_id] = made
    await _lead_to_roots(conn, outcomes)


async def _lead_to_roots(conn: Connection, outcomes: Mapping[UnitId, Outcome]) -> None:
    """Name the conversations of new messages as they are shown. Only that of a LID may be part of another."""
    by_lid = [
        (outcome, external_id, made)
        for outcome in outcomes.values()
        for external_id, made in outcome.created.items()
        if str(made.row["contact"]).startswith("lid:")
    ]
    if not by_lid:
        return
    asked = {"ids": sorted({made.conversation_id for _, _, made in by_lid})}
    roots = {row.id: row.merged_into for row in await conn.fetch(_SQL["find_roots"].sql, asked)}
    for outcome, external_id, made in by_lid:
        if made.conversation_id in roots:
            outcome.created[external_id] = replace(made, conversation_id=roots[made.conversation_id])


def _writers(rows: Rows, campaigning: Collection[UnitId]) -> list[Row]:
    return [
        {"unit_id": row["unit_id"], "conversation_id": row["conversation_id"]}
        for one_round in rows.messages
        for row in one_round
        if not row["from_me"] and row["origin"] == "live" and row["unit_id"] in campaigning
    ]


def _key_of(row: Row) -> Key:
    return row["unit_id"], row["external_id"]  # type: ignore[return-value]


def _primary(key: Key, aliases: Mapping[Key, ExternalId]) -> Key:
    return key[0], aliases.get(key, key[1])


def _led_row(row: Row, aliases: Mapping[Key, ExternalId]) -> Row:
    """The row under the id that its message goes by."""
    primary = aliases.get(_key_of(row)) if aliases else None
    return row if primary is None else row | {"external_id": primary}


def _led(reports: Mapping[Key, Report], aliases: Mapping[Key, ExternalId]) -> dict[Key, Report]:
    """The reports under the ids that their messages go by. Those given are left as they are."""
    if not any(key in aliases for key in reports):
        return dict(reports)
    led: dict[Key, Report] = {}
    for key, report in reports.items():
        whole = led.setdefault(_primary(key, aliases), Report())
        whole.merge(report)
    return led


def _inherit(reports: dict[Key, Report], row: Any, aliases: Mapping[Key, ExternalId]) -> None:
    """What a row knew that is gone now goes to the message that it was an echo of."""
    key = _primary((UnitId(row.unit_id), ExternalId(row.external_id)), aliases)
    edit = (row.edited_at_ms, row.edited_body) if row.edited_at_ms is not None else None
    label = Delivery[row.delivery.upper()] if row.delivery is not None else None
    whole = Report()
    if key in reports:
        whole.merge(reports[key])
    whole.merge(Report(label, edit, row.deleted_at, row.parked_at))
    reports[key] = whole


async def _apply_reports(
    conn: Connection, fresh: dict[Key, Report], touched: Iterable[Key], aliases: Mapping[Key, ExternalId]
) -> tuple[int, list[Reported]]:
    """Bring reports, new ones and those that waited, to the messages that are known; park the others.

    What waits for a message that is still unknown is left in peace. Returns how many messages were reached, and
    what has changed of them.
    """
    rows, changed = _sorted(fresh), list[Reported]()
    reached = await _reach(conn, rows, changed)
    await _run(conn, _SQL["park_reports"], [row for row in rows if (row["unit_id"], row["external_id"]) not in reached])
    waiting: dict[Key, Report] = {}
    for taken in await _run(conn, _SQL["take_parked"], [_key_row(key) for key in sorted({*touched, *reached})]):
        unit, _, external, delivery, edited_body, edited_at_ms, deleted_at, parked_at = taken
        edit = (edited_at_ms, edited_body) if edited_at_ms is not None else None
        label = Delivery[delivery.upper()] if delivery is not None else None
        waiting[UnitId(unit), ExternalId(external)] = Report(label, edit, deleted_at, parked_at)
    late = await _reach(conn, _sorted(_led(waiting, aliases)), changed)
    return len(reached | late), changed


async def _reach(conn: Connection, rows: Sequence[Row], changed: list[Reported]) -> set[Key]:
    """Which of the messages are known; of those that have changed, ``changed`` gets what of them."""
    reached: set[Key] = set()
    for row in await _run(conn, _SQL["apply_reports"], rows):
        unit, external = UnitId(row.unit_id), ExternalId(row.external_id)
        reached.add((unit, external))
        if row.id is not None:
            what = (row.delivery, row.edited, row.deleted)
            changed.append(Reported(unit, row.id, external, row.client_message_id, row.conversation_id, *what))
    return reached


def _sorted(reports: dict[Key, Report]) -> list[Row]:
    """Rows in the order in which all transactions take their locks."""
    return [report.row(key) for key, report in sorted(reports.items(), key=lambda item: item[0])]


async def apply_waiting(conn: Connection, limit: int) -> tuple[int, list[Reported]]:
    """Bring parked reports to messages that are known by now; how many messages were reached, and what changed."""
    statement = _SQL["find_waiting"]
    async with conn.transaction():
        found = await conn.fetch(statement.sql, statement.bind(limit=limit))
        keys = [(UnitId(row.unit_id), ExternalId(row.external_id)) for row in found]
        return await _apply_reports(conn, {}, keys, {}) if keys else (0, [])


async def expire_parked(conn: Connection, days: float) -> int:
    """Drop reports whose message never came; how many."""
    statement = _SQL["expire_parked"]
    return await conn.execute(statement.sql, statement.bind(days=days))


def _key_row(key: Key) -> Row:
    return {"unit_id": key[0], "provider": PROVIDER, "external_id": key[1]}


async def _store_positions(conn: Connection, batch: Sequence[UnitWrite]) -> None:
    changed, advanced = [], []
    for write in batch:
        position: Row = {
            "unit_id": write.unit_id,
            "journal_id": write.journal_id if write.applied_seq is not None else None,
            "applied_seq": write.applied_seq,
        }
        if write.connection is not None:
            stored = {name: getattr(write.connection, name) for name in write.connection.__slots__}
            changed.append(position | stored | {"status": write.connection.status})
        elif write.applied_seq is not None:
            advanced.append(position)
    await _run(conn, _SQL["write_connections"], changed)
    await _run(conn, _SQL["advance_units"], advanced)


async def _run(conn: Connection, statement: Statement, rows: Sequence[Row]) -> list[Any]:
    """Run a statement over a list of rows, given as one jsonb; nothing to do for an empty list."""
    if not rows:
        return []
    try:
        arguments = {"rows": Json(msgspec.json.encode(rows))}
    except (UnicodeEncodeError, OverflowError) as error:
        # A lone surrogate, or a number of more than 64 bits: poison like any other.
        raise StatementFailed("22000", f"a value cannot be written as JSON: {type(error).__name__}") from None
    if statement.answers:
        return await conn.fetch(statement.sql, arguments)
    await conn.execute(statement.sql, arguments)
    return []


def applied(journal_id: UUID, stored_id: UUID | None, stored_seq: int) -> Seq:
    """How far this journal is applied: a position of another journal says nothing about this one."""
    return Seq(stored_seq if stored_id == journal_id else 0)
