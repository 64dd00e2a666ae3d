"""Cases from public reports, bodies of 2026, and constructed ones, with what a CRM's user must see at their end."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from support.encrypted_messages import (
    NONCE,
    SECRET,
    caption_content,
    edit_of,
    encrypt,
    field,
    indices,
    text_content,
    vote_for,
)

import zapline.sandbox

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
OWN = "5511999990000@s.whatsapp.net"
SENT = "3EB08A7F83100C535BCB19"
Body = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Webhooks, and what the CRM's user must see at the end; a message is told by WhatsApp's id."""

    bodies: Sequence[Body]
    messages: Mapping[str, Mapping[str, Any]]
    shown: Sequence[str]
    """Words of the console's threads."""
    ignored: Sequence[str] = ()
    """Why bodies leave no row, by the counter's reason."""
    names: Mapping[str, str] = dataclass_field(default_factory=dict)
    """What conversations are called."""
    in_order: bool = False
    """The last of several names counts, and nothing but the order of arrival tells which one that is."""
    told_once: Set[str] = frozenset()
    """Fields that hook and events tell as they were when the message first came."""


def recorded(path: str) -> list[Body]:
    """The webhooks of a recording: one, or the steps of a case."""
    content = json.loads((RECORDINGS / f"{path}.json").read_text())
    if isinstance(content, dict) and "steps" in content:
        return [step["webhook"] for step in content["steps"] if "webhook" in step]
    return content if isinstance(content, list) else [content]


def of_2026(*numbers: str) -> list[Body]:
    found = [path for number in numbers for path in (RECORDINGS / "2026").glob(f"{number}-*.json")]
    assert len(found) == len(numbers)
    return [json.loads(path.read_text()) for path in found]


QUOTE = {"kind": "text", "text": "Confirma o horário das 15h?", "author": "+5511999990000", "fromMe": True}
STATUS = {"kind": "image", "text": "Tênis azul em promoção", "fromMe": True, "status": True}
PIX = {"name": "Mara Treze", "key": "mara@exemplo.test", "key_type": "EMAIL"}
PAIR = [*recorded("encrypted/30a-original-with-secret"), *recorded("encrypted/30b-encrypted-edit")]
PUBLIC = {
    "01-encrypted-edit": Case(
        recorded("encrypted/01-encrypted-edit"),
        {
            "3A010000000000000001": {"text": "Quero 2 caixas", "editTextUnknown": True, "fromMe": False},
            "3A010000000000000003": {"text": "Pedido anotado", "editTextUnknown": True, "fromMe": True},
        },
        ["edited; the new text is on the phone only"],
    ),
    "04-quote-of-unknown": Case(
        recorded("cases/04-quote-of-unknown"),
        {"3A040000000000000001": {"text": "Confirmo sim", "quoted": {"id": "3EB0AAAA000000000001", **QUOTE}}},
        ["The unit Confirma o horário das 15h?"],
    ),
    "05-reply-to-status": Case(
        recorded("cases/05-reply-to-status"),
        {"3A050000000000000001": {"text": "Quanto custa esse?", "quoted": STATUS}},
        ["Status · The unit", "Tênis azul em promoção"],
    ),
    "12-pix": Case(
        recorded("cases/12-pix"),
        {"3A120000000000000001": {"text": "Pix · Mara Treze · EMAIL · mara@exemplo.test", "detail": {"pix": [PIX]}}},
        ["Mara Treze", "mara@exemplo.test"],
    ),
    "17-vcard-without-waid": Case(
        recorded("cases/17-vcard-without-waid"),
        {
            "3A170000000000000001": {
                "detail": {"contacts": [{"name": "Oficina do Zé", "phones": ["+551133330018", "+5511977770019"]}]}
            },
            "3A170000000000000002": {"detail": {"contacts": [{"name": "Padaria", "phones": ["+551133330020"]}]}},
        },
        ["Oficina do Zé", "+551133330018", "+551133330020"],
    ),
    "18-hd-photo": Case(
        recorded("cases/18-hd-photo"),
        {
            "3A180000000000000001": {
                "kind": "image",
                "text": "Comprovante",
                "detail": {},
                "media": {"width": 4000, "size": 2_900_000, "copyId": "3A180000000000000002"},
            }
        },
        ["Comprovante"],
        told_once={"sentAt"},  # a better copy that comes first is told with its own time, some seconds later
    ),
    "02-group-name": Case(
        recorded("cases/02-group-name"),
        {
            "3A020000000000000001": {"text": "Bom dia", "senderName": "Ana Um"},
            "3A020000000000000002": {"text": "Oi Ana", "senderName": "Beto Dois"},
        },
        ["Clientes VIP 2026"],
        names={"group:120363400000000202@g.us": "Clientes VIP 2026"},
        in_order=True,
    ),
    "22-rename": Case(
        recorded("cases/22-rename"),
        {"3A220000000000000001": {"text": "Olá", "fromMe": True}},
        ["Ana Estética"],
        names={"+5511977770040": "Ana Estética"},
        in_order=True,
    ),
    "bodies of 2026": Case(
        [
            *of_2026("01", "02", "03", "04", "05", "06", "07", "08", "09", "16", "17", "18", "19"),
            *recorded("webhooks/send.message-text"),
            *PAIR,
        ],
        {
            "3A0000001F2E3D6A0001": {"text": "2.4: remoteJid telefone, alt LID"},
            "3A0000001F2E3D6A0002": {"text": "sim, pode ser (era resposta)", "quoted": None},
            "3A0000001F2E3D6A0003": {"kind": "image", "quoted": {"text": "manda a foto?", "fromMe": True}},
            "3A0000001F2E3D6A0004": {"kind": "unknown", "text": None},
            "3A0000001F2E3D6A0005": {"sender": "+5511999990001", "text": "de um aparelho vinculado"},
            "3A0000001F2E3D6A0006": {"sender": "lid:281380638478587"},
            "3A0000001F2E3D6A0016": {"text": "Olá! Vi o anúncio"},
            "3A0000001F2E3D6A0017": {"text": "escrevo pelo meu @"},
            "3A0000001F2E3D6A0030": {"text": "Quero 3 caixas, não 2", "editTextUnknown": False},
            SENT: {"deliveryStatus": "delivered", "failure": None, "fromMe": True},
        },
        ["manda a foto?", "Quero 3 caixas, não 2 edited", "escrevo pelo meu @", "de um aparelho vinculado, sem alt"],
        ["history_progress"],
        told_once={"conversationId"},  # of a LID, before it is known whose it is
    ),
    "an encrypted edit": Case(
        PAIR, {"3A0000001F2E3D6A0030": {"text": "Quero 3 caixas, não 2"}}, ["Quero 3 caixas, não 2 edited"]
    ),
    "refused after the 201": Case(
        [*recorded("webhooks/send.message-text"), *of_2026("19")],
        {SENT: {"deliveryStatus": "failed", "fromMe": True}},
        ["olá"],
    ),
}

PHONE, LID = "5511999990001@s.whatsapp.net", "111222333444555@lid"
GROUP = "120363000000000001@g.us"
AT = 1_795_364_451


def upsert(id: str, message: Mapping[str, Any], at: int = AT, **key: Any) -> Body:
    whole = {"remoteJid": PHONE, "fromMe": False, "id": id} | key
    return {"event": "messages.upsert", "data": {"key": whole, "message": message, "messageTimestamp": at}}


def with_secret(**content: Any) -> dict[str, Any]:
    return {**content, "messageContextInfo": {"messageSecret": indices(SECRET)}}


def encrypted_edit(target: str, content: bytes, author: str = PHONE, secret: bytes = SECRET, **key: Any) -> Body:
    payload = encrypt(edit_of(content, (AT + 60) * 1000 + 123, target), target, author, author, secret=secret)
    report = {
        "targetMessageKey": {"remoteJid": OWN, "fromMe": True, "id": target},
        "encPayload": indices(payload),
        "encIv": indices(NONCE),
        "secretEncType": 2,
    }
    return upsert(f"{target}E", {"secretEncryptedMessage": report}, AT + 60, **key)


def poll(id: str) -> Body:
    content = {
        "name": "Vem?",
        "options": [{"optionName": name} for name in ("Sim", "Não")],
        "selectableOptionsCount": 0,
    }
    return upsert(id, with_secret(pollCreationMessageV3=content), event="send.message", fromMe=True)


def vote(target: str, *options: str, creator: str = OWN, at: int = AT + 60) -> Body:
    """A vote that 2.3.7 could not open: it says that it was taken back."""
    payload = encrypt(vote_for(*options), target, creator, PHONE, "Poll Vote")
    content = {
        "pollCreationMessageKey": {"remoteJid": PHONE, "fromMe": True, "id": target},
        "vote": {"selectedOptions": [], "encPayload": indices(payload), "encIv": indices(NONCE)},
        "senderTimestampMs": str(at * 1000),
    }
    return upsert(f"{target}V{at}", {"pollUpdateMessage": content}, at)


def open_vote(target: str, *options: str, at: int = AT + 60) -> Body:
    content = {
        "pollCreationMessageKey": {"remoteJid": PHONE, "fromMe": True, "id": target},
        "vote": {"selectedOptions": list(options)},
        "senderTimestampMs": str(at * 1000),
    }
    return upsert(f"{target}V{at}", {"pollUpdateMessage": content}, at)


def answer(target: str, number: int) -> Body:
    payload = encrypt(field(1, number) + field(2, AT * 1000), target, OWN, PHONE, "Event Response")
    content = {
        "eventCreationMessageKey": {"remoteJid": PHONE, "fromMe": True, "id": target},
        "encPayload": indices(payload),
        "encIv": indices(NONCE),
    }
    return upsert(f"{target}R", {"encEventResponseMessage": content}, AT + 60)


def plain_edit(target: str, text: str, at: int = AT + 60) -> Body:
    key = {"remoteJid": PHONE, "fromMe": False, "id": target}
    edit = {"key": key, "type": "MESSAGE_EDIT", "editedMessage": {"conversation": text}, "timestampMs": str(at * 1000)}
    return {"event": "messages.edited", "data": edit}


def edit_by_update(target: str, text: str, at: int = AT + 60) -> Body:
    """As 2.3.7 tells an edit to who is not subscribed to messages.edited."""
    data = {"keyId": target, "remoteJid": PHONE, "fromMe": False, "status": "EDITED", "messageTimestamp": at}
    return {
        "event": "messages.update",
        "data": data | {"message": {"editedMessage": {"message": {"conversation": text}}}},
    }


def whole_edit(target: str, text: str, at: int = AT + 60) -> Body:
    """The message once more, with its newest text."""
    return upsert(target, {"editedMessage": {"message": {"conversation": text}}}, at)


def deletion(target: str, **key: Any) -> Body:
    return {"event": "messages.delete", "data": {"id": target, "remoteJid": PHONE, "fromMe": False} | key}


def reaction(target: str, emoji: str, at: int = AT + 60) -> Body:
    value = {"key": {"id": target, "remoteJid": PHONE}, "text": emoji, "senderTimestampMs": at * 1000}
    return upsert(f"{target}R{at}", {"reactionMessage": value}, at)


_MARIA = "+5511999990001"
_GROUP_KEY = {"remoteJid": GROUP, "participant": PHONE, "participantAlt": LID}
CONSTRUCTED = {
    "encrypted edits of a caption, in a group, and of our own": Case(
        [
            upsert("CAPTION", with_secret(imageMessage={"caption": "antes", "mimetype": "image/jpeg"})),
            encrypted_edit("CAPTION", caption_content("depois")),
            upsert("MEMBER", with_secret(conversation="dois"), **_GROUP_KEY),
            encrypted_edit("MEMBER", text_content("três"), LID, **_GROUP_KEY),
            upsert("OURS", with_secret(conversation="segunda"), fromMe=True),
            encrypted_edit("OURS", text_content("terça"), OWN, fromMe=True),
        ],
        {
            "CAPTION": {"text": "depois", "media": {"mimetype": "image/jpeg"}, "editTextUnknown": False},
            "MEMBER": {"text": "três", "editTextUnknown": False, "sender": _MARIA},
            "OURS": {"text": "terça", "editTextUnknown": False, "fromMe": True},
        },
        ["depois", "três edited", "terça edited"],
    ),
    "an edit under another secret, and without any": Case(
        [
            upsert("WRONG", with_secret(conversation="dois")),
            encrypted_edit("WRONG", text_content("três"), secret=bytes(32)),
            upsert("NONE", {"conversation": "quatro"}),
            encrypted_edit("NONE", text_content("cinco")),
        ],
        {"WRONG": {"text": "dois", "editTextUnknown": True}, "NONE": {"text": "quatro", "editTextUnknown": True}},
        ["edited; the new text is on the phone only"],
    ),
    "a report of a kind that is not known yet": Case(
        [upsert("NEW", {"secretEncryptedMessage": {"secretEncType": 77, "targetMessageKey": {"id": "A"}}})],
        {"NEW": {"kind": "placeholder", "text": None}},
        ["look at the phone"],
        ["encrypted_unknown_kind"],
    ),
    "votes of a V3 poll": Case(
        [
            *(poll("P1"), vote("P1", "Sim", "Não")),
            *(poll("P2"), vote("P2", "Sim"), vote("P2", at=AT + 90)),
            *(poll("P3"), vote("P3", "Sim", creator="551144443333@s.whatsapp.net")),
            *(poll("P4"), open_vote("P4", "Não")),
        ],
        {
            "P1": {"votes": [{"actor": _MARIA, "options": ["Sim", "Não"]}]},
            "P2": {"votes": []},  # taken back
            "P3": {"votes": [{"actor": _MARIA, "options": None}]},
            "P4": {"votes": [{"actor": _MARIA, "options": ["Não"]}]},
        },
        ["Sim 1", "1 vote that only the phone can read"],
    ),
    "an answer to an event": Case(
        [
            upsert("EV", with_secret(eventMessage={"name": "Reunião", "startTime": "1795400000"}), fromMe=True),
            answer("EV", 1),
        ],
        {"EV": {"kind": "event", "votes": [{"actor": _MARIA, "options": ["going"]}]}},
        ["Reunião"],
    ),
    "a message, repeated and reacted to under a LID that is linked at last": Case(
        [
            upsert("TWICE", {"conversation": "oi"}),
            upsert(
                "TWICE", {"extendedTextMessage": {"text": "oi", "contextInfo": {"isForwarded": True}}}, remoteJid=LID
            ),
            upsert(
                "TWICER", {"reactionMessage": {"key": {"id": "TWICE", "remoteJid": LID}, "text": "👍"}}, remoteJid=LID
            ),
            {"event": "contacts.update", "data": [{"remoteJid": PHONE, "lid": LID}]},
        ],
        {
            "TWICE": {
                "text": "oi",
                "forwarded": True,
                "reactions": [{"actor": f"lid:{LID.split('@')[0]}", "emoji": "👍"}],
            }
        },
        ["👍"],
        told_once={"conversationId"},  # of a LID, before it is known whose it is
    ),
    "an edit that is the message once more": Case(
        [upsert("LATER", {"conversation": "antes"}), whole_edit("LATER", "um"), whole_edit("LATER", "zero", AT + 30)],
        {"LATER": {"text": "um", "editTextUnknown": False}},
        ["um edited"],
        told_once={"sentAt"},  # an edit that comes first is told with its own time
    ),
    "encrypted edits of a deleted message": Case(
        [
            upsert("GONE", with_secret(conversation="dois")),
            encrypted_edit("GONE", text_content("três")),
            deletion("GONE"),
            upsert("NEVER", {"conversation": "quatro"}),
            encrypted_edit("NEVER", text_content("cinco")),
            deletion("NEVER"),
        ],
        {name: {"text": None, "editedAt": None, "editTextUnknown": False} for name in ("GONE", "NEVER")},
        ["This message was deleted"],
    ),
    "edits, deletions and reactions": Case(
        [
            *(upsert("A", {"conversation": "a"}), plain_edit("A", "á"), plain_edit("A", "à", AT + 90)),
            *(upsert("B", {"conversation": "b"}), edit_by_update("B", "bê")),
            *(upsert("C", {"conversation": "c"}), plain_edit("C", "cê"), deletion("C")),
            *(upsert("D", {"conversation": "d"}, fromMe=True), deletion("D", fromMe=True)),
            *(upsert("F", {"conversation": "f"}), reaction("F", "👍"), reaction("F", "🙏", AT + 90)),
            *(upsert("G", {"conversation": "g"}), reaction("G", "👍"), reaction("G", "", AT + 90)),
        ],
        {
            "A": {"text": "à"},
            "B": {"text": "bê"},
            "C": {"text": None},
            "D": {"text": None},
            "F": {"text": "f", "reactions": [{"actor": _MARIA, "emoji": "🙏"}]},
            "G": {"text": "g", "reactions": []},
        },
        ["à edited", "bê edited", "This message was deleted", "🙏"],
    ),
}
CASES = {**PUBLIC, **CONSTRUCTED}
