"""Decides when a unit's next call may leave, and to whom: rate, gap, days, nights, campaigns.

Spans are measured on the monotonic clock, days and hours of the day on the wall clock: a jump of the wall clock
neither refills the bucket nor shortens a gap. A call counts as made when it ended, since nobody knows at which
moment of it Evolution received it. So what Evolution sees keeps the rules too, not only what leaves here.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import time, tzinfo

from zapline.domain.outbox.quiet_hours import QuietHours, local_day, next_day
from zapline.domain.outbox.token_bucket import TokenBucket, Wait
from zapline.domain.outbox.work_states import Lane
from zapline.domain.timestamps import NEVER, Moment

DEFAULT_PER_MINUTE = 60.0
"""A call a second over time: more than a shop's people write, less than what WhatsApp frowns upon."""
DEFAULT_BURST = 10
"""A handful of replies that were written together leave together."""
DEFAULT_RECIPIENT_GAP = 1.0
"""Seconds between two messages to one recipient: they arrive in the order in which they were sent."""
DEFAULT_CAMPAIGN_SECONDS = 2.0
"""Seconds between two messages of campaigns."""
MIN_PER_MINUTE, QUICKEST = 0.1, 0.001
"""Calls a minute, and seconds between campaign messages: what a row says beyond is a mistake, and must do no harm."""
JITTER = 0.25
"""The part by which chance shortens or lengthens these: a machine's even beat is what a spammer's line looks like."""
WARM_DAILY_LIMIT = 10_000
"""Campaign messages a day from which on a line counts as warm, whatever its cap."""
LONGEST_CALL = 150.0
"""Seconds; no call takes longer, so a call that began earlier has ended before what is remembered begins."""


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """What a unit allows itself. Seconds and counts; ``zone`` is where its days and nights are.

    Rate, gap and daily cap hold for both lanes; ramp, quiet hours and ``campaign_seconds`` for campaigns alone:
    a reply answers somebody who wrote.
    """

    zone: tzinfo
    per_minute: float = DEFAULT_PER_MINUTE
    burst: int = DEFAULT_BURST
    gap: float = DEFAULT_RECIPIENT_GAP
    daily_cap: int | None = None
    warm_up_first: int | None = None
    """Campaign messages on the line's first day; twice as many each day after. None: no ramp."""
    quiet: QuietHours | None = None
    campaign_seconds: float = DEFAULT_CAMPAIGN_SECONDS
    line_since: float | None = None
    """When the line was first connected. None: today is its first day."""
    resend_lanes: frozenset[Lane] = frozenset()

    @classmethod
    def given(
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
    ) -> "PaceLimits":
        """The limits as they are stored: None stands for the default, or for no limit where that is the default."""
        quiet = (
            QuietHours(quiet_from, quiet_until, zone) if quiet_from is not None and quiet_until is not None else None
        )
        return cls(
            zone=zone,
            per_minute=DEFAULT_PER_MINUTE if per_minute is None else max(MIN_PER_MINUTE, per_minute),
            burst=DEFAULT_BURST if burst is None else burst,
            gap=DEFAULT_RECIPIENT_GAP if gap is None else gap,
            daily_cap=daily_cap,
            warm_up_first=warm_up_first,
            quiet=quiet,
            campaign_seconds=DEFAULT_CAMPAIGN_SECONDS if campaign_seconds is None else max(QUICKEST, campaign_seconds),
            line_since=line_since,
            resend_lanes=frozenset(resend_lanes),
        )

    @property
    def span(self) -> float:
        """Seconds after which a call that has ended is of no account, but for the day's counts."""
        return max(self.burst * 60 / self.per_minute, self.gap, self.campaign_seconds * (1 + JITTER))

    @property
    def memory(self) -> float:
        """Seconds: a pacer is rebuilt from the calls that began within them."""
        return self.span + LONGEST_CALL

    def ramp(self, now: float) -> int | None:
        """How many campaign messages this day of a new line may see; None where it is warm. ``now`` in UTC."""
        if self.warm_up_first is None:
            return None
        since = now if self.line_since is None else self.line_since
        days = max(0, (local_day(now, self.zone) - local_day(since, self.zone)).days)
        allowed = self.warm_up_first * 2 ** min(days, 30)
        warm = WARM_DAILY_LIMIT if self.daily_cap is None else min(self.daily_cap, WARM_DAILY_LIMIT)
        return allowed if allowed <= warm else None


@dataclass(frozen=True, slots=True)
class PastSend:
    """A call as a pace remembers it; times in UTC. ``ended_at`` None: nobody knows, it may have been just now."""

    started_at: float
    ended_at: float | None
    recipient: str
    lane: Lane


@dataclass(frozen=True, slots=True)
class PaceHold:
    """Nothing of a lane may leave before ``until`` (monotonic), and why: a short snake_case word."""

    until: float
    reason: str


class Pacer:
    """The pace of one unit as it stands. Changed in place; everything it needs to know is handed in.

    ``took`` is told of each call when it begins, ``ended`` when it has ended; there is one at a time.
    """

    __slots__ = ("_bucket", "_day", "_last", "_next_campaign", "_today", "pace", "throttled_until")

    def __init__(self, pace: PaceLimits, bucket: TokenBucket, today: Mapping[Lane, int], at: Moment) -> None:
        self.pace = pace
        self.throttled_until = NEVER
        """Monotonic time until which campaigns stand still, because WhatsApp asked for it."""
        self._bucket = bucket
        self._day = local_day(at.wall, pace.zone)
        self._today = Counter(today)
        self._last: dict[str, float] = {}  # recipient -> end of the last call, oldest first; bounded by rate and gap
        self._next_campaign = NEVER

    @classmethod
    def rebuilt(cls, pace: PaceLimits, calls: Iterable[PastSend], today: Mapping[Lane, int], at: Moment) -> "Pacer":
        """The pace after a restart: never allows more than the one before it would have.

        ``calls``: those that began within ``pace.memory`` seconds. ``today``: by lane, how many messages may have
        left since the local day began. What seems to come from the future, because the clock went back, counts as
        made just now.
        """

        def mono(wall: float) -> float:
            return at.mono - max(0.0, at.wall - wall)

        known = [(mono(at.wall if call.ended_at is None else call.ended_at), call) for call in calls]
        known.sort(key=lambda pair: pair[0])
        rate = pace.per_minute / 60
        bucket = TokenBucket.rebuilt(pace.burst, rate, (ended for ended, _ in known), at.mono - pace.span, at.mono)
        made = cls(pace, bucket, today, at)
        for ended, call in known:
            made._reached(call.recipient, ended)
            if call.lane is Lane.CAMPAIGN:
                # Which chance it had drawn is forgotten: the longest.
                after = mono(call.started_at) + pace.campaign_seconds * (1 + JITTER)
                made._next_campaign = max(made._next_campaign, after)
        return made

    # -- asking ----------------------------------------------------------------------------------------------

    def hold(self, lane: Lane, at: Moment) -> PaceHold | None:
        """What holds this lane, the longest of all; None: its next message may leave now."""
        holds: list[PaceHold] = []
        token = self._bucket.take(at.mono)
        if isinstance(token, Wait):
            holds.append(PaceHold(token.until, "rate"))
        self._turn_day(at)
        cap = self.pace.daily_cap
        if cap is not None and self._today.total() >= cap:
            holds.append(self._until_tomorrow(at, "daily_cap"))
        if lane is Lane.CAMPAIGN:
            holds.append(PaceHold(self._next_campaign, "campaign_pace"))
            holds.append(PaceHold(self.throttled_until, "throttled"))
            ends = self.pace.quiet.end_after(at.wall) if self.pace.quiet is not None else None
            if ends is not None:
                holds.append(PaceHold(_mono(ends, at), "quiet_hours"))
            ramp = self.pace.ramp(at.wall)
            if ramp is not None and self._today[Lane.CAMPAIGN] >= ramp:
                holds.append(self._until_tomorrow(at, "warm_up"))
        longest = max(holds, key=lambda hold: hold.until, default=None)
        return longest if longest is not None and longest.until > at.mono else None

    def may(self, at: Moment) -> list[Lane]:
        """The lanes of which a message may leave now."""
        return [lane for lane in Lane if self.hold(lane, at) is None]

    def next_at(self, at: Moment) -> PaceHold | None:
        """The first of the holds to end; None where nothing is held."""
        holds = [hold for lane in Lane if (hold := self.hold(lane, at)) is not None]
        return min(holds, key=lambda hold: hold.until, default=None)

    def blocked(self, at: Moment) -> Collection[str]:
        """The recipients who were written to within the gap."""
        while self._last:
            recipient = next(iter(self._last))
            if self._last[recipient] + self.pace.gap > at.mono:
                break
            del self._last[recipient]
        return self._last.keys()

    def gap_over(self, at: Moment) -> float | None:
        """When the first of these gaps ends (monotonic); None where there is none."""
        blocked = self.blocked(at)
        return self._last[next(iter(blocked))] + self.pace.gap if blocked else None

    # -- telling ---------------------------------------------------------------------------------------------

    def took(self, at: Moment, recipient: str, lane: Lane, spread: float, seconds: float | None = None) -> None:
        """A call begins. ``spread`` in 0..1 is drawn by the caller; ``seconds``: its campaign's own, slower pace."""
        self._turn_day(at)
        self._today[lane] += 1
        level = self._bucket.refilled(at.mono)
        self._bucket = replace(level, tokens=level.tokens - 1)
        self._reached(recipient, at.mono)
        if lane is Lane.CAMPAIGN:
            pause = max(self.pace.campaign_seconds, seconds or 0.0)
            self._next_campaign = at.mono + pause * (1 - JITTER + 2 * JITTER * spread)

    def ended(self, at: Moment, recipient: str, lane: Lane, *, sent: bool) -> None:
        """It has ended. ``sent`` False: it certainly sent nothing, and does not count for the day."""
        level = self._bucket.refilled(at.mono)
        # As if its token had been taken only now: a bucket that was full meanwhile has lost what ran over.
        self._bucket = replace(level, tokens=min(level.tokens, level.capacity - 1))
        self._reached(recipient, at.mono)
        if not sent and self._today[lane] > 0:
            self._today[lane] -= 1

    def _reached(self, recipient: str, at: float) -> None:
        self._last.pop(recipient, None)
        self._last[recipient] = at

    def _turn_day(self, at: Moment) -> None:
        """A new day begins with nothing sent; a clock that went back begins none."""
        day = local_day(at.wall, self.pace.zone)
        if day > self._day:
            self._day = day
            self._today.clear()

    def _until_tomorrow(self, at: Moment, reason: str) -> PaceHold:
        return PaceHold(_mono(next_day(at.wall, self.pace.zone), at), reason)


def _mono(wall: float, at: Moment) -> float:
    return at.mono + (wall - at.wall)
