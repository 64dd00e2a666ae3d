"""Texts that try to be code wherever they end up, and webhooks that carry them in every field."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from support.running_system import RunningSystem

from zapline.sandbox.simulator.server import API_KEY

CORPUS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
"""Scripts that call ``zaplineRan``, SQL, log lines, formulas and odd characters; each text has a mark of its own."""
TEXTS = [text for texts in CORPUS.values() for text in texts]
_VOLATILE_COLUMNS = ("applied_seq", "updated_at", "reconciled_until", "reconciled_at", "gap_since", "store_kept")
"""Columns that change by themselves while a line is open."""
_FULL_KINDS = 4
"""Kinds of message that carry every text; the others alternate."""
THREAD_PHONES = "55119999700"
"""The prefix of the phones that send all kinds of messages; two digits follow."""
_TEXTS_PER_THREAD = 5
"""Texts from one phone; a page of its thread holds them all."""
HARMLESS_SENDER = "5511999980000@s.whatsapp.net"


def messages(number: int, text: str) -> Iterator[dict[str, Any]]:
    """Every kind of message with this text in every field that its sender controls."""
    sender = f"{THREAD_PHONES}{number // _TEXTS_PER_THREAD:02}@s.whatsapp.net"
    file = {"mimetype": text, "fileName": text, "title": text, "caption": text, "url": text, "fileLength": text}
    quoted = {"contextInfo": {"stanzaId": text, "participant": text, "quotedMessage": {"conversation": text}}}
    link = {"text": text, "canonicalUrl": text, "matchedText": text, "title": text, "description": text}
    card = {"displayName": text, "vcard": f"BEGIN:VCARD\nFN:{text}\nTEL;waid=5511999990002:{text}\nEND:VCARD"}
    location = {"degreesLatitude": 1, "degreesLongitude": text, "name": text, "address": text, "url": text}
    poll = {"name": text, "options": [{"optionName": text}, {"optionName": f"{text} 2"}]}
    event = {"name": text, "description": text, "joinLink": text, "location": location}
    contents: dict[str, dict[str, Any]] = {
        "extendedTextMessage": {**link, **quoted},
        "documentMessage": file,
        "contactMessage": card,
        "pollCreationMessageV3": poll,
        "imageMessage": {"mimetype": "image/jpeg", "caption": text, "url": text, "jpegThumbnail": text},
        "locationMessage": location,
        "eventMessage": event,
        "groupInviteMessage": {"groupJid": text, "groupName": text, "caption": text, "inviteCode": text},
        "buttonsResponseMessage": {"selectedButtonId": text, "selectedDisplayText": text},
        "listResponseMessage": {"title": text, "description": text, "singleSelectReply": {"selectedRowId": text}},
        "reactionMessage": {"text": text, "key": {"remoteJid": text, "id": text}},
        "productMessage": {"product": {"title": text, "description": text, "url": text}},
        text[:60]: {"text": text},
    }
    for index, (kind, content) in enumerate(contents.items()):
        if index >= _FULL_KINDS and (index + number) % 3:
            continue
        yield message(f"HOSTILE{number:03}{index:02}", sender, text, {kind: content}, kind)
    yield message(f"HOSTILE{number:03}90", sender, text, {"conversation": text}, "conversation", quoted)
    yield message(text[:80], sender, text, {"conversation": text}, "conversation")
    yield message(f"HOSTILE{number:03}91", text, text, {"conversation": text}, "conversation")
    # One more sender for each text, whose name it is in the list of conversations.
    yield message(f"HOSTILE{number:03}92", f"55119999{60000 + number:05}@s.whatsapp.net", text, {"conversation": "oi"})


def message(
    id: str,
    sender: str,
    name: str,
    content: dict[str, Any],
    kind: str = "conversation",
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The data of a ``messages.upsert``."""
    return {
        "key": {"remoteJid": sender, "fromMe": False, "id": id, "participant": name},
        "pushName": name,
        "status": "DELIVERY_ACK",
        "message": content,
        "messageType": kind,
        "messageTimestamp": int(time.time()),
        "source": name,
        **(more or {}),
    }


def other_events(id: str, sender: str, text: str) -> Iterator[tuple[str, Any]]:
    """Other events about messages and contacts."""
    yield "contacts.upsert", [{"remoteJid": sender, "pushName": text}]
    yield "groups.upsert", [{"id": "120363025246125486@g.us", "subject": text, "owner": text}]
    yield "messages.update", {"keyId": text, "remoteJid": text, "status": text, "fromMe": True}
    yield "messages.edited", {"key": {"id": id}, "editedMessage": {"conversation": text}}
    yield "call", {"id": text, "from": text, "status": text}


class HostileEvolution:
    """Posts webhooks of one instance as Evolution does, with arbitrary bodies."""

    def __init__(self, system: RunningSystem, instance: str) -> None:
        self._system, self.instance = system, instance
        url = f"{system.evolution_url}/webhook/find/{instance}"
        settings = httpx2.get(url, headers={"apikey": API_KEY}, timeout=5, trust_env=False).json()
        self.url = str(settings["url"])
        self._http = httpx2.Client(timeout=15, trust_env=False)

    def post(self, event: str, data: Any, **more: Any) -> None:
        self.raw(json.dumps({"event": event, "instance": self.instance, "data": data, **more}).encode())

    def raw(self, body: bytes) -> None:
        answer = self._http.post(self.url, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text

    def close(self) -> None:
        self._http.close()


def attack(system: RunningSystem, instance: str) -> int:
    """Send every text through every field of a webhook; return the number of messages."""
    evolution = HostileEvolution(system, instance)
    sent = 0
    for number, text in enumerate(TEXTS):
        for data in messages(number, text):
            evolution.post("messages.upsert", data)
            sent += 1
        events = [*other_events(f"HOSTILE{number:03}90", data["key"]["remoteJid"], text)]
        for event, data in (events[number % len(events)], events[(number + 1) % len(events)]):
            evolution.post(event, data)
        if number % 4 == 0:
            head = {"sender": text, "server_url": text, "date_time": text, "apikey": text, "destination": text}
            evolution.post(text, {"x": text}, **head)
            evolution.raw(f'{{"event": "messages.upsert", "instance": "{instance}", "data": "{number}'.encode())
    evolution.post("messages.upsert", message("LAST", HARMLESS_SENDER, "Fim", {"conversation": "last of all"}))
    evolution.close()
    return sent


def fingerprint(system: RunningSystem, unit: str) -> dict[str, str | None]:
    """The schema, and all rows of a unit that must not change, by table."""
    columns = system.rows(
        "select table_name, string_agg(column_name || ' ' || data_type, ',' order by ordinal_position)"
        " from information_schema.columns where table_schema = 'zapline' group by table_name"
    )
    tables = system.rows(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = 'zapline' and column_name = 'unit_id'"
    )
    contents: dict[str, str | None] = {f"schema of {table}": names for table, names in columns}
    for table, column in [*tables, ("units", "id")]:
        row = "(to_jsonb(t) - %s::text[])::text"
        query = f"select string_agg({row}, ' ' order by {row}) from zapline.{table} t where t.{column} = %s"
        parameters = (list(_VOLATILE_COLUMNS), list(_VOLATILE_COLUMNS), unit)
        contents[table] = system.rows(query, *parameters)[0][0]
    ((contents["admins"],),) = system.rows("select string_agg(email, ',' order by email) from zapline.admins")
    return contents
