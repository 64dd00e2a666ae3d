"""One hook and one stream for all units of an organization: what they tell, from where on, and what they never tell."""

from typing import Any
from uuid import uuid4

import trio
from support.crm_receiver import crm_receiver, response
from support.event_stream import watching_path

SECRET = "canary-of-a-crm-5f0e"


async def organization(api: Any, *units: Any) -> str:
    made = await api.post("/organizations", {"name": "Rede"}, 201)
    for unit in units:
        await move(api, made["id"], unit)
    return str(made["id"])


async def move(api: Any, id: str, unit: Any, method: str = "PUT") -> None:
    answer = await api.client.request(method, f"/organizations/{id}/units/{unit.id}")
    assert answer.status_code == 204, answer.text


async def mint(api: Any, id: str, units: Any = None, *scopes: str) -> dict[str, str]:
    chosen = [str(unit.id) for unit in units] if units is not None else None
    body = {"label": "CRM", "scopes": scopes or ("read", "control"), "unitIds": chosen}
    return {"Authorization": f"Bearer {(await api.post(f'/organizations/{id}/tokens', body, 201))['token']}"}


async def arrive(api: Any, unit: Any, id: str, text: str = "oi") -> None:
    key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": id}
    content = {"message": {"conversation": text}, "messageType": "conversation", "messageTimestamp": 1_795_364_451}
    await api.send(unit, "messages.upsert", {"key": key, **content})


async def test_one_hook_is_told_of_all_units_also_of_those_that_come_later_and_of_no_others(api: Any) -> None:
    first, second, third, other = [await api.add_unit(name) for name in "ABCD"]
    ours, theirs = await organization(api, first, second), await organization(api, other)
    every, some, foreign = await mint(api, ours), await mint(api, ours, [first]), await mint(api, theirs)
    base = f"/organizations/{ours}/hooks"
    async with crm_receiver() as at:
        asked = {"url": f"{at.url}/all", "events": ["message.received"], "headers": {"Authorization": SECRET}}
        made = await api.client.post(base, json=asked, headers=every)
        assert made.status_code == 201, made.text
        hook = made.json()
        secret = hook.pop("secret")
        assert (hook["organizationId"], hook["unitIds"], hook["headerNames"]) == (ours, None, ["Authorization"])
        narrow = (
            await api.client.post(base, json={**asked, "url": f"{at.url}/some", "headers": {}}, headers=some)
        ).json()
        assert narrow["unitIds"] == [str(first.id)], "whoever has a token for one unit makes hooks for that one"
        for unit in (first, second, third, other):
            await arrive(api, unit, f"1{unit.id}")
        await move(api, ours, third)
        await arrive(api, third, "2")
        told = await at.wait_for_calls(3, "/all")
        assert [call.payload["data"]["unitId"] for call in told] == [str(unit.id) for unit in (first, second, third)]
        assert all(call.signed_with(secret) and call.headers["authorization"] == SECRET for call in told)
        assert [call.payload["data"]["unitId"] for call in await at.wait_for_calls(1, "/some")] == [str(first.id)]

        async def seen(token: dict[str, str], where: str = base) -> Any:
            answer = await api.client.get(where, headers=token)
            return answer.status_code if answer.status_code != 200 else answer.json()["items"]

        assert [each["id"] for each in await seen(every)] == [hook["id"], narrow["id"]]
        assert [each["id"] for each in await seen(some)] == [narrow["id"]]
        assert await seen(foreign) == 404
        assert await seen(foreign, f"/organizations/{theirs}/hooks") == []
        for token, where in (
            (some, base),
            (foreign, f"/organizations/{theirs}/hooks"),
            (every, f"/units/{first.id}/hooks"),
        ):
            for verb in ("test", "rotate-key", "enable"):
                refused = await api.client.post(f"{where}/{hook['id']}/{verb}", headers=token)
                assert (refused.status_code, refused.json()["code"]) == (404, "hook_not_found")
            assert await seen(token, f"{where}/{hook['id']}/deliveries") == 404
        assert len(await seen(every, f"{base}/{hook['id']}/deliveries")) == 3

        at.respond("/all", response(500))
        await arrive(api, second, "3")
        await at.wait_for_calls(4, "/all")
        await move(api, ours, second, "DELETE")
        await arrive(api, second, "4")
        await api.until(f"{base}/{hook['id']}", lambda body: body["waiting"] == 0)
        (left,) = await api.sql("select id, state from zapline.hook_deliveries where last_error = 'unit_left'")
        assert left.state == "dead"
        since = {"since": "2020-01-01T00:00:00Z"}
        assert await api.post(f"{base}/{hook['id']}/replay", since, 202) == {"replayed": 0}
        gone = await api.post(f"{base}/{hook['id']}/deliveries/{left.id}/replay", {}, 404)
        assert gone["code"] == "delivery_not_found"
        assert len(await seen(every, f"{base}/{hook['id']}/deliveries")) == 2, "of a unit that has left nothing is seen"
        dump = str(await api.sql("select h::text from zapline.hooks h")) + (await api.client.get(base)).text
        assert SECRET not in dump
        assert (
            await api.sql(
                "select 1 from zapline.hook_deliveries d where d.unit_id not in (select id from zapline.units)"
            )
            == []
        )


async def test_what_a_hook_is_asked_for_must_make_sense(api: Any) -> None:
    unit, other = await api.add_unit("A"), await api.add_unit("B")
    id = await organization(api, unit)
    token, base, url = await mint(api, id), f"/organizations/{id}/hooks", "http://127.0.0.1:1/"
    bad_headers = (
        {"Host": "x"},
        {"webhook-id": "x"},
        {"a b": "x"},
        {"x": "a\r\nb: c"},
        {"x": ""},
        {"X": "1", "x": "2"},
    )
    for body in (*({"url": url, "headers": each} for each in bad_headers), {"url": url, "unitIds": [str(other.id)]}):
        refused = await api.client.post(base, json=body, headers=token)
        assert refused.status_code == 422, body
        assert refused.json()["errors"][0]["field"].startswith(("headers", "unitIds"))
    refused = await api.post(base, {"url": url, "unitIds": [str(unit.id), str(other.id)]}, 422)
    assert refused["errors"][0]["field"] == "unitIds", "an administrator's hook would not be told of it either"
    assert len((await api.post(base, {"url": url, "unitIds": [str(unit.id)]}, 201))["unitIds"]) == 1
    empty = await organization(api)
    hook = await api.post(f"/organizations/{empty}/hooks", {"url": url}, 201)
    assert (await api.post(f"/organizations/{empty}/hooks/{hook['id']}/test", {}, 409))["code"] == "hook_without_units"
    made = await api.post(f"/units/{unit.id}/hooks", {"url": url, "headers": {"X-Key": SECRET}}, 201)
    assert (made["headerNames"], made["organizationId"]) == (["X-Key"], None)


async def test_a_hook_that_an_organization_made_for_a_unit_ends_when_the_unit_leaves(api: Any) -> None:
    unit = await api.add_unit("A")
    id = await organization(api, unit)
    base, asked = f"/units/{unit.id}/hooks", {"url": "http://127.0.0.1:1/"}
    made = await api.client.post(base, json=asked, headers=await mint(api, id))
    assert made.status_code == 201, made.text
    own = await api.post(base, asked, 201)
    await move(api, id, unit, "DELETE")

    async def shown() -> Any:
        return [(each["id"], each["disabledReason"]) for each in (await api.get(base))["items"]]

    theirs = made.json()["id"]
    assert await shown() == [(theirs, "unit_left"), (own["id"], None)]
    assert (await api.post(f"{base}/{theirs}/enable", {}, 409))["code"] == "hook_disabled"
    other = await organization(api, unit)
    seen = (await api.client.get(base, headers=await mint(api, other))).json()["items"]
    assert [each["url"] for each in seen] == ["http://127.0.0.1:1/...", "http://127.0.0.1:1/"], (
        "a path may hold a secret"
    )
    assert (await api.post(f"{base}/{theirs}/enable", {}, 409))["code"] == "hook_disabled", "it is not theirs"
    await move(api, other, unit, "DELETE")
    await move(api, id, unit)
    assert (await api.post(f"{base}/{theirs}/enable", {}, 200))["active"]
    await api.post(f"/organizations/{id}/hooks", asked, 201)
    await move(api, id, unit, "DELETE")
    for expected in (204, 404):
        assert (await api.client.delete(f"/organizations/{id}")).status_code == expected
    for answer in (
        await api.client.get(f"/organizations/{id}"),
        await api.client.put(f"/organizations/{id}/units/{unit.id}"),
    ):
        assert answer.status_code == 404
    assert await api.sql("select 1 from zapline.access_tokens where organization_id = '" + id + "'") == []
    (hook,) = await api.sql("select disabled_reason from zapline.hooks where organization_id is not null")
    assert hook.disabled_reason == "deleted"
    await api.sql("update zapline.hooks set disabled_at = now() - interval '2 hours' where organization_id is not null")
    with trio.fail_after(60):
        while await api.sql(f"select 1 from zapline.organizations where id = '{id}'"):  # noqa: ASYNC110 - another's work
            await trio.sleep(0.1)


async def test_events_of_a_time_are_delivered_once_more_under_their_ids(api: Any) -> None:
    first, second = await api.add_unit("A"), await api.add_unit("B")
    id = await organization(api, first, second)
    base = f"/organizations/{id}/hooks"
    await arrive(api, first, "1")  # before there was a hook
    async with crm_receiver() as at:
        hook = await api.post(base, {"url": f"{at.url}/hook", "events": ["message.received"]}, 201)
        await arrive(api, first, "2")
        await arrive(api, second, "3")
        told = [call.id for call in await at.wait_for_calls(2)]
        since, replay = "2020-01-01T00:00:00Z", f"{base}/{hook['id']}/replay-events"
        await api.until(f"{base}/{hook['id']}", lambda body: body["waiting"] == 0)
        assert await api.post(replay, {"since": since}, 202) == {"replayed": 3, "nextSeq": None}
        again = [call.id for call in (await at.wait_for_calls(5))[2:]]
        assert again[1:] == told
        assert again[0] not in told
        await api.until(f"{base}/{hook['id']}", lambda body: body["waiting"] == 0)
        only = {"since": since, "unitIds": [str(second.id)], "events": ["message.received"]}
        assert (await api.post(replay, only, 202))["replayed"] == 1
        assert (await at.wait_for_calls(6))[5].id == told[1]
        past = {"since": since, "until": "2020-01-02T00:00:00Z"}
        assert (await api.post(replay, past, 202))["replayed"] == 0
        assert (await api.post(replay, {**past, "until": since}, 422))["errors"][0]["field"] == "until"


async def test_one_stream_tells_of_all_units_and_goes_on_from_any_place(api: Any) -> None:
    first, second, third, other = [await api.add_unit(name) for name in "ABCD"]
    ours = await organization(api, first, second)
    await organization(api, other)
    every, some = await mint(api, ours), await mint(api, ours, [second])
    path = f"/organizations/{ours}/events"

    async def told(stream: Any, count: int) -> list[tuple[str, str]]:
        events = [await stream.next() for _ in range(count)]
        assert all(body["type"] == kind for kind, body in events)
        return [(kind, body["data"]["unitId"]) for kind, body in events]

    a, b, c = (str(unit.id) for unit in (first, second, third))
    async with watching_path(api, path, every) as stream, watching_path(api, path, some) as narrow:
        kind, hello = await stream.next()
        assert (kind, hello["organizationId"], sorted(hello["units"])) == ("hello", ours, sorted([a, b]))
        assert (await narrow.next())[1]["units"] == [b]
        for unit in (first, second, other, first):
            await arrive(api, unit, str(uuid4()))
        received = "message.received"
        assert await told(stream, 3) == [(received, a), (received, b), (received, a)]
        assert await told(narrow, 1) == [(received, b)]
        middle = stream.last_id
        await move(api, ours, third)
        await arrive(api, third, "later")
        assert await told(stream, 1) == [(received, c)]
        await move(api, ours, first, "DELETE")
        await arrive(api, first, "gone")
        await arrive(api, second, "here")
        assert await told(stream, 1) == [(received, b)]
        assert await told(narrow, 1) == [(received, b)]
    begin = str(hello["seq"])
    for headers, query, expected in (
        ({}, {"afterSeq": begin}, [(received, b), (received, c), (received, b)]),
        ({"Last-Event-ID": middle}, {}, [(received, c), (received, b)]),
        ({}, {"afterSeq": begin, "unitIds": f"{b},{uuid4()}"}, [(received, b), (received, b)]),
        ({}, {"afterSeq": begin, "events": "unit.status,message.received"}, [(received, b), (received, c)]),
    ):
        async with watching_path(api, path, {**every, **headers}, **query) as stream:
            assert (await stream.next())[0] == "hello"
            assert await told(stream, len(expected)) == expected, query
    async with watching_path(api, path, every, afterSeq=str(10**9)) as stream:
        assert [(await stream.next())[0] for _ in range(2)] == ["hello", "reset"]
    for query in ({"events": "x"}, {"unitIds": "x"}, {"afterSeq": "-1"}):
        assert (await api.client.get(path, headers=every, params=query)).status_code == 422
    async with watching_path(api, path, every) as stream:
        await stream.next()
        (minted,) = [
            each for each in (await api.get(f"/organizations/{ours}/tokens"))["items"] if each["unitIds"] is None
        ]
        assert (await api.client.delete(f"/organizations/{ours}/tokens/{minted['id']}")).status_code == 204
        await arrive(api, second, "after")
        with trio.fail_after(30):
            await stream.ends()
