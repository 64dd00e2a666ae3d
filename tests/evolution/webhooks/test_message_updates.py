"""Edits, deletions, statuses, reactions and votes on all their ways; envelopes that are odd or broken."""

import json
from typing import Any

import pytest

from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.line.events import Closed, QrLimitReached, QrOffered
from zapline.domain.messages.delivery_status import REFUSED, REFUSED_TOO_MANY, DeliveryStatus
from zapline.domain.messages.facts import (
    ContactSeen,
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    ReactionReported,
    StatusReported,
    VoteReported,
)
from zapline.domain.messages.message_secrets import EncryptedReport, SecretUse
from zapline.evolution.webhooks.event_parser import parse_webhook

PHONE, LID, OWN = "5511999990001@s.whatsapp.net", "111222333444555@lid", "5511999990000@s.whatsapp.net"
GROUP = "120363025246125486@g.us"
MARIA = Address(AddressKind.PERSON, "+5511999990001", "+5511999990001", "111222333444555", (LID, PHONE))
AT = 1717604327
TARGET = ExternalId("3EB0TARGET")


def body(event: str, data: Any) -> bytes:
    return json.dumps({"event": event, "instance": "loja", "data": data, "sender": OWN, "apikey": None}).encode()


def upsert(message: Any, key: dict[str, Any] | None = None, **more: Any) -> list[InboundEvent]:
    whole = {"remoteJid": PHONE, "fromMe": False, "id": "3A1"} | (key or {})
    return parse_webhook(body("messages.upsert", {"key": whole, "message": message, "messageTimestamp": AT, **more}))


def arrived(message: Any, key: dict[str, Any] | None = None, **more: Any) -> MessageArrived:
    [fact] = upsert(message, key, **more)
    assert isinstance(fact, MessageArrived)
    return fact


# -- about other messages --------------------------------------------------------------------------------------

EDIT = {"key": {"id": TARGET}, "editedMessage": {"conversation": "novo"}, "timestampMs": str(AT * 1000)}
EDITED = MessageEdited(TARGET, "novo", AT * 1000)
KEY = {"remoteJid": PHONE, "fromMe": True, "id": TARGET}


@pytest.mark.parametrize("kind", ["MESSAGE_EDIT", 14])
def test_an_edit_is_the_same_on_all_its_ways(kind: Any) -> None:
    edit = EDIT | {"type": kind}
    assert parse_webhook(body("messages.edited", edit)) == [EDITED]
    assert parse_webhook(body("send.message.update", edit)) == [EDITED]
    assert upsert({"protocolMessage": edit}) == [EDITED]
    assert upsert({"editedMessage": {"message": {"protocolMessage": edit}}}) == [EDITED]
    assert upsert({"ephemeralMessage": {"message": {"protocolMessage": edit}}}) == [EDITED]
    update = {"keyId": "other", "remoteJid": PHONE, "fromMe": False, "status": "DELETED"}
    assert parse_webhook(body("messages.update", update | {"message": {"protocolMessage": edit}})) == [EDITED]


def test_an_edit_inside_an_update_wins_over_the_status_that_nobody_reported() -> None:
    edit = {"editedMessage": {"message": {"conversation": "novo"}}}
    for status in ("DELETED", "SERVER_ACK", None):
        data = {"keyId": TARGET, "remoteJid": PHONE, "status": status, "message": edit, "messageTimestamp": AT}
        assert parse_webhook(body("messages.update", data)) == [EDITED]


def test_an_edited_caption_is_an_edit() -> None:
    edit = {"key": KEY, "type": "MESSAGE_EDIT", "editedMessage": {"imageMessage": {"caption": "c"}}}
    assert parse_webhook(body("messages.edited", edit)) == [MessageEdited(TARGET, "c", 0)]


def test_an_edit_without_its_protocol_message_is_message_and_edit() -> None:
    message, edit = upsert({"editedMessage": {"message": {"conversation": "novo"}}}, {"id": TARGET})
    assert isinstance(message, MessageArrived)
    assert edit == EDITED


def test_a_deletion_is_the_same_on_all_its_ways() -> None:
    deleted = [MessageDeleted(TARGET)]
    revoke = {"key": KEY, "type": "REVOKE"}
    assert parse_webhook(body("messages.edited", revoke)) == deleted
    assert parse_webhook(body("messages.edited", revoke | {"type": 0})) == deleted
    assert upsert({"protocolMessage": revoke}) == deleted
    assert parse_webhook(body("messages.delete", KEY)) == deleted
    assert parse_webhook(body("messages.delete", KEY | {"status": "DELETED", "participant": PHONE})) == deleted
    assert (
        parse_webhook(body("messages.delete", {"id": "cm6xyz", "key": KEY, "message": {"conversation": "x"}}))
        == deleted
    )
    assert parse_webhook(body("messages.delete", {"keys": [KEY]})) == deleted
    assert parse_webhook(body("messages.delete", [KEY])) == deleted


def test_a_deleted_status_alone_is_ambiguous() -> None:
    data = {"keyId": TARGET, "remoteJid": PHONE, "status": "DELETED"}
    assert parse_webhook(body("messages.update", data)) == [Ignored("ambiguous_deleted_status")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"status": "READ"}, StatusReported(TARGET, DeliveryStatus.READ)),
        ({"status": 4}, StatusReported(TARGET, DeliveryStatus.READ)),
        ({"status": "SERVER_ACK", "remoteJid": GROUP}, StatusReported(TARGET, DeliveryStatus.SENT)),
        ({"status": "READ", "remoteJid": GROUP}, Ignored("group_receipt")),
        ({"status": "ERROR"}, StatusReported(TARGET, DeliveryStatus.FAILED)),
        ({"status": 0}, StatusReported(TARGET, DeliveryStatus.FAILED)),
        ({"update": {"status": 0}}, StatusReported(TARGET, DeliveryStatus.FAILED)),
        (
            {"status": "ERROR", "messageStubParameters": ["463"]},
            StatusReported(TARGET, DeliveryStatus.FAILED, REFUSED_TOO_MANY),
        ),
        (
            {"update": {"status": 0, "messageStubParameters": [463]}},
            StatusReported(TARGET, DeliveryStatus.FAILED, REFUSED_TOO_MANY),
        ),
        (
            {"status": 0, "messageStubParameters": ["479"]},
            StatusReported(TARGET, DeliveryStatus.FAILED, REFUSED),
        ),
        ({"status": "READ", "messageStubParameters": ["463"]}, StatusReported(TARGET, DeliveryStatus.READ)),
        ({"status": "SEEN"}, Ignored("unknown_status")),
        ({"status": ["READ"]}, Ignored("unknown_status")),
        ({}, Ignored("update_without_status")),
    ],
)
def test_a_status_is_read_or_ignored_by_reason(data: dict[str, Any], expected: InboundEvent) -> None:
    assert parse_webhook(body("messages.update", {"keyId": TARGET, "remoteJid": PHONE, **data})) == [expected]


def test_updates_in_an_array_are_read_one_by_one() -> None:
    data = [{"key": KEY, "status": "READ"}, 5, {"id": "B", "remoteJid": PHONE, "status": "PLAYED"}]
    assert parse_webhook(body("messages.update", data)) == [
        StatusReported(TARGET, DeliveryStatus.READ),
        Unusable("no_data"),
        StatusReported(ExternalId("B"), DeliveryStatus.PLAYED),
    ]


def test_a_reaction_names_its_actor_and_may_be_taken_back() -> None:
    reaction = {"reactionMessage": {"key": {"id": TARGET}, "text": "", "senderTimestampMs": AT * 1000}}
    assert upsert(reaction) == [ReactionReported(TARGET, "+5511999990001", "", AT * 1000)]
    assert upsert(reaction, {"fromMe": True}) == [ReactionReported(TARGET, "me", "", AT * 1000)]
    key = {"remoteJid": GROUP, "participant": LID}
    assert upsert(reaction, key) == [ReactionReported(TARGET, "lid:111222333444555", "", AT * 1000)]


def test_a_vote_is_encrypted_until_evolution_opens_it() -> None:
    vote = {"pollUpdateMessage": {"pollCreationMessageKey": {"id": TARGET}, "vote": {"encPayload": "x"}}}
    told, waiting = upsert(vote)
    assert told == VoteReported(TARGET, "+5511999990001", None, AT * 1000)
    assert isinstance(waiting, EncryptedReport)
    assert (waiting.external_id, waiting.use) == (TARGET, SecretUse.POLL_VOTE)
    counted = [{"name": "a", "voters": [PHONE]}, {"name": "b", "voters": []}]
    assert upsert(vote, pollUpdates=counted) == [VoteReported(TARGET, "+5511999990001", ("a",), AT * 1000)]


def test_counted_votes_are_turned_into_one_vote_per_voter() -> None:
    counted = [{"name": "a", "voters": [PHONE, OWN]}, {"name": "b", "voters": [PHONE, 5]}, {"name": "c"}]
    data = {"keyId": TARGET, "remoteJid": GROUP, "status": "SERVER_ACK", "pollUpdates": counted}
    assert parse_webhook(body("messages.update", data)) == [
        VoteReported(TARGET, "+5511999990001", ("a", "b"), 0),
        VoteReported(TARGET, "me", ("a",), 0),
    ]


# -- envelopes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["messages.upsert", "MESSAGES_UPSERT", "messages-upsert", "Messages.Upsert", " messages_upsert "]
)
def test_an_event_is_known_by_any_spelling(name: str) -> None:
    data = {"key": {"remoteJid": PHONE, "id": "3A1"}, "message": {"conversation": "x"}}
    [fact] = parse_webhook(body(name, data))
    assert isinstance(fact, MessageArrived)
    [hinted] = parse_webhook(json.dumps({"data": data}).encode(), event_hint=name)
    assert hinted == fact


@pytest.mark.parametrize(
    "name", ["group-participants.update", "group-participants-update", "GROUP_PARTICIPANTS_UPDATE"]
)
def test_a_dash_inside_a_name_survives(name: str) -> None:
    data = {"participants": [{"id": LID, "phoneNumber": PHONE}]}
    assert parse_webhook(body(name, data)) == [ContactSeen(MARIA)]
    assert parse_webhook(body(name, {"participants": [LID]})) == [Ignored("group_participants")]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'{"event":"call","n":NaN}', "invalid_json"),
        (b'{"event":"call","n":' + b"1" * 6000 + b"}", "invalid_json"),
        (b"[]", "not_an_object"),
        (b"7", "not_an_object"),
        (b"{}", "unknown_event"),
        (b'{"event":5}', "unknown_event"),
        (b'{"event":"messages.upsert"}', "no_data"),
        (b'{"event":"contacts.update","data":5}', "no_data"),
        (b'{"event":"messages.set","data":"x"}', "no_data"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b'{"event":"messages.upsert","data":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "too_deep"),
    ],
)
def test_what_cannot_be_used_says_why(raw: bytes, reason: str) -> None:
    assert parse_webhook(raw) == [Unusable(reason)]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"id": None}, "no_message_id"),
        ({"id": ""}, "no_message_id"),
        ({"id": 5}, "no_message_id"),
        ({"id": "x" * 201}, "id_too_long"),
        ({"id": "a\x00b"}, "bad_message_id"),
        ({"remoteJid": None}, "no_chat"),
        ({"remoteJid": "nobody"}, "no_chat"),
        ({"remoteJid": {"a": 1}}, "no_chat"),
    ],
)
def test_a_message_without_identity_cannot_be_used(key: dict[str, Any], reason: str) -> None:
    assert upsert({"conversation": "x"}, key) == [Unusable(reason)]


def test_an_empty_array_is_ignored() -> None:
    assert parse_webhook(body("messages.set", [])) == [Ignored("empty")]


def test_half_an_emoji_and_nul_do_not_cost_the_message() -> None:
    raw = body("messages.upsert", {"key": KEY, "message": {"conversation": "a\ud83d\x00b"}, "pushName": "\udc00"})
    [fact] = parse_webhook(raw)
    assert isinstance(fact, MessageArrived)
    assert fact.text == "a\ufffdb"


def test_a_very_long_text_is_cut() -> None:
    text = arrived({"conversation": "x" * 200_000}).text
    assert text is not None
    assert len(text) == 131_072


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"message": "QR code limit reached, please login again", "statusCode": 500}, QrLimitReached()),
        ({"qrcode": {"count": 0}}, Ignored("qr_not_ready")),
        ({"qrcode": {"code": "2@x", "count": 3}}, QrOffered("2@x", None, 3)),
        ({}, Unusable("no_qr_code")),
    ],
)
def test_a_qr_body_is_a_code_a_limit_or_neither(data: Any, expected: InboundEvent) -> None:
    assert parse_webhook(body("qrcode.updated", data)) == [expected]


def test_a_disconnection_without_a_stream_node_gives_its_message() -> None:
    detail = json.dumps({"error": {"output": {"payload": {"message": "Connection Failure"}}}})
    data = {"status": "closed", "disconnectionReasonCode": "403", "disconnectionObject": detail}
    assert parse_webhook(body("status.instance", data)) == [Closed(403, "Connection Failure", final=True)]
    assert parse_webhook(body("status.instance", data | {"disconnectionObject": "{"})) == [Closed(403, final=True)]


def test_everybody_in_a_large_group_may_react_and_answer() -> None:
    members = [{"remoteJid": GROUP, "participant": f"55119999{number:05}@s.whatsapp.net"} for number in range(1024)]
    reactions = [{"key": key, "text": "👍", "senderTimestampMs": AT * 1000} for key in members]
    facts = upsert({"conversation": "oi"}, {"remoteJid": GROUP, "participant": PHONE}, reactions=reactions)
    assert len([fact for fact in facts if isinstance(fact, ReactionReported)]) == 1024
    answers = [{"eventResponseMessageKey": key, "eventResponseMessage": {"response": "GOING"}} for key in members]
    data = {"keyId": TARGET, "remoteJid": GROUP, "fromMe": True, "eventResponses": answers}
    assert len(parse_webhook(body("messages.update", data))) == 1024
