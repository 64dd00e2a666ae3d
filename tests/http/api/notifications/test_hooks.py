"""Hooks over HTTP: made, shown without their secret, tried, rotated, replayed and deleted."""

from typing import Any
from uuid import uuid4

import pytest
import trio
from support.crm_receiver import crm_receiver, response

from zapline.domain.principals import Scope
from zapline.supervisors.notifications.crm_webhook_commands import MAX_HOOKS


async def test_a_hook_is_made_tried_rotated_and_deleted(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}/hooks"
    async with crm_receiver() as at:
        created = await api.post(base, {"url": f"{at.url}/hook", "events": ["message.received"]}, 201)
        secret = created.pop("secret")
        assert secret.startswith("whsec_")
        resource = f"{base}/{created['id']}"
        assert await api.get(resource) == created
        assert (await api.get(base))["items"] == [created]
        assert (created["active"], created["events"], created["waiting"], created["dead"]) == (
            True,
            ["message.received"],
            0,
            0,
        )

        queued = await api.post(f"{resource}/test", {}, 202)
        (call,) = await at.wait_for_calls(1)
        assert (call.payload["type"], call.id) == ("hook.test", queued["webhookId"])
        assert call.signed_with(secret)
        message = {"key": {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "A1"}}
        message |= {"message": {"conversation": "oi"}, "messageType": "conversation", "messageTimestamp": 1_795_364_451}
        await api.send(unit, "messages.upsert", message)
        call = (await at.wait_for_calls(2))[1]
        (stored,) = (await api.get(f"/units/{unit.id}/messages"))["items"]
        content = call.payload["data"]
        assert (content["id"], content["text"], content["seq"]) == (stored["id"], "oi", stored["seq"])
        assert {name: content[name] for name in content.keys() & stored.keys()} == {
            name: stored[name] for name in content.keys() & stored.keys()
        }

        rotated = await api.post(f"{resource}/rotate-key", {})
        assert rotated["keyGeneration"] == 2
        assert rotated["previousKeyUntil"] is not None
        await api.post(f"{resource}/test", {}, 202)
        call = (await at.wait_for_calls(3))[2]
        assert call.signed_with(secret)
        assert call.signed_with(rotated["secret"])
        text = str([await api.get(path) for path in (resource, base, f"{resource}/deliveries")])
        dump = str(await api.sql("select * from zapline.hooks")) + str(
            await api.sql("select * from zapline.hook_deliveries")
        )
        for key in (secret, rotated["secret"]):
            assert key not in text
            assert key.removeprefix("whsec_") not in dump

        assert (await api.client.delete(resource)).status_code == 204
        assert (await api.get(resource, 404))["code"] == "hook_not_found"
        with trio.fail_after(30):
            while await api.sql("select * from zapline.hook_deliveries"):  # noqa: ASYNC110
                await trio.sleep(0.02)


async def test_deliveries_are_paged_and_replayed(api: Any) -> None:
    unit = await api.add_unit()
    async with crm_receiver() as at:
        at.respond("/hook", response(410))
        base = f"/units/{unit.id}/hooks"
        hook = await api.post(base, {"url": f"{at.url}/hook"}, 201)
        resource = f"{base}/{hook['id']}"
        await api.post(f"{resource}/test", {}, 202)
        result = await api.until(resource, lambda body: not body["active"] and body["dead"])
        assert (result["disabledReason"], result["dead"]) == ("gone", 1)
        (dead,) = (await api.get(f"{resource}/deliveries", state="dead"))["items"]
        assert (dead["event"], dead["tries"], dead["lastStatus"], dead["lastError"]) == (
            "hook.test",
            1,
            410,
            "status_410",
        )
        replay = f"{resource}/deliveries/{dead['id']}/replay"
        for path, body in (
            (f"{resource}/test", {}),
            (replay, {}),
            (f"{resource}/replay", {"since": "2020-01-01T00:00:00Z"}),
        ):
            assert (await api.post(path, body, 409))["code"] == "hook_disabled"
        at.respond("/hook", response(200))
        assert (await api.post(f"{resource}/enable", {}))["active"]
        assert (await api.post(f"{resource}/replay", {"since": "2020-01-01T00:00:00Z"}, 202)) == {"replayed": 1}
        await api.until(f"{resource}/deliveries", lambda page: page["items"][0]["state"] == "delivered")
        assert (await api.post(replay, {}, 202))["id"] == dead["id"]
        assert {call.id for call in await at.wait_for_calls(3)} == {dead["webhookId"]}
        assert (await api.post(f"{resource}/deliveries/{uuid4()}/replay", {}, 404))["code"] == "delivery_not_found"
        for _ in range(2):
            await api.post(f"{resource}/test", {}, 202)
        page = await api.get(f"{resource}/deliveries", limit=2)
        rest = await api.get(f"{resource}/deliveries", limit=2, cursor=page["nextCursor"])
        assert len({item["id"] for item in page["items"] + rest["items"]}) == 3
        assert rest["nextCursor"] is None
        assert (await api.get(f"{resource}/deliveries", 422, state="x"))["errors"][0]["field"] == "state"
        key = {"id": "A", "remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False}
        text = {"message": {"conversation": "oi"}, "messageType": "conversation", "messageTimestamp": 1_750_000_000}
        await api.send(unit, "messages.upsert", {"key": key, **text})
        (found,) = (await api.get(f"/units/{unit.id}/journeys", externalId="A"))["items"]
        path = f"/units/{unit.id}/messages/{found['id']}/journey"
        journey = await api.until(path, lambda body: body["steps"][-1]["step"] == "hook_delivered")
        assert [step["step"] for step in journey["steps"]][:3] == ["written", "received", "stored"]
        told = [journey["steps"][-1][name] for name in ("event", "tries", "status")]
        assert (journey["verdict"], told) == ("stored", ["message.received", 1, 200])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://crm.example.com/", "invalid_hook_url"),
        ("http://user:pass@crm.example.com/", "invalid_hook_url"),
        ("http://0177.1/hook", "invalid_hook_url"),
        ("x", "invalid_request"),
    ],
)
async def test_no_hook_is_made_for_what_is_no_address(api: Any, url: str, code: str) -> None:
    unit = await api.add_unit()
    assert (await api.post(f"/units/{unit.id}/hooks", {"url": url}, 422))["code"] == code


async def test_a_unit_has_hooks_of_its_own_and_only_so_many(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("Outra")
    base, elsewhere = f"/units/{unit.id}/hooks", f"/units/{other.id}/hooks"
    for number in range(MAX_HOOKS):
        created = await api.post(base, {"url": f"http://127.0.0.1:1/{number}"}, 201)
    assert (await api.post(base, {"url": "http://127.0.0.1:1/"}, 409))["code"] == "too_many_hooks"
    minted = await api.identity.mint_unit_token(unit.id, "t", frozenset({Scope.READ}), "test", None)
    for path in (base, f"{base}/{created['id']}"):
        seen = (await api.client.get(path, headers={"Authorization": f"Bearer {minted.token}"})).text
        assert '"http://127.0.0.1:1/..."' in seen
        assert created["url"] not in seen  # its path may be a secret of the CRM's
    theirs = f"{elsewhere}/{created['id']}"
    assert (await api.get(elsewhere))["items"] == []
    assert (await api.get(theirs, 404))["code"] == "hook_not_found"
    assert (await api.get(f"{theirs}/deliveries", 404))["code"] == "hook_not_found"
    for verb in ("test", "enable", "rotate-key"):
        assert (await api.post(f"{theirs}/{verb}", {}, 404))["code"] == "hook_not_found"
    assert (await api.client.delete(theirs)).status_code == 404
    assert (await api.post(base, {"url": "http://127.0.0.1:1/", "events": ["x"]}, 422))["code"] == "invalid_request"
