"""The only queue into an actor, bounded by entries and bytes; events come before entries."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from zapline.domain.line.events import ConnectionEvent
from zapline.sql.journal.schema import Entry
from zapline.supervisors.alarm_clock import AlarmClock

MAX_ENTRIES = 256
MAX_BYTES = 4 * 2**20
"""Bounds of one mailbox: a burst costs disk, not memory. One larger entry is accepted if the mailbox is empty."""
TURN_BYTES = 512 * 1024
"""Bytes of entries taken together: the loop stands still while rows are made of them."""
_ARRAY_BYTES, _ARRAY_WEIGHT = 32 * 1024, 4
"""A body of more bytes is mostly an array of many facts, which cost so much more than as many bytes of messages."""
MAX_EVENTS = 64
"""Internal events (commands, answers of calls) that may wait; each source has only a few at a time."""


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    entries: int
    bytes: int
    events: int


class DirectEntry:
    """An entry that bypasses the journal, which has refused it: the intake waits until it is stored.

    Or one of the inbox, from which it is deleted when it is stored.
    """

    __slots__ = ("crashes", "doomed", "entry", "inbox_id", "processed", "stored", "withdrawn")

    def __init__(self, entry: Entry, inbox_id: int | None = None, doomed: str | None = None) -> None:
        self.entry = entry
        self.inbox_id = inbox_id
        self.doomed = doomed
        """Why it is a dead letter; None: it is interpreted."""
        self.processed = trio.Event()
        self.stored = False
        self.withdrawn = False
        """The intake stopped waiting, and counted it as lost."""
        self.crashes = 0
        """Crashes of the actor on this entry. Not durable, as the entry is not either."""


class Mailbox:
    """Bounded channel into one actor. One task receives; ``put_entry`` and ``put_event`` never wait for room.

    Only ``put_direct`` waits, because a direct entry is not stored anywhere else.
    """

    __slots__ = (
        "_alarm_at",
        "_bytes",
        "_direct",
        "_direct_bytes",
        "_direct_room",
        "_entries",
        "_events",
        "_roused",
        "_waiting",
        "room_wanted",
    )

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._direct: deque[DirectEntry] = deque()
        self._direct_bytes = 0
        self._direct_room = trio.lowlevel.ParkingLot()
        self._events: deque[ConnectionEvent] = deque()
        self._bytes = 0
        self._waiting: trio.lowlevel.Task | None = None
        self._alarm_at = float("inf")
        self._roused = False
        self.room_wanted: bool = False
        """The dispatcher holds back entries of this unit and wants a ``refill`` when there is room."""

    def put_entry(self, entry: Entry) -> bool:
        """Add a journal entry; False if there is no room."""
        size = len(entry.body)
        if self._entries and (len(self._entries) >= MAX_ENTRIES or self._bytes + size > MAX_BYTES):
            return False
        self._entries.append(entry)
        self._bytes += size
        self._wake()
        return True

    async def put_direct(self, direct: DirectEntry) -> None:
        """Add a direct entry; waits for room. Cancellation adds nothing."""
        size = len(direct.entry.body)
        while self._direct and (len(self._direct) >= MAX_ENTRIES or self._direct_bytes + size > MAX_BYTES):
            await self._direct_room.park()
        self._direct.append(direct)
        self._direct_bytes += size
        self._wake()

    def add_direct(self, direct: DirectEntry) -> None:
        """Add an entry of the inbox; who adds it knows how many wait."""
        self._direct.append(direct)
        self._direct_bytes += len(direct.entry.body)
        self._wake()

    def withdraw(self, direct: DirectEntry) -> None:
        """Remove a direct entry; if the actor has it already, it is not queued again."""
        direct.withdrawn = True
        if direct in self._direct:
            self._direct.remove(direct)
            self._direct_bytes -= len(direct.entry.body)
            self._direct_room.unpark(count=MAX_ENTRIES)

    def requeue_direct(self, directs: Sequence[DirectEntry]) -> None:
        """Put unfinished direct entries back at the front; the bounds do not apply to them a second time."""
        unfinished = [direct for direct in directs if not (direct.withdrawn or direct.stored)]
        self._direct.extendleft(reversed(unfinished))
        self._direct_bytes += sum(len(direct.entry.body) for direct in unfinished)
        self._wake()

    def put_event(self, event: ConnectionEvent) -> bool:
        """Add an internal event; False if too many are waiting."""
        if len(self._events) >= MAX_EVENTS:
            return False
        self._events.append(event)
        self._wake()
        return True

    async def wait(self, *, for_entries: bool = True) -> None:
        """Return when there is something to take, something arrived, or an alarm rang. Cancellation loses nothing.

        Without ``for_entries``, journal entries that are already there are not a reason to return.
        """
        if (for_entries and self._entries) or self._events or self._direct or self._roused:
            self._roused = False
            await trio.lowlevel.checkpoint()
            return
        self._waiting = task = trio.lowlevel.current_task()

        def abandon(_: object) -> trio.lowlevel.Abort:
            if self._waiting is task:  # else the next actor waits already, while this one is being cancelled
                self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abandon)

    def rouse(self) -> None:
        """Have ``wait`` return once, although nothing has arrived: something that the unit shows has changed."""
        self._roused = True
        self._wake()

    def wake_at(self, at: float, alarms: AlarmClock) -> None:
        """Have ``wait`` return at this time of trio's clock at the latest; perhaps also at an earlier given one."""
        if at < self._alarm_at:
            self._alarm_at = at
            alarms.set(at, self._ring)

    def _ring(self, at: float) -> None:
        if at == self._alarm_at:
            self._alarm_at = float("inf")
            self._wake()

    def take_events(self) -> list[ConnectionEvent]:
        if not self._events:
            return []
        taken, self._events = list(self._events), deque()
        return taken

    def take_entries(self, limit: int, until: Callable[[Entry], bool], most_bytes: int = TURN_BYTES) -> list[Entry]:
        """Up to ``limit`` entries in order, and a single one above ``most_bytes``; stops before the first for which
        ``until`` is true."""
        taken: list[Entry] = []
        size = 0
        while self._entries and len(taken) < limit and not until(self._entries[0]):
            length = len(self._entries[0].body)
            size += length * _ARRAY_WEIGHT if length > _ARRAY_BYTES else length
            if taken and size > most_bytes:
                break
            taken.append(self._entries.popleft())
        self._bytes -= sum(len(entry.body) for entry in taken)
        return taken

    def take_entry_if(self, wanted: Callable[[Entry], bool]) -> Entry | None:
        """The first entry, if ``wanted`` is true for it."""
        if not self._entries or not wanted(self._entries[0]):
            return None
        entry = self._entries.popleft()
        self._bytes -= len(entry.body)
        return entry

    @property
    def has_direct(self) -> bool:
        return bool(self._direct)

    def take_direct(self) -> list[DirectEntry]:
        """All direct entries, except those stored meanwhile from what a crashed actor had given to the recorder."""
        taken, self._direct = [direct for direct in self._direct if not direct.stored], deque()
        self._direct_bytes = 0
        self._direct_room.unpark(count=MAX_ENTRIES)
        return taken

    def clear_entries(self) -> None:
        """Drop the journal entries: they are read again from the journal."""
        self._entries.clear()
        self._bytes = 0

    def statistics(self) -> MailboxStatistics:
        return MailboxStatistics(len(self._entries), self._bytes, len(self._events))

    def _wake(self) -> None:
        if self._waiting is not None:
            task, self._waiting, self._roused = self._waiting, None, False
            trio.lowlevel.reschedule(task)
