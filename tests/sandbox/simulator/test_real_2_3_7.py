"""What a real server 2.3.7 was asked, answered and posted, the simulated one does in the same way.

Compared as in test_replay.py.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from support.recording_comparison import differences

import zapline.sandbox
from zapline.sandbox.simulator.endpoints.phone_edits import edit, revoke
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state import connection_lifecycle
from zapline.sandbox.simulator.state.instances import EVENTS
from zapline.sandbox.simulator.state.server_state import Behaviour

REAL = Path(zapline.sandbox.__file__).parent / "recordings" / "real-2.3.7"
RECORDINGS = {path.stem: json.loads(path.read_bytes()) for path in sorted(REAL.glob("*.json"))}
KEY = "GLOBAL-KEY-0001"
CUSTOMER, GROUP = "5511911110001", "120363000000000001@g.us"
PERSON = f"{CUSTOMER}@s.whatsapp.net"

EDITED, DELETED, BOTH, IN_GROUP = (f"3EB0{number:018d}" for number in range(2, 6))
"""Ids in the form of WhatsApp Web."""
AT = 1795974000


async def _open(evo: SimulatedEvolution, url: str = "http://127.0.0.1:9/", events: tuple[str, ...] = EVENTS) -> None:
    hook = {"enabled": True, "url": url, "events": list(events), "headers": {}, "byEvents": False, "base64": False}
    body = {"instanceName": "alpha", "integration": "WHATSAPP-BAILEYS", "token": "0" * 36, "webhook": hook}
    async with httpx2.AsyncClient(base_url=evo.url, headers={"apikey": KEY}) as http:
        assert (await http.post("/instance/create", json=body)).status_code == 201
    evo.scan("alpha", "5511988880001", "Loja Real")


async def nothing(evo: SimulatedEvolution) -> None:
    """A server without instances."""


async def closed(evo: SimulatedEvolution) -> None:
    await _open(evo)
    evo.close("alpha", 401)


async def connecting(evo: SimulatedEvolution) -> None:
    await _open(evo)
    evo.close("alpha", 428)


async def offering_a_code(evo: SimulatedEvolution) -> None:
    await closed(evo)
    connection_lifecycle.start_pairing(evo.state, evo.instance("alpha"), None)
    await evo.instance("alpha").qr_ready.wait()


async def without_licence(evo: SimulatedEvolution) -> None:
    await _open(evo)
    evo.inject_fault("license")


async def unanswered(evo: SimulatedEvolution) -> None:
    await _open(evo)
    evo.inject_fault("never_echo")


async def number_missing(evo: SimulatedEvolution) -> None:
    await _open(evo)
    evo.numbers.missing.add("5511900000000")


async def quotable(evo: SimulatedEvolution) -> None:
    await _open(evo)
    words = "Olá, bom dia! 😀 *negrito*"
    evo.receive("alpha", words, CUSTOMER, external_id="3EB0435FA1CC4D3A943EF6", push_name="Cliente")


SUBSCRIBED = ("QRCODE_UPDATED", "CONNECTION_UPDATE", "STATUS_INSTANCE", "LOGOUT_INSTANCE", "REMOVE_INSTANCE")


async def subscribed(evo: SimulatedEvolution) -> None:
    url = "http://127.0.0.1:8491/webhooks/whatsapp/evolution/SECRET"
    await _open(evo, url, (*SUBSCRIBED, "INSTANCE_DELETE"))
    evo.inject_fault("webhooks_off")


REQUESTS: dict[str, Callable[[SimulatedEvolution], Any]] = {
    "rest-000-DELETE-instance-logout-alpha": _open,
    "rest-001-GET-": nothing,
    "rest-003-GET-instance-connect-alpha": offering_a_code,
    "rest-006-GET-instance-connectionState-alpha": connecting,
    "rest-007-GET-instance-connectionState-alpha": _open,
    "rest-008-GET-instance-connectionState-alpha": nothing,
    "rest-009-GET-instance-connectionState-alpha": without_licence,
    "rest-012-GET-instance-fetchInstances": _open,
    "rest-014-GET-webhook-find-alpha": subscribed,
    "rest-015-GET-webhook-find-alpha": _open,
    "rest-016-GET-webhook-find-alpha": nothing,
    "rest-017-GET-webhook-find-alpha": without_licence,
    "rest-019-POST-chat-findMessages-alpha": _open,
    "rest-030-POST-chat-findMessages-alpha": _open,
    "rest-035-POST-chat-markMessageAsRead-alpha": _open,
    "rest-036-POST-instance-create": nothing,
    "rest-038-POST-message-sendContact-alpha": _open,
    "rest-039-POST-message-sendLocation-alpha": _open,
    "rest-052-POST-message-sendText-alpha": quotable,
    "rest-053-POST-message-sendText-alpha": _open,
    "rest-054-POST-message-sendText-alpha": _open,
    "rest-055-POST-message-sendText-alpha": unanswered,
    "rest-056-POST-message-sendText-alpha": number_missing,
    "rest-057-POST-message-sendText-alpha": _open,
    "rest-060-POST-message-sendText-alpha": without_licence,
    "rest-062-POST-webhook-set-alpha": subscribed,
}
ELSEWHERE = {
    # Counted and sampled rows: the store's own test below.
    "rest-020-POST-chat-findMessages-alpha",
    "rest-022-POST-chat-findMessages-alpha",
    "rest-025-POST-chat-findMessages-alpha",
    "rest-029-POST-chat-findMessages-alpha",
    "rest-010-GET-instance-fetchInstances",
    "rest-011-GET-instance-fetchInstances",
}
NOT_SIMULATED = {
    # Files are neither converted nor fetched; a real server reads them, and fails at its own disk, or at theirs.
    "rest-032-POST-chat-getBase64FromMediaMessage-alpha",
    "rest-033-POST-chat-getBase64FromMediaMessage-alpha",
    "rest-034-POST-chat-getBase64FromMediaMessage-alpha",
    "rest-040-POST-message-sendMedia-alpha",
    "rest-041-POST-message-sendMedia-alpha",
    "rest-046-POST-message-sendMedia-alpha",
    "rest-047-POST-message-sendMedia-alpha",
    "rest-061-POST-message-sendWhatsAppAudio-alpha",
    # An instance that ended between the guard and the call.
    "rest-059-POST-message-sendText-alpha",
}


def test_every_exchange_has_a_set_up_or_a_reason() -> None:
    assert {name for name in RECORDINGS if name.startswith("rest-")} == set(REQUESTS) | ELSEWHERE | NOT_SIMULATED


@pytest.mark.parametrize("name", sorted(REQUESTS))
async def test_a_request_gets_the_real_servers_response(name: str) -> None:
    request, expected = RECORDINGS[name]["request"], RECORDINGS[name]["response"]
    key = "WRONG" if expected["status"] == 401 else KEY
    behaviour = Behaviour(statuses=(), create_wait=5, connect_wait=3)
    with trio.fail_after(30):
        async with SimulatedEvolution.running(api_key=KEY, behaviour=behaviour, seed=7) as evo:
            await REQUESTS[name](evo)
            async with httpx2.AsyncClient(timeout=5, headers={"apikey": key}) as http:
                response = await http.request(request["method"], evo.url + request["path"], json=request["body"])
    assert response.status_code == expected["status"], response.text
    said = {"register_url", "instance_id", "docs_url", "message"} if expected["status"] == 503 else set()
    assert [
        line for line in differences(expected["body"], response.json()) if line.split(":")[0].strip(".") not in said
    ] == []


def _row(name: str, position: int) -> dict[str, Any]:
    return RECORDINGS[name]["response"]["body"]["messages"]["records"][position]


async def test_the_store_shows_edits_deletions_reactions_and_groups_as_the_real_one() -> None:
    async with SimulatedEvolution.running(api_key=KEY, behaviour=Behaviour(statuses=())) as evo:
        await _open(evo, events=("MESSAGES_UPSERT",))
        evo.inject_fault("webhooks_off")
        known = {"sender": CUSTOMER, "push_name": "Cliente"}
        plain = {"conversation": "nova so no store"}
        for id in (EDITED, DELETED, BOTH):
            evo.receive("alpha", "original", external_id=id, at=AT + 0, **known)
        secret = _row("rest-025-POST-chat-findMessages-alpha", 5)["message"]["messageContextInfo"]
        bytes_of = lambda text: {str(n): octet for n, octet in enumerate(base64.b64decode(text))}  # noqa: E731
        sent = dict(secret, messageSecret=bytes_of(secret["messageSecret"]))
        sent["deviceListMetadata"] = {
            name: bytes_of(value) if name.endswith("Hash") else value
            for name, value in secret["deviceListMetadata"].items()
        }
        evo.receive(
            "alpha",
            message={**plain, "messageContextInfo": sent},
            external_id="3EB0000000000000000001",
            at=AT + 1,
            **known,
        )
        evo.react("alpha", "3EB0000000000000000001", "😮", at=AT + 2, **known)
        evo.edit("alpha", EDITED, "nova JA editada", at=AT + 3)
        evo.revoke("alpha", DELETED, at=AT + 4)
        evo.edit("alpha", BOTH, "uma vez", at=AT + 4)
        evo.edit("alpha", BOTH, "outra vez", at=AT + 5)
        group_key = _row("rest-020-POST-chat-findMessages-alpha", 0)["key"]
        evo.receive(
            "alpha", "ola grupo", GROUP, external_id=IN_GROUP, push_name="Beto", key=_without_id(group_key), at=AT + 6
        )
        async with httpx2.AsyncClient(headers={"apikey": KEY}) as http:
            response = await http.post(f"{evo.url}/chat/findMessages/alpha", json={"page": 1, "offset": 100})
            listed = await http.get(f"{evo.url}/instance/fetchInstances")
    records = {record["key"]["id"]: record for record in response.json()["messages"]["records"]}
    table = "rest-025-POST-chat-findMessages-alpha"
    assert differences(_row(table, 0), records[DELETED]) == []
    assert differences(_row(table, 1), records[EDITED]) == []
    assert differences(_row(table, 5), records["3EB0000000000000000001"]) == []
    (reaction,) = [record for record in records.values() if record["messageType"] == "reactionMessage"]
    assert differences(_row(table, 3), reaction) == [".message.reactionMessage.key.fromMe: True expected, False found"]
    group = _row("rest-020-POST-chat-findMessages-alpha", 0)
    expected = {**group, "message": {"conversation": "ola grupo"}}
    assert differences(expected, records[IN_GROUP]) == []
    assert [update["status"] for update in records[BOTH]["MessageUpdate"]] == ["EDITED", "SERVER_ACK"] * 2
    assert (records[BOTH]["message"], records[BOTH]["messageTimestamp"]) == ({"conversation": "outra vez"}, AT + 5)
    # Newest first, by the time of the edit.
    assert [record["key"]["id"] for record in response.json()["messages"]["records"]][:3] == [IN_GROUP, BOTH, DELETED]
    real = RECORDINGS["rest-010-GET-instance-fetchInstances"]["response"]["body"][0]
    assert [
        line
        for line in differences(real, listed.json()[0])
        if not line.startswith(("._count.", ".ownerJid", ".connectionStatus"))
    ] == []


def _without_id(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in ("id", "fromMe", "remoteJid")}


async def _from_customer(evo: SimulatedEvolution, name: str) -> None:
    data = RECORDINGS[name]["data"]
    message = data["message"]
    evo.receive(
        "alpha",
        sender=data["key"]["remoteJidAlt"].replace("5521911112222@s.whatsapp.net", "123@lid")
        if "remoteJidAlt" in data["key"]
        else data["key"]["remoteJid"],
        push_name=data["pushName"],
        message=message,
        message_type=data["messageType"],
        key=_without_id(data["key"]),
    )


def _messages(event: str) -> list[str]:
    return [name for name in RECORDINGS if name.startswith("hook-") and name.endswith(event)]


@pytest.mark.parametrize("name", _messages("messages.upsert"))
async def test_a_message_is_posted_as_by_the_real_server(name: str, receiver: Any) -> None:
    with trio.fail_after(30):
        async with SimulatedEvolution.running(api_key=KEY, seed=7) as evo:
            await _open(evo, receiver.url, ("MESSAGES_UPSERT",))
            await _from_customer(evo, name)
            (arrival,) = await receiver.wait_for("messages.upsert")
    expected = RECORDINGS[name]
    # The recorded server exposed its token; the context of an answer is the phone's own business.
    ignored = (".apikey", ".destination", ".date_time", ".server_url", ".data.contextInfo")
    assert [line for line in differences(expected, arrival.body) if not line.startswith(ignored)] == []


async def test_edits_deletions_statuses_and_contacts_are_posted_as_by_the_real_server(receiver: Any) -> None:
    with trio.fail_after(30):
        async with SimulatedEvolution.running(api_key=KEY, seed=7) as evo:
            await _open(evo, receiver.url)
            await receiver.wait_for("connection.update")
            evo.receive("alpha", "antes", CUSTOMER, external_id="M", push_name="Cliente")
            evo.receive("alpha", "de novo", CUSTOMER, external_id="N", push_name="Cliente")
            edit(evo.state, evo.instance("alpha"), "M", "texto novo")
            revoke(evo.state, evo.instance("alpha"), "N")
            evo.receive("alpha", "do telefone", CUSTOMER, external_id="OWN", from_me=True)
            for word in ("DELIVERY_ACK", "READ", "PLAYED", "ERROR"):
                evo.status("alpha", "OWN", word)
            evo.status("alpha", "UNKNOWN", "READ")  # skipped, as the real one skips it
            key = _without_id(RECORDINGS["hook-030-messages.upsert"]["data"]["key"])
            evo.receive("alpha", "no grupo", GROUP, push_name="Zé", key=key)
            history = [
                {"id": "5511966660001@s.whatsapp.net", "name": "Hist Nome"},
                {"id": GROUP, "name": "Equipe Vendas"},
            ]
            evo.hand_over_history("alpha", contacts=history)
            await evo.wait_until_idle()
    posted = {event: [arrival.data for arrival in receiver.received(event)] for event in receiver.events()}
    edited, deleted = posted["messages.edited"]
    assert differences(RECORDINGS["hook-012-messages.edited"]["data"], edited) == []
    assert differences(RECORDINGS["hook-013-messages.edited"]["data"], deleted) == []
    updates = posted["messages.update"]
    assert {update["keyId"] for update in updates} == {"M", "OWN"}
    (embedded,) = [update for update in updates if update["keyId"] == "M"]
    assert embedded["message"] == {"editedMessage": {"message": {"conversation": "texto novo"}}}
    assert embedded["status"] == "SERVER_ACK"
    statuses = {update["status"]: update for update in updates if update["keyId"] == "OWN"}
    for name in _messages("messages.update"):
        real = RECORDINGS[name]["data"]
        found = differences({**real, "keyId": "OWN"}, statuses[real["status"]])
        assert found in ([], [".participant: too much"]), name
    assert posted["messages.delete"] == [
        {
            "remoteJid": PERSON,
            "fromMe": False,
            "id": "N",
            "participant": "",
            "addressingMode": "pn",
            "status": "DELETED",
        }
    ]
    arrays = [data for data in posted["contacts.update"] if isinstance(data, list)]
    assert differences(RECORDINGS["hook-005-contacts.update"]["data"], min(arrays, key=len)) == []
    (added,) = [data for data in posted["contacts.upsert"] if isinstance(data, list)]
    assert differences(RECORDINGS["hook-007-contacts.upsert"]["data"], added) == []
    (renamed,) = [data for data in arrays if len(data) == 2]
    assert differences(RECORDINGS["hook-004-contacts.update"]["data"], renamed) == []
    # After a group's message it is the group that is called by its participant's name.
    assert [data["pushName"] for data in posted["contacts.upsert"] if isinstance(data, dict)] == ["Cliente", "Zé"]
    assert [data["pushName"] for data in posted["contacts.update"] if isinstance(data, dict)] == ["Cliente", ""]


async def test_the_end_of_a_line_and_of_an_instance_are_posted_as_by_the_real_server(receiver: Any) -> None:
    with trio.fail_after(30):
        async with SimulatedEvolution.running(api_key=KEY, seed=7) as evo:
            await _open(evo, receiver.url)
            connection_lifecycle.remove(evo.state, evo.instance("alpha"))
            await evo.wait_until_idle()
    (removed,) = receiver.received("instance.delete")
    assert differences(RECORDINGS["hook-009-instance.delete"]["data"], removed.data) == []
    closes = [arrival.data for arrival in receiver.received("connection.update") if arrival.data["state"] == "close"]
    assert closes == [RECORDINGS["hook-002-connection.update"]["data"]]
