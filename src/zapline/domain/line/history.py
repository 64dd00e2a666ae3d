"""The history of a line: what it has shown since when, for how long, how each period ended, and how long it was open.

Pure. Times are UTC seconds; changes come in the order in which they were decided, which a clock that was set back does
not follow.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum

from zapline.domain.line.reasons import STATUS_OF_PHASE, Phase, Reason


class LineUse(StrEnum):
    """What a phase is for whoever counts the hours in which a line served."""

    CONNECTED = "connected"
    OUT = "out"
    """Somebody wants the line, and it is not open: also while it connects or waits for a scan."""
    OFF = "off"
    """Nobody wants it: it does not count."""
    UNKNOWN = "unknown"
    """Before the first change that is known."""


_USES = {Phase.OPEN: LineUse.CONNECTED, Phase.IDLE: LineUse.OFF}


@dataclass(frozen=True, slots=True)
class LineChange:
    """Since ``at`` the line shows this. ``number`` counts the changes of a unit."""

    number: int
    at: float
    phase: Phase
    reason: Reason

    @property
    def status(self) -> str:
        return STATUS_OF_PHASE[self.phase]

    @property
    def use(self) -> LineUse:
        return _USES.get(self.phase, LineUse.OUT)


@dataclass(frozen=True, slots=True)
class LinePeriod:
    """A time in which a line showed one thing. ``ended``: the change that ended it; None: it is still so."""

    change: LineChange
    ended: LineChange | None

    def seconds(self, now: float) -> float:
        """How long it lasted, or lasts at ``now``. Never negative, whatever a clock said."""
        return max(0.0, (self.ended.at if self.ended is not None else now) - self.change.at)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a window in which a line was of one use."""

    start: float
    end: float
    use: LineUse


def segments(changes: Sequence[LineChange], start: float, end: float) -> list[Segment]:
    """What a line was from ``start`` to ``end``, without gaps; neighbours of one use are one."""
    found: list[Segment] = []
    since, use = start, LineUse.UNKNOWN
    for change in changes:
        at = min(max(change.at, since), end)
        _add(found, Segment(since, at, use))
        since, use = at, change.use
    _add(found, Segment(since, end, use))
    return found


def _add(found: list[Segment], segment: Segment) -> None:
    if segment.end <= segment.start:
        return
    if found and found[-1].use is segment.use:
        found[-1] = replace(found[-1], end=segment.end)
    else:
        found.append(segment)


@dataclass(frozen=True, slots=True)
class Uptime:
    """Seconds of a window by use. ``falls``: how often an open line was lost, and nobody had asked for that."""

    connected: float
    out: float
    off: float
    unknown: float
    falls: int

    @property
    def share(self) -> float | None:
        """Of the time in which somebody wanted the line, the part in which it was open; None: nobody did."""
        wanted = self.connected + self.out
        return self.connected / wanted if wanted > 0 else None


@dataclass(frozen=True, slots=True)
class Span:
    """A local day or month: its first day, when it begins, and when it ends or ``now`` is; ``whole``: its seconds."""

    first: date
    start: float
    end: float
    whole: float


def uptimes(changes: Sequence[LineChange], spans: Sequence[Span]) -> list[Uptime]:
    """How a line was in each of these spans, which follow each other; one pass over many changes.

    ``changes`` begin with the last one before the first span, if any.
    """
    seconds = [dict.fromkeys(LineUse, 0.0) for _ in spans]
    place = 0
    for segment in segments(changes, spans[0].start, spans[-1].end):
        while spans[place].end <= segment.start:
            place += 1
        for each in range(place, len(spans)):
            part = min(segment.end, spans[each].end) - max(segment.start, spans[each].start)
            if part <= 0:
                break
            seconds[each][segment.use] += part
    falls = [0] * len(spans)
    starts = [span.start for span in spans]
    for before, after in itertools.pairwise(changes):
        if before.use is LineUse.CONNECTED and after.use is LineUse.OUT and starts[0] <= after.at < spans[-1].end:
            falls[bisect_right(starts, after.at) - 1] += 1
    return [
        Uptime(each[LineUse.CONNECTED], each[LineUse.OUT], each[LineUse.OFF], each[LineUse.UNKNOWN], fallen)
        for each, fallen in zip(seconds, falls, strict=True)
    ]


def uptime(changes: Sequence[LineChange], start: float, end: float) -> Uptime:
    """How a line was from ``start`` to ``end``."""
    return uptimes(changes, [Span(date.min, start, end, end - start)])[0]


def last_days(count: int, now: float, zone: tzinfo) -> list[Span]:
    """The last local days, the oldest first; today ends now. A day of a clock change has 23 or 25 hours."""
    today = datetime.fromtimestamp(now, zone).date()
    return list(_spans((today - timedelta(days=n) for n in range(count - 1, -2, -1)), now, zone))


def last_months(count: int, now: float, zone: tzinfo) -> list[Span]:
    """The last local months, the oldest first; this one ends now."""
    today = datetime.fromtimestamp(now, zone).date()
    months = (today.year * 12 + today.month - 1 - n for n in range(count - 1, -2, -1))
    return list(_spans((date(month // 12, month % 12 + 1, 1) for month in months), now, zone))


def _spans(firsts: Iterable[date], now: float, zone: tzinfo) -> Iterator[Span]:
    days = list(firsts)
    for first, following in itertools.pairwise(days):
        start, end = _midnight(first, zone), _midnight(following, zone)
        yield Span(first, start, min(end, now), end - start)


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).timestamp()
