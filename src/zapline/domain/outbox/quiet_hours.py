"""Computes quiet hours and local days of a time zone, across clock changes; times are UTC seconds since the epoch."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours from ``start`` to ``end`` local time of ``zone`` without sending; over midnight if end < start.

    Clock changes: a local time that occurs twice starts at its first and ends at its second occurrence, a skipped time
    is the moment of the change. Equal times mean no quiet hours.
    """

    start: time
    end: time
    zone: tzinfo

    def end_after(self, now: float) -> float | None:
        """When the quiet hours around ``now`` end; None outside of them."""
        if self.start == self.end:
            return None
        today = local_day(now, self.zone)
        for day in (today - timedelta(days=1), today):
            last = day + timedelta(days=1) if self.end < self.start else day
            ends = _local_instant(last, self.end, self.zone, first=False)
            if _local_instant(day, self.start, self.zone, first=True) <= now < ends:
                return ends
        return None


def local_day(now: float, zone: tzinfo) -> date:
    return datetime.fromtimestamp(now, zone).date()


def day_began(now: float, zone: tzinfo) -> float:
    """When the local day of ``now`` began; where a clock change skips midnight, at the change."""
    return _local_instant(local_day(now, zone), time(0), zone, first=True)


def next_day(now: float, zone: tzinfo) -> float:
    """When the next local day begins; where a clock change skips midnight, at the change."""
    return _local_instant(local_day(now, zone) + timedelta(days=1), time(0), zone, first=True)


def _local_instant(day: date, clock: time, zone: tzinfo, *, first: bool) -> float:
    """When a local clock shows this time; of two such moments the first or the last."""
    local = datetime.combine(day, clock.replace(tzinfo=None), zone)
    moments = sorted(local.replace(fold=fold).timestamp() for fold in (0, 1))
    displayed = datetime.fromtimestamp(moments[1], zone).replace(tzinfo=None)
    if moments[0] != moments[1] and displayed != local.replace(tzinfo=None, fold=0):
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
