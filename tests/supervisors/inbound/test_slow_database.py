"""A slow, locked, deadlocked or restarted database: nothing is lost, stored twice or made a dead letter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, ready_at_once, text, until

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import Seq, UnitId
from zapline.domain.messages.facts import ContactSeen
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.migrate import migrate
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.pending_writes import PendingWrite
from zapline.supervisors.inbound.recorder import Recorder
from zapline.supervisors.inbound.unit_state import Unit


@contextmanager
def locked(url: str, query: str) -> Iterator[None]:
    """Hold the locks taken by a query."""
    with psycopg.connect(url) as conn:
        conn.execute(query)
        yield
        conn.rollback()


async def test_a_locked_conversation_delays_its_unit_alone(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path, lock_timeout_ms=500) as stack:
        units = await stack.add_units(f"u{number}" for number in range(12))
        for unit in units:
            await stack.send(unit, "messages.upsert", text("first", at=1_795_000_000))
        await stack.wait_until_stored()
        held, *others = units
        query = "select count(*) from zapline.messages where unit_id {} '{}'".format
        with locked(database, f"select * from zapline.conversations where unit_id = '{held.id}' for update"):
            started, retries = trio.current_time(), stack.counters.total("recorder_retries")
            for number in range(20):
                for unit in units:
                    await stack.send(unit, "messages.upsert", text(f"{number:03}"))
            await stack.wait_for_rows(query("<>", held.id), [(11 * 21,)])
            for number in range(3):
                for unit in others:
                    await stack.send(unit, "messages.upsert", text(f"more{number}"))
                await stack.wait_for_rows(query("<>", held.id), [(11 * (22 + number),)])
            retries = stack.counters.total("recorder_retries") - retries
            # One for the batch, then those of the growing pauses: commits of others never wait for the lock.
            assert 0 < retries <= 7 + (trio.current_time() - started) / 1.5
            assert await stack.rows(query("=", held.id)) == [(1,)]
        await stack.wait_until_stored()
        stored = await stack.rows(f"select external_id from zapline.messages where unit_id = '{held.id}' order by seq")
        assert stored == [("first",), *((f"{number:03}",) for number in range(20))]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
        assert stack.counters.total("actor_crashes") == 0


async def test_statement_timeouts_and_deadlocks_cause_no_dead_letters(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path, lock_timeout_ms=0, statement_timeout_ms=300) as stack:
        units = await stack.add_units(f"u{number}" for number in range(6))
        for unit in units:
            await stack.send(unit, "messages.upsert", text("A"))
        await stack.wait_until_stored()
        with locked(database, "lock table zapline.messages in exclusive mode"):
            for unit in units:
                await stack.send(unit, "messages.upsert", text("B"))
            await until(lambda: stack.counters.total("recorder_retries") >= 4)
        await stack.wait_until_stored()
        # A deadlock: the other side holds what the recorder wants and then wants the position's row, which that holds.
        with psycopg.connect(database) as other:
            other.execute("set deadlock_timeout = '10s'")
            other.execute("set lock_timeout = '150ms'")
            other.execute("select * from zapline.conversations for update")
            for unit in units:
                await stack.send(unit, "messages.upsert", text("C"))
            await until(lambda: _deadlocks(other))
            other.rollback()
        await stack.wait_until_stored()
        assert await stack.rows("select external_id, count(*) from zapline.messages group by 1 order by 1") == [
            ("A", 6),
            ("B", 6),
            ("C", 6),
        ]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]


SLOW_TABLE = """
create function zapline.slow() returns trigger language plpgsql as $$
begin
    if (select count(*) from fresh) > 20 then
        perform pg_sleep(30);
    end if;
    return null;
end $$;
create trigger slow_{0} after insert on zapline.{0} referencing new table as fresh
    for each statement execute function zapline.slow();
"""


@pytest.mark.parametrize("table", ["contacts", "message_reactions", "messages"])
async def test_a_write_that_takes_too_long_is_cut_until_it_is_in_time(
    database: str, tmp_path: Path, table: str
) -> None:
    """Whichever array of one webhook is large, and also where it is inside of a single message."""
    people = [f"55119{number:08}@s.whatsapp.net" for number in range(70)]
    events = {
        "contacts": ("contacts.upsert", [{"id": jid, "pushName": f"N{jid}"} for jid in people]),
        "messages": ("messages.set", [text(f"{number:03}", at=1_795_000_000) for number in range(70)]),
        "message_reactions": (
            "messages.update",
            {"keyId": "POLL", "remoteJid": people[0], "pollUpdates": [{"name": "a", "voters": people}]},
        ),
    }
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(SLOW_TABLE.format(table))  # type: ignore[arg-type]
    async with inbound_stack(database, tmp_path, lanes=1, statement_timeout_ms=400) as stack:
        busy, neighbour = await stack.add_units(["um", "dois"])
        await stack.send(busy, *events[table])
        await stack.send(neighbour, "messages.upsert", text("N"))
        await stack.wait_until_stored(30)
        assert await stack.rows(f"select count(*) from zapline.{table} where unit_id = '{busy.id}'") == [(70,)]
        assert await stack.rows(f"select count(*) from zapline.messages where unit_id = '{neighbour.id}'") == [(1,)]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]


@pytest.mark.heavy
async def test_a_large_array_shares_its_lane_with_its_neighbours(database: str, tmp_path: Path) -> None:
    """What comes while it is stored is stored before it ends."""
    people = [{"id": f"55119{number:08}@s.whatsapp.net", "pushName": "x" * 50} for number in range(12_000)]
    async with inbound_stack(database, tmp_path, lanes=1) as stack:
        busy, neighbour = await stack.add_units(["um", "dois"])
        await stack.send(busy, "contacts.upsert", people)
        await stack.send(neighbour, "messages.upsert", text("N"))
        await stack.wait_for_rows("select external_id from zapline.messages", [("N",)])
        ((meanwhile,),) = await stack.rows(f"select count(*) from zapline.contacts where unit_id = '{busy.id}'")
        await stack.wait_until_stored(60)
        ((stored,),) = await stack.rows(f"select count(*) from zapline.contacts where unit_id = '{busy.id}'")
        assert stored == 12_000
        assert int(str(meanwhile)) < 3_000


async def test_after_a_part_of_something_large_come_small_writes_and_then_the_next_large_one() -> None:
    """However many units have something large: a small write waits for one part."""

    def write(name: str, facts: int) -> PendingWrite:
        seen = tuple(ContactSeen(Address(AddressKind.PERSON, f"+55119{n:08}")) for n in range(facts))
        entry = EntryFacts(Seq(1), "contacts.upsert", 1.0, b"{}", facts=seen)
        return PendingWrite(UnitBatch(UnitId(UUID(int=ord(name))), (entry,), None, None, UUID(int=1)))

    async def nowhere() -> Connection:
        raise DatabaseUnavailable("there is none")

    [lane] = Recorder(nowhere, ready_at_once, Counters(trio.current_time), 1)._lanes
    lane._pending.extend([write("A", 700), write("B", 2000), write("c", 5), write("d", 600), write("E", 700)])
    batches = []
    while lane._pending:
        batch = lane._next_batch()
        lane._large = any(each.large for each in batch)
        batches.append("".join(chr(each.write.unit_id.int) for each in batch))
    assert batches == ["A", "cd", "B", "E"]


def _deadlocks(other: psycopg.Connection[psycopg.rows.TupleRow]) -> bool:
    """Whether the recorder holds its locks at this moment; it gives them up at each statement timeout."""
    try:
        with other.transaction(force_rollback=True):
            other.execute("select from zapline.unit_whatsapp_connections for update")
    except psycopg.errors.LockNotAvailable:
        return True
    return False


async def test_connections_killed_repeatedly_lose_and_duplicate_nothing(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        units = await stack.add_units(f"u{number}" for number in range(10))
        done = False

        async def kill() -> None:
            with psycopg.connect(database, autocommit=True) as admin:
                while not done:
                    admin.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where datname = current_database() and pid <> pg_backend_pid()"
                    )
                    await trio.sleep(0.07)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            for number in range(100):
                for unit in units:
                    nursery.start_soon(stack.send, unit, "messages.upsert", text(f"{number:03}"))
                await trio.sleep(0.01)
            await until(lambda: stack.counters.total("recorder_retries") > 0)
            done = True
        await stack.wait_until_stored()
        await check_order(stack, units, 100)


async def check_order(stack: InboundStack, units: list[Unit], count: int) -> None:
    expected = sorted(f"{number:03}" for number in range(count))
    for unit in units:
        rows = await stack.rows(f"select external_id from zapline.messages where unit_id = '{unit.id}' order by seq")
        assert sorted(str(row[0]) for row in rows) == expected
    assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
    assert stack.counters.total("actor_crashes") == 0


@pytest.mark.heavy
async def test_a_server_killed_under_load_loses_and_duplicates_nothing(cluster_directory: Path, tmp_path: Path) -> None:
    server = PostgresServer(cluster_directory / "pg", durable=False)
    server.open()
    try:
        server.start()
        async with await connect(server.url) as conn:
            await migrate(conn, lambda line: None)
        async with inbound_stack(server.url, tmp_path) as stack:
            units = await stack.add_units(f"u{number}" for number in range(10))

            sent = 0

            async def load(unit: Unit) -> None:
                nonlocal sent
                for number in range(300):
                    await stack.send(unit, "messages.upsert", text(f"{number:03}"))
                    sent += 1

            async with trio.open_nursery() as nursery:
                for unit in units:
                    nursery.start_soon(load, unit)
                for count in (600, 1200, 1800):
                    await until(lambda count=count: sent >= count, 30)  # type: ignore[misc]
                    await trio.to_thread.run_sync(server.kill)
                    await until(lambda: stack.recorder.statistics().trouble is not None)
                    server.start()  # not in a pooled thread: the server ends with the thread that has started it
            await stack.wait_until_stored(60)
            await check_order(stack, units, 300)
            for unit in units:
                rows = await stack.rows(
                    f"select external_id from zapline.messages where unit_id = '{unit.id}' order by seq"
                )
                assert [row[0] for row in rows] == [f"{number:03}" for number in range(300)]
    finally:
        server.stop()
        server.close()
