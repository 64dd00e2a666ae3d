"""Who wrote, where and when, in the forms that versions differ in."""

import json
from typing import Any

import pytest

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.inbound_events import Ignored, InboundEvent
from zapline.domain.messages.facts import MessageArrived
from zapline.evolution.webhooks.event_parser import parse_webhook

PHONE, LID, OWN = "5511999990001@s.whatsapp.net", "111222333444555@lid", "5511999990000@s.whatsapp.net"
GROUP = "120363025246125486@g.us"
MARIA = Address(AddressKind.PERSON, "+5511999990001", "+5511999990001", "111222333444555", (LID, PHONE))
AT = 1717604327


def body(event: str, data: Any) -> bytes:
    return json.dumps({"event": event, "instance": "loja", "data": data, "sender": OWN, "apikey": None}).encode()


def upsert(message: Any, key: dict[str, Any] | None = None, **more: Any) -> list[InboundEvent]:
    whole = {"remoteJid": PHONE, "fromMe": False, "id": "3A1"} | (key or {})
    return parse_webhook(body("messages.upsert", {"key": whole, "message": message, "messageTimestamp": AT, **more}))


def arrived(message: Any, key: dict[str, Any] | None = None, **more: Any) -> MessageArrived:
    fact, *_ = upsert(message, key, **more)
    assert isinstance(fact, MessageArrived)
    return fact


# -- who -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        {"remoteJid": PHONE, "senderLid": LID, "senderPn": PHONE, "previousRemoteJid": LID},
        {"remoteJid": LID, "senderPn": PHONE, "senderLid": LID},
        {"remoteJid": LID, "remoteJidAlt": PHONE, "addressingMode": "lid"},
        {"remoteJid": PHONE, "remoteJidAlt": LID, "addressingMode": "pn"},
        {"remoteJid": "5511999990001:3@s.whatsapp.net", "remoteJidAlt": "111222333444555:7@lid"},
    ],
)
def test_every_version_says_phone_and_lid_of_one_person(key: dict[str, Any]) -> None:
    assert arrived({"conversation": "x"}, key).chat == MARIA


def test_a_lid_may_be_all_there_is() -> None:
    chat = arrived({"conversation": "x"}, {"remoteJid": LID}).chat
    assert (chat.canonical, chat.phone) == ("lid:111222333444555", None)


@pytest.mark.parametrize(
    "key",
    [
        {"participant": LID, "participantAlt": PHONE},
        {"participant": PHONE, "participantAlt": LID},
        {"participant": LID, "participantPn": PHONE},
        {"participant": PHONE, "participantLid": LID, "senderPn": PHONE},
        {"participant": LID, "senderPn": PHONE, "senderLid": LID},
    ],
)
def test_a_group_message_names_its_writer_and_keeps_its_group(key: dict[str, Any]) -> None:
    fact = arrived({"conversation": "x"}, {"remoteJid": GROUP, **key})
    assert fact.chat.canonical == f"group:{GROUP}"
    assert fact.sender == MARIA


@pytest.mark.parametrize(
    ("key", "canonical", "phone", "lid"),
    [
        ({"remoteJid": PHONE, "senderPn": OWN, "senderLid": "777@lid"}, "+5511999990001", "+5511999990001", None),
        ({"remoteJid": LID, "remoteJidAlt": OWN}, "lid:111222333444555", None, "111222333444555"),
        ({"remoteJid": LID, "senderPn": OWN}, "lid:111222333444555", None, "111222333444555"),
        ({"remoteJid": LID, "remoteJidAlt": PHONE}, "+5511999990001", "+5511999990001", "111222333444555"),
        (
            {"remoteJid": OWN, "senderPn": OWN, "senderLid": "777@lid", "previousRemoteJid": LID},
            "lid:111222333444555",
            None,
            "111222333444555",
        ),
        ({"remoteJid": OWN, "remoteJidAlt": "777@lid"}, "+5511999990000", "+5511999990000", "777"),
    ],
)
def test_our_own_number_is_never_tied_to_a_contact(
    key: dict[str, Any], canonical: str, phone: str | None, lid: str | None
) -> None:
    chat = arrived({"conversation": "x"}, {"fromMe": True, **key}).chat
    assert (chat.canonical, chat.phone, chat.lid) == (canonical, phone, lid)


def test_digits_and_our_own_name_are_not_a_contacts_name() -> None:
    assert arrived({"conversation": "x"}, pushName="5511999990001").push_name is None
    assert arrived({"conversation": "x"}, {"fromMe": True}, pushName="Você").push_name is None
    assert arrived({"conversation": "x"}, pushName="M" * 999).push_name == "M" * 200


@pytest.mark.parametrize(
    ("jid", "reason"),
    [
        ("status@broadcast", "status_broadcast"),
        ("123@newsletter", "newsletter"),
        ("1609459200@broadcast", "broadcast_list"),  # our own: nobody tells to whom it went
    ],
)
def test_what_is_no_conversation_is_ignored_in_every_event(jid: str, reason: str) -> None:
    key = {"remoteJid": jid, "id": "3A1", "fromMe": reason == "broadcast_list"}
    assert upsert({"conversation": "x"}, key) == [Ignored(reason)]
    for event in ("messages.update", "messages.delete"):
        assert parse_webhook(body(event, key | {"status": "READ"})) == [Ignored(reason)]
    edit = {"key": key, "type": "MESSAGE_EDIT", "editedMessage": {"conversation": "y"}}
    assert parse_webhook(body("messages.edited", edit)) == [Ignored(reason)]


# -- when ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (AT, AT),
        (str(AT), AT),
        (float(AT), AT),
        (AT * 1000 + 500, AT + 0.5),
        (str(AT * 1000), AT),
        ({"low": AT, "high": 0, "unsigned": True}, AT),
        ({"low": -1, "high": 0, "unsigned": True}, None),
        ({"low": AT}, AT),
        (0, None),
        (-5, None),
        (10**30, None),
        ("soon", None),
        (True, None),
        (None, None),
        ([AT], None),
        (1_000_000_000, None),
        (5_000_000_000, None),
    ],
)
def test_a_time_is_read_in_every_form_and_refused_out_of_range(value: Any, seconds: float | None) -> None:
    key = {"remoteJid": PHONE, "id": "3A1"}
    data = {"key": key, "message": {"conversation": "x"}, "messageTimestamp": value}
    [fact] = parse_webhook(body("messages.upsert", data))
    assert isinstance(fact, MessageArrived)
    assert fact.sent_at == seconds
