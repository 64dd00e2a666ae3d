"""Computes quiet hours and local days of a time zone, across clock changes; times are UTC seconds since the epoch."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo


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
