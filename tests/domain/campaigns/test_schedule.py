import random
from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from zapline.domain.campaigns.schedule import CampaignTiming, estimate_end
from zapline.domain.outbox.pacing import PaceLimits
from zapline.domain.outbox.quiet_hours import QuietHours

SAO_PAULO, NEW_YORK = ZoneInfo("America/Sao_Paulo"), ZoneInfo("America/New_York")


def at(text: str, zone: ZoneInfo = SAO_PAULO) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_the_window_and_the_units_quiet_hours_both_hold() -> None:
    timing = CampaignTiming(None, time(9), time(18))
    pace = PaceLimits(SAO_PAULO, quiet=QuietHours(time(12), time(13, 30), SAO_PAULO))
    for now, opens in [
        ("2026-11-23T08:59:59", "2026-11-23T09:00"),
        ("2026-11-23T09:00", "2026-11-23T09:00"),
        ("2026-11-23T12:10", "2026-11-23T13:30"),
        ("2026-11-23T18:00", "2026-11-24T09:00"),
    ]:
        assert timing.opens_at(pace, at(now)) == at(opens)
    assert CampaignTiming(None, time(12, 10), time(13)).opens_at(pace, at("2026-11-23T08:00")) is None
    night = CampaignTiming(None, time(22), time(2))
    assert night.opens_at(PaceLimits(SAO_PAULO), at("2026-11-23T01:00")) == at("2026-11-23T01:00")
    assert night.window_opens_at(SAO_PAULO, at("2026-11-23T02:00")) == at("2026-11-23T22:00")
    # The clocks go forward at 2 in the night of March 8, 2026: a window from 2:30 opens at the change.
    spring = CampaignTiming(None, time(2, 30), time(5))
    assert spring.opens_at(PaceLimits(NEW_YORK), at("2026-03-08T00:00", NEW_YORK)) == at("2026-03-08T03:00", NEW_YORK)


def test_a_slow_campaign_queues_single_messages_ahead_and_a_fast_one_hundreds() -> None:
    pace = PaceLimits(SAO_PAULO)
    assert CampaignTiming().queue_ahead(pace) == 10
    assert CampaignTiming(60.0).queue_ahead(pace) == 1
    assert CampaignTiming(1.0).queue_ahead(pace) == 10
    assert CampaignTiming().queue_ahead(PaceLimits(SAO_PAULO, campaign_seconds=0.001)) == 500
    assert CampaignTiming().due_at(5.0, 10.0, 0.5) == 10.0
    assert CampaignTiming(60.0).due_at(None, 10.0, 0.5) == 10.0
    assert [CampaignTiming(60.0).due_at(5.0, 10.0, spread) for spread in (0.0, 0.5, 1.0)] == [50.0, 65.0, 80.0]
    assert CampaignTiming(60.0).due_at(5.0, 500.0, 1.0) == 500.0


def test_the_end_is_estimated_from_pace_window_quiet_hours_cap_and_warm_up() -> None:
    start, pace = at("2026-11-23T08:00"), PaceLimits(SAO_PAULO)
    assert estimate_end(0, CampaignTiming(), pace, start) == start
    assert estimate_end(1, CampaignTiming(), pace, start) == start
    assert estimate_end(101, CampaignTiming(), pace, start) == start + 200
    assert estimate_end(101, CampaignTiming(10.0), pace, start) == start + 1000
    # A call a second at most, whatever the campaign wants.
    fast = PaceLimits(SAO_PAULO, campaign_seconds=0.01)
    assert estimate_end(61, CampaignTiming(), fast, start) == start + 60
    # An hour a day at one a minute: 60 on the first day, the 61st as the window opens again.
    hour = CampaignTiming(60.0, time(9), time(10))
    assert estimate_end(60, hour, pace, start) == at("2026-11-23T09:59")
    assert estimate_end(61, hour, pace, start) == at("2026-11-24T09:00")
    capped = PaceLimits(SAO_PAULO, daily_cap=100)
    assert estimate_end(250, CampaignTiming(), capped, start) == at("2026-11-25T00:00") + 49 * 2
    assert estimate_end(250, CampaignTiming(), capped, start, sent_today=90) == at("2026-11-26T00:00") + 39 * 2
    warming_up = PaceLimits(SAO_PAULO, warm_up_first=10)
    assert estimate_end(30, CampaignTiming(), warming_up, start) == at("2026-11-24T00:00") + 19 * 2
    assert estimate_end(31, CampaignTiming(), warming_up, start) == at("2026-11-25T00:00")
    assert estimate_end(31, CampaignTiming(), warming_up, start, 5, 5) == at("2026-11-25T00:00") + 5 * 2
    quiet = PaceLimits(SAO_PAULO, quiet=QuietHours(time(9), time(8), SAO_PAULO))
    assert estimate_end(1801, CampaignTiming(), quiet, start) == at("2026-11-24T08:00")
    never = PaceLimits(SAO_PAULO, quiet=QuietHours(time(9), time(18), SAO_PAULO))
    assert estimate_end(1, CampaignTiming(None, time(9), time(18)), never, start) is None
    assert estimate_end(100_000, CampaignTiming(), PaceLimits(SAO_PAULO, daily_cap=1), start) is None


@pytest.mark.slow
def test_an_estimate_always_ends_and_grows_with_the_count() -> None:
    chance = random.Random(7)
    for _ in range(150):
        hours = [time(chance.randrange(24), chance.choice((0, 30))) for _ in range(4)]
        zone = chance.choice((SAO_PAULO, NEW_YORK))
        pace = PaceLimits(
            zone,
            daily_cap=chance.choice((None, 3, 500)),
            warm_up_first=chance.choice((None, 1, 50)),
            quiet=chance.choice((None, QuietHours(hours[0], hours[1], zone))),
        )
        timing = CampaignTiming(chance.choice((None, 1.0, 90.0)), *chance.choice(((None, None), (hours[2], hours[3]))))
        start = at("2026-03-01T00:00", zone) + chance.random() * 1e7
        few, many = (estimate_end(count, timing, pace, start) for count in (1, 400))
        assert few is None or few >= start
        assert many is None or (few is not None and many > few)
