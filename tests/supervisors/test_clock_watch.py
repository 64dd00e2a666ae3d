"""The clock of this machine against the database's: off at the start, jumps while it runs, forward and back."""

import pytest

from zapline.supervisors.clock_watch import TOLERANCE, ClockWatch

DAY = 86_400.0


class Clocks:
    """Two clocks that a test sets; the database is right."""

    def __init__(self, off: float = 0.0) -> None:
        self.mono, self.off = 500.0, off
        self.watch = ClockWatch(lambda: self.true + self.off, lambda: self.mono)

    @property
    def true(self) -> float:
        return 1_795_364_000.0 + self.mono

    def compare(self, trip: float = 0.0) -> None:
        asked = self.mono
        self.mono += trip
        self.watch.compare(self.true - trip / 2, asked)


def test_before_the_first_comparison_nothing_is_sure() -> None:
    watch = Clocks().watch
    assert (watch.agrees(), watch.skew()) == (False, None)


@pytest.mark.parametrize("off", [40 * DAY, -40 * DAY, TOLERANCE + 1, -TOLERANCE - 1])
def test_a_clock_that_is_off_from_the_start_is_noticed_and_the_databases_time_is_used(off: float) -> None:
    clocks = Clocks(off)
    clocks.compare()
    clocks.mono += 7
    assert not clocks.watch.agrees()
    assert clocks.watch.skew() == pytest.approx(off)
    assert clocks.watch.now() == pytest.approx(clocks.true)


@pytest.mark.parametrize("jump", [3 * DAY, -3 * DAY])
def test_a_jump_is_noticed_at_once_and_so_is_its_end(jump: float) -> None:
    clocks = Clocks()
    clocks.compare()
    clocks.mono += 3
    assert clocks.watch.agrees()
    clocks.off = jump
    assert not clocks.watch.agrees()
    assert clocks.watch.now() == pytest.approx(clocks.true)
    clocks.compare()
    assert not clocks.watch.agrees()
    clocks.off = 0.0
    assert clocks.watch.agrees()


def test_small_differences_and_a_slow_answer_are_no_skew() -> None:
    clocks = Clocks(TOLERANCE / 2)
    clocks.compare(trip=20.0)
    assert clocks.watch.agrees()
    assert clocks.watch.now() == pytest.approx(clocks.true + TOLERANCE / 2)


def test_a_set_database_clock_counts_as_much_as_our_own() -> None:
    clocks = Clocks()
    clocks.compare()
    clocks.watch.compare(clocks.true + DAY, clocks.mono)
    assert not clocks.watch.agrees()


@pytest.mark.parametrize("jump", [3 * DAY, -3 * DAY])
@pytest.mark.parametrize("whose", ["machine", "database"])
def test_whichever_clock_jumps_time_goes_on_from_when_they_last_agreed(whose: str, jump: float) -> None:
    clocks = Clocks()
    clocks.compare()
    clocks.mono += 100
    if whose == "machine":
        clocks.off = jump
    else:
        clocks.watch.compare(clocks.true + jump, clocks.mono)
    assert not clocks.watch.agrees()
    clocks.mono += 100
    assert clocks.watch.now() == pytest.approx(clocks.true)
