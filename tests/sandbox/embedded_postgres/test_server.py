"""The embedded PostgreSQL: start, crash, restart, and cleanup."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.sandbox.embedded_postgres import host
from zapline.sandbox.embedded_postgres.host import EmbeddedPostgresFailed
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres, PostgresServer
from zapline.sql.postgres.connection import connect

IDENTIFIER = "(select system_identifier::text from pg_control_system())"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="tests that root's child runs as another user")


async def value(url: str, expression: str) -> object:
    async with await connect(url) as conn:
        row = await conn.fetch_one(f"select {expression} as value")
        assert row is not None
        return row.value


def server_processes(data_dir: Path) -> list[str]:
    return [p.command for p in host.running_processes() if f"-D {data_dir} " in f"{p.command} "]


async def test_it_is_initialised_once_and_keeps_its_data_and_password(server_directory, monkeypatch):
    programs, run_program = [], PostgresServer._run_program

    def record(self: PostgresServer, command: list[str], stdin: str = "") -> None:
        programs.append(command[0])
        run_program(self, command, stdin)

    monkeypatch.setattr(PostgresServer, "_run_program", record)
    data_dir = server_directory / "deep" / "pg"
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        first = pg.url
        async with await connect(pg.url) as conn:
            await conn.execute("create table numbers as select 42 as n")
    assert not server_processes(data_dir)
    assert programs == ["initdb", "postgres"]
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        assert programs == ["initdb", "postgres"], "the second start initialises nothing"
        assert pg.url.split("@")[0] == first.split("@")[0]
        assert await value(pg.url, "(select n from numbers)") == 42
        assert await value(pg.url, "current_setting('fsync')") == "off"


async def test_it_is_durable_by_default_and_listens_on_loopback_only(server_directory):
    async with EmbeddedPostgres.running(server_directory / "pg") as pg:
        names = (
            "fsync",
            "full_page_writes",
            "synchronous_commit",
            "listen_addresses",
            "unix_socket_directories",
        )
        settings = [await value(pg.url, f"current_setting('{name}')") for name in names]
        assert settings == ["on", "on", "on", "127.0.0.1", ""]
        assert await value(pg.url, "(select datcollate from pg_database where datname = 'zapline')") == "C"
        assert await value(pg.url, "lower('ÁÇ')") == "áç"


async def test_the_password_is_required_private_and_on_no_command_line(cluster_directory):
    async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as pg:
        password = pg.url.split(":")[2].split("@")[0]
        assert len(password) >= 24
        password_file = cluster_directory / "pg.password"
        assert password_file.read_text() == password
        assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
        assert not [p for p in host.running_processes() if password in p.command]
        assert sorted(p.name for p in cluster_directory.iterdir()) == ["pg", "pg.lock", "pg.log", "pg.password"]
        assert password not in (cluster_directory / "pg.log").read_text()
        with pytest.raises(DatabaseUnavailable, match="password"):
            await connect(pg.url.replace(password, "guess"))


async def test_a_lost_password_file_is_replaced(cluster_directory):
    for _ in range(2):
        async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as pg:
            assert await value(pg.url, "1") == 1
        (cluster_directory / "pg.password").unlink()


async def test_a_killed_server_restarts_on_its_port_with_all_committed_data(cluster_directory):
    async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as pg:
        url, pid = pg.url, pg.pid
        async with await connect(url) as conn:
            await conn.execute("create table numbers as select 42 as n")
        for _ in range(3):
            await pg.kill()
            assert pg.pid is None
            assert not server_processes(cluster_directory / "pg")
            await pg.start()
            assert await value(url, "(select n from numbers)") == 42
        assert pg.url == url
        assert pg.pid != pid


async def test_a_stopped_server_starts_again_and_a_second_start_does_nothing(cluster_directory):
    async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as pg:
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
    with trio.fail_after(120), trio.CancelScope() as scope:
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False):
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(ZeroDivisionError):
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False):
            raise ZeroDivisionError
    assert not server_processes(server_directory / "pg")


def child(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


SERVER_SCRIPT = """
import sys, time
from pathlib import Path
from zapline.sandbox.embedded_postgres import server as module
if sys.argv[2] == "without pdeathsig":
    module.pdeathsig_prefix = lambda: ()
server = module.PostgresServer(Path(sys.argv[1]), durable=False)
server.open()
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("mode", ["pdeathsig", "without pdeathsig"])
async def test_after_the_sandbox_was_killed_the_next_start_takes_over(cluster_directory, mode):
    if mode == "pdeathsig" and not host.pdeathsig_prefix():
        pytest.skip("needs setpriv")
    data_dir = cluster_directory / "pg"
    with child([sys.executable, "-c", SERVER_SCRIPT, str(data_dir), mode]) as sandbox:
        assert sandbox.stdout is not None
        pid = int(sandbox.stdout.readline())
        with pytest.raises(EmbeddedPostgresFailed, match="another sandbox"):
            PostgresServer(data_dir).open()
        sandbox.kill()
    if mode == "pdeathsig":
        host.wait_until(lambda: not server_processes(data_dir), 30, "end of the server by the kernel's signal")
    else:
        assert server_processes(data_dir)
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        assert pid not in {p.pid for p in host.running_processes()}
        assert await value(pg.url, "1") == 1


async def test_a_stale_pid_file_is_removed_and_the_process_with_its_pid_is_not_killed(cluster_directory):
    data_dir = cluster_directory / "pg"
    async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
        pid_file = (data_dir / "postmaster.pid").read_text().splitlines()
        await pg.kill()
    with child(["sleep", "60"]) as other:
        (data_dir / "postmaster.pid").write_text("\n".join([str(other.pid), *pid_file[1:]]) + "\n")
        async with EmbeddedPostgres.running(data_dir, durable=False) as pg:
            assert await value(pg.url, "1") == 1
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)


async def test_an_interrupted_initialisation_is_repeated(server_directory):
    partial = server_directory / "pg.new"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
        assert await value(pg.url, "1") == 1
    assert not partial.exists()


async def test_a_directory_with_other_files_is_refused_and_not_changed(server_directory):
    (server_directory / "pg").mkdir()
    (server_directory / "pg" / "notes.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresFailed, match="not empty"):
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False):
            pass
    assert (server_directory / "pg" / "notes.txt").read_text() == "mine"


async def test_a_given_port_is_used_and_a_taken_one_is_reported(cluster_directory):
    port = host.free_port()
    async with EmbeddedPostgres.running(cluster_directory / "pg", port=port, durable=False) as pg:
        assert f":{port}/" in pg.url
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedPostgresFailed, match="not bind"):
        async with EmbeddedPostgres.running(cluster_directory / "pg", port=port, durable=False):
            pass


async def test_a_lost_race_for_a_free_port_is_retried_on_another(cluster_directory, monkeypatch):
    free_port = host.free_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(
            "zapline.sandbox.embedded_postgres.server.free_port", lambda: ports.pop() if ports else free_port()
        )
        async with EmbeddedPostgres.running(cluster_directory / "pg", durable=False) as pg:
            assert not ports
            assert await value(pg.url, "1") == 1


async def test_without_the_optional_package_the_error_says_what_to_install(server_directory, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresFailed, match=r"zapline\[embedded\]"):
        PostgresServer(server_directory / "pg").open()


@AS_ROOT
def test_as_root_programs_that_others_cannot_reach_are_copied(server_directory, monkeypatch):
    monkeypatch.setattr(host, "_traversable", lambda path: False)
    for _ in range(2):
        directory = host.program_directory(server_directory, "nobody")
        assert server_directory in directory.parents
        version = subprocess.run(
            [directory / "initdb", "--version"],
            user="nobody",
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "18" in version.stdout
    assert not list(server_directory.glob("*.new"))


@AS_ROOT
async def test_as_root_a_closed_directory_gets_a_substitute_that_is_found_again(server_directory):
    server_directory.chmod(0o700)
    directories, identifiers = set(), set()
    try:
        for _ in range(2):
            async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
                directories.add(pg.data_dir)
                identifiers.add(await value(pg.url, IDENTIFIER))
        (directory,) = directories
        assert directory.parent.parent == Path("/var/tmp")
        assert len(identifiers) == 1
        (server_directory / "pg.elsewhere").unlink()
        async with EmbeddedPostgres.running(server_directory / "pg", durable=False) as pg:
            assert await value(pg.url, IDENTIFIER) not in identifiers, "the data are removed with the directory"
    finally:
        for directory in directories:
            shutil.rmtree(directory.parent)


@AS_ROOT
def test_as_root_a_substitute_owned_by_another_user_is_refused(server_directory):
    server_directory.chmod(0o700)
    substitute = host.reachable_directory(server_directory / "pg", "nobody").parent
    try:
        os.chown(substitute, 1234, -1)
        with pytest.raises(EmbeddedPostgresFailed, match="somebody else"):
            host.reachable_directory(server_directory / "pg", "nobody")
    finally:
        substitute.rmdir()
