from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Text
from zapline.domain.outbox.pacing import (
    DEFAULT_BURST,
    DEFAULT_PER_MINUTE,
    DEFAULT_RECIPIENT_GAP,
    WARM_DAILY_LIMIT,
    PaceLimits,
    Pacer,
    PastSend,
)
from zapline.domain.outbox.typing_time import MAX_TYPING, Typing
from zapline.domain.outbox.work_states import Lane
from zapline.domain.timestamps import Moment

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 5, 12, tzinfo=BERLIN).timestamp()
BOTH = list(Lane)
REPLY = [Lane.REPLY]


def at(seconds: float = 0.0, mono: float | None = None) -> Moment:
    return Moment(NOW + seconds, seconds if mono is None else mono)


def pacer_with(**limits: Any) -> Pacer:
    """A pacer without past calls, in Berlin; without a gap unless ``limits`` has one."""
    pace = PaceLimits(BERLIN, **{"gap": 0.0, **limits})
    return Pacer.rebuilt(pace, [], {}, at())


def call(pacer: Pacer, when: float, lane: Lane = Lane.REPLY, recipient: str = "a", sent: bool = True) -> None:
    pacer.record_start(at(when), recipient, lane, 0.5)
    pacer.record_end(at(when), recipient, lane, sent=sent)


def reason(pacer: Pacer, lane: Lane, when: float = 0.0) -> tuple[float, str] | None:
    hold = pacer.hold_on(lane, at(when))
    return (hold.until, hold.reason) if hold is not None else None


def test_without_limits_of_its_own_a_unit_has_the_defaults() -> None:
    assert PaceLimits.from_stored(BERLIN) == PaceLimits(
        BERLIN, DEFAULT_PER_MINUTE, DEFAULT_BURST, DEFAULT_RECIPIENT_GAP, campaign_seconds=2.0
    )
    own = PaceLimits.from_stored(BERLIN, per_minute=6, burst=2, gap=0, quiet_from=time(22), quiet_until=time(7))
    assert (own.per_minute, own.burst, own.gap) == (6, 2, 0)
    assert own.quiet is not None
    assert own.quiet.zone is BERLIN


def test_the_rate_holds_both_lanes() -> None:
    pacer = pacer_with(per_minute=60, burst=2, campaign_seconds=0.001)
    call(pacer, 0)
    call(pacer, 0)
    assert pacer.allowed_lanes(at()) == []
    assert reason(pacer, Lane.REPLY) == (1.0, "rate")
    assert pacer.allowed_lanes(at(1)) == BOTH


def test_a_bucket_that_ran_over_during_a_call_lets_only_the_rest_follow_it() -> None:
    pacer = pacer_with(per_minute=60, burst=2)
    pacer.record_start(at(0), "a", Lane.REPLY, 0.5)
    pacer.record_end(at(10), "a", Lane.REPLY, sent=True)  # perhaps Evolution received it only now
    call(pacer, 10)
    assert reason(pacer, Lane.REPLY, 10) == (11.0, "rate")


def test_a_recipient_rests_for_the_gap_after_the_call_has_ended() -> None:
    pacer = pacer_with(gap=10.0)
    pacer.record_start(at(0), "a", Lane.REPLY, 0.5)
    pacer.record_end(at(4), "a", Lane.REPLY, sent=True)
    call(pacer, 5, recipient="b")
    assert list(pacer.recipients_within_gap(at(6))) == ["a", "b"]
    assert pacer.gap_ends_at(at(6)) == 14
    assert list(pacer.recipients_within_gap(at(14))) == ["b"]
    assert list(pacer.recipients_within_gap(at(15))) == []
    assert pacer.gap_ends_at(at(15)) is None


def test_a_daily_cap_counts_and_holds_both_lanes_until_local_midnight() -> None:
    pacer = pacer_with(daily_cap=3, campaign_seconds=0.001)
    call(pacer, 0)
    call(pacer, 1, Lane.CAMPAIGN)
    call(pacer, 2, sent=False)  # certainly nothing was sent
    assert pacer.allowed_lanes(at(3)) == BOTH
    call(pacer, 3)
    midnight = 12 * 3600.0
    assert reason(pacer, Lane.REPLY, 4) == (midnight, "daily_cap")
    assert reason(pacer, Lane.CAMPAIGN, 4) == (midnight, "daily_cap")
    assert pacer.allowed_lanes(at(midnight)) == BOTH
    assert pacer.allowed_lanes(at(5, mono=midnight + 5)) == BOTH, "a clock that goes back brings no day back"


def test_a_new_line_warms_up_with_campaigns_while_replies_go_on() -> None:
    pacer = pacer_with(warm_up_first=2, line_since=NOW, campaign_seconds=0.001)
    call(pacer, 0, Lane.CAMPAIGN)
    call(pacer, 1, Lane.REPLY)
    assert pacer.allowed_lanes(at(2)) == BOTH
    call(pacer, 2, Lane.CAMPAIGN)
    assert reason(pacer, Lane.CAMPAIGN, 3) == (12 * 3600.0, "warm_up")
    assert pacer.allowed_lanes(at(3)) == REPLY
    tomorrow = 12 * 3600.0
    for number in range(4):
        assert pacer.allowed_lanes(at(tomorrow + number)) == BOTH
        call(pacer, tomorrow + number, Lane.CAMPAIGN)
    assert pacer.allowed_lanes(at(tomorrow + 9)) == REPLY


@pytest.mark.parametrize(
    ("days", "cap", "allowed"),
    [(0, None, 20), (1, None, 40), (8, None, 5120), (9, None, None), (400, None, None), (3, 160, 160), (3, 159, None)],
)
def test_the_warm_up_limit_doubles_each_day_until_the_line_is_warm(
    days: int, cap: int | None, allowed: int | None
) -> None:
    pace = PaceLimits(BERLIN, warm_up_first=20, line_since=NOW - days * 86_400, daily_cap=cap)
    assert pace.warm_up_limit(NOW) == allowed
    assert allowed is None or allowed <= WARM_DAILY_LIMIT
    assert replace(pace, warm_up_first=None).warm_up_limit(NOW) is None
    assert replace(pace, line_since=None).warm_up_limit(NOW) == 20


def test_quiet_hours_hold_campaigns_only_and_end_by_the_wall_clock_over_a_clock_change() -> None:
    evening = datetime(2026, 10, 24, 23, tzinfo=BERLIN).timestamp()
    pace = PaceLimits.from_stored(BERLIN, quiet_from=time(22), quiet_until=time(7))
    pacer = Pacer.rebuilt(pace, [], {}, Moment(evening, 100.0))
    assert pacer.allowed_lanes(Moment(evening, 100.0)) == REPLY
    hold = pacer.hold_on(Lane.CAMPAIGN, Moment(evening, 100.0))
    assert hold is not None
    assert (hold.until, hold.reason) == (100.0 + 9 * 3600, "quiet_hours"), "that night is an hour longer"
    assert pacer.allowed_lanes(Moment(evening + 9 * 3600, hold.until)) == BOTH


def test_campaigns_keep_their_seconds_with_jitter_and_a_campaign_may_be_slower() -> None:
    for spread, least in ((0.0, 1.5), (0.5, 2.0), (1.0, 2.5)):
        pacer = pacer_with()
        pacer.record_start(at(0), "a", Lane.CAMPAIGN, spread)
        assert reason(pacer, Lane.CAMPAIGN) == (least, "campaign_pace")
        assert pacer.allowed_lanes(at(0)) == REPLY
        assert pacer.allowed_lanes(at(least)) == BOTH
    pacer = pacer_with()
    pacer.record_start(at(0), "a", Lane.CAMPAIGN, 0.5, seconds=30.0)
    assert reason(pacer, Lane.CAMPAIGN) == (30.0, "campaign_pace")
    pacer = pacer_with()
    pacer.record_start(at(0), "a", Lane.CAMPAIGN, 0.5, seconds=0.1)
    assert reason(pacer, Lane.CAMPAIGN) == (2.0, "campaign_pace"), "never quicker than its unit"


def test_a_throttled_unit_sends_replies_only() -> None:
    pacer = pacer_with()
    pacer.throttled_until = 30.0
    assert pacer.allowed_lanes(at(0)) == REPLY
    assert reason(pacer, Lane.CAMPAIGN) == (30.0, "throttled")
    first = pacer.next_release(at(0))
    assert first is not None
    assert first.until == 30.0
    assert pacer.next_release(at(30)) is None


def test_what_is_rebuilt_remembers_rate_gap_day_and_campaign() -> None:
    pace = PaceLimits(BERLIN, per_minute=60, burst=2, gap=5.0, daily_cap=4, campaign_seconds=8.0)
    calls = [
        PastSend(NOW - 3, NOW - 2, "a", Lane.CAMPAIGN),
        PastSend(NOW - 1, None, "b", Lane.REPLY),
    ]
    pacer = Pacer.rebuilt(pace, calls, {Lane.REPLY: 2, Lane.CAMPAIGN: 1}, at(0, mono=50.0))
    assert list(pacer.recipients_within_gap(at(0, mono=50.0))) == ["a", "b"]
    assert pacer.gap_ends_at(at(0, mono=50.0)) == 53.0
    assert list(pacer.recipients_within_gap(at(0, mono=54.0))) == ["b"], "how long its call took is not known"
    assert pacer.hold_on(Lane.CAMPAIGN, at(0, mono=50.0)) == pacer.next_release(at(0, mono=50.0))
    hold = pacer.hold_on(Lane.CAMPAIGN, at(0, mono=50.0))
    assert hold is not None
    assert hold.until == pytest.approx(57.0)
    assert pacer.allowed_lanes(at(0, mono=50.0)) == REPLY
    pacer.record_start(at(0, mono=50.0), "c", Lane.REPLY, 0.5)
    hold = pacer.hold_on(Lane.REPLY, at(0, mono=50.0))
    assert hold is not None
    assert hold.reason == "daily_cap"


def test_after_a_long_rest_everything_is_free() -> None:
    pace = PaceLimits(BERLIN, per_minute=6, burst=5, gap=20.0, campaign_seconds=30.0)
    calls = [PastSend(NOW - seconds, NOW - seconds, "a", Lane.CAMPAIGN) for seconds in range(200, 60, -10)]
    pacer = Pacer.rebuilt(pace, calls, {}, at())
    assert pacer.allowed_lanes(at()) == BOTH
    assert list(pacer.recipients_within_gap(at())) == []
    for number in range(5):
        assert Lane.REPLY in pacer.allowed_lanes(at()), number
        call(pacer, 0)
    assert pacer.allowed_lanes(at()) == []


def test_past_calls_with_a_time_in_the_future_count_as_made_now() -> None:
    pace = PaceLimits(BERLIN, per_minute=60, burst=2, gap=5.0)
    calls = [PastSend(NOW + 3600 + number, NOW + 3601 + number, "a", Lane.CAMPAIGN) for number in range(3)]
    pacer = Pacer.rebuilt(pace, calls, {}, at())
    assert pacer.allowed_lanes(at()) == []
    assert pacer.gap_ends_at(at()) == 5.0
    assert pacer.allowed_lanes(at(3)) == BOTH, "and it does not take the hour"


# -- any sequence of calls ---------------------------------------------------------------------------------------


@dataclass
class Step:
    """One step of a unit: time that passes, then a call, and perhaps the end of the process."""

    wait: float
    patient: bool  # then wait exactly until the pace allows the call
    duration: float
    reached: float  # when within the call Evolution receives it
    recipient: str
    lane: Lane
    spread: float
    killed: bool
    rescued: bool
    back: float  # seconds by which the wall clock is set back before


STEPS = st.lists(
    st.builds(
        Step,
        wait=st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 40)),
        patient=st.booleans(),
        duration=st.one_of(st.just(0.0), st.floats(0, 30)),
        reached=st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1)),
        recipient=st.sampled_from("abc"),
        lane=st.sampled_from(Lane),
        spread=st.floats(0, 1),
        killed=st.integers(0, 3).map(lambda drawn: drawn == 0),
        rescued=st.booleans(),
        back=st.one_of(st.just(0.0), st.just(0.0), st.floats(0, 600)),
    ),
    min_size=1,
    max_size=50,
)


@dataclass
class SimulatedUnit:
    """Simulates a unit whose process is killed repeatedly: its clocks, its stored calls, what Evolution received."""

    pace: PaceLimits
    now: float = 10_000.0
    wall: float = NOW  # at world time 10,000
    boot: float = 0.0  # the monotonic clock begins anew with the machine
    calls: list[PastSend] = field(default_factory=list)
    received: list[tuple[float, str, Lane]] = field(default_factory=list)
    began: list[tuple[float, Lane]] = field(default_factory=list)

    def moment(self) -> Moment:
        return Moment(self.wall + self.now - 10_000.0, self.now - self.boot)

    def start(self) -> Pacer:
        at = self.moment()
        recent = [call for call in self.calls if call.started_at >= at.wall - self.pace.history_seconds]
        return Pacer.rebuilt(self.pace, recent, {}, at)

    def wait_for(self, pacer: Pacer, step: Step) -> None:
        hold = pacer.hold_on(step.lane, self.moment())
        if hold is not None:
            self.now = self.boot + hold.until + 1e-9  # the sum is rounded
        while step.recipient in pacer.recipients_within_gap(self.moment()):
            over = pacer.gap_ends_at(self.moment())
            assert over is not None
            self.now = self.boot + over + 1e-9

    def run(self, steps: list[Step]) -> None:
        pacer = self.start()
        for step in steps:
            self.now += step.wait
            self.wall -= step.back
            if step.patient:
                self.wait_for(pacer, step)
            at = self.moment()
            if step.lane not in pacer.allowed_lanes(at) or step.recipient in pacer.recipients_within_gap(at):
                continue
            pacer.record_start(at, step.recipient, step.lane, step.spread)
            self.began.append((self.now, step.lane))
            self.received.append((self.now + step.reached * step.duration, step.recipient, step.lane))
            self.now += step.duration
            ended = None if step.killed else self.moment()
            self.calls.append(PastSend(at.wall, ended.wall if ended is not None else None, step.recipient, step.lane))
            if ended is not None:
                pacer.record_end(ended, step.recipient, step.lane, sent=True)
                continue
            self.boot += step.spread * 100
            pacer = self.start()
            if step.rescued:
                self.calls[-1] = replace(self.calls[-1], ended_at=self.moment().wall)


@given(
    st.floats(1, 600),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.5, 7.0, 100.0]),
    st.sampled_from([0.5, 2.0, 20.0]),
    STEPS,
)
def test_no_window_exceeds_the_pace_whenever_the_process_is_killed(
    per_minute: float, burst: int, gap: float, seconds: float, steps: list[Step]
) -> None:
    unit = SimulatedUnit(PaceLimits(UTC, per_minute, burst, gap, campaign_seconds=seconds))
    unit.run(steps)
    times = [when for when, _, _ in unit.received]
    assert times == sorted(times)
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = burst + (times[last] - times[first]) * per_minute / 60
            assert last - first + 1 <= allowed + 1e-3
    for recipient in "abc":
        own = [when for when, to, _ in unit.received if to == recipient]
        assert all(later - earlier >= gap - 1e-6 for earlier, later in pairwise(own))
    campaign = [when for when, lane in unit.began if lane is Lane.CAMPAIGN]
    assert all(later - earlier >= seconds * 0.75 - 1e-6 for earlier, later in pairwise(campaign))


@given(STEPS)
def test_each_hold_ends_at_its_time_after_any_sequence(steps: list[Step]) -> None:
    unit = SimulatedUnit(PaceLimits(UTC, per_minute=20, burst=3, gap=7.0, campaign_seconds=5.0))
    unit.run(steps)
    pacer = unit.start()
    for lane in Lane:
        for _ in range(5):
            hold = pacer.hold_on(lane, unit.moment())
            if hold is None:
                break
            assert hold.until - unit.moment().mono <= unit.pace.span + 1e-3
            unit.now += hold.until - unit.moment().mono
        assert pacer.hold_on(lane, unit.moment()) is None


def test_typing_is_shown_as_long_as_a_text_takes_within_bounds_and_before_texts_alone() -> None:
    assert [Typing(10.0).seconds(Text("a" * length)) for length in (1, 25, 80, 10_000)] == [0.1, 2.5, 8.0, 8.0]
    assert Typing(10.0, 60.0).seconds(Text("a" * 10_000)) == MAX_TYPING, "whatever is stored"
    assert Typing(0.0).seconds(Text("a")) == 1.0, "a speed of nothing is a mistake, which must do no harm"
    assert Typing(10.0).seconds(File(MessageKind.IMAGE, url="https://a.example", caption="a" * 50)) == 0.0
    assert PaceLimits(BERLIN).typing_seconds(Text("a")) == 0.0
    assert PaceLimits.from_stored(BERLIN, typing_speed=2.0).typing_seconds(Text("abcd")) == 2.0
