"""Every recorded body reads as exactly one expected outcome."""

import base64
import json
from pathlib import Path
from typing import Any

from support.many_cases import in_one_test

import zapline.sandbox
from zapline.domain.contacts.addresses import Address, AddressKind
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.line.events import (
    Closed,
    ConnectingSeen,
    InstanceCreated,
    InstanceRemoved,
    LoggedOutSeen,
    Opened,
    QrLimitReached,
    QrOffered,
)
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import (
    ContactSeen,
    MediaInfo,
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    MessageKind,
    ReactionReported,
    StatusReported,
)
from zapline.domain.messages.message_secrets import SecretSeen
from zapline.evolution.webhooks.envelope import extract_envelope, extract_instance
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.evolution.webhooks.secret_stripping import strip_secrets

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
BODIES = {path.stem: path.read_bytes() for path in sorted((RECORDINGS / "webhooks").glob("*.json"))}


def person(digits: str, lid: str | None = None) -> Address:
    jids = [f"{digits}@s.whatsapp.net"] + ([f"{lid}@lid"] if lid else [])
    return Address(AddressKind.PERSON, "+" + digits, "+" + digits, lid, tuple(sorted(jids)))


def group(jid: str) -> Address:
    return Address(AddressKind.GROUP, f"group:{jid}", jids=(jid,))


MARIA = person("5511999990001")
MARIA_WITH_LID = person("5511999990001", "111222333444555")
SHA = base64.b64encode(bytes((3 + 7 * place) % 256 for place in range(32))).decode()
QUOTED = ExternalId("3EB0AAAAAAAAAAAAAAAAAA")
LIVE = 1795364451.0


def live(identity: str, kind: MessageKind, text: str | None = None, **more: Any) -> MessageArrived:
    """A message that 2.3.7 reported from Maria's phone."""
    fields: dict[str, Any] = {
        "chat": MARIA,
        "from_me": False,
        "push_name": "Maria Silva",
        "sent_at": LIVE,
        "delivery": DeliveryStatus.DELIVERED,
        "source": "ios",
    }
    return MessageArrived(ExternalId(identity), kind=kind, text=text, **(fields | more))


def plain(identity: str, kind: MessageKind, text: str | None, sent_at: float, **more: Any) -> MessageArrived:
    """A message of an older version, which tells less."""
    return MessageArrived(ExternalId(identity), MARIA, False, kind, text, sent_at=sent_at, **more)


def status(word: DeliveryStatus, identity: str = "3EB08A7F83100C535BCB19") -> StatusReported:
    return StatusReported(ExternalId(identity), word)


def picture(**more: Any) -> MediaInfo:
    return MediaInfo(**({"mimetype": "image/jpeg", "size": 184523, "sha256": SHA} | more))


CODE = json.loads(BODIES["qrcode.updated-qr"])["data"]["qrcode"]["code"]
S3 = json.loads(BODIES["messages.upsert-image-with-mediaUrl"])["data"]["message"]["mediaUrl"]
VCARD = json.loads(BODIES["messages.upsert-contact"])["data"]["message"]["contactMessage"]["vcard"]
IMAGE = "3A0000001F2E3D4D71D1"
SENT = json.loads(BODIES["send.message-image"])["data"]["message"]["imageMessage"]["fileSha256"]
SENT_SHA = base64.b64encode(bytes(SENT.values())).decode()
SHOP = "5511999990000@s.whatsapp.net"

EXPECTED: dict[str, InboundEvent] = {
    "application.startup": Ignored("application_startup"),
    "call-offer": MessageArrived(
        ExternalId("ABCDEF1234567890"),
        MARIA,
        False,
        MessageKind.CALL_LOG,
        detail={"offered": True},
        sent_at=1767261600.0,
    ),
    "call-terminate": MessageArrived(
        ExternalId("ABCDEF1234567890"),
        MARIA,
        False,
        MessageKind.CALL_LOG,
        detail={"ended": True},
        sent_at=1767261610.0,
    ),
    "chats.delete-array": Ignored("chats"),
    "chats.set-history": ContactSeen(person("5511999990010"), "Histórico", at=0.0),
    "chats.upsert-array": ContactSeen(person("5511999990009"), "Carlos", at=0.0),
    "connection.update-close-401": Closed(401),
    "connection.update-connecting": ConnectingSeen(),
    "connection.update-connecting-first-no-sender": ConnectingSeen(),
    "connection.update-open": Opened(SHOP, "Loja Exemplo"),
    "connection.update-refused-qr-limit": QrLimitReached(),
    "contacts.update-array": Ignored("contact_without_name"),
    "contacts.upsert-array": ContactSeen(person("5511999990009"), "Carlos"),
    "contacts.upsert-object": ContactSeen(MARIA, "Maria Silva"),
    "group-participants.update-add": ContactSeen(MARIA_WITH_LID),
    "groups.upsert": ContactSeen(
        Address(AddressKind.GROUP, "group:120363025246125486@g.us", jids=("120363025246125486@g.us",)), "Equipe Vendas"
    ),
    "instance.create": InstanceCreated(),
    "instance.delete": InstanceRemoved(),
    "labels.edit": Ignored("labels"),
    "logout.instance": LoggedOutSeen(),
    "malformed-message-empty-unknown": plain(
        "3A1",
        MessageKind.UNKNOWN,
        None,
        1717604327.0,
        push_name="Maria",
        delivery=DeliveryStatus.DELIVERED,
        source="ios",
        keep_raw=True,
    ),
    "malformed-missing-envelope": Unusable("no_data"),
    "malformed-no-key": Unusable("no_message_id"),
    "malformed-screaming-event": plain("3A1", MessageKind.TEXT, "x", 1717604327.0),
    "malformed-timestamp-string": plain("3A1", MessageKind.TEXT, "x", 1717604327.0),
    "malformed-truncated": Unusable("invalid_json"),
    "malformed-unknown-event": Unusable("unknown_event"),
    "malformed-upsert-data-array": plain("3A1", MessageKind.TEXT, "x", 1717604327.0),
    "messages.delete-by-contact": MessageDeleted(ExternalId("3A0000001F2E3D4C7A59")),
    "messages.edited-ephemeral-setting": Ignored("disappearing_setting"),
    "messages.edited-text": MessageEdited(
        ExternalId("3A0000001F2E3D4C7A59"), "Olá, quero saber o preço e prazo", 1795364451000
    ),
    "messages.set-history": live(
        "3A0000001F2E3D4C9948",
        MessageKind.TEXT,
        "antiga 2",
        chat=person("5511999990010"),
        from_me=True,
        push_name=None,
        sent_at=1795275536.0,
        origin="history",
    ),
    "messages.update-DELIVERY_ACK": status(DeliveryStatus.DELIVERED),
    "messages.update-ERROR": status(DeliveryStatus.FAILED),
    "messages.update-PENDING": status(DeliveryStatus.QUEUED),
    "messages.update-PLAYED": status(DeliveryStatus.PLAYED),
    "messages.update-READ": status(DeliveryStatus.READ),
    "messages.update-SERVER_ACK": status(DeliveryStatus.SENT),
    "messages.upsert-append-offline": live(
        "3A0000001F2E3D52C2E5", MessageKind.TEXT, "mensagem recebida enquanto offline"
    ),
    "messages.upsert-audio-ptt": live(
        "AC000000ABCDEF01234567890B4A8594",
        MessageKind.VOICE,
        media=MediaInfo("audio/ogg; codecs=opus", size=184523, seconds=7, sha256=SHA),
        source="android",
    ),
    "messages.upsert-buttonsResponse": live(
        "3A0000001F2E3D501A5B",
        MessageKind.BUTTON_REPLY,
        "Sim",
        detail={"id": "btn-1"},
        quoted_id=QUOTED,
        quoted={
            "id": QUOTED,
            "kind": "buttons",
            "text": "Confirma?",
            "author": "+5511999990000",
            "fromMe": True,
            "status": False,
        },
    ),
    "messages.upsert-contact": live(
        "3A0000001F2E3D4EE505",
        MessageKind.CONTACT,
        "João",
        detail={"contacts": [{"name": "João", "vcard": VCARD, "phones": ["+5511999990002"]}]},
    ),
    "messages.upsert-document": live(
        "3A0000001F2E3D4E4A5A",
        MessageKind.DOCUMENT,
        media=MediaInfo("application/pdf", "orcamento.pdf", 184523, sha256=SHA),
        detail={"pages": 2},
    ),
    "messages.upsert-documentWithCaption": live(
        "3A0000001F2E3D4E6949",
        MessageKind.DOCUMENT,
        "segue a nota",
        media=MediaInfo("application/pdf", "nf.pdf", 184523, sha256=SHA),
    ),
    "messages.upsert-ephemeral-text": live(
        "3A0000001F2E3D4FDC7D", MessageKind.TEXT, "some em 7 dias", expires_after=604800
    ),
    "messages.upsert-extendedText-link": live("3A0000001F2E3D4CF615", MessageKind.TEXT, "veja https://example.com/p/1"),
    "messages.upsert-fromMe-phone": live(
        "3A0000001F2E3D528507",
        MessageKind.TEXT,
        "respondi pelo celular",
        from_me=True,
        push_name=None,
        own_name="Loja Exemplo",
        delivery=DeliveryStatus.SENT,
    ),
    "messages.upsert-group-text": live(
        "3A0000001F2E3D514FB1",
        MessageKind.TEXT,
        "oi grupo",
        chat=group("120363025246125486@g.us"),
        sender=MARIA_WITH_LID,
    ),
    "messages.upsert-group-text-pn-mode": live(
        "3A0000001F2E3D516EA0",
        MessageKind.TEXT,
        "oi grupo antigo",
        chat=group("5511999990000-1609459200@g.us"),
        sender=MARIA,
    ),
    "messages.upsert-image": live(IMAGE, MessageKind.IMAGE, "foto do produto", media=picture(width=960, height=1280)),
    "messages.upsert-image-with-base64": live(
        IMAGE, MessageKind.IMAGE, "foto do produto", media=picture(width=960, height=1280)
    ),
    "messages.upsert-image-with-mediaUrl": live(
        IMAGE, MessageKind.IMAGE, "foto do produto", media=picture(width=960, height=1280, url=S3)
    ),
    "messages.upsert-lid-with-alt": live("3A0000001F2E3D51CB6D", MessageKind.TEXT, "sou lid com alt"),
    "messages.upsert-listResponse": live(
        "3A0000001F2E3D505839",
        MessageKind.LIST_REPLY,
        "Opção A",
        detail={"id": "row-a", "description": "desc A"},
        quoted_id=QUOTED,
    ),
    "messages.upsert-location": live(
        "3A0000001F2E3D4EA727",
        MessageKind.LOCATION,
        detail={
            "latitude": -23.55052,
            "longitude": -46.633308,
            "name": "Praça da Sé",
            "address": "Praça da Sé, São Paulo",
            "url": "https://example.com",
        },
    ),
    "messages.upsert-newsletter": Ignored("newsletter"),
    "messages.upsert-pn-with-lid-alt": live(
        "3A0000001F2E3D52094B", MessageKind.TEXT, "pn com alt lid", chat=MARIA_WITH_LID
    ),
    "messages.upsert-poll": live(
        "AC000000ABCDEF01234567891836A8B6",
        MessageKind.POLL,
        "Qual horário?",
        detail={"options": ["Manhã", "Tarde"], "selectable": 1},
        source="android",
    ),
    "messages.upsert-reaction": ReactionReported(QUOTED, "+5511999990001", "👍", 1795364451000),
    "messages.upsert-status-broadcast": Ignored("status_broadcast"),
    "messages.upsert-sticker": live(
        "3A0000001F2E3D4E8838",
        MessageKind.STICKER,
        media=MediaInfo("image/webp", size=184523, width=512, height=512, sha256=SHA),
    ),
    "messages.upsert-templateButtonReply": live(
        "3A0000001F2E3D50394A",
        MessageKind.TEMPLATE_REPLY,
        "Quero",
        detail={"id": "id-1", "index": 0},
        quoted_id=QUOTED,
    ),
    "messages.upsert-text-android": live(
        "AC000000ABCDEF012345678902FBDCB5", MessageKind.TEXT, "Oi 👋", source="android"
    ),
    "messages.upsert-text-disappearing-chat": live(
        "3A0000001F2E3D4FFB6C", MessageKind.TEXT, "conversa temporária", expires_after=7776000
    ),
    "messages.upsert-text-forwarded": live("3A0000001F2E3D4D52E2", MessageKind.TEXT, "corrente", forwarded=True),
    "messages.upsert-text-ios": live("3A0000001F2E3D4C7A59", MessageKind.TEXT, "Olá, quero saber o preço"),
    "messages.upsert-text-quoted-reply": live(
        "3A0000001F2E3D4D1504",
        MessageKind.TEXT,
        "respondendo",
        quoted_id=QUOTED,
        quoted={
            "id": QUOTED,
            "kind": "text",
            "text": "mensagem original",
            "author": "+5511999990000",
            "fromMe": True,
            "status": False,
        },
    ),
    "messages.upsert-text-web": live("3EB00000009A8B7C72299A", MessageKind.TEXT, "via web", source="web"),
    "messages.upsert-video": live(
        "3A0000001F2E3D4DED8D",
        MessageKind.VIDEO,
        "vídeo",
        media=MediaInfo("video/mp4", size=184523, seconds=14, width=480, height=848, sha256=SHA),
    ),
    "messages.upsert-viewOnce-image": live("3A0000001F2E3D4F9E9F", MessageKind.IMAGE, media=picture(), view_once=True),
    "presence.update-composing": Ignored("presence"),
    "qrcode.updated-limit-reached": QrLimitReached(),
    "qrcode.updated-pairing-code": QrOffered("2@pairing", "ABCD1234"),
    "qrcode.updated-qr": QrOffered(CODE),
    "remove.instance": InstanceRemoved(),
    "send.message-image": live(
        "3EB072D5CB3A469B4D08CD",
        MessageKind.IMAGE,
        "legenda",
        media=MediaInfo("image/png", size=268, width=1, height=1, sha256=SENT_SHA),
        from_me=True,
        push_name=None,
        sent_at=1795364537.0,
        delivery=DeliveryStatus.QUEUED,
        source="web",
        origin="sent",
    ),
    "send.message-reaction": ReactionReported(ExternalId("3EB091F76ACEE89D3F016B"), "me", "👍", 1795364633974),
    "send.message-text": live(
        "3EB08A7F83100C535BCB19",
        MessageKind.TEXT,
        "olá",
        from_me=True,
        push_name=None,
        sent_at=1795364537.0,
        delivery=DeliveryStatus.QUEUED,
        source="web",
        origin="sent",
    ),
    "status.instance-closed-401": Closed(401, "conflict: device_removed", final=True),
    "v1.8-connection.update-close-428": Closed(428),
    "v1.8-connection.update-open": Opened(),
    "v1.8-messages.delete": MessageDeleted(ExternalId("3A554E20ECABF3D45BB2")),
    "v1.8-messages.update-DELIVERY_ACK": status(DeliveryStatus.DELIVERED, "BAE5F4A0B1C2D3E4"),
    "v1.8-messages.update-SERVER_ACK": status(DeliveryStatus.SENT, "BAE5F4A0B1C2D3E4"),
    "v1.8-messages.upsert-image-base64": plain(
        "3A554E20ECABF3D45BB3",
        MessageKind.IMAGE,
        None,
        1717604327.0,
        media=picture(width=960, height=1280, sha256="3q2+7w=="),
        push_name="Maria",
        source="android",
    ),
    "v1.8-messages.upsert-text": plain(
        "3A554E20ECABF3D45BB2", MessageKind.TEXT, "oi", 1717604327.0, push_name="Maria", source="ios"
    ),
    "v1.8-qrcode.updated": QrOffered("2@abc,def,ghi"),
    "v1.8-status.instance-closed": Closed(final=True),
    "v2.2-messages.update-DELIVERY_ACK": status(DeliveryStatus.DELIVERED, "3EB0C7B5D5A0F0E1D2C3B4"),
    "v2.2-messages.upsert-image-string-longs": plain(
        "3A554E20ECABF3D45BB9",
        MessageKind.IMAGE,
        "foto",
        1739000005.0,
        media=picture(sha256="3q2+7w==", url="https://minio.example/bucket/x.jpeg?X-Amz-Expires=604800"),
        push_name="Maria",
        delivery=DeliveryStatus.DELIVERED,
        source="android",
    ),
    "v2.2-messages.upsert-placeholder": MessageArrived(
        ExternalId("6EA85276A917464889"),
        person("5511999990003"),
        False,
        MessageKind.PLACEHOLDER,
        sent_at=1742321200.0,
        delivery=DeliveryStatus.DELIVERED,
        source="unknown",
        keep_raw=True,
    ),
    "v2.3.0-messages.upsert-lid-senderPn": MessageArrived(
        ExternalId("3EB07B86E02236BE3DD95F"),
        person("5511999990001", "141350000000000"),
        False,
        MessageKind.TEXT,
        "oi",
        push_name="Maria",
        sent_at=1753600000.0,
        delivery=DeliveryStatus.DELIVERED,
        source="web",
    ),
    "v2.4-connection.update-close-408": Closed(408),
}


def test_every_recorded_body_has_an_expectation() -> None:
    assert set(EXPECTED) == set(BODIES)


@in_one_test(sorted(BODIES))
def test_a_recorded_body_reads_as_expected(name: str) -> None:
    events = parse_webhook(BODIES[name])
    # Beside most messages of phones stands a secret, for what is encrypted about them later.
    secrets = [event for event in events if isinstance(event, SecretSeen)]
    assert [event for event in events if not isinstance(event, SecretSeen)] == [EXPECTED[name]]
    assert len(secrets) == (b'"messageSecret"' in BODIES[name])


@in_one_test(sorted(BODIES))
def test_the_envelope_of_a_recorded_body_is_read_without_its_data(name: str) -> None:
    try:
        envelope = json.loads(BODIES[name])
    except ValueError:
        envelope = {}
    assert extract_instance(BODIES[name]) == envelope.get("instance")
    assert extract_envelope(BODIES[name]).instance == envelope.get("instance")


@in_one_test(sorted(set(BODIES) - {"malformed-truncated"}))
def test_a_recorded_body_loses_its_key_and_nothing_else(name: str) -> None:
    envelope = json.loads(BODIES[name])
    stripped = strip_secrets(BODIES[name])
    if envelope.get("apikey") is not None:
        envelope["apikey"] = None
    else:
        assert stripped is BODIES[name]
    assert json.loads(stripped) == envelope
    assert parse_webhook(stripped) == parse_webhook(BODIES[name])


def test_the_recorded_storm_is_one_creation_and_246_times_connecting() -> None:
    lines = (RECORDINGS / "storm.jsonl").read_text().splitlines()
    facts = [parse_webhook(json.dumps(json.loads(line)["body"]).encode()) for line in lines]
    assert facts.count([InstanceCreated()]) == 1
    assert facts.count([ConnectingSeen()]) == 246
    assert len(facts) == 247
