"""Backup and restore: what they refuse, that nothing is written over, and an owner who is no superuser."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner, Result

from zapline.daemon.backup.manifest import Manifest
from zapline.daemon.backup.restoring import what_to_reconcile
from zapline.daemon.backup.sealed_key import fingerprint, seal, unseal
from zapline.daemon.cli import app
from zapline.domain.errors import LocalError
from zapline.sandbox.embedded_postgres.host import program_directory
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.journal.sqlite_file import JournalFile

OWNER, PASSWORD, CANARY = "zapline_backup_owner", "seven-slow-otters", "canary-of-the-owner"
KEY = "k" * 40


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def refused(*args: str) -> str:
    done = invoke(*args)
    assert done.exit_code == 1, done.output
    return done.stderr


@pytest.fixture
def owned(
    environment: None,
    postgres: PostgresServer,
    postgres_admin: psycopg.Connection[Any],
    new_database: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Callable[[], str]]:
    """Makes empty databases of an owner who is no superuser, which DATABASE_URL then names; and the settings."""
    postgres_admin.execute(
        sql.SQL("create role {} login createrole password {}").format(sql.Identifier(OWNER), sql.Literal(CANARY))
    )
    names: list[str] = []

    def create() -> str:
        url = new_database()
        names.append(str(conninfo_to_dict(url)["dbname"]))
        postgres_admin.execute(
            sql.SQL("alter database {} owner to {}").format(sql.Identifier(names[-1]), sql.Identifier(OWNER))
        )
        mine = make_conninfo(url, user=OWNER, password=CANARY)
        monkeypatch.setenv("DATABASE_URL", mine)
        return mine

    # The other databases' roles are of this server already; whoever did not make them has to be granted them.
    postgres_admin.execute(
        sql.SQL("grant zapline_engine, zapline_api to {} with admin option").format(sql.Identifier(OWNER))
    )
    monkeypatch.setenv("ZAPLINE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ZAPLINE_MASTER_KEY", KEY)
    (tmp_path / "password").write_text(PASSWORD)
    yield create
    for name in names:
        postgres_admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        postgres_admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    postgres_admin.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(OWNER)))


@pytest.mark.heavy
def test_an_owner_who_is_no_superuser_backs_up_all_rows_and_restores_them_nowhere_but_where_nothing_is(
    migrated: str, owned: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = owned()
    assert invoke("migrate").exit_code == 0
    with psycopg.connect(source, autocommit=True) as conn:  # a table whose owner, too, is held to its policies
        conn.execute(
            "insert into zapline.units (id, name, time_zone) values (gen_random_uuid(), 'Loja', 'America/Sao_Paulo')"
        )
        [[forced]] = conn.execute("select count(*) from pg_class where relforcerowsecurity").fetchall()
    assert forced
    programs = ("--pg-bin", str(program_directory(tmp_path, None)))
    where = ("backup", str(tmp_path), "--key-password-file", str(tmp_path / "password"))
    assert "no journal" in refused(*where, *programs)
    assert not list(tmp_path.glob("zapline-*")), "what was half written is gone"
    JournalFile.open(tmp_path / "state" / "journal").close()
    assert invoke("backup", str(tmp_path), "--without-key", "--key-file", "key", *programs).exit_code == 2
    assert "pg_dump is not in" in refused(*where, "--pg-bin", str(tmp_path))
    made = invoke(*where, *programs, "--json")
    assert made.exit_code == 0, made.output
    assert CANARY not in made.output
    backup = Path(json.loads(made.stdout)["directory"])
    assert json.loads(made.stdout)["rows"]["units"] == 1
    assert {path.stat().st_mode & 0o077 for path in [backup, *backup.iterdir()]} == {0}

    restore = ("restore", str(backup), "--key-password-file", str(tmp_path / "password"), *programs)
    assert "Whole: made by Zapline" in invoke("restore", str(backup), "--check").output
    assert "journal already" in refused(*restore)
    assert "schema zapline already" in refused(*restore, "--only", "database")
    target = owned()
    monkeypatch.setenv("ZAPLINE_STATE_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ZAPLINE_MASTER_KEY", "another key, of another machine, long")
    assert "not the backup's" in refused(*restore)
    monkeypatch.delenv("ZAPLINE_MASTER_KEY")
    assert "--key-password-file" in refused("restore", str(backup), *programs)
    done = invoke(*restore)
    assert done.exit_code == 0, done.output
    assert "zapline reconcile --all --since" in done.stdout
    assert (tmp_path / "elsewhere" / "master.key").read_text().strip() == KEY
    with psycopg.connect(target) as conn:
        assert conn.execute("select count(*) from zapline.units").fetchall() == [(1,)]
        conn.execute("set role zapline_engine; select * from zapline.units")

    (backup / "journal.db").write_bytes(b"x")
    assert "journal.db in the backup is not what was written" in refused(*restore)
    assert "journal.db in the backup is not what was written" in refused("restore", str(backup), "--check")


@pytest.mark.slow
def test_a_sealed_key_opens_by_its_password_alone() -> None:
    sealed = seal(KEY.encode(), PASSWORD.encode())
    assert KEY.encode() not in sealed
    assert unseal(sealed, PASSWORD.encode()) == KEY.encode()
    for content, password in ((sealed, b"another password"), (sealed[:-9], PASSWORD.encode()), (b"{}", b"x" * 12)):
        with pytest.raises(LocalError):
            unseal(content, password)
    with pytest.raises(LocalError, match="12 characters"):
        seal(KEY.encode(), b"short")
    assert fingerprint(KEY.encode()) != fingerprint(b"j" * 40)


def test_a_copy_of_the_journal_is_one_moment_though_it_is_written_meanwhile(tmp_path: Path) -> None:
    from zapline.sql.journal.copying import PAGES_AT_ONCE, copy_journal
    from zapline.sql.journal.schema import connect

    JournalFile.open(tmp_path / "journal").close()
    insert = "insert into entries (unit_id, event, received_at, body) values (x'00', 'e', 1, zeroblob(7000))"
    reports: list[tuple[int, int]] = []
    with closing(connect(tmp_path / "journal" / "journal.db")) as daemon:
        daemon.execute("begin")
        for _ in range(PAGES_AT_ONCE + 200):
            daemon.execute(insert)
        daemon.execute("commit")

        def meanwhile(done: int, pages: int) -> None:
            reports.append((done, pages))
            daemon.execute(insert)

        copy = copy_journal(tmp_path / "journal", tmp_path / "copy.db", meanwhile)
        assert len(reports) == 2
        assert copy.entries == copy.last_seq == PAGES_AT_ONCE + 200
        assert daemon.execute("select count(*) from entries").fetchone() == (PAGES_AT_ONCE + 202,)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as opened:
        assert opened.execute("pragma journal_mode").fetchone() == ("delete",)


def test_after_a_restore_it_says_where_the_kept_files_belong() -> None:
    made = Manifest(
        *(1, "0.3.0", "2026-11-30T08:00:00Z", "2026-11-30T08:00:01Z", "16", {}),
        *({"kept_files": 3}, "j", 1, 1, 1, "absent", "f", {}),
    )
    assert any("files/" in step for step in what_to_reconcile(made, ["database", "journal"]))
    assert not any("files/" in step for step in what_to_reconcile(made, ["journal"]))
