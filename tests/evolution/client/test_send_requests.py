"""What is sent reaches the phone once, in the dialect of the server, and every failure says whether it did."""

import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from zapline.domain.ids import ExternalId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import (
    Content,
    File,
    Location,
    OutgoingMessage,
    Poll,
    QuotedMessage,
    Reaction,
    SharedContact,
    Text,
)
from zapline.evolution.client import rest_client
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    GatewayFailed,
    InstanceUnknown,
    InvalidRequest,
    MediaGone,
    MediaUnreachable,
    NoAnswer,
    NotConnected,
    NotLicensed,
    NumberCheckTimedOut,
    NumberNotOnWhatsApp,
    RouteUnknown,
    ServerError,
    Throttled,
    TimedOutAfterRelay,
    TooLarge,
    Unreachable,
)
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient, MessageKey, open_http_client
from zapline.evolution.client.send_requests import Dialect, build_send_request, send_route, stored_send_route
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour

QUICK = CallPolicy(connect=10.0, call=2.0, send_file=4.0, overall=3.0, first_wait=0.01, longest_wait=0.05)
HOOK = WebhookRegistration("http://127.0.0.1:9/hook", ("MESSAGES_UPSERT",))
MARIA = "5511999990001"
PIXEL = b"\x89PNG\r\n\x1a\nnot quite"
QUOTED = QuotedMessage(ExternalId("3EB0Q"), f"{MARIA}@s.whatsapp.net", False, "e agora?")
URL = "https://files.example.com/a.png"
REACTION = Reaction("👍", ExternalId("3EB0R"), f"{MARIA}@s.whatsapp.net", True)

CONTENTS: dict[str, tuple[Content, bytes | None]] = {
    "text": (Text("olá"), None),
    "text without preview": (Text("olá", link_preview=False), None),
    "image by url": (File(MessageKind.IMAGE, url=URL, caption="legenda"), None),
    "image by bytes": (File(MessageKind.IMAGE, upload=UUID(int=1), mimetype="image/png"), PIXEL),
    "video": (File(MessageKind.VIDEO, url=URL, mimetype="video/mp4", file_name="v.mp4"), None),
    "audio": (File(MessageKind.AUDIO, url=URL), None),
    "voice": (File(MessageKind.VOICE, upload=UUID(int=1), caption="ignored"), PIXEL),
    "document": (File(MessageKind.DOCUMENT, upload=UUID(int=1), mimetype="application/pdf; x=y"), PIXEL),
    "sticker": (File(MessageKind.STICKER, url=URL), None),
    "location": (Location(-23.5, -46.6, "Sé", "SP"), None),
    "bare location": (Location(-23.5, -46.6), None),
    "card": (SharedContact("João", "+5511999990002", organization="Loja"), None),
    "reaction": (REACTION, None),
    "reaction taken back": (Reaction("", ExternalId("3EB0R"), f"{MARIA}@s.whatsapp.net", False), None),
    "poll": (Poll("Q?", ("A", "B"), 0), None),
}
RAW = base64.b64encode(PIXEL).decode()
KEY = {"id": "3EB0R", "remoteJid": f"{MARIA}@s.whatsapp.net", "fromMe": True}
FLAT: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("sendText", {"text": "olá", "linkPreview": True}),
    "text without preview": ("sendText", {"text": "olá", "linkPreview": False}),
    "image by url": ("sendMedia", {"mediatype": "image", "media": URL, "caption": "legenda"}),
    "image by bytes": (
        "sendMedia",
        {"mediatype": "image", "media": RAW, "mimetype": "image/png", "fileName": "image.png"},
    ),
    "video": ("sendMedia", {"mediatype": "video", "media": URL, "mimetype": "video/mp4", "fileName": "v.mp4"}),
    "audio": ("sendMedia", {"mediatype": "audio", "media": URL}),
    "voice": ("sendWhatsAppAudio", {"audio": RAW, "encoding": True}),
    "document": (
        "sendMedia",
        {"mediatype": "document", "media": RAW, "mimetype": "application/pdf; x=y", "fileName": "file.pdf"},
    ),
    "sticker": ("sendSticker", {"sticker": URL}),
    "location": ("sendLocation", {"latitude": -23.5, "longitude": -46.6, "name": "Sé", "address": "SP"}),
    "bare location": ("sendLocation", {"latitude": -23.5, "longitude": -46.6, "name": "", "address": ""}),
    "card": (
        "sendContact",
        {
            "contact": [
                {
                    "fullName": "João",
                    "wuid": "5511999990002",
                    "phoneNumber": "+5511999990002",
                    "organization": "Loja",
                }
            ]
        },
    ),
    "reaction": ("sendReaction", {"key": KEY, "reaction": "👍"}),
    "reaction taken back": ("sendReaction", {"key": KEY | {"fromMe": False}, "reaction": ""}),
    "poll": ("sendPoll", {"name": "Q?", "selectableCount": 0, "values": ["A", "B"]}),
}
WRAPPERS = {
    "sendText": "textMessage",
    "sendMedia": "mediaMessage",
    "sendWhatsAppAudio": "audioMessage",
    "sendSticker": "stickerMessage",
    "sendLocation": "locationMessage",
    "sendContact": "contactMessage",
    "sendReaction": "reactionMessage",
    "sendPoll": "pollMessage",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_is_one_body_in_either_dialect_with_the_quoted_message_beside_it(name: str) -> None:
    content, media = CONTENTS[name]
    route, fields = FLAT[name]
    quoted = {
        "quoted": {
            "key": {"id": "3EB0Q", "remoteJid": f"{MARIA}@s.whatsapp.net", "fromMe": False},
            "message": {"conversation": "e agora?"},
        }
    }
    number = {"number": MARIA}
    if route == "sendReaction":
        number, quoted = {}, {}
    path, body = build_send_request("+" + MARIA, OutgoingMessage(content, QUOTED), Dialect.FLAT, media)
    assert (path, json.loads(body)) == (route, {**number, **fields, **quoted})

    options = {word: fields[word] for word in ("linkPreview", "encoding") if word in fields} | quoted
    inner: Any = {word: value for word, value in fields.items() if word not in options}
    if name == "sticker":
        inner = {"image": URL}
    wrapped = {**number, WRAPPERS[route]: inner["contact"] if name == "card" else inner}
    path, body = build_send_request(MARIA, OutgoingMessage(content, QUOTED), Dialect.WRAPPED, media)
    assert (path, json.loads(body)) == (route, {**wrapped, **({"options": options} if options else {})})


def test_mentions_and_typing_go_in_the_words_of_each_dialect() -> None:
    some = OutgoingMessage(Text("oi @5511999990001"), None, (MARIA, "111222333444555@lid"))
    everyone = OutgoingMessage(Text("oi"), None, (), True)

    def sent(outgoing: OutgoingMessage, dialect: Dialect, typing: float = 0.0) -> Any:
        return json.loads(build_send_request("1@g.us", outgoing, dialect, typing=typing)[1])

    flat = sent(some, Dialect.FLAT, 1.2345)
    assert (flat["mentioned"], flat["delay"]) == ([MARIA, "111222333444555@lid"], 1234)
    assert sent(everyone, Dialect.FLAT)["mentionsEveryOne"] is True
    assert not {"delay", "mentioned"} & set(sent(everyone, Dialect.FLAT))
    wrapped = sent(some, Dialect.WRAPPED, 2.0)["options"]
    assert wrapped["mentions"] == {"everyOne": False, "mentioned": [MARIA, "111222333444555@lid"]}
    assert (wrapped["delay"], wrapped["presence"]) == (2000, "composing")
    picture = OutgoingMessage(File(MessageKind.IMAGE, url=URL))
    assert "delay" not in sent(picture, Dialect.FLAT, 3.0), "nobody types a picture"


@pytest.mark.parametrize("name", CONTENTS)
def test_a_chosen_id_goes_with_every_content_where_it_can_be_taken(name: str) -> None:
    content, media = CONTENTS[name]
    chosen = ExternalId("3EB0C0FFEE00000000B001")
    route, body = build_send_request(MARIA, OutgoingMessage(content), Dialect.FLAT, media, chosen)
    assert json.loads(body) == {"messageId": chosen} | json.loads(
        build_send_request(MARIA, OutgoingMessage(content), Dialect.FLAT, media)[1]
    )
    assert route == send_route(content)
    kind = content.kind.value if isinstance(content, File) else None
    assert route == stored_send_route(content.__struct_config__.tag, kind)  # type: ignore[arg-type]
    _, wrapped = build_send_request(MARIA, OutgoingMessage(content), Dialect.WRAPPED, media, chosen)
    assert b"messageId" not in wrapped, "version 1 is not asked"


@pytest.mark.parametrize(
    "content",
    [File(MessageKind.IMAGE, upload=UUID(int=1)), File(MessageKind.STICKER_PACK, url=URL), Text("half \ud83d")],
)
def test_a_content_that_fits_no_request_is_rejected_before_anything_is_sent(content: Content) -> None:
    with pytest.raises(InvalidRequest):
        build_send_request(MARIA, OutgoingMessage(content), Dialect.FLAT)


# -- over real sockets -------------------------------------------------------------------------------------------


@pytest.fixture
async def evolution() -> AsyncIterator[SimulatedEvolution]:
    with trio.fail_after(30):
        async with SimulatedEvolution.running(behaviour=Behaviour(statuses=())) as evo:
            evo.inject_fault("webhooks_off")
            yield evo


@pytest.fixture
async def client(evolution: SimulatedEvolution) -> AsyncIterator[EvolutionClient]:
    async with open_http_client() as http:
        client = EvolutionClient(http, evolution.url, evolution.api_key, QUICK)
        await client.create_instance("loja", HOOK)
        evolution.scan("loja")
        yield client


async def test_every_content_reaches_the_phone_once_and_gives_its_id(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    for content, media in CONTENTS.values():
        sent = await client.send("loja", MARIA, OutgoingMessage(content), media)
        assert evolution.ledger.messages[-1].id == sent.external_id
        assert sent.remote_jid == f"{MARIA}@s.whatsapp.net"
    assert evolution.ledger.message_count == len(CONTENTS)
    sent = await client.send("loja", "120363025246125486@g.us", OutgoingMessage(Text("grupo"), QUOTED))
    assert sent.remote_jid == "120363025246125486@g.us"


@pytest.mark.parametrize("large", [False, True])
async def test_a_server_of_version_1_is_spoken_to_in_its_dialect_from_the_second_request_on(large: bool) -> None:
    requests: list[str] = []

    async def note(request: httpx2.Request) -> None:
        requests.append(request.url.path)

    async with (
        SimulatedEvolution.running(behaviour=Behaviour(statuses=(), version="1.8.2")) as evo,
        open_http_client() as http,
    ):
        evo.inject_fault("webhooks_off")
        http.event_hooks = {"request": [note]}
        client = EvolutionClient(http, evo.url, evo.api_key, QUICK)
        with trio.fail_after(30):
            await client.create_instance("loja", HOOK)
            evo.scan("loja")
            requests.clear()
            content, media = (CONTENTS["document"][0], PIXEL * 40_000) if large else CONTENTS["text"]
            await client.send("loja", MARIA, OutgoingMessage(content), media)
            assert len(requests) == 2
            assert evo.ledger.message_count == 1
            # A refusal of the content leaves the dialect as it is, and is raised with its own text.
            with pytest.raises(InvalidRequest, match="Owned media"):
                await client.send("loja", MARIA, OutgoingMessage(File(MessageKind.IMAGE, url="no url")))
            del requests[2:]
            for content, media in CONTENTS.values():
                await client.send("loja", MARIA, OutgoingMessage(content), media)
            assert len(requests) == 2 + len(CONTENTS)
            assert evo.ledger.message_count == 1 + len(CONTENTS)
            # The server is brought up to date while we run.
            evo.state.behaviour = dataclasses.replace(evo.state.behaviour, version="2.3.7")
            await client.send("loja", MARIA, OutgoingMessage(Text("oi")))
            await client.send("loja", MARIA, OutgoingMessage(Text("oi")))
            assert len(requests) == 2 + len(CONTENTS) + 3
            with pytest.raises(InvalidRequest):
                await client.send("loja", MARIA, OutgoingMessage(Text("  ")))
            assert len(requests) == 2 + len(CONTENTS) + 4


@pytest.mark.parametrize(
    ("kind", "more", "failure", "delivered"),
    [
        ("error", {}, ServerError, 0),
        ("html", {}, GatewayFailed, 0),
        ("throttle", {"seconds": 7}, Throttled, 0),
        ("license", {}, NotLicensed, 0),
        ("refuse", {}, NoAnswer, 0),
        ("connection_closed", {}, NotConnected, 0),
        ("number_check_timeout", {}, NumberCheckTimedOut, 0),
        ("drop_reply", {}, NoAnswer, 1),
        ("never_echo", {}, TimedOutAfterRelay, 1),
    ],
)
async def test_a_failed_send_is_not_repeated_and_its_verdict_says_whether_it_may_have_been_delivered(
    evolution: SimulatedEvolution,
    client: EvolutionClient,
    kind: str,
    more: dict[str, Any],
    failure: type[EvolutionFailure],
    delivered: int,
) -> None:
    evolution.inject_fault(kind, count=10, **more)
    with pytest.raises(EvolutionFailure) as caught:
        await client.send("loja", MARIA, OutgoingMessage(Text("uma vez")))
    assert type(caught.value) is failure
    (planted,) = [fault for fault in evolution.state.faults.as_json() if fault["kind"] == kind]
    assert planted["count"] == 9
    assert evolution.ledger.message_count == delivered
    if failure is Throttled:
        assert caught.value.retry_after == 7.0


async def test_refusals_of_a_message_have_their_own_failures(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    evolution.numbers.missing.add("5511988887777")
    unreachable = File(MessageKind.IMAGE, url="https://files.invalid/a.png")
    for name, number, content, failure in (
        ("loja", "5511988887777", Text("x"), NumberNotOnWhatsApp),
        ("loja", MARIA, unreachable, MediaUnreachable),
        ("loja", MARIA, File(MessageKind.IMAGE, url="no url"), InvalidRequest),
        ("loja", MARIA, Reaction("abc", ExternalId("A"), "1@lid", True), InvalidRequest),
        ("ghost", MARIA, Text("x"), InstanceUnknown),
    ):
        with pytest.raises(failure):
            await client.send(name, number, OutgoingMessage(content))
    await client.logout("loja")
    with pytest.raises(NotConnected):
        await client.send("loja", MARIA, OutgoingMessage(Text("x")))
    evolution.take_down()
    await wait_all_tasks_blocked()
    with pytest.raises(Unreachable):
        await client.send("loja", MARIA, OutgoingMessage(Text("x")))
    assert evolution.ledger.message_count == 0


async def test_a_text_and_a_file_have_deadlines_of_their_own(evolution: SimulatedEvolution) -> None:
    evolution.inject_fault("hang", count=4)
    async with open_http_client() as http:
        short = CallPolicy(connect=1.0, call=0.1, send_file=0.4)
        client = EvolutionClient(http, evolution.url, evolution.api_key, short)
        for content, seconds in ((Text("x"), 0.1), (File(MessageKind.IMAGE, url=URL), 0.4)):
            started = trio.current_time()
            with pytest.raises(NoAnswer) as caught:
                await client.send("loja", MARIA, OutgoingMessage(content))
            assert trio.current_time() - started >= seconds
            assert caught.value.detail in (f"no answer within {seconds} s", "ReadTimeout")


async def test_a_file_above_the_servers_limit_is_not_even_sent(
    client: EvolutionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_client, "MAX_MEDIA_BYTES", 10)
    content, _ = CONTENTS["document"]
    with pytest.raises(TooLarge):
        await client.send("loja", MARIA, OutgoingMessage(content), b"x" * 11)


async def test_a_connection_is_not_reused_when_the_server_may_be_closing_it(
    evolution: SimulatedEvolution, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rest_client.KEEPALIVE <= 2.5  # half of what Node waits
    opened = 0

    async def trace(event: str, info: object) -> None:
        nonlocal opened
        opened += event == "connection.connect_tcp.complete"

    async def traced(request: httpx2.Request) -> None:
        request.extensions["trace"] = trace

    for keepalive, expected in ((30.0, 1), (0.01, 2)):
        monkeypatch.setattr(rest_client, "KEEPALIVE", keepalive)
        opened = 0
        async with open_http_client() as http:
            http.event_hooks = {"request": [traced]}
            client = EvolutionClient(http, evolution.url, evolution.api_key, QUICK)
            await client.server_info()
            await trio.sleep(0.05)
            await client.server_info()
        assert opened == expected


async def test_messages_are_marked_as_read_also_at_the_second_try(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    one = evolution.receive("loja", "oi", MARIA)
    evolution.inject_fault("drop_reply", count=1, path="/chat")
    await client.mark_read("loja", [MessageKey(ExternalId(one), f"{MARIA}@s.whatsapp.net", False)])
    assert {(read.id, read.remote_jid) for read in evolution.ledger.reads} == {(one, f"{MARIA}@s.whatsapp.net")}


async def test_the_file_of_a_message_comes_back_as_it_was_sent(
    evolution: SimulatedEvolution, client: EvolutionClient
) -> None:
    content, _ = CONTENTS["document"]
    big = bytes(range(256)) * 4000
    sent = await client.send("loja", MARIA, OutgoingMessage(content), big)
    evolution.inject_fault("error", count=1, path="/chat")
    file = await client.fetch_media("loja", sent.external_id)
    assert (file.mimetype, file.file_name, file.data) == ("application/pdf; x=y", "file.pdf", big)
    assert len(repr(file)) < 200

    with pytest.raises(MediaGone):
        await client.fetch_media("loja", ExternalId("NOPE"))
    text = await client.send("loja", MARIA, OutgoingMessage(Text("x")))
    with pytest.raises(InvalidRequest):
        await client.fetch_media("loja", text.external_id)


# -- answers that the simulated server never gives ---------------------------------------------------------------


def answering(status: int, body: Any) -> tuple[EvolutionClient, list[dict[str, Any]]]:
    """A client whose server always answers this, and the bodies that it was sent."""
    requests: list[dict[str, Any]] = []
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(json.loads(request.content))
        return httpx2.Response(status, content=content)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return EvolutionClient(http, "http://evo.invalid", "key", QUICK), requests


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"",
        b'{"key":{"id":"3EB0',
        None,
        [],
        {},
        {"key": None},
        {"key": {}},
        {"key": {"id": ""}},
        {"key": {"id": 7}},
        {"key": {"id": "x" * 300}},
        {"error": True, "message": "[object Object]"},
    ],
)
async def test_a_success_without_a_usable_id_leaves_the_send_uncertain(body: Any) -> None:
    client, requests = answering(201, body)
    with pytest.raises(BadAnswer):
        await client.send("loja", MARIA, OutgoingMessage(Text("x")))
    assert len(requests) == 1


async def test_an_id_is_taken_though_the_rest_of_the_answer_is_odd() -> None:
    client, _ = answering(200, b'{"key":{"id":"3EB0","remoteJid":5},"message":{"conversation":"\\ud83d"}}')
    sent = await client.send("loja", MARIA, OutgoingMessage(Text("x")))
    assert (sent.external_id, sent.remote_jid) == ("3EB0", None)


async def test_a_server_that_refuses_both_dialects_gets_one_request_in_each() -> None:
    missing = [['instance requires property "textMessage"', 'instance requires property "text"']]
    client, requests = answering(400, {"status": 400, "response": {"message": missing}})
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await client.send("loja", MARIA, OutgoingMessage(Text("x")))
    assert ["textMessage" in body for body in requests] == [False, True, False, True]


@pytest.mark.parametrize(("content", "failure"), [(Poll("Q", ("A", "B")), InvalidRequest), (Text("x"), RouteUnknown)])
async def test_a_kind_that_this_version_lacks_is_the_messages_fault_not_the_lines(
    content: Content, failure: type[EvolutionFailure]
) -> None:
    client, _ = answering(404, {"status": 404, "response": {"message": ["Cannot POST /message/sendX/loja"]}})
    with pytest.raises(failure):
        await client.send("loja", MARIA, OutgoingMessage(content))


async def test_a_file_that_whatsapp_no_longer_has_is_gone_and_one_that_is_not_base64_a_bad_answer() -> None:
    client, _ = answering(400, {"response": {"message": ["Error: Failed to fetch stream from https://mmg.example/x"]}})
    with pytest.raises(MediaGone):
        await client.fetch_media("loja", ExternalId("A"))
    for body in ({"base64": "!!"}, {"base64": ""}, {"mimetype": "image/png"}, []):
        client, _ = answering(201, body)
        with pytest.raises(BadAnswer):
            await client.fetch_media("loja", ExternalId("A"))
