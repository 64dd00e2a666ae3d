"""The simulated server's intake: what waits behind an awaited webhook, what a restart loses, what 2.4 does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from support.simulated_evolution import FAST_RETRY, add, serving

import zapline.sandbox
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sandbox.simulator.state.server_versions import is_2_4, message_form, webhook_events, webhook_key
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy

WITHOUT_EDITED = [event for event in EVENTS if event != "MESSAGES_EDITED"]
RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"


@pytest.mark.parametrize("awaited", [True, False])
async def test_only_who_subscribes_to_edits_loses_what_came_after_one(receiver: Any, awaited: bool) -> None:
    """The receiver is away for a minute, then the server is killed: this is why nobody should ask for the event."""
    receiver.status = 503
    async with serving(receiver, WebhookRetryPolicy()) as evo:
        evo.instance("alpha").webhook.events = list(EVENTS) if awaited else WITHOUT_EDITED
        evo.receive("alpha", "antes", external_id="FIRST")
        evo.edit("alpha", "FIRST", "corrigida")
        evo.receive("alpha", "depois", external_id="SECOND")
        evo.revoke("alpha", "SECOND")
        evo.close("alpha", 428)  # also what would be said of the line waits
        await trio.sleep(60)
        instance = evo.instance("alpha")
        assert instance.events.blocked is awaited
        assert instance.events.waiting == (3 if awaited else 0)
        assert {"messages.upsert", "connection.update"} <= set(receiver.events()) or awaited
        evo.kill()
        receiver.status = 200
        receiver.arrivals.clear()
        evo.start()
        await evo.wait_until_idle()
        rows = {stored.message["key"]["id"]: stored for stored in instance.messages}
    if awaited:
        assert set(rows) == {"FIRST"}
        assert (rows["FIRST"].message["message"], rows["FIRST"].statuses) == ({"conversation": "antes"}, [])
    else:
        assert set(rows) == {"FIRST", "SECOND"}
        assert rows["FIRST"].message["message"] == {"conversation": "corrigida"}
        assert rows["SECOND"].message["message"] is None
    # What waited for a repetition is gone either way.
    assert "messages.upsert" not in receiver.events()


async def test_an_edit_is_stored_before_what_follows_it_and_the_queue_goes_on_after_its_webhook(receiver: Any) -> None:
    receiver.statuses = [200, 500]
    async with serving(receiver, FAST_RETRY) as evo:
        evo.receive("alpha", "antes", external_id="M")
        await receiver.wait_for("messages.upsert")
        evo.edit("alpha", "M", "corrigida", at=2000)
        evo.status("alpha", "M", "READ")
        evo.receive("alpha", "depois")
        assert len(evo.instance("alpha").messages) == 1
        await evo.wait_until_idle()
        stored = evo.instance("alpha").messages.get("M")
    assert receiver.events()[:3] == ["messages.upsert", "messages.edited", "messages.edited"]
    assert sorted(receiver.events()[3:]) == ["messages.update", "messages.update", "messages.upsert"]
    assert (stored.message["messageTimestamp"], stored.statuses) == (2000, ["EDITED", "SERVER_ACK", "READ"])


async def test_a_restart_reports_connecting_then_open_and_brings_what_phones_sent_meanwhile(receiver: Any) -> None:
    receiver.status = 500
    async with serving(receiver, WebhookRetryPolicy()) as evo:
        add(evo, "new", receiver.url)  # never linked: a restart says nothing of it
        evo.receive("alpha", "não entregue", external_id="LOST")
        await receiver.wait_for("messages.upsert")
        evo.kill()
        assert evo.ledger.webhook_counts() in ({"pending": 1}, {"lost": 1})
        evo.receive("alpha", "durante a queda", external_id="HELD")
        evo.edit("alpha", "LOST", "corrigida")
        assert "HELD" not in evo.instance("alpha").messages
        receiver.status = 200
        await trio.sleep(1)
        receiver.arrivals.clear()
        evo.start()
        with trio.fail_after(30):
            opened = await receiver.wait_for("messages.update")
        await evo.wait_until_idle()
    assert evo.ledger.webhook_counts()["lost"] == 1
    line = receiver.received("connection.update")
    assert [arrival.data["state"] for arrival in line] == ["connecting", "open"]
    assert line[1].at - line[0].at < 1
    assert opened[0].data["message"] == {"editedMessage": {"message": {"conversation": "corrigida"}}}
    assert [arrival.data["key"]["id"] for arrival in receiver.received("messages.upsert")] == ["HELD"]


async def test_the_control_endpoints_edit_revoke_react_and_restart(receiver: Any) -> None:
    async with serving(receiver) as evo, httpx2.AsyncClient(base_url=evo.url) as http:

        async def control(command: str, **arguments: Any) -> Any:
            response = await http.post(f"/_control/{command}", json={"instance": "alpha", **arguments})
            assert response.status_code == 200, response.text
            return response.json()

        evo.receive("alpha", "um", external_id="A")
        evo.receive("alpha", "dois", external_id="B")
        assert await control("edit", id="A", text="um!") == {"edited": "A", "waiting": 0}
        assert (await control("revoke", id="B"))["revoked"] == "B"
        reaction = await control("react", id="A", emoji="👍")
        assert await control("history", messages=[], chats=[{"id": "1@lid"}]) == {"messages": 0}
        await evo.wait_until_idle()
        assert evo.instance("alpha").messages.get(reaction["id"]) is not None
        assert await control("restart", seconds=0.2) == {"down": 0.2}
        with trio.fail_after(30):
            await receiver.wait_for("connection.update", 2)
    assert {"messages.edited", "messages.update", "messages.delete", "chats.set"} <= set(receiver.events())


# -- version 2.4 ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving_2_4(receiver: Any) -> AsyncIterator[SimulatedEvolution]:
    async with serving(receiver, behaviour=Behaviour(statuses=(), version="2.4.0-rc2")) as evo:
        evo.instance("alpha").webhook.events = list(webhook_events("2.4.0-rc2"))
        yield evo


async def test_version_2_4_has_headers_and_a_form_of_its_own(receiver: Any) -> None:
    lid = {"remoteJidAlt": "5511999990001@s.whatsapp.net", "addressingMode": "lid"}
    quote = {"text": "sim", "contextInfo": {"stanzaId": "X", "quotedMessage": {"conversation": "?"}}}
    async with serving_2_4(receiver) as evo:
        evo.receive("alpha", sender="111222333444555@lid", key=lid, message={"extendedTextMessage": quote})
        evo.receive("alpha", sender="1203@g.us", key={"participant": "2813:4@lid", "addressingMode": "lid"})
        evo.receive("alpha", message={"messageContextInfo": {"deviceListMetadataVersion": 2}}, external_id="EMPTY")
        evo.hand_over_history("alpha", chats=[{"id": "1@lid", "name": "A", "lid": "1@lid"}], contacts=[])
        await evo.wait_until_idle()
    upserts = receiver.received("messages.upsert")
    first, group, empty = sorted(
        (arrival.data for arrival in upserts),
        key=lambda data: data["key"]["remoteJid"] == "1203@g.us" or 2 * ("messageType" not in data),
    )
    headers = upserts[0].headers
    assert headers["user-agent"] == "EvolutionAPI-Webhook/2.3.7"
    assert (headers["x-instance-name"], headers["x-event-type"]) == ("alpha", "messages.upsert")
    assert headers["x-timestamp"].isdigit()
    assert (first["key"]["remoteJid"], first["key"]["remoteJidAlt"], first["key"]["addressingMode"]) == (
        "5511999990001@s.whatsapp.net",
        "111222333444555@lid",
        "pn",
    )
    assert first["message"] == {"conversation": "sim"}
    assert "contextInfo" not in first
    assert group["key"]["participant"] == "2813"
    assert "messageType" not in empty
    (history,) = receiver.received("messaging-history.set")
    assert history.data == {"messageCount": 0, "chatCount": 1, "contactCount": 0, "progress": 100}
    assert receiver.received("chats.set")[0].data[0]["remoteLid"] == "1@lid"


async def test_version_2_4_ends_a_line_otherwise(receiver: Any) -> None:
    async with serving_2_4(receiver) as evo, httpx2.AsyncClient(headers={"apikey": evo.api_key}) as http:
        add(evo, "beta", receiver.url)
        evo.scan("beta")
        await receiver.wait_for("connection.update")
        receiver.arrivals.clear()
        for said in ("Instance logged out", "Instance was already disconnected"):
            response = await http.delete(f"{evo.url}/instance/logout/alpha")
            assert (response.status_code, response.json()["response"]["message"]) == (200, said)
        await evo.wait_until_idle()
        assert receiver.events() == [], "2.4 reports a logout by the API by no event"
        evo.close("beta", 408)
        await evo.wait_until_idle()
        assert evo.instance("beta").state == "close"
    assert sorted(receiver.events()) == ["connection.update", "logout.instance", "status.instance"]


async def test_the_version_is_switched_while_the_server_runs(receiver: Any) -> None:
    async with serving(receiver) as evo, httpx2.AsyncClient(base_url=evo.url) as http:
        evo.receive("alpha", "a")
        (before,) = await receiver.wait_for("messages.upsert")
        response = await http.post("/_control/habits", json={"version": "2.4.0-rc2"})
        assert response.json()["version"] == "2.4.0-rc2"
        evo.receive("alpha", "b")
        _, after = await receiver.wait_for("messages.upsert", 2)
    assert "x-event-type" not in before.headers
    assert after.headers["x-event-type"] == "messages.upsert"


def test_versions_are_told_apart() -> None:
    assert [is_2_4(version) for version in ("1.8.2", "2.3.7", "2.4.0-rc2", "2.10.0", "3.0.0", "", "main")] == [
        False, False, True, True, True, False, False,
    ]  # fmt: skip
    assert "MESSAGING_HISTORY_SET" not in webhook_events("2.3.7")
    assert webhook_key("2.3.7", {"remoteJid": "1@lid"}) == {"remoteJid": "1@lid"}
    message = json.loads((RECORDINGS / "real-2.3.7" / "hook-032-messages.upsert.json").read_bytes())["data"]
    assert message_form("2.3.7", message) == message
    form = message_form("2.4.0-rc2", message)
    assert list(form) == [
        "key", "pushName", "message", "messageType", "messageTimestamp", "source", "instanceId", "status",
        "contextInfo",
    ]  # fmt: skip
    assert form["contextInfo"] == message["message"]["messageContextInfo"]
