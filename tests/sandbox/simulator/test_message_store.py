"""The simulated server's message store: queries by time and chat, limits, files."""

import base64
import random
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


def message(
    number: int, at: int, chat: str = "5511999990001@s.whatsapp.net", media: str | None = None
) -> StoredMessage:
    data = {"key": {"id": f"M{number}", "remoteJid": chat, "fromMe": number % 2 == 0}, "messageTimestamp": at}
    return StoredMessage(f"row{number}", data, media=media)


def test_pages_equal_those_of_a_sorted_list() -> None:
    rng = random.Random(3)
    store, messages = MessageStore(), []
    for number in range(500):
        stored = message(number, rng.randrange(1000, 1100), f"55119000000{number % 7}@s.whatsapp.net")
        assert store.add(stored) is stored
        messages.append(stored)
    assert store.add(message(3, 5)) is messages[3]
    newest = sorted(messages, key=lambda stored: -stored.at)
    for low, high in ((None, None), (1000, 1099), (1010, 1010), (1050, 1020), (0, 10)):
        matching = [s for s in newest if low is None or high is None or low <= s.at <= high]
        for number, size in ((1, 50), (2, 50), (1, 7), (4, 33), (99, 50)):
            page = store.page(number, size, low, high)
            assert page.total == len(matching)
            assert page.messages == matching[(number - 1) * size : number * size]
            filtered = store.page(number, size, low, high, lambda stored: stored.message["key"]["fromMe"])
            expected = [s for s in matching if s.message["key"]["fromMe"]]
            assert (filtered.total, filtered.messages) == (len(expected), expected[(number - 1) * size : number * size])
    assert [stored.at for stored in store.chats()] == sorted(
        (max(s.at for s in messages if s.chat == chat) for chat in {s.chat for s in messages}), reverse=True
    )


def test_the_oldest_message_is_dropped_first_with_its_file_and_from_every_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(message_store, "STORED_LIMIT", 3)
    monkeypatch.setattr(message_store, "MEDIA_LIMIT", 25)
    store = MessageStore()
    for number, at in enumerate((50, 10, 40, 30, 20)):
        store.add(message(number, at, f"{number}@g.us", media="x" * 10))
    assert [stored.row_id for stored in store] == ["row2", "row3", "row4"]
    assert [stored.at for stored in store.page(1, 9).messages] == [40, 30, 20]
    assert store.chat_count() == 3
    assert [stored.media is not None for stored in store] == [False, True, True]


class CountedInt(int):
    """An integer that counts its comparisons."""

    comparisons = 0

    def _count(self, result: bool) -> bool:
        CountedInt.comparisons += 1
        return result

    def __eq__(self, other: object) -> bool:
        return self._count(int(self) == other)

    def __lt__(self, other: int) -> bool:
        return self._count(int(self) < int(other))

    def __gt__(self, other: int) -> bool:
        return self._count(int(self) > int(other))

    def __add__(self, other: int) -> "CountedInt":
        return CountedInt(int(self) + other)

    __hash__ = int.__hash__


def test_a_page_of_fifty_thousand_messages_is_found_by_bisection() -> None:
    store, rng = MessageStore(), random.Random(1)
    for number in range(50_000):
        store.add(message(number, 1_000_000 + number + rng.randrange(100)))
    low, high = CountedInt(1_020_000), CountedInt(1_030_000)
    for _ in range(100):
        CountedInt.comparisons = 0
        assert store.page(3, 50, low, high).total > 9000
        assert 0 < CountedInt.comparisons < 100, "a scan compares every message"


@pytest.fixture
async def evo() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(30):
        behaviour = Behaviour(first_qr=0.01, connect_wait=1.0, status_gap=0.01)
        async with SimulatedEvolution.running(behaviour=behaviour, seed=5) as running:
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
    response = await http.post("/chat/getBase64FromMediaMessage/alpha", json={"message": {"key": {"id": key}}})
    assert response.status_code == 201, response.text
    return response.json()


async def test_a_file_is_returned_as_sent_or_received_or_as_a_sample_of_its_type(
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
    received = evo.receive("alpha", message=inner, message_type="imageMessage", media=PNG)
    assert (await file_of(http, received))["base64"] == PNG
    (webhook,) = await receiver.wait_for("messages.upsert")
    assert webhook.data["message"] == {**inner, "base64": PNG}
    remote = {"number": "5511999990001", "mediatype": "image", "media": "https://files.example/a.png"}
    sent = (await http.post("/message/sendMedia/alpha", json=remote)).json()
    assert base64.b64decode((await file_of(http, sent["key"]["id"]))["base64"]).startswith(b"\x89PNG")
    received = evo.receive("alpha", message={"audioMessage": {"mimetype": "audio/ogg"}}, message_type="audioMessage")
    assert base64.b64decode((await file_of(http, received))["base64"]).startswith(b"OggS")


async def test_a_server_without_a_store_finds_nothing_and_reports_no_status(
    evo: SimulatedEvolution, http: httpx2.AsyncClient, receiver: Any
) -> None:
    assert (await http.post("/_control/habits", json={"store": False})).json()["store"] is False
    sent = await http.post("/message/sendText/alpha", json={"number": "5511999990001", "text": "oi"})
    assert sent.status_code == 201
    (echo,) = await receiver.wait_for("send.message")
    assert echo.data == sent.json()
    page = (await http.post("/chat/findMessages/alpha", json={})).json()["messages"]
    assert (page["total"], page["records"]) == (0, [])
    await trio.sleep(5)
    assert receiver.received("messages.update") == []


async def test_marking_as_read_reaches_the_phone_except_for_a_lid(
    evo: SimulatedEvolution, http: httpx2.AsyncClient
) -> None:
    keys = [
        {"id": "A", "fromMe": False, "remoteJid": "5511999990001@s.whatsapp.net"},
        {"id": "B", "fromMe": False, "remoteJid": "222333444555666@lid"},
    ]
    assert (await http.post("/chat/markMessageAsRead/alpha", json={"readMessages": keys})).status_code == 201
    assert [(receipt.instance, receipt.id) for receipt in evo.ledger.reads] == [("alpha", "A")]
