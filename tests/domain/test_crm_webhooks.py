"""What an answer to a webhook means, when it is tried again, and how it is signed."""

from base64 import b64decode
from uuid import UUID

import pytest

from zapline.domain.crm_webhook_signature import format_secret, sign_webhook, webhook_id
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
def test_a_status_means_one_thing(status: int, verdict: DeliveryVerdict) -> None:
    assert verdict_of_status(status) is verdict


def test_tries_grow_apart_over_about_a_day_and_then_end() -> None:
    waits: list[float] = []
    while (wait := retry_delay(len(waits) + 1, spread=0.0)) is not None:
        waits.append(wait)
    assert waits[0] == 5.0
    assert waits == sorted(waits)
    assert 20 * 3600 < sum(waits) < 30 * 3600 < DISABLE_AFTER_DAYS * 86_400
    for tries, longest in enumerate(waits, 1):
        shortest = retry_delay(tries, spread=1.0)
        assert shortest is not None
        assert 0.7 * longest < shortest < longest


def test_a_crm_may_ask_for_more_time_but_not_for_ever() -> None:
    assert retry_delay(1, 0.0, retry_after=90.0) == 90.0
    assert retry_delay(1, 0.0, retry_after=1.0) == 5.0
    assert retry_delay(1, 0.0, retry_after=1e9) == MAX_RETRY_AFTER
    assert retry_delay(10, 0.0, retry_after=90.0) is None


def test_an_ill_crm_is_left_alone_for_longer_and_longer_up_to_a_minute() -> None:
    rests = [endpoint_pause(failures) for failures in range(40)]
    assert rests[:PAUSE_AFTER_FAILURES] == [0.0] * PAUSE_AFTER_FAILURES
    assert rests[PAUSE_AFTER_FAILURES] > 0
    assert rests == sorted(rests)
    assert rests[-1] == 60.0


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks' own documentation."""
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert format_secret(key) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    told = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert sign_webhook([key], *told) == right
    both = sign_webhook([b"newer", key], *told).split(" ")
    assert (len(both), both[1]) == (2, right)


def test_a_webhook_id_is_that_of_its_delivery() -> None:
    assert webhook_id(UUID(int=7)) == "msg_00000000-0000-0000-0000-000000000007"
