"""A unit's limits over HTTP: defaults shown, all of them replaced, the sender told."""

from typing import Any
from uuid import uuid4

import msgspec

JSON = {"Content-Type": "application/json"}
DEFAULTS = {
    "perMinute": 60.0,
    "burst": 10,
    "gapSeconds": 1.0,
    "dailyCap": None,
    "warmUpFirst": None,
    "quietFrom": None,
    "quietUntil": None,
    "campaignSeconds": 2.0,
    "resendLanes": [],
    "typingSpeed": None,
    "typingLongest": 8.0,
    "timeZone": "America/Sao_Paulo",
}


async def test_limits_are_shown_with_their_defaults_and_replaced_as_a_whole(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("other")
    path = f"/units/{unit.id}/pace"
    assert await api.get(path) == DEFAULTS
    own = {
        "perMinute": 20.5,
        "burst": 3,
        "gapSeconds": 0,
        "dailyCap": 1000,
        "warmUpFirst": 50,
        "quietFrom": "21:30",
        "quietUntil": "07:00",
        "campaignSeconds": 4.5,
        "resendLanes": ["campaign", "reply", "campaign"],
        "typingSpeed": 6.5,
        "typingLongest": 12,
    }
    expected = {**DEFAULTS, **own, "resendLanes": ["campaign", "reply"]}
    assert await api.put(path, own) == expected
    assert await api.get(path) == expected
    assert api.repaced == [unit.id]
    assert await api.get(f"/units/{other.id}/pace") == DEFAULTS
    assert await api.put(path, {"burst": 5}) == {**DEFAULTS, "burst": 5}
    body = b'{"burst": 9e1, "dailyCap": 90.0, "campaignSeconds": 3.0}'
    whole = await api.client.put(path, content=body, headers=JSON)
    assert whole.json() == {**DEFAULTS, "burst": 90, "dailyCap": 90, "campaignSeconds": 3.0}


async def test_limits_that_make_no_sense_are_refused_by_field(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/pace"
    for body, field in [
        ({"perMinute": 0}, "perMinute"),
        ({"perMinute": "fast"}, "perMinute"),
        ({"burst": 0}, "burst"),
        ({"burst": 1.5}, "burst"),
        ({"burst": -0.0}, "burst"),
        ({"burst": 1e300}, "burst"),
        ({"burst": 5.0, "dailyCap": 1.5}, "dailyCap"),
        ({"gapSeconds": -1}, "gapSeconds"),
        ({"dailyCap": 0}, "dailyCap"),
        ({"warmUpFirst": 0}, "warmUpFirst"),
        ({"quietFrom": "21:30"}, "quietUntil"),
        ({"quietUntil": "07:00"}, "quietFrom"),
        ({"quietFrom": "24:00", "quietUntil": "07:00"}, "quietFrom"),
        ({"quietFrom": "7:00", "quietUntil": "08:00"}, "quietFrom"),
        ({"quietFrom": "07:00", "quietUntil": "07:00"}, "quietUntil"),
        ({"campaignSeconds": 0}, "campaignSeconds"),
        ({"resendLanes": ["all"]}, "resendLanes"),
        ({"typingSpeed": 0}, "typingSpeed"),
        ({"typingLongest": 16}, "typingLongest"),
        ({"speed": 1}, "speed"),
    ]:
        answer = await api.client.put(path, content=msgspec.json.encode(body))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), body
    assert await api.get(path) == DEFAULTS
    assert api.repaced == []
    assert (await api.get(f"/units/{uuid4()}/pace", 404))["code"] == "unit_not_found"
    assert (await api.put(f"/units/{uuid4()}/pace", {}, 404))["code"] == "unit_not_found"
