"""Decides when a campaign may send, how many messages it queues ahead, and when it will have ended."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from math import ceil, inf

from zapline.domain.outbox.pacing import JITTER, PaceLimits
from zapline.domain.outbox.quiet_hours import QuietHours, local_day, next_day

_QUEUED_SECONDS = 5.0
"""What is queued ahead lasts for so long: longer than the feeder needs to come by again."""
_LEAST_AHEAD, _MOST_AHEAD = 10, 500


@dataclass(frozen=True, slots=True)
class CampaignTiming:
    """A campaign's own rules. ``seconds`` between two messages; None: the unit's pace. The window is local."""

    seconds: float | None = None
    window_from: time | None = None
    window_until: time | None = None

    def closed(self, zone: tzinfo) -> QuietHours | None:
        """The hours outside of its window."""
        if self.window_from is None or self.window_until is None:
            return None
        return QuietHours(self.window_until, self.window_from, zone)

    def opens_at(self, pace: PaceLimits, now: float) -> float | None:
        """When both its window and the unit's night allow it to send; ``now`` where they do. None: never."""
        at = now
        hours = [each for each in (self.closed(pace.zone), pace.quiet) if each is not None]
        for _ in range(8):
            ends = [end for each in hours if (end := each.end_after(at)) is not None]
            if not ends:
                return at
            at = max(ends)
        return None

    def window_opens_at(self, zone: tzinfo, now: float) -> float | None:
        """When its window opens; None where it is open."""
        closed = self.closed(zone)
        return closed.end_after(now) if closed is not None else None

    def ahead(self, pace: PaceLimits) -> int:
        """How many messages are to lie ready. Of a slow one few, so that an outage does not make them a burst."""
        if self.seconds is not None and self.seconds > pace.campaign_seconds:
            return max(1, min(_LEAST_AHEAD, ceil(3.0 / self.seconds)))
        return max(_LEAST_AHEAD, min(_MOST_AHEAD, ceil(_QUEUED_SECONDS / pace.campaign_seconds)))

    def due(self, last: float | None, now: float, spread: float) -> float:
        """When the message after that of ``last`` is due. ``spread`` in 0..1 is drawn by the caller."""
        if self.seconds is None or last is None:
            return now
        return max(now, last + self.seconds * (1 - JITTER + 2 * JITTER * spread))


_FARTHEST = 1000
"""Days; nobody wants to be told an end beyond that."""


def estimate_end(
    count: int, timing: CampaignTiming, pace: PaceLimits, start: float, sent_today: int = 0, campaign_today: int = 0
) -> float | None:
    """When the last of ``count`` messages leaves, if all goes well and nothing else is sent; None: never.

    ``start`` in UTC seconds; ``sent_today`` and ``campaign_today``: what left on that day before.
    """
    if count < 1:
        return start
    if pace.line_since is None:
        pace = replace(pace, line_since=start)
    seconds = max(timing.seconds or 0.0, pace.campaign_seconds, 60 / pace.per_minute)
    hours = [each for each in (timing.closed(pace.zone), pace.quiet) if each is not None]
    at, last_day = start, local_day(start, pace.zone) + timedelta(days=_FARTHEST)
    used, ramped, day = sent_today, campaign_today, local_day(start, pace.zone)
    while True:
        opens = timing.opens_at(pace, at)
        if opens is None or local_day(opens, pace.zone) > last_day:
            return None
        at = opens
        if local_day(at, pace.zone) != day:
            used, ramped, day = 0, 0, local_day(at, pace.zone)
        tomorrow = next_day(at, pace.zone)
        stop = min([tomorrow, *(_begins(each, at) for each in hours)])
        ramp = pace.ramp(at)
        room = min(inf if pace.daily_cap is None else pace.daily_cap - used, inf if ramp is None else ramp - ramped)
        fits = min(ceil((stop - at) / seconds), room)
        if fits >= count:
            return at + (count - 1) * seconds
        sent = max(0, int(fits))
        count, used, ramped = count - sent, used + sent, ramped + sent
        at = tomorrow if sent >= room else max(stop, at + sent * seconds)


def _begins(hours: QuietHours, after: float) -> float:
    """When these hours begin next."""
    if hours.start == hours.end:
        return inf
    today = datetime.fromtimestamp(after, UTC).astimezone(hours.zone).date()
    for days in range(3):
        begins = datetime.combine(today + timedelta(days=days), hours.start, hours.zone).timestamp()
        if begins > after:
            return begins
    return inf
