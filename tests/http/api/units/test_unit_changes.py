"""Units over HTTP after they were made: settings, pause, secret, quarantine, archive, what they have to do."""

from typing import Any
from uuid import uuid4

import msgspec
import trio


async def patch(api: Any, path: str, body: object, expect: int = 200) -> Any:
    answer = await api.client.request("PATCH", path, content=msgspec.json.encode(body))
    assert answer.status_code == expect, answer.text
    return answer.json()


async def test_a_unit_is_renamed_and_its_settings_change_alone(api: Any) -> None:
    unit = await api.add_unit("Loja")
    resource = f"/units/{unit.id}"
    changed = await patch(api, resource, {"name": " Loja Centro ", "retentionDays": 90})
    assert (changed["name"], changed["retentionDays"], changed["timeZone"]) == (
        "Loja Centro",
        90,
        "America/Sao_Paulo",
    )
    changed = await patch(api, resource, {"timeZone": "America/Manaus"})
    assert (changed["name"], changed["retentionDays"], changed["timeZone"]) == ("Loja Centro", 90, "America/Manaus")
    assert api.repaced == [unit.id, unit.id]
    changed = await patch(api, resource, {"retentionDays": None})
    assert changed["retentionDays"] is None
    assert await api.get(resource) == changed
    for body, field in [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"timeZone": "Mars/Base"}, "timeZone"),
        ({"timeZone": "localtime"}, "timeZone"),
        ({"timeZone": "posixrules"}, "timeZone"),
        ({"timeZone": "right/America/Sao_Paulo"}, "timeZone"),
        ({"retentionDays": 0}, "retentionDays"),
        ({"colour": "red"}, "colour"),
    ]:
        problem = await patch(api, resource, body, 422)
        assert [error["field"] for error in problem["errors"]] == [field]
    assert (await patch(api, resource, {"name": "  "}, 422))["code"] == "invalid_unit"
    assert (await patch(api, f"/units/{uuid4()}", {"name": "x"}, 404))["code"] == "unit_not_found"
    assert await api.get(resource) == changed


async def test_a_pause_is_kept_and_may_be_asked_twice(api: Any) -> None:
    unit = await api.add_unit()
    resource = f"/units/{unit.id}"
    with api.feed.watch(unit.id) as watcher:
        paused = await api.post(f"{resource}/pause")
        (payload,) = watcher.take()
    assert b'"paused":true' in payload.data
    assert paused["pausedAt"] is not None
    assert await api.post(f"{resource}/pause") == paused
    assert (await api.get(f"{resource}/whatsapp/status"))["pausedAt"] == paused["pausedAt"]
    assert (await api.sql("select paused_at from zapline.units"))[0].paused_at is not None
    assert unit.record.paused_at is not None
    assert (await api.post(f"{resource}/resume"))["pausedAt"] is None
    assert (await api.post(f"{resource}/resume"))["pausedAt"] is None
    assert unit.record.paused_at is None


async def test_a_secret_is_rotated_once_however_often_it_is_asked(api: Any) -> None:
    unit = await api.add_unit()
    rotate = f"/units/{unit.id}/rotate-secret"
    before = unit.record.secret_digest
    first = await api.post(rotate, {"generation": 2})
    assert (first["secretGeneration"], first["previousValidUntil"] is not None) == (2, True)
    assert await api.post(rotate, {"generation": 2}) == first
    assert unit.record.previous_digest == before
    assert (await api.post(rotate, {"generation": 4}, 409))["code"] == "secret_changed"
    assert (await api.post(rotate))["secretGeneration"] == 3
    assert f"{unit.id}3" not in str(await api.get(f"/units/{unit.id}"))


async def test_a_quarantine_is_ended_by_hand(api: Any) -> None:
    unit = await api.add_unit()
    unit.quarantined_at = trio.current_time()
    assert (await api.post(f"/units/{unit.id}/release"))["quarantined"] is False
    assert (await api.post(f"/units/{unit.id}/release"))["quarantined"] is False


async def test_an_archived_unit_is_listed_apart_and_archived_once(api: Any) -> None:
    unit, other = await api.add_unit("old"), await api.add_unit("new")
    assert (await api.get("/units", archived="true"))["items"] == []
    closed = await api.post(f"/units/{unit.id}/archive")
    assert closed["archivedAt"] is not None
    assert await api.post(f"/units/{unit.id}/archive") == closed
    assert [item["id"] for item in (await api.get("/units"))["items"]] == [str(other.id)]
    page = await api.get("/units", archived="true", limit=1)
    assert [(item["name"], item["archivedAt"]) for item in page["items"]] == [("old", closed["archivedAt"])]
    await api.post(f"/units/{other.id}/archive")
    page = await api.get("/units", archived="true", limit=1)
    rest = await api.get("/units", archived="true", limit=1, cursor=page["nextCursor"])
    assert [item["name"] for item in page["items"] + rest["items"]] == ["old", "new"]
    assert rest["nextCursor"] is None
    assert (await api.get("/units", 422, archived="1"))["errors"][0]["field"] == "archived"
    assert (await api.get(f"/units/{unit.id}", 404))["code"] == "unit_not_found"
    assert (await api.post(f"/units/{unit.id}/pause", None, 404))["code"] == "unit_not_found"
    assert (await api.post(f"/units/{uuid4()}/archive", None, 404))["code"] == "unit_not_found"


async def test_what_a_unit_has_to_do_is_counted(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("other")
    queue = f"/units/{unit.id}/queue"
    empty = await api.get(queue)
    assert set(empty.values()) == {0, None}
    await api.send(unit, "messages.upsert", "no object")
    sent = {"to": "+5511999990001", "text": "oi", "clientMessageId": "a"}
    await api.post(f"/units/{unit.id}/messages", sent, 202)
    result = await api.get(queue)
    assert (result["queued"], result["deadLetters"], result["uncertain"], result["dead"]) == (1, 1, 0, 0)
    assert result["oldestQueuedAt"] is not None
    assert result["lastInboundAt"] is None
    assert await api.get(f"/units/{other.id}/queue") == empty


async def test_held_campaigns_are_shown_and_released(api: Any) -> None:
    unit = await api.add_unit()
    resource = f"/units/{unit.id}"
    assert (await api.get(resource))["campaignsHeldAt"] is None
    await api.sql(
        "update zapline.units set campaigns_held_at = now(), campaigns_held_reason = 'whatsapp_refused_463'"
        " returning id"
    )
    await api.commands.reload()
    status = await api.get(f"{resource}/whatsapp/status")
    assert (status["campaignsHeldAt"] is None, status["campaignsHeldReason"]) == (False, "whatsapp_refused_463")
    with api.feed.watch(unit.id) as watcher:
        released = await api.post(f"{resource}/release-campaigns")
        (payload,) = watcher.take()
    assert (released["campaignsHeldAt"], released["campaignsHeldReason"]) == (None, None)
    assert b'"campaignsHeld":null' in payload.data
    assert api.repaced == [unit.id]
    assert (await api.post(f"{resource}/release-campaigns")) == released
    (row,) = await api.sql("select campaigns_released_at from zapline.units")
    assert row.campaigns_released_at is not None
    lines = await api.sql("select action, outcome from zapline.audit_log where action = 'release_campaigns'")
    assert [tuple(line) for line in lines] == [("release_campaigns", 200)] * 2
