"""Decides the pace of a unit: when its next message may be sent, by rate, gap, daily cap, quiet hours and warm-up.

Durations are measured on the monotonic clock, days and hours of the day on the wall clock: a jump of the wall clock
neither refills the bucket nor shortens a gap. A call counts from its end, since it is not known when Evolution
received it; so the limits also hold as Evolution sees the calls.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import time, tzinfo

from zapline.domain.outbox.contents import Content
from zapline.domain.outbox.quiet_hours import QuietHours, local_day, next_day
from zapline.domain.outbox.token_bucket import TokenBucket, Wait
from zapline.domain.outbox.typing_time import DEFAULT_TYPING_LONGEST, Typing
from zapline.domain.outbox.work_states import Lane
from zapline.domain.timestamps import NEVER, Moment

DEFAULT_PER_MINUTE = 60.0
"""One a second on average: more than a shop's staff writes, less than WhatsApp objects to."""
DEFAULT_BURST = 10
"""Replies that were written together are sent together."""
DEFAULT_RECIPIENT_GAP = 1.0
"""Seconds between two messages to one recipient, so that they arrive in the order of sending."""
DEFAULT_CAMPAIGN_SECONDS = 2.0
"""Seconds between two campaign messages."""
MIN_PER_MINUTE, MIN_CAMPAIGN_SECONDS = 0.1, 0.001
"""Bounds of stored limits: a value below is a mistake, which must do no harm."""
JITTER = 0.25
"""Random part by which these seconds are shortened or lengthened: an even beat looks like a spammer's line."""
WARM_DAILY_LIMIT = 10_000
"""Campaign messages a day from which a line counts as warm, whatever its cap."""
LONGEST_CALL = 150.0
"""Seconds; no call takes longer, so a call that began earlier has ended before the remembered span begins."""


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """The limits of a unit, in seconds and counts; ``zone`` is the time zone of its days and nights.

    Rate, gap and daily cap hold for both lanes; warm-up, quiet hours and ``campaign_seconds`` only for campaigns.
    """

    zone: tzinfo
    per_minute: float = DEFAULT_PER_MINUTE
    burst: int = DEFAULT_BURST
    gap: float = DEFAULT_RECIPIENT_GAP
    daily_cap: int | None = None
    warm_up_first: int | None = None
    """Campaign messages on the line's first day, doubled each day after. None: no warm-up."""
    quiet: QuietHours | None = None
    campaign_seconds: float = DEFAULT_CAMPAIGN_SECONDS
    line_since: float | None = None
    """When the line was first connected. None: today is its first day."""
    resend_lanes: frozenset[Lane] = frozenset()
    typing: Typing | None = None
    """What is shown before a text; it takes its time of the pace, as any call does. None: nothing."""

    @classmethod
    def from_stored(
        cls,
        zone: tzinfo,
        *,
        per_minute: float | None = None,
        burst: int | None = None,
        gap: float | None = None,
        daily_cap: int | None = None,
        warm_up_first: int | None = None,
        quiet_from: time | None = None,
        quiet_until: time | None = None,
        campaign_seconds: float | None = None,
        line_since: float | None = None,
        resend_lanes: Iterable[Lane] = (),
        typing_speed: float | None = None,
        typing_longest: float | None = None,
    ) -> "PaceLimits":
        """The limits from their row: None stands for the default, or for no limit where that is the default."""
        quiet = (
            QuietHours(quiet_from, quiet_until, zone) if quiet_from is not None and quiet_until is not None else None
        )
        longest = DEFAULT_TYPING_LONGEST if typing_longest is None else typing_longest
        return cls(
            zone=zone,
            per_minute=DEFAULT_PER_MINUTE if per_minute is None else max(MIN_PER_MINUTE, per_minute),
            burst=DEFAULT_BURST if burst is None else burst,
            gap=DEFAULT_RECIPIENT_GAP if gap is None else gap,
            daily_cap=daily_cap,
            warm_up_first=warm_up_first,
            quiet=quiet,
            campaign_seconds=DEFAULT_CAMPAIGN_SECONDS
            if campaign_seconds is None
            else max(MIN_CAMPAIGN_SECONDS, campaign_seconds),
            line_since=line_since,
            resend_lanes=frozenset(resend_lanes),
            typing=Typing(typing_speed, longest) if typing_speed is not None else None,
        )

    @property
    def span(self) -> float:
        """Seconds after which an ended call no longer matters, except for the day's counts."""
        return max(self.burst * 60 / self.per_minute, self.gap, self.campaign_seconds * (1 + JITTER))

    @property
    def history_seconds(self) -> float:
        """Seconds of past calls from which a pacer is rebuilt."""
        return self.span + LONGEST_CALL

    def typing_seconds(self, content: Content) -> float:
        """For how long typing is shown before this content."""
        return self.typing.seconds(content) if self.typing is not None else 0.0

    def warm_up_limit(self, now: float) -> int | None:
        """Campaign messages allowed on this day of a new line; None where the line is warm. ``now`` in UTC."""
        if self.warm_up_first is None:
            return None
        since = now if self.line_since is None else self.line_since
        days = max(0, (local_day(now, self.zone) - local_day(since, self.zone)).days)
        allowed = self.warm_up_first * 2 ** min(days, 30)
        warm = WARM_DAILY_LIMIT if self.daily_cap is None else min(self.daily_cap, WARM_DAILY_LIMIT)
        return allowed if allowed <= warm else None


@dataclass(frozen=True, slots=True)
class PastSend:
    """A past call; times in UTC. ``ended_at`` None: its end is not known, and may have been just now."""

    started_at: float
    ended_at: float | None
    recipient: str
    lane: Lane


@dataclass(frozen=True, slots=True)
class PaceHold:
    """No message of a lane may be sent before ``until`` (monotonic); ``reason`` is a short snake_case word."""

    until: float
    reason: str


class Pacer:
    """The mutable pace of one unit; time and randomness are arguments.

    The caller reports each call by ``record_start`` and ``record_end``, one at a time.
    """

    __slots__ = (
        *("_bucket", "_day", "_last", "_next_campaign", "_today"),
        *("pace", "refusals_hold_until", "throttled_until"),
    )

    def __init__(self, pace: PaceLimits, bucket: TokenBucket, today: Mapping[Lane, int], at: Moment) -> None:
        self.pace = pace
        self.throttled_until = NEVER
        """Monotonic time until which campaigns pause, because WhatsApp asked for it."""
        self.refusals_hold_until = NEVER
        """The same because WhatsApp has refused messages; ``inf``: until a person has looked."""
        self._bucket = bucket
        self._day = local_day(at.wall, pace.zone)
        self._today = Counter(today)
        self._last: dict[str, float] = {}  # recipient -> end of the last call, oldest first; bounded by rate and gap
        self._next_campaign = NEVER

    @classmethod
    def rebuilt(cls, pace: PaceLimits, calls: Iterable[PastSend], today: Mapping[Lane, int], at: Moment) -> "Pacer":
        """The pace after a restart; it never allows more than the one before would have.

        ``calls`` began within ``pace.history_seconds``. ``today``: messages per lane that may have been sent since the
        local day began. A time in the future, because the clock went back, counts as now.
        """

        def mono(wall: float) -> float:
            return at.mono - max(0.0, at.wall - wall)

        known = [(mono(at.wall if call.ended_at is None else call.ended_at), call) for call in calls]
        known.sort(key=lambda pair: pair[0])
        rate = pace.per_minute / 60
        bucket = TokenBucket.rebuilt(pace.burst, rate, (ended for ended, _ in known), at.mono - pace.span, at.mono)
        pacer = cls(pace, bucket, today, at)
        for ended, call in known:
            pacer._reached(call.recipient, ended)
            if call.lane is Lane.CAMPAIGN:
                # Its random delay is not stored: take the longest.
                after = mono(call.started_at) + pace.campaign_seconds * (1 + JITTER)
                pacer._next_campaign = max(pacer._next_campaign, after)
        return pacer

    def hold_on(self, lane: Lane, at: Moment) -> PaceHold | None:
        """The longest hold on this lane; None: its next message may be sent now."""
        holds: list[PaceHold] = []
        token = self._bucket.take(at.mono)
        if isinstance(token, Wait):
            holds.append(PaceHold(token.until, "rate"))
        self._begin_day(at)
        cap = self.pace.daily_cap
        if cap is not None and self._today.total() >= cap:
            holds.append(self._until_tomorrow(at, "daily_cap"))
        if lane is Lane.CAMPAIGN:
            holds.append(PaceHold(self._next_campaign, "campaign_pace"))
            holds.append(PaceHold(self.throttled_until, "throttled"))
            holds.append(PaceHold(self.refusals_hold_until, "refused"))
            ends = self.pace.quiet.end_after(at.wall) if self.pace.quiet is not None else None
            if ends is not None:
                holds.append(PaceHold(_mono(ends, at), "quiet_hours"))
            warm_up = self.pace.warm_up_limit(at.wall)
            if warm_up is not None and self._today[Lane.CAMPAIGN] >= warm_up:
                holds.append(self._until_tomorrow(at, "warm_up"))
        longest = max(holds, key=lambda hold: hold.until, default=None)
        return longest if longest is not None and longest.until > at.mono else None

    def allowed_lanes(self, at: Moment) -> list[Lane]:
        """The lanes of which a message may be sent now."""
        return [lane for lane in Lane if self.hold_on(lane, at) is None]

    def next_release(self, at: Moment) -> PaceHold | None:
        """The hold that ends first; None where no lane is held."""
        holds = [hold for lane in Lane if (hold := self.hold_on(lane, at)) is not None]
        return min(holds, key=lambda hold: hold.until, default=None)

    def recipients_within_gap(self, at: Moment) -> Collection[str]:
        """The recipients to whom a message was sent within the gap."""
        while self._last:
            recipient = next(iter(self._last))
            if self._last[recipient] + self.pace.gap > at.mono:
                break
            del self._last[recipient]
        return self._last.keys()

    def gap_ends_at(self, at: Moment) -> float | None:
        """When the first of these gaps ends (monotonic); None where there is none."""
        blocked = self.recipients_within_gap(at)
        return self._last[next(iter(blocked))] + self.pace.gap if blocked else None

    def record_start(self, at: Moment, recipient: str, lane: Lane, spread: float, seconds: float | None = None) -> None:
        """Record the start of a call. ``spread`` in 0..1 is drawn by the caller; ``seconds``: a slower campaign."""
        self._begin_day(at)
        self._today[lane] += 1
        level = self._bucket.refilled(at.mono)
        self._bucket = replace(level, tokens=level.tokens - 1)
        self._reached(recipient, at.mono)
        if lane is Lane.CAMPAIGN:
            pause = max(self.pace.campaign_seconds, seconds or 0.0)
            self._next_campaign = at.mono + pause * (1 - JITTER + 2 * JITTER * spread)

    def record_end(self, at: Moment, recipient: str, lane: Lane, *, sent: bool) -> None:
        """Record the end of a call. ``sent`` False: it certainly sent nothing, and does not count for the day."""
        level = self._bucket.refilled(at.mono)
        # As if its token had been taken only now: a bucket that was full meanwhile has lost its overflow.
        self._bucket = replace(level, tokens=min(level.tokens, level.capacity - 1))
        self._reached(recipient, at.mono)
        if not sent and self._today[lane] > 0:
            self._today[lane] -= 1

    def _reached(self, recipient: str, at: float) -> None:
        self._last.pop(recipient, None)
        self._last[recipient] = at

    def _begin_day(self, at: Moment) -> None:
        """Reset the counts on a new day; a clock that went back begins none."""
        day = local_day(at.wall, self.pace.zone)
        if day > self._day:
            self._day = day
            self._today.clear()

    def _until_tomorrow(self, at: Moment, reason: str) -> PaceHold:
        return PaceHold(_mono(next_day(at.wall, self.pace.zone), at), reason)


def _mono(wall: float, at: Moment) -> float:
    return at.mono + (wall - at.wall)
