"""Keeps the messages that the next page of a session shows once: in memory and bounded."""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

_MAX_SESSIONS = 512
_MAX_PER_SESSION = 5
"""Messages of one session; a client that posts and never reads loses the oldest."""


class Tone(StrEnum):
    """The tone of a message: it chooses colour and shape."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Flash:
    """One message, translated already."""

    tone: Tone
    text: str


class Flashes:
    """The pending messages by session; a restart loses them."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, list[Flash]] = OrderedDict()

    def add(self, session: str, flash: Flash) -> None:
        waiting = self._waiting.setdefault(session, [])
        waiting.append(flash)
        del waiting[:-_MAX_PER_SESSION]
        self._waiting.move_to_end(session)
        if len(self._waiting) > _MAX_SESSIONS:
            self._waiting.popitem(last=False)

    def take(self, session: str) -> list[Flash]:
        """Return and remove the pending messages."""
        return self._waiting.pop(session, [])
