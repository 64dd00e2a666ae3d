import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.outbox.token_bucket import TokenBucket, Wait

NOW = 1_795_278_051.0


def test_a_full_bucket_allows_its_capacity_and_then_delays() -> None:
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
def test_no_window_holds_more_than_capacity_and_refill(rate: float, capacity: int, pauses: list[float]) -> None:
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
def test_a_token_is_available_when_the_wait_is_over(rate: float, tokens: int, spent: float) -> None:
    bucket = TokenBucket(20, rate, 20 - min(19.9, tokens + spent), NOW)
    result = bucket.take(NOW)
    if isinstance(result, Wait):
        assert result.until > NOW
        assert isinstance(bucket.take(result.until), TokenBucket)


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
def test_a_bucket_without_capacity_or_rate_is_refused(capacity: float, rate: float) -> None:
    with pytest.raises(ValueError, match="bucket"):
        TokenBucket(capacity, rate, 0, 0.0)
