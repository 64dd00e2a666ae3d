"""The doctor: each thing that newcomers get wrong is found, with a next step, while the rest is still looked at."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
import trio
from support.commands import ZAPLINE, run_command, run_process
from typer.testing import CliRunner

from zapline.daemon.cli import app
from zapline.daemon.doctor import doctor, evolution_checks
from zapline.daemon.doctor.doctor import examine
from zapline.daemon.doctor.finding import Finding, Verdict
from zapline.daemon.master_key import FILE, seal_server_key, webhook_secret
from zapline.daemon.settings import use_sandbox
from zapline.domain.ids import UnitId
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sandbox.sandbox_info import SandboxInfo
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sql.outbound import message_id_support
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.migrate import migrate
from zapline.sql.units.evolution_servers import insert_server
from zapline.sql.units.units import insert_unit
from zapline.supervisors.leadership import ADVISORY_LOCK_KEY
from zapline.supervisors.units.line_calls import WEBHOOK_EVENTS
from zapline.supervisors.units.webhook_authentication import digest_secret

KEY = "k" * 40
CANARY = "canary-evolution-key-55d1"


@dataclass
class Clinic:
    """An installation to examine, and the means to break it."""

    url: str
    evolution: SimulatedEvolution
    base_url: str
    set: Callable[[str, str], None]
    lock: Connection
    """It holds the daemon's lock."""

    async def examine(self) -> dict[str, Finding]:
        """The worst finding of each thing."""
        with trio.fail_after(60):
            findings = await examine()
        order = list(Verdict)
        worst: dict[str, Finding] = {}
        for finding in findings:
            assert (finding.verdict is Verdict.OK) == (finding.next_step == ""), finding
            known = worst.get(finding.what)
            if known is None or order.index(known.verdict) < order.index(finding.verdict):
                worst[finding.what] = finding
        return worst

    async def add_unit(self, instance: str, *, path: str = "/webhooks/whatsapp/evolution/{secret}") -> UnitId:
        """A unit whose line is open and whose webhook is registered."""
        unit = UnitId(uuid4())
        secret = webhook_secret(KEY.encode(), unit, 1)
        async with await connect(self.url, role="zapline_engine") as conn:
            await insert_unit(
                conn,
                id=unit,
                name=instance,
                instance=instance,
                secret_digest=digest_secret(secret),
                time_zone="America/Sao_Paulo",
            )
            await conn.execute("update zapline.unit_whatsapp_connections set phase = 'open', wanted = true")
        hook = path.format(secret=secret)
        async with open_http_client() as http:
            client = EvolutionClient(http, self.evolution.url, CANARY)
            address = hook if "://" in hook else self.base_url + hook
            await client.create_instance(instance, WebhookRegistration(address, WEBHOOK_EVENTS))
        return unit


async def livez(stream: trio.SocketStream, status: str = "200 OK") -> None:
    """The smallest daemon there is."""
    async with stream:
        with trio.move_on_after(5):
            await stream.receive_some(4096)
            await stream.send_all(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".encode())


@pytest.fixture
async def clinic(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Clinic]:
    """A healthy installation: migrated database, Evolution, and a daemon's port. Its disk is the test machine's."""
    for name in [name for name in os.environ if name.startswith("ZAPLINE_")]:
        monkeypatch.delenv(name)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    async with SimulatedEvolution.running(api_key=CANARY) as simulated, serving() as port, leading(database) as lock:
        base_url = f"http://127.0.0.1:{port}"
        for name, value in {
            "DATABASE_URL": database,
            "EVOLUTION_API_URL": simulated.url,
            "EVOLUTION_API_KEY": CANARY,
            "BASE_URL": base_url,
            "ZAPLINE_BIND": f"127.0.0.1:{port}",
            "ZAPLINE_STATE_DIR": str(state),
            "ZAPLINE_MASTER_KEY": KEY,
        }.items():
            monkeypatch.setenv(name, value)
        yield Clinic(database, simulated, base_url, monkeypatch.setenv, lock)


@asynccontextmanager
async def leading(database: str) -> AsyncIterator[Connection]:
    """A daemon's lock on this database."""
    async with await connect(database) as conn:
        await conn.execute("select pg_advisory_lock(%s)", (ADVISORY_LOCK_KEY,))
        yield conn


@asynccontextmanager
async def serving(status: str = "200 OK") -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, partial(livez, status=status), [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def only_the_machine_is_wrong(findings: dict[str, Finding]) -> None:
    """What depends on the machine that runs the tests."""
    failures = {name: finding for name, finding in findings.items() if finding.verdict is not Verdict.OK}
    assert set(failures) <= {"disk", "open files"}, failures


async def test_a_healthy_installation_has_no_complaint(clinic: Clinic) -> None:
    await clinic.add_unit("loja")
    findings = await clinic.examine()
    only_the_machine_is_wrong(findings)
    expected = {"settings", "state directory", "disk", "journal", "open files", "database", "migrations", "stored rows"}
    assert set(findings) >= expected | {"clock", "database roles", "daemon's lock", "master key", "webhooks", "daemon"}
    assert findings["Evolution"].observation.startswith("version 2.")
    assert findings["webhooks"].observation.startswith("1 units are registered")
    assert findings["daemon's lock"].verdict is Verdict.OK
    assert findings["message ids"].observation.startswith("no message has been sent yet")


async def test_each_server_that_is_stored_is_examined_with_its_own_units(clinic: Clinic) -> None:
    second = "canary-evolution-key-of-evo-2"
    await clinic.add_unit("loja")
    async with (
        SimulatedEvolution.running(api_key=second) as evolution,
        await connect(clinic.url, role="zapline_engine") as conn,
    ):
        good, wrong = (seal_server_key(KEY.encode(), name, second) for name in ("evo-2", "other"))
        async with conn.transaction():
            await insert_server(conn, "evo-2", evolution.url, good, 100)
            await insert_server(conn, "evo-3", "http://127.0.0.1:9", wrong, 100)
            bad = seal_server_key(KEY.encode(), "evo-4", "no")
            await insert_server(conn, "evo-4", evolution.url + "/base", bad, 100)
        findings = await clinic.examine()
        assert findings["Evolution of evo-2"].observation.startswith("version 2.")
        assert findings["Evolution's key of evo-2"].verdict is Verdict.OK
        assert findings["webhooks of evo-2"].observation.startswith("there is no unit yet")
        assert findings["webhooks"].observation.startswith("1 units are registered")
        lost = findings["Evolution evo-3"]
        assert (lost.verdict, "zapline servers change evo-3 --key-file FILE" in lost.next_step) == (Verdict.FAIL, True)
        assert findings["Evolution of evo-4"].verdict is Verdict.FAIL
        assert "EVOLUTION_API_URL" not in findings["Evolution of evo-4"].next_step
        await conn.execute("update zapline.unit_whatsapp_connections set evolution_server = 'evo-2'")
        findings = await clinic.examine()
        assert findings["webhooks"].observation.startswith("there is no unit yet")
        assert findings["webhook of loja of evo-2"].observation == "Evolution does not know the instance"
        assert second not in str(findings)


async def test_what_each_server_does_with_chosen_ids_is_told_and_a_retired_setting_too(clinic: Clinic) -> None:
    async with await connect(clinic.url, role="zapline_engine") as conn:
        for server, version, route, honoured in (
            ("https://one.example", "2.3.7", "sendText", False),
            ("https://one.example", "2.4.0", "sendText", True),
            ("https://one.example", "2.4.0", "sendMedia", True),
            ("https://one.example", "2.4.0", "sendPoll", False),
            ("https://two.example", "2.3.7", "sendText", False),
        ):
            await message_id_support.store(conn, server, version, route, honoured)
    clinic.set("ZAPLINE_QR_LIFETIME_SECONDS", "45")
    with trio.fail_after(60):
        findings = await examine()
    told = [finding.observation for finding in findings if finding.what == "message ids"]
    assert sorted(told) == [
        "Evolution 2.3.7 at https://two.example gives ids of its own (sendText): a call without an answer may wait for"
        " a person",
        "Evolution 2.4.0 at https://one.example takes the ids that Zapline chooses at sendMedia, sendText; not at"
        " sendPoll",
    ]
    (retired,) = [finding for finding in findings if finding.what == "settings" and finding.verdict is Verdict.WARN]
    assert retired.observation == "ZAPLINE_QR_LIFETIME_SECONDS has no effect"


async def test_missing_settings_are_each_named_and_the_database_is_still_examined(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BASE_URL")
    monkeypatch.delenv("EVOLUTION_API_URL")
    payload: list[Finding] = []
    await examine(payload.append)
    failures = [finding.observation for finding in payload if finding.what == "settings"]
    assert len(failures) == 2
    assert "BASE_URL is missing" in " ".join(failures)
    assert any(finding.what == "migrations" and finding.verdict is Verdict.OK for finding in payload)


async def test_nothing_set_at_all_still_ends_in_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "BASE_URL", "EVOLUTION_API_URL", "EVOLUTION_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    findings = await examine()
    assert {finding.verdict for finding in findings} == {Verdict.FAIL}
    assert len(findings) >= 4


async def test_a_database_that_is_away_is_one_finding_among_the_others(clinic: Clinic) -> None:
    clinic.set("DATABASE_URL", f"postgresql://zapline:{CANARY}@127.0.0.1:1/zapline")
    findings = await clinic.examine()
    assert findings["database"].verdict is Verdict.FAIL
    assert "pg_hba.conf" in findings["database"].next_step
    assert CANARY not in findings["database"].observation
    assert findings["Evolution"].verdict is Verdict.OK


async def test_an_empty_database_is_to_be_migrated(clinic: Clinic, new_database: Callable[..., str]) -> None:
    clinic.set("DATABASE_URL", new_database())
    result = (await clinic.examine())["migrations"]
    assert (result.verdict, result.next_step) == (Verdict.FAIL, "Run: zapline migrate")


async def test_a_login_that_may_not_take_the_roles_is_told_what_to_grant(clinic: Clinic) -> None:
    name = f"guest_{uuid4().hex[:8]}"
    async with await connect(clinic.url) as conn:
        await conn.execute(
            f"create role {name} login password 'guest'; grant usage on schema zapline to {name};"
            f"grant select on zapline.schema_migrations to {name}"
        )
        try:
            clinic.set("DATABASE_URL", f"postgresql://{name}:guest@{clinic.url.rpartition('@')[2]}")
            findings = await clinic.examine()
            assert findings["database roles"].verdict is Verdict.FAIL
            assert "grant zapline_engine, zapline_api" in findings["database roles"].next_step
        finally:
            await conn.execute(f"drop owned by {name}; drop role {name}")


async def test_broken_rows_lead_to_the_integrity_check(clinic: Clinic) -> None:
    async with await connect(clinic.url) as conn:
        await conn.execute("insert into zapline.units (id, name) values (gen_random_uuid(), 'lost')")
    assert (await clinic.examine())["stored rows"].next_step == "Run: zapline check integrity"


# -- Evolution -------------------------------------------------------------------------------------------


async def test_an_evolution_that_refuses_connections_is_unreachable(clinic: Clinic) -> None:
    clinic.set("EVOLUTION_API_URL", "http://127.0.0.1:1")
    result = (await clinic.examine())["Evolution"]
    assert result.verdict is Verdict.FAIL
    assert "EVOLUTION_API_URL" in result.next_step


async def test_an_evolution_that_hangs_is_given_up_in_time(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evolution_checks.POLICY.overall * evolution_checks.POLICY.attempts < 10
    monkeypatch.setattr(evolution_checks, "POLICY", CallPolicy(call=0.3, overall=0.3, attempts=1))
    clinic.evolution.inject_fault("hang")
    result = (await clinic.examine())["Evolution"]
    assert result.verdict is Verdict.FAIL
    assert "no answer within 60 s" not in result.observation, "it ended by the policy, not by the group's deadline"


async def test_a_group_of_probes_that_hangs_ends_at_its_deadline_and_the_rest_goes_on(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "NETWORK_SECONDS", 0.3)
    clinic.evolution.inject_fault("hang")
    findings = await clinic.examine()
    assert "no answer within 0.3 s" in findings["Evolution"].observation
    assert findings["daemon"].verdict is Verdict.OK


@pytest.mark.parametrize("fault", ["html", "license"])
async def test_a_proxy_page_and_a_missing_licence_are_told_apart(clinic: Clinic, fault: str) -> None:
    clinic.evolution.inject_fault(fault, status=200) if fault == "html" else clinic.evolution.inject_fault(fault)
    result = (await clinic.examine())["Evolution"]
    assert result.verdict is Verdict.FAIL
    assert ("licence" in result.next_step) == (fault == "license")
    assert ("not Evolution" in result.observation) == (fault == "html")


async def test_something_else_at_evolutions_address_is_recognised(clinic: Clinic) -> None:
    clinic.set("EVOLUTION_API_URL", clinic.base_url)
    assert "not Evolution" in (await clinic.examine())["Evolution"].observation


async def test_a_wrong_key_is_told_which_key_to_take_and_never_shown(clinic: Clinic) -> None:
    clinic.set("EVOLUTION_API_KEY", CANARY + "-wrong")
    findings = await clinic.examine()
    assert "AUTHENTICATION_API_KEY" in findings["Evolution's key"].next_step
    assert CANARY not in str(findings)


async def test_an_evolution_that_stores_no_messages_is_found(clinic: Clinic) -> None:
    await clinic.add_unit("loja")
    instance = clinic.evolution.instance("loja")
    instance.state = "open"
    instance.contacts["5511999990001@s.whatsapp.net"] = ("row", "Maria", "2026-11-22T10:00:00.000Z")
    result = (await clinic.examine())["Evolution's storage"]
    assert result.verdict is Verdict.WARN
    assert "DATABASE_SAVE_DATA_NEW_MESSAGE=true" in result.next_step


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("http://other.example/webhooks/whatsapp/evolution/{secret}", "leads to http://other.example"),
        ("/webhooks/whatsapp/evolution/another-secret", "secret that is not this unit's"),
    ],
)
async def test_a_webhook_that_leads_elsewhere_is_found(clinic: Clinic, path: str, words: str) -> None:
    unit = await clinic.add_unit("loja", path=path)
    result = (await clinic.examine())["webhook of loja"]
    assert result.verdict is Verdict.FAIL
    assert words in result.observation
    assert f"rotate-secret {unit}" in result.next_step
    assert webhook_secret(KEY.encode(), unit, 1) not in result.observation


async def test_a_missing_instance_and_a_missing_webhook_are_found(clinic: Clinic) -> None:
    await clinic.add_unit("gone")
    await clinic.add_unit("silent")
    del clinic.evolution.state.instances["gone"]
    clinic.evolution.instance("silent").webhook = None
    findings = await clinic.examine()
    assert "does not know the instance" in findings["webhook of gone"].observation
    assert findings["webhook of silent"].observation == "none is registered"


async def test_another_master_key_than_the_units_were_made_with_is_found(clinic: Clinic) -> None:
    await clinic.add_unit("loja")
    clinic.set("ZAPLINE_MASTER_KEY", "x" * 40)
    result = (await clinic.examine())["master key"]
    assert result.verdict is Verdict.FAIL
    assert "1 of 1 units" in result.observation


async def test_a_lost_key_file_is_found_and_not_made_anew(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    await clinic.add_unit("loja")
    monkeypatch.delenv("ZAPLINE_MASTER_KEY")
    assert (await clinic.examine())["master key"].verdict is Verdict.FAIL
    assert os.listdir(os.environ["ZAPLINE_STATE_DIR"]) == []


# -- the way in ------------------------------------------------------------------------------------------


async def test_another_installations_daemon_on_the_port_does_not_pass_for_ours(
    clinic: Clinic, new_database: Callable[..., str]
) -> None:
    other = new_database()
    async with await connect(other, statement_timeout_ms=0) as conn:
        await migrate(conn, lambda _: None)
    clinic.set("DATABASE_URL", other)
    finding = (await clinic.examine())["daemon"]
    assert finding.verdict is Verdict.FAIL
    assert "another daemon" in finding.observation
    assert "ss -ltnp" in finding.next_step


async def test_the_sandbox_of_this_directory_is_found_where_nothing_is_set(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unit = await clinic.add_unit("loja")
    names = [name for name in os.environ if name.startswith("ZAPLINE_")]
    for name in (*names, "DATABASE_URL", "BASE_URL", "EVOLUTION_API_URL", "EVOLUTION_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("ZAPLINE_ENV_FILE", "")  # so that what the command sets is undone
    directory = tmp_path / ".zapline"
    (directory / "state").mkdir(parents=True, mode=0o700)
    (directory / "state" / FILE).touch(mode=0o600)
    (directory / "state" / FILE).write_text(KEY)
    row = {"id": str(unit), "instance": "loja", "token": "t", "name": "loja"}
    SandboxInfo(
        *(clinic.base_url, "a@b.c", "p", clinic.url, clinic.evolution.url, CANARY), simulated=True, units=(row,)
    ).write(directory)
    monkeypatch.chdir(tmp_path)
    listed = await trio.to_thread.run_sync(CliRunner().invoke, app, ["units", "list"])
    assert listed.exit_code == 0, listed.output
    assert str(unit) in listed.stdout
    assert ".zapline/sandbox.env" in listed.stderr
    monkeypatch.setenv("ZAPLINE_ENV_FILE", "")
    with trio.fail_after(60):
        findings = await examine()
    assert ".zapline/sandbox.env" in findings[0].observation
    told = {finding.what: finding for finding in findings}
    assert told["daemon"].verdict is told["settings"].verdict is told["master key"].verdict is Verdict.OK, told
    assert CANARY not in str(findings)
    monkeypatch.setenv("ZAPLINE_ENV_FILE", "")
    monkeypatch.setenv("BASE_URL", clinic.base_url)
    assert use_sandbox() is None, "what is set is not mixed with it"


async def test_a_daemon_that_does_not_run_is_to_be_started(clinic: Clinic) -> None:
    clinic.set("ZAPLINE_BIND", "127.0.0.1:1")
    clinic.set("BASE_URL", "http://127.0.0.1:1")
    findings = await clinic.examine()
    assert "systemctl start zapline" in findings["daemon"].next_step
    assert findings["BASE_URL"].verdict is Verdict.WARN


async def test_a_daemon_on_a_unix_socket_is_asked_there(clinic: Clinic, tmp_path: Path) -> None:
    path = tmp_path / "zapline.sock"
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, livez, [trio.SocketListener(listening)])
            clinic.set("ZAPLINE_BIND", f"unix:{path}")
            assert (await clinic.examine())["daemon"].verdict is Verdict.OK
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("status", "words"), [("502 Bad Gateway", "does not reach the daemon"), ("301 Moved", "redirects")]
)
async def test_a_proxy_that_does_not_pass_webhooks_on_is_found(clinic: Clinic, status: str, words: str) -> None:
    async with serving(status) as port:
        clinic.set("BASE_URL", f"http://127.0.0.1:{port}")
        result = (await clinic.examine())["BASE_URL"]
    assert result.verdict is Verdict.FAIL
    assert words in result.observation


# -- the command -----------------------------------------------------------------------------------------


def test_the_command_exits_1_on_a_failure_and_prints_next_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BASE_URL", "EVOLUTION_API_URL", "EVOLUTION_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "FAIL  settings: DATABASE_URL is missing" in done.output
    assert "      -> " in done.output
    assert '"verdict": "fail"' in CliRunner().invoke(app, ["doctor", "--json"]).output


# -- together with a running daemon ----------------------------------------------------------------------


async def free_address() -> str:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    return address


async def until_alive(address: str) -> None:
    """Return when a daemon answers at this address."""
    async with httpx2.AsyncClient(timeout=10, trust_env=False) as http:
        with trio.fail_after(40):
            while True:
                try:
                    if (await http.get(f"http://{address}/livez")).status_code == 200:
                        return
                except httpx2.TransportError:
                    await trio.sleep(0.05)


async def knows_webhooks_alone(public: str, private: str) -> None:
    """With two listeners, the public one has nothing but the webhooks' path."""
    async with httpx2.AsyncClient(timeout=10, trust_env=False) as http:
        posted = await http.post(f"http://{public}/webhooks/whatsapp/evolution/{'x' * 43}", content=b"{}")
        assert (posted.status_code, posted.content) == (200, b"{}")
        for path in ("/", "/console/", "/health", "/metrics", "/units", "/openapi.json", "/docs", "/admin/login"):
            assert (await http.get(f"http://{public}{path}")).status_code == 404, path
        assert (await http.post(f"http://{public}/admin/login", json={})).status_code == 404
        assert (await http.get(f"http://{private}/health")).status_code == 200
        assert (await http.get(f"http://{private}/console/sign-in")).status_code == 200


@pytest.mark.heavy
async def test_a_daemon_runs_is_found_well_refuses_a_second_and_stops(clinic: Clinic) -> None:
    address, private = await free_address(), await free_address()
    await clinic.lock.execute("select pg_advisory_unlock_all()")
    clinic.set("ZAPLINE_BIND", address)
    clinic.set("ZAPLINE_OPS_BIND", private)
    clinic.set("BASE_URL", f"http://{address}")
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, [str(ZAPLINE), "run"], check=False, capture_stdout=True)
        daemon = await nursery.start(start)
        await until_alive(private)
        added = await run_command("units", "add", "Loja")
        assert added.returncode == 0, added.output
        examined = await run_command("doctor")
        text = examined.output
        assert examined.returncode == 0, text
        assert "ok    daemon: it runs" in text
        assert "ok    daemon's lock: a daemon works on this database" in text
        assert "0 units are registered as they should be, 1 are not connected" in text
        await knows_webhooks_alone(address, private)
        second = await run_process("run")
        assert second.returncode == 1
        assert second.output.startswith("zapline: another Zapline daemon uses the state directory")
        assert "Traceback" not in second.output
        daemon.terminate()
        with trio.fail_after(30):
            assert await daemon.wait() == 0
