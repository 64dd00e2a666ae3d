"""The journal when the process or the disk fails. Run as a program, this file is the process that suffers."""

import ctypes
import json
import os
import platform
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
import trio

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry

UNIT = UnitId(UUID(int=7))
BODY = b"x" * 8000


def arrival(body: bytes = BODY) -> Arrival:
    return Arrival(UNIT, "messages.upsert", 1.0, body)


def ignore(entries: list[Entry]) -> None:
    pass


async def try_append(journal: Journal, attempts: int) -> tuple[list[int], list[str]]:
    """The numbers that were acknowledged, and what the refusals said."""
    stored, refused = [], []
    for _ in range(attempts):
        try:
            stored.append(await journal.append(arrival()))
        except JournalRefused as error:
            refused.append(str(error))
    return stored, refused


def report(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


# -- in the child process ------------------------------------------------------------------------------------


async def append_without_end(directory: Path) -> None:
    async with Journal.open(directory, on_committed=ignore) as journal, trio.open_nursery() as nursery:

        async def post() -> None:
            while True:
                seq = await journal.append(arrival(os.urandom(1500)))
                print(seq, flush=True)
                if seq % 3 == 0:
                    journal.mark_done([seq])

        for _ in range(16):
            nursery.start_soon(post)


async def meet_a_file_size_limit(directory: Path) -> None:
    async with Journal.open(directory, on_committed=ignore) as journal:
        before = [await journal.append(arrival())]
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        during, refused = await try_append(journal, 40)
        journal.mark_done(before)
        _, more = await try_append(journal, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        after = [await journal.append(arrival())]
        await journal.flush()
        report(done=before, stored=during + after, refused=refused + more, depth=journal.statistics().depth)


async def meet_a_failing_fsync(directory: Path, reading_first: bool) -> None:
    wal = directory / "journal.db-wal"
    async with Journal.open(directory, on_committed=ignore) as journal:
        before = [await journal.append(arrival())]
        if reading_first:
            await journal.unfinished(Seq(0), 10)
        broken = wal_handles()
        fail_fsync(broken)
        synced, salt = wal.stat().st_size, wal.read_bytes()[16:24]
        _, refused = await try_append(journal, 1)
        unsynced = wal.stat().st_size if wal.exists() else 0
        # The journal has let go of its files; what it opens next must not get the numbers that fail.
        while not broken <= open_handles():
            os.open("/dev/null", os.O_RDONLY)
        after = [await journal.append(arrival())]
        found = [entry.seq for entry in await journal.unfinished(Seq(0), 10)]
        lose_power(directory, synced, unsynced, salt)
        report(stored=before + after, refused=refused, found=found, depth=journal.statistics().depth)


def lose_power(directory: Path, synced: int, unsynced: int, salt: bytes) -> None:
    """Copy the journal as the disk has it: what an fsync has failed for never reached it, unless written again."""
    copy = directory / "after-power-loss"
    copy.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        shutil.copy(directory / name, copy / name)
    log = bytearray((copy / "journal.db-wal").read_bytes())
    if log[16:24] == salt:
        log[synced:unsynced] = bytes(unsynced - synced)
        (copy / "journal.db-wal").write_bytes(log)


def open_handles() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def wal_handles() -> set[int]:
    return {n for n in open_handles() if os.readlink(f"/proc/self/fd/{n}").endswith("journal.db-wal")}


def fail_fsync(handles: set[int]) -> None:
    """Have the kernel answer EIO to fsync and fdatasync of these handles, in every thread of this process.

    A seccomp filter needs no rights and no tool; the numbers are Linux's.
    """
    seccomp, syncs = {"x86_64": (317, (74, 75)), "aarch64": (277, (82, 83))}[platform.machine()]

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return code.to_bytes(2, "little") + bytes([if_true, if_false]) + value.to_bytes(4, "little")

    load, equal, answer = 0x20, 0x15, 0x06
    refuse, allow = step(answer, 0x0005_0000 | 5), step(answer, 0x7FFF_0000)
    count = len(handles)
    steps = [step(load, 0), step(equal, syncs[0], 1, 0), step(equal, syncs[1], 0, count + 1), step(load, 16)]
    steps += [step(equal, handle, count - n, 0) for n, handle in enumerate(sorted(handles))]
    steps += [allow, refuse]
    code = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(
        len(steps).to_bytes(8, "little") + ctypes.addressof(code).to_bytes(8, "little")
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "no new privileges"
    assert libc.syscall(seccomp, 1, 1, program) == 0, os.strerror(ctypes.get_errno())


# -- the tests -----------------------------------------------------------------------------------------------


def child(scene: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, scene, str(directory)], stdout=subprocess.PIPE, text=True, bufsize=1
    )


async def report_of(scene: str, directory: Path) -> dict[str, list[int]]:
    with trio.fail_after(30):
        done = await trio.run_process([sys.executable, __file__, scene, str(directory)], capture_stdout=True)
    return json.loads(done.stdout)


async def left_in(directory: Path) -> list[int]:
    with trio.fail_after(30):
        async with Journal.open(directory, on_committed=ignore) as journal:
            return [entry.seq for entry in await journal.unfinished(Seq(0), 100_000, max_bytes=10**9)]


async def test_everything_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for count in (1, 150, 700):
        with child("kill", tmp_path) as process:
            assert process.stdout is not None
            for _ in range(count):
                acknowledged.add(int(process.stdout.readline()))
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
            acknowledged |= {int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")}
        assert process.returncode == -signal.SIGKILL
    found = set(await left_in(tmp_path))
    assert len(acknowledged) > 850
    assert {seq for seq in acknowledged if seq % 3} <= found


async def test_an_entry_that_does_not_fit_is_refused_and_a_later_one_is_stored(tmp_path: Path) -> None:
    facts = await report_of("file-size", tmp_path)
    assert len(facts["refused"]) > 10
    assert all("write the journal" in why for why in map(str, facts["refused"]))
    assert facts["depth"] == len(facts["stored"])
    assert await left_in(tmp_path) == facts["stored"]


@pytest.mark.parametrize("scene", ["fsync", "fsync-reading"])
async def test_a_commit_whose_fsync_fails_is_not_durable_and_the_next_is_tried_anew(tmp_path: Path, scene: str) -> None:
    facts = await report_of(scene, tmp_path)
    assert len(facts["refused"]) == 1
    assert "IOERR_FSYNC" in str(facts["refused"][0])
    assert facts["found"] == facts["stored"]
    assert facts["depth"] == 2
    assert await left_in(tmp_path / "after-power-loss") == facts["stored"]
    assert await left_in(tmp_path) == facts["stored"]


@dataclass
class SmallDisk:
    """A tmpfs of 256 kB where this user may mount one, else a limit on the pages of the database."""

    path: Path
    mounted: bool = False

    def mount(self) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(self.path)]
        tool = shutil.which("mount")
        self.mounted = bool(tool) and subprocess.run(command, capture_output=True, timeout=10).returncode == 0

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.path)], check=True, timeout=10)

    def shrink(self, journal: Journal) -> None:
        if not self.mounted:
            limit(journal, 30)

    def grow(self, journal: Journal) -> None:
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=8m", str(self.path)], check=True, timeout=10)
        else:
            limit(journal, 100_000)


@pytest.fixture(params=["tmpfs", "page limit"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path)
    if request.param == "tmpfs":
        disk.mount()
    yield disk
    disk.unmount()


async def test_a_full_disk_refuses_and_takes_entries_again_when_there_is_room(small_disk: SmallDisk) -> None:
    with trio.fail_after(30):
        async with Journal.open(small_disk.path, on_committed=ignore) as journal:
            small_disk.shrink(journal)
            stored, refused = await try_append(journal, 60)
            assert stored
            assert len(refused) > 10
            assert "(SQLITE_FULL)" in refused[0]
            journal.mark_done(stored[:1])
            small_disk.grow(journal)
            stored.append(await journal.append(arrival()))
            assert journal.statistics().depth == len(stored) - 1
            assert journal.statistics().refused == len(refused)
        assert await left_in(small_disk.path) == stored[1:]


def limit(journal: Journal, pages: int) -> None:
    """SQLite answers FULL above this many pages."""
    connection = journal._file._connection
    assert isinstance(connection, sqlite3.Connection)
    connection.execute(f"pragma max_page_count = {pages}").fetchall()


async def test_pruning_makes_room_in_a_journal_that_is_full(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with Journal.open(tmp_path, on_committed=ignore) as journal:
            limit(journal, 40)
            stored, refused = await try_append(journal, 60)
            assert refused
            journal.mark_done(stored)
            await journal.flush()
            assert (await journal.prune(2.0, 10**9, ())).removed == len(stored)
            assert await try_append(journal, 5) == ([stored[-1] + len(refused) + n for n in range(1, 6)], [])


SCENES = {
    "kill": append_without_end,
    "file-size": meet_a_file_size_limit,
    "fsync": lambda directory: meet_a_failing_fsync(directory, False),
    "fsync-reading": lambda directory: meet_a_failing_fsync(directory, True),
}

if __name__ == "__main__":
    trio.run(SCENES[sys.argv[1]], Path(sys.argv[2]))
