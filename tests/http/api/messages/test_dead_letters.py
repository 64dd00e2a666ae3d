"""Dead letters over HTTP: listed without bodies, replayed once more."""

from base64 import b64decode
from typing import Any
from uuid import uuid4


async def test_dead_letters_are_listed_by_unit_and_page(api: Any) -> None:
    item, other = await api.add_unit("one"), await api.add_unit("other")
    for _ in range(3):
        await api.send(item, "messages.upsert", "no object")
    await api.send(other, "messages.upsert", "no object")
    everything = (await api.get("/dead-letters"))["items"]
    assert len(everything) == 4
    assert [dead_letter["id"] for dead_letter in everything] == sorted(
        (dead_letter["id"] for dead_letter in everything), reverse=True
    )
    assert everything[0]["unitId"] == str(other.id)
    assert everything[0]["replayable"] is True
    assert "raw" not in everything[0]
    first = await api.get("/dead-letters", unitId=item.id, limit=2)
    second = await api.get("/dead-letters", unitId=item.id, limit=2, cursor=first["nextCursor"])
    assert len(first["items"] + second["items"]) == 3
    assert second["nextCursor"] is None
    assert {dead_letter["unitId"] for dead_letter in first["items"] + second["items"]} == {str(item.id)}
    assert (await api.get("/dead-letters", unitId=uuid4()))["items"] == []
    assert (await api.get("/dead-letters", 422, unitId="x"))["errors"][0]["field"] == "unitId"


async def test_a_replayed_letter_is_given_to_its_unit_again(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", "no object")
    (dead_letter,) = (await api.get("/dead-letters"))["items"]
    assert dead_letter["replayedAt"] is None
    assert await api.post(f"/dead-letters/{dead_letter['id']}/replay", None, 202) == {
        "id": dead_letter["id"],
        "replayed": True,
    }
    result = await api.until("/dead-letters", lambda page: len(page["items"]) == 2)
    assert [item["replayedAt"] is not None for item in result["items"]] == [False, True]


async def test_what_cannot_be_replayed_is_a_problem(api: Any) -> None:
    unit = await api.add_unit()
    await api.intake.accept_too_large(unit, 999_999_999)
    result = await api.until("/dead-letters", lambda page: page["items"])
    (dead_letter,) = result["items"]
    assert (dead_letter["reason"], dead_letter["replayable"], dead_letter["size"]) == ("too_large", False, 999_999_999)
    assert (await api.post(f"/dead-letters/{dead_letter['id']}/replay", None, 409))["code"] == "not_replayable"
    for id in (0, 987654, 2**63, 10**30):
        assert (await api.post(f"/dead-letters/{id}/replay", None, 404))["code"] == "dead_letter_not_found"
    assert (await api.post("/dead-letters/-1/replay", None, 404))["code"] == "not_found"


async def test_a_units_letters_are_shown_raw_replayed_and_given_up_in_their_unit_alone(api: Any) -> None:
    unit, other = await api.add_unit("one"), await api.add_unit("other")
    await api.send(unit, "messages.upsert", "no object")
    await api.intake.accept(unit, "messages.upsert", b'{"event": "messages.upsert", "data": "\xff"}')
    mine, theirs = f"/units/{unit.id}/dead-letters", f"/units/{other.id}/dead-letters"
    result = await api.until(mine, lambda page: len(page["items"]) == 2)
    broken, dead_letter = result["items"]
    assert (await api.get(theirs))["items"] == []
    first = await api.get(mine, limit=1)
    assert [item["id"] for item in (await api.get(mine, cursor=first["nextCursor"]))["items"]] == [dead_letter["id"]]
    assert "no object" in (await api.get(f"{mine}/{dead_letter['id']}"))["text"]
    raw = await api.get(f"{mine}/{broken['id']}")
    assert raw["text"] is None
    assert b"\xff" in b64decode(raw["base64"])
    value = {"id": broken["id"], "givenUp": True}
    assert await api.post(f"{mine}/{broken['id']}/give-up") == value
    when = (await api.get(mine))["items"][0]["givenUpAt"]
    assert await api.post(f"{mine}/{broken['id']}/give-up") == value
    assert (await api.get(mine))["items"][0]["givenUpAt"] == when is not None
    assert (await api.get(f"/units/{unit.id}/queue"))["deadLetters"] == 1
    for path in (
        f"{theirs}/{dead_letter['id']}/replay",
        f"{theirs}/{dead_letter['id']}/give-up",
        f"{mine}/{2**63}/give-up",
    ):
        assert (await api.post(path, None, 404))["code"] == "dead_letter_not_found"
    assert (await api.get(f"{theirs}/{dead_letter['id']}", 404))["code"] == "dead_letter_not_found"
    await api.post(f"{mine}/{dead_letter['id']}/replay", None, 202)
    await api.until(mine, lambda page: len(page["items"]) == 3)
