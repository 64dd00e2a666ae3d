"""The faults of sending do to the phone, the echo and the answer what their names say; old versions take old shapes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

import zapline.sandbox
from zapline.sandbox.simulator.http.http_server import Disconnect, Listener, Request, Response
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sandbox.simulator.state.webhook_client import WebhookClient

RECORDED = Path(zapline.sandbox.__file__).parent / "recordings" / "rest"


@pytest.fixture
async def evo() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(20):
        habits = Behaviour(first_qr=0.01, connect_wait=1.0, statuses=())
        async with SimulatedEvolution.running(behaviour=habits, seed=5) as running:
            yield running


@pytest.fixture
async def http(evo: SimulatedEvolution, receiver: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": evo.api_key}, timeout=0.3) as client:
        hook = {"url": receiver.url, "events": list(EVENTS)}
        body = {"instanceName": "alpha", "integration": "WHATSAPP-BAILEYS", "qrcode": False, "webhook": hook}
        assert (await client.post("/instance/create", json=body)).status_code == 201
        evo.scan("alpha")
        yield client


async def text_to(http: httpx2.AsyncClient, text: str = "oi") -> httpx2.Response:
    return await http.post("/message/sendText/alpha", json={"number": "5511999990001", "text": text})


async def found(http: httpx2.AsyncClient) -> list[str]:
    records = (await http.post("/chat/findMessages/alpha", json={})).json()["messages"]["records"]
    return [record["message"]["conversation"] for record in records]


@pytest.mark.parametrize("kind", ["act_then_hang", "act_then_reset"])
async def test_what_acts_without_an_answer_is_delivered_echoed_and_stored(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any, kind: str
) -> None:
    evo.inject_fault(kind, count=1)
    assert (await http.get("/instance/connectionState/alpha")).status_code == 200  # sends alone are struck
    with pytest.raises(httpx2.TransportError):
        await text_to(http, "acted")
    (echo,) = await receiver.until("send.message")
    assert echo.data["message"]["conversation"] == "acted"
    assert evo.ledger.copies_by_text() == {("alpha", "acted"): 1}
    assert await found(http) == ["acted"]
    assert (await text_to(http)).status_code == 201


async def test_a_late_send_is_done_after_the_client_has_given_up(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    evo.inject_fault("late", count=1, seconds=0.2)
    with pytest.raises(httpx2.ReadTimeout):
        await text_to(http, "late")
    assert not evo.ledger.messages
    await receiver.until("send.message")
    assert evo.ledger.copies_by_text() == {("alpha", "late"): 1}


async def test_without_an_echo_the_message_is_answered_and_can_be_found(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    evo.inject_fault("echo_off", count=1)
    assert (await text_to(http, "silent")).status_code == 201
    await evo.wait_until_idle()
    assert receiver.of("send.message") == []
    assert [(entry.text, entry.echoed) for entry in evo.ledger.messages] == [("silent", False)]
    assert await found(http) == ["silent"]


@pytest.mark.parametrize(
    ("status", "answered", "message"),
    [
        (None, 500, "rate-overlimit"),
        (400, 400, ["Error: rate-overlimit"]),
        (463, 400, ["Error: 463"]),
    ],
)
async def test_the_limit_of_whatsapp_shows_in_words_and_sends_nothing(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, status: int | None, answered: int, message: Any
) -> None:
    evo.inject_fault("whatsapp_throttle", count=1, status=status)
    answer = await text_to(http)
    assert (answer.status_code, answer.json()["response"]["message"]) == (answered, message)
    assert not evo.ledger.messages


async def test_the_control_side_tells_what_struck_and_what_has_arrived_since(
    evo: SimulatedEvolution, http: httpx2.AsyncClient
) -> None:
    for text in ("one", "two", "three"):
        await text_to(http, text)
    evo.inject_fault("refuse", path="/message/", count=1)
    with pytest.raises(httpx2.TransportError):
        await text_to(http)
    told = (await http.get("/_control/deliveries", params={"since": 1})).json()
    assert (told["next"], [row[3] for row in told["rows"]]) == (3, ["two", "three"])
    assert told["rows"][0][1:3] == ["alpha", "5511999990001"]
    assert (await http.get("/_control/struck")).json() == {"refuse": 1}
    assert (await http.post("/_control/habits", json={"retry": 1})).status_code == 400


# -- old versions ---------------------------------------------------------------------------------------------

OLD = [
    ("sendText", {"textMessage": {"text": "oi"}, "options": {"delay": 1, "linkPreview": False}}, "oi"),
    ("sendMedia", {"mediaMessage": {"mediatype": "image", "media": "aGVsbG8=", "caption": "foto"}}, "foto"),
    ("sendWhatsAppAudio", {"audioMessage": {"audio": "aGVsbG8="}, "options": {"encoding": True}}, ""),
    ("sendReaction", {"reactionMessage": {"key": {"id": "A", "remoteJid": "5511@s.whatsapp.net"}, "reaction": ""}}, ""),
    ("sendLocation", {"locationMessage": {"latitude": 1.5, "longitude": 2, "name": "Praça", "address": "x"}}, "Praça"),
    ("sendContact", {"contactMessage": [{"fullName": "Ana", "wuid": "5511", "phoneNumber": "5511"}]}, "Ana"),
    ("sendPoll", {"pollMessage": {"name": "?", "selectableCount": 1, "values": ["a", "b"]}}, "?"),
]


async def test_versions_1_take_their_shape_alone(evo: SimulatedEvolution, http: httpx2.AsyncClient) -> None:
    await http.post("/_control/habits", json={"version": "1.8.2"})
    assert (await http.get("/")).json()["version"] == "1.8.2"
    for kind, body, text in OLD:
        answer = await http.post(f"/message/{kind}/alpha", json={"number": "5511999990001", **body})
        assert answer.status_code == 201, (kind, answer.text)
        assert evo.ledger.messages[-1].text == text
    refused = await text_to(http)
    assert refused.status_code == 400
    assert refused.json()["response"]["message"] == [['instance requires property "textMessage"']]


async def test_versions_2_reject_the_old_shape_as_recorded(http: httpx2.AsyncClient) -> None:
    recorded = json.loads((RECORDED / "sendText-validation-v1-shape.json").read_bytes())
    answer = await http.post("/message/sendText/alpha", json=recorded["request"]["body"])
    assert (answer.status_code, answer.json()) == (recorded["response"]["status"], recorded["response"]["body"])


# -- the way of the webhooks ----------------------------------------------------------------------------------


async def test_the_poster_keeps_connections_and_survives_whatever_the_other_side_does() -> None:
    peers: list[str] = []
    answers: list[Response | Disconnect] = [
        Response(200, b"ok"),
        Response(503, b"x" * 100_000),
        Disconnect.RESET,
        Response(200, b"", headers=(("connection", "close"),)),
        Response(200, b"again"),
    ]

    async def handle(request: Request) -> Response | Disconnect:
        peers.append(f"{request.headers['host']} {request.headers['x-own']} {request.body.decode()}")
        return answers.pop(0)

    poster = WebhookClient()
    async with trio.open_nursery() as nursery:
        door = Listener(None)
        port = await nursery.start(door.serve, handle)
        url = f"http://127.0.0.1:{port}/hook?a=b"
        with trio.fail_after(5):
            told = [await poster.post(url, {"X-Own": "é"}, b"body") for _ in range(5)]
            assert told == [200, 503, None, 200, 200]
            door.shut()
            await trio.sleep(0.05)
            assert await poster.post(url, {}, b"") is None
            assert await poster.post("nowhere", {}, b"") is None
            assert await poster.post(url, {"X-Bad": "a\r\nb: c"}, b"") is None
        poster.close()
        nursery.cancel_scope.cancel()
    assert peers[0] == f"127.0.0.1:{port} é body"
