"""Keeps the latest events of watched units in memory, for clients of the live event streams."""

import secrets
import time
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

import msgspec
import trio

from zapline.domain.ids import UnitId

MAX_EVENTS, MAX_BYTES = 256, 64 * 1024
"""Of a unit's ring: minutes of a busy line, for clients that reconnect."""
MAX_EVENTS_OF_ALL, MAX_BYTES_OF_ALL = 2048, 512 * 1024
"""Of the ring over all units."""
LINGER = 180.0
"""Seconds for which a ring is kept after its last watcher, who may reconnect."""
_MAX_LINGERING = 200
"""Unwatched rings at most; the one left first is dropped first."""
TRAFFIC_EVERY = 1.0
"""Seconds over which the messages of each unit are counted, for the ring over all units."""


class EventKind(StrEnum):
    STATUS = "status"
    QR = "qr"
    MESSAGE = "message"
    DELIVERY = "delivery"
    REACTION = "reaction"
    VOTE = "vote"
    CAMPAIGN = "campaign"
    TRAFFIC = "traffic"
    """Over all units: message counts of each."""
    PRESENCE = "presence"
    """For the console alone: somebody of the unit's people has come to a conversation, or left it, or types."""
    RESET = "reset"
    """Events were missed: the client must reload."""


_OF_ALL = frozenset({EventKind.STATUS, EventKind.QR, EventKind.CAMPAIGN})
"""Kinds that are also in the ring over all units."""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """``id``: resume after it; ``data``: JSON; ``at``: time of publication in UTC seconds; ``unit``: whose it is.

    ``unit`` is None for what is about several units, or none.
    """

    id: str
    kind: EventKind
    data: bytes
    at: float = 0.0
    unit: UnitId | None = None

    def seen_by(self, units: Container[UnitId]) -> "LiveEvent | None":
        """The event as somebody may see it who sees these units alone; None: it tells him nothing."""
        if self.kind is EventKind.TRAFFIC:
            counted = msgspec.json.decode(self.data, type=TrafficPayload).units
            shown = [traffic for traffic in counted if traffic.unit_id in units]
            return replace(self, data=msgspec.json.encode(TrafficPayload(shown))) if shown else None
        return self if self.kind is EventKind.RESET or (self.unit is not None and self.unit in units) else None


class UnitTraffic(msgspec.Struct, frozen=True, rename="camel"):
    """Message counts of one unit over ``TRAFFIC_EVERY``."""

    unit_id: UnitId
    received: int
    sent: int


class TrafficPayload(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``traffic``."""

    units: list[UnitTraffic]


class ResetPayload(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``reset``."""

    reason: str
    """``unknown``: the id is of an earlier process, or too old. ``behind``: the client read too slowly."""


class _EventRing:
    """The latest events of a unit, or of all units; bounded by count and bytes."""

    __slots__ = ("_max_bytes", "_max_events", "_size", "changed", "events", "last", "left_at", "name", "watchers")

    def __init__(self, name: str, max_events: int, max_bytes: int) -> None:
        self.name = name
        self.events: deque[LiveEvent] = deque()
        self.last = 0
        """Number of the latest event. There are no gaps."""
        self.watchers = 0
        self.left_at = 0.0
        self.changed = trio.Event()
        self._max_events, self._max_bytes = max_events, max_bytes
        self._size = 0

    def id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def append(self, kind: EventKind, data: bytes, at: float, unit: UnitId | None = None) -> None:
        self.last += 1
        self.events.append(LiveEvent(self.id(self.last), kind, data, at, unit))
        self._size += len(data)
        while len(self.events) > self._max_events or self._size > self._max_bytes:
            self._size -= len(self.events.popleft().data)
        if self.watchers:
            changed, self.changed = self.changed, trio.Event()
            changed.set()

    def position(self, id: str | None) -> int | None:
        """The number in an id, if all later events are still in the ring; else None."""
        name, _, number = (id or "").rpartition("-")
        if name != self.name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        at = int(number)
        return at if self.last - len(self.events) <= at <= self.last else None


class Watcher:
    """A client's position in a ring. It holds no events, however slowly the client reads."""

    def __init__(self, feed: "LiveFeed", ring: _EventRing, last_id: str | None) -> None:
        self._feed = feed
        self._ring = ring
        position = ring.position(last_id)
        self._at = position if position is not None else ring.last
        self._lost = last_id is not None and position is None

    @property
    def last_id(self) -> str:
        """The id to resume after."""
        return self._ring.id(self._at)

    def take(self) -> list[LiveEvent]:
        """Return the events since the last call, or a single ``reset`` if some of them are gone."""
        ring = self._ring
        missed = ring.last - self._at
        self._at = ring.last
        if self._lost or missed > len(ring.events):
            reason, self._lost = "unknown" if self._lost else "behind", False
            return [LiveEvent(self.last_id, EventKind.RESET, msgspec.json.encode(ResetPayload(reason)))]
        return list(islice(ring.events, len(ring.events) - missed, None)) if missed else []

    async def wait(self, seconds: float) -> None:
        """Return once there is something to take, the feed is closed, or ``seconds`` have passed."""
        until = trio.current_time() + seconds
        while not self._feed.closed and not self._lost and self._ring.last == self._at:
            traffic_due = self._feed.publish_traffic()
            if self._ring.last != self._at or trio.current_time() >= until:
                return
            with trio.move_on_at(min(until, traffic_due)):
                await self._ring.changed.wait()
        await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """``watchers``: connected now. ``rings``: kept now, watched or lingering."""

    watchers: int
    rings: int
    published: int


class LiveFeed:
    """One for the process. ``publish`` is synchronous, and costs a dictionary lookup if nobody watches.

    ``clock`` is monotonic, ``wall`` gives UTC seconds.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        # The name of a ring distinguishes its numbers from those of another process, or of a dropped ring.
        self._process = secrets.token_hex(4)
        self._rings_made = 0
        self._rings: dict[UnitId, _EventRing] = {}
        self._all: _EventRing | None = None
        self._traffic: dict[UnitId, list[int]] = {}
        self._traffic_due = float("inf")
        self._published = 0
        self.closed = False
        self.on_event: Callable[[UnitId], None] = lambda unit: None
        """Called with the unit of every event, watched or not."""
        self.on_close: Callable[[], None] = lambda: None

    def is_watched(self, unit: UnitId) -> bool:
        """Whether events of this unit are kept; check it before building an expensive payload."""
        return any(ring is not None and not self._is_abandoned(ring) for ring in (self._all, self._rings.get(unit)))

    def publish(self, unit: UnitId, kind: EventKind, build: Callable[[], object]) -> None:
        """Publish a committed change. ``build`` returns the payload, a Struct; called only if somebody watches."""
        self.on_event(unit)
        ring = self._rings.get(unit)
        over_all = self._all if kind in _OF_ALL else None
        if ring is None and over_all is None:
            return
        if ring is not None and self._is_abandoned(ring):
            del self._rings[unit]
            ring = None
        data = msgspec.json.encode(build())
        self._published += 1
        for each in (ring, over_all):
            if each is not None:
                each.append(kind, data, self._wall(), unit)

    def count_message(self, unit: UnitId, from_me: bool) -> None:
        """Count a message for the next ``traffic`` event."""
        if self._all is None:
            return
        if not self._traffic:
            self._traffic_due = self._clock() + TRAFFIC_EVERY
            self._wake(self._all)
        self._traffic.setdefault(unit, [0, 0])[from_me] += 1

    def publish_traffic(self) -> float:
        """Publish the message counts if they are due; return when the next are, by the feed's clock."""
        if self._clock() >= self._traffic_due:
            counted, self._traffic = self._traffic, {}
            self._traffic_due = float("inf")
            if self._all is not None:
                traffic = [UnitTraffic(unit, received, sent) for unit, (received, sent) in counted.items()]
                for start in range(0, len(traffic), 100):
                    payload = TrafficPayload(traffic[start : start + 100])
                    self._all.append(EventKind.TRAFFIC, msgspec.json.encode(payload), self._wall())
        return self._traffic_due

    def close(self) -> None:
        """Wake all watchers for the end of the process; ``wait`` returns at once from now on."""
        self.closed = True
        self.on_close()
        for ring in (*self._rings.values(), *([self._all] if self._all is not None else [])):
            self._wake(ring)

    @contextmanager
    def watch(self, unit: UnitId | None, last_id: str | None = None) -> Iterator[Watcher]:
        """Watch a unit, or all units (None), from now on or from after ``last_id``.

        The ring over all units has ``status``, ``qr``, ``campaign`` and ``traffic`` events.
        """
        self._drop_abandoned()
        ring = self._ring(unit)
        ring.watchers += 1
        try:
            yield Watcher(self, ring, last_id)
        finally:
            ring.watchers -= 1
            ring.left_at = self._clock()

    def recent(self, unit: UnitId, most: int) -> list[LiveEvent]:
        """Return the latest events of a unit, the newest first; there are none if nobody has watched it lately."""
        ring = self._rings.get(unit)
        return list(islice(reversed(ring.events), most)) if ring is not None else []

    def statistics(self) -> FeedStatistics:
        rings = [*self._rings.values(), *([self._all] if self._all is not None else [])]
        return FeedStatistics(sum(ring.watchers for ring in rings), len(rings), self._published)

    def _ring(self, unit: UnitId | None) -> _EventRing:
        ring = self._all if unit is None else self._rings.get(unit)
        if ring is not None:
            return ring
        self._rings_made += 1
        name = f"{self._process}.{self._rings_made:x}"
        if unit is None:
            self._all = ring = _EventRing(name, MAX_EVENTS_OF_ALL, MAX_BYTES_OF_ALL)
        else:
            self._rings[unit] = ring = _EventRing(name, MAX_EVENTS, MAX_BYTES)
        return ring

    def _drop_abandoned(self) -> None:
        """Delete the rings that nobody has watched for a while."""
        now = self._clock()
        if self._all is not None and self._is_abandoned(self._all):
            self._all, self._traffic, self._traffic_due = None, {}, float("inf")
        left = sorted((ring.left_at, unit) for unit, ring in self._rings.items() if not ring.watchers)
        for index, (left_at, unit) in enumerate(left):
            if now - left_at > LINGER or len(left) - index > _MAX_LINGERING:
                del self._rings[unit]

    def _is_abandoned(self, ring: _EventRing) -> bool:
        return not ring.watchers and self._clock() - ring.left_at > LINGER

    @staticmethod
    def _wake(ring: _EventRing) -> None:
        changed, ring.changed = ring.changed, trio.Event()
        changed.set()
