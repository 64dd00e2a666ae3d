"""A real PostgreSQL for the tests: one server for the whole run, an empty database for each test."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from zapline.sandbox.postgres import PostgresServer

_numbers = count(1)


def _make_place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="zapline-tests-"))
    place.chmod(0o711)  # as root the server runs as another user, who must get in; tmp_path is closed to him
    return place


@pytest.fixture
def server_place() -> Iterator[Path]:
    """A directory for a server of the test's own."""
    place = _make_place()
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server. A test that stops or kills a server starts one of its own."""
    place = _make_place()
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
        run("create database {} template {}", name, template)
        made.append(name)
        return postgres.url.rpartition("/")[0] + f"/{name}"

    yield create
    for name in made:
        run("drop database {} with (force)", name)


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    """An empty database of this test's own."""
    return new_database()
