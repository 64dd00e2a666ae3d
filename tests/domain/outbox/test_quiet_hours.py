import zoneinfo
from datetime import UTC, datetime, time
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.outbox.quiet_hours import QuietHours, day_began, next_day

LISBON = ZoneInfo("Europe/Lisbon")
BERLIN = ZoneInfo("Europe/Berlin")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NOW = 1_795_278_051.0


def at(text: str) -> float:
    """Seconds of an ISO time; UTC unless it names an offset."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


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
def test_an_end_that_occurs_twice_ends_at_its_second_occurrence(now: str) -> None:
    quiet = QuietHours(time(22), time(2, 30), BERLIN)
    assert quiet.end_after(at(now)) == at("2026-10-25T02:30:00+01:00")
    assert quiet.end_after(at("2026-10-25T02:30:00+01:00")) is None


def test_a_start_that_occurs_twice_starts_at_its_first_occurrence() -> None:
    quiet = QuietHours(time(2, 30), time(5), BERLIN)
    assert quiet.end_after(at("2026-10-25T02:29:59+02:00")) is None
    assert quiet.end_after(at("2026-10-25T02:30:00+02:00")) == at("2026-10-25T05:00:00+01:00")
    assert quiet.end_after(at("2026-10-25T02:10:00+01:00")) == at("2026-10-25T05:00:00+01:00")


def test_a_skipped_time_is_the_moment_of_the_change() -> None:
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
        local = datetime.fromtimestamp(now, BERLIN).time()
        inside = start <= local < end if start < end else local >= start or local < end
        assert not inside


def test_the_next_day_begins_at_local_midnight() -> None:
    assert next_day(at("2026-11-05T23:59:00-03:00"), SAO_PAULO) == at("2026-11-06T00:00:00-03:00")


def test_a_day_began_at_local_midnight_or_at_the_change_where_midnight_is_skipped() -> None:
    assert day_began(at("2026-11-05T23:59:00-03:00"), SAO_PAULO) == at("2026-11-05T00:00:00-03:00")
    assert day_began(at("2018-11-04T12:00:00-02:00"), SAO_PAULO) == at("2018-11-04T01:00:00-02:00")


def test_a_day_without_midnight_begins_at_the_clock_change() -> None:
    assert next_day(at("2018-11-03T20:00:00-03:00"), SAO_PAULO) == at("2018-11-04T01:00:00-02:00")


def test_the_rules_of_time_zones_come_from_the_pinned_package_alone() -> None:
    assert zoneinfo.TZPATH == ()
    listed = (files("tzdata") / "zones").read_text().split()
    assert zoneinfo.available_timezones() == set(listed)
