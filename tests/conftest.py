"""Fixtures of all tests: one PostgreSQL server, a database for each test, and a log that must hold no canary."""

import gc
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import httpcore2
import psycopg
import pytest
import trio
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from support.property_examples import BRIEF, QUICK, THOROUGH

from zapline.daemon.logs import configuration
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate

TESTS = Path(__file__).parent
SCREENSHOTS = TESTS.parent / "build" / "screenshots"
RUN_LOG = Path(tempfile.mkdtemp(prefix="zapline-log-")) / "run.jsonl"
CANARIES = re.compile(
    rb"(?<![0-9A-Za-z-])\+?55119{1,5}[0-9]{4,8}(?![0-9A-Za-z-])|ALPHA-TOKEN|CANARY|sandbox-evolution-key|GLOBAL-KEY-0001"
)
"""Phones and keys that the tests use, and marker words; none may be in the log."""

# How long an example takes says something about the machine alone.
SLOW_IS_WELL: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("brief", max_examples=BRIEF, **SLOW_IS_WELL)
settings.register_profile("quick", max_examples=QUICK, **SLOW_IS_WELL)
settings.register_profile("thorough", max_examples=THOROUGH, **SLOW_IS_WELL)
settings.load_profile("quick")

gc.set_threshold(100_000, 20, 20)  # collecting thousands of tests makes many objects that live on


@pytest.fixture(autouse=True)
def run_log() -> Iterator[None]:
    """Write all logging of the run to one file, masked as in production."""
    with RUN_LOG.open("ab") as stream:
        undo = configuration.configure("json", "info", stream)
        yield
        undo()


# -- the run: in one process, or shared by the workers of pytest-xdist ----------------------------------------

SERVER_FIXTURES = {"initialised", "server_directory", "zapline_sandbox"}
SERVER_DIRECTORIES = {"browser", "journeys"}
"""Tests that use one of the fixtures or lie in one of the directories get the mark ``server``."""
SERVER_ONLY = {
    *(TESTS / name for name in SERVER_DIRECTORIES),
    *(TESTS / "http" / "api" / name for name in ("campaigns", "notifications", "units")),
    *(TESTS / "sql" / name for name in ("campaigns", "conversations", "health", "inbound")),
    *(TESTS / "sql" / name for name in ("notifications", "outbound")),
}
"""Directories in which every test needs a server: not even read when those are deselected."""
STARTED_FIRST = ("browser", "journeys", "clients", "daemon", "sandbox", "supervisors", "sql", "http")
"""Directories whose files take longest, so that the workers end at nearly the same time."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not read what ``-m "not server"`` would deselect as a whole."""
    return True if collection_path in SERVER_ONLY and "not server" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, and start what takes long first."""
    order = {name: position for position, name in enumerate(STARTED_FIRST)}

    def directory(item: pytest.Item) -> str:
        return item.path.relative_to(TESTS).parts[0]

    items.sort(key=lambda item: order.get(directory(item), len(order)))
    for item in items:
        if directory(item) in SERVER_DIRECTORIES or SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("server")
            if directory(item) == "browser":
                item.add_marker("heavy")
        elif not SERVER_ONLY.isdisjoint(item.path.parents):
            raise pytest.UsageError(f"{item.nodeid} needs no server, but lies in a directory of SERVER_ONLY")


def pytest_collection_finish() -> None:
    """Exclude what was imported and collected from garbage collection: it lives to the end of the run."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and all files that share the browser to the same worker."""
    from xdist.scheduler import LoadFileScheduling

    class OneBrowser(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            directory = nodeid.partition("/")[0] + "/" + nodeid.split("/")[1]
            return directory if directory == "tests/browser" else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return OneBrowser(config, log)


_worker_logs: list[dict[str, Any]] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Collect what a worker found in its log."""
    _worker_logs.append(getattr(node, "workeroutput", {}))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run if any line of its log holds a canary. A worker reports its lines to the process that started it."""
    lines = RUN_LOG.read_bytes().splitlines() if RUN_LOG.exists() else []
    shutil.rmtree(RUN_LOG.parent, ignore_errors=True)
    total, leaks = len(lines), [repr(line[:400]) for line in lines if CANARIES.search(line)]
    worker_output = getattr(session.config, "workeroutput", None)
    if worker_output is not None:
        worker_output.update(log_lines=total, leaks=leaks)
        return
    total += sum(output.get("log_lines", 0) for output in _worker_logs)
    leaks += [leak for output in _worker_logs for leak in output.get("leaks", ())]
    for leak in leaks[:5]:
        sys.stderr.write(f"\na canary in the log: {leak}\n")
    if leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif exitstatus == 0:
        sys.stdout.write(f"\nno canary in {total} log lines of this run\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print where the screenshots are."""
    screenshots = sorted(SCREENSHOTS.glob("*.png"))
    if screenshots and any("browser/" in report.nodeid for report in terminalreporter.getreports("passed")):
        terminalreporter.write_line(f"{len(screenshots)} screenshots of the console in {SCREENSHOTS}")


# -- what all tests share -------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def shared_ssl_context() -> Iterator[None]:
    """One context for all HTTP clients that want the system's certificates: reading these takes 20 ms each time."""
    context, create = ssl.create_default_context(), ssl.create_default_context
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", lambda *args, **kw: create(*args, **kw) if args or kw else context)
        patch.setattr(httpcore2, "default_ssl_context", lambda **_: context)
        yield


_numbers = count(1)


IN_MEMORY = Path("/dev/shm")
"""If it exists, copying a test's database there takes a tenth of the time of a disk."""
REQUIRED_BYTES = 4 * 2**30
"""Free space required there."""


def _in_memory() -> Path | None:
    """Return the directory in memory for the session's server, or None where there is none."""
    usable = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > REQUIRED_BYTES
    return IN_MEMORY if usable else None


def _make_directory(within: Path | None) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="zapline-tests-", dir=within))
    directory.chmod(0o711)  # as root the server runs as another user, who cannot enter tmp_path
    return directory


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A directory for a server that only this test uses."""
    directory = _make_directory(_in_memory())
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def initialised() -> Iterator[Path]:
    """A directory with an initialised cluster ``pg`` and its password. A copy costs a tenth of the initialisation."""
    directory = _make_directory(_in_memory())
    server = PostgresServer(directory / "pg", durable=False)
    server.open()
    server.close()
    yield directory
    shutil.rmtree(directory)


def _copy_cluster(initialised: Path, directory: Path) -> None:
    files = [initialised / name for name in ("pg", "pg.password")]
    subprocess.run(["cp", "-a", *files, directory], check=True)


@pytest.fixture
def cluster_directory(initialised: Path, server_directory: Path) -> Path:
    """The same with an initialised cluster ``pg``: for tests that are not about the initialisation."""
    _copy_cluster(initialised, server_directory)
    return server_directory


@pytest.fixture(scope="session")
def postgres(initialised: Path) -> Iterator[PostgresServer]:
    """The session's server. A test that stops or kills a server starts one of its own."""
    directory = _make_directory(_in_memory())
    _copy_cluster(initialised, directory)
    server = PostgresServer(directory / "pg", durable=False)
    server.open()
    try:
        server.start()
        with closing(psycopg.connect(server.url, autocommit=True, connect_timeout=5)) as admin:
            # A log-in with the usual 4,096 rounds of hashing costs 4 ms, and the tests log in thousands of times.
            admin.execute("set scram_iterations = 1")
            password = conninfo_to_dict(server.url)["password"]
            admin.execute(sql.SQL("alter role current_user password {}").format(sql.Literal(password)))
        yield server
    finally:
        server.stop()
        server.close()
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_admin(postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the superuser that stays open: a new one costs the server as much as copying a database."""
    with closing(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5)) as admin:
        yield admin


@pytest.fixture
def new_database(postgres: PostgresServer, postgres_admin: psycopg.Connection[Any]) -> Iterator[Callable[..., str]]:
    """``new_database(template="template0")`` copies a database and returns its URL; dropped at the end."""
    created: list[str] = []

    def run(statement: str, *names: str) -> None:
        postgres_admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

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
