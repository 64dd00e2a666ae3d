"""Remembers what was posted and what was answered 200, and says what the database must hold of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

RANKS = ("queued", "sent", "failed", "delivered", "read", "played")
"""The lattice, written down a second time: a slip in the program's own table must show."""
REPORTED = {
    "ERROR": "failed",
    "PENDING": "queued",
    "SERVER_ACK": "sent",
    "DELIVERY_ACK": "delivered",
    "READ": "read",
    "PLAYED": "played",
}


class Sort(StrEnum):
    MESSAGE = "message"
    STATUS = "status"
    EDIT = "edit"
    DELETE = "delete"
    PRESENCE = "presence"
    """Stored nowhere; only that it leaves the journal is asked."""


@dataclass(slots=True, eq=False)
class Event:
    """One webhook of one unit. ``value``: a status in Evolution's word, or the text of an edit."""

    unit: int
    external_id: str
    sort: Sort
    body: bytes
    value: str = ""
    at_ms: int = 0
    text: str = ""
    """Of a message."""


@dataclass(slots=True)
class Told:
    """What was said of one message in one unit: everything that was posted, and what of it was answered."""

    text: str = ""
    message_posted: bool = False
    message_answered: bool = False
    statuses_posted: set[str] = field(default_factory=set)
    statuses_answered: set[str] = field(default_factory=set)
    edits_posted: dict[int, str] = field(default_factory=dict)
    edits_answered: set[int] = field(default_factory=set)
    delete_posted: bool = False
    delete_answered: bool = False

    def complaints(self, delivery: str | None, edited_at: int | None, edited: str | None, gone: bool) -> Iterator[str]:
        """What is wrong with the stored row. Answered is the least that must be there, posted the most."""
        known = RANKS.index(delivery) if delivery is not None else -1
        least = max((RANKS.index(status) for status in self.statuses_answered), default=-1)
        if known < least:
            yield f"a status is lost: {RANKS[least]} was reported, {delivery} is stored"
        elif delivery is not None and delivery not in self.statuses_posted:
            yield f"delivery {delivery} was never reported"
        if self.edits_answered and (edited_at or 0) < max(self.edits_answered):
            yield "an edit is lost"
        elif edited_at is not None and self.edits_posted.get(edited_at) != edited:
            yield "an edit that was never made"
        if self.delete_answered and not gone:
            yield "a delete is lost"
        elif gone and not self.delete_posted:
            yield "a delete that was never made"


class Ledger:
    """Everything the senders did since the start."""

    def __init__(self) -> None:
        self.told: dict[tuple[int, str], Told] = {}
        self.posted = 0
        self.attempts = 0
        self.answered = 0
        self.latencies: list[float] = []
        """Seconds of each answered attempt of this phase."""

    def _of(self, event: Event) -> Told:
        return self.told.setdefault((event.unit, event.external_id), Told())

    def post(self, event: Event) -> None:
        """Before the first attempt: from here on it may be stored."""
        self.posted += 1
        if event.sort is Sort.PRESENCE:
            return
        told = self._of(event)
        match event.sort:
            case Sort.MESSAGE:
                told.message_posted, told.text = True, event.text
                told.statuses_posted.add(REPORTED[event.value])
            case Sort.STATUS:
                told.statuses_posted.add(REPORTED[event.value])
            case Sort.EDIT:
                told.edits_posted[event.at_ms] = event.value
            case Sort.DELETE:
                told.delete_posted = True

    def answer(self, event: Event, seconds: float) -> None:
        """Answered 200: it must be stored."""
        self.answered += 1
        self.latencies.append(seconds)
        if event.sort is Sort.PRESENCE:
            return
        told = self._of(event)
        match event.sort:
            case Sort.MESSAGE:
                told.message_answered = True
                told.statuses_answered.add(REPORTED[event.value])
            case Sort.STATUS:
                told.statuses_answered.add(REPORTED[event.value])
            case Sort.EDIT:
                told.edits_answered.add(event.at_ms)
            case Sort.DELETE:
                told.delete_answered = True

    def p99(self) -> float:
        """Of this phase; 0 where nothing was answered."""
        latencies = sorted(self.latencies)
        return latencies[int(len(latencies) * 0.99)] if latencies else 0.0
