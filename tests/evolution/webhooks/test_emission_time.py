"""When a webhook was sent: its own clock without the time zone, the same for each repetition."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.evolution.webhooks.envelope import emission_ms

SENT = datetime(2026, 11, 29, 17, 21, 42, 151_000, tzinfo=UTC)


def body(sent: datetime, zone_quarters: int) -> bytes:
    local = (sent + timedelta(minutes=15 * zone_quarters)).replace(tzinfo=None)
    return f'{{"event":"messages.update","date_time":"{local.isoformat(timespec="milliseconds")}Z"}}'.encode()


@given(zone=st.integers(-48, 56), late=st.floats(0, 440), again=st.floats(0, 440))
def test_every_repetition_has_the_time_of_the_first_in_every_zone(zone: int, late: float, again: float) -> None:
    sent = body(SENT, zone)
    times = {emission_ms(sent, SENT.timestamp() + delay) for delay in (late, again)}
    assert times == {round(SENT.timestamp() * 1000)}


@given(zone=st.integers(-48, 56), late=st.floats(0, 86_400))
def test_the_time_is_never_far_from_the_arrival(zone: int, late: float) -> None:
    arrived = SENT.timestamp() + late
    assert abs(emission_ms(body(SENT, zone), arrived) - arrived * 1000) <= 450_001


@pytest.mark.parametrize("text", [b"{}", b'{"date_time": null}', b'{"date_time":"2026-13-45T99:00:00.000Z"}', b"\xff"])
def test_a_body_without_a_time_was_sent_when_it_arrived(text: bytes) -> None:
    assert emission_ms(text, 1_800_000_000.5) == 1_800_000_000_500
