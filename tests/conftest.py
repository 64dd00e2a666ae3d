"""For all tests: one real PostgreSQL with an empty database for each, and one log that must hold no canary."""

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

from zapline.daemon.logs import setup
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate

RUN_LOG = Path(tempfile.mkdtemp(prefix="zapline-log-")) / "run.jsonl"
CANARIES = re.compile(
    rb"(?<![0-9A-Za-z-])\+?55119{1,5}[0-9]{4,8}(?![0-9A-Za-z-])|ALPHA-TOKEN|CANARY|sandbox-evolution-key|GLOBAL-KEY-0001"
)
"""Phones and keys that the tests use everywhere, and words planted to be found."""


@pytest.fixture(autouse=True)
def logged() -> Iterator[None]:
    """Everything that is logged goes, masked as in production, to one file for the whole run."""
    with RUN_LOG.open("ab") as stream:
        undo = setup.configure("json", "info", stream)
        yield
        undo()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run if any line of its log holds a canary."""
    lines = RUN_LOG.read_bytes().splitlines() if RUN_LOG.exists() else []
    found = [line for line in lines if CANARIES.search(line)]
    for line in found[:5]:
        sys.stderr.write(f"\na canary in the log: {line[:400]!r}\n")
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif exitstatus == 0:
        sys.stdout.write(f"\nno canary in {len(lines)} log lines of this run\n")
    shutil.rmtree(RUN_LOG.parent, ignore_errors=True)


_numbers = count(1)


IN_MEMORY = Path("/dev/shm")
"""Where it is there, each test's database is copied in a tenth of the time that a disk takes."""
ROOM = 4 * 2**30
"""Bytes that must be free in it."""


def _in_memory() -> Path | None:
    """A place for a server that forgets at its end anyhow; None where the machine has no such place."""
    usable = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > ROOM
    return IN_MEMORY if usable else None


def _make_place(within: Path | None = None) -> Path:
    place = Path(tempfile.mkdtemp(prefix="zapline-tests-", dir=within))
    place.chmod(0o711)  # as root the server runs as another user, who must get in; tmp_path is closed to him
    return place


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A directory for a server of the test's own."""
    place = _make_place()
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server. A test that stops or kills a server starts one of its own."""
    place = _make_place(_in_memory())
    server = PostgresServer(place / "postgres", durable=False)
    server.open()
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.close()
        shutil.rmtree(place)


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[Callable[..., str]]:
    """``new_database(template="template0")`` copies a database and returns its URL; dropped at the end."""
    made: list[str] = []

    def run(words: str, *names: str) -> None:
        with closing(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5)) as admin:
            admin.execute(sql.SQL(words).format(*map(sql.Identifier, names)))

    def create(template: str = "template0") -> str:
        name = f"test_{next(_numbers)}"
        # Copying files is five times as fast as the default way through the log, and nothing here needs the log.
        run("create database {} template {} strategy file_copy", name, template)
        made.append(name)
        return postgres.url.rpartition("/")[0] + f"/{name}"

    yield create
    for name in made:
        run("drop database {} with (force)", name)


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    """An empty database of this test's own."""
    return new_database()


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """Name of a database with every migration applied, to be copied."""
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
