import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.retry_policy import Backoff, DeadLetter, RetryAt, RetryPolicy

EXACT = Backoff(base=2.0, factor=3.0, cap=50.0, jitter=0.0)


def test_the_delay_grows_up_to_its_cap() -> None:
    assert [EXACT.delay(attempt, 0.7) for attempt in (1, 2, 3, 4, 5)] == [2.0, 6.0, 18.0, 50.0, 50.0]


def test_the_spread_takes_away_at_most_the_jitter() -> None:
    backoff = Backoff(base=10.0, factor=2.0, cap=100.0, jitter=0.5)
    assert backoff.delay(1, 0.0) == 10.0
    assert backoff.delay(1, 0.5) == 7.5
    assert backoff.delay(1, 1.0) == 5.0


def test_a_constant_delay_is_a_backoff_too() -> None:
    assert Backoff(base=5.0, factor=1.0, cap=60.0, jitter=0.0).delay(1000, 0.0) == 5.0


@given(
    attempt=st.integers(0, 10**9),
    spread=st.floats(0, 1),
    base=st.floats(0.001, 100),
    factor=st.floats(1, 10),
    more=st.floats(1, 1000),
    jitter=st.floats(0, 1),
)
def test_no_delay_is_negative_or_above_the_cap(
    attempt: int, spread: float, base: float, factor: float, more: float, jitter: float
) -> None:
    backoff = Backoff(base, factor, base * more, jitter)
    assert 0 <= backoff.delay(attempt, spread) <= backoff.cap
    assert backoff.delay(attempt, 0.0) <= backoff.delay(attempt + 1, 0.0) * (1 + 1e-9)


@pytest.mark.parametrize(
    "numbers", [(0, 2, 10, 0), (20, 2, 10, 0), (1, 0.5, 10, 0), (1, 2, 10, 1.5), (1, 2, float("inf"), 0)]
)
def test_a_backoff_that_makes_no_sense_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(*numbers)


def test_the_third_failure_of_three_is_the_last() -> None:
    policy = RetryPolicy(EXACT)
    assert policy.decide(1, 100.0, 0.0) == RetryAt(102.0)
    assert policy.decide(2, 100.0, 0.0) == RetryAt(106.0)
    assert policy.decide(3, 100.0, 0.0) == DeadLetter(3)
    assert policy.decide(4, 100.0, 0.0) == DeadLetter(4)


def test_a_policy_without_attempts_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RetryPolicy(EXACT, limit=0)
