"""A slow, locked, deadlocked, restarted database: nothing is lost, nothing comes twice, nothing is buried."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text

from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate
from zapline.supervisors.inbound.unit_state import Unit


@contextmanager
def locked(url: str, query: str) -> Iterator[None]:
    """Hold the locks that a query takes."""
    with psycopg.connect(url) as conn:
        conn.execute(query)
        yield
        conn.rollback()


def lane(unit: Unit, lanes: int = 2) -> int:
    return zlib.crc32(unit.id.bytes) % lanes


async def wait_for(stack: InboundStack, query: str, count: int, seconds: float = 10) -> float:
    """Seconds until the query counts so many."""
    started = trio.current_time()
    await stack.wait_for_rows(query, [(count,)], seconds)
    return trio.current_time() - started


async def test_a_locked_conversation_holds_up_its_unit_alone(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path, lock_timeout_ms=500) as stack:
        units = await stack.add_units(f"u{number}" for number in range(12))
        for unit in units:
            await stack.send(unit, "messages.upsert", text("first", at=1_795_000_000))
        await stack.wait_until_stored()
        held = units[0]
        with locked(database, f"select * from zapline.conversations where unit_id = '{held.id}' for update"):
            for number in range(20):
                for unit in units:
                    await stack.send(unit, "messages.upsert", text(f"{number:03}"))
            others = f"select count(*) from zapline.messages where unit_id <> '{held.id}'"
            took = await wait_for(stack, others, 11 * 21, 5)
            assert took < 3.5
            with trio.move_on_after(1.5):  # and they stay quick while it goes on
                for number in range(5):
                    for unit in units[1:]:
                        await stack.send(unit, "messages.upsert", text(f"more{number}"))
                    took = max(took, await wait_for(stack, others, 11 * (22 + number), 3))
            assert (await stack.rows(f"select count(*) from zapline.messages where unit_id = '{held.id}'")) == [(1,)]
        await stack.wait_until_stored()
        assert await stack.rows(
            f"select external_id from zapline.messages where unit_id = '{held.id}' order by seq"
        ) == [
            ("first",),
            *((f"{number:03}",) for number in range(20)),
        ]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
        assert stack.counters.total("actor_crashes") == 0


async def test_statement_timeouts_and_deadlocks_bury_nothing(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path, lock_timeout_ms=0, statement_timeout_ms=300) as stack:
        units = await stack.add_units(f"u{number}" for number in range(6))
        for unit in units:
            await stack.send(unit, "messages.upsert", text("A"))
        await stack.wait_until_stored()
        with locked(database, "lock table zapline.messages in exclusive mode"):
            for unit in units:
                await stack.send(unit, "messages.upsert", text("B"))
            await trio.sleep(1.2)
        await stack.wait_until_stored()
        # A deadlock: the other side holds the position's row and then wants what the recorder holds.
        with psycopg.connect(database) as other:
            other.execute("set deadlock_timeout = '10s'")
            other.execute("select * from zapline.unit_whatsapp_connections for update")
            for unit in units:
                await stack.send(unit, "messages.upsert", text("C"))
            await trio.sleep(0.1)
            other.execute("set lock_timeout = '150ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("lock table zapline.messages in exclusive mode")
            other.rollback()
        await stack.wait_until_stored()
        assert await stack.rows("select external_id, count(*) from zapline.messages group by 1 order by 1") == [
            ("A", 6),
            ("B", 6),
            ("C", 6),
        ]
        assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]


async def test_connections_killed_again_and_again_lose_and_double_nothing(database: str, tmp_path: Path) -> None:
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
            done = True
        await stack.wait_until_stored()
        assert stack.counters.total("recorder_retries") > 0
        await check_order(stack, units, 100)


async def check_order(stack: InboundStack, units: list[Unit], count: int) -> None:
    expected = sorted(f"{number:03}" for number in range(count))
    for unit in units:
        rows = await stack.rows(f"select external_id from zapline.messages where unit_id = '{unit.id}' order by seq")
        assert sorted(str(row[0]) for row in rows) == expected
    assert await stack.rows("select count(*) from zapline.dead_letters") == [(0,)]
    assert stack.counters.total("actor_crashes") == 0


async def test_a_server_killed_under_load_loses_and_doubles_nothing(server_directory: Path, tmp_path: Path) -> None:
    server = PostgresServer(server_directory / "postgres", durable=False)
    server.open()
    try:
        server.start()
        async with await connect(server.url) as conn:
            await migrate(conn, lambda line: None)
        async with inbound_stack(server.url, tmp_path) as stack:
            units = await stack.add_units(f"u{number}" for number in range(10))

            async def load() -> None:
                for number in range(300):
                    for unit in units:
                        await stack.send(unit, "messages.upsert", text(f"{number:03}"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(load)
                for _ in range(3):
                    await trio.sleep(0.4)
                    await trio.to_thread.run_sync(server.kill)
                    await trio.sleep(0.2)
                    server.start()  # not in a pooled thread: the server ends with the thread that has started it
            await stack.wait_until_stored(20)
            await check_order(stack, units, 300)
            for unit in units:
                rows = await stack.rows(
                    f"select external_id from zapline.messages where unit_id = '{unit.id}' order by seq"
                )
                assert [row[0] for row in rows] == [f"{number:03}" for number in range(300)]
    finally:
        server.stop()
        server.close()
