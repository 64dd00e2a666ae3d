"""Dead letters over HTTP: listed without bodies, replayed once more."""

from typing import Any
from uuid import uuid4


async def test_dead_letters_are_listed_by_unit_and_page(api: Any) -> None:
    one, other = await api.add_unit("one"), await api.add_unit("other")
    for _ in range(3):
        await api.send(one, "messages.upsert", "no object")
    await api.send(other, "messages.upsert", "no object")
    everything = (await api.get("/dead-letters"))["items"]
    assert len(everything) == 4
    assert [letter["id"] for letter in everything] == sorted((letter["id"] for letter in everything), reverse=True)
    assert everything[0]["unitId"] == str(other.id)
    assert everything[0]["replayable"] is True
    assert "raw" not in everything[0]
    first = await api.get("/dead-letters", unitId=one.id, limit=2)
    second = await api.get("/dead-letters", unitId=one.id, limit=2, cursor=first["nextCursor"])
    assert len(first["items"] + second["items"]) == 3
    assert second["nextCursor"] is None
    assert {letter["unitId"] for letter in first["items"] + second["items"]} == {str(one.id)}
    assert (await api.get("/dead-letters", unitId=uuid4()))["items"] == []
    assert (await api.get("/dead-letters", 422, unitId="x"))["errors"][0]["field"] == "unitId"


async def test_a_replayed_letter_is_given_to_its_unit_again(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", "no object")
    (letter,) = (await api.get("/dead-letters"))["items"]
    assert letter["replayedAt"] is None
    assert await api.post(f"/dead-letters/{letter['id']}/replay", None, 202) == {"id": letter["id"], "replayed": True}
    found = await api.until("/dead-letters", lambda page: len(page["items"]) == 2)
    assert [one["replayedAt"] is not None for one in found["items"]] == [False, True]


async def test_what_cannot_be_replayed_is_a_problem(api: Any) -> None:
    unit = await api.add_unit()
    await api.intake.accept_too_large(unit, 999_999_999)
    found = await api.until("/dead-letters", lambda page: page["items"])
    (letter,) = found["items"]
    assert (letter["reason"], letter["replayable"], letter["size"]) == ("too_large", False, 999_999_999)
    assert (await api.post(f"/dead-letters/{letter['id']}/replay", None, 409))["code"] == "not_replayable"
    for id in (0, 987654, 2**63, 10**30):
        assert (await api.post(f"/dead-letters/{id}/replay", None, 404))["code"] == "dead_letter_not_found"
    assert (await api.post("/dead-letters/-1/replay", None, 404))["code"] == "not_found"
