"""Decides how much may leave and when nothing may: token bucket, quiet hours, local days, as values.

All times are seconds since the epoch (UTC); hours of the day are local to a given zone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_ROUNDING = 1e-6
"""Seconds: times of today come in steps of 0.2 us, so a token may be a hair short when its time has come."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; ask again at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """``capacity`` messages at once, refilled by ``per_second``; ``tokens`` is the level at time ``at``."""

    capacity: float
    per_second: float
    tokens: float
    at: float

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.per_second <= 0:
            raise ValueError("a bucket needs capacity >= 1 and per_second > 0")

    @classmethod
    def rebuilt(cls, capacity: float, per_second: float, sent: Iterable[float], since: float, now: float) -> "Bucket":
        """The level after a restart, from the times of the messages that left between ``since`` and ``now``.

        What was sent before ``since`` is not known, so the bucket counts as empty then: the level may come
        out too low, never too high, and is right once the bucket has been full. ``since`` has to lie at least
        ``capacity / per_second`` seconds back, or the bucket starts with less than it could.
        """
        bucket = cls(capacity, per_second, 0.0, since)
        for at in sorted(at for at in sent if at >= since):
            level = bucket.refilled(at)
            # There was a whole token when it left, whatever this count says.
            bucket = replace(level, tokens=max(0.0, level.tokens - 1))
        return bucket.refilled(now)

    def refilled(self, now: float) -> "Bucket":
        """The same bucket at ``now``. A clock that went back refills nothing."""
        passed = now - self.at
        if passed <= 0:
            return self
        return replace(self, tokens=min(self.capacity, self.tokens + passed * self.per_second), at=now)

    def take(self, now: float) -> "Bucket | Wait":
        """The bucket with one message taken, or when the next one is there."""
        level = self.refilled(now)
        if level.tokens + _ROUNDING * self.per_second >= 1:
            return replace(level, tokens=level.tokens - 1)
        return Wait(level.at + (1 - level.tokens) / self.per_second)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From ``start`` to ``end`` on the wall clock of ``zone`` nothing is sent; over midnight if end < start.

    Where the clocks change: a time that comes twice starts at its first and ends at its second coming, a time
    that is left out is the moment of the change. Equal times mean no quiet hours.
    """

    start: time
    end: time
    zone: tzinfo

    def end_after(self, now: float) -> float | None:
        """When the quiet hours that ``now`` lies in are over; None outside of them."""
        if self.start == self.end:
            return None
        today = local_day(now, self.zone)
        for day in (today - timedelta(days=1), today):
            last = day + timedelta(days=1) if self.end < self.start else day
            ends = _instant(last, self.end, self.zone, first=False)
            if _instant(day, self.start, self.zone, first=True) <= now < ends:
                return ends
        return None


def local_day(now: float, zone: tzinfo) -> date:
    return datetime.fromtimestamp(now, zone).date()


def day_began(now: float, zone: tzinfo) -> float:
    """When the local day of ``now`` began; where midnight is left out by a clock change, at the change."""
    return _instant(local_day(now, zone), time(0), zone, first=True)


def next_day(now: float, zone: tzinfo) -> float:
    """When the next local day begins; where midnight is left out by a clock change, at the change."""
    return _instant(local_day(now, zone) + timedelta(days=1), time(0), zone, first=True)


def _instant(day: date, clock: time, zone: tzinfo, *, first: bool) -> float:
    """When a clock on the wall shows this; of two such moments the first or the last."""
    local = datetime.combine(day, clock.replace(tzinfo=None), zone)
    moments = sorted(local.replace(fold=fold).timestamp() for fold in (0, 1))
    shown = datetime.fromtimestamp(moments[1], zone).replace(tzinfo=None)
    if moments[0] != moments[1] and shown != local.replace(tzinfo=None, fold=0):
        return _change_between(moments[0], moments[1], zone)
    return moments[0 if first else 1]


def _change_between(before: float, after: float, zone: tzinfo) -> float:
    """The whole second at which the zone's offset changes."""
    low, high = int(before), int(after)
    offset = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == offset else (middle, high)
    return float(high)


def _offset(at: int, zone: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
