"""Remembers what the simulated phones received and what became of each webhook, for tests to compare with."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

LIMIT = 500_000
"""Entries of each kind; a chaos run makes a tenth of it. Older ones go, and are counted."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that reached a phone. ``at`` is in seconds since the epoch."""

    id: str
    instance: str
    number: str
    kind: str
    text: str
    at: float
    echoed: bool


@dataclass(frozen=True, slots=True)
class Read:
    """A received message that was marked as read; ``id`` is the message's."""

    instance: str
    id: str
    remote_jid: str
    at: float


@dataclass(slots=True)
class Webhook:
    """``fate``: pending, acknowledged, lost (given up), refused (never retried), or off (never tried)."""

    n: int
    event: str
    instance: str
    message_id: str | None
    fate: str = "pending"
    attempts: int = 0
    last_status: int | None = None


@dataclass(slots=True)
class Ledger:
    phones: deque[Delivered] = field(default_factory=lambda: deque(maxlen=LIMIT))
    webhooks: deque[Webhook] = field(default_factory=lambda: deque(maxlen=LIMIT))
    reads: deque[Read] = field(default_factory=lambda: deque(maxlen=LIMIT))
    delivered: int = 0
    """All that ever reached a phone, also what is forgotten."""
    fired: int = 0
    forgotten: int = 0

    def received(self, delivered: Delivered) -> None:
        if len(self.phones) == LIMIT:
            self.forgotten += 1
        self.phones.append(delivered)
        self.delivered += 1

    def received_since(self, number: int) -> list[Delivered]:
        """What reached phones after the first ``number`` messages, in order, as far as it is remembered."""
        count = min(len(self.phones), self.delivered - number)
        return [self.phones[index] for index in range(len(self.phones) - count, len(self.phones))]

    def copies(self) -> Counter[tuple[str, str]]:
        """How often the phones received each text from each instance."""
        return Counter((entry.instance, entry.text) for entry in self.phones)

    def webhook(self, event: str, instance: str, message_id: str | None) -> Webhook:
        """Open the entry of one webhook; its fate is written into it."""
        self.fired += 1
        entry = Webhook(self.fired, event, instance, message_id)
        if len(self.webhooks) == LIMIT:
            self.forgotten += 1
        self.webhooks.append(entry)
        return entry

    def fates(self) -> dict[str, int]:
        return dict(Counter(entry.fate for entry in self.webhooks))

    def as_json(self) -> dict[str, Any]:
        return {
            "phones": [asdict(entry) for entry in self.phones],
            "reads": [asdict(entry) for entry in self.reads],
            "webhooks": [asdict(entry) for entry in self.webhooks],
            "counts": {"fired": self.fired, "forgotten": self.forgotten, **self.fates()},
        }
