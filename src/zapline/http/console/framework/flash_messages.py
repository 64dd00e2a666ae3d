"""Keeps what a page has to say until the next one is shown: in memory, bounded, by session."""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

_SESSIONS = 512
_EACH = 5
"""Messages that wait for one session; whoever posts without ever looking loses the oldest."""


class Tone(StrEnum):
    """How a message is meant."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Flash:
    """One message, in the reader's language already."""

    tone: Tone
    text: str


class Flashes:
    """Messages by session; a restart forgets them."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, list[Flash]] = OrderedDict()

    def add(self, session: str, flash: Flash) -> None:
        waiting = self._waiting.setdefault(session, [])
        waiting.append(flash)
        del waiting[:-_EACH]
        self._waiting.move_to_end(session)
        if len(self._waiting) > _SESSIONS:
            self._waiting.popitem(last=False)

    def take(self, session: str) -> list[Flash]:
        """Those that wait, which wait no more."""
        return self._waiting.pop(session, [])
