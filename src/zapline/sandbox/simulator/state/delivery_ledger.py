"""Records what the simulated phones received and the outcome of each webhook, for tests to compare with."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

LIMIT = 500_000
"""Records of each kind; a chaos run needs a tenth of it. Older ones are dropped, and counted."""


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """A message that reached a phone. ``at`` is in seconds since the epoch."""

    id: str
    instance: str
    number: str
    kind: str
    text: str
    at: float
    echoed: bool


@dataclass(frozen=True, slots=True)
class ReadReceipt:
    """A received message that was marked as read; ``id`` is the message id."""

    instance: str
    id: str
    remote_jid: str
    at: float


@dataclass(slots=True)
class WebhookRecord:
    """``fate``: pending, acknowledged, lost (given up), refused (never retried), or off (never tried)."""

    n: int
    event: str
    instance: str
    message_id: str | None
    fate: str = "pending"
    attempts: int = 0
    last_status: int | None = None


@dataclass(slots=True)
class DeliveryLedger:
    messages: deque[DeliveredMessage] = field(default_factory=lambda: deque(maxlen=LIMIT))
    webhooks: deque[WebhookRecord] = field(default_factory=lambda: deque(maxlen=LIMIT))
    reads: deque[ReadReceipt] = field(default_factory=lambda: deque(maxlen=LIMIT))
    changes: deque[tuple[str, str, str | None]] = field(default_factory=lambda: deque(maxlen=LIMIT))
    """What phones were told of earlier messages: instance, id, and the new text (None: it is deleted)."""
    questions: deque[tuple[str, str, tuple[str, ...]]] = field(default_factory=lambda: deque(maxlen=LIMIT))
    """What WhatsApp was asked or shown: instance, what it was about (``numbers``, ``typing``), and the rest of it."""
    delivered: set[tuple[str, str]] = field(default_factory=set)
    """Instance and id of each message that reached a phone."""
    message_count: int = 0
    """All messages that reached a phone, including the dropped records."""
    repeated: int = 0
    """Sends under an id that had reached its phone before: WhatsApp shows them nowhere."""
    fired: int = 0
    forgotten: int = 0

    def add_message(self, message: DeliveredMessage) -> None:
        if len(self.messages) == LIMIT:
            self.forgotten += 1
        self.messages.append(message)
        self.delivered.add((message.instance, message.id))
        self.message_count += 1

    def has_delivered(self, instance: str, message_id: str) -> bool:
        """Whether a message of this id has reached a phone: WhatsApp shows a second one of it nowhere."""
        return (instance, message_id) in self.delivered

    def messages_since(self, number: int) -> list[DeliveredMessage]:
        """Return the messages after the first ``number``, in order, without the dropped records."""
        count = min(len(self.messages), self.message_count - number)
        return [self.messages[index] for index in range(len(self.messages) - count, len(self.messages))]

    def copies_by_text(self) -> Counter[tuple[str, str]]:
        """Count the copies that phones received, by instance and text."""
        return Counter((message.instance, message.text) for message in self.messages)

    def add_webhook(self, event: str, instance: str, message_id: str | None) -> WebhookRecord:
        """Add the record of one webhook; its delivery updates the record."""
        self.fired += 1
        record = WebhookRecord(self.fired, event, instance, message_id)
        if len(self.webhooks) == LIMIT:
            self.forgotten += 1
        self.webhooks.append(record)
        return record

    def webhook_counts(self) -> dict[str, int]:
        return dict(Counter(record.fate for record in self.webhooks))

    def as_json(self) -> dict[str, Any]:
        return {
            "phones": [asdict(record) for record in self.messages],
            "reads": [asdict(record) for record in self.reads],
            "webhooks": [asdict(record) for record in self.webhooks],
            "counts": {"fired": self.fired, "forgotten": self.forgotten, **self.webhook_counts()},
        }
