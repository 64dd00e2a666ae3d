"""A migrated database for each test of this room."""

from collections.abc import Callable

import psycopg
import pytest
import trio

from zapline.sandbox.postgres import PostgresServer
from zapline.sql.driver import connect
from zapline.sql.migrate import migrate


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """Name of a database with every migration applied, to be copied."""
    name = "migrated_template"
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"create database {name}")
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
