"""``zapline organizations``: what operators do for a customer with several units, without the daemon."""

import json
from uuid import UUID, uuid4

import pytest
import trio
from typer.testing import CliRunner, Result

from zapline.daemon.cli import app
from zapline.domain.ids import UnitId
from zapline.sql.accounts.access_tokens import find_holder
from zapline.sql.postgres.connection import connect
from zapline.sql.units.units import insert_unit
from zapline.supervisors.units.webhook_authentication import digest_secret

pytestmark = pytest.mark.usefixtures("environment")


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["organizations", *args])


def add_unit(database: str) -> str:
    unit = UnitId(uuid4())

    async def add() -> None:
        async with await connect(database) as conn:
            row = {"name": "u", "instance": str(unit), "secret_digest": unit.bytes, "time_zone": "UTC"}
            await insert_unit(conn, id=unit, **row)

    trio.run(add)
    return str(unit)


def opened(database: str, token: str) -> frozenset[UUID] | None:
    async def find() -> frozenset[UUID] | None:
        async with await connect(database, role="zapline_engine") as conn:
            holder = await find_holder(conn, digest_secret(token), None)
        return frozenset(holder.principal.grant.units) if holder is not None and holder.principal.grant else None

    return trio.run(find)


def test_an_organization_gets_units_and_a_token_which_is_printed_once(database: str) -> None:
    first, second, other = (add_unit(database) for _ in range(3))
    assert "zapline organizations add" in run("list").output
    ours = json.loads(run("add", "Rede", "--json").output)["id"]
    theirs = json.loads(run("add", "Outra", "--json").output)["id"]
    for organization, unit in ((ours, first), (ours, second), (theirs, other)):
        assert run("add-unit", organization, unit).exit_code == 0
    taken = run("add-unit", theirs, first)
    assert (taken.exit_code, ours in taken.stderr) == (1, True)
    scopes = ("--label", "CRM", "--scope", "read", "--json")
    every = json.loads(run("mint", ours, *scopes).output)
    one = json.loads(run("mint", ours, *scopes, "--unit", second).output)
    assert opened(database, every["token"]) == {UUID(first), UUID(second)}
    assert opened(database, one["token"]) == {UUID(second)}
    assert run("mint", ours, *scopes, "--unit", other).exit_code == 1
    assert run("remove-unit", ours, second).exit_code == 0
    assert opened(database, every["token"]) == {UUID(first)}
    assert opened(database, one["token"]) == frozenset()
    listed = run("tokens", ours).output
    assert every["id"] in listed
    assert every["token"] not in listed
    assert run("revoke", theirs, every["id"]).exit_code == 1
    assert run("revoke", ours, every["id"]).exit_code == 0
    assert opened(database, every["token"]) is None
    for command in (("add-unit", str(uuid4()), first), ("tokens", str(uuid4())), ("mint", str(uuid4()), *scopes)):
        assert "zapline organizations list" in run(*command).stderr
    assert "zapline organizations list" in run("tokens", "rede").stderr
    assert run("add", " ").exit_code == 1
    ceilings(*("set", "--tokens", "3", "--requests-per-minute", "600", "--gap-seconds", "0"))
    assert run("mint", ours, *scopes).exit_code == 0
    limited = json.loads(run("mint", ours, *scopes, "--requests-per-minute", "7").output)
    assert limited["requestsPerMinute"] == 7
    assert "revoke one first" in run("mint", ours, *scopes).stderr
    assert ceilings("show", "--json")["requestsPerMinute"] == 600
    left = ceilings("set", "--none", "tokens", "--none", "requests-per-minute", "--json")
    assert {name: value for name, value in left.items() if value is not None} == {"gapSeconds": 0}
    assert CliRunner().invoke(app, ["ceilings", "set", "--none", "everything"]).exit_code == 2


def ceilings(*args: str) -> dict[str, object]:
    answer = CliRunner().invoke(app, ["ceilings", *args])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.output) if "--json" in args else {}
