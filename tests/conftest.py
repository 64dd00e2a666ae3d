"""Fixtures of all tests: one PostgreSQL server, a database for each test, and a log that must hold no canary."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg import sql

from zapline.daemon.logs import configuration
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate

RUN_LOG = Path(tempfile.mkdtemp(prefix="zapline-log-")) / "run.jsonl"
CANARIES = re.compile(
    rb"(?<![0-9A-Za-z-])\+?55119{1,5}[0-9]{4,8}(?![0-9A-Za-z-])|ALPHA-TOKEN|CANARY|sandbox-evolution-key|GLOBAL-KEY-0001"
)
"""Phones and keys that the tests use, and marker words; none may be in the log."""


@pytest.fixture(autouse=True)
def run_log() -> Iterator[None]:
    """Write all logging of the run to one file, masked as in production."""
    with RUN_LOG.open("ab") as stream:
        undo = configuration.configure("json", "info", stream)
        yield
        undo()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run if any line of its log holds a canary."""
    lines = RUN_LOG.read_bytes().splitlines() if RUN_LOG.exists() else []
    leaks = [line for line in lines if CANARIES.search(line)]
    for line in leaks[:5]:
        sys.stderr.write(f"\na canary in the log: {line[:400]!r}\n")
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif exitstatus == 0:
        sys.stdout.write(f"\nno canary in {len(lines)} log lines of this run\n")
    shutil.rmtree(RUN_LOG.parent, ignore_errors=True)


_numbers = count(1)


IN_MEMORY = Path("/dev/shm")
"""If it exists, copying a test's database there takes a tenth of the time of a disk."""
REQUIRED_BYTES = 4 * 2**30
"""Free space required there."""


def _in_memory() -> Path | None:
    """Return the directory in memory for the session's server, or None where there is none."""
    usable = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > REQUIRED_BYTES
    return IN_MEMORY if usable else None


def _make_directory(within: Path | None = None) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="zapline-tests-", dir=within))
    directory.chmod(0o711)  # as root the server runs as another user, who cannot enter tmp_path
    return directory


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A directory for a server that only this test uses."""
    directory = _make_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server. A test that stops or kills a server starts one of its own."""
    directory = _make_directory(_in_memory())
    server = PostgresServer(directory / "postgres", durable=False)
    server.open()
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.close()
        shutil.rmtree(directory)


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[Callable[..., str]]:
    """``new_database(template="template0")`` copies a database and returns its URL; dropped at the end."""
    created: list[str] = []

    def run(statement: str, *names: str) -> None:
        with closing(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5)) as admin:
            admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def create(template: str = "template0") -> str:
        name = f"test_{next(_numbers)}"
        # Copying files is five times as fast as the default way through the write-ahead log.
        run("create database {} template {} strategy file_copy", name, template)
        created.append(name)
        return postgres.url.rpartition("/")[0] + f"/{name}"

    yield create
    for name in created:
        run("drop database {} with (force)", name)


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    """URL of an empty database."""
    return new_database()


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """Name of a template database with every migration applied."""
    name = "migrated_template"
    with closing(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5)) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = postgres.url.rpartition("/")[0] + f"/{name}"

    async def apply() -> None:
        async with await connect(url) as conn:
            await migrate(conn, lambda line: None)

    trio.run(apply)
    return name


@pytest.fixture
def database(new_database: Callable[..., str], migrated: str) -> str:
    """URL of a migrated, empty database."""
    return new_database(migrated)
