"""Every body that a real server 2.3.7 posted reads as its expected outcome, told in a few words."""

from pathlib import Path

from support.many_cases import in_one_test

import zapline.sandbox
from zapline.domain.inbound_events import Ignored, InboundEvent
from zapline.domain.line.events import Closed, InstanceRemoved, QrOffered
from zapline.domain.messages.facts import (
    ContactSeen,
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    ReactionReported,
    StatusReported,
)
from zapline.domain.messages.message_secrets import SecretSeen
from zapline.evolution.webhooks.event_parser import parse_webhook

REAL = Path(zapline.sandbox.__file__).parent / "recordings" / "real-2.3.7"
BODIES = {path.stem: path.read_bytes() for path in sorted(REAL.glob("hook-*.json"))}

CUSTOMER, GROUP = "+5511911110001", "group:120363000000000001@g.us"
CONTACTS = ["name Hist Nome of +5511966660001", f"name Equipe Vendas of {GROUP}"]
EXPECTED: dict[str, list[str]] = {
    "hook-002-connection.update": ["closed 401"],
    "hook-004-contacts.update": CONTACTS,
    "hook-005-contacts.update": ["ignored contact_without_name"],
    "hook-007-contacts.upsert": CONTACTS,
    "hook-009-instance.delete": ["instance removed"],
    "hook-012-messages.edited": ["edit of 3EB0ED2BD83617D6E3FAC0: texto novo (1795972901069)"],
    "hook-013-messages.edited": ["deletion of 3EB0AFD87E09B22474C3F5"],
    "hook-016-messages.update": ["3EB0378FDD90BD02658D24 is delivered"],
    "hook-017-messages.update": ["3EB0CEE31913E22ECD5461 is failed"],
    "hook-018-messages.update": ["3EB0481CE5B52C4268C32E is played"],
    "hook-019-messages.update": ["3EB043CDCFCBF615EA0121 is read"],
    "hook-020-messages.upsert": [f"voice by {CUSTOMER} in {CUSTOMER}: None, 27354 bytes"],
    "hook-022-messages.upsert": [f"document by {CUSTOMER} in {CUSTOMER}: None, 69 bytes"],
    "hook-027-messages.upsert": [f"sticker by {CUSTOMER} in {CUSTOMER}: None, 9059 bytes"],
    "hook-029-messages.upsert": [f"text by {CUSTOMER} in {CUSTOMER}: resposta, quotes 3EB08D4F06B37023B31092"],
    "hook-030-messages.upsert": [f"text by +5511922220003 in {GROUP}: no grupo"],
    "hook-031-messages.upsert": ["text by +5521911112222 in +5521911112222: via lid"],
    "hook-032-messages.upsert": [f"text by {CUSTOMER} in {CUSTOMER}: Olá, bom dia! 😀 *negrito*"],
    "hook-036-messages.upsert": [f"image by {CUSTOMER} in {CUSTOMER}: once, 9059 bytes, once to be seen"],
    "hook-037-messages.upsert": [f"❤️ by {CUSTOMER} on 3EB08D4F06B37023B31092"],
    "hook-039-qrcode.updated": ["code 2@vA6n"],
    "hook-040-qrcode.updated": ["code 2@lNyQ, J7PAXZKY"],
    "hook-042-send.message": [f"text by me in {CUSTOMER}: respondendo, quotes 3EB0435FA1CC4D3A943EF6"],
    "hook-043-send.message": [f"voice by me in {CUSTOMER}: None, 55325 bytes"],
    "hook-045-send.message": [f"contact by me in {CUSTOMER}: Vendas"],
    "hook-046-send.message": [f"text by me in {CUSTOMER}: Olá do CRM 😀"],
    "hook-047-send.message": [f"document by me in {CUSTOMER}: segue, 69 bytes"],
    "hook-048-send.message": [f"document by me in {CUSTOMER}: None, 69 bytes"],
    "hook-050-send.message": [f"image by me in {CUSTOMER}: por upload, 7111 bytes"],
    "hook-052-send.message": [f"video by me in {CUSTOMER}: vv, 7661 bytes"],
    "hook-053-send.message": [f"text by me in {GROUP}: para o grupo"],
    "hook-055-send.message": ["👍 by me on 3EB092387393B2B1C06D5E"],
}


def told(event: InboundEvent) -> str:
    """An outcome in a few words."""
    match event:
        case MessageArrived():
            author = "me" if event.from_me else (event.sender or event.chat).canonical
            parts = [f"{event.kind} by {author} in {event.chat.canonical}: {event.text}"]
            parts += [f"{event.media.size} bytes"] if event.media is not None else []
            parts += [f"quotes {event.quoted_id}"] if event.quoted_id is not None else []
            parts += ["once to be seen"] if event.view_once else []
            return ", ".join(parts)
        case MessageEdited():
            return f"edit of {event.external_id}: {event.text} ({event.edited_at_ms})"
        case MessageDeleted():
            return f"deletion of {event.external_id}"
        case StatusReported():
            return f"{event.external_id} is {event.delivery.label}"
        case ReactionReported():
            return f"{event.emoji} by {event.actor} on {event.external_id}"
        case ContactSeen():
            return f"name {event.name} of {event.address.canonical}"
        case QrOffered():
            return ", ".join([f"code {event.code[:6]}", *([event.pairing_code] if event.pairing_code else [])])
        case Closed():
            return f"closed {event.code}"
        case InstanceRemoved():
            return "instance removed"
        case Ignored():
            return f"ignored {event.reason}"
    return f"something else: {event}"


def test_every_body_of_the_real_server_has_an_expectation() -> None:
    assert set(BODIES) == set(EXPECTED)


@in_one_test(sorted(BODIES))
def test_a_body_of_the_real_server_reads_as_expected(name: str) -> None:
    events = parse_webhook(BODIES[name])
    secrets = [event for event in events if isinstance(event, SecretSeen)]
    assert [told(event) for event in events if not isinstance(event, SecretSeen)] == EXPECTED[name]
    assert len(secrets) == (b'"messageSecret"' in BODIES[name])
