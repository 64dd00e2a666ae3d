"""Every recorded request is answered by the simulated server as the real one answered it.

Compared: the status, the keys at every depth, the types, and all values but ids, moments, keys and media.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

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

# These tell a story of several requests; test_simulator_webhooks.py plays them.
STORIES = {"webhook-edited-blocks-queue", "webhook-retry-500", "webhook-timeout-duplicate"}
# Has no request of its own.
WITHOUT_REQUEST = {"http-2.4-license-required-503"}

VOLATILE = {
    "id", "hash", "base64", "code", "pairingCode", "instanceId", "createdAt", "updatedAt", "messageTimestamp",
    "messageTimestampMs", "timestampMs", "senderTimestampMs", "disconnectionAt", "disconnectionObject",
    "register_url", "instance_id", "docs_url", "messageId", "token",
}  # fmt: skip

Stage = Callable[[SimulatedEvolution], Any]


async def _create(evo: SimulatedEvolution, body: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": KEY}) as http:
        answer = await http.post("/instance/create", json=body)
        assert answer.status_code == 201, answer.text


def _request_of(name: str) -> dict[str, Any]:
    return json.loads((REST / f"{name}.json").read_bytes())["request"]["body"]


async def nothing(evo: SimulatedEvolution) -> None:
    """An empty server."""


async def alpha(evo: SimulatedEvolution) -> None:
    """The instance of the recordings, with its webhook and token, never connected."""
    await _create(evo, _request_of("create-ok-no-qrcode"))


async def opened(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    evo.numbers.names[CUSTOMER.partition("@")[0]] = "Maria Silva"
    evo.numbers.groups[GROUP] = ("111222333444555@lid", "999888777666555@lid")
    evo.scan("alpha", "5511999990000", "Loja Exemplo")


async def unreachable(evo: SimulatedEvolution) -> None:
    """WhatsApp cannot be reached: the socket was tried, and is closed."""
    await alpha(evo)
    _hide_codes(evo)
    instance = evo.instance("alpha")
    instance.socket = "closed"


def _hide_codes(evo: SimulatedEvolution) -> None:
    object.__setattr__(evo.state.behaviour, "first_qr", math.inf)
    object.__setattr__(evo.state.behaviour, "connect_wait", 0.05)


async def logged_out(evo: SimulatedEvolution) -> None:
    await opened(evo)
    evo.close("alpha", 401, stray=True)


async def offering(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    connection_lifecycle.start_pairing(evo.state, evo.instance("alpha"), None)
    await evo.instance("alpha").code_ready.wait()


async def connecting(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    _hide_codes(evo)
    connection_lifecycle.start_pairing(evo.state, evo.instance("alpha"), None)


async def past_the_limit(evo: SimulatedEvolution) -> None:
    """No code is left; the next attempt has none within its two seconds either."""
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
    await opened(evo)
    hook = evo.instance("alpha").webhook
    hook.headers, hook.by_events, hook.base64 = {"jwt_key": "s3cret"}, True, False


async def without_base64(evo: SimulatedEvolution) -> None:
    await alpha(evo)
    evo.instance("alpha").webhook.by_events = True


async def missing_number(evo: SimulatedEvolution) -> None:
    await opened(evo)
    evo.numbers.missing.add("5511988887777")


async def silent_numbers(evo: SimulatedEvolution) -> None:
    await opened(evo)
    evo.numbers.unanswered |= {"5521999990077", "5521999990078"}


async def phone_book(evo: SimulatedEvolution) -> None:
    await missing_number(evo)
    evo.numbers.aliases["5511977776666"] = "551177776666"
    evo.numbers.names |= {GROUP: "Equipe Vendas", "222333444555666@lid": "Maria Silva"}


def planted(kind: str, stage: Stage = opened, **more: Any) -> Stage:
    async def stage_with_fault(evo: SimulatedEvolution) -> None:
        await stage(evo)
        evo.inject_fault(kind, **more)

    return stage_with_fault


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


async def talked(evo: SimulatedEvolution) -> None:
    """57 messages with the customer, one with a group, as when the recordings were made."""
    await opened(evo)
    rank = ["ERROR", "PENDING", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED", "READ", "READ"]
    for number in range(54):
        _sent(evo, f"3EB0{number:018d}", "before", 1795364400 + number, [])
    _sent(evo, "3EB08A7F83100C535BCB19", "olá", 1795364537, rank)
    _sent(evo, "3EB093B8E1094CC65DA737", "grupo", 1795364537, [], GROUP)
    _sent(evo, "3EB0646F7AA356A3352DB2", "slow", 1795364543, [])
    _sent(evo, "3EB008DF49AE04DF72E5C4", "race", 1795364543, ["SERVER_ACK"])
    instance = evo.instance("alpha")
    instance.contacts[CUSTOMER] = ("cmcontact", "Maria Silva", iso_now())


async def fetched_later(evo: SimulatedEvolution) -> None:
    """After the logout the database counts 90 messages, 8 contacts and 3 chats."""
    await opened(evo)
    evo.close("alpha", 401)
    for number in range(90):
        _sent(evo, f"3EB0{number:018d}", "x", 1795364400, [], f"551199999{number % 3:04d}@s.whatsapp.net")
    for number in range(8):
        evo.instance("alpha").contacts[f"{number}@lid"] = ("cm", None, iso_now())


STAGES: dict[str, Stage] = {
    "auth-none": alpha,
    "auth-wrong": alpha,
    "connect-after-401": logged_out,
    "connect-after-qr-limit": past_the_limit,
    "connect-again-wa-unreachable": unreachable,
    "connect-first-no-qr-yet": unreachable,
    "connect-pairing-number": paired,
    "connect-wa-unreachable": unreachable,
    "connect-when-open": opened,
    "connect-with-number-pairing": offering,
    "connect-with-qr": offering,
    "connectionState-after-401": logged_out,
    "connectionState-after-connect-unreachable": unreachable,
    "connectionState-after-delete": nothing,
    "connectionState-after-qr-limit": past_the_limit,
    "connectionState-close": alpha,
    "connectionState-connecting": connecting,
    "connectionState-open": opened,
    "connectionState-unknown": nothing,
    "create-bad-type": nothing,
    "create-duplicate": alpha,
    "create-invalid-integration": nothing,
    "create-missing-integration": nothing,
    "create-noauth": nothing,
    "create-ok-no-qrcode": nothing,
    "create-ok-qrcode-true": nothing,
    "create-qrcode-true-number-pairing": nothing,
    "create-special-name": nothing,
    "create-webhook-enabled-false-is-ignored": nothing,
    "create-webhook-without-events": nothing,
    "delete-again": nothing,
    "delete-connecting": gamma,
    "delete": alpha,
    "deleteMessageForEveryone": talked,
    "fetch-after-401": fetched_later,
    "fetch-by-instance-token": alpha,
    "fetch-by-name": alpha,
    "fetch-empty": nothing,
    "fetch-global": alpha,
    "fetch-open": opened,
    "fetch-unknown": alpha,
    "findChats-empty": opened,
    "findChats-some": talked,
    "findContacts-some": talked,
    "findMessages-by-id": talked,
    "findMessages-empty": opened,
    "findMessages-some": talked,
    "findStatusMessage": talked,
    "getBase64-notfound": opened,
    "logout-close": alpha,
    "logout-open": opened,
    "markMessageAsRead-lid-silently-ignored": opened,
    "markMessageAsRead-never-connected": alpha,
    "markMessageAsRead-ok": opened,
    "restart-close": alpha,
    "restart-open": opened,
    "root": nothing,
    "route-404": alpha,
    "sendContact-ok": opened,
    "sendLocation-ok": opened,
    "sendMedia-bad-type": opened,
    "sendMedia-base64-document": opened,
    "sendMedia-base64-image": opened,
    "sendMedia-document-base64-no-filename": opened,
    "sendMedia-invalid-media": opened,
    "sendMedia-url-unreachable": opened,
    "sendPoll-ok": opened,
    "sendReaction-invalid": opened,
    "sendReaction-ok": opened,
    "sendTemplate-baileys": opened,
    "sendText-ack-before-response": opened,
    "sendText-after-401": logged_out,
    "sendText-bad-json": opened,
    "sendText-br-number-12-digits": opened,
    "sendText-client-timeout": planted("slow", seconds=1.0),
    "sendText-connection-closed-mid-send": planted("connection_closed"),
    "sendText-empty-text": opened,
    "sendText-never-connected": alpha,
    "sendText-number-not-on-whatsapp": missing_number,
    "sendText-ok": opened,
    "sendText-onWhatsApp-timeout": silent_numbers,
    "sendText-quoted": talked,
    "sendText-timed-out-after-relay": planted("never_echo"),
    "sendText-to-group": opened,
    "sendText-to-lid": opened,
    "sendText-unknown-instance": nothing,
    "sendText-validation-delay-str": opened,
    "sendText-validation-missing": opened,
    "sendText-validation-number-int": opened,
    "sendText-validation-v1-shape": opened,
    "sendText-wa-unreachable": unreachable,
    "sendWhatsAppAudio-bad": opened,
    "settings-find": alpha,
    "settings-set-invalid": alpha,
    "settings-set": alpha,
    "state-special-name-encoded": special,
    "updateMessage": talked,
    "webhook-find-delta": delta,
    "webhook-find-instance-token": alpha,
    "webhook-find-none": special,
    "webhook-find": alpha,
    "webhook-set-byEvents": opened,
    "webhook-set-disable": by_events,
    "webhook-set-empty-events": alpha,
    "webhook-set-invalid-event": alpha,
    "webhook-set-missing-wrapper": alpha,
    "webhook-set-noevents": alpha,
    "whatsappNumbers-error": silent_numbers,
    "whatsappNumbers-never-connected": alpha,
    "whatsappNumbers-ok": phone_book,
}


def test_every_recording_has_its_stage() -> None:
    assert {path.stem for path in REST.glob("*.json")} == set(STAGES) | STORIES | WITHOUT_REQUEST


@pytest.mark.parametrize("name", sorted(STAGES))
async def test_a_recorded_request_is_answered_as_the_real_server_did(name: str) -> None:
    recording = json.loads((REST / f"{name}.json").read_bytes())
    habits = Behaviour(statuses=(), create_wait=5, connect_wait=3)
    with trio.fail_after(10):
        async with SimulatedEvolution.running(api_key=KEY, behaviour=habits, seed=7) as evo:
            evo.inject_fault("webhooks_off")
            await STAGES[name](evo)
            request, expected = recording["request"], recording["response"]
            async with httpx2.AsyncClient(timeout=0.2 if expected["status"] is None else 5) as http:
                if expected["status"] is None:
                    with pytest.raises(httpx2.ReadTimeout):
                        await _ask(http, evo, request)
                    while not evo.ledger.messages:  # noqa: ASYNC110 - the client gave up, the message went out
                        await trio.sleep(0.02)
                    return
                answer = await _ask(http, evo, request)
    assert answer.status_code == expected["status"], answer.text
    assert answer.headers["content-type"] == expected["content_type"]
    assert differences(expected["body"], answer.json()) == []


async def _ask(http: httpx2.AsyncClient, evo: SimulatedEvolution, request: dict[str, Any]) -> httpx2.Response:
    body = request["body"]
    content = body if isinstance(body, str) else None if body is None else json.dumps(body)
    return await http.request(request["method"], evo.url + request["path"], headers=request["headers"], content=content)


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """What is not the same, by path; volatile values count by type alone."""
    name = re.sub(r"(\[\d+\])+$", "", where.rpartition(".")[2])
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected and all(key.isdigit() for key in expected):  # bytes: as many as they happen to be
            return [] if found and all(key.isdigit() for key in found) else [f"{where}: not bytes"]
        wrong = [f"{where}.{key}: missing" for key in expected if key not in found]
        wrong += [f"{where}.{key}: too much" for key in found if key not in expected]
        for key in expected:
            if key in found:
                wrong += differences(expected[key], found[key], f"{where}.{key}")
        return wrong
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return [f"{where}: {len(expected)} elements expected, {len(found)} found"]
        wrong = []
        for position, (left, right) in enumerate(zip(expected, found, strict=True)):
            wrong += differences(left, right, f"{where}[{position}]")
        return wrong
    if type(expected) is not type(found):
        return [f"{where}: {expected!r} expected, {found!r} found"]
    inside_volatile = name in VOLATILE or ".mediaKeyTimestamp." in where or ".ephemeralSetting" in where
    if name == "low" or inside_volatile or expected == found:
        return []
    return [f"{where}: {expected!r} expected, {found!r} found"]


async def test_a_server_without_a_licence_answers_as_version_2_4_does() -> None:
    expected = json.loads((REST / "http-2.4-license-required-503.json").read_bytes())
    async with SimulatedEvolution.running(api_key=KEY) as evo, httpx2.AsyncClient() as http:
        evo.inject_fault("license")
        answer = await http.get(evo.url + "/instance/fetchInstances", headers={"apikey": KEY})
    assert answer.status_code == expected.pop("_http_status")
    assert set(answer.json()) == set(expected)
    assert (answer.json()["code"], answer.json()["error"]) == (expected["code"], expected["error"])


def test_the_comparison_sees_a_missing_key_another_type_and_another_value() -> None:
    assert differences({"a": 1}, {}) == [".a: missing"]
    assert differences({"a": [1]}, {"a": ["1"]}) == [".a[0]: 1 expected, '1' found"]
    assert differences({"a": {"b": "x"}}, {"a": {"b": "y"}}) == [".a.b: 'x' expected, 'y' found"]
    assert differences({"id": "x"}, {"id": 1}) != []
    assert differences([1], [1, 2]) != []
