"""Entries that come again, from an old, a pruned or a new journal, never run anything backwards or get lost."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from support.house import House, house, text

from zapline.domain.errors import JournalRefused
from zapline.domain.line.reasons import Phase
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound import dispatcher
from zapline.supervisors.inbound.unit_state import Unit


async def report(home: House, unit: Unit, state: str, code: int = 200) -> None:
    data = {"instance": unit.record.instance, "state": state, "statusReason": code}
    await home.send(unit, "connection.update", data)


def phase(unit: Unit) -> Phase:
    assert unit.state is not None
    return unit.state.stored.phase


def put_back(journal: Path) -> None:
    """Entries that were committed, and not yet marked done when the process was killed."""
    with closing(sqlite3.connect(journal / "journal.db")) as file:
        file.execute(
            "insert or ignore into unfinished (seq, unit_id, starts_before) "
            "select seq, unit_id, (select value from meta where key = 'starts') from entries"
        )
        file.commit()


async def test_an_old_open_before_a_committed_close_is_not_stepped_again(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as home:
        unit = await home.add_unit()
        home.calls.state = "close"
        await home.send(unit, "messages.upsert", text("A"))
        await report(home, unit, "open")
        await home.settled()
        await report(home, unit, "close", 401)
        await home.settled()
        await home.send(unit, "messages.upsert", text("B"))
        await home.settled()
        assert phase(unit) is Phase.LOGGED_OUT
        before = await home.rows("select m::text, xmin::text from zapline.messages m order by 1")
        row = await home.rows("select phase, connected_at, disconnected_at from zapline.unit_whatsapp_connections")
    put_back(tmp_path)
    async with house(database, tmp_path) as home:
        assert home.journal.statistics().depth == 4
        home.calls.state = "close"
        await home.settled()
        assert home.counters.totals["connection_events", "Opened"] == 0
        assert phase(home.unit(unit.id)) is Phase.LOGGED_OUT
        assert await home.rows("select m::text, xmin::text from zapline.messages m order by 1") == before
        assert (
            await home.rows("select phase, connected_at, disconnected_at from zapline.unit_whatsapp_connections") == row
        )


async def test_a_new_journal_with_low_numbers_is_not_taken_for_the_old_one(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path / "old") as home:
        unit = await home.add_unit()
        for number in range(30):
            await home.send(unit, "messages.upsert", text(f"old{number:02}"))
        await home.settled()
    async with house(database, tmp_path / "new") as home:
        again = home.unit(unit.id)
        assert again.applied_seq == 0
        for number in range(5):
            await home.send(again, "messages.upsert", text(f"new{number}"))
        await home.settled()
        assert await home.rows("select count(*) as n from zapline.messages") == [(35,)]
        assert await home.rows("select applied_seq, journal_id from zapline.unit_whatsapp_connections") == [
            (5, home.journal.journal_id)
        ]


async def test_a_pruned_journal_goes_on_counting(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as home:
        unit = await home.add_unit()
        for number in range(30):
            await home.send(unit, "messages.upsert", text(f"old{number:02}"))
        await home.settled()
        assert (await home.journal.prune(2**40, 0, ())).removed == 30
    async with house(database, tmp_path) as home:
        again = home.unit(unit.id)
        assert again.applied_seq == 30
        for number in range(5):
            await home.send(again, "messages.upsert", text(f"new{number}"))
        await home.settled()
        assert await home.rows("select count(*) as n from zapline.messages") == [(35,)]


async def replay(home: House) -> int:
    """As asked for by command."""
    count = await home.journal.replay(0.0)
    for unit in home.roster.units():
        home.dispatcher.read_again(unit)
    return count


async def test_a_replay_into_a_database_set_back_brings_messages_edits_and_statuses_and_steps_nothing(
    new_database: Callable[..., str], migrated: str, tmp_path: Path
) -> None:
    url = new_database(migrated)
    key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": True, "id": "A"}
    place, name = url.rpartition("/")[0], url.rpartition("/")[2]
    async with house(url, tmp_path) as home:
        unit = await home.add_unit()
        await home.send(unit, "messages.upsert", text("before"))
        await home.settled()
    earlier = new_database(name)  # the copy of an hour ago
    async with house(url, tmp_path) as home:
        unit = home.unit(unit.id)
        home.calls.state = "close"
        await home.send(unit, "send.message", {**text("A", "um"), "key": key, "status": "PENDING"})
        await home.send(unit, "messages.update", {"keyId": "A", "remoteJid": key["remoteJid"], "status": "READ"})
        edit = {
            "key": key,
            "type": "MESSAGE_EDIT",
            "editedMessage": {"conversation": "dois"},
            "timestampMs": "1795364451000",
        }
        await home.send(unit, "messages.edited", edit)
        await report(home, unit, "open")
        await home.settled()
        await report(home, unit, "close", 401)
        await home.settled()
        rows = "select external_id, body, edited_body, delivery::text from zapline.messages order by 1"
        whole = await home.rows(rows)
        # Set back while the daemon runs: everybody is thrown out, and the copy takes the name.
        with psycopg.connect(f"{place}/postgres", autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)")
            admin.execute(f"create database {name} template {earlier.rpartition('/')[2]}")
        assert await home.rows("select external_id from zapline.messages") == [("before",)]
        opened = home.counters.totals["connection_events", "Opened"]
        assert await replay(home) == 6
        await home.settled()
        assert await home.rows(rows) == whole
        assert whole[0] == ("A", "um", "dois", "read")
        assert home.counters.totals["connection_events", "Opened"] == opened
        assert phase(unit) is Phase.LOGGED_OUT
        assert home.counters.total("actor_crashes") == 0
        # A replayed entry lies below what is applied; the position must not go back to it.
        assert int(str((await home.rows("select applied_seq from zapline.unit_whatsapp_connections"))[0][0])) < 7
        await home.send(unit, "messages.upsert", text("C"))
        await home.settled()
        assert await home.rows("select applied_seq from zapline.unit_whatsapp_connections") == [(7,)]


async def test_a_poisoned_replay_does_not_set_the_position_back(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path) as home:
        unit = await home.add_unit()
        for number in range(20):
            await home.send(unit, "messages.upsert", text(f"{number:02}"))
        await home.settled()
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("delete from zapline.messages")
            admin.execute("alter table zapline.messages add check (external_id <> '07')")
        await replay(home)
        positions: set[object] = set()
        with trio.fail_after(10):
            while home.journal.statistics().depth:
                positions |= {
                    row[0] for row in await home.rows("select applied_seq from zapline.unit_whatsapp_connections")
                }
                await home.journal.flush()
        assert positions == {20}
        assert await home.rows("select count(*) as n from zapline.messages") == [(19,)]
        assert await home.rows("select reason, journal_seq from zapline.dead_letters") == [("refused_by_database", 8)]


async def test_a_disk_that_refuses_a_read_delays_the_lagging_units_and_ends_nothing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "REFUSED_PAUSE", 0.05)
    async with house(database, tmp_path) as home:
        unit = await home.add_unit()
        unfinished, refusals = home.journal.unfinished, 0

        async def refuse(*arguments: Any) -> list[Entry]:
            nonlocal refusals
            refusals += 1
            if refusals < 4:
                raise JournalRefused("planted")
            return await unfinished(*arguments)

        monkeypatch.setattr(home.journal, "unfinished", refuse)
        home.dispatcher.read_again(unit)
        for number in range(20):
            await home.send(unit, "messages.upsert", text(f"{number:02}"))
        await home.settled()
        rows = await home.rows("select external_id from zapline.messages order by seq")
        assert rows == [(f"{number:02}",) for number in range(20)]
        assert refusals >= 4
