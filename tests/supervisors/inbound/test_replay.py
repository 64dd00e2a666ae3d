"""Entries processed again, from an old, a pruned or a new journal, set nothing back and are not lost."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text

from zapline.domain.errors import JournalRefused
from zapline.domain.line.reasons import Phase
from zapline.sql.journal.schema import Entry
from zapline.supervisors.inbound import dispatcher
from zapline.supervisors.inbound.unit_state import Unit


async def report(stack: InboundStack, unit: Unit, state: str, code: int = 200) -> None:
    data = {"instance": unit.record.instance, "state": state, "statusReason": code}
    await stack.send(unit, "connection.update", data)


def phase(unit: Unit) -> Phase:
    assert unit.state is not None
    return unit.state.stored.phase


def mark_unfinished(journal: Path) -> None:
    """Make all entries unfinished: committed, but not marked done before the process was killed."""
    with closing(sqlite3.connect(journal / "journal.db")) as file:
        file.execute(
            "insert or ignore into unfinished (seq, unit_id, starts_before) "
            "select seq, unit_id, (select value from meta where key = 'starts') from entries"
        )
        file.commit()


async def test_an_old_open_before_a_committed_close_is_not_stepped_again(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.calls.state = "close"
        await stack.send(unit, "messages.upsert", text("A"))
        await report(stack, unit, "open")
        await stack.wait_until_stored()
        await report(stack, unit, "close", 401)
        await stack.wait_until_stored()
        await stack.send(unit, "messages.upsert", text("B"))
        await stack.wait_until_stored()
        assert phase(unit) is Phase.LOGGED_OUT
        before = await stack.rows("select m::text, xmin::text from zapline.messages m order by 1")
        row = await stack.rows("select phase, connected_at, disconnected_at from zapline.unit_whatsapp_connections")
    mark_unfinished(tmp_path)
    async with inbound_stack(database, tmp_path) as stack:
        assert stack.journal.statistics().depth == 4
        stack.calls.state = "close"
        await stack.wait_until_stored()
        assert stack.counters.totals["connection_events", "Opened"] == 0
        assert phase(stack.unit(unit.id)) is Phase.LOGGED_OUT
        assert await stack.rows("select m::text, xmin::text from zapline.messages m order by 1") == before
        assert (
            await stack.rows("select phase, connected_at, disconnected_at from zapline.unit_whatsapp_connections")
            == row
        )


async def test_a_new_journal_with_low_numbers_is_not_taken_for_the_old_one(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path / "old") as stack:
        unit = await stack.add_unit()
        for number in range(30):
            await stack.send(unit, "messages.upsert", text(f"old{number:02}"))
        await stack.wait_until_stored()
    async with inbound_stack(database, tmp_path / "new") as stack:
        again = stack.unit(unit.id)
        assert again.applied_seq == 0
        for number in range(5):
            await stack.send(again, "messages.upsert", text(f"new{number}"))
        await stack.wait_until_stored()
        assert await stack.rows("select count(*) as n from zapline.messages") == [(35,)]
        assert await stack.rows("select applied_seq, journal_id from zapline.unit_whatsapp_connections") == [
            (5, stack.journal.journal_id)
        ]


async def test_a_pruned_journal_goes_on_counting(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        for number in range(30):
            await stack.send(unit, "messages.upsert", text(f"old{number:02}"))
        await stack.wait_until_stored()
        assert (await stack.journal.prune(2**40, 0, ())).removed == 30
    async with inbound_stack(database, tmp_path) as stack:
        again = stack.unit(unit.id)
        assert again.applied_seq == 30
        for number in range(5):
            await stack.send(again, "messages.upsert", text(f"new{number}"))
        await stack.wait_until_stored()
        assert await stack.rows("select count(*) as n from zapline.messages") == [(35,)]


async def replay(stack: InboundStack) -> int:
    """Replay the whole journal, as the command does; return the number of entries."""
    count = await stack.journal.replay(0.0)
    for unit in stack.roster.units():
        stack.dispatcher.rewind(unit)
    return count


async def test_a_replay_into_a_restored_database_brings_messages_edits_and_statuses_and_steps_nothing(
    new_database: Callable[..., str], migrated: str, tmp_path: Path
) -> None:
    url = new_database(migrated)
    key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": True, "id": "A"}
    place, name = url.rpartition("/")[0], url.rpartition("/")[2]
    async with inbound_stack(url, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.send(unit, "messages.upsert", text("before"))
        await stack.wait_until_stored()
    earlier = new_database(name)  # the backup of an hour ago
    async with inbound_stack(url, tmp_path) as stack:
        unit = stack.unit(unit.id)
        stack.calls.state = "close"
        await stack.send(unit, "send.message", {**text("A", "um"), "key": key, "status": "PENDING"})
        await stack.send(unit, "messages.update", {"keyId": "A", "remoteJid": key["remoteJid"], "status": "READ"})
        edit = {
            "key": key,
            "type": "MESSAGE_EDIT",
            "editedMessage": {"conversation": "dois"},
            "timestampMs": "1795364451000",
        }
        await stack.send(unit, "messages.edited", edit)
        # The proof that our phone has edited it, which Evolution posts too: the key above is the editor's own word.
        proof = {"keyId": "A", "remoteJid": key["remoteJid"], "fromMe": True, "status": "SERVER_ACK"}
        edited = {"editedMessage": {"message": edit["editedMessage"]}}
        await stack.send(unit, "messages.update", proof | {"message": edited})
        await report(stack, unit, "open")
        await stack.wait_until_stored()
        await report(stack, unit, "close", 401)
        await stack.wait_until_stored()
        rows = "select external_id, body, edited_body, delivery::text from zapline.messages order by 1"
        whole = await stack.rows(rows)
        # Restored while the daemon runs: all connections are closed, and the backup takes the name.
        with psycopg.connect(f"{place}/postgres", autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)")
            admin.execute(f"create database {name} template {earlier.rpartition('/')[2]}")
        assert await stack.rows("select external_id from zapline.messages") == [("before",)]
        opened = stack.counters.totals["connection_events", "Opened"]
        assert await replay(stack) == 7
        await stack.reload()  # the daemon does that by itself, as soon as the database refuses to go on from there
        await stack.wait_until_stored()
        assert await stack.rows(rows) == whole
        assert whole[0] == ("A", "um", "dois", "read")
        assert stack.counters.totals["connection_events", "Opened"] == opened
        assert phase(unit) is Phase.LOGGED_OUT
        assert stack.counters.total("actor_crashes") == 0
        await stack.send(unit, "messages.upsert", text("C"))
        await stack.wait_until_stored()
        assert await stack.rows("select applied_seq from zapline.unit_whatsapp_connections") == [(8,)]


async def test_a_poisoned_replay_does_not_set_the_position_back(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        for number in range(20):
            await stack.send(unit, "messages.upsert", text(f"{number:02}"))
        await stack.wait_until_stored()
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("delete from zapline.messages")
            admin.execute("alter table zapline.messages add check (external_id <> '07')")
        await replay(stack)
        positions: set[object] = set()
        with trio.fail_after(30):
            while stack.journal.statistics().depth:
                positions |= {
                    row[0] for row in await stack.rows("select applied_seq from zapline.unit_whatsapp_connections")
                }
                await stack.journal.flush()
        assert positions == {20}
        assert await stack.rows("select count(*) as n from zapline.messages") == [(19,)]
        assert await stack.rows("select reason, journal_seq from zapline.dead_letters") == [("refused_by_database", 8)]


async def test_a_disk_that_refuses_reads_delays_units_with_a_backlog_and_crashes_nothing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "READ_RETRY_PAUSE", 0.05)
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        unfinished, refusals = stack.journal.unfinished, 0

        async def refuse(*arguments: Any) -> list[Entry]:
            nonlocal refusals
            refusals += 1
            if refusals < 4:
                raise JournalRefused("planted")
            return await unfinished(*arguments)

        monkeypatch.setattr(stack.journal, "unfinished", refuse)
        stack.dispatcher.rewind(unit)
        for number in range(20):
            await stack.send(unit, "messages.upsert", text(f"{number:02}"))
        await stack.wait_until_stored()
        rows = await stack.rows("select external_id from zapline.messages order by seq")
        assert rows == [(f"{number:02}",) for number in range(20)]
        assert refusals >= 4
