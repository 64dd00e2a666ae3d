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
    fired: int = 0
    forgotten: int = 0

    def received(self, delivered: Delivered) -> None:
        if len(self.phones) == LIMIT:
            self.forgotten += 1
        self.phones.append(delivered)

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
            "webhooks": [asdict(entry) for entry in self.webhooks],
            "counts": {"fired": self.fired, "forgotten": self.forgotten, **self.fates()},
        }
