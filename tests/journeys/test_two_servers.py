"""Two Evolution servers: units on both work, one away leaves the other's lines as they are, and a unit can move."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from support.daemon_in_process import QUICK, WholeDaemon, daemon_in_process

from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units import server_watch

KEY = "canary-second-server-key-83b1"
CUSTOMER = "5511999990001"
FAST = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001}


@dataclass
class Two:
    """A daemon between two servers, of which the second is added by the API as ``evo-2``."""

    whole: WholeDaemon
    second: SimulatedEvolution
    answers: list[Any] = field(default_factory=list)

    async def call(self, method: str, path: str, body: object = None, expect: int | None = None) -> Any:
        answer = await self.whole.call(method, path, body, expect)
        self.answers.append(answer)
        return answer

    def server(self, name: str) -> SimulatedEvolution:
        return self.second if name == "evo-2" else self.whole.evolution

    async def add_unit(self, name: str, server: str | None = None) -> tuple[str, str]:
        """A unit with an open line; its id, and the server on which it lives."""
        body = {"name": name, "instance": name} | ({"evolutionServer": server} if server else {})
        made = await self.call("POST", "/units", body, 201)
        await self.call("PUT", f"/units/{made['id']}/pace", FAST)
        await self.call("POST", f"/units/{made['id']}/whatsapp/connect", {})
        await self.scan(made["id"], name, made["evolutionServer"])
        return made["id"], made["evolutionServer"]

    async def scan(self, unit: str, name: str, server: str) -> None:
        status = f"/units/{unit}/whatsapp/status"
        await self.whole.until(status, lambda shown: shown["reason"] == "waiting_scan")
        self.server(server).scan(name)
        await self.whole.until(status, lambda shown: shown["status"] == "connected")

    async def send(self, unit: str, text: str) -> str:
        body = {"clientMessageId": text, "to": CUSTOMER, "text": text}
        return str((await self.call("POST", f"/units/{unit}/messages", body, 202))["id"])

    async def sent(self, unit: str, text: str) -> None:
        """Send a text, and wait until it is with its server."""
        id = await self.send(unit, text)
        path = f"/units/{unit}/messages/{id}"
        await self.whole.until(path, lambda shown: shown["deliveryStatus"] in ("sent", "delivered"))

    async def received(self, unit: str, name: str, server: str, text: str) -> None:
        self.server(server).receive(name, text)
        path = f"/units/{unit}/messages?afterSeq=0"
        await self.whole.until(path, lambda page: any(row["text"] == text for row in page["items"]))

    def texts(self, server: str, name: str) -> list[str]:
        """What the phones of this instance's contacts got from this server."""
        return [each.text for each in self.server(server).ledger.messages if each.instance == name]


@pytest.fixture
async def two(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr(server_watch, "WATCH_EVERY", 0.1)
    async with (
        SimulatedEvolution.running(api_key=KEY, behaviour=Behaviour(**QUICK)) as second,
        daemon_in_process(database, tmp_path / "state") as whole,
    ):
        yield Two(whole, second)


@pytest.mark.long
async def test_units_on_both_servers_work_while_one_is_away_and_one_of_them_moves(two: Two) -> None:
    whole = two.whole
    with capture_logs() as logs:
        [only] = (await two.call("GET", "/evolution-servers"))["items"]
        assert (only["name"], only["units"], only["url"]) == ("environment", 0, None)
        added = {"name": "evo-2", "url": two.second.url + "/", "key": KEY}
        made = await two.call("POST", "/evolution-servers", added, 201)
        assert (made["url"], made["keyReadable"]) == (two.second.url, True)
        await both_work(two)
        await one_away(two)
        await moves(two)
        await is_removed(two)
    assert KEY not in json.dumps(two.answers)
    assert KEY not in json.dumps(logs, default=str)
    async with await connect(whole.database) as conn:
        for table in ("evolution_servers", "audit_log", "control_requests"):
            rows = await conn.fetch(f"select row_to_json(t)::text from zapline.{table} t")
            assert KEY not in "".join(row[0] for row in rows)
            assert KEY.encode().hex() not in "".join(row[0] for row in rows)


async def both_work(two: Two) -> None:
    """New units spread by themselves; each sends and receives over its own server, which the other knows nothing of."""
    first, lives = await two.add_unit("centro")
    assert lives == "environment"
    second, lives = await two.add_unit("norte")
    assert lives == "evo-2"
    assert (await two.call("GET", f"/units/{second}/whatsapp/status"))["evolution"]["name"] == "evo-2"
    for unit, name, server in ((first, "centro", "environment"), (second, "norte", "evo-2")):
        await two.sent(unit, f"para {name}")
        await two.received(unit, name, server, f"de {name}")
        other = "evo-2" if server == "environment" else "environment"
        assert two.texts(server, name) == [f"para {name}"]
        assert name not in two.server(other).state.instances
    rows = (await two.call("GET", "/evolution-servers"))["items"]
    assert [(row["name"], row["units"], row["connected"]) for row in rows] == [("environment", 1, 1), ("evo-2", 1, 1)]
    await two.whole.until("/evolution-servers/evo-2", lambda shown: shown["version"] == "2.3.7")


async def one_away(two: Two) -> None:
    """Only the lines of the one that is away wait, and health says which it is; then they come back by themselves."""
    units = {unit["name"]: unit["id"] for unit in (await two.call("GET", "/units"))["items"]}
    two.second.take_down()
    health = await two.whole.until("/health", lambda shown: shown["checks"]["serversAway"]["value"] == 1)
    two.answers.append(health)
    check = health["checks"]["serversAway"]
    assert check["verdict"] == "warn"
    assert check["explanation"].endswith(": evo-2")
    away = {row["name"]: row["awaySince"] is not None for row in health["evolutionServers"]}
    assert away == {"environment": False, "evo-2": True}
    metrics = (await two.whole.client.get("/metrics")).text
    assert 'zapline_evolution_up{server="environment"} 1.0' in metrics
    assert 'zapline_evolution_up{server="evo-2"} 0.0' in metrics
    page = await two.whole.operator.get("/console/servers")
    assert two.second.url in page.visible_text
    assert "Does not answer" in page.visible_text
    assert KEY not in page.text
    health_page = await two.whole.operator.get("/console/health")
    assert "/console/servers" in health_page.links
    assert "evo-2" in health_page.visible_text
    waits = await two.call("GET", f"/units/{units['norte']}/whatsapp/status")
    assert (waits["status"], waits["reason"]) == ("disconnected", "evolution_unavailable")
    goes_on = await two.call("GET", f"/units/{units['centro']}/whatsapp/status")
    assert goes_on["status"] == "connected"
    waiting = await two.send(units["norte"], "espera")
    await two.sent(units["centro"], "segue")
    third, lives = await two.add_unit("sul")
    assert lives == "environment", "a new unit does not go where nobody answers"
    assert (await two.call("GET", f"/units/{units['norte']}/messages/{waiting}"))["deliveryStatus"] == "queued"
    two.second.bring_up()
    path = f"/units/{units['norte']}/messages/{waiting}"
    await two.whole.until(path, lambda shown: shown["deliveryStatus"] in ("sent", "delivered"))
    await two.whole.until("/health", lambda shown: shown["checks"]["serversAway"]["value"] == 0)
    assert two.texts("evo-2", "norte") == ["para norte", "espera"]
    await two.call("POST", f"/units/{third}/archive", {})


async def moves(two: Two) -> None:
    """A unit is logged out, made on the other server and scanned; what waited leaves there, and only once."""
    units = {unit["name"]: unit["id"] for unit in (await two.call("GET", "/units"))["items"]}
    unit, move = units["centro"], f"/units/{units['centro']}/whatsapp/move"
    assert (await two.call("POST", move, {"server": "environment"}, 409))["code"] == "move_refused"
    assert (await two.call("POST", move, {"server": "nowhere"}, 404))["code"] == "server_not_found"
    await two.call("PATCH", "/evolution-servers/evo-2", {"paused": True})
    assert (await two.call("POST", move, {"server": "evo-2"}, 409))["code"] == "server_paused"
    await two.call("PATCH", "/evolution-servers/evo-2", {"paused": False, "weight": 50})
    moved = await two.call("POST", move, {"server": "evo-2"}, 202)
    assert moved["evolutionServer"] == "evo-2"
    await two.send(unit, "depois")
    assert "centro" not in two.whole.evolution.state.instances
    await two.scan(unit, "centro", "evo-2")
    path = f"/units/{unit}/queue"
    await two.whole.until(path, lambda queue: not queue["queued"])
    with trio.fail_after(30):
        while two.texts("evo-2", "centro") != ["depois"]:  # noqa: ASYNC110 - in another object
            await trio.sleep(0.02)
    await two.received(unit, "centro", "evo-2", "de novo")
    assert two.texts("environment", "centro") == ["para centro", "segue"]


async def is_removed(two: Two) -> None:
    """A server is removed once no unit lives on it; a unit whose server is away can be moved all the same."""
    assert (await two.call("DELETE", "/evolution-servers/evo-2", expect=409))["code"] == "server_in_use"
    units = {unit["name"]: unit["id"] for unit in (await two.call("GET", "/units"))["items"]}
    two.second.take_down()
    move = f"/units/{units['norte']}/whatsapp/move"
    assert (await two.call("POST", move, {"server": "environment"}, 409))["code"] == "move_refused"
    page = await two.whole.operator.get(f"/console/units/{units['norte']}")
    assert f"/console/units/{units['norte']}/move" in page.links
    form = f"/console/units/{units['norte']}/move"
    page = await two.whole.operator.get(form)
    page = await two.whole.operator.send(form, {"server": "environment"}, expect=422)
    assert "unlink that device on the phone" in page.visible_text
    await two.whole.operator.send(form, {"server": "environment", "leave_behind": "on"})
    async with await connect(two.whole.database) as conn:
        generation = "select secret_generation from zapline.unit_whatsapp_connections where unit_id = %(unit)s"
        [[rotated]] = await conn.fetch(generation, {"unit": units["norte"]})
    assert rotated == 2, "what is left behind posts under a secret that ends"
    await two.scan(units["norte"], "norte", "environment")
    await two.sent(units["norte"], "de casa nova")
    assert two.texts("environment", "norte") == ["de casa nova"]
    two.second.bring_up()
    await two.whole.until("/health", lambda shown: shown["checks"]["serversAway"]["value"] == 0)
    # As after a move that ended between its commit and the connecting: asked again, it goes on.
    await two.call("POST", f"/units/{units['centro']}/whatsapp/disconnect", {}, 202)
    again = await two.call("POST", f"/units/{units['centro']}/whatsapp/move", {"server": "evo-2"}, 202)
    assert (again["evolutionServer"], again["status"]) == ("evo-2", "connecting")
    await two.call("POST", f"/units/{units['centro']}/archive", {})
    operator = two.whole.operator
    page = await operator.get("/console/servers")
    await operator.send("/console/servers/evo-2/pause")
    await operator.get("/console/servers")
    await operator.send("/console/servers/evo-2/change", {"url": two.second.url, "key": "", "weight": "20"})
    [_, second] = (await two.call("GET", "/evolution-servers"))["items"]
    assert (second["weight"], second["pausedAt"] is not None, second["keyReadable"]) == (20, True, True)
    await operator.get("/console/servers")
    await operator.send("/console/servers", {"name": "evo-2", "url": two.second.url, "key": KEY, "weight": ""})
    page = await operator.get("/console/servers")
    assert "there is a server called evo-2 already" in page.visible_text
    assert KEY not in page.text
    await operator.send("/console/servers/evo-2/remove")
    assert [row["name"] for row in (await two.call("GET", "/evolution-servers"))["items"]] == ["environment"]
