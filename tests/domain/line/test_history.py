"""What a line was in a window: without gaps, to the second, across clock changes and clocks that were set back."""

import itertools
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.line.history import (
    LineChange,
    LinePeriod,
    LineUse,
    Span,
    last_days,
    last_months,
    segments,
    uptime,
    uptimes,
)
from zapline.domain.line.reasons import Phase, Reason

ZONE = ZoneInfo("America/Sao_Paulo")
START, END = 1_000_000.0, 1_086_400.0
changes = st.lists(
    st.builds(
        LineChange,
        number=st.just(0),
        at=st.floats(START - 10_000, END + 10_000),
        phase=st.sampled_from(Phase),
        reason=st.just(Reason.DISCONNECTED),
    ),
    max_size=8,
)


def change(at: float, phase: Phase) -> LineChange:
    return LineChange(1, at, phase, Reason.DISCONNECTED)


@given(changes)
def test_a_window_is_told_whole_and_without_gaps_whatever_the_clocks_said(found: list[LineChange]) -> None:
    parts = segments(found, START, END)
    assert (parts[0].start, parts[-1].end) == (START, END)
    assert all(one.end == other.start and one.use is not other.use for one, other in itertools.pairwise(parts))
    counted = uptime(found, START, END)
    assert sum((counted.connected, counted.out, counted.off, counted.unknown)) == pytest.approx(END - START)
    assert counted.share is None or 0 <= counted.share <= 1
    # In parts it is the same.
    cuts = [START, START + 100, START + 40_000, END]
    spans = [Span(date.min, one, other, other - one) for one, other in itertools.pairwise(cuts)]
    together = uptimes(found, spans)
    assert sum(each.falls for each in together) == counted.falls
    for name in ("connected", "out", "off", "unknown"):
        assert sum(getattr(each, name) for each in together) == pytest.approx(getattr(counted, name))


def test_only_time_in_which_somebody_wanted_the_line_counts() -> None:
    line = [
        change(START - 5, Phase.OPEN),
        change(START + 100, Phase.BACKING_OFF),
        change(START + 110, Phase.OPEN),
        change(START + 200, Phase.LOGGED_OUT),
        change(START + 290, Phase.PAIRING),
        change(START + 300, Phase.OPEN),
        change(START + 400, Phase.IDLE),
    ]
    counted = uptime(line, START, START + 1000)
    assert (counted.connected, counted.out, counted.off, counted.unknown, counted.falls) == (290, 110, 600, 0, 2)
    assert counted.share == pytest.approx(290 / 400)
    assert uptime([], START, END).share is None
    assert uptime(line[-1:], START + 500, END).share is None
    first = segments(line[1:], START, START + 200)[0]
    assert (first.use, first.end) == (LineUse.UNKNOWN, START + 100)


def test_a_period_never_lasts_less_than_nothing() -> None:
    back = LinePeriod(change(START, Phase.OPEN), change(START - 60, Phase.IDLE))
    assert back.seconds(END) == 0.0
    assert LinePeriod(change(START, Phase.OPEN), None).seconds(START + 5) == 5


def test_days_and_months_follow_each_other_and_end_now() -> None:
    now = datetime(2026, 11, 30, 15, tzinfo=UTC).timestamp()
    for spans in (last_days(7, now, ZONE), last_months(13, now, ZONE)):
        assert all(one.end == other.start for one, other in itertools.pairwise(spans))
        assert all(span.whole == span.end - span.start for span in spans[:-1])
        assert spans[-1].end == now
    assert [f"{span.first:%Y-%m}" for span in last_months(13, now, ZONE)][::6] == ["2025-11", "2026-05", "2026-11"]
    # The clocks of New York were set forward on 8 March 2026, and of the day before nothing was lost.
    march = last_days(3, datetime(2026, 3, 9, 20, tzinfo=UTC).timestamp(), ZoneInfo("America/New_York"))
    assert [span.whole / 3600 for span in march] == [24, 23, 24]
