"""Builds a database as a large house has it: 1,000 units, 100,000 conversations in one of them, millions of messages.

All of it comes from ``generate_series``, by the server itself. Messages, calls and the outbox are filled without their
indexes and triggers, which are made anew at the end from what the catalogue says of them, so that ten million messages
take minutes and not hours. Progress is told after each step.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg

LONGEST_CHAT = 100_000
"""Messages of the large unit's longest conversation, where there are enough."""
BYTES_A_MESSAGE = 1200
"""Of the row, its indexes, a tenth of it in outbox and calls, and the WAL and the sorting while it is built."""
_PART = 500_000
_FILLED = ("messages", "outbox", "attempts")
_MIXED = "(('x' || substr(md5(n::text), 1, 8))::bit(32)::bigint)"
"""A number of 32 bits that looks drawn by chance, and is the same with each building."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many units there are, and how many conversations in the large one and in each of the others."""

    units: int = 1000
    chats: int = 100_000
    chats_of_others: int = 100

    @property
    def all_chats(self) -> int:
        return self.chats + (self.units - 1) * self.chats_of_others

    @property
    def merged(self) -> int:
        """Conversations known by a LID, each merged into one of the large unit's."""
        return self.chats // 100

    def owner(self, chat: str) -> str:
        """The SQL of the number of the unit that has a conversation."""
        other = f"2 + ({chat} - {self.chats} - 1) / {self.chats_of_others}"
        return f"(case when {chat} <= {self.chats} then 1 else {other} end)"


@dataclass(frozen=True, slots=True)
class LargeHouse:
    """What a reader needs: the large unit, its longest conversation, and one of its campaigns."""

    unit: UUID
    conversation: UUID
    campaign: UUID


KNOWN = LargeHouse(*(UUID(f"00000000-0000-4000-8{kind:03d}-000000000001") for kind in (1, 3, 5)))


def require_space(directory: Path, messages: int) -> None:
    """Raises SystemExit where the disk of ``directory`` has less than the database will need, and a reserve."""
    needed, free = messages * BYTES_A_MESSAGE + 2 * 2**30, shutil.disk_usage(directory).free
    if free < needed:
        raise SystemExit(f"{messages} messages need {needed >> 30} GiB of free disk; {directory} has {free >> 30}")


def build(url: str, messages: int, sizes: Sizes, tell: Callable[[str], None]) -> LargeHouse:
    """Fill the empty, migrated database at ``url`` with ``messages`` messages, half of them in the large unit."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("set maintenance_work_mem = '512MB'; set synchronous_commit = off; set jit = off")
        conn.execute("set session_replication_role = replica")  # no triggers and no foreign keys: nothing is told
        _Builder(conn, messages, sizes, tell).run()
    return KNOWN


def _id(kind: int, number: str) -> str:
    """The SQL of the id of a row: its kind and its number."""
    return f"('00000000-0000-4000-8{kind:03d}-' || lpad(to_hex({number}), 12, '0'))::uuid"


@dataclass(frozen=True, slots=True)
class _Builder:
    conn: psycopg.Connection
    messages: int
    sizes: Sizes
    tell: Callable[[str], None]

    def run(self) -> None:
        self._add_people()
        self._add_rest()
        indexes = self._take_indexes()
        for first in range(1, self.messages + 1, _PART):
            last = min(self.messages, first + _PART - 1)
            self._run(f"messages up to {last} of {self.messages}", self._messages(first, last))
            self._run(f"outbox and calls up to {last}", _OUTBOX, first=first, last=last)
        for statement in indexes:
            self._run(statement.partition(" on ")[0].lower()[:80], statement)
        self._run("times of the latest messages", _RECENCY)
        for table in ("messages", "outbox"):
            sequence = f"pg_get_serial_sequence('zapline.{table}', 'seq')"
            self._run(f"numbers of {table}", f"select setval({sequence}, {self.messages})")
        tables = self._fetch("select format('zapline.%I', tablename) from pg_tables where schemaname = 'zapline'")
        for (table,) in tables:
            self._run(f"vacuum {table}", f"vacuum (analyze) {table}")

    def _run(self, name: str, statement: str, **values: object) -> None:
        started = time.perf_counter()
        for one in statement.split(";\n"):
            self.conn.execute(one.encode(), values or None)
        seconds = time.perf_counter() - started
        if seconds > 1:
            self.tell(f"    {name}: {seconds:.1f} s")

    def _fetch(self, query: str) -> list[tuple[str, ...]]:
        return self.conn.execute(query.encode()).fetchall()

    def _add_people(self) -> None:
        """Units, contacts, and conversations, some of them merged into others."""
        sizes = self.sizes
        self._run(
            "units",
            f"""
            insert into zapline.units (id, name)
            select {_id(1, "n")}, 'House ' || n from generate_series(1, {sizes.units}) n;
            insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest)
            select {_id(1, "n")}, 'evolution', 'house_' || n, sha256(('house' || n)::bytea)
              from generate_series(1, {sizes.units}) n""",
        )
        self._run(
            "contacts",
            f"""
            insert into zapline.contacts (id, unit_id, kind, canonical, phone, name, name_at, created_at)
            select {_id(2, "n")}, {_id(1, sizes.owner("n"))}, 'person', '+5511' || (900000000 + n),
                   '+5511' || (900000000 + n),
                   (array['Ana', 'Bruno', 'Carla', 'Davi', 'Elisa', 'Fábio', 'Gabriela', 'Heitor', 'Íris', 'João'])
                       [1 + {_MIXED} % 10] || ' ' ||
                   (array['Silva', 'Souza', 'Lima', 'Rocha', 'Alves', 'Nunes', 'Prado'])[1 + {_MIXED} / 16 % 7]
                   || ' ' || n, now(), now()
              from generate_series(1, {sizes.all_chats}) n""",
        )
        self._run(
            "conversations",
            f"""
            insert into zapline.conversations (id, unit_id, contact_id)
            select {_id(3, "n")}, {_id(1, sizes.owner("n"))}, {_id(2, "n")}
              from generate_series(1, {sizes.all_chats}) n""",
        )
        self._run(
            "merged conversations",
            f"""
            insert into zapline.contacts (id, unit_id, kind, canonical, lid, created_at)
            select {_id(2, f"{sizes.all_chats} + n")}, {_id(1, "1")}, 'person', 'lid:' || n, n || '@lid', now()
              from generate_series(1, {sizes.merged}) n;
            insert into zapline.conversations (id, unit_id, contact_id, merged_into, last_message_at)
            select {_id(3, f"{sizes.all_chats} + n")}, {_id(1, "1")}, {_id(2, f"{sizes.all_chats} + n")},
                   {_id(3, "n * 100")}, now() - n * interval '1 hour'
              from generate_series(1, {sizes.merged}) n""",
        )

    def _add_rest(self) -> None:
        """A campaign to everybody in the large unit, and dead letters."""
        self._run(
            "campaign",
            f"""
            insert into zapline.campaigns (id, unit_id, name, state, content)
            values ({_id(5, "1")}, {_id(1, "1")}, 'To everybody', 'paused',
                    '{{"content": {{"type": "text", "text": "Hello"}}}}');
            insert into zapline.campaign_recipients (campaign_id, number, unit_id, recipient, state)
            select {_id(5, "1")}, n, {_id(1, "1")}, '+5511' || (900000000 + n), 'pending'
              from generate_series(1, {self.sizes.chats}) n""",
        )
        self._run(
            "dead letters",
            f"""
            insert into zapline.dead_letters (unit_id, reason, size, received_at, journal_id, journal_seq)
            select {_id(1, f"1 + n % {self.sizes.units}")}, 'unreadable', 100, now(), {_id(6, "1")}, n
              from generate_series(1, 2 * {self.sizes.chats}) n""",
        )
        self._add_small()

    def _add_small(self) -> None:
        """A CRM's webhook for each unit and what it was told, facts that wait, echoes, and contacts who opted out."""
        sizes, unit = self.sizes, f"(1 + n % {self.sizes.units})"
        first = f"{sizes.chats} + (n - 2) * {sizes.chats_of_others} + 1"
        self._run(
            "deliveries to CRMs",
            f"""
            insert into zapline.hooks (id, unit_id, url, events)
            select {_id(8, "n")}, {_id(1, "n")}, 'https://crm.invalid/', '{{}}'
              from generate_series(1, {sizes.units}) n;
            insert into zapline.hook_deliveries (hook_id, unit_id, event, state, due_at, created_at, ended_at)
            select {_id(8, unit)}, {_id(1, unit)}, 'message.received', state, now() + interval '6 hours',
                   at, case when state <> 'queued' then at end
              from (select n, now() - n * interval '5 s' as at, case when n % 1000 = 0 then 'dead'
                           when n % 1000 = 1 then 'queued' else 'delivered' end as state
                      from generate_series(1, 2 * {sizes.chats}) n) x""",
        )
        self._run(
            "facts that wait",
            f"""
            insert into zapline.waiting_facts (unit_id, provider, external_id, what, digest, said, entries, received_at)
            select {_id(1, unit)}, 'evolution', upper(md5(n::text)), 'reaction',
                   sha256(n::text::bytea), '{{}}', '{{}}', now() - n * interval '1 s'
              from generate_series(1, {sizes.units} * 100) n;
            insert into zapline.sightings (unit_id, provider, external_id, conversation_id, fingerprint, sent_at,
                                           received_at, backfilled, row)
            select {_id(1, "n")}, 'evolution', upper(md5(n::text)), {_id(3, first)},
                   md5(n::text), now(), now(), false, '{{}}'
              from generate_series(2, {sizes.units}) n;
            insert into zapline.line_changes (unit_id, number, at, phase, reason)
            select {_id(1, unit)}, 1 + n / {sizes.units}, now() - interval '390 days' + n * interval '1 s',
                   'open', 'scan_completed'
              from generate_series(0, {sizes.units} * 200 - 1) n;
            insert into zapline.suppressions (unit_id, canonical, reason)
            select {_id(1, "1")}, '+5511' || (900000000 + n * 50), 'opt_out'
              from generate_series(1, {sizes.chats // 50}) n""",
        )

    def _take_indexes(self) -> list[str]:
        """Drop the indexes and keys of the large tables; return the statements that make them anew."""
        large = ", ".join(f"'zapline.{table}'::regclass" for table in _FILLED)
        keys = self._fetch(
            "select c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) from pg_constraint c"
            f" where c.conrelid in ({large}) and c.contype in ('p', 'u', 'f')"
            f" or c.confrelid in ({large}) order by c.contype = 'f'"
        )
        for table, name, _ in reversed(keys):
            self.conn.execute(f'alter table {table} drop constraint "{name}"'.encode())
        plain = self._fetch(
            f"select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index where indrelid in ({large})"
        )
        for name, _ in plain:
            self.conn.execute(f"drop index {name}".encode())
        return [definition for _, definition in plain] + [
            f'alter table {table} add constraint "{name}" {definition}'
            + (" not valid" if definition.startswith("FOREIGN") else "")
            for table, name, definition in keys
        ]

    def _messages(self, first: int, last: int) -> str:
        """Half of the messages in the large unit, a part of those in one conversation; every fifth is ours."""
        sizes, longest = self.sizes, min(LONGEST_CHAT, self.messages // 20)
        every = 2 * max(1, self.messages // 2 // longest)
        others = sizes.all_chats - sizes.chats
        return f"""
            insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, client_message_id, seq,
                                          from_me, kind, kind_rank, body, sender, origin, delivery, sent_at,
                                          received_at)
            overriding system value
            select {_id(4, "n")}, {_id(1, sizes.owner("chat"))}, {_id(3, "chat")}, 'evolution',
                   '3EB0' || upper(md5(n::text)), case when n % 10 in (0, 5) then 'order-' || n end, n, n % 5 = 0,
                   'text', 2, 'Seu pedido ' || n || ' saiu para entrega e chega hoje.',
                   case when n % 5 <> 0 then '+5511' || (900000000 + chat) end,
                   case when n % 5 = 0 then 'sent' else 'webhook' end,
                   (case when n % 5 = 0 then 'read' end)::zapline.delivery, at, at
              from (select n, case when n % {every} = 0 then 1
                                   when n % 2 = 0 then 1 + {_MIXED} % {sizes.chats}
                                   else {sizes.chats + 1} + {_MIXED} % {others} end as chat,
                           now() - interval '400 days' + n * (interval '399 days' / {self.messages}) as at
                      from generate_series({first}, {last}) n offset 0) x"""


_OUTBOX = f"""
    insert into zapline.outbox (message_id, unit_id, conversation_id, seq, lane, state, recipient, address,
                                fingerprint, content, request_digest, due_at, settled_at, ended_at, failure,
                                fence, look_at)
    overriding system value
    select m.id, m.unit_id, m.conversation_id, m.seq, 'reply', x.state, '+5511900000000', '5511900000000',
           md5(m.seq::text), '{{"kind": "text", "text": "Seu pedido"}}', sha256(m.seq::text::bytea), m.sent_at,
           case when x.state = 'settled' then m.sent_at end, m.sent_at,
           case x.state when 'dead' then 'number_not_on_whatsapp' when 'uncertain' then 'no_answer' end, 1,
           case when x.state = 'uncertain' then now() + interval '1 hour' end
      from zapline.messages m
     cross join lateral (select case when m.seq %% 10000 in (0, 9995) then 'uncertain'
                                     when m.seq %% 1000 in (0, 995) then 'dead' else 'settled' end as state) x
     where m.seq between %(first)s and %(last)s and m.client_message_id is not null;
    insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient,
                                  fingerprint, started_at, ended_at, outcome, external_id)
    select {_id(7, "o.seq")}, o.message_id, o.unit_id, o.conversation_id, 'evolution', 1, o.lane,
           o.recipient, o.fingerprint, o.due_at, o.due_at,
           case o.state when 'settled' then 'sent' when 'dead' then 'rejected' else 'uncertain' end,
           case when o.state = 'settled' then '3EB0' || upper(md5(o.seq::text)) end
      from zapline.outbox o where o.seq between %(first)s and %(last)s"""
_RECENCY = """
    update zapline.conversations c set last_message_at = x.at, read_up_to = x.seq - 5
      from (select conversation_id, max(sent_at) as at, max(seq) as seq from zapline.messages group by 1) x
     where x.conversation_id = c.id"""
