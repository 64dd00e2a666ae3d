"""Generates webhooks: the same contacts and external ids in several units, reports in any order."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..environment import CANARY
from .webhook_ledger import Event, EventKind

SENDER_KEY = f"{CANARY}-instance-token"
STATUSES = ("ERROR", "SERVER_ACK", "DELIVERY_ACK", "READ", "PLAYED")
EPOCH_MS = 1_795_364_451_000
CONTACTS = 12
DUPLICATES = 0.015
"""Share of the webhooks that Evolution delivers twice, though they were acknowledged."""


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """An event, posted ``delay`` seconds after the start of its scenario."""

    event: Event
    delay: float


class WebhookTraffic:
    """Draws scenarios: a message and the reports of it, in one to three units at once."""

    def __init__(self, instances: Sequence[str], rng: random.Random) -> None:
        self._instances = instances
        self._rng = rng
        self._count = 0
        self.phones = [f"55119{8_700_0000 + rng.randrange(10**6) * 10 + digit}" for digit in range(CONTACTS)]

    def scenario(self) -> list[ScheduledEvent]:
        """Return a message and its reports, with random delays."""
        rng = self._rng
        self._count += 1
        external_id = f"3EB0{self._count:08X}{rng.randrange(16**8):08X}"
        units = rng.sample(range(len(self._instances)), rng.choice((1, 1, 2, 3)))
        events = [event for unit in units for event in self._events(unit, external_id)]
        events += [event for event in events if rng.random() < DUPLICATES]
        return [ScheduledEvent(event, rng.uniform(0.0, 0.4)) for event in events]

    def _events(self, unit: int, external_id: str) -> list[Event]:
        rng = self._rng
        jid = f"{rng.choice(self.phones)}@s.whatsapp.net"
        from_me = rng.random() < 0.5
        key = {"remoteJid": jid, "fromMe": from_me, "id": external_id}
        events = [self._message(unit, key)]
        for status in rng.sample(STATUSES, rng.choice((0, 0, 1, 2, 4)) if from_me else 0):
            data = {"keyId": external_id, "remoteJid": jid, "fromMe": True, "status": status}
            events.append(self._event(unit, external_id, EventKind.STATUS, "messages.update", data, value=status))
        for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
            text, at_ms = f"{CANARY} corrigido {rng.randrange(10**9)}", EPOCH_MS + rng.randrange(10**9)
            data = {
                "key": key,
                "type": "MESSAGE_EDIT",
                "editedMessage": {"conversation": text},
                "timestampMs": str(at_ms),
            }
            # Of our own messages messages.edited proves nothing: Evolution answers to an edit by another event.
            name = "send.message.update" if from_me else "messages.edited"
            events.append(self._event(unit, external_id, EventKind.EDIT, name, data, value=text, at_ms=at_ms))
        if rng.random() < 0.08:
            data = {**key, "status": "DELETED"}
            events.append(self._event(unit, external_id, EventKind.DELETE, "messages.delete", data))
        if rng.random() < 0.05:
            data = {"id": jid, "presences": {jid: {"lastKnownPresence": "composing"}}}
            events.append(self._event(unit, external_id, EventKind.PRESENCE, "presence.update", data))
        return events

    def _message(self, unit: int, key: dict[str, object]) -> Event:
        text = f"{CANARY} unidade {unit} {key['id']}"
        status = "SERVER_ACK" if key["fromMe"] else "DELIVERY_ACK"
        data = {
            "key": key,
            "pushName": "Maria",
            "status": status,
            "message": {"conversation": text},
            "messageType": "conversation",
            "messageTimestamp": EPOCH_MS // 1000 + self._count,
            "source": "android",
        }
        event = self._event(unit, str(key["id"]), EventKind.MESSAGE, "messages.upsert", data, value=status)
        event.text = text
        return event

    def _event(
        self, unit: int, external_id: str, kind: EventKind, name: str, data: object, value: str = "", at_ms: int = 0
    ) -> Event:
        body = {
            "event": name,
            "instance": self._instances[unit],
            "data": data,
            "sender": "5511999990000@s.whatsapp.net",
            "server_url": "http://127.0.0.1:58080",
            "apikey": SENDER_KEY,
        }
        return Event(unit, external_id, kind, json.dumps(body).encode(), value, at_ms)
