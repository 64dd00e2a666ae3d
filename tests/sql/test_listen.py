"""Listening: notifications in order, and a new subscription after each loss."""

import trio

from zapline.sandbox.postgres import EmbeddedPostgres
from zapline.sql import listen as listening
from zapline.sql.driver import connect
from zapline.sql.listen import listen


class Ear:
    def __init__(self) -> None:
        self.send, self.heard = trio.open_memory_channel[tuple[str, str]](100)
        self.connects = 0
        self.connected = trio.Event()

    async def on_connect(self) -> None:
        self.connects += 1
        self.connected.set()

    async def on_notify(self, channel: str, payload: str) -> None:
        await self.send.send((channel, payload))

    async def run(self, url: str) -> None:
        await listen(url, ["units", "Odd name"], on_connect=self.on_connect, on_notify=self.on_notify)


async def test_notifications_arrive_in_order_with_their_channel(database_url):
    ear = Ear()
    with trio.fail_after(10):
        async with await connect(database_url) as conn, trio.open_nursery() as nursery:
            nursery.start_soon(ear.run, database_url)
            await ear.connected.wait()
            await conn.execute("notify units, 'one'; notify \"Odd name\", 'two'; notify elsewhere, 'three'")
            await conn.execute("notify units")
            assert [await ear.heard.receive() for _ in range(3)] == [
                ("units", "one"),
                ("Odd name", "two"),
                ("units", ""),
            ]
            nursery.cancel_scope.cancel()


async def test_a_silent_connection_is_tested_and_kept(database_url, monkeypatch):
    monkeypatch.setattr(listening, "PING_SECONDS", 0.02)
    ear = Ear()
    with trio.fail_after(10):
        async with await connect(database_url) as conn, trio.open_nursery() as nursery:
            nursery.start_soon(ear.run, database_url)
            await ear.connected.wait()
            await trio.sleep(0.2)
            await conn.execute("notify units, 'still'")
            assert await ear.heard.receive() == ("units", "still")
            assert ear.connects == 1
            nursery.cancel_scope.cancel()


async def test_after_a_restart_of_the_server_listening_goes_on_and_says_that_it_reconnected(server_place):
    ear = Ear()
    async with EmbeddedPostgres.running(server_place / "pg", durable=False) as server:
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ear.run, server.url)
                await ear.connected.wait()
                ear.connected = trio.Event()
                await server.kill()
                await trio.sleep(0.3)
                assert not ear.connected.is_set()
                await server.start()
                await ear.connected.wait()
                async with await connect(server.url) as conn:
                    await conn.execute("notify units, 'after'")
                assert await ear.heard.receive() == ("units", "after")
                assert ear.connects == 2
                nursery.cancel_scope.cancel()
