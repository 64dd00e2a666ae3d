"""One daemon leads, and receives notifications, over every loss of the server."""

from pathlib import Path

import pytest
import trio
from support.database_copies import database_copies
from support.database_proxy import database_proxy
from support.inbound_stack import until

from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.leader import DatabasePlace
from zapline.sql.postgres.migrate import migrate
from zapline.supervisors import leadership as module
from zapline.supervisors.leadership import CONTROL_CHANNEL, Leadership, LeadershipStatus, WriterStanding


class Follower:
    """Records how often its process took the lock, and the notifications that it got."""

    def __init__(self, url: str, silence_ms: int = 0) -> None:
        self.url = url
        self.silence_ms = silence_ms
        self.times_led = 0
        self.payloads: list[str] = []

    def leadership(self) -> Leadership:
        return Leadership(self._open, self._on_lead, self._on_notify)

    async def _open(self) -> Connection:
        return await connect(self.url, connect_timeout=2, idle_timeout_ms=self.silence_ms)

    async def _on_lead(self) -> None:
        self.times_led += 1

    async def _on_notify(self, payload: str) -> None:
        self.payloads.append(payload)


async def notify(url: str, payload: str) -> None:
    async with await connect(url) as conn:
        await conn.execute("select pg_notify(%s, %s)", (CONTROL_CHANNEL, payload))


async def test_of_two_one_leads_and_the_other_follows_when_it_ends(database: str) -> None:
    first, second = Follower(database), Follower(database)
    with trio.fail_after(60):
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
            await until(lambda: waiting.status is LeadershipStatus.ANOTHER_DAEMON)
            assert second.times_led == 0
            scope.cancel()
            await waiting.may_write()
            assert second.times_led == 1
            nursery.cancel_scope.cancel()


async def test_whoever_is_cut_off_has_lost_the_lead_by_its_own_clock_before_another_has_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("SILENCE_SECONDS", 3.0), ("_MARGIN", 0.5), ("_BEAT", 0.3)):
        monkeypatch.setattr(module, name, seconds)
    async with database_proxy(database) as proxy, trio.open_nursery() as nursery:
        first, second = Follower(proxy.url, 3000), Follower(database, 3000)
        with trio.fail_after(60):
            leading, waiting = first.leadership(), second.leadership()
            nursery.start_soon(leading.run)
            await leading.may_write()
            nursery.start_soon(waiting.run)
            await until(lambda: waiting.stands_by)
            proxy.vanish()
            await waiting.may_write()
            assert not leading.standing.is_proven  # though its session is not closed, and nobody has told it
            with trio.move_on_after(0.1) as held:
                await leading.may_write()
            assert held.cancelled_caught
            assert not leading.stands_by
            await proxy.come_back()
            await until(lambda: leading.stands_by)
            nursery.cancel_scope.cancel()


async def test_the_lead_is_kept_while_much_is_loaded(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("SILENCE_SECONDS", 3.0), ("_MARGIN", 0.5), ("_BEAT", 0.3)):
        monkeypatch.setattr(module, name, seconds)
    follower = Follower(database, 3000)
    leading = follower.leadership()

    async def load() -> None:
        follower.times_led += 1
        await notify(database, "meanwhile")
        await trio.sleep(3.5)

    leading._on_lead = load
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leading.run)
            await leading.may_write()
            assert (follower.times_led, leading.standing.epoch, leading.standing.is_proven) == (1, 1, True)
            await until(lambda: follower.payloads == ["meanwhile"])
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("shares", [False, True])
async def test_who_shares_the_lock_is_proven_by_its_lease_alone_and_first_no_more_when_it_ends(
    database: str, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading = Follower(database).leadership()
    leading.standing.shares = shares

    async def refuse(*_: object) -> float:
        raise StatementFailed("55P03", "refused by the test")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leading.run)
            await leading.may_write()
            nursery.cancel_scope.cancel()
        assert leading.is_first is not shares
        async with await connect(database) as conn:
            await leading.standing.take(conn)
            monkeypatch.setattr(module, "renew_lease", refuse)
            leading.standing.proven_until = before = leading.standing.uptime()
            await leading._beat(conn)
            assert (leading.standing.proven_until > before) is not shares


async def test_a_schema_that_is_missing_keeps_the_daemon_from_writing(database_url: str) -> None:
    follower = Follower(database_url)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            leadership = follower.leadership()
            nursery.start_soon(leadership.run)
            assert await leadership.first_status(30) is LeadershipStatus.SCHEMA_MISSING
            with trio.move_on_after(0.2) as waited:
                await leadership.may_write()
            assert waited.cancelled_caught
            async with await connect(database_url) as conn:
                await migrate(conn, lambda line: None)
            await leadership.may_write()
            nursery.cancel_scope.cancel()


async def test_after_a_crash_of_the_server_the_lock_is_taken_and_notifications_come_again(
    cluster_directory: Path,
) -> None:
    with trio.fail_after(60):
        async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as server:
            async with await connect(server.url) as conn:
                await migrate(conn, lambda line: None)
            follower = Follower(server.url)
            async with trio.open_nursery() as nursery:
                leadership = follower.leadership()
                nursery.start_soon(leadership.run)
                await leadership.may_write()
                await notify(server.url, "before")
                await until(lambda: "before" in follower.payloads)
                await server.kill()
                await until(lambda: leadership.status is LeadershipStatus.UNREACHABLE, 30)
                await server.start()
                await leadership.may_write()
                assert follower.times_led == 2
                await notify(server.url, "after")
                await until(lambda: "after" in follower.payloads)
                nursery.cancel_scope.cancel()


async def test_each_leader_has_a_higher_epoch_and_takes_it_anew_when_it_is_to_check(database: str) -> None:
    first, second = Follower(database), Follower(database)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            leading = first.leadership()
            scope = trio.CancelScope()

            async def lead() -> None:
                with scope:
                    await leading.run()

            nursery.start_soon(lead)
            await leading.may_write()
            assert (leading.standing.epoch, leading.standing.stale, leading.standing.moved) == (1, True, False)
            leading.standing.check_again()
            assert leading.status is LeadershipStatus.UNREACHABLE
            await leading.may_write()
            assert (leading.standing.epoch, leading.standing.stale, first.times_led) == (2, False, 2)
            waiting = second.leadership()
            nursery.start_soon(waiting.run)
            await until(lambda: waiting.status is LeadershipStatus.ANOTHER_DAEMON)
            assert await waiting.first_status(60) is LeadershipStatus.ANOTHER_DAEMON  # it stands by, at once
            scope.cancel()
            await waiting.may_write()
            assert (waiting.standing.epoch, waiting.standing.stale) == (3, True)
            nursery.cancel_scope.cancel()


async def test_what_is_out_of_date_stays_so_until_it_was_acted_upon(database: str) -> None:
    standing = WriterStanding()
    async with await connect(database) as conn:

        async def take() -> tuple[bool, bool]:
            await standing.take(conn)
            return standing.stale, standing.moved

        assert [await take(), await take()] == [(True, False)] * 2
        standing.used = True
        assert await take() == (False, False)
        standing.used, standing.place = True, DatabasePlace("elsewhere", "1", "1")
        assert [await take(), await take()] == [(False, True)] * 2
        standing.used = True
        assert await take() == (False, False)


async def test_a_database_that_a_copy_has_taken_the_place_of_is_another_place(database: str) -> None:
    with database_copies(database) as copies:
        follower = Follower(database)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                leadership = follower.leadership()
                earlier = copies.copy()
                nursery.start_soon(leadership.run)
                await leadership.may_write()
                epoch = leadership.standing.epoch
                copies.set_back(earlier)
                await until(lambda: follower.times_led == 2, 30)
                await leadership.may_write()
                assert leadership.standing.moved
                assert leadership.standing.epoch == epoch + 1
                nursery.cancel_scope.cancel()


async def test_what_changes_while_the_lead_is_taken_is_compared_before_anything_is_written(database: str) -> None:
    follower = Follower(database)
    leading = follower.leadership()

    async def on_lead() -> None:
        follower.times_led += 1
        if follower.times_led == 1:
            leading.check_again()

    leading._on_lead = on_lead
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leading.run)
            await leading.may_write()
            assert (follower.times_led, leading.standing.epoch) == (2, 2)
            nursery.cancel_scope.cancel()
