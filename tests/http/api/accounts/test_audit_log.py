"""The audit log of the API: a line for every change, whatever came of it, none for all else, and no phone in it."""

from typing import Any

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.principals import Scope


async def test_every_change_leaves_who_what_where_and_what_came_of_it(api: Any) -> None:
    unit = await api.add_unit()
    resource = f"/units/{unit.id}"
    minted = await api.post(f"{resource}/tokens", {"label": "CRM", "scopes": ["send", "control"]}, 201)
    mine = {"Authorization": f"Bearer {minted['token']}"}
    await api.client.post(f"{resource}/suppressions", json={"to": "+5511999990001"}, headers=mine)
    await api.client.delete(f"{resource}/suppressions/+5511999990001", headers=mine)
    await api.client.put(f"{resource}/pace", json={"perMinute": "many"}, headers=mine)
    await api.client.post("/admin/login", json={"email": "ana@example.com", "password": "wrong"})
    await api.client.post("/admin/login", json={"email": "nobody@example.com", "password": "wrong"})
    lines = (await api.get("/audit"))["items"]
    payload = [(line["action"], line["actor"], line["outcome"]) for line in reversed(lines)]
    assert payload == [
        ("create_unit", "ana@example.com", 201),
        ("mint_token", "ana@example.com", 201),
        ("suppress", "CRM", 201),
        ("release_suppression", "CRM", 204),
        ("put_pace", "CRM", 422),
        ("sign_in", "ana@example.com", 401),
        ("sign_in", "unknown", 401),
    ]
    assert {line["source"] for line in lines} == {"127.0.0.1"}
    assert [line["unitId"] for line in lines[2:6]] == [str(unit.id)] * 4
    released, minting = lines[3], lines[5]
    assert (released["actorKind"], released["actorId"]) == ("unit_token", minted["id"])
    assert released["target"].endswith("****0001")
    assert minting["detail"] == {"id": minted["id"], "label": "CRM", "scopes": ["send", "control"]}
    assert all(line["endedAt"] >= line["at"] for line in lines)
    assert "99999" not in str(lines)
    assert minted["token"] not in str(lines)


async def test_what_changes_nothing_or_has_a_row_of_its_own_leaves_no_line(api: Any) -> None:
    unit = await api.add_unit()
    resource = f"/units/{unit.id}"
    before = (await api.get("/audit"))["items"]
    token = (await api.identity.mint_unit_token(unit.id, "r", frozenset({Scope.READ}), "test", None)).token
    sent = await api.client.post(
        f"{resource}/messages", json={"clientMessageId": "a", "to": "+5511999990001", "text": "x"}
    )
    assert sent.status_code == 202
    for method, path, headers in [
        ("GET", resource, {}),
        ("HEAD", resource, {}),
        ("POST", f"{resource}/campaigns/dry-run", {}),
        ("POST", f"{resource}/uploads", {}),
        ("POST", f"{resource}/pause", {"Authorization": ""}),
        ("POST", f"{resource}/pause", {"Authorization": f"Bearer {token}"}),
    ]:
        await api.client.request(method, path, headers=headers)
    assert (await api.get("/audit"))["items"] == before


async def test_the_log_is_read_in_pages_and_by_unit_actor_and_action(api: Any) -> None:
    units = [await api.add_unit(f"Loja {number}") for number in range(3)]
    await api.post(f"/units/{units[0].id}/pause", {})
    first = await api.get("/audit", limit=3)
    rest = await api.get("/audit", limit=3, cursor=first["nextCursor"])
    assert [line["action"] for line in first["items"] + rest["items"]] == ["pause_unit"] + ["create_unit"] * 3
    assert rest["nextCursor"] is None
    assert [line["action"] for line in (await api.get("/audit", unitId=units[0].id))["items"]] == ["pause_unit"]
    assert len((await api.get("/audit", action="create_unit", actor="ana@example.com"))["items"]) == 3
    assert (await api.get("/audit", actor="bia@example.com"))["items"] == []
    for bad_query in ({"unitId": "loja"}, {"actor": ""}, {"cursor": "x"}, {"limit": "0"}):
        await api.get("/audit", 422, **bad_query)


async def test_a_change_that_cannot_be_written_down_is_not_made(api: Any, monkeypatch: Any) -> None:
    unit = await api.add_unit()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr("zapline.supervisors.accounts.audit_log.audit_log.begin_entry", away)
    refused = await api.post(f"/units/{unit.id}/pause", {}, 503)
    assert refused["code"] == "database_unavailable"
    assert (await api.get(f"/units/{unit.id}"))["pausedAt"] is None


async def test_a_change_whose_outcome_cannot_be_written_down_stands(api: Any, monkeypatch: Any) -> None:
    unit = await api.add_unit()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr("zapline.supervisors.accounts.audit_log.audit_log.complete_entry", away)
    paused = await api.post(f"/units/{unit.id}/pause", {})
    assert paused["pausedAt"] is not None
    line = (await api.get("/audit"))["items"][0]
    assert (line["action"], line["outcome"], line["endedAt"]) == ("pause_unit", None, None)
