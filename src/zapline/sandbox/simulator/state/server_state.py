"""Holds the state that the simulated server's endpoints share, and turns events into webhooks."""

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import trio

from zapline.sandbox.simulator.http.http_server import Listener
from zapline.sandbox.simulator.http.responses import encode_json
from zapline.sandbox.simulator.state.delivery_ledger import DeliveryLedger
from zapline.sandbox.simulator.state.event_queue import EventHandler
from zapline.sandbox.simulator.state.faults import FaultInjector
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_versions import own_headers
from zapline.sandbox.simulator.state.webhook_delivery import (
    WebhookRequest,
    WebhookRetryPolicy,
    WebhookSender,
    webhook_headers,
)

TASK_LIMIT = 20_000
"""Concurrent status reports and reconnections; a send above it gets no status, as with a real server."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the simulated server and the phones behave; times in seconds. The defaults are Evolution's own."""

    qr_lifetime: float = 45.0
    qr_limit: int = 30
    first_qr: float = 0.05
    """From connect to the first QR code. ``inf``: WhatsApp is unreachable, and no code comes."""
    connect_wait: float = 2.0
    """Longest wait of connect for a QR code."""
    create_wait: float = 5.0
    statuses: tuple[str, ...] = ("SERVER_ACK", "DELIVERY_ACK")
    """Reported for each message sent to a person."""
    status_gap: float = 0.2
    retry: WebhookRetryPolicy = field(default_factory=WebhookRetryPolicy)
    store: bool = True
    """DATABASE_SAVE_DATA_NEW_MESSAGE: without it no message can be read back, and no status is reported."""
    version: str = "2.3.7"
    """1.x accepts its own body format for sending, and no other; for 2.4 see ``server_versions``."""
    reopen_delay: float = 0.3
    """From ``connecting`` to ``open`` after a restart of the server."""
    expose_token: bool = False
    """AUTHENTICATION_EXPOSE_IN_FETCH_INSTANCES: the instance's token as ``apikey`` in webhooks."""


@dataclass(slots=True)
class NumberDirectory:
    """What WhatsApp knows about numbers: all exist except those in ``missing``."""

    missing: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    """Numbers whose look-up times out."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Requested number -> registered number."""
    names: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> its participants."""
    subjects: dict[str, str] = field(default_factory=dict)
    """Group -> its subject."""
    silent: set[str] = field(default_factory=set)
    """Digits of the JIDs of phones that are off: what is sent to them is reported as SERVER_ACK and no further."""
    unreported: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    """What is reported of a silent phone once it is on again."""
    roles: dict[tuple[str, str], str] = field(default_factory=dict)
    """Group and participant -> ``admin`` or ``superadmin``."""
    lids: dict[str, str] = field(default_factory=dict)
    """Participant of a group -> the LID under which groups name it."""
    admins_write: set[str] = field(default_factory=set)
    """Groups in which only admins write."""
    dead_proxies: set[str] = field(default_factory=set)
    """Hosts of proxies that do not work."""
    pictures: dict[str, str] = field(default_factory=dict)
    """JID -> where its picture is, of those who show one."""


class ServerState:
    """The state of one simulated server. Its background tasks run in ``nursery``."""

    def __init__(
        self,
        nursery: trio.Nursery,
        webhook_sender: Callable[["ServerState"], WebhookSender],
        listener: Listener,
        api_key: str,
        behaviour: Behaviour,
        rng: random.Random,
    ) -> None:
        self.listener = listener
        self.api_key = api_key
        self.url = ""
        self.behaviour = behaviour
        self.rng = rng
        self.faults = FaultInjector(rng)
        self.ledger = DeliveryLedger()
        self.numbers = NumberDirectory()
        self.instances: OrderedDict[str, Instance] = OrderedDict()
        self.webhook_sender = webhook_sender(self)
        self._nursery = nursery
        self._tasks = 0

    def spawn(self, task: Callable[[], Any]) -> bool:
        """Start a background task; False where ``TASK_LIMIT`` tasks run already."""
        if self._tasks >= TASK_LIMIT:
            return False
        self._tasks += 1
        self._nursery.start_soon(self._run_counted, task)
        return True

    async def _run_counted(self, task: Callable[[], Any]) -> None:
        try:
            await task()
        finally:
            self._tasks -= 1

    def store(self, instance: Instance, stored: StoredMessage) -> StoredMessage:
        """Store a message in the instance's database, if it stores any; a stored id keeps its row."""
        return instance.messages.add(stored) if self.behaviour.store else stored

    def from_phone(self, instance: Instance, handler: EventHandler) -> None:
        """Handle an event that WhatsApp sends, behind the instance's earlier ones; it waits while the line is away."""
        if instance.held is not None:
            instance.held.append(handler)
        else:
            instance.events.submit(handler, self.spawn)

    def fire_in_turn(self, instance: Instance, event: str, data: Any) -> None:
        """Send an event behind the instance's earlier ones."""

        def handle() -> None:
            self.fire(instance, event, data)

        instance.events.submit(handle, self.spawn)

    def fire(self, instance: Instance, event: str, data: Any) -> trio.Event | None:
        """Send an event to the instance's webhook; None if it is not subscribed. ``event`` is lower case with dots.

        The returned event is set when the delivery has ended.
        """
        hook = instance.webhook
        if hook is None or not hook.enabled or event.replace(".", "_").replace("-", "_").upper() not in hook.events:
            return None
        return self.post(instance, event, self.envelope(instance, event, data))

    def envelope(self, instance: Instance, event: str, data: Any) -> dict[str, Any]:
        """Build the body. ``date_time`` is local time with a wrong Z; ``sender`` is absent before the first login."""
        hook = instance.webhook
        local = datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="milliseconds")
        body: dict[str, Any] = {
            "event": event,
            "instance": instance.name,
            "data": data,
            "destination": hook.url if hook else "",
            "date_time": local + "Z",
        }
        if instance.owner_jid is not None:
            body["sender"] = instance.owner_jid
        body["server_url"] = self.url
        body["apikey"] = instance.token if self.behaviour.expose_token else None
        return body

    def post(self, instance: Instance, event: str, body: dict[str, Any]) -> trio.Event | None:
        """Post this body to the instance's webhook URL, also without a subscription."""
        return self.post_raw(instance, event, _id_of(body.get("data")), encode_json(body))

    def post_raw(self, instance: Instance, event: str, message_id: str | None, body: bytes) -> trio.Event | None:
        """Post these bytes, if a webhook is set; the returned event is set when the delivery has ended."""
        hook = instance.webhook
        if hook is None:
            return None
        url = hook.url
        if hook.by_events:
            url = url.rstrip("/") + "/" + quote(event.replace(".", "-").replace("_", "-").lower())
        record = self.ledger.add_webhook(event, instance.name, message_id)
        own = own_headers(self.behaviour.version, instance.id, instance.name, event)
        return self.webhook_sender.dispatch(WebhookRequest(url, webhook_headers(own, hook.headers), body, record))


def _id_of(data: Any) -> str | None:
    """Return the id of the message that an event is about."""
    if not isinstance(data, dict):
        return None
    key = data.get("key")
    id = key.get("id") if isinstance(key, dict) else data.get("keyId")
    return id if isinstance(id, str) else None
