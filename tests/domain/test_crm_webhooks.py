import pytest

from zapline.domain.crm_webhooks import (
    DISABLE_AFTER_DAYS,
    MAX_RETRY_AFTER,
    PAUSE_AFTER_FAILURES,
    DeliveryVerdict,
    endpoint_pause,
    retry_delay,
    verdict_of_status,
)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, DeliveryVerdict.DELIVERED) for status in (200, 202, 204, 299)),
        *((status, DeliveryVerdict.FAILED) for status in (100, 199, 301, 307, 400, 401, 404, 409, 429, 500, 503)),
        (410, DeliveryVerdict.GONE),
    ],
)
def test_each_status_has_one_verdict(status: int, verdict: DeliveryVerdict) -> None:
    assert verdict_of_status(status) is verdict


def test_retries_grow_apart_over_about_a_day_and_then_end() -> None:
    delays: list[float] = []
    while (delay := retry_delay(len(delays) + 1, spread=0.0)) is not None:
        delays.append(delay)
    assert delays[0] == 5.0
    assert delays == sorted(delays)
    assert 20 * 3600 < sum(delays) < 30 * 3600 < DISABLE_AFTER_DAYS * 86_400
    for failures, longest in enumerate(delays, 1):
        shortest = retry_delay(failures, spread=1.0)
        assert shortest is not None
        assert 0.7 * longest < shortest < longest


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    assert retry_delay(1, 0.0, retry_after=90.0) == 90.0
    assert retry_delay(1, 0.0, retry_after=1.0) == 5.0
    assert retry_delay(1, 0.0, retry_after=1e9) == MAX_RETRY_AFTER
    assert retry_delay(10, 0.0, retry_after=90.0) is None


def test_pauses_of_a_failing_endpoint_grow_up_to_a_minute() -> None:
    pauses = [endpoint_pause(failures) for failures in range(40)]
    assert pauses[:PAUSE_AFTER_FAILURES] == [0.0] * PAUSE_AFTER_FAILURES
    assert pauses[PAUSE_AFTER_FAILURES] > 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60.0
