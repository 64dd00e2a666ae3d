"""What a tenant's token may set: no faster than the operator lets it, or than there is already."""

from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.tenants.ceilings import AboveCeiling, Ceilings, Pace

FIELDS = {
    "per_minute": "perMinute",
    "burst": "burst",
    "daily_cap": "dailyCap",
    "gap_seconds": "gapSeconds",
    "campaign_seconds": "campaignSeconds",
}


def draw_pace(chance: Random) -> Pace:
    cap = chance.choice((None, chance.randint(1, 1000)))
    return Pace(chance.uniform(0.1, 60), chance.randint(1, 9), chance.uniform(0, 9), chance.uniform(0.1, 9), cap)


def draw_ceilings(chance: Random) -> Ceilings:
    drawn = draw_pace(chance)
    kept = [name for name in FIELDS if chance.random() < 0.6]
    return Ceilings(**{name: getattr(drawn, name) for name in kept})


@given(st.integers(0, 2**32))
def test_what_is_refused_is_above_its_ceiling_and_faster_than_it_is_now(seed: int) -> None:
    chance = Random(seed)
    limits, wanted, present = draw_ceilings(chance), draw_pace(chance), draw_pace(chance)
    limits.check_pace(present, present)
    limits.check_pace(
        Pace(
            per_minute=min(wanted.per_minute, limits.per_minute or inf),
            burst=min(wanted.burst, limits.burst or 1000),
            gap_seconds=max(wanted.gap_seconds, limits.gap_seconds or 0),
            campaign_seconds=max(wanted.campaign_seconds, limits.campaign_seconds or 0),
            daily_cap=limits.daily_cap,
        ),
        present,
    )
    try:
        limits.check_pace(wanted, present)
    except AboveCeiling as refused:
        (name,) = [name for name, field in FIELDS.items() if field == refused.field]
        asked, has, most = (getattr(each, name) for each in (wanted, present, limits))
        assert most is not None
        if name.endswith("seconds"):
            assert asked < min(has, most)
        else:
            asked, has = (inf if each is None else each for each in (asked, has))
            assert asked > max(has, most)
        allowed = replace(wanted, **{name: most})
        with_others = replace(present, **{name: getattr(allowed, name)})
        limits.check_pace(with_others, present)


def test_a_ceiling_of_a_day_wants_a_cap_and_says_how_much() -> None:
    present = Pace(20, 3, 2, 4, 100)
    with pytest.raises(AboveCeiling, match="at most 500") as refused:
        Ceilings(daily_cap=500).check_pace(replace(present, daily_cap=None), present)
    assert refused.value.field == "dailyCap"
    Ceilings(daily_cap=500).check_pace(replace(present, daily_cap=None), replace(present, daily_cap=None))
    assert [Ceilings(hooks=hooks).most_hooks(10) for hooks in (None, 0, 3, 10)] == [10, 0, 3, 10]
