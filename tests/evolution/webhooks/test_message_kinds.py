"""What a message is: the kinds, wrappers and contexts that no recording holds."""

import json
from typing import Any

import pytest
from support.many_cases import in_one_test

from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent
from zapline.domain.messages.facts import MessageArrived, MessageKind
from zapline.evolution.webhooks.event_parser import parse_webhook

PHONE, LID, OWN = "5511999990001@s.whatsapp.net", "111222333444555@lid", "5511999990000@s.whatsapp.net"
GROUP = "120363025246125486@g.us"
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


# -- what ----------------------------------------------------------------------------------------------------

FILE = {"mimetype": "a/b", "fileLength": {"low": -1, "high": 1, "unsigned": True}, "caption": "c"}


@pytest.mark.parametrize(
    ("message", "kind", "text", "detail"),
    [
        ({"conversation": ""}, MessageKind.TEXT, "", {}),
        ({"extendedTextMessage": {"text": "oi"}}, MessageKind.TEXT, "oi", {}),
        (
            {"extendedTextMessage": {"text": "oi", "matchedText": "http://a", "title": "A"}},
            MessageKind.TEXT,
            "oi",
            {"link": {"url": "http://a", "title": "A"}},
        ),
        ({"audioMessage": {"ptt": False}}, MessageKind.AUDIO, None, {}),
        ({"audioMessage": {"ptt": True}}, MessageKind.VOICE, None, {}),
        ({"ptvMessage": FILE}, MessageKind.VIDEO, "c", {"round": True}),
        ({"videoMessage": {"gifPlayback": True}}, MessageKind.VIDEO, None, {"gif": True}),
        ({"stickerMessage": {"isAnimated": True}}, MessageKind.STICKER, None, {"animated": True}),
        (
            {"liveLocationMessage": {"degreesLatitude": 1, "degreesLongitude": 999, "caption": "aqui"}},
            MessageKind.LIVE_LOCATION,
            "aqui",
            {"latitude": 1.0},
        ),
        (
            {"contactsArrayMessage": {"displayName": "2", "contacts": [{"displayName": "A"}, 5]}},
            MessageKind.CONTACTS,
            "2",
            {"contacts": [{"name": "A"}]},
        ),
        *[
            ({name: {"name": "Q", "options": [{"optionName": "a"}]}}, MessageKind.POLL, "Q", {"options": ["a"]})
            for name in ("pollCreationMessage", "pollCreationMessageV2", "pollCreationMessageV5")
        ],
        (
            {"pollCreationMessageV4": {"message": {"pollCreationMessageV3": {"name": "Q", "options": []}}}},
            MessageKind.POLL,
            "Q",
            {"options": []},
        ),
        ({"buttonsResponseMessage": {"selectedButtonId": "b"}}, MessageKind.BUTTON_REPLY, "b", {"id": "b"}),
        (
            {
                "interactiveResponseMessage": {
                    "body": {"text": "Sim"},
                    "nativeFlowResponseMessage": {"name": "quick_reply", "paramsJson": "{}"},
                }
            },
            MessageKind.INTERACTIVE_REPLY,
            "Sim",
            {"name": "quick_reply", "params": "{}"},
        ),
        (
            {
                "buttonsMessage": {
                    "contentText": "?",
                    "buttons": [{"buttonId": "1", "buttonText": {"displayText": "A"}}],
                }
            },
            MessageKind.BUTTONS,
            "?",
            {"buttons": [{"id": "1", "text": "A"}]},
        ),
        (
            {"listMessage": {"title": "T", "buttonText": "B", "sections": [{"rows": [{"rowId": "1", "title": "r"}]}]}},
            MessageKind.LIST,
            "T",
            {"title": "T", "button": "B", "rows": [{"id": "1", "title": "r"}]},
        ),
        (
            {
                "templateMessage": {
                    "hydratedTemplate": {
                        "hydratedContentText": "olá",
                        "hydratedButtons": [{"urlButton": {"displayText": "site", "url": "http://a"}}],
                    }
                }
            },
            MessageKind.TEMPLATE,
            "olá",
            {"buttons": [{"text": "site", "url": "http://a"}]},
        ),
        (
            {"interactiveMessage": {"body": {"text": "x"}, "nativeFlowMessage": {"buttons": [{"name": "cta_url"}]}}},
            MessageKind.INTERACTIVE,
            "x",
            {"buttons": [{"text": "cta_url"}]},
        ),
        ({"albumMessage": {"expectedImageCount": 3}}, MessageKind.ALBUM, None, {"images": 3}),
        (
            {"orderMessage": {"orderId": "1", "itemCount": 2, "message": "m"}},
            MessageKind.ORDER,
            "m",
            {"id": "1", "items": 2},
        ),
        ({"productMessage": {"product": {"title": "P"}}}, MessageKind.PRODUCT, "P", {"title": "P"}),
        (
            {"eventMessage": {"name": "E", "startTime": {"low": AT, "high": 0}}},
            MessageKind.EVENT,
            "E",
            {"starts_at": float(AT)},
        ),
        ({"groupInviteMessage": {"groupName": "G", "caption": "vem"}}, MessageKind.GROUP_INVITE, "vem", {"name": "G"}),
        (
            {"requestPaymentMessage": {"amount1000": "5000", "noteMessage": {"conversation": "n"}}},
            MessageKind.PAYMENT,
            "n",
            {"step": "requested", "amount_thousandths": 5000},
        ),
        ({"callLogMesssage": {"isVideo": True, "callOutcome": "MISSED"}}, MessageKind.CALL_LOG, None, None),
    ],
)
def test_each_kind_is_recognised_by_its_key(message: Any, kind: MessageKind, text: str | None, detail: Any) -> None:
    fact = arrived(message)
    assert (fact.kind, fact.text, fact.keep_raw) == (kind, text, False)
    if detail is not None:
        assert fact.detail == detail


def test_a_64_bit_size_is_put_together_from_its_halves() -> None:
    media = arrived({"documentMessage": FILE}).media
    assert media is not None
    assert media.size == 2**33 - 1


@pytest.mark.parametrize(
    "value",
    [{"0": 1, "1": 2}, {"type": "Buffer", "data": [1, 2]}, [1, 2], "AQI="],
)
def test_bytes_are_read_in_every_form(value: Any) -> None:
    media = arrived({"imageMessage": {"fileSha256": value}}).media
    assert media is not None
    assert media.sha256 == "AQI="


WRAPPERS = [
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "deviceSentMessage",
    "botInvokeMessage",
    "groupMentionedMessage",
    "associatedChildMessage",
    "aWrapperOfTomorrow",
]


@in_one_test((outer, inner) for outer in WRAPPERS for inner in WRAPPERS[:3])
def test_wrappers_are_taken_off(outer: str, inner: str) -> None:
    fact = arrived({outer: {"message": {inner: {"message": {"imageMessage": {"caption": "c"}}}}}})
    assert (fact.kind, fact.text) == (MessageKind.IMAGE, "c")
    assert fact.view_once == ("viewOnce" in outer + inner)


def test_wrappers_without_end_are_kept_as_unknown() -> None:
    message: Any = {"conversation": "x"}
    for _ in range(50):
        message = {"ephemeralMessage": {"message": message}}
    fact = arrived(message)
    assert (fact.kind, fact.keep_raw) == (MessageKind.UNKNOWN, True)


@pytest.mark.parametrize(
    "message",
    [
        {},
        None,
        5,
        "x",
        {"somethingNewMessage": {"a": 1}},
        {"imageMessage": 7},
        {"conversation": ["x"]},
        {"base64": "AA=="},
        {"extendedTextMessage": {}},
    ],
)
def test_what_is_not_understood_is_kept_with_its_body(message: Any) -> None:
    fact = arrived(message)
    assert (fact.kind, fact.keep_raw) == (MessageKind.UNKNOWN, True)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"senderKeyDistributionMessage": {"groupId": GROUP}}, "key_distribution"),
        ({"messageContextInfo": {}}, "context_only"),
        ({"protocolMessage": {"type": "APP_STATE_SYNC_KEY_SHARE"}}, "app_state_keys"),
        ({"protocolMessage": {"type": 5}}, "history_notice"),
        ({"protocolMessage": {"type": False, "key": {"id": "x"}}}, "unknown_protocol"),
        ({"ephemeralMessage": {"message": {"protocolMessage": {"type": 3}}}}, "disappearing_setting"),
        ({"requestPhoneNumberMessage": {}}, "phone_number_request"),
        ({"groupStatusMessageV2": {"message": {"conversation": "x"}}}, "group_status"),
    ],
)
def test_what_holds_nothing_to_read_is_ignored_by_reason(message: Any, reason: str) -> None:
    assert upsert(message) == [Ignored(reason)]


def test_a_text_next_to_a_group_key_is_a_text() -> None:
    fact = arrived({"senderKeyDistributionMessage": {"groupId": GROUP}, "conversation": "x"})
    assert (fact.kind, fact.text) == (MessageKind.TEXT, "x")


def test_a_note_of_the_system_is_ignored_and_a_ciphertext_waits_for_its_content() -> None:
    assert upsert(None, messageStubType="GROUP_CREATE") == [Ignored("system_notice")]
    assert arrived(None, messageStubType="CIPHERTEXT").kind is MessageKind.PLACEHOLDER
    assert arrived(None, messageStubType=40).kind is MessageKind.CALL_LOG


def test_context_is_read_inside_the_content_and_beside_the_message() -> None:
    context = {
        "stanzaId": TARGET,
        "isForwarded": True,
        "expiration": 86400,
        "mentionedJid": [PHONE, LID, 5],
        "externalAdReply": {"title": "Anúncio", "sourceId": "1", "sourceType": "ad", "ctwaClid": "z"},
        "conversionSource": "FB_Ads",
    }
    inside = arrived({"extendedTextMessage": {"text": "oi", "contextInfo": context}})
    beside = arrived({"conversation": "oi"}, contextInfo=context)
    for fact in (inside, beside):
        assert (fact.quoted_id, fact.forwarded, fact.expires_after) == (TARGET, True, 86400)
        assert fact.detail["mentions"] == ["+5511999990001", "lid:111222333444555"]
        assert fact.detail["ad"] == {
            "title": "Anúncio",
            "source_type": "ad",
            "source_id": "1",
            "click_id": "z",
            "conversion_source": "FB_Ads",
        }


def test_a_picture_knows_its_album() -> None:
    message = {
        "messageContextInfo": {"messageAssociation": {"parentMessageKey": {"id": "ALBUM1"}}},
        "imageMessage": {},
    }
    assert arrived(message).detail == {"album": "ALBUM1"}
