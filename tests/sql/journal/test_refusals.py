"""The journal when it cannot take an entry, or when its caller or its writer goes away."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import trio
import trio.testing

from zapline.domain.errors import JournalRefused, MustNotWrite
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal import schema, writer
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry
from zapline.sql.journal.sqlite_file import JournalFile

UNIT = UnitId(UUID(int=1))
OTHER = UnitId(UUID(int=2))
START = Seq(0)


def arrival(body: bytes = b"{}", unit: UnitId = UNIT, event: str = "messages.upsert", at: float = 1.0) -> Arrival:
    return Arrival(unit, event, at, body)


def ignore(entries: list[Entry]) -> None:
    pass


@asynccontextmanager
async def opened(
    directory: Path,
    on_committed: Callable[[list[Entry]], None] = ignore,
    max_waiting: int = 4096,
    room_seconds: float = 5.0,
) -> AsyncIterator[Journal]:
    with trio.fail_after(30):
        async with Journal.open(
            directory, on_committed=on_committed, max_waiting=max_waiting, room_seconds=room_seconds
        ) as journal:
            yield journal


def hold_writer(directory: Path) -> sqlite3.Connection:
    """Take SQLite's write lock, so that the writer stands still until ``rollback``."""
    foreign = sqlite3.connect(directory / "journal.db", isolation_level=None)
    foreign.execute("begin immediate")
    return foreign


async def numbers(journal: Journal) -> list[int]:
    return [entry.seq for entry in await journal.unfinished(START, 10_000)]


async def test_an_append_that_is_cancelled_may_be_stored_and_is_reported(tmp_path: Path) -> None:
    reported: list[Entry] = []
    async with opened(tmp_path, reported.extend) as journal:
        foreign = hold_writer(tmp_path)
        with trio.move_on_after(0.05) as scope:
            await journal.append(arrival(b"orphan"))
        assert scope.cancelled_caught
        foreign.rollback()
        foreign.close()
        await journal.append(arrival(b"next"))
        assert [entry.body for entry in reported] == [b"orphan", b"next"]
        assert len(await numbers(journal)) == 2


async def test_appends_end_at_their_own_deadlines_and_may_be_stored_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        foreign = hold_writer(tmp_path)

        async def append_too_late(within: float) -> None:
            with pytest.raises(JournalRefused, match="no answer from the disk"):
                await journal.append_many([arrival()], within=within)

        async with trio.open_nursery() as waiting:
            waiting.start_soon(journal.append, arrival())
            waiting.start_soon(partial(journal.append_many, [arrival()], within=600.0))
            async with trio.open_nursery() as late:
                for within in (0.03, 0.01, 0.02):
                    late.start_soon(append_too_late, within)
                    await trio.testing.wait_all_tasks_blocked()
            assert len(journal._writer._in_time) == 1
            foreign.rollback()
        foreign.close()
        assert not journal._writer._in_time
        await journal.flush()
        assert len(await numbers(journal)) == 5


async def test_a_full_queue_waits_for_room_and_refuses_in_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path, max_waiting=3, room_seconds=0.05) as journal:
        foreign = hold_writer(tmp_path)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(journal.append, arrival())
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(JournalRefused, match="no room"):
                await journal.append(arrival())
            journal._room_seconds = 15.0
            nursery.start_soon(journal.append, arrival(b"waits"))
            await trio.testing.wait_all_tasks_blocked()
            foreign.rollback()
        foreign.close()
        assert journal.statistics().refused == 1
        assert (await journal.unfinished(Seq(3), 9))[0].body == b"waits"


async def test_a_commit_that_fails_refuses_its_entries_and_the_next_is_tried_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.05)
    reported: list[int] = []
    async with opened(tmp_path, lambda entries: reported.extend(entry.seq for entry in entries)) as journal:
        stored = await journal.append(arrival())
        foreign = hold_writer(tmp_path)
        journal.mark_done([stored])
        with pytest.raises(JournalRefused, match="locked"):
            await journal.append(arrival())
        foreign.rollback()
        foreign.close()
        assert journal.statistics().depth == 1
        while journal.statistics().depth:  # noqa: ASYNC110 - the done mark is tried again by another thread
            await trio.sleep(0.005)
        later = await journal.append(arrival())
        assert reported == [stored, later]
        assert later > stored + 1
        assert journal.statistics().refused == 1


async def test_a_snapshot_that_is_refused_takes_no_entry_of_the_same_commit_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: JournalFile, data: bytes) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(JournalFile, "save_snapshot", refuse)
    async with opened(tmp_path) as journal:
        foreign = hold_writer(tmp_path)  # until all of them wait for one commit
        stored: list[int] = []
        refused: list[str] = []

        async def append() -> None:
            stored.append(await journal.append(arrival()))

        async def save() -> None:
            with pytest.raises(JournalRefused, match="full") as caught:
                await journal.save_snapshot(b"units")
            refused.append(str(caught.value))

        async with trio.open_nursery() as nursery:
            for task in (append, save, append, save, append):
                nursery.start_soon(task)
            await trio.testing.wait_all_tasks_blocked(0.05)
            foreign.rollback()
            foreign.close()
        assert (await numbers(journal), len(refused)) == (sorted(stored), 2)
        assert len(stored) == 3


async def test_leaving_drains_what_is_queued_even_when_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival()] * 3)
    with trio.move_on_after(5) as scope:
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(opened(tmp_path))
            journal.mark_done(seqs[:2])
            scope.cancel()
            await trio.sleep(1)
    async with opened(tmp_path) as journal:
        assert await numbers(journal) == seqs[2:]


async def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        pass
    with pytest.raises(JournalRefused, match="closed"):
        await journal.append(arrival())
    with pytest.raises(JournalRefused, match="closed"):
        await journal.flush()


async def test_a_crash_of_the_writer_cancels_the_body_and_wakes_every_waiting_task(tmp_path: Path) -> None:
    woken: list[str] = []

    async def wait(journal: Journal, work: Callable[[JournalFile], object]) -> None:
        try:
            await journal._call(work)
        except JournalRefused as refused:
            woken.append(str(refused))
        except trio.Cancelled:
            woken.append("cancelled")
            raise

    async def run() -> None:
        async with opened(tmp_path) as journal, trio.open_nursery() as nursery:
            nursery.start_soon(wait, journal, lambda file: 1 // 0)
            nursery.start_soon(wait, journal, lambda file: None)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ZeroDivisionError)
    assert len(woken) == 2


async def test_a_file_of_a_later_release_is_not_changed(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append(arrival())
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(MustNotWrite, match="format 99"):
        async with opened(tmp_path):
            pytest.fail("it opened")


async def test_a_journal_that_cannot_be_opened_refuses_until_the_disk_lets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.02)
    async with opened(tmp_path) as journal:
        waiting = await journal.append(arrival(b"from before"))
    (tmp_path / "journal.db").rename(tmp_path / "kept")
    (tmp_path / "journal.db").mkdir()  # whoever the tests run as, this is no file to open
    async with opened(tmp_path) as journal:
        changed = trio.Event()
        journal.on_changed = changed.set
        assert journal.closed_because is not None
        assert journal.load_snapshot() is None
        with pytest.raises(JournalRefused, match="open the journal"):
            await journal.append(arrival())
        with pytest.raises(JournalRefused, match="open the journal"):
            await journal.unfinished(START, 1)
        (tmp_path / "journal.db").rmdir()
        (tmp_path / "kept").rename(tmp_path / "journal.db")
        await changed.wait()
        assert journal.closed_because is None
        assert await journal.append(arrival(b"later")) == waiting + 1
        assert [entry.body for entry in await journal.unfinished(START, 9)] == [b"from before", b"later"]


def test_a_refused_commit_that_takes_effect_later_is_deleted(tmp_path: Path) -> None:
    """An fsync that fails may leave a whole commit in the WAL; its entries were refused to their callers."""
    file = JournalFile.open(tmp_path)
    with file.transaction():
        file.insert([Entry(Seq(1), UNIT, "e", 1.0, b"good")])
    file.close()
    ghost = JournalFile.open(tmp_path)
    with ghost.transaction():
        ghost.insert([Entry(Seq(2), UNIT, "e", 1.0, b"ghost")])
    ghost.close()
    with file.transaction():
        file.insert([Entry(Seq(3), UNIT, "e", 1.0, b"later")])
    assert (file.depth, file.last_seq) == (2, 3)
    file.close()
    rows = sqlite3.connect(tmp_path / "journal.db")
    assert rows.execute("select e.body from unfinished u join entries e using (seq)").fetchall() == [
        (b"good",),
        (b"later",),
    ]
    rows.close()


async def test_positions_of_many_units_are_noted_at_once_and_never_go_back(tmp_path: Path) -> None:
    units = [UnitId(UUID(int=number)) for number in range(1, 301)]
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival(), arrival()])
        for at in (7, 9, 8):
            for unit in units:
                journal.mark_done((), (unit, at))
        journal.mark_done(seqs, (units[0], 3))
        await journal.flush()
    async with opened(tmp_path) as journal:
        assert journal.stored_positions == dict.fromkeys(units, 9)
