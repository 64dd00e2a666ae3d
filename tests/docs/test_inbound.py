"""docs/inbound.md names every event and kind of message, and nothing that comes in is dropped without a reason."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.many_cases import in_one_test

import zapline.evolution
import zapline.sandbox
from zapline.domain.inbound_events import IGNORED_REASONS, Ignored, InboundEvent, Unusable
from zapline.domain.messages.facts import MessageArrived, MessageKind
from zapline.domain.messages.message_secrets import SecretUse
from zapline.evolution.client.stored_messages import _SKIPPED
from zapline.evolution.webhooks.chats_and_contacts import SKIPPED_CHATS
from zapline.evolution.webhooks.contents.fates_document import EVENT_FATES, fates_page
from zapline.evolution.webhooks.edits_and_deletions import NOTICE_NAMES, NOTICES
from zapline.evolution.webhooks.encrypted.encrypted_reports import _USES
from zapline.evolution.webhooks.envelope import EVENTS
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.evolution.webhooks.message_content import BESIDE_CONTENT, CONTENT_KEYS, UNREADABLE, WRAPPERS

PAGE = Path(__file__).parents[2] / "docs" / "inbound.md"
SOURCES = Path(zapline.evolution.__file__).parent
RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"

PROTO = """
conversation senderKeyDistributionMessage imageMessage contactMessage locationMessage extendedTextMessage
documentMessage audioMessage videoMessage call chat protocolMessage contactsArrayMessage highlyStructuredMessage
fastRatchetKeySenderKeyDistributionMessage sendPaymentMessage liveLocationMessage requestPaymentMessage
declinePaymentRequestMessage cancelPaymentRequestMessage templateMessage stickerMessage groupInviteMessage
templateButtonReplyMessage productMessage deviceSentMessage messageContextInfo listMessage viewOnceMessage orderMessage
listResponseMessage ephemeralMessage invoiceMessage buttonsMessage buttonsResponseMessage paymentInviteMessage
interactiveMessage reactionMessage stickerSyncRmrMessage interactiveResponseMessage pollCreationMessage
pollUpdateMessage keepInChatMessage documentWithCaptionMessage requestPhoneNumberMessage viewOnceMessageV2
encReactionMessage editedMessage viewOnceMessageV2Extension pollCreationMessageV2 scheduledCallCreationMessage
groupMentionedMessage pinInChatMessage pollCreationMessageV3 scheduledCallEditMessage ptvMessage botInvokeMessage
callLogMesssage messageHistoryBundle encCommentMessage bcallMessage lottieStickerMessage eventMessage
encEventResponseMessage commentMessage newsletterAdminInviteMessage placeholderMessage secretEncryptedMessage
albumMessage eventCoverImage stickerPackMessage statusMentionMessage pollResultSnapshotMessage
pollCreationOptionImageMessage associatedChildMessage groupStatusMentionMessage pollCreationMessageV4 statusAddYours
groupStatusMessage richResponseMessage statusNotificationMessage limitSharingMessage botTaskMessage questionMessage
messageHistoryNotice groupStatusMessageV2 botForwardedMessage statusQuestionAnswerMessage questionReplyMessage
questionResponseMessage statusQuotedMessage statusStickerInteractionMessage pollCreationMessageV5
newsletterFollowerInviteMessageV2 pollResultSnapshotMessageV3 newsletterAdminProfileMessage spoilerMessage
pollCreationMessageV6 conditionalRevealMessage pollAddOptionMessage eventInviteMessage groupRootKeyShare
paymentReminderMessage splitPaymentMessage newsletterAdminProfileStatusMessage rootSecretDistributeMessage
splitPaymentUpdateMessage musicMessage statusLinkPreviewMetadata botPlatformRegistrationSuccessMessage
""".split()  # noqa: SIM905 - one word a line would be a page
"""The fields of WhatsApp's ``Message``, as of August 2026."""


def upsert(message: Any) -> list[InboundEvent]:
    key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "3A1"}
    data = {"key": key, "message": message, "messageTimestamp": 1_795_364_451}
    return parse_webhook(json.dumps({"event": "messages.upsert", "instance": "loja", "data": data}).encode())


def test_the_page_is_printed_from_the_tables_as_they_are_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == fates_page(), "print it anew: make docs"


def test_every_event_has_a_fate() -> None:
    assert set(EVENTS) == set(EVENT_FATES)


def test_every_reason_under_which_something_is_ignored_is_explained_and_used() -> None:
    used = {*UNREADABLE.values(), *NOTICES.values(), *SKIPPED_CHATS.values(), *_literals()}
    used |= {use for use in _USES.values() if not isinstance(use, SecretUse)}
    used |= set(_SKIPPED.values())
    assert used | {"encrypted_unknown_kind", "erased", "own_name", "stored_unusable"} == set(IGNORED_REASONS)


def _literals() -> Iterator[str]:
    """The words in calls of Ignored, and in the table of events that are ignored."""
    for module in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Ignored"), args=args):
                    yield from _words(args)
                case ast.Assign(targets=[ast.Name(id="_IGNORED")], value=ast.Dict(values=values)):
                    yield from _table_words(values)


def _words(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Constant(value=str(word)):
                yield word
            case ast.IfExp(body=body, orelse=other):
                yield from _words([body, other])
            case ast.Call(func=ast.Attribute(attr="get"), args=[_, default]):
                yield from _words([default])


def _table_words(values: list[ast.expr]) -> Iterator[str]:
    for value in values:
        match value:
            case ast.Constant(value=str(word)) | ast.Call(args=[_, ast.Constant(value=str(word))]):
                yield word


@in_one_test(PROTO)
def test_every_field_of_whatsapps_message_has_a_fate(name: str) -> None:
    assert name in CONTENT_KEYS | WRAPPERS | BESIDE_CONTENT
    assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")
    for value in ({"text": "x"}, {"message": {"conversation": "dentro"}}, {}, "x", 5, ["x"]):
        for event in upsert({name: value}):
            assert not isinstance(event, Unusable) or event.reason == "no_target_id"
            assert not isinstance(event, Ignored) or event.reason in IGNORED_REASONS
    if name in WRAPPERS:
        inside = upsert({name: {"message": {"conversation": "dentro"}}})[0]
        assert isinstance(inside, MessageArrived)
        assert (inside.kind, inside.text) == (MessageKind.TEXT, "dentro")


def test_a_kind_of_tomorrow_is_kept_under_its_name() -> None:
    [fact] = upsert({"somethingNewMessage": {"a": 1}})
    assert isinstance(fact, MessageArrived)
    assert (fact.kind, fact.keep_raw, fact.detail) == (MessageKind.UNKNOWN, True, {"content": "somethingNewMessage"})
    [fact] = upsert({"aWrapperOfTomorrow": {"message": {"conversation": "dentro"}}})
    assert isinstance(fact, MessageArrived)
    assert fact.text == "dentro"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            {"secretEncryptedMessage": {"secretEncType": 99, "targetMessageKey": {"id": "A"}}},
            "encrypted_unknown_kind",
        ),
        ({"secretEncryptedMessage": {"secretEncType": "TOMORROW"}}, "encrypted_unknown_kind"),
        ({"secretEncryptedMessage": {}}, "encrypted_unknown_kind"),
        ({"encCommentMessage": {"encPayload": "AAAA"}}, "encrypted_comment"),
    ],
)
def test_what_only_a_phone_can_read_is_counted_and_has_its_place(message: Any, reason: str) -> None:
    ignored, placeholder = upsert({"ephemeralMessage": {"message": message}})
    assert ignored == Ignored(reason)
    assert isinstance(placeholder, MessageArrived)
    assert (placeholder.kind, placeholder.external_id) == (MessageKind.PLACEHOLDER, "3A1")


def test_every_type_of_notice_is_told_by_its_name_or_counted() -> None:
    for kind in (*range(64), *NOTICE_NAMES, "TOMORROW", None, 1.5, [], {}):
        for event in upsert({"protocolMessage": {"type": kind}}):
            assert (isinstance(event, Ignored) and event.reason in IGNORED_REASONS) or event == Unusable("no_target_id")


@in_one_test(EVENTS)
def test_no_event_passes_in_silence_whatever_is_in_it(event: str) -> None:
    chat = "5511999990001@s.whatsapp.net"
    key = {"remoteJid": chat, "fromMe": False, "id": "3A1"}
    odd = ({}, [], None, "x", 7, [{}], [7], {"key": key}, {"keyId": "3A1", "remoteJid": chat}, {"messages": []})
    for data in (*odd, {"key": key, "message": {}}, {"id": chat}, [{"id": chat}], {"key": key, "message": None}):
        facts = parse_webhook(json.dumps({"event": event, "instance": "loja", "data": data}).encode())
        assert facts, data
        for fact in facts:
            assert not isinstance(fact, Ignored) or fact.reason in IGNORED_REASONS, data


def _bodies() -> Iterator[tuple[str, bytes]]:
    """The name and text of every body that a server posted or might post; what it answered is no body."""
    for path in sorted(RECORDINGS.rglob("*.json")):
        if path.parent.name == "rest" or path.name.startswith("rest-"):
            continue
        raw = path.read_bytes()
        for number, body in enumerate(_webhooks(raw)):
            yield f"{path.stem}-{number}", body
    storm = [json.loads(line)["body"] for line in (RECORDINGS / "storm.jsonl").read_text().splitlines()]
    for body in {json.dumps(body["data"]): body for body in storm if isinstance(body, dict)}.values():
        yield f"storm-{body['event']}", json.dumps(body).encode()


def _webhooks(raw: bytes) -> Iterator[bytes]:
    """The bodies of one file: a case has several, among other steps."""
    try:
        content = json.loads(raw)
    except ValueError:
        yield raw
        return
    if isinstance(content, dict) and "steps" in content:
        content = [step["webhook"] for step in content["steps"] if "webhook" in step]
    if isinstance(content, list):
        yield from (json.dumps(body).encode() for body in content)
    elif "request" not in content:
        yield raw


@in_one_test(_bodies())
def test_no_recorded_body_is_ignored_without_an_explained_reason(name: str, raw: bytes) -> None:
    events = parse_webhook(raw)
    assert events
    for event in events:
        assert not isinstance(event, Ignored) or event.reason in IGNORED_REASONS
        assert not isinstance(event, Unusable) or "malformed" in name
