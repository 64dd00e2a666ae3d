"""The simulated server's store finds messages by time and chat as the real one does, also where there are many."""

import base64
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio

from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state import message_store
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sandbox.simulator.state.message_store import MessageStore, StoredMessage
from zapline.sandbox.simulator.state.server_state import Behaviour

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(200))).decode()


def message(number: int, at: int, chat: str = "5511999990001@s.whatsapp.net", media: str | None = None) -> StoredMessage:
    told = {"key": {"id": f"M{number}", "remoteJid": chat, "fromMe": number % 2 == 0}, "messageTimestamp": at}
    return StoredMessage(f"row{number}", told, media=media)


def test_pages_are_what_sorting_everything_would_give() -> None:
    chance = random.Random(3)
    kept, plain = MessageStore(), []
    for number in range(500):
        stored = message(number, chance.randrange(1000, 1100), f"55119000000{number % 7}@s.whatsapp.net")
        assert kept.add(stored) is stored
        plain.append(stored)
    assert kept.add(message(3, 5)) is plain[3]
    newest = sorted(plain, key=lambda stored: -stored.at)
    for low, high in ((None, None), (1000, 1099), (1010, 1010), (1050, 1020), (0, 10)):
        fitting = [s for s in newest if low is None or high is None or low <= s.at <= high]
        for number, size in ((1, 50), (2, 50), (1, 7), (4, 33), (99, 50)):
            page = kept.page(number, size, low, high)
            assert page.total == len(fitting)
            assert page.found == fitting[(number - 1) * size : number * size]
            chosen = kept.page(number, size, low, high, lambda stored: stored.message["key"]["fromMe"])
            wanted = [s for s in fitting if s.message["key"]["fromMe"]]
            assert (chosen.total, chosen.found) == (len(wanted), wanted[(number - 1) * size : number * size])
    assert [stored.at for stored in kept.chats()] == sorted(
        (max(s.at for s in plain if s.chat == chat) for chat in {s.chat for s in plain}), reverse=True
    )


def test_what_came_first_goes_first_with_its_file_and_its_place_in_every_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_store, "STORED_LIMIT", 3)
    monkeypatch.setattr(message_store, "MEDIA_LIMIT", 25)
    kept = MessageStore()
    for number, at in enumerate((50, 10, 40, 30, 20)):
        kept.add(message(number, at, f"{number}@g.us", media="x" * 10))
    assert [stored.row_id for stored in kept] == ["row2", "row3", "row4"]
    assert [stored.at for stored in kept.page(1, 9).found] == [40, 30, 20]
    assert kept.chat_count() == 3
    assert [stored.media is not None for stored in kept] == [False, True, True]


def test_a_page_of_fifty_thousand_messages_is_found_at_once() -> None:
    kept, chance = MessageStore(), random.Random(1)
    for number in range(50_000):
        kept.add(message(number, 1_000_000 + number + chance.randrange(100)))
    started = time.perf_counter()
    for _ in range(100):
        assert kept.page(3, 50, 1_020_000, 1_030_000).total > 9000
    assert time.perf_counter() - started < 0.25  # sorting once takes as long


@pytest.fixture
async def evo() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(20):
        habits = Behaviour(first_qr=0.01, connect_wait=1.0, status_gap=0.01)
        async with SimulatedEvolution.running(behaviour=habits, seed=5) as running:
            yield running


@pytest.fixture
async def http(evo: SimulatedEvolution, receiver: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": evo.api_key}) as client:
        hook = {"url": receiver.url, "events": list(EVENTS), "base64": True}
        body = {"instanceName": "alpha", "integration": "WHATSAPP-BAILEYS", "qrcode": False, "webhook": hook}
        assert (await client.post("/instance/create", json=body)).status_code == 201
        evo.scan("alpha")
        yield client


async def file_of(http: httpx2.AsyncClient, key: str) -> dict[str, Any]:
    answer = await http.post("/chat/getBase64FromMediaMessage/alpha", json={"message": {"key": {"id": key}}})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_file_is_given_back_as_it_was_sent_or_received_and_else_a_small_one_of_its_kind(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    picture = {"number": "5511999990001", "mediatype": "image", "media": PNG}
    sent = (await http.post("/message/sendMedia/alpha", json=picture)).json()
    assert (await file_of(http, sent["key"]["id"]))["base64"] == PNG
    assert sent["message"]["imageMessage"]["fileLength"]["low"] == len(base64.b64decode(PNG))
    voice = {"number": "5511999990001", "audio": PNG}
    sent = (await http.post("/message/sendWhatsAppAudio/alpha", json=voice)).json()
    assert (await file_of(http, sent["key"]["id"]))["base64"] == PNG
    inner = {"imageMessage": {"mimetype": "image/png"}}
    got = evo.receive("alpha", message=inner, message_type="imageMessage", media=PNG)
    assert (await file_of(http, got))["base64"] == PNG
    (told,) = await receiver.until("messages.upsert")
    assert told.data["message"] == {**inner, "base64": PNG}
    remote = {"number": "5511999990001", "mediatype": "image", "media": "https://files.example/a.png"}
    sent = (await http.post("/message/sendMedia/alpha", json=remote)).json()
    assert base64.b64decode((await file_of(http, sent["key"]["id"]))["base64"]).startswith(b"\x89PNG")
    got = evo.receive("alpha", message={"audioMessage": {"mimetype": "audio/ogg"}}, message_type="audioMessage")
    assert base64.b64decode((await file_of(http, got))["base64"]).startswith(b"OggS")


async def test_a_server_that_keeps_nothing_finds_nothing_and_tells_no_status(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    assert (await http.post("/_control/habits", json={"store": False})).json()["store"] is False
    sent = await http.post("/message/sendText/alpha", json={"number": "5511999990001", "text": "oi"})
    assert sent.status_code == 201
    (echo,) = await receiver.until("send.message")
    assert echo.data == sent.json()
    found = (await http.post("/chat/findMessages/alpha", json={})).json()["messages"]
    assert (found["total"], found["records"]) == (0, [])
    await trio.sleep(0.1)
    assert receiver.of("messages.update") == []


async def test_marking_as_read_reaches_the_phone_except_for_a_lid(
    evo: SimulatedEvolution, http: httpx2.AsyncClient
) -> None:
    keys = [
        {"id": "A", "fromMe": False, "remoteJid": "5511999990001@s.whatsapp.net"},
        {"id": "B", "fromMe": False, "remoteJid": "222333444555666@lid"},
    ]
    assert (await http.post("/chat/markMessageAsRead/alpha", json={"readMessages": keys})).status_code == 201
    assert [(read.instance, read.id) for read in evo.ledger.reads] == [("alpha", "A")]
