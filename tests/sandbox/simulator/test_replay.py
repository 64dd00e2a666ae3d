"""Every recorded request gets the response of the real server from the simulated one.

Compared: the status, the keys at every depth, the types, and all values but ids, times, keys and media.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from support.recording_comparison import differences

import zapline.sandbox
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state import connection_lifecycle
from zapline.sandbox.simulator.state.instances import iso_now
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_state import Behaviour

REST = Path(zapline.sandbox.__file__).parent / "recordings" / "rest"
KEY = "GLOBAL-KEY-0001"
CUSTOMER = "5511999990001@s.whatsapp.net"
GROUP = "120363025246125486@g.us"
ALPHA_ID = "3e1c68da-ca8d-49c1-908c-83864ab85c19"

# These record several requests; test_webhooks.py covers them.
SEQUENCES = {"webhook-edited-blocks-queue", "webhook-retry-500", "webhook-timeout-duplicate"}
# Has no request of its own.
WITHOUT_REQUEST = {"http-2.4-license-required-503"}

SetUp = Callable[[SimulatedEvolution], Any]


async def _create(evo: SimulatedEvolution, body: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": KEY}) as http:
        response = await http.post("/instance/create", json=body)
        assert response.status_code == 201, response.text


def _request_of(name: str) -> dict[str, Any]:
    return json.loads((REST / f"{name}.json").read_bytes())["request"]["body"]


async def empty_server(evo: SimulatedEvolution) -> None:
    """An empty server."""


async def alpha(evo: SimulatedEvolution) -> None:
    """The instance of the recordings, with its webhook and token, never connected."""
    await _create(evo, _request_of("create-ok-no-qrcode"))


async def open_line(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    evo.numbers.names[CUSTOMER.partition("@")[0]] = "Maria Silva"
    evo.numbers.groups[GROUP] = ("111222333444555@lid", "999888777666555@lid")
    evo.scan("alpha", "5511999990000", "Loja Exemplo")


async def unreachable(evo: SimulatedEvolution) -> None:
    """WhatsApp is unreachable: the socket was opened, and is closed."""
    await alpha(evo)
    _hide_codes(evo)
    instance = evo.instance("alpha")
    instance.socket = "closed"


def _hide_codes(evo: SimulatedEvolution) -> None:
    object.__setattr__(evo.state.behaviour, "first_qr", math.inf)
    object.__setattr__(evo.state.behaviour, "connect_wait", 0.05)


async def logged_out(evo: SimulatedEvolution) -> None:
    await open_line(evo)
    evo.close("alpha", 401, stray=True)


async def qr_offered(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    connection_lifecycle.start_pairing(evo.state, evo.instance("alpha"), None)
    await evo.instance("alpha").qr_ready.wait()


async def connecting(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    _hide_codes(evo)
    connection_lifecycle.start_pairing(evo.state, evo.instance("alpha"), None)


async def qr_limit_reached(evo: SimulatedEvolution) -> None:
    """No QR code is left; the next attempt gets none within its two seconds either."""
    await unreachable(evo)


async def gamma(evo: SimulatedEvolution) -> None:
    await _create(evo, _request_of("create-ok-qrcode-true"))


async def paired(evo: SimulatedEvolution) -> None:
    await _create(evo, _request_of("create-qrcode-true-number-pairing"))


async def special(evo: SimulatedEvolution) -> None:
    await _create(evo, _request_of("create-special-name"))


async def delta(evo: SimulatedEvolution) -> None:
    await _create(evo, _request_of("create-webhook-enabled-false-is-ignored"))


async def by_events(evo: SimulatedEvolution) -> None:
    await open_line(evo)
    hook = evo.instance("alpha").webhook
    hook.headers, hook.by_events, hook.base64 = {"jwt_key": "s3cret"}, True, False


async def without_base64(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    evo.instance("alpha").webhook.by_events = True


async def missing_number(evo: SimulatedEvolution) -> None:
    await open_line(evo)
    evo.numbers.missing.add("5511988887777")


async def unanswered_numbers(evo: SimulatedEvolution) -> None:
    await open_line(evo)
    evo.numbers.unanswered |= {"5521999990077", "5521999990078"}


async def number_directory(evo: SimulatedEvolution) -> None:
    await missing_number(evo)
    evo.numbers.aliases["5511977776666"] = "551177776666"
    evo.numbers.names |= {GROUP: "Equipe Vendas", "222333444555666@lid": "Maria Silva"}


def with_fault(kind: str, set_up: SetUp = open_line, **properties: Any) -> SetUp:
    async def set_up_with_fault(evo: SimulatedEvolution) -> None:
        await set_up(evo)
        evo.inject_fault(kind, **properties)

    return set_up_with_fault


def _sent(evo: SimulatedEvolution, key: str, text: str, at: int, statuses: list[str], jid: str = CUSTOMER) -> None:
    context: dict[str, Any] = {
        "mentionedJid": [],
        "groupMentions": [],
        "disappearingMode": {"initiator": 0},
        "ephemeralSettingTimestamp": {"low": at - 172800, "high": 0, "unsigned": False},
    }
    if jid == GROUP:
        context = {"mentionedJid": ["111222333444555@lid", "999888777666555@lid"]}
    message = {
        "key": {"id": key, "fromMe": True, "remoteJid": jid},
        "pushName": "Você",
        "status": "PENDING",
        "message": {"conversation": text},
        "contextInfo": context,
        "messageType": "conversation",
        "messageTimestamp": at,
        "instanceId": evo.instance("alpha").id,
        "source": "web",
    }
    evo.instance("alpha").messages.add(StoredMessage(f"cmrow{key}", message, statuses))


async def conversation(evo: SimulatedEvolution) -> None:
    """57 messages with the customer, one with a group, as when the recordings were made."""
    await open_line(evo)
    statuses = ["ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED", "READ", "READ"]
    for number in range(54):
        _sent(evo, f"3EB0{number:018d}", "before", 1795364400 + number, [])
    _sent(evo, "3EB08A7F83100C535BCB19", "olá", 1795364537, statuses)
    _sent(evo, "3EB093B8E1094CC65DA737", "grupo", 1795364537, [], GROUP)
    _sent(evo, "3EB0646F7AA356A3352DB2", "slow", 1795364543, [])
    _sent(evo, "3EB008DF49AE04DF72E5C4", "race", 1795364543, ["SERVER_ACK"])
    instance = evo.instance("alpha")
    instance.contacts[CUSTOMER] = ("cmcontact", "Maria Silva", iso_now())


async def edited(evo: SimulatedEvolution) -> None:
    """The message that is edited is one of them."""
    await conversation(evo)
    _sent(evo, "3EB08EE220EE477B0B1095", "v1", 1795364540, [])


async def logged_out_with_messages(evo: SimulatedEvolution) -> None:
    """After the logout the database counts 90 messages, 8 contacts and 3 chats."""
    await open_line(evo)
    evo.close("alpha", 401)
    for number in range(90):
        _sent(evo, f"3EB0{number:018d}", "x", 1795364400, [], f"551199999{number % 3:04d}@s.whatsapp.net")
    for number in range(8):
        evo.instance("alpha").contacts[f"{number}@lid"] = ("cm", None, iso_now())


SET_UPS: dict[str, SetUp] = {
    "auth-none": alpha,
    "auth-wrong": alpha,
    "connect-after-401": logged_out,
    "connect-after-qr-limit": qr_limit_reached,
    "connect-again-wa-unreachable": unreachable,
    "connect-first-no-qr-yet": unreachable,
    "connect-pairing-number": paired,
    "connect-wa-unreachable": unreachable,
    "connect-when-open": open_line,
    "connect-with-number-pairing": qr_offered,
    "connect-with-qr": qr_offered,
    "connectionState-after-401": logged_out,
    "connectionState-after-connect-unreachable": unreachable,
    "connectionState-after-delete": empty_server,
    "connectionState-after-qr-limit": qr_limit_reached,
    "connectionState-close": alpha,
    "connectionState-connecting": connecting,
    "connectionState-open": open_line,
    "connectionState-unknown": empty_server,
    "create-bad-type": empty_server,
    "create-duplicate": alpha,
    "create-invalid-integration": empty_server,
    "create-missing-integration": empty_server,
    "create-noauth": empty_server,
    "create-ok-no-qrcode": empty_server,
    "create-ok-qrcode-true": empty_server,
    "create-qrcode-true-number-pairing": empty_server,
    "create-special-name": empty_server,
    "create-webhook-enabled-false-is-ignored": empty_server,
    "create-webhook-without-events": empty_server,
    "delete-again": empty_server,
    "delete-connecting": gamma,
    "delete": alpha,
    "deleteMessageForEveryone": conversation,
    "fetch-after-401": logged_out_with_messages,
    "fetch-by-instance-token": alpha,
    "fetch-by-name": alpha,
    "fetch-empty": empty_server,
    "fetch-global": alpha,
    "fetch-open": open_line,
    "fetch-unknown": alpha,
    "findChats-empty": open_line,
    "findChats-some": conversation,
    "findContacts-some": conversation,
    "findMessages-by-id": conversation,
    "findMessages-empty": open_line,
    "findMessages-some": conversation,
    "findStatusMessage": conversation,
    "getBase64-notfound": open_line,
    "logout-close": alpha,
    "logout-open": open_line,
    "markMessageAsRead-lid-silently-ignored": open_line,
    "markMessageAsRead-never-connected": alpha,
    "markMessageAsRead-ok": open_line,
    "restart-close": alpha,
    "restart-open": open_line,
    "root": empty_server,
    "route-404": alpha,
    "sendContact-ok": open_line,
    "sendLocation-ok": open_line,
    "sendMedia-bad-type": open_line,
    "sendMedia-base64-document": open_line,
    "sendMedia-base64-image": open_line,
    "sendMedia-document-base64-no-filename": open_line,
    "sendMedia-invalid-media": open_line,
    "sendMedia-url-unreachable": open_line,
    "sendPoll-ok": open_line,
    "sendReaction-invalid": open_line,
    "sendReaction-ok": open_line,
    "sendTemplate-baileys": open_line,
    "sendText-ack-before-response": open_line,
    "sendText-after-401": logged_out,
    "sendText-bad-json": open_line,
    "sendText-br-number-12-digits": open_line,
    "sendText-client-timeout": with_fault("slow", seconds=1.0),
    "sendText-connection-closed-mid-send": with_fault("connection_closed"),
    "sendText-empty-text": open_line,
    "sendText-never-connected": alpha,
    "sendText-number-not-on-whatsapp": missing_number,
    "sendText-ok": open_line,
    "sendText-onWhatsApp-timeout": unanswered_numbers,
    "sendText-quoted": conversation,
    "sendText-timed-out-after-relay": with_fault("never_echo"),
    "sendText-to-group": open_line,
    "sendText-to-lid": open_line,
    "sendText-unknown-instance": empty_server,
    "sendText-validation-delay-str": open_line,
    "sendText-validation-missing": open_line,
    "sendText-validation-number-int": open_line,
    "sendText-validation-v1-shape": open_line,
    "sendText-wa-unreachable": unreachable,
    "sendWhatsAppAudio-bad": open_line,
    "settings-find": alpha,
    "settings-set-invalid": alpha,
    "settings-set": alpha,
    "state-special-name-encoded": special,
    "updateMessage": edited,
    "webhook-find-delta": delta,
    "webhook-find-instance-token": alpha,
    "webhook-find-none": special,
    "webhook-find": alpha,
    "webhook-set-byEvents": open_line,
    "webhook-set-disable": by_events,
    "webhook-set-empty-events": alpha,
    "webhook-set-invalid-event": alpha,
    "webhook-set-missing-wrapper": alpha,
    "webhook-set-noevents": alpha,
    "whatsappNumbers-error": unanswered_numbers,
    "whatsappNumbers-never-connected": alpha,
    "whatsappNumbers-ok": number_directory,
}


def test_every_recording_has_a_set_up() -> None:
    assert {path.stem for path in REST.glob("*.json")} == set(SET_UPS) | SEQUENCES | WITHOUT_REQUEST


@pytest.mark.parametrize("name", sorted(SET_UPS))
async def test_a_recorded_request_gets_the_recorded_response(name: str) -> None:
    recording = json.loads((REST / f"{name}.json").read_bytes())
    behaviour = Behaviour(statuses=(), create_wait=5, connect_wait=3)
    with trio.fail_after(30):
        async with SimulatedEvolution.running(api_key=KEY, behaviour=behaviour, seed=7) as evo:
            evo.inject_fault("webhooks_off")
            await SET_UPS[name](evo)
            request, expected = recording["request"], recording["response"]
            async with httpx2.AsyncClient(timeout=0.2 if expected["status"] is None else 5) as http:
                if expected["status"] is None:
                    with pytest.raises(httpx2.ReadTimeout):
                        await _send(http, evo, request)
                    while not evo.ledger.messages:  # noqa: ASYNC110 - the client gave up, the message went out
                        await trio.sleep(0.2)
                    return
                response = await _send(http, evo, request)
    assert response.status_code == expected["status"], response.text
    assert response.headers["content-type"] == expected["content_type"]
    assert differences(expected["body"], response.json()) == []


async def _send(http: httpx2.AsyncClient, evo: SimulatedEvolution, request: dict[str, Any]) -> httpx2.Response:
    body = request["body"]
    content = body if isinstance(body, str) else None if body is None else json.dumps(body)
    return await http.request(request["method"], evo.url + request["path"], headers=request["headers"], content=content)


async def test_a_server_without_a_licence_responds_as_version_2_4() -> None:
    expected = json.loads((REST / "http-2.4-license-required-503.json").read_bytes())
    async with SimulatedEvolution.running(api_key=KEY) as evo, httpx2.AsyncClient() as http:
        evo.inject_fault("license")
        response = await http.get(evo.url + "/instance/fetchInstances", headers={"apikey": KEY})
    assert response.status_code == expected.pop("_http_status")
    assert set(response.json()) == set(expected)
    assert (response.json()["code"], response.json()["error"]) == (expected["code"], expected["error"])


def test_the_comparison_finds_a_missing_key_another_type_and_another_value() -> None:
    assert differences({"a": 1}, {}) == [".a: missing"]
    assert differences({"a": [1]}, {"a": ["1"]}) == [".a[0]: 1 expected, '1' found"]
    assert differences({"a": {"b": "x"}}, {"a": {"b": "y"}}) == [".a.b: 'x' expected, 'y' found"]
    assert differences({"id": "x"}, {"id": 1}) != []
    assert differences([1], [1, 2]) != []
