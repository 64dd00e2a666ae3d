"""``zapline reconcile``: the daemon reads back what was missed; the command shows how it goes and what came of it."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio
from click.testing import Result
from support.reconciliation_stack import HOUR, ReconciliationStack, reconciliation_stack
from typer.testing import CliRunner

from zapline.daemon.commands.reconcile import reconcile
from zapline.daemon.commands.terminal import command_group
from zapline.daemon.control_client import request_daemon
from zapline.domain.errors import LocalError
from zapline.sql.postgres.connection import connect
from zapline.supervisors.leadership import CONTROL_CHANNEL
from zapline.supervisors.operations.control_requests import ControlRequests
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_commands import UnitPolicy as Rules

APP = command_group("Test.")
APP.command()(reconcile)
APP.command()(lambda: None)  # one command alone would be called without its name


@asynccontextmanager
async def daemon(url: str, directory: Path) -> AsyncIterator[ReconciliationStack]:
    """The parts of the daemon that the command talks to; nothing but the command makes a run."""
    async with reconciliation_stack(url, directory) as stack, trio.open_nursery() as nursery:
        inbound = stack.inbound
        rules = Rules("unit_", 30.0)
        commands = UnitCommands(
            stack.pool,
            inbound.journal,
            inbound.roster,
            inbound.dispatcher,
            inbound.intake,
            lambda unit, n: f"{unit} {n}",
            rules,
        )
        control = ControlRequests(commands, stack.pool, stack.reconciler)
        nursery.start_soon(control.run)

        async def listen() -> None:
            async with await connect(url) as conn:
                await conn.listen([CONTROL_CHANNEL])
                while True:
                    await control.notify()
                    await conn.notifications()

        nursery.start_soon(listen)
        await stack.leadership.may_write()
        stack.start()
        yield stack
        nursery.cancel_scope.cancel()


async def zapline(*args: str) -> Result:
    """The command in a thread: its questions go over the database, as ever."""
    runner = CliRunner()
    with trio.fail_after(30):
        return await trio.to_thread.run_sync(runner.invoke, APP, ["reconcile", *args])


async def test_a_unit_is_read_back_with_a_bar_and_a_second_time_nothing_is_missing(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with daemon(database, tmp_path / "journal") as stack:
        unit = await stack.open_unit(connected=0.0)
        for number in range(3):
            stack.evolution.receive("loja", "perdida", external_id=f"L{number}", at=now - 3 * HOUR + number)
        done = await zapline("--unit", str(unit.id), "--since", "4h")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith("3 messages read in ")
        assert "; 3 were missing and are stored now." in done.stdout
        assert "Reconciling" in done.stderr
        assert await stack.inbound.rows("select count(*)::int from zapline.messages where backfilled") == [(3,)]

        again = await zapline("--all", "--since", "4h", "--json")
        assert again.exit_code == 0, again.stderr
        payload = json.loads(again.stdout)
        assert (payload["units"], payload["records"], payload["repaired"], payload["running"]) == (1, 3, 0, 0)
        assert payload["windows"] == payload["windowsDone"] >= 4


async def test_a_run_that_fails_says_what_to_do_next(database: str, tmp_path: Path) -> None:
    async with daemon(database, tmp_path / "journal") as stack:
        unit = await stack.open_unit(connected=0.0)
        stack.evolution.inject_fault("error", path="/chat/findMessages")
        failed = await zapline("--unit", str(unit.id), "--since", "1h")
        assert failed.exit_code == 1
        payload = failed.stderr
        assert "1 of 1 units could not be read to the end" in payload
        assert "server_error" in payload
        assert "zapline doctor" in payload
        assert "--since 1h" in payload


async def test_wrong_questions_are_answered_in_words(database: str, tmp_path: Path) -> None:
    async with daemon(database, tmp_path / "journal"):
        neither = await zapline("--since", "1h")
        assert neither.exit_code == 2
        assert "--all" in neither.stderr
        for arguments, words in (
            ({"since": 0.0, "unit": str(uuid4())}, "no such unit"),
            ({"unit": str(UUID(int=1))}, "since"),
        ):
            with pytest.raises(LocalError, match=words):
                await request_daemon(database, "reconcile", arguments, 5.0)
        assert (await request_daemon(database, "reconcile-progress", {}, 5.0))["units"] == 0
        assert await request_daemon(database, "reconcile", {"since": 0.0}, 5.0) == {"units": 0}
