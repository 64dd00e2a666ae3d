"""A journal whose file is rotten or older than what was acknowledged: what can be read comes back, the rest is told."""

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
import trio

from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.replacing import damaged_files
from zapline.sql.journal.schema import CALL_STARTED, PAGE_BYTES, SEND_ANSWER, Arrival, Entry

UNIT = UnitId(UUID(int=1))
OTHER = UnitId(UUID(int=2))
START = Seq(0)


def body_of(seq: int) -> bytes:
    return b"%d:" % seq + bytes([seq % 251]) * 1500


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Journal]:
    def ignore(entries: list[Entry]) -> None:
        pass

    with trio.fail_after(30):
        async with Journal.open(directory, on_committed=ignore) as journal:
            yield journal


async def fill(directory: Path, count: int, done: int = 0) -> UUID:
    """Append entries with their numbers in their bodies, the first ones done; return the journal's id."""
    async with opened(directory) as journal:
        for number in range(1, count + 1):
            await journal.append(Arrival(UNIT, "messages.upsert", float(number), body_of(number)))
        journal.mark_done([Seq(number) for number in range(1, done + 1)])
        await journal.save_snapshot(b"units")
        journal.note_compared()
        return journal.journal_id


async def everything(journal: Journal) -> list[Entry]:
    return await journal.unfinished(START, 10_000, max_bytes=10**9)


def rot(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(range(256)) * (PAGE_BYTES // 256))


async def test_whichever_page_rots_the_journal_opens_and_gives_back_what_the_page_did_not_hold(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    journal_id = await fill(sound, 60, done=10)
    pages = (sound / "journal.db").stat().st_size // PAGE_BYTES
    assert pages > 12
    told = 0
    for page in range(pages):
        directory = tmp_path / str(page)
        shutil.copytree(sound, directory)
        rot(directory / "journal.db", page)
        async with opened(directory) as journal:
            found = await everything(journal)
            bodies = {entry.seq: entry.body for entry in found if not entry.damaged}
            assert all(body == body_of(seq) for seq, body in bodies.items())
            missing = {*range(11, 61)} - bodies.keys()
            assert len(missing) <= PAGE_BYTES // 1500, page
            losses = journal.take_losses()
            replaced = journal.journal_id != journal_id
            assert [loss.kind for loss in losses] == (["damaged"] if replaced else []), page
            damaged = {entry.seq for entry in found if entry.damaged}
            assert missing <= damaged or sum(loss.entries for loss in losses) >= len(missing - damaged), page
            assert len(damaged_files(directory)) == replaced
            if replaced:
                told += 1
                assert all(entry.replayed for entry in found)
            assert await journal.append(Arrival(UNIT, "later", 99.0, b"later")) > 60
    assert told > pages // 2


async def test_a_page_that_rots_while_the_journal_is_used_is_replaced_when_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        for number in range(1, 61):
            await journal.append(Arrival(UNIT, "messages.upsert", float(number), body_of(number)))
        changed: list[None] = []
        journal.on_changed = lambda: changed.append(None)
        before = journal.journal_id
        with closing(sqlite3.connect(tmp_path / "journal.db")) as other:
            other.execute("pragma wal_checkpoint(truncate)").fetchall()
            leaf = other.execute(
                "select max(pageno) from dbstat where name = 'entries' and pagetype = 'leaf'"
            ).fetchone()[0]
        rot(tmp_path / "journal.db", leaf - 1)
        journal._reader.close()  # as after a while, when the page is not in its cache any more
        found = await everything(journal)
        assert 50 <= len(found) < 60
        assert journal.journal_id != before
        assert [(loss.kind, loss.entries) for loss in journal.take_losses()] == [("damaged", 60 - len(found))]
        assert changed
        assert await journal.append(Arrival(UNIT, "later", 99.0, b"later")) == 61
    async with opened(tmp_path) as journal:
        assert [entry.seq for entry in await everything(journal)] == [*(entry.seq for entry in found), 61]


async def test_a_bit_that_flips_inside_a_body_is_noticed(tmp_path: Path) -> None:
    await fill(tmp_path, 3)
    content = bytearray((tmp_path / "journal.db").read_bytes())
    content[content.index(b"2:") + 700] ^= 1
    (tmp_path / "journal.db").write_bytes(content)
    async with opened(tmp_path) as journal:
        assert [(entry.seq, entry.damaged) for entry in await everything(journal)] == [
            (1, False),
            (2, True),
            (3, False),
        ]


@pytest.mark.parametrize("how", ["lost", "bit flipped", "cut"])
async def test_a_wal_that_does_not_hold_what_was_acknowledged_is_told_and_no_number_is_used_twice(
    tmp_path: Path, how: str
) -> None:
    living, copied = tmp_path / "living", tmp_path / "copied"
    async with opened(living) as journal:
        for number in range(1, 41):
            await journal.append(Arrival(UNIT, "messages.upsert", float(number), body_of(number)))
        shutil.copytree(living, copied)  # a kill
    wal = copied / "journal.db-wal"
    if how == "lost":
        wal.unlink()
    elif how == "cut":
        os.truncate(wal, wal.stat().st_size // 2)
    else:
        content = bytearray(wal.read_bytes())
        content[len(content) // 2] ^= 1
        wal.write_bytes(content)
    async with opened(copied) as journal:
        left = await everything(journal)
        assert len(left) < 40
        (loss,) = journal.take_losses()
        assert (loss.kind, loss.entries) == ("set_back", 40 - len(left))
        assert loss.since == float(len(left))
        assert await journal.append(Arrival(UNIT, "later", 99.0, b"later")) == 41
        assert journal.take_losses() == []
    async with opened(copied) as journal:
        assert journal.take_losses() == []


async def test_another_id_replays_what_is_older_and_keeps_what_is_new(tmp_path: Path) -> None:
    journal_id = await fill(tmp_path, 3)
    async with opened(tmp_path) as journal:
        await journal.append(Arrival(UNIT, "messages.upsert", 4.0, body_of(4)))
        loss = await journal.take_new_id(10)
        assert (loss.kind, loss.entries, loss.since) == ("older", 7, 3.0)
        taken = journal.journal_id
        assert taken != journal_id
        assert [entry.replayed for entry in await everything(journal)] == [True, True, True, False]
    async with opened(tmp_path) as journal:
        assert journal.journal_id == taken


async def test_a_units_entries_are_replayed_from_a_position_on_and_its_calls_are_remembered(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        for number in range(1, 7):
            unit = UNIT if number != 3 else OTHER
            event = CALL_STARTED if number in (2, 5, 6) else "messages.upsert"
            await journal.append(Arrival(unit, event, float(number), body_of(number)))
        journal.mark_done([Seq(number) for number in range(1, 6)], (UNIT, 5))
        await journal.flush()
        assert [(unit, body) for unit, body in await journal.last_calls()] == [(UNIT, body_of(6))]
        assert await journal.replay_unit(UNIT, 3) == 2
        assert [(entry.seq, entry.replayed) for entry in await everything(journal)] == [(4, True), (5, True), (6, True)]
        assert await journal.replay_unit(UNIT, 0, {CALL_STARTED}) == 1
        assert journal.stored_positions == {}
    async with opened(tmp_path) as journal:
        assert journal.stored_positions == {UNIT: 5}


async def test_a_journal_of_the_first_format_is_brought_to_this_one(tmp_path: Path) -> None:
    await fill(tmp_path, 5, done=2)
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as old:
        old.execute("drop table calls")
        old.execute("drop table positions")
        old.execute("alter table entries drop column crc")
        old.execute("pragma user_version = 1")
    async with opened(tmp_path) as journal:
        assert [entry.body for entry in await everything(journal)] == [body_of(3), body_of(4), body_of(5)]
        journal.mark_done([Seq(3)], (UNIT, 3))
        await journal.flush()
        assert journal.take_losses() == []


async def test_the_calls_of_a_message_are_found_by_it_also_in_a_journal_of_the_second_format(tmp_path: Path) -> None:
    message, other = UUID(int=7), UUID(int=8)

    def noted(event: str, of: UUID, fence: int) -> Arrival:
        return Arrival(UNIT, event, 1.0, msgspec.json.encode({"message": of, "fence": fence}))

    entries = [noted(CALL_STARTED, message, 1), noted(SEND_ANSWER, message, 1), noted(CALL_STARTED, other, 9)]
    async with opened(tmp_path) as journal:
        await journal.append_many([*entries, noted(CALL_STARTED, message, 2)])
        await journal.append(Arrival(UNIT, CALL_STARTED, 1.0, b"rotten"))
        journal.mark_done([Seq(number) for number in range(1, 6)])
        await journal.flush()
        assert await journal.last_call(message) == noted(CALL_STARTED, message, 2).body
        assert await journal.last_call(UUID(int=9)) is None
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as old:
        old.execute("drop table calls")
        old.execute("pragma user_version = 2")
    async with opened(tmp_path) as journal:
        assert await journal.last_call(message) == noted(CALL_STARTED, message, 2).body
        assert await journal.replay_message(message) == 3
        assert [entry.seq for entry in await everything(journal)] == [1, 2, 4]
        journal.mark_done([Seq(1), Seq(2), Seq(4)])
        await journal.flush()
        await journal.prune(2.0, 10**9, ())
        assert await journal.last_call(message) is None
        assert await journal.replay_message(message) == 0


async def test_what_lies_on_sound_pages_is_found_though_no_page_leads_to_it(tmp_path: Path) -> None:
    sizes = [0, 1, 800, 8000, 8100, 8157, 8158, 8159, 8192, 9000, 20_000, 100_000]
    async with opened(tmp_path) as journal:
        for number in range(400):
            body = bytes([number % 256]) * sizes[number % len(sizes)]
            await journal.append(Arrival(UNIT, "ev\u00e9nement", number + (number % 2) / 4, body))
        journal.note_compared()
    for page in (2, 4):  # the roots of entries, and of what is unfinished
        rot(tmp_path / "journal.db", page)
    async with opened(tmp_path) as journal:
        found = await everything(journal)
        assert [(entry.seq, entry.received_at) for entry in found] == [
            (number + 1, number + (number % 2) / 4) for number in range(400)
        ]
        assert all(
            entry.body == bytes([number % 256]) * sizes[number % len(sizes)] for number, entry in enumerate(found)
        )
        assert not any(entry.damaged for entry in found)
        assert [loss.entries for loss in journal.take_losses()] == [0]
