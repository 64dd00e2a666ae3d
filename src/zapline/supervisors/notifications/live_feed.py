"""Remembers for a short while what happened to the units that somebody watches, so that many may look on live."""

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from time import time

import msgspec
import trio

from zapline.domain.ids import UnitId

KEPT, KEPT_BYTES = 256, 64 * 1024
"""What a unit's ring holds: minutes of a busy line, for somebody whose connection breaks and comes again."""
KEPT_OF_ALL, KEPT_BYTES_OF_ALL = 2048, 512 * 1024
"""The same of the ring over all units."""
LINGER = 180.0
"""Seconds for which a ring outlives its last watcher, who may come back."""
_MOST_LINGERING = 200
"""Rings that nobody watches now; past it the one left first is dropped."""
TOGETHER = 1.0
"""Seconds over which the messages of all units are counted together for the ring over all."""


class Kind(StrEnum):
    """What an event tells."""

    STATUS = "status"
    QR = "qr"
    MESSAGE = "message"
    DELIVERY = "delivery"
    CAMPAIGN = "campaign"
    TRAFFIC = "traffic"
    """Over all units: how many messages each had in the last moment."""
    RESET = "reset"
    """Something was missed: read again what you show."""


_OF_ALL = frozenset({Kind.STATUS, Kind.QR, Kind.CAMPAIGN})
"""Kinds that the ring over all units holds too."""


@dataclass(frozen=True, slots=True)
class Event:
    """``id`` resumes behind it; ``data`` is JSON; ``at``: when it was told, in UTC seconds."""

    id: str
    kind: Kind
    data: bytes
    at: float = 0.0


class Traffic(msgspec.Struct, frozen=True, rename="camel"):
    """Messages of one unit within a moment."""

    unit_id: UnitId
    received: int
    sent: int


class TrafficTold(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``traffic``."""

    units: list[Traffic]


class Missed(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``reset``."""

    reason: str
    """``unknown``: the id is of an earlier process, or too old. ``behind``: too much came while you did not read."""


class _Ring:
    """The latest events of a unit, or of all; bounded by count and bytes."""

    __slots__ = ("_bytes", "_most", "_most_bytes", "_size", "changed", "events", "last", "left_at", "name", "watchers")

    def __init__(self, name: str, most: int, most_bytes: int) -> None:
        self.name = name
        self.events: deque[Event] = deque()
        self.last = 0
        """Number of the latest event; they are numbered without gaps."""
        self.watchers = 0
        self.left_at = 0.0
        self.changed = trio.Event()
        self._most, self._most_bytes = most, most_bytes
        self._size = 0

    def id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def append(self, kind: Kind, data: bytes) -> None:
        self.last += 1
        self.events.append(Event(self.id(self.last), kind, data, time()))
        self._size += len(data)
        while len(self.events) > self._most or self._size > self._most_bytes:
            self._size -= len(self.events.popleft().data)
        if self.watchers:
            changed, self.changed = self.changed, trio.Event()
            changed.set()

    def position(self, id: str | None) -> int | None:
        """The number that an id stands for, if all that came after it is still here."""
        name, _, number = (id or "").rpartition("-")
        if name != self.name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        at = int(number)
        return at if self.last - len(self.events) <= at <= self.last else None


class Watcher:
    """Somebody who looks on. He holds a position in the ring and nothing else, however slowly he reads."""

    def __init__(self, feed: "Feed", ring: _Ring, last_id: str | None) -> None:
        self._feed = feed
        self._ring = ring
        known = ring.position(last_id)
        self._at = known if known is not None else ring.last
        self._lost = last_id is not None and known is None

    @property
    def last_id(self) -> str:
        """Resumes behind what was taken last."""
        return self._ring.id(self._at)

    def take(self) -> list[Event]:
        """What has happened since the last time; a ``reset`` alone where some of it is gone."""
        ring = self._ring
        missed = ring.last - self._at
        self._at = ring.last
        if self._lost or missed > len(ring.events):
            reason, self._lost = "unknown" if self._lost else "behind", False
            return [Event(self.last_id, Kind.RESET, msgspec.json.encode(Missed(reason)))]
        return list(islice(ring.events, len(ring.events) - missed, None)) if missed else []

    async def wait(self, seconds: float) -> None:
        """Return once there is something to take, or the feed has ended; after so many seconds in any case."""
        until = trio.current_time() + seconds
        while not self._feed.ended and not self._lost and self._ring.last == self._at:
            owed = self._feed.tell_traffic()
            if self._ring.last != self._at or trio.current_time() >= until:
                return
            with trio.move_on_at(min(until, owed)):
                await self._ring.changed.wait()
        await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """``watchers`` are those connected now, ``rings`` the units remembered, watched or lingering."""

    watchers: int
    rings: int
    published: int


class Feed:
    """One for the process. Publishing is synchronous, starts no task, and costs a look-up where nobody watches."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        # Numbers of another process, or of a ring that was dropped, are told apart by the ring's name.
        self._birth = secrets.token_hex(4)
        self._made = 0
        self._rings: dict[UnitId, _Ring] = {}
        self._all: _Ring | None = None
        self._traffic: dict[UnitId, list[int]] = {}
        self._traffic_due = float("inf")
        self._published = 0
        self.ended = False
        self.happened: Callable[[UnitId], None] = lambda unit: None
        """Is told of a unit to which something has happened, watched or not."""

    # -- telling ---------------------------------------------------------------------------------------------

    def watched(self, unit: UnitId) -> bool:
        """Whether what happens to this unit is remembered at all; ask before what is dear to build."""
        return any(ring is not None and not self._is_left(ring) for ring in (self._all, self._rings.get(unit)))

    def publish(self, unit: UnitId, kind: Kind, build: Callable[[], object]) -> None:
        """Tell what is committed. ``build`` makes the data, a Struct, only where somebody is to see it."""
        self.happened(unit)
        ring = self._rings.get(unit)
        wanted = self._all if kind in _OF_ALL else None
        if ring is None and wanted is None:
            return
        if ring is not None and self._is_left(ring):
            del self._rings[unit]
            ring = None
        data = msgspec.json.encode(build())
        self._published += 1
        for each in (ring, wanted):
            if each is not None:
                each.append(kind, data)

    def count_message(self, unit: UnitId, from_me: bool) -> None:
        """A message more, for the ring over all units: they are told together, not one by one."""
        if self._all is None:
            return
        if not self._traffic:
            self._traffic_due = self._clock() + TOGETHER
            self._wake(self._all)
        self._traffic.setdefault(unit, [0, 0])[from_me] += 1

    def tell_traffic(self) -> float:
        """Tell what was counted, once its moment is over; when that is, as a time of the feed's clock."""
        if self._clock() >= self._traffic_due:
            counted, self._traffic = self._traffic, {}
            self._traffic_due = float("inf")
            if self._all is not None:
                told = [Traffic(unit, received, sent) for unit, (received, sent) in counted.items()]
                for start in range(0, len(told), 100):
                    self._all.append(Kind.TRAFFIC, msgspec.json.encode(TrafficTold(told[start : start + 100])))
        return self._traffic_due

    def end(self) -> None:
        """The process stops: all who wait are told, and none waits any more."""
        self.ended = True
        for ring in (*self._rings.values(), *([self._all] if self._all is not None else [])):
            self._wake(ring)

    # -- looking on ------------------------------------------------------------------------------------------

    @contextmanager
    def watch(self, unit: UnitId | None, last_id: str | None = None) -> Iterator[Watcher]:
        """Look on from now, or from behind ``last_id``; None: at all units together.

        The overview over all has ``status``, ``qr``, ``campaign`` and ``traffic``.
        """
        self._drop_left()
        ring = self._ring(unit)
        ring.watchers += 1
        try:
            yield Watcher(self, ring, last_id)
        finally:
            ring.watchers -= 1
            ring.left_at = self._clock()

    def recent(self, unit: UnitId, most: int) -> list[Event]:
        """The latest events of a unit that are remembered, the newest first; only while somebody watches, or has."""
        ring = self._rings.get(unit)
        return list(islice(reversed(ring.events), most)) if ring is not None else []

    def statistics(self) -> FeedStatistics:
        rings = [*self._rings.values(), *([self._all] if self._all is not None else [])]
        return FeedStatistics(sum(ring.watchers for ring in rings), len(rings), self._published)

    def _ring(self, unit: UnitId | None) -> _Ring:
        known = self._all if unit is None else self._rings.get(unit)
        if known is not None:
            return known
        self._made += 1
        name = f"{self._birth}.{self._made:x}"
        if unit is None:
            self._all = made = _Ring(name, KEPT_OF_ALL, KEPT_BYTES_OF_ALL)
        else:
            self._rings[unit] = made = _Ring(name, KEPT, KEPT_BYTES)
        return made

    def _drop_left(self) -> None:
        """Forget the rings that nobody has watched for a while."""
        now = self._clock()
        if self._all is not None and self._is_left(self._all):
            self._all, self._traffic, self._traffic_due = None, {}, float("inf")
        left = sorted((ring.left_at, unit) for unit, ring in self._rings.items() if not ring.watchers)
        for place, (at, unit) in enumerate(left):
            if now - at > LINGER or len(left) - place > _MOST_LINGERING:
                del self._rings[unit]

    def _is_left(self, ring: _Ring) -> bool:
        """Whether nobody comes back to it."""
        return not ring.watchers and self._clock() - ring.left_at > LINGER

    @staticmethod
    def _wake(ring: _Ring) -> None:
        changed, ring.changed = ring.changed, trio.Event()
        changed.set()
