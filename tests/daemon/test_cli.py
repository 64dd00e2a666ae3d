"""The command line: what it prints, what it refuses and how, and that the running daemon does what it is asked."""

import json
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio
import typer.main
from argon2 import PasswordHasher
from support.many_cases import in_one_test
from trio.testing import MockClock
from typer.testing import CliRunner, Result

from zapline.daemon import master_key as keys
from zapline.daemon.cli import app
from zapline.daemon.commands.date_times import parse_time
from zapline.domain.errors import LocalError
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units.webhook_authentication import digest_secret

CANARY = "canary-password-7d1f"

pytestmark = pytest.mark.usefixtures("environment")


def invoke(*args: str, input: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=input)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    async def read() -> list[tuple[object, ...]]:
        async with await connect(url) as conn:
            return [tuple(row) for row in await conn.fetch(query)]

    return trio.run(read)


def commands() -> list[list[str]]:
    """The path of every command there is."""

    def walk(command: object, path: list[str]) -> list[list[str]]:
        children = getattr(command, "commands", None)
        if children is None:
            return [path]
        return [result for name, child in children.items() for result in walk(child, [*path, name])]

    return walk(typer.main.get_command(app), [])


# -- help and failures -----------------------------------------------------------------------------------


@pytest.mark.slow
@in_one_test(commands())
def test_every_command_explains_itself_with_an_example(path: list[str]) -> None:
    displayed = invoke(*path, "--help")
    assert displayed.exit_code == 0
    assert f"Example: zapline {' '.join(path)}" in displayed.output
    assert len(displayed.output.splitlines()[2].strip()) > 20


def test_the_commands_are_those_that_operators_were_promised() -> None:
    names = {" ".join(path) for path in commands()}
    assert names >= {"backup", "restore"}
    assert names >= {"run", "migrate", "check integrity", "check config", "doctor", "sandbox", "replay", "settings"}
    assert names >= {f"units {verb}" for verb in ("list", "add", "archive", "rotate-secret", "release")}
    assert "nodes list" in names
    assert names >= {"units rename", "units pause", "units resume"}
    assert names >= {"privacy export", "privacy erase", "privacy retention"}
    assert names >= {"dead-letters list", "dead-letters replay", "admin add", "admin password", "admin list"}
    assert names >= {f"servers {verb}" for verb in ("list", "add", "change", "pause", "resume", "remove")}
    assert names >= {"units move"} | {f"alarms {verb}" for verb in ("list", "add", "remove", "test")}
    assert names >= {"admin disable", "admin enable", "tokens mint", "tokens list", "tokens revoke"}
    assert names >= {"ceilings show", "ceilings set"}
    assert names >= {f"organizations {verb}" for verb in ("add", "list", "add-unit", "remove-unit", "mint", "revoke")}


def test_the_version_is_told() -> None:
    assert invoke("--version").output == f"zapline {version('zapline')}\n"


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = ("trio", "psycopg", "pydantic", "httpx2", "quart", "zapline.sandbox", "zapline.sql", "structlog")
    code = f"import sys, zapline.daemon.cli; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.strip() == "[]"


MOST_MIB = 84
"""Of a process that has imported the daemon; 74 were measured, and 79 where the modules had to be compiled."""


def test_the_daemon_imports_nothing_that_most_processes_never_use() -> None:
    unused = ("pydantic", "rich", "pygments", "cryptography", "segno", "babel", "zapline.http.console.app")
    code = f"""if True:
        import re, sys
        from zapline.daemon.logs.plain_structlog import load_structlog
        load_structlog()
        import zapline.daemon.composition.app
        print([name for name in {unused!r} if name in sys.modules])
        print(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    imported, kib = result.stdout.splitlines()
    assert imported == "[]"
    assert int(kib) / 1024 <= MOST_MIB


def test_a_usage_error_exits_2_and_a_missing_setting_1_without_a_traceback() -> None:
    assert invoke("units", "archive").exit_code == 2
    assert invoke("no-such-command").exit_code == 2
    refused = invoke("units", "list")
    assert refused.exit_code == 1
    assert "DATABASE_URL is missing" in refused.stderr
    assert "Traceback" not in refused.output


def test_a_password_in_the_database_url_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://zapline:{CANARY}@127.0.0.1:1/zapline")
    for args in (["units", "list"], ["migrate", "--wait", "0"], ["admin", "list"], ["check", "integrity"]):
        refused = invoke(*args)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("zapline: ")
        assert CANARY not in refused.output
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{CANARY}@[bad/zapline")
    assert CANARY not in invoke("units", "list").output


def test_check_config_names_every_problem_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = invoke("check", "config")
    assert refused.exit_code == 1
    for name in ("DATABASE_URL", "EVOLUTION_API_URL", "EVOLUTION_API_KEY", "BASE_URL"):
        assert f"{name} is missing" in refused.stderr
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@h/d")
    monkeypatch.setenv("EVOLUTION_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("EVOLUTION_API_KEY", CANARY)
    monkeypatch.setenv("BASE_URL", "http://127.0.0.1:2")
    fine = invoke("check", "config")
    assert fine.exit_code == 0
    assert CANARY not in fine.output


def test_settings_are_all_printed_also_as_an_env_file() -> None:
    displayed, file = invoke("settings").output, invoke("settings", "--env").output
    for name in ("DATABASE_URL", "BASE_URL", "ZAPLINE_BIND", "ZAPLINE_STATE_DIR"):
        assert name in displayed
        assert name in file
    assert "#ZAPLINE_BIND=127.0.0.1:8080" in file


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("2h", 992_800.0),
        ("30m", 998_200.0),
        ("1.5d", 870_400.0),
        ("1970-01-12T13:00:00Z", 997_200.0),
        ("1970-01-12 13:00", 997_200.0),
        ("1970-01-12T14:00:00+01:00", 997_200.0),
    ],
)
def test_a_time_is_read_as_people_write_it(payload: str, expected: float) -> None:
    assert parse_time(payload, 1_000_000.0) == expected


@pytest.mark.parametrize("payload", ["yesterday", "2 weeks", "-2h", "", "2990-01-01T00:00:00Z", "2h; drop"])
def test_what_is_no_time_or_in_the_future_is_refused(payload: str) -> None:
    with pytest.raises(LocalError):
        parse_time(payload, time.time())


def test_a_state_directory_that_cannot_be_made_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for name, value in {
        "DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "EVOLUTION_API_URL": "http://127.0.0.1:1",
        "EVOLUTION_API_KEY": CANARY,
        "BASE_URL": "http://127.0.0.1:2",
        "ZAPLINE_STATE_DIR": str(tmp_path / "file" / "state"),
    }.items():
        monkeypatch.setenv(name, value)
    refused = invoke("run")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("zapline: the state directory")
    assert "ZAPLINE_STATE_DIR" in refused.stderr


# -- migrate ---------------------------------------------------------------------------------------------


def test_migrate_applies_once_and_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    dry = invoke("migrate", "--dry-run")
    assert "would apply 0001" in dry.output
    assert rows(database_url, "select 1 from pg_namespace where nspname = 'zapline'") == []
    first = invoke("migrate")
    assert (first.exit_code, "applied 0001 units_and_messages" in first.output) == (0, True)
    again = invoke("migrate")
    assert (again.exit_code, again.output) == (0, "The schema is up to date.\n")


def test_migrate_waits_for_a_database_and_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://zapline@127.0.0.1:1/zapline")
    clock = MockClock(autojump_threshold=0.05)
    monkeypatch.setattr(trio, "run", partial(trio.run, clock=clock))
    started = clock.current_time()
    refused = invoke("migrate", "--wait", "1.2")
    assert refused.exit_code == 1
    assert 1.2 <= clock.current_time() - started < 2.5
    assert "Waiting for the database (0 of 1 s)" in refused.stderr
    assert "Check that it runs and that DATABASE_URL is right" in refused.stderr


def legacy_table(url: str, *lines: tuple[UUID, str, str]) -> None:
    async def make() -> None:
        async with await connect(url) as conn:
            await conn.execute(
                "create table public.units (id uuid, name text);"
                "create table public.messages (id int); insert into public.messages values (1);"
                "create table public.unit_whatsapp_connections"
                " (unit_id uuid, provider text, instance_id text, status text)"
            )
            for unit, instance, status in lines:
                await conn.execute(
                    "insert into public.unit_whatsapp_connections values (%s, 'evolution', %s, %s)",
                    (unit, instance, status),
                )

    trio.run(make)


def test_adoption_imports_units_with_the_secret_that_the_daemon_derives(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unit, key = uuid4(), "k" * 40
    legacy_table(database_url, (unit, "loja", "open"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ZAPLINE_MASTER_KEY", key)
    listing = invoke("migrate", "--adopt-legacy", "--dry-run")
    assert f"unit {unit} (loja), instance loja, open" in listing.output
    assert rows(database_url, "select 1 from pg_namespace where nspname = 'zapline'") == []

    done = invoke("migrate", "--adopt-legacy")

    assert done.exit_code == 0, done.output
    assert "1 units imported." in done.output
    secret = keys.webhook_secret(key.encode(), unit, 1)  # type: ignore[arg-type]
    stored = rows(database_url, "select unit_id, secret_digest, phase from zapline.unit_whatsapp_connections")
    assert [(id, bytes(known), phase) for id, known, phase in stored] == [(unit, digest_secret(secret), "open")]  # type: ignore[call-overload]
    assert secret not in done.output
    assert "0 units imported." in invoke("migrate", "--adopt-legacy").output


def test_conflicts_are_listed_and_not_even_the_schema_is_made(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    legacy_table(database_url, (uuid4(), "shared", "open"), (uuid4(), "shared", "close"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ZAPLINE_STATE_DIR", str(tmp_path / "state"))
    refused = invoke("migrate", "--adopt-legacy")
    assert refused.exit_code == 1
    assert "CONFLICT  instance 'shared' has 2 units" in refused.stdout
    assert "nothing was changed" in refused.stderr
    assert rows(database_url, "select 1 from pg_namespace where nspname = 'zapline'") == []


def test_the_daemon_and_the_commands_derive_the_same_secret() -> None:
    daemon = pytest.importorskip("zapline.daemon.composition.app")
    unit = uuid4()
    assert daemon.webhook_secret(b"m" * 40, unit, 3) == keys.webhook_secret(b"m" * 40, unit, 3)  # type: ignore[arg-type]


# -- check, lists, admins --------------------------------------------------------------------------------


def test_check_integrity_passes_prints_json_and_fails_with_1(database: str) -> None:
    fine = invoke("check", "integrity")
    assert fine.exit_code == 0, fine.output
    assert "pass  Every message has a conversation" in fine.output
    rows(database, "insert into zapline.units (id, name) values (gen_random_uuid(), 'lost') returning 1")
    failures = invoke("check", "integrity", "--json")
    assert failures.exit_code == 1
    broken = [answer["name"] for answer in json.loads(failures.stdout) if answer["ok"] is False]
    assert broken == ["unit_without_line"]


def a_unit(url: str) -> UUID:
    unit = uuid4()
    rows(url, f"insert into zapline.units (id, name) values ('{unit}', 'Loja Centro') returning 1")
    rows(
        url,
        "insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest, owner_jid)"
        f" values ('{unit}', 'evolution', 'loja', 'digest', '5511987654321@s.whatsapp.net') returning 1",
    )
    return unit


def test_units_are_listed_with_phones_masked_and_no_secret(database: str) -> None:
    assert "zapline units add" in invoke("units", "list").output
    unit = a_unit(database)
    displayed = invoke("units", "list").output
    assert str(unit) in displayed
    assert "****4321" in displayed
    assert "87654321" not in displayed
    assert "digest" not in displayed
    assert "zapline run" in invoke("nodes", "list").output
    node = uuid4()
    rows(
        database,
        "with n as (insert into zapline.nodes (id, name, version, epoch, expires_at)"
        f" values ('{node}', 'maquina', '1.0', 7, now() - interval '1 hour') returning id)"
        " update zapline.unit_whatsapp_connections set owner = n.id, epoch = 7 from n returning 1",
    )
    assert "maquina" in invoke("nodes", "list").output
    (listed,) = json.loads(invoke("nodes", "list", "--json").output)
    assert (listed["id"], listed["epoch"], listed["lines"], listed["lives"]) == (str(node), 7, 1, False)
    as_json = json.loads(invoke("units", "list", "--json").output)
    assert (as_json[0]["name"], as_json[0]["status"], as_json[0]["phone"]) == (
        "Loja Centro",
        "disconnected",
        "****4321",
    )


def test_commands_go_round_a_pooler(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://pooler@127.0.0.1:1/zapline")
    monkeypatch.setenv("ZAPLINE_DATABASE_DIRECT_URL", database)
    assert invoke("units", "list").exit_code == 0
    assert invoke("check", "integrity").exit_code == 0


def test_dead_letters_are_listed_newest_first_with_phones_masked(database: str) -> None:
    unit = a_unit(database)
    rows(
        database,
        "insert into zapline.dead_letters (unit_id, reason, detail, event, size, received_at, raw) select"
        f" '{unit}', 'unusable', 'no sender in 5511987654321@s.whatsapp.net', 'messages.upsert', n, now(), 'body'"
        " from generate_series(1, 3) n returning 1",
    )
    displayed = invoke("dead-letters", "list", "--limit", "2").output
    assert "87654321" not in displayed
    listing = json.loads(invoke("dead-letters", "list", "--json", "--unit", str(unit), "--before", "3").output)
    assert [dead_letter["id"] for dead_letter in listing] == [2, 1]
    assert invoke("dead-letters", "list", "--unit", "loja").exit_code == 1


def test_servers_are_kept_with_their_keys_sealed_and_no_key_is_ever_shown(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZAPLINE_MASTER_KEY", "m" * 40)
    file = tmp_path / "evo-2.key"
    file.write_text(f"{CANARY}\n")
    output = []

    def run(*args: str, code: int = 0, input: str | None = None) -> str:
        result = invoke("servers", *args, input=input)
        assert result.exit_code == code, result.output
        output.append(result.output)
        return result.output

    run("add", "evo-2", "http://evolution-2.example/", "--key-file", str(file))
    run("add", "evo-3", "http://evolution-3.example", "--weight", "50", input=f"{CANARY}-3\n")
    assert "already" in run("add", "evo-2", "http://evolution-4.example", "--key-file", str(file), code=1)
    assert "address" in run("add", "evo-4", "http://evolution-2.example", "--key-file", str(file), code=1)
    assert "name" in run("add", "Evo 4", "http://evolution-4.example", "--key-file", str(file), code=1)
    assert "key" in run("add", "evo-4", "http://evolution-4.example", "--key-file", str(tmp_path / "none"), code=1)
    assert "setting" not in run("pause", "environment")
    assert "EVOLUTION_API_URL" in run("change", "environment", "--url", "http://evolution.example", code=1)
    run("change", "evo-3", "--weight", "70", "--key-file", "-", input=f"{CANARY}-4\n")
    run("change", "evo-3", code=2)
    listed = json.loads(run("list", "--json"))
    assert [(row["name"], row["url"], row["weight"], row["units"], row["pausedAt"] is None) for row in listed] == [
        ("environment", None, 100, 0, False),
        ("evo-2", "http://evolution-2.example", 100, 0, True),
        ("evo-3", "http://evolution-3.example", 70, 0, True),
    ]
    stored = rows(database, "select name, sealed_key from zapline.evolution_servers where sealed_key is not null")
    sealed = {str(name): bytes(key) for name, key in stored if isinstance(key, bytes)}
    assert keys.unseal_server_key(b"m" * 40, "evo-2", sealed["evo-2"]) == CANARY
    assert keys.unseal_server_key(b"m" * 40, "evo-3", sealed["evo-3"]) == f"{CANARY}-4"
    assert keys.unseal_server_key(b"m" * 40, "evo-3", sealed["evo-2"]) is None, "a key opens its own server only"
    assert keys.unseal_server_key(b"n" * 40, "evo-2", sealed["evo-2"]) is None
    run("remove", "evo-3")
    assert "of this name" in run("remove", "evo-3", code=1)
    run("add", "evo-3", "http://evolution-3.example", "--key-file", str(file))
    assert CANARY not in "".join(output)
    audited = rows(database, "select action, target, detail::text from zapline.audit_log order by id")
    assert ("servers add", "evo-2", "{}") in audited
    assert CANARY not in str(audited)


def test_destinations_of_alarms_are_kept_sealed_and_shown_in_part(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZAPLINE_MASTER_KEY", "m" * 40)
    output = []

    def run(*args: str, code: int = 0, input: str | None = None) -> str:
        result = invoke("alarms", *args, input=input)
        assert result.exit_code == code, result.output
        output.append(result.output)
        return result.output

    assert "nobody" in run("list")
    assert "No SMTP server is set" in run("add", "email", "oncall@example.com", "--language", "pt-BR")
    assert "whsec_" in run("add", "webhook", "-", input=f"https://example.com/{CANARY}\n")
    assert "https" in run("add", "webhook", "http://example.com/", code=1)
    assert "e-mail" in run("add", "email", "oncall", code=1)
    assert "units" in run("add", "line", "+5511999990001", code=1)
    assert "no such unit" in run("add", "line", "+5511999990001", "--unit", str(uuid4()), code=1)
    run("add", "pigeon", "oncall@example.com", code=2)
    mail, hook = json.loads(run("list", "--json"))
    assert (mail["kind"], mail["to"], mail["language"]) == ("email", "o…@example.com", "pt-BR")
    assert (hook["kind"], hook["to"], hook["error"]) == ("webhook", "https://example.com/…", None)
    stored = rows(database, "select id, sealed from zapline.alarm_destinations where kind = 'webhook'")
    ((id, sealed),) = stored
    assert isinstance(sealed, bytes)
    assert keys.unseal_alarm_target(b"m" * 40, UUID(str(id)), sealed) == f"https://example.com/{CANARY}"
    assert keys.unseal_alarm_target(b"n" * 40, UUID(str(id)), sealed) is None
    assert "no Zapline daemon" in run("test", code=1)
    run("remove", hook["id"])
    assert "no such destination" in run("remove", hook["id"], code=1)
    assert CANARY not in "".join(output)
    audited = rows(database, "select action, target from zapline.audit_log order by id")
    assert audited == [("alarms add", mail["id"]), ("alarms add", hook["id"]), ("alarms remove", hook["id"])]


def test_the_first_admin_is_added_without_a_daemon_and_the_password_is_shown_once(database: str) -> None:
    created = invoke("admin", "add", "Ana@Example.com", "--generate")
    assert created.exit_code == 0, created.output
    generated = created.output.rpartition("shown only now: ")[2].strip()
    [(email, stored)] = rows(database, "select email, password_hash from zapline.admins")
    assert email == "ana@example.com"
    assert PasswordHasher().verify(str(stored), generated)
    assert generated not in str(stored)
    assert "ana@example.com" in invoke("admin", "list").output


def test_who_is_disabled_or_gets_a_new_password_loses_what_he_has_opened(database: str) -> None:
    assert invoke("admin", "add", "ana@example.com", "--generate").exit_code == 0
    opened = (
        "insert into zapline.access_tokens (digest, kind, admin_id, label, created_by, idle_seconds, expires_at)"
        " select gen_random_uuid()::text::bytea, kind, id, 'x', 'x', 60, now() + interval '1 hour'"
        " from zapline.admins, unnest(array['session', 'admin']) as kind returning 1"
    )
    valid = "select 1 from zapline.access_tokens where revoked_at is null"
    rows(database, opened)
    changed = invoke("admin", "password", "ana@example.com", "--generate")
    assert "2 sessions and tokens of the old one are ended" in changed.output
    assert rows(database, valid) == []
    rows(database, opened)
    assert invoke("admin", "disable", "Ana@example.com").exit_code == 0
    assert rows(database, valid) == []
    assert json.loads(invoke("admin", "list", "--json").output)[0]["disabledAt"] is not None
    assert invoke("admin", "enable", "ana@example.com").exit_code == 0
    assert json.loads(invoke("admin", "list", "--json").output)[0]["disabledAt"] is None
    assert invoke("admin", "role", "ana@example.com", "operator").exit_code == 0
    assert json.loads(invoke("admin", "list", "--json").output)[0]["role"] == "operator"
    rows(database, "update zapline.admins set totp_secret = '\\x00', totp_confirmed_at = now() returning 1")
    assert json.loads(invoke("admin", "list", "--json").output)[0]["secondFactor"] is True
    assert invoke("admin", "forget-codes", "ana@example.com").exit_code == 0
    assert json.loads(invoke("admin", "list", "--json").output)[0]["secondFactor"] is False
    unit = ["--unit", "7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11"]
    assert "there is no unit" in invoke("admin", "role", "ana@example.com", "attendant", *unit).stderr
    assert invoke("admin", "role", "ana@example.com", "admin", *unit).exit_code == 2
    unknown = invoke("admin", "disable", "bia@example.com")
    assert unknown.exit_code == 1
    assert "zapline admin add bia@example.com" in unknown.stderr
    payload = [(action, target) for action, target in rows(database, "select action, target from zapline.audit_log")]
    assert payload == [
        (f"admin {verb}", "ana@example.com")
        for verb in ("add", "password", "disable", "enable", "role", "forget-codes")
    ]


def test_a_token_command_that_cannot_be_done_says_what_to_do_next(database: str) -> None:
    unit = str(uuid4())
    refused = invoke("tokens", "mint", "--unit", unit, "--label", "CRM", "--scope", "read")
    assert refused.exit_code == 1
    assert "zapline units list" in refused.stderr
    assert invoke("tokens", "mint", "--unit", unit, "--label", "CRM").exit_code == 2
    assert invoke("tokens", "mint", "--unit", unit, "--label", "CRM", "--scope", "everything").exit_code == 2
    assert invoke("tokens", "mint", "--unit", unit, "--label", " ", "--scope", "read").exit_code == 2
    assert "zapline units list" in invoke("tokens", "list", "--unit", unit).stderr
    assert "zapline tokens list" in invoke("tokens", "revoke", "zl_x", "--unit", unit).stderr
    assert "zapline tokens list" in invoke("tokens", "revoke", str(uuid4()), "--unit", unit).stderr
    assert rows(database, "select 1 from zapline.audit_log") == []


def test_a_password_is_read_from_stdin_and_a_short_one_refused(database: str) -> None:
    assert invoke("admin", "add", "ana@example.com", "--password-stdin", input="short\n").exit_code == 1
    assert rows(database, "select 1 from zapline.admins") == []
    assert invoke("admin", "add", "ana@example.com", "--password-stdin", input=f"{CANARY}\n").exit_code == 0
    taken = invoke("admin", "add", "ana@example.com", "--generate")
    assert taken.exit_code == 1
    assert "zapline admin password ana@example.com" in taken.stderr
    changed = invoke("admin", "password", "ana@example.com", "--password-stdin", input="another-long-one\n")
    assert changed.exit_code == 0
    [(stored,)] = rows(database, "select password_hash from zapline.admins")
    assert PasswordHasher().verify(str(stored), "another-long-one")
    assert invoke("admin", "password", "bia@example.com", "--generate").exit_code == 1
    assert invoke("admin", "add", "no-address", "--generate").exit_code == 2
    refused = invoke("admin", "add", "caio@example.com")
    assert refused.exit_code == 1
    assert "--password-stdin" in refused.stderr


def test_a_change_without_a_daemon_is_refused_at_once_and_says_how_to_start_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MockClock(autojump_threshold=5.0)
    run = trio.run
    monkeypatch.setattr(trio, "run", partial(run, clock=clock))
    started = clock.current_time()
    refused = invoke("units", "add", "Loja")
    assert refused.exit_code == 1
    assert clock.current_time() == started, "it waits for nothing"
    monkeypatch.setattr(trio, "run", run)
    assert rows(database, "select 1 from zapline.control_requests") == []
    assert "no Zapline daemon works on this database" in refused.stderr
    assert "systemctl start zapline" in refused.stderr
