"""Connections when their server goes away, and locks that a session holds until then."""

import pytest
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sql.postgres.connection import connect


@pytest.fixture
async def conn(database_url):
    async with await connect(database_url) as connection:
        yield connection


async def test_a_killed_server_is_unavailable_also_in_the_middle_of_statements(cluster_directory):
    async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as server:
        busy, idle = await connect(server.url), await connect(server.url)
        raised: list[type[BaseException]] = []

        async def work() -> None:
            try:
                async with busy.transaction():
                    await busy.execute("select pg_sleep(20)")
            except DatabaseUnavailable as failure:
                raised.append(type(failure))

        sleeping = "select from pg_stat_activity where state = 'active' and query like 'select pg_sleep%%'"
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                while not await idle.fetch(sleeping, {}):  # noqa: ASYNC110 - the server notifies nobody
                    await trio.sleep(0.01)
                await server.kill()
        assert raised == [DatabaseUnavailable]
        assert busy.closed
        assert busy.lost
        assert not idle.is_alive()
        with pytest.raises(DatabaseUnavailable):
            await idle.ping()
        with pytest.raises(DatabaseUnavailable):
            async with idle.transaction():
                pass


async def test_a_connection_ended_by_the_operator_is_unavailable(conn, database_url):
    async with await connect(database_url) as victim:
        pid = (await victim.fetch_one("select pg_backend_pid() as pid")).pid
        await conn.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(DatabaseUnavailable):
            await victim.ping()


async def test_an_advisory_lock_has_one_holder_until_its_connection_ends(conn, database_url):
    async with await connect(database_url) as first:
        assert await first.try_advisory_lock(2**62)
        assert not await conn.try_advisory_lock(2**62)
    with trio.fail_after(30):
        while not await conn.try_advisory_lock(2**62):  # noqa: ASYNC110  # the server tells nobody
            await trio.sleep(0.01)


async def test_the_server_lets_go_of_a_session_whose_host_is_gone_within_some_ten_seconds(conn):
    names = "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"
    idle, interval, count, unanswered = [
        (await conn.fetch_one("select setting::int as value from pg_settings where name = %s", (name,))).value
        for name in names
    ]
    over_tcp = (await conn.fetch_one("select inet_server_addr() is not null as yes")).yes
    assert not over_tcp or idle + interval * count <= 12
    assert not over_tcp or 0 < unanswered <= 10_000
    left_open = await conn.fetch_one("select current_setting('idle_in_transaction_session_timeout') as value")
    assert left_open.value == "1min"
