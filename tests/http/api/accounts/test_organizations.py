"""Organizations and their tokens: which units they open, now and later, and that no other organization sees them."""

from typing import Any
from uuid import uuid4


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def organization(api: Any, name: str, *units: Any) -> str:
    made = await api.post("/organizations", {"name": name}, 201)
    for unit in units:
        await put(api, made["id"], unit)
    return str(made["id"])


async def put(api: Any, id: str, unit: Any, expect: int = 204) -> None:
    answer = await api.client.put(f"/organizations/{id}/units/{unit.id}")
    assert answer.status_code == expect, answer.text


async def mint(api: Any, id: str, *scopes: str, **more: object) -> dict[str, str]:
    body = {"label": "CRM", "scopes": scopes or ("read",), **more}
    return bearer((await api.post(f"/organizations/{id}/tokens", body, 201))["token"])


async def status(api: Any, token: dict[str, str], path: str) -> int:
    return int((await api.client.get(path, headers=token)).status_code)


async def test_a_token_opens_the_units_of_its_organization_those_that_come_later_too_and_no_others(api: Any) -> None:
    first, second, other = await api.add_unit("A"), await api.add_unit("B"), await api.add_unit("C")
    ours = await organization(api, " Rede ", first)
    theirs = await organization(api, "Outra", other)
    every, one = await mint(api, ours), await mint(api, ours, unitIds=[str(first.id)])
    foreign = await mint(api, theirs)
    units = f"/organizations/{ours}/units"
    assert (await api.get(f"/organizations/{ours}"))["name"] == "Rede"
    assert [await status(api, each, f"/units/{first.id}") for each in (every, one, foreign)] == [200, 200, 404]
    assert [await status(api, each, f"/units/{second.id}") for each in (every, one, foreign)] == [404, 404, 404]
    await put(api, ours, second)
    await put(api, ours, second)
    assert [await status(api, each, f"/units/{second.id}") for each in (every, one, foreign)] == [200, 404, 404]
    seen = [(await api.client.get(units, headers=each)).json()["items"] for each in (every, one)]
    assert [[unit["name"] for unit in items] for items in seen] == [["A", "B"], ["A"]]
    assert await status(api, foreign, units) == 404
    assert (await api.client.get(f"/organizations/{ours}", headers=one)).json()["units"] == 1
    rules = {"messages": 2, "days": 7, "sharedOptOuts": False}
    set_now = await api.client.put(f"/organizations/{ours}/campaign-rules", json=rules)
    assert (set_now.status_code, set_now.json()["campaignMessages"], set_now.json()["campaignDays"]) == (200, 2, 7)
    assert not (await api.client.get(f"/organizations/{ours}", headers=one)).json()["sharedOptOuts"]
    for half in ({"messages": 2, "days": None}, {"messages": None, "days": 7}, {"messages": 0, "days": 7}):
        assert (await api.client.put(f"/organizations/{ours}/campaign-rules", json=half)).status_code == 422
    page = (await api.client.get(units, headers=every, params={"limit": 1})).json()
    rest = (await api.client.get(units, headers=every, params={"cursor": page["nextCursor"]})).json()
    assert [unit["name"] for unit in page["items"] + rest["items"]] == ["A", "B"]
    await put(api, theirs, second, 409)
    assert (await api.client.delete(f"{units}/{second.id}")).status_code == 204
    assert [await status(api, each, f"/units/{second.id}") for each in (every, one, foreign)] == [404, 404, 404]
    await put(api, theirs, second)
    assert [await status(api, each, f"/units/{second.id}") for each in (every, one, foreign)] == [404, 404, 200]
    refused = await api.client.delete(f"/organizations/{ours}")
    assert (refused.status_code, refused.json()["code"]) == (409, "organization_in_use")
    assert (await api.client.delete(f"{units}/{first.id}")).status_code == 204
    closed = await api.add_unit("D")
    await put(api, ours, closed)
    await api.post(f"/units/{closed.id}/archive")
    assert (await api.get(f"/organizations/{ours}"))["units"] == 0, "a unit that is closed has left"
    assert (await api.client.delete(f"/organizations/{ours}")).status_code == 204
    assert [await status(api, each, "/admin/me") for each in (every, one, foreign)] == [401, 401, 200]


async def test_a_token_is_told_what_it_opens_acts_under_its_label_and_ends_at_once(api: Any) -> None:
    unit = await api.add_unit()
    id = await organization(api, "Rede", unit)
    tokens = f"/organizations/{id}/tokens"
    body = {"label": " CRM ", "scopes": ["control"], "unitIds": [str(unit.id)], "expiresInDays": 3}
    minted = await api.post(tokens, body, 201)
    assert (minted["kind"], minted["organizationId"], minted["unitIds"]) == ("organization", id, [str(unit.id)])
    mine = bearer(minted["token"])
    assert (await api.client.get("/admin/me", headers=mine)).json() == {
        "kind": "organization_token",
        "id": minted["id"],
        "name": "CRM",
        "unitId": None,
        "scopes": ["control"],
        "organizationId": id,
        "unitIds": [str(unit.id)],
        "roles": None,
    }
    assert (await api.client.post(f"/units/{unit.id}/pause", headers=mine)).status_code == 200
    line = (await api.get("/audit"))["items"][0]
    assert (line["actorKind"], line["actor"], line["unitId"]) == ("organization_token", "CRM", str(unit.id))
    (listed,) = (await api.get(tokens))["items"]
    assert listed["id"] == minted["id"]
    assert minted["token"] not in str(listed)
    await api.identity.store_last_uses()
    assert (await api.get(tokens))["items"][0]["lastUsedAt"] is not None
    other = await organization(api, "Outra")
    foreign = await api.client.delete(f"/organizations/{other}/tokens/{minted['id']}")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "token_not_found")
    assert (await api.client.delete(f"{tokens}/{minted['id']}")).status_code == 204
    assert await status(api, mine, f"/units/{unit.id}") == 401


async def test_a_token_that_makes_no_sense_is_not_made(api: Any) -> None:
    id = await organization(api, "Rede", await api.add_unit())
    for body, field in (
        ({"label": "x", "scopes": []}, "scopes"),
        ({"label": " ", "scopes": ["read"]}, "label"),
        ({"label": "x", "scopes": ["read"], "unitIds": []}, "unitIds"),
        ({"label": "x", "scopes": ["read"], "unitIds": [str(uuid4())]}, "unitIds"),
    ):
        refused = await api.post(f"/organizations/{id}/tokens", body, 422)
        assert refused["errors"][0]["field"].startswith(field), body
    assert (await api.get(f"/organizations/{id}/tokens"))["items"] == []
    assert (await api.post("/organizations", {"name": " "}, 422))["errors"][0]["field"] == "name"
    for path in (f"/organizations/{uuid4()}", f"/organizations/{uuid4()}/tokens"):
        assert (await api.get(path, 404))["code"] == "organization_not_found"
