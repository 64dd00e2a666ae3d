"""Decides when a campaign may send, how many messages it queues ahead, and when it will have ended."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from math import ceil, inf

from zapline.domain.outbox.pacing import JITTER, PaceLimits
from zapline.domain.outbox.quiet_hours import QuietHours, local_day, next_day

_QUEUED_SECONDS = 5.0
"""Seconds of sending that are queued ahead: more than the feeder's interval."""
_LEAST_AHEAD, _MOST_AHEAD = 10, 500


@dataclass(frozen=True, slots=True)
class CampaignTiming:
    """A campaign's own pace. ``seconds`` between two messages; None: the unit's pace. The window is in local time."""

    seconds: float | None = None
    window_from: time | None = None
    window_until: time | None = None

    def closed_hours(self, zone: tzinfo) -> QuietHours | None:
        """The hours outside of the window."""
        if self.window_from is None or self.window_until is None:
            return None
        return QuietHours(self.window_until, self.window_from, zone)

    def opens_at(self, pace: PaceLimits, now: float) -> float | None:
        """When both the window and the unit's quiet hours allow sending; ``now`` where they do. None: never."""
        at = now
        hours = [quiet for quiet in (self.closed_hours(pace.zone), pace.quiet) if quiet is not None]
        for _ in range(8):
            ends = [end for quiet in hours if (end := quiet.end_after(at)) is not None]
            if not ends:
                return at
            at = max(ends)
        return None

    def window_opens_at(self, zone: tzinfo, now: float) -> float | None:
        """When the window opens; None where it is open."""
        closed = self.closed_hours(zone)
        return closed.end_after(now) if closed is not None else None

    def queue_ahead(self, pace: PaceLimits) -> int:
        """How many messages to queue ahead; few of a slow one, so that an outage does not cause a burst."""
        if self.seconds is not None and self.seconds > pace.campaign_seconds:
            return max(1, min(_LEAST_AHEAD, ceil(3.0 / self.seconds)))
        return max(_LEAST_AHEAD, min(_MOST_AHEAD, ceil(_QUEUED_SECONDS / pace.campaign_seconds)))

    def due_at(self, last: float | None, now: float, spread: float) -> float:
        """When the message after the one at ``last`` is due. ``spread`` in 0..1 is drawn by the caller."""
        if self.seconds is None or last is None:
            return now
        return max(now, last + self.seconds * (1 - JITTER + 2 * JITTER * spread))


_MAX_DAYS = 1000
"""Days up to which an end is estimated."""


def estimate_end(
    count: int, timing: CampaignTiming, pace: PaceLimits, start: float, sent_today: int = 0, campaign_today: int = 0
) -> float | None:
    """When the last of ``count`` messages is sent, if nothing fails and nothing else is sent; None: never.

    ``start`` in UTC seconds; ``sent_today`` and ``campaign_today``: messages already sent on that day.
    """
    if count < 1:
        return start
    if pace.line_since is None:
        pace = replace(pace, line_since=start)
    seconds = max(timing.seconds or 0.0, pace.campaign_seconds, 60 / pace.per_minute)
    hours = [quiet for quiet in (timing.closed_hours(pace.zone), pace.quiet) if quiet is not None]
    at, last_day = start, local_day(start, pace.zone) + timedelta(days=_MAX_DAYS)
    sent_on_day, campaign_on_day, day = sent_today, campaign_today, local_day(start, pace.zone)
    while True:
        opens = timing.opens_at(pace, at)
        if opens is None or local_day(opens, pace.zone) > last_day:
            return None
        at = opens
        if local_day(at, pace.zone) != day:
            sent_on_day, campaign_on_day, day = 0, 0, local_day(at, pace.zone)
        tomorrow = next_day(at, pace.zone)
        stop = min([tomorrow, *(_next_start(quiet, at) for quiet in hours)])
        warm_up = pace.warm_up_limit(at)
        cap_left = inf if pace.daily_cap is None else pace.daily_cap - sent_on_day
        room = min(cap_left, inf if warm_up is None else warm_up - campaign_on_day)
        fits = min(ceil((stop - at) / seconds), room)
        if fits >= count:
            return at + (count - 1) * seconds
        sent = max(0, int(fits))
        count, sent_on_day, campaign_on_day = count - sent, sent_on_day + sent, campaign_on_day + sent
        at = tomorrow if sent >= room else max(stop, at + sent * seconds)


def _next_start(hours: QuietHours, after: float) -> float:
    """When these hours begin next after ``after``; infinity if never."""
    if hours.start == hours.end:
        return inf
    today = datetime.fromtimestamp(after, UTC).astimezone(hours.zone).date()
    for days in range(3):
        begins = datetime.combine(today + timedelta(days=days), hours.start, hours.zone).timestamp()
        if begins > after:
            return begins
    return inf
