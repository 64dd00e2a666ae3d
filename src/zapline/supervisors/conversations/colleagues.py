"""Knows which of a unit's people have a conversation open, and who of them is typing: in memory, for the time being."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import msgspec
import trio

from zapline.domain.ids import UnitId
from zapline.supervisors.notifications.live_feed import EventKind, LiveFeed

TYPING_SECONDS = 12.0
"""Seconds for which somebody counts as typing after the last word of it; the page says so more often."""


class PresencePayload(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``presence``: in which conversation somebody has come, gone, or begun or ceased to type."""

    conversation_id: UUID


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody who has a conversation open."""

    name: str
    typing: bool


@dataclass(slots=True)
class _Presence:
    pages: int = 0
    typing_until: float = float("-inf")


class Colleagues:
    """One for the process. It holds somebody while a page of his is open, and so no more than there are streams.

    Another process does not know of them.
    """

    def __init__(self, feed: LiveFeed, clock: Callable[[], float] = trio.current_time) -> None:
        self._feed = feed
        self._clock = clock
        self._present: dict[tuple[UnitId, UUID], dict[str, _Presence]] = {}

    @contextmanager
    def reading(self, unit: UnitId, conversation: UUID, name: str) -> Iterator[None]:
        """Count a page of ``name`` that is open, until the block ends, also by cancellation."""
        here = self._present.setdefault((unit, conversation), {}).setdefault(name, _Presence())
        here.pages += 1
        if here.pages == 1:
            self._tell(unit, conversation)
        try:
            yield
        finally:
            here.pages -= 1
            if not here.pages:
                people = self._present[unit, conversation]
                del people[name]
                if not people:
                    del self._present[unit, conversation]
                self._tell(unit, conversation)

    def type(self, unit: UnitId, conversation: UUID, name: str, active: bool) -> None:
        """Note that ``name`` types, or has ceased to; of no meaning for who has no page of the conversation open."""
        here = self._present.get((unit, conversation), {}).get(name)
        if here is None:
            return
        was = self._clock() < here.typing_until
        here.typing_until = self._clock() + TYPING_SECONDS if active else float("-inf")
        if was != active:
            self._tell(unit, conversation)

    def others(self, unit: UnitId, conversation: UUID, name: str) -> list[Colleague]:
        """Everybody but ``name`` who is there, by name."""
        now = self._clock()
        people = self._present.get((unit, conversation), {})
        return [Colleague(one, now < people[one].typing_until) for one in sorted(people) if one != name]

    @property
    def count(self) -> int:
        """How many are held, in all conversations."""
        return sum(map(len, self._present.values()))

    def _tell(self, unit: UnitId, conversation: UUID) -> None:
        self._feed.publish(unit, EventKind.PRESENCE, lambda: PresencePayload(conversation))
