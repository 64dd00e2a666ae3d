"""The environment of commands, without any setting of the machine, and a migrated database for them."""

import os
from pathlib import Path

import pytest
import trio

from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches these tests."""
    for name in list(os.environ):
        if name.startswith(("ZAPLINE_", "EVOLUTION_")) or name in ("DATABASE_URL", "BASE_URL", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(environment: None, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the commands use."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    async def apply() -> None:
        async with await connect(database_url) as conn:
            await migrate(conn, lambda line: None)

    trio.run(apply)
    return database_url
