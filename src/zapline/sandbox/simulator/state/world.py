"""Holds what all parts of the simulated server share, and turns events into webhooks."""

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import trio

from zapline.sandbox.simulator.http.http_server import Door
from zapline.sandbox.simulator.http.responses import encode
from zapline.sandbox.simulator.state.faults import FaultBoard
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.ledger import Ledger
from zapline.sandbox.simulator.state.message_store import Stored
from zapline.sandbox.simulator.state.webhook_delivery import Courier, Parcel, WebhookRetryPolicy, parcel_headers

TASK_LIMIT = 20_000
"""Status reports and reconnections under way; a send above it simply gets no status, as happens in life."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the simulated server and the phones behave. Seconds; the defaults are Evolution's own."""

    qr_lifetime: float = 45.0
    qr_limit: int = 30
    first_qr: float = 0.05
    """From connect to the first code. ``inf``: WhatsApp is unreachable, no code ever comes."""
    connect_wait: float = 2.0
    """How long connect waits for a code, at most."""
    create_wait: float = 5.0
    statuses: tuple[str, ...] = ("SERVER_ACK", "DELIVERY_ACK")
    """Reported for each message sent to a person."""
    status_gap: float = 0.2
    retry: WebhookRetryPolicy = field(default_factory=WebhookRetryPolicy)
    store: bool = True
    """DATABASE_SAVE_DATA_NEW_MESSAGE: without it nothing can be read back, and no status is ever told."""
    version: str = "2.3.7"
    """1.x takes the old shape for sending, and no other."""
    expose_token: bool = False
    """AUTHENTICATION_EXPOSE_IN_FETCH_INSTANCES: the instance's token as ``apikey`` in webhooks."""


@dataclass(slots=True)
class Phones:
    """What WhatsApp knows about numbers: all exist, save these."""

    missing: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    """The look-up times out."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Number asked for -> number registered."""
    names: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Group -> its participants."""


class World:
    """One simulated server: its instances, phones, faults and ledger. Lives inside ``nursery``."""

    def __init__(
        self,
        nursery: trio.Nursery,
        courier: Callable[["World"], Courier],
        door: Door,
        api_key: str,
        habits: Habits,
        chance: random.Random,
    ) -> None:
        self.door = door
        self.api_key = api_key
        self.url = ""
        self.habits = habits
        self.chance = chance
        self.faults = FaultBoard(chance)
        self.ledger = Ledger()
        self.phones = Phones()
        self.instances: OrderedDict[str, Instance] = OrderedDict()
        self.courier = courier(self)
        self._nursery = nursery
        self._tasks = 0

    def spawn(self, task: Callable[[], Any]) -> bool:
        """Run something beside the request; False where too much is under way."""
        if self._tasks >= TASK_LIMIT:
            return False
        self._tasks += 1
        self._nursery.start_soon(self._counted, task)
        return True

    async def _counted(self, task: Callable[[], Any]) -> None:
        try:
            await task()
        finally:
            self._tasks -= 1

    def store(self, instance: Instance, stored: Stored) -> Stored:
        """Keep a message in the instance's database, if it keeps any; a known id keeps its row."""
        return instance.messages.add(stored) if self.habits.store else stored

    def fire(self, instance: Instance, event: str, data: Any) -> None:
        """Hand an event to the instance's webhook, if it subscribes to it. ``event`` is lower dotted."""
        hook = instance.webhook
        if hook is None or not hook.enabled or event.replace(".", "_").upper() not in hook.events:
            return
        self.post(instance, event, self.envelope(instance, event, data))

    def envelope(self, instance: Instance, event: str, data: Any) -> dict[str, Any]:
        """The body. ``date_time`` is local with a false Z; ``sender`` is absent before the first login."""
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
        body["apikey"] = instance.token if self.habits.expose_token else None
        return body

    def post(self, instance: Instance, event: str, body: dict[str, Any]) -> None:
        """Post this body to the instance's webhook URL, whatever it subscribes to."""
        self.post_raw(instance, event, _id_of(body.get("data")), encode(body))

    def post_raw(self, instance: Instance, event: str, message_id: str | None, body: bytes) -> None:
        """Post these bytes; nothing happens where no webhook is set."""
        hook = instance.webhook
        if hook is None:
            return
        url = hook.url
        if hook.by_events:
            url = url.rstrip("/") + "/" + quote(event.replace(".", "-").replace("_", "-").lower())
        entry = self.ledger.webhook(event, instance.name, message_id)
        parcel = Parcel(url, parcel_headers(hook.headers), body, entry)
        self.courier.dispatch(parcel, awaited=event == "messages.edited")


def _id_of(data: Any) -> str | None:
    """The id of the message that an event is about."""
    if not isinstance(data, dict):
        return None
    key = data.get("key")
    found = key.get("id") if isinstance(key, dict) else data.get("keyId")
    return found if isinstance(found, str) else None
