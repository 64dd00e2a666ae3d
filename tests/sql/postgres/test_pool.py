"""The pool: bounded, lazy, and recovering from a server that went away."""

import socket

import pytest
import trio
import trio.testing

from zapline.domain.errors import DatabaseUnavailable
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool


async def test_connections_are_reused_and_never_more_than_the_size(database_url):
    async with Pool.open(database_url, size=3) as pool:

        async def use() -> None:
            async with pool.connection() as conn:
                await conn.execute("select pg_sleep(0.01)")

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(use)
        counts = pool.statistics()
        assert (counts.opened_total, counts.idle, counts.in_use, counts.waiting) == (3, 3, 0, 0)


async def test_waiting_for_a_connection_is_bounded(database_url):
    async with Pool.open(database_url, size=1, patience=0.1) as pool, pool.connection():
        with trio.fail_after(30), pytest.raises(DatabaseUnavailable):
            async with pool.connection():
                pass
        assert pool.statistics().timeouts_total == 1
        assert pool.statistics().waiting == 0


async def test_those_who_wait_are_served_in_their_order(database_url):
    order: list[int] = []
    async with Pool.open(database_url, size=1) as pool:

        async def use(n: int) -> None:
            async with pool.connection():
                order.append(n)

        async with trio.open_nursery() as nursery, pool.connection():
            for n in range(5):
                nursery.start_soon(use, n)
                await trio.testing.wait_all_tasks_blocked(0.01)
    assert order == [0, 1, 2, 3, 4]


async def test_cancelled_waiters_lose_no_connection(database_url):
    async with Pool.open(database_url, size=2) as pool:

        async def use(seconds: float) -> None:
            with trio.move_on_after(seconds):
                async with pool.connection() as conn:
                    await conn.execute("select pg_sleep(0.003)")

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for n in range(200):
                    nursery.start_soon(use, n * 0.0005)
            async with pool.connection(), pool.connection():
                counts = pool.statistics()
        assert (counts.in_use, counts.waiting, counts.opening, counts.idle) == (2, 0, 0, 0)


async def test_a_connection_handed_to_a_waiter_that_was_just_cancelled_is_not_lost(database_url):
    async with Pool.open(database_url, size=1, patience=15) as pool:
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                async with pool.connection():
                    pytest.fail("it was cancelled")

        async with trio.open_nursery() as nursery, pool.connection():
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            scope.cancel()
        assert pool.statistics().in_use == 0
        async with pool.connection() as conn:
            await conn.ping()


async def test_a_connection_left_inside_a_transaction_is_not_lent_again(database_url):
    async with Pool.open(database_url, size=1) as pool:
        async with pool.connection() as conn:
            await conn.execute("begin")
        async with pool.connection() as other:
            assert other is not conn
            assert conn.closed
        assert pool.statistics().dropped_total == 1


async def test_a_pool_opens_while_the_database_is_down_and_does_not_wait_for_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://u@127.0.0.1:{taken.getsockname()[1]}/x"
        async with Pool.open(url, size=2, patience=60) as pool:
            raised: list[DatabaseUnavailable] = []

            async def use() -> None:
                with pytest.raises(DatabaseUnavailable) as failure:
                    async with pool.connection():
                        pass
                raised.append(failure.value)

            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    for _ in range(10):
                        nursery.start_soon(use)
            assert len({id(failure) for failure in raised}) == 10


async def test_a_role_that_cannot_be_set_is_an_error_for_the_borrower(database_url):
    async with Pool.open(database_url, size=1, role="nobody_knows") as pool:
        for _ in range(2):
            with pytest.raises(StatementFailed):
                async with pool.connection():
                    pass


async def test_after_a_crash_of_the_server_the_pool_recovers_without_failing_a_new_borrower(cluster_directory):
    async with (
        EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as server,
        Pool.open(server.url, size=3) as pool,
    ):
        async with pool.connection() as one, pool.connection() as two, pool.connection() as three:
            for conn in (one, two, three):
                await conn.ping()
        await server.kill()
        with pytest.raises(DatabaseUnavailable):
            async with pool.connection() as conn:
                await conn.ping()
        await server.start()
        with trio.fail_after(30):
            for _ in range(4):
                async with pool.connection() as conn:
                    await conn.ping()


async def test_a_broken_connection_takes_the_idle_ones_with_it(database_url):
    async with Pool.open(database_url, size=3) as pool, await connect(database_url) as admin:
        async with pool.connection() as one:
            async with pool.connection():
                pass
            assert pool.statistics().idle == 1
            pid = (await one.fetch_one("select pg_backend_pid() as pid")).pid
            await admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
            with pytest.raises(DatabaseUnavailable):
                await one.ping()
        assert pool.statistics().idle == 0
        assert pool.statistics().dropped_total == 2


async def test_an_idle_connection_that_the_server_ended_is_not_lent(database_url):
    async with Pool.open(database_url, size=1) as pool, await connect(database_url) as admin:
        async with pool.connection() as conn:
            pid = (await conn.fetch_one("select pg_backend_pid() as pid")).pid
        await admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        async with pool.connection() as other:
            await other.ping()
            assert other is not conn
