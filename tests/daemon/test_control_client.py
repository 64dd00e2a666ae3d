"""Commands that the running daemon performs: asked over the database, answered, and felt in its roster."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio
from support.commands import Done, run_command, run_process
from support.inbound_stack import InboundStack, inbound_stack, ready_at_once, text

from zapline.daemon.control_client import DaemonNotRunning, request_daemon, request_over
from zapline.daemon.invoking_user import invoking_user
from zapline.domain.errors import LocalError
from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.principals import Scope
from zapline.sql.accounts.audit_log import AuditFilter, list_entries
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.control_requests import ControlRequest, insert_request
from zapline.sql.units.units import load_units
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.leadership import Leadership, LeadershipStatus
from zapline.supervisors.operations.control_requests import ControlRequests
from zapline.supervisors.operations.unit_requests import unit_verbs
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_commands import UnitPolicy as Rules
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle


@asynccontextmanager
async def leading(url: str, directory: Path, rung: Callable[[], None] = lambda: None) -> AsyncIterator[InboundStack]:
    """The parts of the daemon that commands talk to, over real ones."""
    async with (
        inbound_stack(url, directory) as stack,
        Pool.open(url, size=2, role="zapline_engine") as pool,
        trio.open_nursery() as nursery,
    ):
        rules = Rules("unit_", 30.0)
        commands = UnitCommands(
            pool, stack.journal, stack.roster, stack.dispatcher, stack.intake, lambda unit, n: f"{unit} {n}", rules
        )

        async def lead() -> None:
            await commands.reload()

        async def direct() -> Connection:
            return await connect(url)

        async def drop(unit: UnitId, ids: Sequence[ExternalId]) -> None:
            pass

        forget = stack.recorder.forget_contacts
        erasures = ErasureJobs(pool, stack.journal, commands, ready_at_once, stack.counters, drop, forget, bytes(32))
        nursery.start_soon(erasures.run)
        control = ControlRequests(
            commands, pool, on_notify=rung, extra_verbs=unit_verbs(UnitLifecycle(commands, pool), erasures)
        )
        leadership = Leadership(direct, lead, control.notify)
        nursery.start_soon(control.run)
        nursery.start_soon(leadership.run)
        with trio.fail_after(30):
            await leadership.may_write()
        assert leadership.status is LeadershipStatus.LEADING
        yield stack
        nursery.cancel_scope.cancel()


async def zapline(url: str, *args: str, extra: Mapping[str, str] | None = None) -> Done:
    return await run_command(*args, variables={"DATABASE_URL": url, **(extra or {})})


@pytest.mark.heavy
async def test_a_token_made_and_ended_by_command_works_and_ends_at_once(database: str, tmp_path: Path) -> None:
    async with Pool.open(database, size=2, role="zapline_engine") as pool:
        identity = Authentication(pool)
        async with leading(database, tmp_path / "journal", identity.invalidate_cache) as daemon:
            await zapline(database, "units", "add", "Loja Centro")
            [unit] = [str(item.id) for item in daemon.roster.units()]
            minting = ("tokens", "mint", "--unit", unit, "--label", "CRM", "--scope", "read", "--json")
            created = await run_process(*minting, variables={"DATABASE_URL": database})
            assert created.returncode == 0, created.stderr
            content = json.loads(created.stdout)
            holder = await identity.find_holder(content["token"])
            assert holder is not None
            assert (str(holder.principal.unit), holder.principal.name) == (unit, "CRM")
            assert holder.principal.scopes == {Scope.READ}
            ended = await zapline(database, "tokens", "revoke", content["id"], "--unit", unit)
            assert ended.returncode == 0, ended.stderr
            with trio.fail_after(30):
                while await identity.find_holder(content["token"]) is not None:  # noqa: ASYNC110 - the bell is on its way
                    await trio.sleep(0.01)
            async with pool.connection() as conn:
                lines = await list_entries(conn, AuditFilter(), None, 10)
            assert [(line.action, line.outcome) for line in lines] == [
                ("tokens revoke", 200),
                ("tokens mint", 200),
                ("add-unit", 200),
            ]
            assert {line.actor for line in lines} == {invoking_user().name}
            assert {str(line.unit) for line in lines[:2]} == {unit}


async def test_units_are_added_rotated_and_archived_in_the_running_daemon(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal") as daemon:
        added = await zapline(database, "units", "add", "Loja Centro", "--instance", "centro", "--json")
        assert added.returncode == 0, added.stderr
        unit = UUID(json.loads(added.stdout)["id"])
        [known] = daemon.roster.units()
        assert (known.id, known.record.name, known.record.instance) == (unit, "Loja Centro", "centro")

        taken = await zapline(database, "units", "add", "Loja 2", "--instance", "centro")
        assert (taken.returncode, taken.stdout) == (1, b"")
        assert taken.stderr.decode() == "zapline: instance centro belongs to another unit\n"

        rotated = await zapline(database, "units", "rotate-secret", str(unit))
        assert rotated.returncode == 0, rotated.stderr
        assert daemon.roster.units()[0].record.secret_generation == 2

        assert (await zapline(database, "units", "release", str(unit))).returncode == 0
        archived = await zapline(database, "units", "archive", str(unit), "--yes")
        assert archived.returncode == 0, archived.stderr
        assert daemon.roster.units() == []
        unknown = await zapline(database, "units", "rotate-secret", str(uuid4()))
        assert b"no such unit" in unknown.stderr


async def test_units_are_renamed_paused_and_kept_short(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal") as daemon:
        unit = await daemon.add_unit()
        assert (await zapline(database, "units", "rename", str(unit.id), "Loja Norte")).returncode == 0
        assert (await zapline(database, "units", "pause", str(unit.id))).returncode == 0
        assert (unit.record.name, unit.record.paused_at is not None) == ("Loja Norte", True)
        items = await zapline(database, "units", "list")
        assert b"disconnected, paused" in items.stdout
        await request_daemon(database, "resume-unit", {"unit": str(unit.id)})
        stored = await zapline(database, "privacy", "retention", "--unit", str(unit.id), "--days", "90", "--yes")
        assert b"for 90 days" in stored.stdout
        assert (unit.record.paused_at, unit.record.retention_days) == (None, 90)
        await request_daemon(database, "keep-messages", {"unit": str(unit.id), "days": None})
        assert unit.record.retention_days is None


async def test_a_person_is_exported_and_erased(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal") as daemon:
        unit = await daemon.add_unit()
        await daemon.send(unit, "messages.upsert", text("A1", "um segredo"))
        await daemon.wait_until_stored()
        who, file = ("--unit", str(unit.id), "--phone", "11 99999-0001"), tmp_path / "export.json"
        exported = await zapline(database, "privacy", "export", *who, "--out", str(file))
        assert exported.returncode == 0, exported.stderr
        assert file.stat().st_mode & 0o777 == 0o600
        assert [message["text"] for message in json.loads(file.read_bytes())["messages"]] == ["um segredo"]
        erased = await zapline(database, "privacy", "erase", *who, "--yes", "--json")
        assert erased.returncode == 0, erased.stderr
        assert json.loads(erased.stdout)["counts"]["messages"] == 1
        assert await daemon.rows("select count(*) from zapline.messages") == [(0,)]
        assert await daemon.rows("select distinct arguments from zapline.control_requests") == [({},)]
        lines = await daemon.rows("select action, target from zapline.audit_log order by id")
        assert lines == [("export-person", "****0001"), ("erase-person", "****0001")]


async def test_replay_brings_back_what_the_journal_holds(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal") as daemon:
        unit = await daemon.add_unit()
        for number in range(3):
            await daemon.send(unit, "messages.upsert", text(f"ID{number}"))
        await daemon.wait_until_stored()
        await daemon.rows("delete from zapline.messages returning 1")
        done = await zapline(database, "replay", "--since", "1h")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"3 webhooks")
        assert done.stderr.startswith(b"Asking the daemon to replay")
        await daemon.wait_until_stored()
        assert await daemon.rows("select count(*)::int from zapline.messages") == [(3,)]


async def test_a_dead_letter_is_given_to_its_unit_again(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal") as daemon:
        unit = await daemon.add_unit()
        body = json.dumps({"event": "messages.upsert", "instance": "loja", "data": text("LOST")})
        async with await connect(database) as conn:
            row = await conn.fetch_one(
                "insert into zapline.dead_letters (unit_id, reason, event, raw, size, received_at)"
                " values (%s, 'crashed', 'messages.upsert', %s, 1, now()) returning id",
                (unit.id, body.encode()),
            )
        assert row is not None
        done = await zapline(database, "dead-letters", "replay", str(row.id))
        assert done.returncode == 0, done.stderr
        await daemon.wait_until_stored()
        assert await daemon.rows("select external_id from zapline.messages") == [("LOST",)]
        assert await daemon.rows("select revived_at is not null from zapline.dead_letters") == [(True,)]
        unknown = await zapline(database, "dead-letters", "replay", "99999")
        assert unknown.stderr == b"zapline: there is no such dead letter\n"


async def test_an_admin_is_added_through_the_running_daemon(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal"):
        created = await zapline(database, "admin", "add", "ana@example.com", "--generate")
        assert created.returncode == 0, created.stderr
        assert b"shown only now" in created.stdout


async def test_adopted_units_reach_the_running_daemon(database: str, tmp_path: Path) -> None:
    unit = uuid4()
    async with await connect(database) as conn:
        await conn.execute("create table public.unit_whatsapp_connections (unit_id uuid, instance text)")
        await conn.execute("insert into public.unit_whatsapp_connections values (%s, 'velha')", (unit,))
    async with leading(database, tmp_path / "journal") as daemon:
        key = {"ZAPLINE_MASTER_KEY": "k" * 40}
        done = await zapline(database, "migrate", "--adopt-legacy", extra=key)
        assert done.returncode == 0, done.stderr
        assert b"The running daemon has them; it serves 1 units now." in done.stdout
        assert [known.id for known in daemon.roster.units()] == [unit]
    async with await connect(database) as conn:
        assert len(await load_units(conn)) == 1


async def test_a_daemon_that_does_not_answer_is_told_from_one_that_is_not_there(database: str) -> None:
    with pytest.raises(DaemonNotRunning):
        await request_daemon(database, "reload", {}, 0.2)
    async with await connect(database) as conn:
        with pytest.raises(LocalError, match=r"did not answer within 0\.2 s"):
            await request_over(conn, "reload", {}, 0.2)


async def test_answers_to_others_and_noise_on_the_channel_are_passed_over(database: str, tmp_path: Path) -> None:
    async with (
        leading(database, tmp_path / "journal"),
        await connect(database) as noisy,
        trio.open_nursery() as nursery,
    ):

        async def shout() -> None:
            while True:
                for text in ("not json", '{"id": "another", "result": {"units": 99}}'):
                    await noisy.execute("select pg_notify('zapline_reply', %s)", (text,))

        nursery.start_soon(shout)
        assert await request_daemon(database, "reload", {}, 5.0) == {"units": 0}
        with pytest.raises(LocalError, match="unknown request dance"):
            await request_daemon(database, "dance", {}, 5.0)
        with pytest.raises(LocalError, match="1 to 200 characters"):
            await request_daemon(database, "add-unit", {"name": "x" * 8000}, 5.0)
        for arguments in ({"name": 5}, {}, {"name": "x", "more": 1}):
            with pytest.raises(LocalError, match=r"Expected|missing|unknown"):
                await request_daemon(database, "add-unit", arguments, 5.0)
        nursery.cancel_scope.cancel()


async def test_who_may_only_connect_cannot_make_the_daemon_do_anything(database: str, tmp_path: Path) -> None:
    async with leading(database, tmp_path / "journal") as daemon, await connect(database, role="zapline_api") as conn:
        for payload in ("{}", '{"id":"1","do":"add-unit","arguments":{"name":"x"}}', "\u00e9" * 500):
            await conn.execute("select pg_notify('zapline_control', %s)", (payload,))
        with pytest.raises(StatementFailed, match="42501"):
            await insert_request(conn, ControlRequest(uuid4(), "add-unit", {"name": "x"}, "x", None))
        assert await request_daemon(database, "reload", {}, 5.0) == {"units": 0}
        assert daemon.roster.units() == []
