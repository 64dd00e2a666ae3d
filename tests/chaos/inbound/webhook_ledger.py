"""Records what was posted and what was acknowledged with 200, and computes what the database must hold."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

DELIVERY_ORDER = ("queued", "sent", "failed", "delivered", "read", "played")
"""The order of delivery states, written a second time, so that an error in the program's own table is detected."""
REPORTED = {
    "ERROR": "failed",
    "PENDING": "queued",
    "SERVER_ACK": "sent",
    "DELIVERY_ACK": "delivered",
    "READ": "read",
    "PLAYED": "played",
}


class EventKind(StrEnum):
    MESSAGE = "message"
    STATUS = "status"
    EDIT = "edit"
    DELETE = "delete"
    PRESENCE = "presence"
    """Stored nowhere; it only has to leave the journal."""


@dataclass(slots=True, eq=False)
class Event:
    """One webhook of one unit. ``value``: Evolution's status, or the text of an edit."""

    unit: int
    external_id: str
    kind: EventKind
    body: bytes
    value: str = ""
    at_ms: int = 0
    text: str = ""
    """Text of a message."""


@dataclass(slots=True)
class ExpectedMessage:
    """The reports of one message in one unit: those that were posted, and those that were acknowledged."""

    text: str = ""
    message_posted: bool = False
    message_acknowledged: bool = False
    statuses_posted: set[str] = field(default_factory=set)
    statuses_acknowledged: set[str] = field(default_factory=set)
    edits_posted: dict[int, str] = field(default_factory=dict)
    edits_acknowledged: set[int] = field(default_factory=set)
    delete_posted: bool = False
    delete_acknowledged: bool = False

    def differences(
        self, delivery: str | None, edited_at: int | None, edited: str | None, deleted: bool
    ) -> Iterator[str]:
        """Compare with the stored row: it must hold all that was acknowledged, and nothing that was not posted."""
        actual = DELIVERY_ORDER.index(delivery) if delivery is not None else -1
        least = max((DELIVERY_ORDER.index(status) for status in self.statuses_acknowledged), default=-1)
        if actual < least:
            yield f"a status is lost: {DELIVERY_ORDER[least]} was reported, {delivery} is stored"
        elif delivery is not None and delivery not in self.statuses_posted:
            yield f"delivery {delivery} was never reported"
        if self.edits_acknowledged and (edited_at or 0) < max(self.edits_acknowledged):
            yield "an edit is lost"
        elif edited_at is not None and self.edits_posted.get(edited_at) != edited:
            yield "an edit that was never posted"
        if self.delete_acknowledged and not deleted:
            yield "a delete is lost"
        elif deleted and not self.delete_posted:
            yield "a delete that was never posted"


class WebhookLedger:
    """Everything that was posted since the start."""

    def __init__(self) -> None:
        self.messages: dict[tuple[int, str], ExpectedMessage] = {}
        self.posted = 0
        self.attempts = 0
        self.acknowledged = 0
        self.latencies: list[float] = []
        """Seconds of each acknowledged attempt of this phase."""

    def _message(self, event: Event) -> ExpectedMessage:
        return self.messages.setdefault((event.unit, event.external_id), ExpectedMessage())

    def record_post(self, event: Event) -> None:
        """Record an event before its first attempt: from now on it may be stored."""
        self.posted += 1
        if event.kind is EventKind.PRESENCE:
            return
        message = self._message(event)
        match event.kind:
            case EventKind.MESSAGE:
                message.message_posted, message.text = True, event.text
                message.statuses_posted.add(REPORTED[event.value])
            case EventKind.STATUS:
                message.statuses_posted.add(REPORTED[event.value])
            case EventKind.EDIT:
                message.edits_posted[event.at_ms] = event.value
            case EventKind.DELETE:
                message.delete_posted = True

    def record_acknowledgement(self, event: Event, seconds: float) -> None:
        """Record a response of 200: the event must be stored."""
        self.acknowledged += 1
        self.latencies.append(seconds)
        if event.kind is EventKind.PRESENCE:
            return
        message = self._message(event)
        match event.kind:
            case EventKind.MESSAGE:
                message.message_acknowledged = True
                message.statuses_acknowledged.add(REPORTED[event.value])
            case EventKind.STATUS:
                message.statuses_acknowledged.add(REPORTED[event.value])
            case EventKind.EDIT:
                message.edits_acknowledged.add(event.at_ms)
            case EventKind.DELETE:
                message.delete_acknowledged = True

    def p99(self) -> float:
        """99th percentile of this phase in seconds; 0 where nothing was acknowledged."""
        latencies = sorted(self.latencies)
        return latencies[int(len(latencies) * 0.99)] if latencies else 0.0
