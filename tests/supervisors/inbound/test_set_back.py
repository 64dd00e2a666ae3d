"""Journal and database of different ages: what was answered is stored all the same, once, and a loss is told."""

import shutil
import time
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
from support.database_copies import database_copies
from support.inbound_stack import InboundStack, inbound_stack, text, until

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal import writer
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import load_units
from zapline.supervisors.inbound.mailbox import DirectEntry
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.leadership import WriterStanding
from zapline.supervisors.units.unit_commands import UnitCommands, UnitPolicy


async def post(stack: InboundStack, unit: Unit, prefix: str, count: int) -> None:
    for number in range(count):
        await stack.send(unit, "messages.upsert", text(f"{prefix}{number}"))


async def stored(stack: InboundStack, prefix: str) -> int:
    rows = await stack.rows(f"select count(*) from zapline.messages where external_id like '{prefix}%'")
    return int(str(rows[0][0]))


def ignore(entries: list[Entry]) -> None:
    pass


async def older_journal(database: str, tmp_path: Path) -> tuple[UnitId, Path]:
    """A unit whose journal has gone on since it was copied; returns it and the copy."""
    now, backup = tmp_path / "now", tmp_path / "backup"
    async with inbound_stack(database, now) as stack:
        unit = (await stack.add_unit()).id
        await post(stack, stack.unit(unit), "A", 5)
        await stack.wait_until_stored()
    shutil.copytree(now, backup)
    async with inbound_stack(database, now) as stack:
        await post(stack, stack.unit(unit), "B", 30)
        await stack.send(stack.unit(unit), "messages.upsert", {"nonsense": 1})  # a dead letter with a number
        await stack.wait_until_stored()
    return unit, backup


@pytest.mark.parametrize("with_units", [True, False], ids=["active", "archived"])
async def test_a_journal_restored_from_a_backup_swallows_nothing(
    database: str, tmp_path: Path, with_units: bool
) -> None:
    id, backup = await older_journal(database, tmp_path)
    async with inbound_stack(database, backup) as stack:
        unit = stack.unit(id)
        if not with_units:  # what a unit that is gone has stored counts, too
            unit = await stack.add_unit("outra")
        await post(stack, unit, "C", 20)
        await stack.send(unit, "messages.upsert", {"nonsense": 2})
        await stack.wait_until_stored()
        assert await stored(stack, "C") == 20
        assert len(await stack.rows("select from zapline.dead_letters")) == 2
        assert stack.counters.totals["journal_losses", "older"] == 1
        assert (stack.losses.entries, stack.losses.last_at is not None) == (0, True)
        assert unit.gap_since is not None or not with_units
        taken = stack.journal.journal_id
    async with inbound_stack(database, backup) as stack:
        assert stack.journal.journal_id == taken
        assert stack.counters.total("journal_losses") == 0


@pytest.mark.parametrize("early", [0, 10], ids=["while the units are loaded", "and takes webhooks at once"])
async def test_an_older_journal_that_opens_late_swallows_nothing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: int
) -> None:
    id, backup = await older_journal(database, tmp_path)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.02 if early else 3600.0)
    file, kept = backup / "journal.db", backup / "kept"
    file.rename(kept)
    file.symlink_to(backup)  # no file, and replaced in one step: between two a new journal could be opened
    async with inbound_stack(database, backup) as stack, Pool.open(database, role="zapline_engine", size=1) as pool:
        unit = stack.unit(id)
        stack.journal.on_changed = stack.comparison.journal_changed
        parts = (stack.journal, stack.roster, stack.dispatcher, stack.intake)
        commands = UnitCommands(pool, *parts, lambda *_: "", UnitPolicy("", 1.0), stack.comparison)
        assert stack.journal.closed_because is not None
        kept.replace(file)
        if early:
            await until(lambda: stack.journal.began_at > 0 and stack.comparison.is_due)
            await post(stack, unit, "C", early)
        await commands.reload(WriterStanding())  # the snapshot is what opens the journal, if nothing has yet
        assert stack.journal.closed_because is None
        assert not stack.comparison.is_due
        await post(stack, unit, "D", 40)
        await stack.wait_until_stored()
        assert (await stored(stack, "C"), await stored(stack, "D")) == (early, 40)
        assert stack.counters.totals["journal_losses", "older"] == 1
        assert unit.gap_since is not None


async def test_a_database_that_was_set_back_before_the_journal_could_be_opened_is_told_all_again(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 3600.0)
    file, kept = tmp_path / "journal.db", tmp_path / "kept"
    with database_copies(database) as copies:
        async with inbound_stack(database, tmp_path) as stack:
            id = (await stack.add_unit()).id
            await post(stack, stack.unit(id), "A", 1)
            await stack.wait_until_stored()
            earlier = copies.copy()
            await post(stack, stack.unit(id), "B", 20)
            await stack.wait_until_stored()
            await stack.journal.flush()
        copies.set_back(earlier)
        file.rename(kept)
        file.mkdir()
        async with (
            inbound_stack(database, tmp_path) as stack,
            Pool.open(database, role="zapline_engine", size=1) as pool,
        ):
            stack.journal.on_changed = stack.comparison.journal_changed
            parts = (stack.journal, stack.roster, stack.dispatcher, stack.intake)
            commands = UnitCommands(pool, *parts, lambda *_: "", UnitPolicy("", 1.0), stack.comparison)
            assert stack.journal.closed_because is not None
            assert await stored(stack, "B") == 0
            file.rmdir()
            kept.rename(file)
            await commands.reload(WriterStanding())
            assert stack.journal.closed_because is None
            await stack.wait_until_stored()
            assert await stored(stack, "B") == 20
            assert stack.counters.total("units_set_back") == 1


async def test_numbers_that_were_used_twice_while_the_database_was_away_are_no_obstacle(
    database: str, tmp_path: Path
) -> None:
    id, backup = await older_journal(database, tmp_path)
    body = b'{"event":"messages.upsert","instance":"loja","data":%s}'
    for start in range(2):  # two starts without the database, each with more than what was lost
        async with Journal.open(backup, on_committed=ignore) as journal:
            for number in range(40):
                data = (
                    b'{"key":{"remoteJid":"5511999990001@s.whatsapp.net","fromMe":false,"id":"N%d-%d"},'
                    b'"message":{"conversation":"oi"},"messageTimestamp":%d}' % (start, number, int(time.time()))
                )
                await journal.append(Arrival(id, "messages.upsert", time.time(), body % data))
    async with inbound_stack(database, backup) as stack:
        await stack.wait_until_stored()
        assert await stored(stack, "N") == 80
        assert stack.counters.totals["journal_losses", "older"] == 1


async def test_connection_events_of_an_older_journal_are_history(database: str, tmp_path: Path) -> None:
    now, backup = tmp_path / "now", tmp_path / "backup"

    async def report(stack: InboundStack, state: str) -> None:
        data = {"instance": "loja", "state": state, "statusReason": 200}
        await stack.send(stack.unit(id), "connection.update", data)

    async with inbound_stack(database, now) as stack:
        id = (await stack.add_unit()).id
        await report(stack, "open")
        await stack.wait_until_stored()
    async with Journal.open(now, on_committed=ignore) as journal:
        body = b'{"event":"connection.update","instance":"loja","data":{"state":"close","statusReason":401}}'
        journal.note_compared()
        await journal.append(Arrival(id, "connection.update", time.time(), body))
    shutil.copytree(now, backup)
    async with inbound_stack(database, now) as stack:  # stores the close, and that the line was opened again
        await stack.wait_until_stored()
        await report(stack, "open")
        await stack.wait_until_stored()
    async with inbound_stack(database, backup) as stack:
        await stack.wait_until_stored()
        stepped = {label for name, label in stack.counters.totals if name == "connection_events"}
        assert stepped <= {"Started", "StateObserved", "Registered", "RegistrationChecked"}


async def test_a_database_that_is_set_back_gets_back_what_the_journal_holds_while_the_daemon_lives(
    database: str, tmp_path: Path
) -> None:
    with database_copies(database) as copies:
        async with inbound_stack(database, tmp_path) as stack:
            unit, quiet = await stack.add_unit("loja"), await stack.add_unit("calma")
            await post(stack, quiet, "Q", 3)
            await post(stack, unit, "A", 5)
            await stack.wait_until_stored()
            earlier = copies.copy()
            await post(stack, unit, "D", 50)
            await stack.send(unit, "connection.update", {"instance": "loja", "state": "open", "statusReason": 200})
            await stack.wait_until_stored()
            copies.set_back(earlier)
            assert await stored(stack, "D") == 0
            await post(stack, unit, "E", 1)
            with trio.fail_after(30):  # nobody has looked yet: the recorder itself notices
                while not stack.standing_checks:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            assert await stored(stack, "E") == 0
            await stack.reload()
            assert unit.catching_up is not None
            assert quiet.catching_up is None
            await stack.wait_until_stored()
            assert (await stored(stack, "D"), await stored(stack, "E"), await stored(stack, "A")) == (50, 1, 5)
            line = "select phase from zapline.unit_whatsapp_connections where instance_id = 'loja'"
            await stack.wait_for_rows(line, [("open",)])
            await until(lambda: unit.catching_up is None)
            await stack.reload()
            assert stack.counters.total("units_set_back") == 1
            # What the line has shown since is told again, under a number that is higher than those that were lost.
            history = f"select number > 1, phase from zapline.line_changes where unit_id = '{unit.id}'"
            assert await stack.rows(history) == [(True, "open")]
            assert (unit.changes_stored, unit.shows_news) == (2, False)


async def test_units_that_were_brought_back_before_the_journal_refused_go_on(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database_copies(database) as copies:
        async with inbound_stack(database, tmp_path) as stack:
            units = [await stack.add_unit(name) for name in ("um", "dois")]
            for unit in units:
                await post(stack, unit, f"{unit.record.instance}-A", 1)
            await stack.wait_until_stored()
            earlier = copies.copy()
            for unit in units:
                await post(stack, unit, f"{unit.record.instance}-D", 5)
            await stack.wait_until_stored()
            copies.set_back(earlier)
            calls, replay = count(1), stack.journal.replay_unit

            async def refuse_the_second(*arguments: Any) -> int:
                if next(calls) == 2:
                    raise JournalRefused("cannot write the journal")
                return await replay(*arguments)

            monkeypatch.setattr(stack.journal, "replay_unit", refuse_the_second)
            with pytest.raises(JournalRefused):
                await stack.reload(moved=True)
            await stack.reload()
            await stack.wait_until_stored()
            assert [await stored(stack, f"{unit.record.instance}-D") for unit in units] == [5, 5]
            await until(lambda: all(unit.catching_up is None for unit in units))


async def test_a_webhook_that_only_a_database_held_which_was_set_back_is_read_back(
    database: str, tmp_path: Path
) -> None:
    with database_copies(database) as copies:
        async with inbound_stack(database, tmp_path) as stack:
            unit, quiet = await stack.add_unit("loja"), await stack.add_unit("calma")
            await post(stack, unit, "A", 1)
            await stack.wait_until_stored()
            earlier = copies.copy()
            body = {"event": "messages.upsert", "instance": "loja", "data": text("D0")}
            direct = DirectEntry(Entry(Seq(0), unit.id, "messages.upsert", 1000.0, msgspec.json.encode(body)))
            await unit.mailbox.put_direct(direct)  # the journal has refused it
            await direct.processed.wait()
            copies.set_back(earlier)
            await stack.reload(moved=True)
            assert (unit.gap_since, quiet.gap_since) == (1000.0, None)


async def test_a_database_that_was_set_back_while_the_daemon_was_away_is_noticed_at_the_start(
    database: str, tmp_path: Path
) -> None:
    with database_copies(database) as copies:
        async with inbound_stack(database, tmp_path) as stack:
            unit = (await stack.add_unit("loja")).id
            empty = copies.copy()
            await post(stack, stack.unit(unit), "A", 20)
            await stack.wait_until_stored()
        copies.set_back(empty)
        for times in (1, 0):
            async with inbound_stack(database, tmp_path) as stack:
                await stack.wait_until_stored()
                await stack.wait_for_rows("select count(*) from zapline.messages", [(20,)])
                assert stack.counters.total("units_set_back") == times


async def test_lines_of_another_node_do_not_stop_the_others_and_what_is_over_is_never_stored(
    database: str, tmp_path: Path
) -> None:
    node, other = uuid4(), uuid4()
    async with inbound_stack(database, tmp_path, lanes=1) as stack, await connect(database) as conn:
        units = await stack.add_units(["um", "dois", "tres"])
        lost = units[1]

        async def give(owner: UUID, epoch: int, *, stale: bool = False) -> None:
            await conn.execute("update zapline.unit_whatsapp_connections set owner = %s, epoch = %s", (owner, epoch))
            records = await load_units(conn)
            stack.roster.apply(records, stack.journal.journal_id, stale)

        async def lose(epoch: int) -> None:
            statement = "update zapline.unit_whatsapp_connections set owner = %s, epoch = %s where unit_id = %s"
            await conn.execute(statement, (other, epoch, lost.id))

        await give(node, 1)
        held = lost.held
        assert (held.node, held.epoch) == (node, 1)
        await lose(2)
        checks = stack.standing_checks
        for unit in units:
            await post(stack, unit, unit.record.instance, 1)
        await until(lambda: stack.standing_checks > checks)
        await stack.wait_for_rows("select count(*) from zapline.messages where external_id !~ 'dois'", [(2,)])
        assert await stored(stack, "dois") == 0
        await give(node, 3)  # nobody else has been its owner: what waits is stored
        await stack.wait_until_stored()
        assert await stored(stack, "dois") == 1
        assert (lost.held is held, held.epoch) == (True, 3)
        await lose(4)
        checks = stack.standing_checks
        line = {"instance": "dois", "state": "open", "statusReason": 200}
        await stack.send(lost, "connection.update", line)
        await until(lambda: stack.standing_checks > checks)
        await give(node, 5, stale=True)  # its state is read anew, and the journal once more
        assert (held.over, lost.held.epoch) == (True, 5)
        await stack.wait_until_stored()
        phase = "select phase from zapline.unit_whatsapp_connections where instance_id = 'dois'"
        await stack.wait_for_rows(phase, [("open",)])
        assert stack.recorder.statistics().waiting == 0
