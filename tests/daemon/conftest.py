"""The environment of commands, without any setting of the machine, and a migrated database for them."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches these tests."""
    for name in list(os.environ):
        if name.startswith(("ZAPLINE_", "EVOLUTION_")) or name in ("DATABASE_URL", "BASE_URL", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(environment: None, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the commands use."""
    monkeypatch.setenv("DATABASE_URL", database)
    return database
