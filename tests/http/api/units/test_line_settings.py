"""How a line behaves: applied when it is made and changed, read back, set again where somebody changed it, or told."""

from typing import Any
from uuid import UUID, uuid4

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from zapline.domain.messages.facts import SendAnswered
from zapline.supervisors.outbound.read_receipts import ReplyReceipts

WANTED = {"rejectCalls": True, "callText": " Escreva, por favor. ", "ignoreGroups": True, "markRead": "on_arrival"}
PROXY = {"protocol": "socks", "host": "proxy.example.com", "port": 1080, "username": "loja", "password": "p@ss:w/rd"}
CREDENTIALS = ("p@ss", "p%40ss")


def of_evolution(api: Any, unit: Any) -> dict[str, Any]:
    return dict(api.evolution.instance(unit.record.instance).settings)


async def test_settings_are_applied_at_once_and_when_the_instance_is_made_and_read_back(
    api: Any, operator: Any
) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/whatsapp/settings"
    before = await api.get(path)
    assert (before["managed"], before["rejectCalls"], before["applied"]["checkedAt"]) == (False, False, None)
    stored = await api.put(path, WANTED)  # there is no instance yet: it gets them when it is made
    assert (stored["managed"], stored["callText"], stored["applied"]["checkedAt"]) == (
        True,
        "Escreva, por favor.",
        None,
    )
    await api.connect_line(unit)
    has = of_evolution(api, unit)
    assert (has["rejectCall"], has["msgCall"], has["groupsIgnore"]) == (True, "Escreva, por favor.", True)
    assert (has["readMessages"], has["alwaysOnline"], has["syncFullHistory"]) == (True, False, False)
    applied = (await api.get(path))["applied"]
    assert (applied["differences"], applied["restoredAt"], applied["error"]) == ([], None, None)
    assert [each["complete"] for each in (before["applied"], stored["applied"], applied)] == [False, False, True]
    api.evolution.instance(unit.record.instance).settings["readStatus"] = True
    changed = await api.put(path, {"alwaysOnline": True})
    assert changed["applied"]["differences"] == []
    has = of_evolution(api, unit)
    assert (has["rejectCall"], has["msgCall"], has["alwaysOnline"]) == (False, "", True)
    assert has["readStatus"] is True, "what no unit has stays as it is"

    # Somebody changes them on Evolution: the line's check sets them again, and tells.
    api.evolution.instance(unit.record.instance).settings |= {"alwaysOnline": False, "msgCall": "Oi"}
    await api.line_settings.check(unit)
    assert of_evolution(api, unit)["alwaysOnline"] is True
    assert of_evolution(api, unit)["msgCall"] == ""
    assert api.counters.totals[("line_settings_restored", "")] == 1
    assert (await api.get(path))["applied"]["restoredAt"] is not None
    observing = msgspec.json.encode({"webhookRegistration": "observe"})
    await api.client.request("PATCH", f"/units/{unit.id}", content=observing)
    api.evolution.instance(unit.record.instance).settings["alwaysOnline"] = False
    for _ in range(2):
        await api.line_settings.check(unit)
    assert of_evolution(api, unit)["alwaysOnline"] is False
    assert (await api.get(path))["applied"]["differences"] == ["alwaysOnline"]
    assert api.counters.totals[("line_settings_changed", "")] == 1, "it is told once"
    page = await operator.get(f"/console/units/{unit.id}/line-settings")
    assert "Not as wanted on Evolution: Always online, from the next connection on" in page.visible_text

    # In the console.
    where = f"/console/units/{unit.id}/line-settings"
    api.evolution.inject_fault("error", path="/settings/", status=400)
    await operator.send(where, {"always_online": "on", "mark_read": "asked"})
    assert "as soon as that can be reached" in (await operator.follow()).visible_text
    applied = (await api.get(path))["applied"]
    assert (applied["complete"], applied["checkedAt"]) == (False, None), "no older report is about what is new"
    api.evolution.clear_faults()
    await operator.send(where, {"call_text": "Oi", "mark_read": "asked"}, 422)
    assert "calls that are rejected" in operator.page.visible_text
    assert 'name="always_online" checked' not in operator.page.text, "it was unticked"
    await operator.send(where, {"reject_calls": "on", "call_text": "Oi", "mark_read": "on_reply"})
    assert "Saved, and set on Evolution." in (await operator.follow()).visible_text
    assert of_evolution(api, unit)["msgCall"] == "Oi"
    assert api.roster.get(unit.id).record.marks_read_on_reply


async def test_a_proxy_is_tried_by_evolution_and_its_credentials_are_shown_nowhere(api: Any, operator: Any) -> None:
    unit = await api.add_unit()
    await api.connect_line(unit)
    path, settings = f"/units/{unit.id}/whatsapp/proxy", f"/units/{unit.id}/whatsapp/settings"
    instance = api.evolution.instance(unit.record.instance)
    instance.settings["alwaysOnline"] = True
    set_so = await api.put(path, PROXY)
    shown = {"protocol": "socks", "host": "proxy.example.com", "port": 1080, "hasCredentials": True}
    assert (set_so["managed"], set_so["proxyManaged"], set_so["proxy"]) == (False, True, shown)
    assert instance.proxy["password"] == "p%40ss%3Aw%2Frd", "Evolution makes a URL of it as it is"
    assert instance.settings["alwaysOnline"] is True, "settings of which the unit says nothing stay"
    page = await operator.get(f"/console/units/{unit.id}/line-settings")
    (row,) = await api.sql("select sealed_proxy from zapline.line_settings")
    audited = str(await api.sql("select detail, target from zapline.audit_log"))
    told = msgspec.json.encode([set_so, await api.get(settings)]).decode()
    for secret in CREDENTIALS:
        assert secret not in told + page.text + audited
        assert secret.encode() not in bytes(row.sealed_proxy)
    # One that does not work is stored, and said to be refused; it is not offered again at every check.
    api.evolution.numbers.dead_proxies.add("dead.example.com")
    refused = await api.put(path, {**PROXY, "host": "dead.example.com"})
    assert (refused["applied"]["differences"], refused["applied"]["error"]) == (["proxy"], "proxy_refused")
    api.evolution.numbers.dead_proxies.clear()
    await api.line_settings.check(unit)
    assert instance.proxy["host"] == "proxy.example.com"
    assert (await api.get(settings))["applied"]["error"] == "proxy_refused"
    removed = (await api.client.delete(path)).json()
    assert (removed["proxyManaged"], removed["proxy"], removed["applied"]["differences"]) == (True, None, [])
    assert (instance.proxy["enabled"], instance.proxy["password"]) == (False, "")
    for more, field in (
        ({"host": "a b"}, "host"),
        ({"host": "user@evil.example"}, "host"),
        ({"port": 0}, "port"),
        ({"protocol": "https"}, "protocol"),
        ({"password": None}, "password"),
    ):
        answer = await api.client.put(path, content=msgspec.json.encode({**PROXY, **more}))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), more


async def test_a_reply_that_has_left_marks_its_conversation_as_read_where_the_unit_wants_it(api: Any) -> None:
    unit = await api.add_unit()
    await api.connect_line(unit)
    key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "3A1"}
    text = {"message": {"conversation": "oi"}, "messageType": "conversation", "messageTimestamp": 1_750_000_000}
    await api.send(unit, "messages.upsert", {"key": key, **text})
    reply = {"clientMessageId": "a", "to": "+5511999990001", "text": "bom dia"}
    sent = await api.post(f"/units/{unit.id}/messages", reply, 202)
    answer = SendAnswered(uuid4(), UUID(sent["id"]), 1, "sent", "settled", 0.0)
    receipts = ReplyReceipts(api.receipts, api.engine_pool, api.counters)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receipts.run)
        receipts.note(unit, answer)  # the unit does not want it
        await api.put(f"/units/{unit.id}/whatsapp/settings", {"markRead": "on_reply"})
        receipts.note(unit, msgspec.structs.replace(answer, outcome="uncertain"))
        await wait_all_tasks_blocked(0.01)
        assert not api.evolution.ledger.reads
        receipts.note(unit, answer)
        with trio.fail_after(60):
            while not api.counters.totals[("reply_receipts", "marked")]:  # noqa: ASYNC110 - a counter
                await trio.sleep(0.01)
        assert [read.id for read in api.evolution.ledger.reads] == ["3A1"]
        nursery.cancel_scope.cancel()
    assert (await api.sql("select read_up_to from zapline.conversations"))[0].read_up_to > 0
