"""What an operator holds tenants' tokens to, as callers and people in the console see it."""

from typing import Any

from support.console_operator import Operator

from zapline.domain.principals import Scope

PACE = {"perMinute": 30.0, "burst": 5, "gapSeconds": 2.0, "campaignSeconds": 5.0, "dailyCap": 1000}
BEYOND = {"perMinute": 30.5, "burst": 6, "gapSeconds": 1.9, "campaignSeconds": 4.9, "dailyCap": None}
URL = "https://crm.example.com/hook"


async def test_a_token_sets_what_the_operator_lets_it_and_an_administrator_what_he_likes(
    api: Any, operator: Operator
) -> None:
    none = await api.get("/admin/ceilings")
    assert set(none.values()) == {None}
    unit = await api.add_unit()
    scopes = frozenset({Scope.CONTROL})
    token = (await api.identity.mint_unit_token(unit.id, "t", scopes, "test", None)).token
    mine, path = {"Authorization": f"Bearer {token}"}, f"/units/{unit.id}/pace"
    before = await api.client.put(path, json=BEYOND, headers=mine)
    assert before.status_code == 200, "there is no ceiling yet"
    assert (await api.put("/admin/ceilings", {**PACE, "hooks": 1, "tokens": 2}))["dailyCap"] == 1000
    assert (await api.client.put(path, json=BEYOND, headers=mine)).status_code == 200, "it is no faster than it was"
    assert (await api.client.put(path, json=PACE, headers=mine)).status_code == 200
    for field, value in BEYOND.items():
        refused = await api.client.put(path, json={**PACE, field: value}, headers=mine)
        assert (refused.status_code, refused.json()["code"]) == (422, "above_ceiling"), field
        assert refused.json()["errors"][0]["field"] == field
        assert "operator" in refused.json()["errors"][0]["message"]
    assert (await api.get(path))["perMinute"] == 30, "nothing of it was stored"
    assert (await api.put(path, BEYOND))["perMinute"] == 30.5

    hooks = f"/units/{unit.id}/hooks"
    assert (await api.client.post(hooks, json={"url": URL}, headers=mine)).status_code == 201
    refused = await api.client.post(hooks, json={"url": URL}, headers=mine)
    assert (refused.status_code, refused.json()["code"]) == (409, "above_ceiling")
    await api.post(hooks, {"url": URL}, 201)

    tokens, new = f"/units/{unit.id}/tokens", {"label": "x", "scopes": ["read"]}
    second = await api.post(tokens, new, 201)
    assert (await api.post(tokens, new, 409))["code"] == "too_many_tokens"
    await operator.get(f"/console{tokens}")
    await operator.send(f"/console{tokens}", {"label": "x", "read": "on"}, 422)
    assert "revoke one first" in operator.page.visible_text
    assert (await api.client.delete(f"{tokens}/{second['id']}")).status_code == 204
    await operator.send(f"/console{tokens}", {"label": "y", "read": "on", "requests_per_minute": "7"}, 200)
    assert [row["requestsPerMinute"] for row in (await api.get(tokens))["items"]] == [7, None, None]

    # In the console; and what is changed there holds at once.
    page = await operator.get("/console/ceilings")
    for name, value in {"per_minute": "30", "campaign_seconds": "5", "daily_cap": "1000", "burst": "5"}.items():
        assert f'name="{name}" type="text" value="{value}"' in page.text, name
    await operator.send("/console/ceilings", {"per_minute": "much"}, 422)
    assert "Messages a minute: is a number" in operator.page.visible_text
    await operator.send("/console/ceilings", {"per_minute": "12,5", "requests_per_minute": "1000"})
    assert "Saved." in (await operator.follow()).visible_text
    assert await api.get("/admin/ceilings") == {**none, "perMinute": 12.5, "requestsPerMinute": 1000}
    answer = await api.client.get(path, headers=mine)
    assert answer.headers["RateLimit-Policy"] == '"token";q=1000;w=60'
