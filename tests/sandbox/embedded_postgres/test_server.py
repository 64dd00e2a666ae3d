"""The embedded PostgreSQL: starting, dying and starting again, and leaving nothing behind."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sandbox.embedded_postgres import host
from zapline.sandbox.embedded_postgres.host import EmbeddedPostgresFailed
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres, PostgresServer
from zapline.sql.postgres.connection import connect

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="is about root's child running as another user")


async def value(url: str, expression: str) -> object:
    async with await connect(url) as conn:
        row = await conn.fetch_one(f"select {expression} as value")
        assert row is not None
        return row.value


def family(data_dir: Path) -> list[str]:
    return [p.command for p in host.running_processes() if f"-D {data_dir} " in f"{p.command} "]


async def test_it_is_initialised_once_and_keeps_its_data_and_password(server_directory):
    data_dir = server_directory / "deep" / "pg"
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        first = pg.url
        async with await connect(pg.url) as conn:
            await conn.execute("create table kept as select 42 as n")
    assert not family(data_dir)
    began = time.monotonic()
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        assert time.monotonic() - began < 1
        assert pg.url.split("@")[0] == first.split("@")[0]
        assert await value(pg.url, "(select n from kept)") == 42
        assert await value(pg.url, "current_setting('fsync')") == "off"


async def test_it_is_durable_unless_told_otherwise_and_listens_on_loopback_only(server_directory):
    async with EmbeddedPostgres.running(server_directory / "pg") as pg:
        names = (
            "fsync",
            "full_page_writes",
            "synchronous_commit",
            "listen_addresses",
            "unix_socket_directories",
        )
        found = [await value(pg.url, f"current_setting('{name}')") for name in names]
        assert found == ["on", "on", "on", "127.0.0.1", ""]
        assert await value(pg.url, "(select datcollate from pg_database where datname = 'zapline')") == "C"
        assert await value(pg.url, "lower('ÁÇ')") == "áç"


async def test_the_password_is_needed_kept_private_and_on_no_command_line(server_directory):
    async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
        password = pg.url.split(":")[2].split("@")[0]
        assert len(password) >= 24
        secret = server_directory / "pg.password"
        assert secret.read_text() == password
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert not [p for p in host.running_processes() if password in p.command]
        assert sorted(p.name for p in server_directory.iterdir()) == ["pg", "pg.lock", "pg.log", "pg.password"]
        assert password not in (server_directory / "pg.log").read_text()
        with pytest.raises(DatabaseUnavailable, match="password"):
            await connect(pg.url.replace(password, "guess"))


async def test_a_lost_password_file_is_replaced(server_directory):
    for _ in range(2):
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
            assert await value(pg.url, "1") == 1
        (server_directory / "pg.password").unlink()


async def test_a_killed_server_starts_again_on_its_port_with_what_was_committed(server_directory):
    async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
        url, pid = pg.url, pg.pid
        async with await connect(url) as conn:
            await conn.execute("create table kept as select 42 as n")
        for _ in range(3):
            await pg.kill()
            assert pg.pid is None
            assert not family(server_directory / "pg")
            await pg.start()
            assert await value(url, "(select n from kept)") == 42
        assert pg.url == url
        assert pg.pid != pid


async def test_a_stopped_server_starts_again_and_starting_twice_is_harmless(server_directory):
    async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
        await pg.stop()
        await pg.stop()
        with pytest.raises(DatabaseUnavailable):
            await connect(pg.url)
        await pg.start()
        pid = pg.pid
        await pg.start()
        assert pg.pid == pid
        assert await value(pg.url, "1") == 1


async def test_cancellation_and_errors_leave_no_server_behind(server_directory):
    with trio.move_on_after(1) as scope:
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False):
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(ZeroDivisionError):
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False):
            raise ZeroDivisionError
    assert not family(server_directory / "pg")


def child(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


RUN_FOR_EVER = """
import sys, time
from pathlib import Path
from zapline.sandbox.embedded_postgres import server as postgres
if sys.argv[2] == "unwatched":
    postgres.death_wrapper = lambda: ()
server = postgres.PostgresServer(Path(sys.argv[1]), durable=False)
server.open()
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kernel", ["watched", "unwatched"])
async def test_after_the_sandbox_was_killed_the_next_start_takes_over(server_directory, kernel):
    if kernel == "watched" and not host.pdeathsig_prefix():
        pytest.skip("needs setpriv")
    data_dir = server_directory / "pg"
    with child([sys.executable, "-c", RUN_FOR_EVER, str(data_dir), kernel]) as sandbox:
        assert sandbox.stdout is not None
        left = int(sandbox.stdout.readline())
        with pytest.raises(EmbeddedPostgresFailed, match="another sandbox"):
            PostgresServer(data_dir).open()
        sandbox.kill()
    if kernel == "watched":
        host.wait_until(lambda: not family(data_dir), 5, "end of the server by the kernel's signal")
    else:
        assert family(data_dir)
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        assert left not in {p.pid for p in host.running_processes()}
        assert await value(pg.url, "1") == 1


async def test_a_mark_with_the_pid_of_a_stranger_is_cleared_and_the_stranger_spared(server_directory):
    data_dir = server_directory / "pg"
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        mark = (data_dir / "postmaster.pid").read_text().splitlines()
        await pg.kill()
    with child(["sleep", "60"]) as stranger:
        (data_dir / "postmaster.pid").write_text("\n".join([str(stranger.pid), *mark[1:]]) + "\n")
        async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
            assert await value(pg.url, "1") == 1
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)


async def test_an_initialisation_cut_short_is_done_again(server_directory):
    half = server_directory / "pg.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
        assert await value(pg.url, "1") == 1
    assert not half.exists()


async def test_a_directory_with_strange_files_is_left_alone(server_directory):
    (server_directory / "pg").mkdir()
    (server_directory / "pg" / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresFailed, match="not empty"):
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False):
            pass
    assert (server_directory / "pg" / "letter.txt").read_text() == "mine"


async def test_a_wanted_port_is_used_and_one_that_is_taken_is_told(server_directory):
    port = host.free_port()
    async with EmbeddedPostgres.running(server_directory / "pg", port=port, durable=False) as pg:
        assert f":{port}/" in pg.url
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedPostgresFailed, match="not bind"):
        async with EmbeddedPostgres.running(server_directory / "pg", port=port, durable=False):
            pass


async def test_a_lost_race_for_a_free_port_is_tried_on_another(server_directory, monkeypatch):
    real = host.free_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(
            "zapline.sandbox.embedded_postgres.server.free_port", lambda: ports.pop() if ports else real()
        )
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
            assert not ports
            assert await value(pg.url, "1") == 1


async def test_without_the_optional_package_it_says_what_to_install(server_directory, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresFailed, match=r"zapline\[embedded\]"):
        PostgresServer(server_directory / "pg").open()


@AS_ROOT
def test_as_root_programs_that_others_cannot_reach_are_copied_to_where_they_can(server_directory, monkeypatch):
    monkeypatch.setattr(host, "_passable", lambda path: False)
    for _ in range(2):
        found = host.program_directory(server_directory, "nobody")
        assert server_directory in found.parents
        told = subprocess.run(
            [found / "initdb", "--version"],
            user="nobody",
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "18" in told.stdout
    assert not list(server_directory.glob("*.new"))


@AS_ROOT
async def test_as_root_a_closed_directory_gets_a_stand_in_that_is_found_again(server_directory):
    server_directory.chmod(0o700)
    places, seen = set(), set()
    try:
        for _ in range(2):
            async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
                places.add(pg.data_dir)
                started = await value(pg.url, "(select system_identifier::text from pg_control_system())")
                seen.add(started)
        (place,) = places
        assert place.parent.parent == Path("/var/tmp")
        assert len(seen) == 1
        (server_directory / "pg.elsewhere").unlink()
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
            anew = await value(pg.url, "(select system_identifier::text from pg_control_system())")
        assert anew not in seen, "where the directory was removed, its data are gone too"
    finally:
        for place in places:
            shutil.rmtree(place.parent)


@AS_ROOT
def test_as_root_a_stand_in_prepared_by_somebody_else_is_refused(server_directory):
    server_directory.chmod(0o700)
    place = host.reachable_directory(server_directory / "pg", "nobody").parent
    try:
        os.chown(place, 1234, -1)
        with pytest.raises(EmbeddedPostgresFailed, match="somebody else"):
            host.reachable_directory(server_directory / "pg", "nobody")
    finally:
        place.rmdir()
