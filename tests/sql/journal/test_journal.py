"""The journal as its callers see it: durable, grouped, ordered, bounded."""

import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import trio
import trio.testing

from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.history import Pruned
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry

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


async def test_an_entry_comes_back_as_it_was_until_it_is_done(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seq = await journal.append(Arrival(UNIT, "messages.update", 12.5, b"\x00\xffbody"))
        assert await journal.unfinished(START, 10) == [
            Entry(seq, UNIT, "messages.update", 12.5, b"\x00\xffbody", 0, 0, 0, False)
        ]
        journal.mark_done([seq])
        await journal.flush()
        assert await journal.unfinished(START, 10) == []


async def test_what_was_received_while_units_were_shared_is_replayed_where_they_are_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.note_use(shared=False)
        await journal.append(arrival())
        await journal.note_use(shared=True)
        assert [entry.replayed for entry in await journal.unfinished(START, 10)] == [False]
    async with opened(tmp_path) as journal:
        await journal.note_use(shared=True)
        for event in ("messages.upsert", "!too_large", "!backfill"):
            await journal.append(arrival(event=event))
    async with opened(tmp_path) as journal:
        await journal.note_use(shared=False)
        assert [entry.replayed for entry in await journal.unfinished(START, 10)] == [True, True, True, False]
        await journal.append(arrival())
        await journal.note_use(shared=False)
        assert [entry.replayed for entry in await journal.unfinished(START, 10)] == [True, True, True, False, False]


async def test_done_marks_reach_the_disk_by_themselves_within_a_moment(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival(), arrival()])
        journal.mark_done(seqs[:1])
        journal.mark_done(seqs[1:])
        while journal.statistics().depth:  # noqa: ASYNC110 - of another thread
            await trio.sleep(0.005)
        assert journal.statistics().commits == 2


async def test_many_appends_share_few_commits(tmp_path: Path) -> None:
    async with opened(tmp_path / "j") as journal:
        foreign = hold_writer(tmp_path / "j")
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(journal.append, arrival(b"x" * 1500))
            await trio.testing.wait_all_tasks_blocked()
            foreign.rollback()
        foreign.close()
        assert journal.statistics().appended == 300
        assert journal.statistics().commits <= 2
        assert len(await numbers(journal)) == 300


async def test_entries_are_reported_in_order_and_before_their_append_returns(tmp_path: Path) -> None:
    reported: list[int] = []
    late: list[int] = []

    async with opened(tmp_path, lambda entries: reported.extend(entry.seq for entry in entries)) as journal:

        async def post() -> None:
            for _ in range(10):
                seq = await journal.append(arrival())
                if seq not in reported:
                    late.append(seq)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(post)
        assert reported == sorted(reported)
        assert reported == await numbers(journal)
        assert len(reported) == 300
        assert late == []


async def test_a_group_is_stored_in_one_commit_with_consecutive_numbers(tmp_path: Path) -> None:
    reported: list[list[int]] = []
    async with opened(tmp_path, lambda entries: reported.append([entry.seq for entry in entries])) as journal:
        seqs = await journal.append_many([arrival(b"%d" % n) for n in range(301)])
        assert seqs == list(range(seqs[0], seqs[0] + 301))
        assert reported == [seqs]
        assert [entry.body for entry in await journal.unfinished(START, 999)] == [b"%d" % n for n in range(301)]
        assert await journal.append_many([]) == []


async def test_directory_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "journal"
    directory.mkdir(parents=True, mode=0o755)
    async with opened(directory) as journal:
        await journal.append(arrival())
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600, "journal.reached": 0o600}


async def test_the_journal_keeps_its_id_and_a_new_one_has_another(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "a", "b"):
        async with opened(tmp_path / name) as journal:
            ids.append(journal.journal_id)
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].int != 0


async def test_numbers_are_never_used_again_after_everything_was_pruned(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival()] * 3)
        journal.mark_done(seqs)
        await journal.flush()
        assert (await journal.prune(2.0, 10**9, ())).removed == 3
    async with opened(tmp_path) as journal:
        assert await journal.append(arrival()) == seqs[-1] + 1


async def test_each_start_counts_for_what_it_finds_unfinished(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append(arrival())
    async with opened(tmp_path) as journal:
        await journal.append(arrival())
        assert [entry.starts_seen for entry in await journal.unfinished(START, 9)] == [1, 0]
    async with opened(tmp_path) as journal:
        assert [entry.starts_seen for entry in await journal.unfinished(START, 9)] == [2, 1]
        assert journal.statistics().depth == 2


async def test_a_start_after_an_orderly_stop_counts_for_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append(arrival())
        await journal.note_orderly_stop()
    for seen in (0, 1, 2):  # only the first of these starts follows the orderly stop
        async with opened(tmp_path) as journal:
            assert [entry.starts_seen for entry in await journal.unfinished(START, 9)] == [seen]


async def test_a_crash_is_counted_for_its_entries_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        first, second = await journal.append_many([arrival(), arrival()])
        await journal.note_crash([second])
        await journal.note_crash([second])
    async with opened(tmp_path) as journal:
        assert {e.seq: e.crashes for e in await journal.unfinished(START, 9)} == {first: 0, second: 2}


async def test_a_process_that_dies_over_a_suspect_entry_is_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        held, released, neighbour = await journal.append_many([arrival()] * 3)
        await journal.mark_suspect(held)
        await journal.mark_suspect(released)
        journal.clear_suspect(released)
        assert [entry.suspect_deaths for entry in await journal.unfinished(START, 9)] == [0, 0, 0]
    for start in range(2):  # the mark is cleared by the start that counts it
        async with opened(tmp_path) as journal:
            found = {entry.seq: entry.suspect_deaths for entry in await journal.unfinished(START, 9)}
            assert found == {held: 1, released: 0, neighbour: 0}
            if start == 1:
                await journal.mark_suspect(held)
    async with opened(tmp_path) as journal:
        assert (await journal.unfinished(START, 1))[0].suspect_deaths == 2


async def test_unfinished_is_read_in_pages_by_count_bytes_and_unit(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append_many([arrival(b"x" * 100, OTHER if n % 3 == 0 else UNIT) for n in range(9)])
        assert [e.seq for e in await journal.unfinished(START, 4)] == [1, 2, 3, 4]
        assert [e.seq for e in await journal.unfinished(Seq(7), 4)] == [8, 9]
        assert [e.seq for e in await journal.unfinished(START, 9, OTHER)] == [1, 4, 7]
        assert [e.seq for e in await journal.unfinished(Seq(1), 9, OTHER)] == [4, 7]
        assert [e.seq for e in await journal.unfinished(START, 9, max_bytes=250)] == [1, 2]
        assert [e.seq for e in await journal.unfinished(START, 9, max_bytes=1)] == [1]


async def test_replay_brings_back_what_was_done_since_then(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival(at=float(n), unit=(UNIT, OTHER)[n % 2]) for n in range(600)])
        journal.mark_done(seqs[:-1])
        await journal.flush()
        assert await journal.replay(500.0, OTHER) == 49
        found = await journal.unfinished(START, 999)
        assert [entry.seq for entry in found] == [s for n, s in enumerate(seqs) if n >= 500 and n % 2]
        assert [entry.replayed for entry in found] == [True] * 49 + [False]
        assert await journal.replay(0.0) == 550
        assert journal.statistics().depth == 600
        assert journal.statistics().oldest == 0.0
        assert await journal.replay(0.0) == 0


async def test_the_last_snapshot_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        assert journal.load_snapshot() is None
        await journal.save_snapshot(b"one")
        await journal.save_snapshot(b"two\x00")
    async with opened(tmp_path) as journal:
        assert journal.load_snapshot() == b"two\x00"


async def test_prune_removes_done_entries_of_an_earlier_time_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival(b"x" * 10, at=float(n)) for n in range(700)])
        journal.mark_done(seqs[300:])
        await journal.flush()
        assert await journal.prune(500.0, 10**9, {"messages.upsert"}) == Pruned(200, 0, 2000)
        assert await numbers(journal) == seqs[:300]
        assert await journal.replay(0.0) == 200


async def test_above_the_budget_the_oldest_done_entries_go_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        seqs = await journal.append_many([arrival(b"x" * 1500) for n in range(2000)])
        journal.mark_done(seqs[10:])
        await journal.flush()
        stored = journal.statistics().stored_bytes
        pruned = await journal.prune(0.0, stored // 2, {"messages.upsert"})
        assert 900 <= pruned.removed <= 1100
        assert pruned.shed == 0
        assert journal.statistics().stored_bytes < stored * 0.6
        assert await journal.replay(0.0) == 1990 - pruned.removed
        assert await numbers(journal) == [*seqs[:10], *seqs[10 + pruned.removed :]]


async def test_what_matters_least_is_shed_when_nothing_done_is_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        kinds = ("messages.upsert", "presence.update")
        seqs = await journal.append_many([arrival(b"x" * 1500, event=kinds[n % 2]) for n in range(600)])
        pruned = await journal.prune(0.0, 0, {"presence.update"})
        assert pruned == Pruned(0, 300, 300 * 1500)
        assert await numbers(journal) == seqs[::2]
        assert journal.statistics().depth == 300
        assert await journal.replay(0.0) == 0


async def test_statistics_follow_what_is_unfinished(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        assert (journal.statistics().depth, journal.statistics().oldest) == (0, None)
        first, second = await journal.append_many([arrival(at=5.0), arrival(at=6.0)])
        assert (journal.statistics().depth, journal.statistics().oldest) == (2, 5.0)
        journal.mark_done([first, first])
        journal.mark_done([first])
        await journal.flush()
        statistics = journal.statistics()
        assert (statistics.depth, statistics.oldest) == (1, 6.0)
        assert (statistics.appended, statistics.refused) == (2, 0)
        assert statistics.last_commit_seconds > 0
        journal.mark_done([second])
        await journal.flush()
        assert (journal.statistics().depth, journal.statistics().oldest) == (0, None)


async def test_an_event_name_that_is_no_proper_text_is_stored_nevertheless(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append_many([arrival(event="a\ud800\x00b"), arrival(event="ação")])
        assert [e.event for e in await journal.unfinished(START, 9)] == ["a\\ud800\x00b", "ação"]
