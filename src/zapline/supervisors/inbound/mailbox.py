"""The only queue into an actor: bounded by entries and bytes, with counters; asks come before entries."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from zapline.domain.messages.events import ConnectionEvent
from zapline.sql.journal.schema import Entry

ENTRIES = 256
BYTES = 4 * 2**20
"""Bounds of one mailbox: a burst costs disk, not memory. One larger entry is let in when it is alone."""
ASKS = 64
"""Events of our own (asks, answers, timers) that may wait; they come from few places, each with few at a time."""


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    entries: int
    bytes: int
    asks: int


class Direct:
    """An entry that the journal refused: it goes to the actor all the same, and somebody waits for it."""

    __slots__ = ("crashes", "entry", "recorded", "stored", "withdrawn")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.recorded = trio.Event()
        self.stored = False
        self.withdrawn = False
        """Nobody waits for it any more, and it is counted as lost."""
        self.crashes = 0
        """Of the actor, in this very entry. Not durable, since nothing else of it is."""


class Mailbox:
    """Bounded channel into one actor. One task receives; put and ask never wait: full is an answer.

    Only who has nowhere else to go with an entry waits for room.
    """

    __slots__ = ("_asks", "_bytes", "_direct", "_direct_bytes", "_direct_room", "_entries", "_waiting", "on_room")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._direct: deque[Direct] = deque()
        self._direct_bytes = 0
        self._direct_room = trio.lowlevel.ParkingLot()
        self._asks: deque[ConnectionEvent] = deque()
        self._bytes = 0
        self._waiting: trio.Event | None = None
        self.on_room: bool = False
        """Somebody holds back entries of this unit and wants to hear when there is room again."""

    def put(self, entry: Entry) -> bool:
        """Add a journal entry; False where there is no room."""
        size = len(entry.body)
        if self._entries and (len(self._entries) >= ENTRIES or self._bytes + size > BYTES):
            return False
        self._entries.append(entry)
        self._bytes += size
        self._wake()
        return True

    async def put_direct(self, direct: Direct) -> None:
        """Add an entry past the journal; waits for room. Cancellation adds nothing."""
        size = len(direct.entry.body)
        while self._direct and (len(self._direct) >= ENTRIES or self._direct_bytes + size > BYTES):
            await self._direct_room.park()
        self._direct.append(direct)
        self._direct_bytes += size
        self._wake()

    def withdraw(self, direct: Direct) -> None:
        """Nobody waits for it any more: it is not handed to the actor, or not again if it has it just now."""
        direct.withdrawn = True
        if direct in self._direct:
            self._direct.remove(direct)
            self._direct_bytes -= len(direct.entry.body)
            self._direct_room.unpark(count=ENTRIES)

    def put_back(self, directs: Sequence[Direct]) -> None:
        """Put unfinished ones before all others, past the bounds: they were within them before."""
        kept = [direct for direct in directs if not (direct.withdrawn or direct.stored)]
        self._direct.extendleft(reversed(kept))
        self._direct_bytes += sum(len(direct.entry.body) for direct in kept)
        self._wake()

    def ask(self, event: ConnectionEvent) -> bool:
        """Add an event of our own; False where too many wait already."""
        if len(self._asks) >= ASKS:
            return False
        self._asks.append(event)
        self._wake()
        return True

    async def wait(self, *, for_entries: bool = True) -> None:
        """Return when there is something to take, or something came. Cancellation loses nothing.

        Not ``for_entries``: journal entries that are there already are no reason to return.
        """
        if (for_entries and self._entries) or self._asks or self._direct:
            await trio.lowlevel.checkpoint()
            return
        self._waiting = trio.Event()
        try:
            await self._waiting.wait()
        finally:
            self._waiting = None

    def take_asks(self) -> list[ConnectionEvent]:
        taken, self._asks = list(self._asks), deque()
        return taken

    def take_entries(self, limit: int, until: Callable[[Entry], bool]) -> list[Entry]:
        """Up to ``limit`` entries in order; stops before one for which ``until`` says so."""
        taken: list[Entry] = []
        while self._entries and len(taken) < limit and not until(self._entries[0]):
            taken.append(self._entries.popleft())
        self._bytes -= sum(len(entry.body) for entry in taken)
        return taken

    def take_first_if(self, wanted: Callable[[Entry], bool]) -> Entry | None:
        """The first entry, if ``wanted`` says so."""
        if not self._entries or not wanted(self._entries[0]):
            return None
        entry = self._entries.popleft()
        self._bytes -= len(entry.body)
        return entry

    def take_direct(self) -> list[Direct]:
        """All of them, but for those stored meanwhile by what a crashed life had given already."""
        taken, self._direct = [direct for direct in self._direct if not direct.stored], deque()
        self._direct_bytes = 0
        self._direct_room.unpark(count=ENTRIES)
        return taken

    def clear_entries(self) -> None:
        """Forget journal entries: they are read again from the journal."""
        self._entries.clear()
        self._bytes = 0

    def statistics(self) -> MailboxStatistics:
        return MailboxStatistics(len(self._entries), self._bytes, len(self._asks))

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.set()
