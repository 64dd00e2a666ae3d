"""What a request must be before its handler sees it, and the tags of answers that are polled."""

from typing import Any

TEXT = {"message": {"conversation": "oi"}, "messageType": "conversation", "pushName": "Ana"}


def message(id: str, at: int, phone: str = "5511999990001") -> dict[str, object]:
    key = {"id": id, "remoteJid": f"{phone}@s.whatsapp.net", "fromMe": False}
    return {"key": key, "messageTimestamp": at, **TEXT}


async def test_a_parameter_that_is_not_known_or_is_given_twice_is_refused_by_name(api: Any) -> None:
    unit = await api.add_unit()
    for path, field in (
        ("/units?colour=red", "colour"),
        ("/units?limit=1&limit=2", "limit"),
        (f"/units/{unit.id}?verbose=1", "verbose"),
        (f"/units/{unit.id}/campaigns?after=3", "after"),
        (f"/units/{unit.id}/conversations?updatedSince=yesterday", "updatedSince"),
        (f"/units/{unit.id}/conversations?updatedSince=2026-06-01T12:00:00", "updatedSince"),
    ):
        answer = await api.client.get(path)
        assert answer.status_code == 422, path
        problem = answer.json()
        assert [error["field"] for error in problem["errors"]] == [field]
        assert (problem["code"], problem["retryable"]) == ("invalid_request", False)
    answer = await api.client.get("/units?" + "x" * 500 + "=1", headers={"Authorization": ""})
    assert answer.status_code == 401, "who has no token learns nothing of what a route takes"
    assert len((await api.client.get("/units?" + "x" * 500 + "=1")).json()["errors"][0]["field"]) == 100
    assert (await api.client.get("/livez?probe=7")).status_code == 200


async def test_a_body_that_says_it_is_no_json_is_refused(api: Any) -> None:
    for media, status in (
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=utf-8", 201),
        ("application/merge-patch+json", 201),
        (None, 201),
    ):
        headers = {"Content-Type": media} if media else {}
        answer = await api.client.post("/units", content=b'{"name": "a"}', headers=headers)
        assert answer.status_code == status, media
        if status == 415:
            assert answer.json()["code"] == "unsupported_media_type"
    unit = await api.add_unit()
    nothing = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await api.client.post(f"/units/{unit.id}/whatsapp/disconnect", content=b"", headers=nothing)
    assert answer.status_code == 202, "a body that is not there is none of a wrong type"


async def test_who_polls_is_told_when_nothing_has_changed(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", message("A", 1_750_000_000))
    line = f"/units/{unit.id}"
    (conversation,) = (await api.get(f"{line}/conversations"))["items"]
    thread = f"{line}/conversations/{conversation['id']}/messages"
    (stored,) = (await api.get(thread))["items"]
    paths = [
        *("/units", line, f"{line}/whatsapp/status", f"{line}/conversations", thread, f"{line}/messages"),
        *(f"{line}/messages/{stored['id']}", f"{line}/outbox", f"{line}/campaigns"),
    ]
    tags = {}
    for path in paths:
        first = await api.client.get(path)
        tags[path] = first.headers["etag"]
        for value in (tags[path], f'"other", W/{tags[path]}', "*"):
            again = await api.client.get(path, headers={"If-None-Match": value})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tags[path]), path
            assert "content-type" not in again.headers
        other = await api.client.get(path, headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)
    await api.send(unit, "messages.upsert", message("B", 1_750_000_100))
    for path in (line, f"{line}/conversations", thread, f"{line}/messages"):
        changed = await api.client.get(path, headers={"If-None-Match": tags[path]})
        assert changed.status_code == 200, path
        assert changed.headers["etag"] != tags[path]
    missing = await api.client.get(f"{line}/messages/{unit.id}", headers={"If-None-Match": "*"})
    assert (missing.status_code, "etag" in missing.headers) == (404, False)


async def test_conversations_can_be_asked_for_since_a_time(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", message("A", 1_750_000_000, "5511999990001"))
    await api.send(unit, "messages.upsert", message("B", 1_750_000_100, "5511999990002"))
    path = f"/units/{unit.id}/conversations"
    later, earlier = (await api.get(path))["items"]
    assert (await api.get(path, updatedSince=earlier["lastMessageAt"]))["items"] == [later]
    assert (await api.get(path, updatedSince="2000-01-01T00:00:00-03:00"))["items"] == [later, earlier]
    assert (await api.get(path, updatedSince=later["lastMessageAt"]))["items"] == []
