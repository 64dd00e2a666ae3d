"""Faults of sending: their effect on the phone, the echo and the response; send requests of Evolution 1.x."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

import zapline.sandbox
from zapline.sandbox.simulator.http.http_server import Disconnect, Listener, Request, Response
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sandbox.simulator.state.webhook_client import WebhookClient

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings" / "rest"


@pytest.fixture
async def evo() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(30):
        behaviour = Behaviour(first_qr=0.01, connect_wait=1.0, statuses=())
        async with SimulatedEvolution.running(behaviour=behaviour, seed=5) as running:
            yield running


@pytest.fixture
async def http(evo: SimulatedEvolution, receiver: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": evo.api_key}, timeout=5) as client:
        hook = {"url": receiver.url, "events": list(EVENTS)}
        body = {"instanceName": "alpha", "integration": "WHATSAPP-BAILEYS", "qrcode": False, "webhook": hook}
        assert (await client.post("/instance/create", json=body)).status_code == 201
        evo.scan("alpha")
        yield client


async def send_text(http: httpx2.AsyncClient, text: str = "oi") -> httpx2.Response:
    return await http.post("/message/sendText/alpha", json={"number": "5511999990001", "text": text})


async def stored_texts(http: httpx2.AsyncClient) -> list[str]:
    records = (await http.post("/chat/findMessages/alpha", json={})).json()["messages"]["records"]
    return [record["message"]["conversation"] for record in records]


@pytest.mark.parametrize("kind", ["act_then_hang", "act_then_reset"])
async def test_a_send_without_a_response_is_delivered_echoed_and_stored(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any, kind: str
) -> None:
    evo.inject_fault(kind, count=1)
    assert (await http.get("/instance/connectionState/alpha")).status_code == 200  # only sends are affected
    with pytest.raises(httpx2.TransportError):
        await send_text(http, "delivered")
    (echo,) = await receiver.wait_for("send.message")
    assert echo.data["message"]["conversation"] == "delivered"
    assert evo.ledger.copies_by_text() == {("alpha", "delivered"): 1}
    assert await stored_texts(http) == ["delivered"]
    assert (await send_text(http)).status_code == 201


async def test_a_late_send_is_processed_after_the_client_has_given_up(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    evo.inject_fault("late", count=1, seconds=0.2)
    with pytest.raises(httpx2.ReadTimeout):
        await send_text(http, "late")
    assert not evo.ledger.messages
    await receiver.wait_for("send.message")
    assert evo.ledger.copies_by_text() == {("alpha", "late"): 1}


async def test_without_an_echo_the_message_gets_a_response_and_is_stored(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    evo.inject_fault("echo_off", count=1)
    assert (await send_text(http, "silent")).status_code == 201
    await evo.wait_until_idle()
    assert receiver.received("send.message") == []
    assert [(message.text, message.echoed) for message in evo.ledger.messages] == [("silent", False)]
    assert await stored_texts(http) == ["silent"]


@pytest.mark.parametrize(
    ("fault_status", "status", "message"),
    [
        (None, 500, "rate-overlimit"),
        (400, 400, ["Error: rate-overlimit"]),
        (463, 400, ["Error: 463"]),
    ],
)
async def test_the_rate_limit_of_whatsapp_shows_in_the_error_text_and_sends_nothing(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, fault_status: int | None, status: int, message: Any
) -> None:
    evo.inject_fault("whatsapp_throttle", count=1, status=fault_status)
    response = await send_text(http)
    assert (response.status_code, response.json()["response"]["message"]) == (status, message)
    assert not evo.ledger.messages


async def test_the_control_endpoints_report_triggered_faults_and_new_deliveries(
    evo: SimulatedEvolution, http: httpx2.AsyncClient
) -> None:
    for text in ("one", "two", "three"):
        await send_text(http, text)
    evo.inject_fault("refuse", path="/message/", count=1)
    with pytest.raises(httpx2.TransportError):
        await send_text(http)
    deliveries = (await http.get("/_control/deliveries", params={"since": 1})).json()
    assert (deliveries["next"], [row[3] for row in deliveries["rows"]]) == (3, ["two", "three"])
    assert deliveries["rows"][0][1:3] == ["alpha", "5511999990001"]
    assert (await http.get("/_control/struck")).json() == {"refuse": 1}
    assert (await http.post("/_control/habits", json={"retry": 1})).status_code == 400


# -- Evolution 1.x ---------------------------------------------------------------------------------------------

V1_REQUESTS = [
    ("sendText", {"textMessage": {"text": "oi"}, "options": {"delay": 1, "linkPreview": False}}, "oi"),
    ("sendMedia", {"mediaMessage": {"mediatype": "image", "media": "aGVsbG8=", "caption": "foto"}}, "foto"),
    ("sendWhatsAppAudio", {"audioMessage": {"audio": "aGVsbG8="}, "options": {"encoding": True}}, ""),
    ("sendReaction", {"reactionMessage": {"key": {"id": "A", "remoteJid": "5511@s.whatsapp.net"}, "reaction": ""}}, ""),
    ("sendLocation", {"locationMessage": {"latitude": 1.5, "longitude": 2, "name": "Praça", "address": "x"}}, "Praça"),
    ("sendContact", {"contactMessage": [{"fullName": "Ana", "wuid": "5511", "phoneNumber": "5511"}]}, "Ana"),
    ("sendPoll", {"pollMessage": {"name": "?", "selectableCount": 1, "values": ["a", "b"]}}, "?"),
]


async def test_versions_1_accept_only_their_own_format(evo: SimulatedEvolution, http: httpx2.AsyncClient) -> None:
    await http.post("/_control/habits", json={"version": "1.8.2"})
    assert (await http.get("/")).json()["version"] == "1.8.2"
    for kind, body, text in V1_REQUESTS:
        response = await http.post(f"/message/{kind}/alpha", json={"number": "5511999990001", **body})
        assert response.status_code == 201, (kind, response.text)
        assert evo.ledger.messages[-1].text == text
    refused = await send_text(http)
    assert refused.status_code == 400
    assert refused.json()["response"]["message"] == [['instance requires property "textMessage"']]


async def test_versions_2_reject_the_format_of_versions_1_as_recorded(http: httpx2.AsyncClient) -> None:
    recorded = json.loads((RECORDINGS / "sendText-validation-v1-shape.json").read_bytes())
    response = await http.post("/message/sendText/alpha", json=recorded["request"]["body"])
    assert (response.status_code, response.json()) == (recorded["response"]["status"], recorded["response"]["body"])


# -- the webhook client ----------------------------------------------------------------------------------------


async def test_the_webhook_client_reuses_connections_and_survives_faults_of_the_server() -> None:
    requests: list[str] = []
    responses: list[Response | Disconnect] = [
        Response(200, b"ok"),
        Response(503, b"x" * 100_000),
        Disconnect.RESET,
        Response(200, b"", headers=(("connection", "close"),)),
        Response(200, b"again"),
    ]

    async def handle(request: Request) -> Response | Disconnect:
        requests.append(f"{request.headers['host']} {request.headers['x-own']} {request.body.decode()}")
        return responses.pop(0)

    client = WebhookClient()
    async with trio.open_nursery() as nursery:
        listener = Listener(None)
        port = await nursery.start(listener.serve, handle)
        url = f"http://127.0.0.1:{port}/hook?a=b"
        with trio.fail_after(30):
            statuses = [await client.post(url, {"X-Own": "é"}, b"body") for _ in range(5)]
            assert statuses == [200, 503, None, 200, 200]
            listener.take_down()
            await trio.testing.wait_all_tasks_blocked()
            assert await client.post(url, {}, b"") is None
            assert await client.post("nowhere", {}, b"") is None
            assert await client.post(url, {"X-Bad": "a\r\nb: c"}, b"") is None
        client.close()
        nursery.cancel_scope.cancel()
    assert requests[0] == f"127.0.0.1:{port} é body"


async def test_a_message_id_is_honoured_from_2_4_on_by_some_routes(
    evo: SimulatedEvolution, http: httpx2.AsyncClient
) -> None:
    text = {"number": "5511999990001", "text": "oi", "messageId": "3EB0C0FFEE00000000B001"}
    poll = {"number": "5511999990001", "name": "sim?", "selectableCount": 1, "values": ["a", "b"]}
    poll["messageId"] = "3EB0C0FFEE00000000B002"
    honoured = []
    for version in ("2.3.7", "2.4.0-rc2"):
        evo.state.behaviour = replace(evo.state.behaviour, version=version)
        for route, asked in (("sendText", text), ("sendPoll", poll)):
            answer = (await http.post(f"/message/{route}/alpha", json=asked)).json()
            honoured.append(answer["key"]["id"] == asked["messageId"])
    assert honoured == [False, False, True, False]
    # The phone shows a second one of that id nowhere.
    before = len(evo.ledger.messages)
    assert (await http.post("/message/sendText/alpha", json=text)).status_code == 201
    assert len(evo.ledger.messages) == before


@pytest.mark.parametrize("code", [None, 463])
async def test_a_message_refused_later_is_answered_and_never_delivered(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any, code: int | None
) -> None:
    evo.inject_fault("refused_later", count=1, status=code)
    assert (await send_text(http, "refused")).json()["status"] == "PENDING"
    (update,) = await receiver.wait_for("messages.update")
    assert update.data["status"] == "ERROR"
    assert update.data.get("messageStubParameters") == (None if code is None else ["463"])
    assert not evo.ledger.messages
