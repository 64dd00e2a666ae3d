"""A campaign that WhatsApp refuses from the tenth message on, in the whole daemon: it stops and says why."""

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from support.daemon_in_process import QUICK, WholeDaemon, daemon_in_process

from zapline.domain.outbox.failure_texts import failure_text
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.supervisors.outbound import campaign_brake

GOOD, ALL, MOST_REFUSED = 10, 200, 10
WHY = failure_text("whatsapp_refused")


def people() -> list[dict[str, object]]:
    return [{"to": f"+55119{90_000_000 + number:08d}", "nome": f"N{number}"} for number in range(ALL)]


def delivered(whole: WholeDaemon) -> list[str]:
    return [each.text for each in whole.evolution.ledger.messages]


async def start(whole: WholeDaemon, unit: str) -> str:
    """Start a campaign to all; its path in the API."""
    plan = {"name": "Natal", "text": "Oi {{nome}}", "recipients": people()}
    created = await whole.post(f"/units/{unit}/campaigns", plan, 201)
    path = f"/units/{unit}/campaigns/{created['id']}"
    await whole.post(f"{path}/start")
    return path


async def check_told(whole: WholeDaemon, unit: str, campaign: str) -> int:
    """The reason stands in API, CSV, console and health. Returns how many were refused."""
    shown = await whole.until(campaign, lambda shown: shown["counts"]["sending"] == shown["counts"]["sent"] == 0)
    refused = int(shown["counts"]["undelivered"])
    assert (shown["counts"]["delivered"], refused <= MOST_REFUSED) == (GOOD, True), shown
    assert shown["counts"]["pending"] + shown["counts"]["queued"] == ALL - GOOD - refused
    rows = (await whole.get(f"{campaign}/recipients?state=undelivered"))["items"]
    assert {(row["reason"], row["detail"]) for row in rows} == {("whatsapp_refused", WHY)}
    assert (shown["heldReason"], shown["heldDetail"]) == ("whatsapp_refused", WHY)
    status = await whole.get(f"/units/{unit}/whatsapp/status")
    assert (status["campaignsHeldReason"], status["status"]) == ("whatsapp_refused", "connected")

    exported = await whole.client.get(f"{campaign}/failures.csv")
    _, *lines = csv.reader(io.StringIO(exported.text))
    assert [line[2:5] for line in lines] == [["undelivered", "whatsapp_refused", WHY]] * refused

    for path in (f"/console/units/{unit}", f"/console{campaign}", f"/console{campaign}/recipients?state=undelivered"):
        assert WHY in (await whole.operator.get(path)).visible_text, path
    assert "Campaigns wait for you" in (await whole.operator.get(f"/console/units/{unit}")).visible_text

    checks = (await whole.get("/health"))["checks"]
    held, refusals = checks["campaignsHeld"], checks["refusedMessages"]
    assert (held["value"], held["verdict"]) == (1, "warn")
    assert (refusals["value"], refusals["verdict"]) == (refused, "warn")
    assert "wait for a person" in held["explanation"]
    assert WHY in held["explanation"]
    return refused


@pytest.mark.heavy
async def test_a_refused_campaign_stops_says_why_and_goes_on_after_a_person(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_brake, "_POLL", 0.02)
    slow_words = Behaviour(**{**QUICK, "status_gap": 0.3})
    async with daemon_in_process(database, tmp_path / "state", slow_words) as whole:
        unit = await whole.add_unit("loja")
        whole.evolution.inject_fault("refused_later", path="/message/", after=GOOD)
        campaign = await start(whole, unit)
        status = f"/units/{unit}/whatsapp/status"
        await whole.until(status, lambda shown: shown["campaignsHeldAt"])
        refused = await check_told(whole, unit, campaign)
        assert len(delivered(whole)) == GOOD

        # A reply goes on, to somebody to whom the campaign could not write.
        whole.evolution.clear_faults()
        reply = {"clientMessageId": "resposta", "to": str(people()[GOOD]["to"]), "text": "uma resposta"}
        await whole.post(f"/units/{unit}/messages", reply, 202)
        await whole.until(status, lambda _: "uma resposta" in delivered(whole))
        assert len(delivered(whole)) == GOOD + 1

        # A person has looked: the campaign goes on, and those that were refused wait for their turn.
        await whole.control("habits", status_gap=0.0)
        await whole.post(f"{campaign}/retry-failed")
        await whole.post(f"/units/{unit}/release-campaigns")
        some = GOOD + 20
        gone_on = await whole.until(campaign, lambda shown: shown["counts"]["delivered"] >= some, every=0.2)
        counts = gone_on["counts"]
        assert (counts["undelivered"], counts["failed"], counts["uncertain"]) == (0, 0, 0)
        await whole.post(f"{campaign}/cancel")
        received = Counter(delivered(whole))
        assert len(received) > some
        assert set(received.values()) == {1}, "nobody got it twice"
        assert whole.running.core.counters.totals["campaign_holds", "whatsapp_refused"] == 1
        assert whole.running.core.counters.totals["messages_refused", "whatsapp_refused"] == refused
