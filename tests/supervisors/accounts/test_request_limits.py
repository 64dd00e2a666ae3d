"""How many requests a token may make: told by headers, refused beyond, and given back over a minute."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from zapline.supervisors.accounts.request_limits import RequestLimits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_requests_come_back_over_a_minute_and_no_more_than_all_of_them() -> None:
    clock, token = Clock(), uuid4()
    limits = RequestLimits(clock)
    assert [limits.take(token, 60).wait for _ in range(61)] == [None] * 60 + [1]
    clock.now += 10
    assert [limits.take(token, 60).wait for _ in range(11)] == [None] * 10 + [1]
    clock.now += 600
    quota = limits.take(token, 60)
    assert (quota.limit, quota.remaining, quota.full_in, quota.wait) == (60, 59, 1, None)
    assert quota.headers == {"RateLimit-Policy": '"token";q=60;w=60', "RateLimit": '"token";r=59;t=1'}
    clock.now -= 5
    assert limits.take(token, 60).remaining == 58, "a clock that goes back gives and takes nothing"


def test_a_limit_that_changes_counts_what_was_used_in_proportion() -> None:
    limits, token = RequestLimits(Clock()), uuid4()
    for _ in range(50):
        limits.take(token, 100)
    assert limits.take(token, 10).remaining == 4
    assert limits.take(token, 1000).remaining == 399


def test_as_many_tokens_are_remembered_as_fit_those_that_asked_last() -> None:
    limits, tokens = RequestLimits(Clock(), most=3), [uuid4() for _ in range(4)]
    assert [limits.take(token, 1).wait for token in tokens[:3]] == [None] * 3
    assert limits.take(tokens[0], 1).wait == 60
    assert limits.take(tokens[3], 1).wait is None
    assert [limits.take(token, 1).wait for token in (tokens[0], tokens[2], tokens[3])] == [60, 60, 60]
    assert len(limits._buckets) == 3


@given(
    per_minute=st.integers(1, 1_000_000),
    steps=st.lists(st.floats(0, 90, allow_nan=False), min_size=1, max_size=40),
)
def test_who_waits_as_he_is_told_is_let_in_and_nobody_gets_more_than_the_limit(
    per_minute: int, steps: list[float]
) -> None:
    clock, token = Clock(), UUID(int=1)
    limits, begin, allowed = RequestLimits(clock), clock.now, 0
    for step in steps:
        clock.now += step
        quota = limits.take(token, per_minute)
        allowed += quota.wait is None
        assert 0 <= quota.remaining < per_minute
        assert 0 <= quota.full_in <= 60
        if quota.wait is not None:
            assert (1 <= quota.wait <= 60, quota.remaining) == (True, 0)
            clock.now += quota.wait
            assert limits.take(token, per_minute).wait is None
            allowed += 1
    assert allowed <= per_minute + (clock.now - begin) * per_minute / 60 + 1e-3
