"""Servers and who lives on them: no unit comes to live on a server that is being removed, whoever is first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import trio

from zapline.domain.ids import UnitId
from zapline.domain.line.evolution_servers import ENVIRONMENT, MAX_SERVERS
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.units.evolution_servers import (
    ServerChange,
    ServerInUse,
    TooManyServers,
    UnknownServer,
    change_server,
    count_units,
    insert_server,
    load_servers,
    move_unit,
    remove_server,
)
from zapline.sql.units.units import insert_unit, load_lines, load_units

SEALED = b"sealed"


async def add_unit(conn: Connection, server: str | None) -> UnitId:
    unit = UnitId(uuid4())
    parts = {"id": unit, "name": "u", "instance": f"i{unit}", "secret_digest": unit.bytes, "time_zone": "UTC"}
    await insert_unit(conn, **parts, evolution_server=server)
    return unit


@asynccontextmanager
async def engine(database: str) -> AsyncIterator[Connection]:
    async with await connect(database, role="zapline_engine") as conn:
        yield conn


async def test_a_unit_never_lives_on_a_server_that_is_gone(database: str) -> None:
    async with engine(database) as first, engine(database) as second:
        async with first.transaction():
            await insert_server(first, "evo-2", "http://two", SEALED, 100)
        unit = await add_unit(first, None)
        refused = trio.Event()
        async with trio.open_nursery() as nursery:

            async def remove() -> None:
                async with second.transaction():
                    with pytest.raises(ServerInUse):
                        await remove_server(second, "evo-2")
                refused.set()

            async with first.transaction():
                assert await move_unit(first, unit, None, "evo-2")
                nursery.start_soon(remove)
                await trio.sleep(0.1)  # whether it waits already or comes later: it sees the unit
                assert not refused.is_set()
        assert await count_units(first) == {"evo-2": 1}
        async with first.transaction():
            assert await move_unit(first, unit, "evo-2", None)
            assert not await move_unit(first, unit, "evo-2", None), "it lives elsewhere by now"
        [record] = await load_units(first)
        assert (record.evolution_server, record.evolution_server_since is not None) == (None, True)
        assert await load_lines(first, [record.id]) == {record.id: record.stored}
        async with first.transaction():
            await remove_server(first, "evo-2")
        assert await load_servers(first) == []
        with pytest.raises(UnknownServer):
            await add_unit(first, "evo-2")
        with pytest.raises(UnknownServer):
            async with first.transaction():
                await move_unit(first, unit, None, "evo-2")
        assert (await first.fetch("select count(*)::int as n from zapline.units"))[0].n == 1
        assert (await first.fetch("select sealed_key from zapline.evolution_servers"))[0].sealed_key is None
        async with first.transaction():  # it may come again
            await insert_server(first, "evo-2", "http://two", SEALED, 70)
        assert [server.weight for server in await load_servers(first)] == [70]


async def test_behind_a_new_address_the_store_proves_nothing_of_what_was_called_before(database: str) -> None:
    async with engine(database) as conn:
        async with conn.transaction():
            await insert_server(conn, "evo-2", "http://two", SEALED, 100)
        units = [await add_unit(conn, "evo-2"), await add_unit(conn, None)]
        await conn.execute("update zapline.unit_whatsapp_connections set store_kept = true")
        trusted = "select store_kept, evolution_server_since is null from zapline.unit_whatsapp_connections"
        for url, kept in (("http://two", [(True, True)]), ("http://three", [(None, False)])):
            async with conn.transaction():
                await change_server(conn, "evo-2", ServerChange(url=url, sealed_key=SEALED))
            for unit, expected in zip(units, (kept, [(True, True)]), strict=True):
                rows = await conn.fetch(f"{trusted} where unit_id = '{unit}'")
                assert [tuple(row) for row in rows] == expected


async def test_the_environments_server_is_paused_but_has_no_address_and_never_goes(database: str) -> None:
    async with engine(database) as conn:
        assert await load_servers(conn) == []
        async with conn.transaction():
            await change_server(conn, ENVIRONMENT, ServerChange(paused=True, weight=7))
        [server] = await load_servers(conn)
        assert (server.url, server.sealed_key, server.weight) == (None, None, 7)
        assert server.paused_at is not None
        with pytest.raises(UnknownServer):
            await remove_server(conn, ENVIRONMENT)
        with pytest.raises(UnknownServer):
            await change_server(conn, "none", ServerChange(weight=1))
        with pytest.raises(StatementFailed):
            await change_server(conn, ENVIRONMENT, ServerChange(url="http://one"))
        async with conn.transaction():
            for number in range(MAX_SERVERS - 1):
                await insert_server(conn, f"s{number}", f"http://s{number}", SEALED, 1)
        with pytest.raises(TooManyServers):
            await insert_server(conn, "more", "http://more", SEALED, 1)


async def test_the_role_of_requests_sees_no_server_and_no_key(database: str) -> None:
    async with await connect(database, role="zapline_api") as conn:
        for statement in (
            "select name from zapline.evolution_servers",
            "update zapline.evolution_servers set weight = 1",
        ):
            with pytest.raises(StatementFailed) as refused:
                await conn.execute(statement)
            assert refused.value.sqlstate == "42501"
