"""Alarms as stored: an incident is said once whoever stores it again, and what waits is replaced by what is newer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

from zapline.domain.alarms.destinations import DestinationKind
from zapline.domain.alarms.incidents import Incident, Member, NoticeKind, Saying, Trouble
from zapline.sql.health import alarms
from zapline.sql.health.alarms import Destination, Notice
from zapline.sql.postgres.connection import Connection, connect

NOW = 1_790_000_000.0
MAIL = Destination(uuid4(), DestinationKind.EMAIL, b"sealed", "a…@example.com", (), "pt-BR", 1, NOW)
HOOK = Destination(uuid4(), DestinationKind.WEBHOOK, b"sealed", "https://example.com/…", (), "en", 1, NOW)
FELL = Member(Trouble("line:1", NOW - 120, "Loja", "logged_out"), told=True)
ALARM = Saying(NoticeKind.ALARM, Incident(uuid4(), NOW - 30, NOW - 30, (FELL,), 1, NOW))


def notices(saying: Saying, *to: Destination, delivered: bool = False) -> list[Notice]:
    ids = {each.id: UUID(int=each.id.int ^ saying.incident.said) for each in to}
    return [
        Notice(ids[each.id], each.id, saying.kind, saying.incident, saying.incident.said_at, delivered=delivered)
        for each in to
    ]


@asynccontextmanager
async def engine(database: str) -> AsyncIterator[Connection]:
    async with await connect(database, role="zapline_engine") as conn, conn.transaction():
        for each in (MAIL, HOOK):
            assert await alarms.insert_destination(conn, each, 2)
        yield conn


async def test_what_is_stored_twice_is_said_once_and_read_back_as_it_was(database: str) -> None:
    async with engine(database) as conn:
        assert not await alarms.insert_destination(conn, replace(MAIL, id=uuid4()), 2), "there are enough"
        assert {each.id for each in await alarms.load_destinations(conn)} == {MAIL.id, HOOK.id}
        for _ in range(2):
            assert await alarms.store_saying(conn, ALARM, notices(ALARM, MAIL, HOOK))
        due = await alarms.list_due(conn, NOW, (), 10)
        assert {each.destination_id for each in due} == {MAIL.id, HOOK.id}
        assert {each.incident for each in due} == {ALARM.incident}
        assert await alarms.load_incidents(conn, NOW) == [ALARM.incident]
        first, second = due
        await alarms.end_notice(conn, first.id, "delivered", NOW)
        await alarms.retry_notice(conn, second.id, NOW + 15, "timeout")
        assert await alarms.list_due(conn, NOW + 14, (), 10) == []
        totals = await alarms.count_deliveries(conn, NOW)
        assert (totals.failing, totals.oldest, totals.given_up) == (1, NOW, 0)
        busy = [second.destination_id]
        assert [await alarms.find_next_due(conn, given) for given in ([], busy)] == [NOW + 15, None]
        assert [len(await alarms.list_due(conn, NOW + 15, given, 10)) for given in ([], busy)] == [1, 0]
        assert await alarms.store_saying(conn, ALARM, notices(ALARM, MAIL, HOOK)), "after a kill"
        assert await alarms.list_due(conn, NOW + 14, (), 10) == [], "nothing is said again"


async def test_what_is_newer_replaces_what_waits_and_what_is_older_is_not_stored(database: str) -> None:
    cleared = replace(ALARM.incident, said=2, said_at=NOW + 600, closed_at=NOW + 600)
    clear = Saying(NoticeKind.ALL_CLEAR, cleared)
    async with engine(database) as conn:
        await alarms.store_saying(conn, ALARM, notices(ALARM, MAIL, HOOK))
        (waiting, *_) = await alarms.list_due(conn, NOW, (), 10)
        assert await alarms.store_saying(conn, clear, notices(clear, MAIL, HOOK))
        assert {each.kind for each in await alarms.list_due(conn, NOW + 600, (), 10)} == {NoticeKind.ALL_CLEAR}
        assert not await alarms.store_saying(conn, ALARM, notices(ALARM, MAIL, HOOK))
        await alarms.retry_notice(conn, waiting.id, NOW, "timeout")
        assert len(await alarms.list_due(conn, NOW + 600, (), 10)) == 2, "what was replaced stays so"
        for each in await alarms.list_due(conn, NOW + 600, (), 10):
            await alarms.end_notice(conn, each.id, "given_up", NOW + 600, "timeout")
        totals = await alarms.count_deliveries(conn, NOW + 600)
        assert (totals.failing, totals.given_up, await alarms.find_next_due(conn, ())) == (0, 2, None)
        (past,) = await alarms.list_incidents(conn, None, 10)
        assert (past.incident, past.failed) == (cleared, 2)
        assert await alarms.list_incidents(conn, past.number, 10) == []
        assert await alarms.load_incidents(conn, NOW + 601) == []
        assert await alarms.load_incidents(conn, NOW + 600) == [cleared]


async def test_what_was_told_without_the_database_is_stored_as_told_and_a_destination_goes_with_all(
    database: str,
) -> None:
    async with engine(database) as conn:
        await alarms.store_saying(conn, ALARM, notices(ALARM, MAIL, delivered=True))
        assert await alarms.list_due(conn, NOW, (), 10) == []
        later = Saying(NoticeKind.REMINDER, replace(ALARM.incident, said=2))
        await alarms.store_saying(conn, later, notices(later, MAIL, HOOK))
        await alarms.note_try(conn, HOOK.id, NOW, "timeout")
        assert {each.id: each.error for each in await alarms.load_destinations(conn)}[HOOK.id] == "timeout"
        assert await alarms.delete_destination(conn, HOOK.id)
        assert not await alarms.delete_destination(conn, HOOK.id)
        assert [each.destination_id for each in await alarms.list_due(conn, NOW, (), 10)] == [MAIL.id]
        again = Saying(NoticeKind.REMINDER, replace(ALARM.incident, said=3))
        await alarms.store_saying(conn, again, notices(again, HOOK))
        assert await alarms.list_due(conn, NOW, (), 10) == [], "nothing for who is gone"
        closed = Saying(NoticeKind.ALL_CLEAR, replace(ALARM.incident, said=4, closed_at=NOW))
        await alarms.store_saying(conn, closed, [])
        assert await alarms.prune_incidents(conn, NOW, 10) == 0
        assert await alarms.prune_incidents(conn, NOW + 1, 10) == 1
        assert await alarms.list_incidents(conn, None, 10) == []
