"""Which windows of Evolution's store are read: without a hole, oldest first, and nothing from before the line."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.reconciliation_windows import (
    FIRST_SLACK,
    OVERLAP,
    WEBHOOK_HORIZON,
    Window,
    explained_by_gap,
    past_webhook_horizon,
    reading_start,
    split_into_windows,
)

NOW = 1_795_364_000.0
TIMES = st.floats(NOW - 1e6, NOW, allow_nan=False)


@given(TIMES, st.floats(0, 1e5), st.integers(1, 7200), st.integers(1, 200))
def test_windows_cover_every_second_once_oldest_first(since: float, length: float, span: int, most: int) -> None:
    windows = split_into_windows(since, since + length, span, most)
    assert windows[0].since == int(since)
    assert windows[-1].until == int(since + length)
    for earlier, later in pairwise(windows):
        assert later.since == earlier.until + 1
    assert len(windows) <= most
    if len(split_into_windows(since, since + length, span)) <= most:
        assert all(window.until - window.since < span for window in windows)


def test_a_run_that_ends_before_it_begins_reads_nothing() -> None:
    assert split_into_windows(NOW, NOW - 1) == []
    assert split_into_windows(NOW, NOW) == [Window(int(NOW), int(NOW))]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_window_is_cut_into_two_halves_without_a_hole_until_one_second_is_left(since: int, length: int) -> None:
    window = Window(since, since + length)
    halves = window.halves()
    if halves is None:
        assert length == 0
    else:
        older, newer = halves
        assert (older.since, newer.until) == (window.since, window.until)
        assert newer.since == older.until + 1


def test_a_window_does_not_end_before_it_begins() -> None:
    with pytest.raises(ValueError, match="before it begins"):
        Window(2, 1)


@pytest.mark.parametrize(
    ("watermark", "first", "gaps", "expected"),
    [
        (None, None, [], None),
        (NOW, None, [NOW - 5], None),
        (None, NOW - 9000, [NOW - 5], NOW - 9000 - FIRST_SLACK),
        (NOW, NOW - 9000, [], NOW - OVERLAP),
        (NOW, NOW - 9000, [None, NOW + 50], NOW - OVERLAP),
        (NOW, NOW - 9000, [NOW - 3000, NOW - 100], NOW - 3000 - OVERLAP),
        (NOW, NOW - 100, [NOW - 3000], NOW - 100 - FIRST_SLACK),
        (NOW, NOW - 9000, [float("-inf")], NOW - 9000 - FIRST_SLACK),
        # A clock that was ahead has dated the line.
        (None, NOW + 50, [], NOW + 50 - FIRST_SLACK),
        (None, NOW + 9000, [NOW - 5], NOW - WEBHOOK_HORIZON - OVERLAP),
        (NOW - 5000, NOW + 9000, [], NOW - 5000 - OVERLAP),
        (NOW - 5000, NOW + 9000, [NOW - 10], NOW - 5000 - OVERLAP),
        (NOW + 9000, NOW + 9000, [NOW - 10], NOW - OVERLAP),
    ],
)
def test_a_run_begins_before_whatever_is_missing_and_never_before_the_line(
    watermark: float | None, first: float | None, gaps: list[float | None], expected: float | None
) -> None:
    assert reading_start(watermark, first, gaps, NOW) == expected


def test_a_gap_explains_what_was_under_way_when_it_began() -> None:
    assert explained_by_gap(NOW, NOW)
    assert explained_by_gap(NOW - WEBHOOK_HORIZON, NOW)
    assert not explained_by_gap(NOW - WEBHOOK_HORIZON - 1, NOW)
    assert not explained_by_gap(NOW, None)


def test_a_webhook_may_come_until_evolution_gives_up() -> None:
    assert not past_webhook_horizon(NOW, NOW + WEBHOOK_HORIZON - 1)
    assert past_webhook_horizon(NOW, NOW + WEBHOOK_HORIZON)
