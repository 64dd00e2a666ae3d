from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.outbox.quiet_hours import QuietHours, day_began, next_day
from zapline.domain.outbox.token_bucket import TokenBucket, Wait

LISBON = ZoneInfo("Europe/Lisbon")
BERLIN = ZoneInfo("Europe/Berlin")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NOW = 1_795_278_051.0


def at(text: str) -> float:
    """Seconds of an ISO time; UTC unless it names an offset."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def test_a_full_bucket_gives_its_capacity_and_then_makes_wait() -> None:
    bucket = TokenBucket(capacity=2, per_second=0.5, tokens=2, at=100.0)
    for _ in range(2):
        taken = bucket.take(100.0)
        assert isinstance(taken, TokenBucket)
        bucket = taken
    assert bucket.take(100.0) == Wait(102.0)
    assert isinstance(bucket.take(102.0), TokenBucket)


def test_a_bucket_never_holds_more_than_its_capacity() -> None:
    assert TokenBucket(3, 1.0, 0, 0.0).refilled(1e9).tokens == 3


def test_a_clock_that_went_back_refills_nothing() -> None:
    bucket = TokenBucket(1, 1.0, 0.0, 100.0)
    assert bucket.take(50.0) == Wait(101.0)


@given(st.floats(0.001, 50), st.integers(1, 20), st.lists(st.floats(0, 5), min_size=1, max_size=80))
def test_no_window_sees_more_than_capacity_and_refill(rate: float, capacity: int, pauses: list[float]) -> None:
    bucket, now, sent = TokenBucket(capacity, rate, capacity, NOW), NOW, []
    for pause in pauses:
        now += pause
        taken = bucket.take(now)
        if isinstance(taken, TokenBucket):
            bucket = taken
            sent.append(now)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            allowed = capacity + (sent[last] - sent[first]) * rate
            assert last - first + 1 <= allowed + 1e-3


@given(st.floats(0.001, 50), st.integers(1, 20), st.floats(0, 100))
def test_what_a_wait_promises_is_kept(rate: float, tokens: int, spent: float) -> None:
    bucket = TokenBucket(20, rate, 20 - min(19.9, tokens + spent), NOW)
    answer = bucket.take(NOW)
    if isinstance(answer, Wait):
        assert answer.until > NOW
        assert isinstance(bucket.take(answer.until), TokenBucket)


@given(
    st.integers(1, 10),
    st.floats(0.01, 10),
    st.lists(st.floats(0, 30), min_size=1, max_size=40),
    st.floats(0, 300),
)
def test_a_rebuilt_bucket_never_holds_more_than_the_true_one(
    capacity: int, rate: float, pauses: list[float], known: float
) -> None:
    bucket, now, sent = TokenBucket(capacity, rate, capacity, NOW), NOW, []
    for pause in pauses:
        now += pause
        taken = bucket.take(now)
        if isinstance(taken, TokenBucket):
            bucket = taken
            sent.append(now)
    rebuilt = TokenBucket.rebuilt(capacity, rate, sent, now - known, now)
    assert rebuilt.tokens <= bucket.refilled(now).tokens + 1e-4


def test_a_bucket_rebuilt_after_a_quiet_time_is_full() -> None:
    assert TokenBucket.rebuilt(5, 0.1, [], NOW - 50, NOW).tokens == 5


def test_a_bucket_rebuilt_from_long_enough_ago_has_the_true_level() -> None:
    assert TokenBucket.rebuilt(5, 0.1, [NOW - 20, NOW - 10, NOW - 10], NOW - 100, NOW).tokens == pytest.approx(4)


def test_a_restart_in_steady_traffic_does_not_refill_a_bucket() -> None:
    steady = [NOW - seconds for seconds in range(10)]
    assert TokenBucket.rebuilt(10, 1.0, steady, NOW - 10, NOW).tokens < 2


@pytest.mark.parametrize(("capacity", "rate"), [(0, 1.0), (1, 0.0)])
def test_a_bucket_that_never_gives_is_refused(capacity: float, rate: float) -> None:
    with pytest.raises(ValueError, match="bucket"):
        TokenBucket(capacity, rate, 0, 0.0)


NIGHT = QuietHours(time(22), time(7), BERLIN)


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-11-05T21:59:59+01:00", None),
        ("2026-11-05T22:00:00+01:00", "2026-11-06T07:00:00+01:00"),
        ("2026-11-06T06:59:59+01:00", "2026-11-06T07:00:00+01:00"),
        ("2026-11-06T07:00:00+01:00", None),
        # The nights in which the clocks change: 8 and 10 hours long.
        ("2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),
        ("2026-10-24T23:00:00+02:00", "2026-10-25T07:00:00+01:00"),
    ],
)
def test_quiet_hours_over_midnight(now: str, ends: str | None) -> None:
    assert NIGHT.end_after(at(now)) == (at(ends) if ends else None)


def test_quiet_hours_within_a_day() -> None:
    noon = QuietHours(time(12), time(13, 30), LISBON)
    assert noon.end_after(at("2026-07-01T12:00:00+01:00")) == at("2026-07-01T13:30:00+01:00")
    assert noon.end_after(at("2026-07-01T13:30:00+01:00")) is None


def test_equal_times_mean_no_quiet_hours() -> None:
    assert QuietHours(time(8), time(8), LISBON).end_after(NOW) is None


@pytest.mark.parametrize("now", ["2026-10-25T02:10:00+02:00", "2026-10-25T02:45:00+02:00", "2026-10-25T02:29:59+01:00"])
def test_an_end_that_comes_twice_is_over_at_its_second_coming(now: str) -> None:
    quiet = QuietHours(time(22), time(2, 30), BERLIN)
    assert quiet.end_after(at(now)) == at("2026-10-25T02:30:00+01:00")
    assert quiet.end_after(at("2026-10-25T02:30:00+01:00")) is None


def test_a_start_that_comes_twice_begins_at_its_first_coming() -> None:
    quiet = QuietHours(time(2, 30), time(5), BERLIN)
    assert quiet.end_after(at("2026-10-25T02:29:59+02:00")) is None
    assert quiet.end_after(at("2026-10-25T02:30:00+02:00")) == at("2026-10-25T05:00:00+01:00")
    assert quiet.end_after(at("2026-10-25T02:10:00+01:00")) == at("2026-10-25T05:00:00+01:00")


def test_a_time_that_is_left_out_is_the_moment_of_the_change() -> None:
    change = at("2026-03-29T01:00:00+00:00")
    ends = QuietHours(time(22), time(2, 30), BERLIN)
    assert ends.end_after(change - 1) == change
    assert ends.end_after(change) is None
    starts = QuietHours(time(2, 30), time(5), BERLIN)
    assert starts.end_after(change - 1) is None
    assert starts.end_after(change) == at("2026-03-29T05:00:00+02:00")


@given(st.integers(0, 2 * 366 * 24 * 60), st.times(), st.times())
def test_quiet_hours_end_later_and_are_then_over(minutes: int, start: time, end: time) -> None:
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    quiet = QuietHours(start, end, BERLIN)
    now = at("2026-01-01T00:00:00") + minutes * 60
    ends = quiet.end_after(now)
    if ends is not None:
        assert now < ends <= now + 25 * 3600
        assert quiet.end_after(ends) is None
    elif start != end:
        shown = datetime.fromtimestamp(now, BERLIN).time()
        inside = start <= shown < end if start < end else shown >= start or shown < end
        assert not inside


def test_the_next_day_begins_at_local_midnight() -> None:
    assert next_day(at("2026-11-05T23:59:00-03:00"), SAO_PAULO) == at("2026-11-06T00:00:00-03:00")


def test_a_day_began_at_local_midnight_or_where_midnight_is_left_out_at_the_change() -> None:
    assert day_began(at("2026-11-05T23:59:00-03:00"), SAO_PAULO) == at("2026-11-05T00:00:00-03:00")
    assert day_began(at("2018-11-04T12:00:00-02:00"), SAO_PAULO) == at("2018-11-04T01:00:00-02:00")


def test_a_day_without_midnight_begins_at_the_clock_change() -> None:
    assert next_day(at("2018-11-03T20:00:00-03:00"), SAO_PAULO) == at("2018-11-04T01:00:00-02:00")
