"""The one-daemon lock and the bell, over every loss of the server."""

from pathlib import Path

import trio

from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.migrate import migrate
from zapline.supervisors.leadership import CONTROL_CHANNEL, Leadership, LeadershipStatus


class Ear:
    """Remembers how often the lock was taken, and what the bell said."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.led = 0
        self.heard: list[str] = []

    def leadership(self) -> Leadership:
        return Leadership(self._open, self._lead, self._hear)

    async def _open(self) -> Connection:
        return await connect(self.url, connect_timeout=2)

    async def _lead(self) -> None:
        self.led += 1

    async def _hear(self, payload: str) -> None:
        self.heard.append(payload)


async def ring(url: str, payload: str) -> None:
    async with await connect(url) as conn:
        await conn.execute("select pg_notify(%s, %s)", (CONTROL_CHANNEL, payload))


async def until_heard(ear: Ear, payload: str) -> None:
    while payload not in ear.heard:  # noqa: ASYNC110 - asks from outside
        await trio.sleep(0.01)


async def until_standing(leadership: Leadership, standing: LeadershipStatus) -> None:
    while leadership.status is not standing:  # noqa: ASYNC110 - asks from outside
        await trio.sleep(0.01)


async def test_of_two_one_leads_and_the_other_follows_when_it_ends(database: str) -> None:
    first, second = Ear(database), Ear(database)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            leading = first.leadership()
            scope = trio.CancelScope()

            async def lead() -> None:
                with scope:
                    await leading.run()

            nursery.start_soon(lead)
            await leading.may_write()
            waiting = second.leadership()
            nursery.start_soon(waiting.run)
            await until_standing(waiting, LeadershipStatus.ANOTHER_DAEMON)
            assert second.led == 0
            scope.cancel()
            await waiting.may_write()
            assert second.led == 1
            nursery.cancel_scope.cancel()


async def test_a_schema_that_is_missing_keeps_the_daemon_from_writing(database_url: str) -> None:
    ear = Ear(database_url)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            leadership = ear.leadership()
            nursery.start_soon(leadership.run)
            assert await leadership.first_status(5) is LeadershipStatus.SCHEMA_MISSING
            with trio.move_on_after(0.2) as waited:
                await leadership.may_write()
            assert waited.cancelled_caught
            async with await connect(database_url) as conn:
                await migrate(conn, lambda line: None)
            await leadership.may_write()
            nursery.cancel_scope.cancel()


async def test_after_a_crash_of_the_server_the_lock_is_taken_and_the_bell_heard_again(server_directory: Path) -> None:
    with trio.fail_after(60):
        async with EmbeddedPostgres.running(server_directory / "postgres", durable=False) as server:
            async with await connect(server.url) as conn:
                await migrate(conn, lambda line: None)
            ear = Ear(server.url)
            async with trio.open_nursery() as nursery:
                leadership = ear.leadership()
                nursery.start_soon(leadership.run)
                await leadership.may_write()
                await ring(server.url, "before")
                await until_heard(ear, "before")
                await server.kill()
                await until_standing(leadership, LeadershipStatus.UNREACHABLE)
                await server.start()
                await leadership.may_write()
                assert ear.led == 2
                await ring(server.url, "after")
                await until_heard(ear, "after")
                nursery.cancel_scope.cancel()
