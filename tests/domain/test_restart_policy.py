import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.restart_policy import GiveUp, Restart, RestartIntensity, decide_restart

FIVE_A_MINUTE = RestartIntensity(limit=5, period=60.0)


def test_a_first_crash_is_followed_by_a_quick_restart() -> None:
    assert decide_restart((), 10.0, FIVE_A_MINUTE) == Restart(0.1, (10.0,))


def test_the_delay_doubles_with_each_recent_crash() -> None:
    delays, crashes = [], ()
    for now in (1.0, 2.0, 3.0, 4.0, 5.0):
        verdict = decide_restart(crashes, now, FIVE_A_MINUTE)
        assert isinstance(verdict, Restart)
        delays.append(verdict.delay)
        crashes = verdict.crashes
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


def test_one_crash_above_the_limit_is_given_up() -> None:
    assert decide_restart((1.0, 2.0, 3.0, 4.0, 5.0), 6.0, FIVE_A_MINUTE) == GiveUp((1.0, 2.0, 3.0, 4.0, 5.0, 6.0))


def test_crashes_older_than_the_period_are_forgiven() -> None:
    verdict = decide_restart((1.0, 2.0, 3.0, 4.0, 50.0), 63.5, FIVE_A_MINUTE)
    assert verdict == Restart(pytest.approx(0.4), (4.0, 50.0, 63.5))


def test_a_limit_of_zero_allows_no_restart() -> None:
    assert decide_restart((), 1.0, RestartIntensity(0, 10.0)) == GiveUp((1.0,))


@given(st.integers(1, 50), st.floats(0.01, 1000))
def test_a_child_that_crashes_at_once_is_given_up_within_the_period(limit: int, period: float) -> None:
    allowed = RestartIntensity(limit, period)
    now, crashes = 0.0, ()
    for _ in range(limit):
        verdict = decide_restart(crashes, now, allowed)
        assert isinstance(verdict, Restart)
        assert verdict.delay > 0
        now, crashes = now + verdict.delay, verdict.crashes
    assert now <= period
    assert isinstance(decide_restart(crashes, now, allowed), GiveUp)


@pytest.mark.parametrize(("limit", "period"), [(-1, 10.0), (1, 0.0)])
def test_an_intensity_that_makes_no_sense_is_refused(limit: int, period: float) -> None:
    with pytest.raises(ValueError, match="intensity"):
        RestartIntensity(limit, period)
