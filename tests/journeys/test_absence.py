"""Zapline and Evolution away: what phones did meanwhile is there within a minute of the restart, without a person."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from support.running_system import RunningSystem, running_system, wait_until

from zapline.sandbox.embedded_postgres.host import program_directory

WITHIN = 60.0
"""Seconds from the restart, or from ``open``, until all must be right."""
CUSTOMER = "5511999990001"


@pytest.fixture(scope="module")
def system() -> Iterator[RunningSystem]:
    with running_system() as opened:
        yield opened


class Line:
    """One unit's line, and what its phones do."""

    def __init__(self, system: RunningSystem, name: str) -> None:
        self.system = system
        self.name = name
        self.unit = system.new_unit(name, name)

    def phone(self, command: str, **arguments: Any) -> Any:
        return self.system.control(command, instance=self.name, **arguments)

    def receive(self, id: str, text: str, **more: Any) -> None:
        self.phone("receive", external_id=f"{self.name}-{id}", text=text, sender=CUSTOMER, **more)

    def id(self, name: str) -> str:
        return f"{self.name}-{name}"

    def messages(self) -> dict[str, tuple[Any, ...]]:
        """By the names of this test: text, newest text, whether deleted, delivery status."""
        rows = self.system.rows(
            "select external_id, body, edited_body, deleted_at is not null, delivery::text from zapline.messages"
            " where unit_id = %s",
            self.unit,
        )
        return {row[0].removeprefix(f"{self.name}-"): row[1:] for row in rows if row[0]}

    def reactions(self) -> set[tuple[str, str]]:
        rows = self.system.rows(
            "select external_id, value::text from zapline.message_reactions where unit_id = %s", self.unit
        )
        return {(row[0].removeprefix(f"{self.name}-"), json.loads(row[1])) for row in rows}

    def before(self) -> str:
        """What was there before: messages of both sides, all of them stored. Returns the id of our own."""
        for id in ("EDIT", "DELETE", "REACT"):
            self.receive(id, f"original {id}")
        for status in ("offer", "timeout"):
            self.phone("call", id=self.id("CALL"), status=status, sender=CUSTOMER)
        number = {"to": CUSTOMER, "clientMessageId": f"{self.name}-1", "text": "nossa resposta"}
        path = f"/units/{self.unit}/messages"
        wait_until(lambda: self.system.http.post(path, json=number).status_code == 202, 15, "an accepted message")
        query = "select external_id from zapline.messages where unit_id = %s and from_me and external_id is not null"
        wait_until(lambda: self.system.rows(query, self.unit), 15, "our own message")
        wait_until(lambda: len(self.messages()) == 5, 15, "the messages before")
        [[own]] = self.system.rows(query, self.unit)
        return str(own)

    def meanwhile(self, own: str) -> None:
        """What goes on while nobody looks: edits, deletions, reactions, statuses, messages old and new."""
        self.phone("edit", id=self.id("EDIT"), text="corrigida")
        self.phone("revoke", id=self.id("DELETE"))
        self.phone("react", id=self.id("REACT"), emoji="❤️", sender=CUSTOMER)
        self.receive("NEW", "nova")
        self.receive("NEW-EDITED", "nova e errada")
        self.phone("edit", id=self.id("NEW-EDITED"), text="nova e certa")
        self.receive("NEW-DELETED", "nova e apagada")
        self.phone("revoke", id=self.id("NEW-DELETED"))
        self.receive("PHONE", "do telefone", from_me=True)
        self.phone("status", id=own, status="READ")

    def is_connected(self) -> None:
        """The line says so within the minute: the store may be read before the line is asked for again."""
        wait_until(lambda: self.system.status(self.unit)["status"] == "connected", WITHIN, "the line, connected")

    def check(self, own: str) -> None:
        """Everything is as the phones left it, and once. What the store alone tells has no earlier text."""
        expected = {
            "EDIT": ("original EDIT", "corrigida", False),
            "DELETE": ("original DELETE", None, True),
            "REACT": ("original REACT", None, False),
            "CALL": (None, None, False),
            "NEW": ("nova", None, False),
            "NEW-EDITED": (None, "nova e certa", False),
            "NEW-DELETED": (None, None, True),
            "PHONE": ("do telefone", None, False),
            own: ("nossa resposta", None, False),
        }

        def found() -> tuple[object, ...]:
            messages = self.messages()
            texts = {name: row[:3] for name, row in messages.items()}
            return texts, messages.get(own, (None,))[-1], self.reactions()

        wanted = (expected, "read", {("REACT", "❤️")})
        try:
            wait_until(lambda: found() == wanted, WITHIN, "what phones did")
        except AssertionError:
            assert found() == wanted
            raise


def test_nothing_that_a_phone_sent_is_missing_when_evolution_dies_while_zapline_is_away(system: RunningSystem) -> None:
    line = Line(system, "ausente")
    own = line.before()
    system.kill_daemon()
    line.meanwhile(own)
    # Its repetitions die with it; the database has all, because no webhook that it waits for was subscribed.
    line.phone("restart", seconds=0.3)
    wait_until(lambda: _is_open(system, "ausente"), 15, "the line, open again")
    system.start_daemon()
    line.check(own)
    line.is_connected()


def test_all_is_right_within_a_minute_after_both_were_restarted(system: RunningSystem) -> None:
    line = Line(system, "reinicio")
    own = line.before()
    system.kill_daemon()
    line.meanwhile(own)
    line.phone("restart", seconds=4)
    system.start_daemon()
    line.check(own)
    line.is_connected()


def _is_open(system: RunningSystem, instance: str) -> bool:
    try:
        lines = system.control("instances", "GET")
    except (httpx2.TransportError, AssertionError):
        return False
    return {"name": instance, "state": "open"}.items() <= next(row for row in lines if row["name"] == instance).items()


# -- everything is gone but a backup ---------------------------------------------------------------------------


PASSWORD = "nine-quiet-herons"


class Backups:
    """Backs the whole system up, loses all of it but Evolution and its phones, and restores it."""

    def __init__(self, system: RunningSystem, directory: Path) -> None:
        self.system = system
        self.directory = directory
        self.password = directory / "password"
        self.password.write_text(PASSWORD)
        self.programs = program_directory(directory, None)

    def take(self) -> Path:
        target = Path(tempfile.mkdtemp(dir=self.directory))
        told = self.system.run(
            "backup", str(target), "--key-password-file", str(self.password), "--pg-bin", str(self.programs)
        )
        [made] = target.iterdir()
        assert f"{made}: " in told
        return made

    def destroy(self) -> None:
        self.system.kill_daemon()
        shutil.rmtree(self.system.directory / "state")
        with psycopg.connect(self.system.postgres.url, autocommit=True) as conn:
            conn.execute("drop schema zapline cascade")

    def restore(self, backup: Path, *only: str) -> str:
        options = [option for part in only for option in ("--only", part)]
        told = self.system.run(
            *("restore", str(backup), "--key-password-file", str(self.password), "--pg-bin", str(self.programs)),
            *options,
        )
        assert "What to do now, in this order:" in told
        return told


def test_nothing_is_lost_when_everything_is_destroyed_but_a_backup(system: RunningSystem, tmp_path: Path) -> None:
    backups = Backups(system, tmp_path)
    line = Line(system, "backup")
    own = line.before()
    backup = backups.take()
    line.meanwhile(own)  # with Zapline at work: all of this is stored, and lost
    wait_until(lambda: "PHONE" in line.messages(), 15, "what came after the backup")
    backups.destroy()
    told = backups.restore(backup)
    assert "zapline reconcile --all --since" in told
    system.start_daemon()
    line.check(own)
    line.is_connected()
    repeated = {"to": CUSTOMER, "clientMessageId": "backup-1", "text": "nossa resposta"}
    wait_until(lambda: system.http.post(f"/units/{line.unit}/messages", json=repeated).is_success, 15, "the answer")
    line.check(own)


def test_an_older_journal_and_an_older_database_lose_nothing_either(system: RunningSystem, tmp_path: Path) -> None:
    backups = Backups(system, tmp_path)
    line = Line(system, "gemeos")
    first = backups.take()
    line.receive("ONE", "um")
    wait_until(lambda: set(line.messages()) == {"ONE"}, 15, "the first message")
    second = backups.take()
    for database, journal in ((first, second), (second, first)):
        backups.destroy()
        backups.restore(database, "database")
        backups.restore(journal, "journal", "key")
        system.start_daemon()
        wait_until(lambda: set(line.messages()) == {"ONE"}, WITHIN, "the first message, once")
        line.is_connected()
