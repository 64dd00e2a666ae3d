"""The simulated server behaves as the real one: QR codes, scans, closes, sends, faults, control endpoints."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio

from zapline.sandbox.simulator.endpoints.messages import create_jid
from zapline.sandbox.simulator.server import API_KEY, SimulatedEvolution
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy

BEHAVIOUR = Behaviour(first_qr=0.01, connect_wait=1.0, status_gap=0.01, statuses=("SERVER_ACK", "DELIVERY_ACK"))
RETRY = WebhookRetryPolicy(attempts=3, initial=0.02, cap=0.05, timeout=1.0)


@pytest.fixture
async def evo() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(60):
        async with SimulatedEvolution.running(
            qr_lifetime=0.3, qr_limit=3, retry=RETRY, behaviour=BEHAVIOUR, seed=5
        ) as running:
            yield running


@pytest.fixture
async def http(evo: SimulatedEvolution) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": evo.api_key}) as client:
        yield client


@pytest.fixture
async def alpha(http: httpx2.AsyncClient, receiver: Any) -> str:
    """A new instance that is not connected; the receiver gets its webhooks."""
    hook = {"url": receiver.url, "events": list(EVENTS)}
    body = {"instanceName": "alpha", "integration": "WHATSAPP-BAILEYS", "qrcode": False, "webhook": hook}
    assert (await http.post("/instance/create", json=body)).status_code == 201
    await receiver.wait_for("instance.create")
    return "alpha"


async def send_text(http: httpx2.AsyncClient, number: str = "5511999990001", text: str = "oi") -> httpx2.Response:
    return await http.post("/message/sendText/alpha", json={"number": number, "text": text})


async def test_qr_codes_rotate_until_the_limit_which_closes_the_line_without_a_close_event(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any
) -> None:
    first = (await http.get("/instance/connect/alpha")).json()
    assert first["count"] == 1
    assert first["base64"].startswith("data:image/png;base64,iVBOR")
    assert (await http.get("/instance/connectionState/alpha")).json()["instance"]["state"] == "connecting"
    codes = await receiver.wait_for("qrcode.updated", 4)
    limit = next(code.data for code in codes if "message" in code.data)
    assert limit == {"message": "QR code limit reached, please login again", "statusCode": 500}
    assert len({code.data["qrcode"]["code"] for code in codes if "qrcode" in code.data}) == 3
    await evo.wait_until_idle()
    states = [update.data["state"] for update in receiver.received("connection.update")]
    assert states.count("refused") == 1
    assert "close" not in states
    assert (await http.get("/instance/connectionState/alpha")).json()["instance"]["state"] == "close"


async def test_a_scan_opens_the_line_stops_the_qr_codes_and_sets_the_sender(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any
) -> None:
    await http.get("/instance/connect/alpha")
    evo.scan("alpha", "5521988887777", "Loja")
    await evo.wait_until_idle()
    (opened,) = [a for a in receiver.received("connection.update") if a.data["state"] == "open"]
    assert opened.data["wuid"] == "5521988887777@s.whatsapp.net"
    assert opened.data["profileName"] == "Loja"
    assert opened.body["sender"] == "5521988887777@s.whatsapp.net"
    offered = len(receiver.received("qrcode.updated"))
    await trio.sleep(5)
    assert len(receiver.received("qrcode.updated")) == offered


@pytest.mark.parametrize("code", [401, 402, 403, 406])
async def test_the_codes_that_end_a_session_are_reported_three_times(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any, code: int
) -> None:
    evo.scan("alpha")
    evo.close("alpha", code)
    (ended,) = await receiver.wait_for("status.instance")
    assert ended.data["disconnectionReasonCode"] == code
    assert json.loads(ended.data["disconnectionObject"])["error"]["output"]["statusCode"] == code
    assert (await receiver.wait_for("logout.instance"))[0].data is None
    await evo.wait_until_idle()
    closed = [a.data for a in receiver.received("connection.update") if a.data["state"] == "close"]
    assert closed == [{"instance": "alpha", "state": "close", "statusReason": code}]
    (row,) = (await http.get("/instance/fetchInstances")).json()
    assert (row["connectionStatus"], row["disconnectionReasonCode"]) == ("close", code)


@pytest.mark.parametrize("code", [408, 428, 440, 500, 503, 515])
async def test_other_codes_show_as_connecting_and_the_line_may_open_again(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any, code: int
) -> None:
    evo.scan("alpha")
    await evo.wait_until_idle()
    receiver.arrivals.clear()
    evo.close("alpha", code, reopen_after=0.05)
    await receiver.wait_for("connection.update", 2)
    assert [a.data["state"] for a in receiver.arrivals] == ["connecting", "open"]
    assert (await send_text(http)).status_code == 201


async def test_a_send_is_delivered_echoed_and_reported_and_can_be_read_back(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any
) -> None:
    evo.scan("alpha")
    sent = (await send_text(http, text="bom dia")).json()
    key = sent["key"]["id"]
    (echo,) = await receiver.wait_for("send.message")
    assert echo.data == sent
    statuses = await receiver.wait_for("messages.update", 2)
    assert {a.data["keyId"] for a in statuses} == {key}
    assert sorted(a.data["status"] for a in statuses) == ["DELIVERY_ACK", "SERVER_ACK"]
    (delivered,) = evo.ledger.messages
    assert (delivered.id, delivered.number, delivered.text) == (key, "5511999990001", "bom dia")
    page = (await http.post("/chat/findMessages/alpha", json={"where": {"key": {"id": key}}})).json()["messages"]
    (record,) = page["records"]
    assert record["MessageUpdate"] == [{"status": "SERVER_ACK"}, {"status": "DELIVERY_ACK"}]


async def test_groups_get_no_statuses(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any
) -> None:
    evo.scan("alpha")
    assert (await send_text(http, "120363025246125486@g.us")).status_code == 201
    await receiver.wait_for("send.message")
    await trio.sleep(5)
    assert receiver.received("messages.update") == []


@pytest.mark.parametrize(
    ("number", "jid"),
    [
        ("5511999990001", "5511999990001@s.whatsapp.net"),
        ("5531999990001", "553199990001@s.whatsapp.net"),
        ("5531939990001", "5531939990001@s.whatsapp.net"),
        ("553199990001", "553199990001@s.whatsapp.net"),
        ("351912345678", "351912345678@s.whatsapp.net"),
        ("222333444555666@lid", "222333444555666@lid"),
    ],
)
def test_the_ninth_digit_is_dropped_where_evolution_drops_it(number: str, jid: str) -> None:
    assert create_jid(number) == jid


async def test_never_echo_delivers_with_a_timeout_error_and_sends_no_webhook(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any
) -> None:
    evo.scan("alpha")
    evo.inject_fault("never_echo", count=1)
    response = await send_text(http, text="ghost")
    assert (response.status_code, response.json()["response"]["message"]) == (400, ["Error: Timed Out"])
    await trio.sleep(5)
    assert [(message.text, message.echoed) for message in evo.ledger.messages] == [("ghost", False)]
    assert receiver.received("send.message") == receiver.received("messages.update") == []
    assert (await send_text(http)).status_code == 201


async def test_a_send_with_a_dropped_reply_is_delivered_and_a_refused_one_is_not(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str
) -> None:
    evo.scan("alpha")
    evo.inject_fault("drop_reply", count=1, instance="alpha")
    with pytest.raises(httpx2.RemoteProtocolError):
        await send_text(http, text="delivered")
    evo.inject_fault("refuse", count=1, instance="alpha")
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        await send_text(http, text="never seen")
    assert [message.text for message in evo.ledger.messages] == ["delivered"]


async def test_a_fault_applies_by_its_instance_path_count_and_probability(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str
) -> None:
    evo.inject_fault("error", instance="beta")
    evo.inject_fault("error", path="/message/")
    evo.inject_fault("error", probability=0.0)
    assert (await http.get("/instance/connectionState/alpha")).status_code == 200
    assert (await send_text(http)).status_code == 500
    evo.clear_faults()
    evo.inject_fault("throttle", count=2, seconds=3)
    responses = [await http.get("/instance/connectionState/alpha") for _ in range(3)]
    assert [response.status_code for response in responses] == [429, 429, 200]
    assert responses[0].headers["retry-after"] == "3"


async def test_a_deletion_is_reported_and_frees_the_name(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, receiver: Any
) -> None:
    evo.scan("alpha")
    assert (await http.delete("/instance/delete/alpha")).status_code == 200
    await receiver.wait_for("instance.delete")
    assert (await receiver.wait_for("remove.instance"))[0].data is None
    assert (await http.delete("/instance/delete/alpha")).status_code == 404


async def test_the_instance_and_the_name_are_checked_before_the_key(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str
) -> None:
    wrong = {"apikey": "wrong"}
    assert (await http.get("/instance/connectionState/ghost", headers=wrong)).status_code == 404
    response = await http.post("/instance/create", json={"instanceName": "alpha"}, headers=wrong)
    assert response.status_code == 403
    assert (await http.get("/instance/connectionState/alpha", headers=wrong)).status_code == 401
    own = {"apikey": evo.instance("alpha").token}
    assert (await http.get("/instance/connectionState/alpha", headers=own)).status_code == 200
    assert (await http.post("/instance/create", json={"instanceName": "n"}, headers=own)).status_code == 401


async def test_every_control_command_works_without_a_key(evo: SimulatedEvolution, alpha: str, receiver: Any) -> None:
    async with httpx2.AsyncClient(base_url=evo.url + "/_control") as control:

        async def post(command: str, **arguments: Any) -> Any:
            response = await control.post(f"/{command}", json=arguments)
            assert response.status_code == 200, response.text
            return response.json()

        assert (await post("scan", instance="alpha", number="5511999990000"))["state"] == "open"
        message = await post("receive", instance="alpha", text="olá", sender="5511900000000")
        await post("status", instance="alpha", id=message["id"], status="READ")
        await post("play", instance="alpha", name="messages.upsert-text-web")
        await post("storm", instance="alpha", count=3, rate=100)
        await receiver.wait_for("connection.update", 4)
        await post("phones", missing=["5511988887777"])
        (fault,) = await post("faults", kind="error", count=3)
        assert fault["count"] == 3
        assert (await control.get("/faults")).json() == [fault]
        assert (await control.request("DELETE", "/faults", json={"kind": "error"})).json() == []
        assert (await post("close", instance="alpha", code=401))["state"] == "close"
        await evo.wait_until_idle()
        ledger = (await control.get("/ledger")).json()
        assert ledger["counts"]["acknowledged"] == ledger["counts"]["fired"] == len(receiver.arrivals)
        assert ledger["pending"] == 0
        assert message["id"] in {webhook["message_id"] for webhook in ledger["webhooks"]}
        (row,) = (await control.get("/instances")).json()
        assert (row["name"], row["state"]) == ("alpha", "close")


@pytest.mark.parametrize(
    ("command", "arguments", "status"),
    [
        ("scan", {"instance": "ghost"}, 404),
        ("scan", {}, 404),
        ("dance", {}, 404),
        ("play", {"instance": "alpha", "name": "../rest/root"}, 404),
        ("faults", {"kind": "earthquake"}, 400),
        ("faults", {"kind": "error", "colour": "red"}, 400),
        ("close", {"instance": "alpha"}, 400),
    ],
)
async def test_an_invalid_control_request_is_refused(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str, command: str, arguments: Any, status: int
) -> None:
    assert (await http.post(f"/_control/{command}", json=arguments)).status_code == status


async def test_the_server_can_be_down_for_a_time_and_keeps_its_state(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, alpha: str
) -> None:
    await http.post("/_control/down", json={"seconds": 0.3})
    await trio.sleep(0.15)
    with pytest.raises(httpx2.ConnectError):
        await http.get("/")
    await trio.sleep(0.4)
    assert (await http.get("/instance/connectionState/alpha")).status_code == 200


@pytest.mark.trio(run=trio.run)  # a child process knows no virtual time
async def test_it_runs_as_a_process_and_ends_on_a_signal() -> None:
    command = [sys.executable, "-m", "zapline.sandbox.simulator.server", "--qr-lifetime", "9", "--seed", "1"]
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            url = (await process.stdout.receive_some()).decode().strip()
            async with httpx2.AsyncClient(headers={"apikey": API_KEY}) as http:
                assert (await http.get(url + "/instance/fetchInstances")).json() == []
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()
