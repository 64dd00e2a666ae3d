"""Transactions that insert the same row at once: with "on conflict" each of them ends well.

PostgreSQL waits for the other's row only where it meets it in the unique index that the statement names. If another
unique index of the table meets it first, the statement fails (seen with PostgreSQL 18).
"""

import re
from contextlib import AsyncExitStack
from importlib.resources import files
from importlib.resources.abc import Traversable
from uuid import UUID

import trio

from zapline.domain.ids import UnitId, contact_id, conversation_id
from zapline.sql.inbound.recorder_types import Row
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.queries import Queries

CONTACTS = Queries("zapline.sql.inbound.contact_identities")
UNIT = UnitId(UUID(int=1))

UNIQUE_BESIDES = {
    "messages": {
        ("id",): "of one external id, where whoever is refused tries again, or new",
        ("unit_id", "client_message_id"): "what is sent has no external id yet",
        ("unit_id", "provider", "external_id"): "as above",
    },
    "campaigns": {("id",): "new"},
    "admins": {("id",): "new"},
    "dead_letters": {("id",): "new"},
    "message_changes": {("id",): "new"},
    "evolution_servers": {("url",): "an administrator adds a server, and is told where the address has another name"},
}
"""Unique keys that an insert does not name, and why two that insert at once cannot meet in them alone."""


def statements(folder: Traversable) -> list[str]:
    found: list[str] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += statements(entry)
        elif entry.name.endswith(".sql") and not re.match(r"\d{4}_", entry.name):
            found.append(entry.read_text())
    return found


def named_conflicts() -> set[tuple[str, tuple[str, ...]]]:
    """Table and columns of each ``insert ... on conflict (columns)``."""
    insert = re.compile(
        r"insert into zapline\.(\w+)((?:(?!insert into).)*?)on conflict \(([^)]*)\)", re.DOTALL | re.IGNORECASE
    )
    return {
        (match[1], tuple(column.strip() for column in match[3].split(",")))
        for text in statements(files("zapline.sql"))
        for match in insert.finditer(text)
    }


async def unique_keys(conn: Connection) -> dict[str, set[tuple[str, ...]]]:
    rows = await conn.fetch(
        "select c.relname as name, array(select a.attname::text from unnest(i.indkey::int[]) with ordinality k(n, at)"
        "   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n order by k.at) as columns"
        "  from pg_index i join pg_class c on c.oid = i.indrelid"
        " where i.indisunique and c.relnamespace = 'zapline'::regnamespace"
    )
    keys: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        keys.setdefault(row.name, set()).add(tuple(row.columns))
    return keys


async def test_a_table_has_no_unique_key_besides_the_one_that_an_insert_awaits(database: str) -> None:
    async with await connect(database) as conn:
        keys = await unique_keys(conn)
    conflicts = named_conflicts()
    assert len(conflicts) > 15
    besides = {
        (table, key)
        for table, named in conflicts
        for key in keys[table] - {named}
        if key not in UNIQUE_BESIDES.get(table, {})
    }
    assert besides == set()


async def test_transactions_that_insert_the_same_contacts_at_once_all_succeed(database: str) -> None:
    people = [f"55119{number:08}" for number in range(150)]

    async def insert(conn: Connection, one: str) -> None:
        contact: Row = {"id": contact_id(UNIT, one), "unit_id": UNIT, "kind": "person", "canonical": one}
        conversation: Row = {
            "id": conversation_id(UNIT, one),
            "unit_id": UNIT,
            "contact_id": contact_id(UNIT, one),
            "at": 1.0,
        }
        await CONTACTS.run_batch(conn, "upsert_contacts", [contact])
        await CONTACTS.run_batch(conn, "upsert_conversations", [conversation])

    async with AsyncExitStack() as stack:
        conns = [await stack.enter_async_context(await connect(database)) for _ in range(6)]
        await conns[0].execute("insert into zapline.units (id, name) values (%(id)s, 'A')", {"id": UNIT})
        for one in people:
            async with trio.open_nursery() as nursery:
                for conn in conns:
                    nursery.start_soon(insert, conn, one)
        for table in ("contacts", "conversations"):
            (row,) = await conns[0].fetch(f"select count(*) as n from zapline.{table}")
            assert row.n == len(people)
