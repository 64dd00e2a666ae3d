"""Holds the state of one simulated instance, and formats it as Evolution's API shows it."""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import trio

from zapline.sandbox.simulator.state.event_queue import EventHandler, EventQueue
from zapline.sandbox.simulator.state.message_store import MessageStore

EVENTS = (
    "APPLICATION_STARTUP", "QRCODE_UPDATED", "MESSAGES_SET", "MESSAGES_UPSERT", "MESSAGES_EDITED",
    "MESSAGES_UPDATE", "MESSAGES_DELETE", "SEND_MESSAGE", "SEND_MESSAGE_UPDATE", "CONTACTS_SET",
    "CONTACTS_UPSERT", "CONTACTS_UPDATE", "PRESENCE_UPDATE", "CHATS_SET", "CHATS_UPSERT", "CHATS_UPDATE",
    "CHATS_DELETE", "GROUPS_UPSERT", "GROUP_UPDATE", "GROUP_PARTICIPANTS_UPDATE", "CONNECTION_UPDATE",
    "LABELS_EDIT", "LABELS_ASSOCIATION", "CALL", "TYPEBOT_START", "TYPEBOT_CHANGE_STATUS", "REMOVE_INSTANCE",
    "LOGOUT_INSTANCE", "INSTANCE_CREATE", "INSTANCE_DELETE", "STATUS_INSTANCE",
)  # fmt: skip
"""The event names that a webhook may subscribe to, in Evolution's order."""

SETTINGS: dict[str, Any] = {
    "rejectCall": False,
    "msgCall": "",
    "groupsIgnore": False,
    "alwaysOnline": False,
    "readMessages": False,
    "readStatus": False,
    "syncFullHistory": False,
    "wavoipToken": "",
}


@dataclass(slots=True)
class WebhookRow:
    """An instance's webhook configuration. ``headers`` None: none were set."""

    id: str
    url: str
    headers: dict[str, Any] | None
    enabled: bool
    events: list[str]
    by_events: bool
    base64: bool
    created: str
    updated: str


@dataclass(slots=True)
class Instance:
    """``state`` is what connectionState reports; ``socket`` is the state for sending: never, closed or alive."""

    name: str
    token: str
    integration: str
    number: str | None
    created: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    row_id: str = ""
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    webhook: WebhookRow | None = None
    proxy: dict[str, Any] | None = None
    """The row of its own proxy, as Evolution stores it."""
    state: str = "close"
    socket: str = "never"
    owner_jid: str | None = None
    profile_name: str | None = None
    qr_code: dict[str, Any] | None = None
    """The current QR code as connect returns it."""
    qr_ready: trio.Event = field(default_factory=trio.Event)
    pairing: trio.CancelScope | None = None
    reopening: trio.CancelScope | None = None
    disconnection: tuple[int, str, str] | None = None
    """Code, error object as JSON text, and time of the last close."""
    updated: str = ""
    messages: MessageStore = field(default_factory=MessageStore)
    contacts: dict[str, tuple[str, str | None, str]] = field(default_factory=dict)
    """JID -> row id, push name, time first seen."""
    events: EventQueue = field(default_factory=EventQueue)
    held: list[EventHandler] | None = None
    """What WhatsApp holds back for the line until it is open again; None: nothing is held back."""

    scanned: bool = False
    """A phone has linked the line, and the connection after that was never made."""
    stuck: bool = False
    """Connect no longer opens it; only deleting it helps."""

    def stop_pairing(self) -> None:
        """Cancel the QR code rotation and a pending reconnection."""
        for scope in (self.pairing, self.reopening):
            if scope is not None:
                scope.cancel()
        self.pairing = self.reopening = None
        self.qr_code = None


def iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def row_id(rng: random.Random) -> str:
    """Return an id in the format of Evolution's database."""
    return "cm" + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=23))


def message_id(rng: random.Random) -> str:
    """Return a message id in the format of WhatsApp Web."""
    return "3EB0" + "".join(rng.choices("0123456789ABCDEF", k=18))


def device_of(external_id: str) -> str:
    """The kind of device that an id is from, as Evolution guesses it."""
    if len(external_id) == 20 and external_id.startswith("3A"):
        return "ios"
    if len(external_id) == 22 and external_id.startswith("3E"):
        return "web"
    if len(external_id) in (21, 32):
        return "android"
    return "desktop" if len(external_id) == 18 or external_id.startswith("3F") else "unknown"


def webhook_row(row: WebhookRow, instance_id: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "headers": row.headers,
        "enabled": row.enabled,
        "events": row.events,
        "webhookByEvents": row.by_events,
        "webhookBase64": row.base64,
        "createdAt": row.created,
        "updatedAt": row.updated,
        "instanceId": instance_id,
    }


def instance_row(instance: Instance) -> dict[str, Any]:
    """Format one element of fetchInstances; its ``connectionStatus`` is ``close`` also while connecting."""
    code, error, closed_at = instance.disconnection or (None, None, None)
    return {
        "id": instance.id,
        "name": instance.name,
        "connectionStatus": "open" if instance.state == "open" else "close",
        "ownerJid": instance.owner_jid,
        "profileName": instance.profile_name,
        "profilePicUrl": None,
        "integration": instance.integration,
        "number": instance.number,
        "businessId": None,
        "token": instance.token,
        "clientName": "evolution",
        "disconnectionReasonCode": code,
        "disconnectionObject": error,
        "disconnectionAt": closed_at,
        "createdAt": instance.created,
        "updatedAt": instance.updated,
        "Chatwoot": None,
        "Proxy": None,
        "Rabbitmq": None,
        "Nats": None,
        "Sqs": None,
        "Websocket": None,
        "Setting": {
            "id": instance.row_id,
            **instance.settings,
            "createdAt": instance.created,
            "updatedAt": instance.updated,
            "instanceId": instance.id,
        },
        "_count": {
            "Message": len(instance.messages),
            "Contact": len(instance.contacts),
            "Chat": instance.messages.chat_count(),
        },
    }
