"""A night: of forty lines six drop; health says so, one alarm comes by e-mail, webhook and WhatsApp, one all-clear.

The operator brings the lines back by a few clicks and six scans, and the history tells of each fall.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from support.crm_receiver import CrmReceiver, crm_receiver
from support.daemon_in_process import WholeDaemon, daemon_in_process
from support.smtp_server import HOST, TestMailServer, mail_server

UNITS, DROPPED = 40, 6
PHONE = "5511999990099"
SETTINGS = {
    "smtp_host": HOST,
    "smtp_from": "zapline@example.com",
    "smtp_security": "none",
    "alarm_after_seconds": 2.0,
    "alarm_gather_seconds": 8.0,
    "alarm_calm_seconds": 4.0,
    "alarm_gap_seconds": 1.0,
}
NOTICED = 300.0
"""Seconds within which everything must have happened, on whatever machine."""


@dataclass
class Night:
    """The daemon, where alarms arrive, the units by their names, and how often the operator has clicked."""

    whole: WholeDaemon
    mail: TestMailServer
    hook: CrmReceiver
    units: dict[str, str]
    clicks: int = 0

    @property
    def dropped(self) -> list[str]:
        return sorted(self.units)[-DROPPED:]

    async def click(self, path: str) -> Any:
        """Follow a link of the open page."""
        assert path in self.whole.operator.page.links
        self.clicks += 1
        return await self.whole.operator.get(path)


@pytest.mark.long
async def test_of_forty_lines_six_drop_at_night_and_are_back_by_a_few_clicks(database: str, tmp_path: Path) -> None:
    async with mail_server() as mail, crm_receiver() as hook:
        settings = {**SETTINGS, "smtp_port": mail.port}
        async with daemon_in_process(database, tmp_path / "state", **settings) as whole:
            night = Night(whole, mail, hook, await add_units(whole))
            await nobody_is_woken_for_nothing(night)
            await six_lines_drop(night)
            await the_operator_brings_them_back(night)
            await one_all_clear_comes(night)
            await the_history_tells_of_each_fall(night)


async def add_units(whole: WholeDaemon) -> dict[str, str]:
    units: dict[str, str] = {}
    limit = trio.CapacityLimiter(4)

    async def add(name: str) -> None:
        async with limit:
            units[name] = await whole.add_unit(name)

    with trio.fail_after(NOTICED):
        async with trio.open_nursery() as nursery:
            for number in range(UNITS):
                nursery.start_soon(add, f"loja_{number:02}")
    return units


async def nobody_is_woken_for_nothing(night: Night) -> None:
    """Those who are to be told are added, and a test reaches each; the first sibling is a line that will drop."""
    siblings = [night.units[night.dropped[0]], night.units["loja_00"]]
    asked: list[dict[str, Any]] = [
        {"kind": "email", "to": "oncall@example.com", "language": "pt-BR"},
        {"kind": "webhook", "to": f"{night.hook.url}/alarm"},
        {"kind": "line", "to": PHONE, "language": "es", "units": siblings},
    ]
    for each in asked[:2]:
        made = await night.whole.post("/alarms/destinations", each, 201)
        assert (await night.whole.post(f"/alarms/destinations/{made['destination']['id']}/test"))["error"] is None
    await night.whole.post("/alarms/destinations", asked[2], 201)
    assert (len(night.mail.mails), len(night.hook.calls)) == (1, 1)
    health = await night.whole.get("/health")
    assert health["checks"]["linesDown"]["verdict"] == "pass"


async def six_lines_drop(night: Night) -> None:
    """Health and headline say so at once; one alarm arrives that names all six, not by a line that is down."""
    whole, started = night.whole, time.monotonic()
    for name in night.dropped:
        await whole.control("close", instance=name, code=401)
    health = await whole.until("/health", lambda told: told["checks"]["linesDown"]["value"] == DROPPED, NOTICED)
    page = await whole.operator.get("/console/")
    print(f"health and headline said it after {time.monotonic() - started:.1f} s")
    assert health["status"] == "fail"
    assert f"{DROPPED} out" in health["checks"]["linesDown"]["explanation"]
    assert f"{DROPPED} out" in page.visible_text
    (_, mail) = await night.mail.wait_for_mails(2, NOTICED)
    (_, call) = await night.hook.wait_for_calls(2, seconds=NOTICED)
    print(f"the alarm arrived after {time.monotonic() - started:.1f} s")
    assert mail["subject"].startswith(f"Alarme: {DROPPED} linhas fora (loja_34, ")
    assert all(name in mail.get_content() for name in night.dropped)
    assert sorted(each["name"] for each in call.payload["incident"]["members"]) == night.dropped
    ledger = f"/units/{night.units['loja_00']}/messages"
    told = await whole.until(ledger, lambda page: page["items"], NOTICED)
    assert [item["text"].split(" (")[0] for item in told["items"]] == [f"*Alarma: {DROPPED} líneas caídas"]
    assert (await whole.get(f"/units/{night.units[night.dropped[0]]}/messages"))["items"] == []


async def the_operator_brings_them_back(night: Night) -> None:
    """From the overview: the lines that are out, all of them, connect; then the codes one after the other."""
    operator = night.whole.operator
    await operator.get("/console/")
    page = await night.click("/console/?state=out")
    shown = [unit for unit in night.units.values() if f'value="{unit}"' in page.text]
    assert sorted(shown) == sorted(night.units[name] for name in night.dropped)
    night.clicks += 1  # the box that chooses all that are shown
    await operator.send("/console/units/several", {"unit": shown, "act": "connect"})
    night.clicks += 1
    assert operator.answer is not None
    assert operator.answer.headers["location"] == "/console/scan"
    await operator.follow()
    for name in night.dropped:
        status = f"/units/{night.units[name]}/whatsapp/status"
        await night.whole.until(status, lambda shown: shown["reason"] == "waiting_scan", NOTICED)
        await night.whole.control("scan", instance=name)
        await night.whole.until(status, lambda shown: shown["status"] == "connected", NOTICED)
    assert night.clicks <= 4
    health = await night.whole.until("/health", lambda told: told["checks"]["linesDown"]["value"] == 0, NOTICED)
    assert f"{UNITS} connected" in health["checks"]["linesDown"]["explanation"]


async def one_all_clear_comes(night: Night) -> None:
    """One, and nothing was told in between; the console lists the incident."""
    _, alarm, clear = await night.mail.wait_for_mails(3, NOTICED)
    assert clear["subject"].startswith(f"Tudo certo de novo: {DROPPED} linhas voltaram")
    assert alarm["references"] == clear["references"]
    await night.hook.wait_for_calls(3, seconds=NOTICED)
    assert [call.payload["event"] for call in night.hook.calls] == ["test", "alarm", "all_clear"]
    incidents = await night.whole.until("/alarms/incidents", lambda page: page["items"][0]["closedAt"], NOTICED)
    (incident,) = incidents["items"]
    assert (incident["notices"], incident["undelivered"], len(incident["members"])) == (2, 0, DROPPED)
    page = await night.whole.operator.get("/console/alarms")
    assert "All clear" in page.visible_text
    assert PHONE not in page.text


async def the_history_tells_of_each_fall(night: Night) -> None:
    for name in night.dropped:
        periods = (await night.whole.get(f"/units/{night.units[name]}/line-history"))["items"]
        (fall,) = [each for each in periods if each["reason"] == "logged_out"]
        assert fall["seconds"] > 0
        assert fall["ended"] is not None
        assert (await night.whole.get(f"/units/{night.units[name]}/uptime"))["months"][0]["falls"] == 1
