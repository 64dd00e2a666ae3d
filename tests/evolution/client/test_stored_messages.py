"""Evolution's stored messages parse to the same facts as its webhooks, in the form of every version."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.many_cases import in_one_test
from support.property_examples import examples

import zapline.sandbox
from zapline.domain.inbound_events import IGNORED_REASONS, Ignored, InboundEvent, Unusable
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import (
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    MessageKind,
    ReactionReported,
    StatusReported,
)
from zapline.evolution.client.response_parser import decode_json, parse_message_page
from zapline.evolution.client.stored_messages import (
    RECORDS_PER_ENTRY,
    entry_bodies,
    is_stored_deletion,
    parse_stored_messages,
    stored_edit,
)
from zapline.evolution.webhooks.event_parser import parse_webhook

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
OWN = "5511999990000@s.whatsapp.net"


def page(name: str) -> list[dict[str, Any]]:
    answer = json.loads((RECORDINGS / "rest" / f"{name}.json").read_bytes())["response"]
    return [dict(record) for record in parse_message_page(answer["body"]).records]


def read_back(records: list[dict[str, Any]], own: str | None = OWN) -> list[InboundEvent]:
    return [fact for body in entry_bodies(records, own) for fact in parse_stored_messages(body)]


def record(status: list[str], jid: str = "5511999990001@s.whatsapp.net", **more: Any) -> dict[str, Any]:
    key = {"id": "3EB0A", "fromMe": True, "remoteJid": jid}
    plain = {"key": key, "message": {"conversation": "oi"}, "messageType": "conversation"}
    return {**plain, "messageTimestamp": 1795364543, "MessageUpdate": [{"status": one} for one in status], **more}


def test_a_recorded_page_becomes_messages_each_followed_by_its_highest_status() -> None:
    facts = read_back(page("findMessages-some"))
    assert [(type(fact).__name__, fact.external_id) for fact in facts] == [  # type: ignore[union-attr]
        ("MessageArrived", "3EB0646F7AA356A3352DB2"),
        ("MessageArrived", "3EB008DF49AE04DF72E5C4"),
        ("StatusReported", "3EB008DF49AE04DF72E5C4"),
    ]
    first, second, status = facts
    assert isinstance(first, MessageArrived)
    assert isinstance(second, MessageArrived)
    assert (first.text, first.from_me, first.origin, first.sent_at) == ("slow", True, "backfill", 1795364543.0)
    assert first.chat.canonical == "+5511999990001"
    assert second.text == "race"
    assert status == StatusReported(second.external_id, DeliveryStatus.SENT)


def test_the_highest_of_unordered_statuses_counts_and_failure_yields_to_arrival() -> None:
    _, status = read_back(page("findMessages-by-id"))
    assert isinstance(status, StatusReported)
    assert status.delivery is DeliveryStatus.PLAYED
    for updates, expected in (
        ([], None),
        (["SERVER_ACK", "ERROR"], DeliveryStatus.FAILED),
        (["ERROR", "DELIVERY_ACK"], DeliveryStatus.DELIVERED),
        (["DELETED", "nonsense"], None),
        (["SERVER_ACK", "DELETED"], DeliveryStatus.SENT),
        (["SERVER_ACK"] * 150 + ["READ"], DeliveryStatus.READ),
    ):
        statuses = [fact.delivery for fact in read_back([record(updates)]) if isinstance(fact, StatusReported)]
        assert statuses == ([] if expected is None else [expected]), updates


def test_one_reader_does_not_speak_for_a_group() -> None:
    group = "120363025246125486@g.us"
    assert [type(fact) for fact in read_back([record(["READ"], group)])] == [MessageArrived]
    _, status = read_back([record(["READ", "SERVER_ACK"], group)])
    assert status == StatusReported("3EB0A", DeliveryStatus.SENT)


def test_numbers_and_names_of_other_versions_are_understood() -> None:
    long = {"low": 1795364543, "high": 0, "unsigned": False}
    for timestamp in (1795364543, "1795364543", long):
        (fact,) = read_back([record([], messageTimestamp=timestamp)])
        assert isinstance(fact, MessageArrived)
        assert fact.sent_at == 1795364543.0
    (fact,) = read_back([record([], MessageUpdate=None, _id="65f0", owner="loja", source=None)])
    assert isinstance(fact, MessageArrived)
    (waiting,) = read_back([record([], message={})])
    assert isinstance(waiting, MessageArrived)
    assert waiting.keep_raw


def test_edits_and_deletions_are_read_as_a_real_server_stores_them() -> None:
    answer = json.loads((RECORDINGS / "real-2.3.7" / "rest-025-POST-chat-findMessages-alpha.json").read_bytes())
    facts = read_back([dict(record) for record in parse_message_page(answer["response"]["body"]).records])
    arrived = {fact.external_id: fact for fact in facts if isinstance(fact, MessageArrived)}
    deleted = {fact.external_id for fact in facts if isinstance(fact, MessageDeleted)}
    edits = {fact.external_id: (fact.text, fact.edited_at_ms) for fact in facts if isinstance(fact, MessageEdited)}
    assert deleted == {"3EB0C87E7649F6472C313B", "3EB0095B76249B5AC1634E"}
    assert edits == {
        "3EB088FE8AE2FEED14BF2E": ("nova JA editada", 1795974214999),
        "3EB03E500121A9F81BECB9": ("editada A", 1795974214999),
    }
    assert {id: (fact.kind, fact.text) for id, fact in arrived.items()} == {
        **dict.fromkeys((*deleted, *edits), (MessageKind.TEXT, None)),
        "3EB0C7DD86CED22FCE635D": (MessageKind.TEXT, "nova so no store"),
    }
    assert [fact.emoji for fact in facts if isinstance(fact, ReactionReported)] == ["😮"]
    assert all(not fact.keep_raw for fact in arrived.values())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("conversation", MessageKind.TEXT),
        ("extendedTextMessage", MessageKind.TEXT),
        ("imageMessage", MessageKind.IMAGE),
        ("documentWithCaptionMessage", MessageKind.UNKNOWN),
        ("audioMessage", MessageKind.AUDIO),
        ("pollCreationMessageV3", MessageKind.POLL),
        ("unknown", MessageKind.UNKNOWN),
        (None, MessageKind.UNKNOWN),
    ],
)
def test_a_message_first_seen_after_its_deletion_is_a_deleted_one(kind: str | None, expected: MessageKind) -> None:
    facts = read_back([record(["EDITED", "SERVER_ACK"], message=None, messageType=kind)])
    assert [type(fact) for fact in facts] == [MessageArrived, StatusReported, MessageDeleted]
    arrived = facts[0]
    assert isinstance(arrived, MessageArrived)
    assert (arrived.kind, arrived.text, arrived.media, arrived.keep_raw) == (expected, None, None, False)


def test_what_the_row_of_a_deletion_leaves_open_is_not_claimed() -> None:
    # By the API: the key says so, and the text stays. A system's notice was never a message.
    key = {"id": "3EB0A", "fromMe": True, "remoteJid": "5511999990001@s.whatsapp.net", "deleted": True}
    facts = read_back([record(["DELETED"], key=key)])
    assert [type(fact) for fact in facts] == [MessageArrived, MessageDeleted]
    assert isinstance(facts[0], MessageArrived)
    assert facts[0].text == "oi"
    assert read_back([record([], message=None, messageStubType=27)]) == [Ignored("system_notice")]
    assert read_back([record([], message=None, messageType="reactionMessage")]) == [Ignored("deleted_report")]
    # 2.3.0 to 2.3.6 write DELETED where an update has no status.
    assert [type(fact) for fact in read_back([record(["DELETED"])])] == [MessageArrived]


def test_an_edited_caption_leaves_the_file_to_what_is_known_of_it() -> None:
    facts = read_back([record(["EDITED"], message={"imageMessage": {"caption": "nova"}}, messageType="imageMessage")])
    arrived, edit = (fact for fact in facts if not isinstance(fact, StatusReported))
    assert isinstance(arrived, MessageArrived)
    assert (arrived.kind, arrived.text, arrived.media) == (MessageKind.IMAGE, None, None)
    assert edit == MessageEdited(arrived.external_id, "nova", 1795364543999)
    [(text, known)] = [
        (fact.text, is_stored_deletion(each))
        for each in [record(["EDITED"], message={"editedMessage": {"message": {"conversation": "dentro"}}})]
        for fact in read_back([each])
        if isinstance(fact, MessageEdited)
    ]
    assert (text, known) == ("dentro", False)


@pytest.mark.parametrize("message", [None, {}, {"conversation": "x"}, {"pollUpdateMessage": {}}, {"none": 1}, "x"])
@pytest.mark.parametrize("updates", [[], ["EDITED"], ["EDITED", "EDITED", "DELETED"]])
def test_a_row_is_deleted_or_edited_or_neither(message: Any, updates: list[str]) -> None:
    each = record(updates, message=message)
    assert not (is_stored_deletion(each) and stored_edit(each) is not None)
    assert (stored_edit(each) == "x") == (message == {"conversation": "x"} and bool(updates))


def test_version_1_answers_all_records_without_pages() -> None:
    page = parse_message_page([record([]), record([])])
    assert (page.total, page.pages, page.page, len(page.records)) == (2, 1, 1, 2)


MESSAGES = sorted(
    path.stem
    for path in (RECORDINGS / "webhooks").glob("*.json")
    if "messages.upsert" in path.stem or path.stem.startswith("send.message")
)


@in_one_test(MESSAGES)
def test_a_stored_message_parses_like_its_webhook(name: str) -> None:
    body = (RECORDINGS / "webhooks" / f"{name}.json").read_bytes()
    webhook = json.loads(body)
    data = webhook["data"] if isinstance(webhook["data"], list) else [webhook["data"]]
    facts = read_back(data, webhook.get("sender"))
    expected = [
        msgspec.structs.replace(fact, origin="backfill") if isinstance(fact, MessageArrived) else fact
        for fact in parse_webhook(body)
    ]
    assert facts == expected


def test_a_long_page_becomes_several_bodies_and_loses_nothing() -> None:
    records = [record([]) | {"key": {"id": f"M{n}", "remoteJid": "1@lid"}} for n in range(2 * RECORDS_PER_ENTRY + 1)]
    bodies = entry_bodies(records, None)
    assert [len(json.loads(body)["records"]) for body in bodies] == [RECORDS_PER_ENTRY, RECORDS_PER_ENTRY, 1]
    ids = [
        fact.external_id for body in bodies for fact in parse_stored_messages(body) if isinstance(fact, MessageArrived)
    ]
    assert ids == [f"M{n}" for n in range(2 * RECORDS_PER_ENTRY + 1)]
    assert entry_bodies([], OWN) == []


JID = "5511999990001@s.whatsapp.net"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": {"remoteJid": JID}}, "stored_without_id"),
        ({"key": None}, "stored_without_id"),
        ({"key": {"id": "", "remoteJid": JID}}, "stored_without_id"),
        ({"key": {"id": 7, "remoteJid": JID}}, "stored_without_id"),
        ({"key": {"id": "A\0B", "remoteJid": JID}}, "stored_with_bad_id"),
        ({"key": {"id": "A" * 2000, "remoteJid": JID}}, "stored_with_bad_id"),
        ({"key": {"id": "A1"}}, "stored_without_chat"),
        ({"key": {"id": "A1", "remoteJid": "nobody"}}, "stored_without_chat"),
        ({"message": {"reactionMessage": {"text": "x"}}}, "stored_without_target"),
        ({"message": {"protocolMessage": {"type": "REVOKE"}}}, "stored_without_target"),
        ({"message": {"secretEncryptedMessage": {"secretEncType": 2}}}, "stored_without_target"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_by_what_it_lacks(change: dict[str, Any], reason: str) -> None:
    assert [fact for fact in read_back([record([]) | change]) if isinstance(fact, Ignored)] == [Ignored(reason)]
    assert reason in IGNORED_REASONS


def test_a_row_that_is_no_object_is_counted() -> None:
    assert parse_stored_messages(b'{"records": [5, null]}') == [Ignored("stored_unusable")] * 2


def test_half_an_emoji_costs_neither_the_page_nor_the_message() -> None:
    raw = json.dumps({"messages": {"total": 1, "pages": 1, "currentPage": 1, "records": [record(["READ"])]}})
    cut = raw.replace('"oi"', '"oi \\ud83d"').encode()
    facts = read_back([dict(each) for each in parse_message_page(decode_json(cut, 200)).records])
    assert [type(fact) for fact in facts] == [MessageArrived, StatusReported]
    assert isinstance(facts[0], MessageArrived)
    assert facts[0].text == "oi �"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "invalid_json"), (b"[" * 100_000, "too_deep"), (b"[]", "not_an_object"), (b'"x"', "not_an_object")],
)
def test_a_body_that_is_not_ours_is_unusable(body: bytes, reason: str) -> None:
    assert parse_stored_messages(body) == [Unusable(reason)]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    # Half characters too, and the words that mean something.
    | st.text(st.characters(codec=None), max_size=8)
    | st.sampled_from(["READ", "1@lid", "5511999990001@s.whatsapp.net", "3EB0A"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["key", "id", "remoteJid", "fromMe", "message", "conversation", "MessageUpdate", "status"]),
        inner, max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(records=st.lists(st.dictionaries(st.sampled_from(list(record([]))), anything, max_size=5), max_size=3))
def test_any_records_survive_the_journal_and_read_to_storable_facts(records: list[dict[str, Any]]) -> None:
    for fact in read_back([record(["READ"]) | each for each in records]):
        plain = fact if isinstance(fact, msgspec.Struct) else dataclasses.asdict(fact)
        assert "\\u0000" not in msgspec.json.encode(plain).decode()


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=40) | anything.map(lambda value: json.dumps({"sender": value, "records": [value]}).encode()))
def test_any_body_is_read_without_raising(body: bytes) -> None:
    assert isinstance(parse_stored_messages(body), list)
