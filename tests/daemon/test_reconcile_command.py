"""``zapline reconcile``: the daemon reads back what was missed; the command shows how it goes and what came of it."""

import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CompletedProcess
from uuid import UUID, uuid4

import pytest
import trio
from support.reconciling import HOUR, Store, store

from zapline.daemon.control_client import ask_daemon
from zapline.domain.errors import LocalError
from zapline.sql.driver import connect
from zapline.supervisors.control import Control
from zapline.supervisors.leadership import CHANNEL
from zapline.supervisors.submit import House as Rules
from zapline.supervisors.submit import Submit

COMMAND = (
    "import typer; from zapline.daemon.cli import app; from zapline.daemon.commands.reconcile import reconcile;"
    "names = [command.callback for command in app.registered_commands];"
    "reconcile in names or app.command()(reconcile); app()"
)


@asynccontextmanager
async def daemon(url: str, directory: Path) -> AsyncIterator[Store]:
    """The parts of the daemon that the command talks to; nothing but the command makes a run."""
    async with store(url, directory) as place, trio.open_nursery() as nursery:
        home = place.home
        rules = Rules("unit_", 30.0)
        submit = Submit(
            place.pool, home.journal, home.roster, home.dispatcher, home.intake, lambda unit, n: f"{unit} {n}", rules
        )
        control = Control(submit, place.pool, place.reconciler)
        nursery.start_soon(control.run)

        async def listen() -> None:
            async with await connect(url) as conn:
                await conn.listen([CHANNEL])
                while True:
                    await control.ring()
                    await conn.notifications()

        nursery.start_soon(listen)
        await place.leadership.may_write()
        place.start()
        yield place
        nursery.cancel_scope.cancel()


async def zapline(url: str, *args: str) -> CompletedProcess[bytes]:
    with trio.fail_after(30):
        return await trio.run_process(
            [sys.executable, "-c", COMMAND, *args],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "DATABASE_URL": url},
        )


async def test_a_unit_is_read_back_with_a_bar_and_a_second_time_nothing_is_missing(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with daemon(database, tmp_path / "journal") as place:
        unit = await place.open_unit(connected=0.0)
        for number in range(3):
            place.evolution.receive("loja", "perdida", external_id=f"L{number}", at=now - 3 * HOUR + number)
        done = await zapline(database, "reconcile", "--unit", str(unit.id), "--since", "4h")
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().startswith("3 messages read in ")
        assert "; 3 were missing and are stored now." in done.stdout.decode()
        assert b"Reconciling" in done.stderr
        assert await place.home.rows("select count(*)::int from zapline.messages where backfilled") == [(3,)]

        again = await zapline(database, "reconcile", "--all", "--since", "4h", "--json")
        assert again.returncode == 0, again.stderr
        told = json.loads(again.stdout)
        assert (told["units"], told["records"], told["repaired"], told["running"]) == (1, 3, 0, 0)
        assert told["windows"] == told["windowsDone"] >= 4


async def test_a_run_that_fails_says_what_to_do_next(database: str, tmp_path: Path) -> None:
    async with daemon(database, tmp_path / "journal") as place:
        unit = await place.open_unit(connected=0.0)
        place.evolution.plant("error", path="/chat/findMessages")
        failed = await zapline(database, "reconcile", "--unit", str(unit.id), "--since", "1h")
        assert failed.returncode == 1
        told = failed.stderr.decode()
        assert "1 of 1 units could not be read to the end" in told
        assert "server_error" in told
        assert "zapline doctor" in told
        assert "--since 1h" in told


async def test_wrong_questions_are_answered_in_words(database: str, tmp_path: Path) -> None:
    async with daemon(database, tmp_path / "journal"):
        neither = await zapline(database, "reconcile", "--since", "1h")
        assert neither.returncode == 2
        assert b"--all" in neither.stderr
        for arguments, words in (
            ({"since": 0.0, "unit": str(uuid4())}, "no such unit"),
            ({"unit": str(UUID(int=1))}, "since"),
        ):
            with pytest.raises(LocalError, match=words):
                await ask_daemon(database, "reconcile", arguments, 5.0)
        assert (await ask_daemon(database, "reconcile-progress", {}, 5.0))["units"] == 0
        assert await ask_daemon(database, "reconcile", {"since": 0.0}, 5.0) == {"units": 0}
