"""What is set for a unit in the console, and what all have in common: settings, tokens, hooks, audit, health."""

import re
from typing import Any

import pytest
from support.console_operator import Operator

from zapline.sql.outbound import outbox_monitoring
from zapline.supervisors.health.health_history import HealthHistory
from zapline.supervisors.health.outbound_checks import OutboundReport
from zapline.supervisors.leadership import Leadership
from zapline.supervisors.outbound.outbox_monitor import OutboxTotals


async def test_settings_are_saved_and_what_does_not_fit_is_named(api: Any, operator: Operator) -> None:
    unit = await api.add_unit("Loja")
    where = f"/console/units/{unit.id}/settings"
    await operator.get(where)
    await operator.send(where, {"name": "Loja Nova", "time_zone": "America/Manaus", "retention_days": "90"})
    page = await operator.follow()
    assert "Saved." in page.visible_text
    assert 'value="America/Manaus"' in page.text
    await operator.send(where, {"name": "Loja Nova", "time_zone": "Mars/One", "retention_days": ""}, 422)
    assert "IANA time zone" in operator.page.visible_text
    await operator.send(where, {"name": "X", "time_zone": "UTC", "retention_days": "none"}, 422)
    assert "Days that messages are kept: is a number from 1 to 36500" in operator.page.visible_text
    assert 'value="none"' in operator.page.text, "what was typed is still there"

    limits = {"per_minute": "12,5", "burst": "3", "gap_seconds": "2", "campaign_seconds": "4", "daily_cap": "900"}
    await operator.send(f"{where}/pace", {**limits, "quiet_from": "21:00", "quiet_until": ""}, 422)
    assert "quiet hours have two ends" in operator.page.visible_text
    await operator.send(
        f"{where}/pace", {**limits, "quiet_from": "21:00", "quiet_until": "08:00", "resend_reply": "on"}
    )
    await operator.send(f"{where}/pace", {**limits, "quiet_from": "x", "quiet_until": "", "resend_campaign": "on"}, 422)
    for name, checked in (("resend_reply", False), ("resend_campaign", True)):
        assert (f'name="{name}" checked' in operator.page.text) is checked, "as it was sent"
    await operator.send(f"{where}/pace", {**limits, "quiet_from": "21:00", "quiet_until": "08:00"})
    pace = await api.get(f"/units/{unit.id}/pace")
    assert (pace["perMinute"], pace["burst"], pace["dailyCap"], pace["quietFrom"]) == (12.5, 3, 900, "21:00")


async def test_a_token_is_shown_once_and_revoked(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    where = f"/console/units/{unit.id}/tokens"
    assert "There is no token yet" in (await operator.get(where)).visible_text
    await operator.send(where, {"label": "CRM"}, 422)
    assert "at least one thing" in operator.page.visible_text
    page = await operator.send(where, {"label": "<b>CRM</b>", "read": "on", "days": "30"}, 200)
    token = re.search(r'value="(zl_[\w-]{43})"', page.text)
    assert token is not None
    assert "<b>CRM" not in page.text
    headers = {"Authorization": f"Bearer {token[1]}"}
    path = f"/units/{unit.id}"
    assert (await api.client.get(path, headers=headers)).status_code == 200
    page = await operator.get(where)
    assert token[1] not in page.text
    ask = next(link for link in page.links if link.endswith("/revoke"))
    await operator.get(ask)
    await operator.send(ask)
    assert "opens nothing any more" in (await operator.follow()).visible_text
    assert (await api.client.get(path, headers=headers)).status_code == 401


async def test_a_hook_is_made_tried_and_removed(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    where = f"/console/units/{unit.id}/hooks"
    assert "told of nothing yet" in (await operator.get(where)).visible_text
    await operator.send(where, {"url": "gopher://crm"}, 422)
    page = await operator.send(where, {"url": "http://127.0.0.1:9/zapline", "message.received": "on"}, 200)
    secret = re.search(r'value="(whsec_[^"]+)"', page.text)
    assert secret is not None
    (row,) = await api.sql("select id::text as id from zapline.hooks")
    one = f"{where}/{row.id}"
    page = await operator.get(one)
    assert secret[1] not in page.text
    assert "message.received" in page.visible_text
    await operator.send(f"{one}/test")
    assert "hook.test" in (await operator.follow()).visible_text
    page = await operator.send(f"{one}/rotate-key", expect=200)
    assert "generation 2" in page.visible_text
    await operator.get(f"{one}/delete")
    await operator.send(f"{one}/delete")
    assert "The hook is removed." in (await operator.follow()).visible_text
    await operator.get(one, 404)


async def test_opt_outs_are_added_and_taken_off(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    where = f"/console/units/{unit.id}/opt-outs"
    assert "Nobody has asked" in (await operator.get(where)).visible_text
    await operator.send(where, {"to": "(11) 99999-0001"})
    page = await operator.follow()
    assert "****0001 added by hand" in page.visible_text
    await operator.send(f"{where}/release")
    assert "may be written to this contact again" in (await operator.follow()).visible_text


async def test_the_audit_log_tells_who_did_what_to_which_unit(api: Any, operator: Operator) -> None:
    page = await operator.get("/console/audit")
    assert "Signed in" in page.visible_text
    assert '<option value="change_unit">Changed a unit</option>' in page.text
    await operator.get("/console/units/new")
    await operator.send("/console/units/new", {"name": "Nova", "time_zone": "UTC"})
    made = operator.answer.headers["location"].rpartition("/")[2]
    await api.post("/units", {"name": "Por API", "instance": "por_api"}, 201)
    page = await operator.get("/console/audit?action=create_unit")
    assert f'href="/console/audit?unit={made}">Nova</a>' in page.text
    assert ">Por API</a>" in page.text, "the unit had no id when the entry was begun"
    unit = await api.add_unit("Loja")
    other = await api.add_unit("Outra")
    for each in (unit, other):
        await operator.get(f"/console/units/{each.id}/settings")
        fields = {"name": f"{each.record.name} 2", "time_zone": "UTC", "retention_days": ""}
        await operator.send(f"/console/units/{each.id}/settings", fields)
    page = await operator.get(f"/console/audit?unit={unit.id}&action=change_unit")
    assert "name: Loja 2" in page.visible_text
    assert "Outra 2" not in page.visible_text.split("Changes, the latest first")[1]
    assert "No change is known" in (await operator.get("/console/audit?actor=nobody")).visible_text
    await operator.get("/console/audit?before=7&unit=%00%ff")


async def _no_lock(*_: object) -> Any:
    """The test takes its sample by hand, without the lock."""


async def test_health_explains_every_check_and_draws_the_day(api: Any, operator: Operator) -> None:
    old = "insert into zapline.health_samples values (now() - interval '8 days', 'pass', 0, 0, 0, 0) returning 1"
    await api.sql(old)
    api.counters.add("unknown_instances", amount=3)
    history = HealthHistory(api.engine_pool, api.health, Leadership(_no_lock, _no_lock, _no_lock))
    await history.sample(prune=True)
    await history.sample()
    (row,) = await api.sql(
        "select verdict, unknown_instances, at > now() - interval '2 minutes' as new from zapline.health_samples"
    )
    assert (row.verdict, row.unknown_instances, row.new) == ("warn", 3, True), "one a minute, and no old one"
    page = await operator.get("/console/health")
    for word in ("Webhooks that failed", "Lines lost", "Database", "reachable", "Uncertain messages", "Checks"):
        assert word in page.visible_text
    assert page.text.count('class="line" d="M') == 4, "one step of the day is drawn in each chart"
    assert len(re.findall(r"UTC: (?:0|0\.00%|3)</title>", page.text)) == 4, "and told where one points"
    assert "Something needs a look" in page.visible_text
    report = api.health.report(0.0)
    for check in (*report.rates, *report.checks):
        assert f'id="{check.name}"' in page.text
        assert f">{check.name}<" not in page.text, "each has a title of its own"


async def test_a_check_names_the_units_that_cause_it_to_who_is_signed_in(
    api: Any, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = {name: await api.add_unit(name) for name in ("Calma", "Atrasada", "Desligada", "Incerta")}
    for name, unit in units.items():
        body = {"clientMessageId": name, "to": "+5511999990001", "text": name}
        message = (await api.post(f"/units/{unit.id}/messages", body, 202))["id"]
        changes = "due_at = now() + interval '1 hour'" if name == "Calma" else "due_at = now() - interval '1 hour'"
        if name == "Incerta":
            changes = "state = 'uncertain', look_at = null"
        phase = "logged_out" if name == "Desligada" else "open"
        async with api.engine_pool.connection() as conn:
            await conn.execute(f"update zapline.outbox set {changes} where message_id = '{message}'")
            await conn.execute(
                f"update zapline.unit_whatsapp_connections set phase = '{phase}' where unit_id = '{unit.id}'"
            )
    async with api.engine_pool.connection() as conn:
        causes = await outbox_monitoring.list_causes(conn, 120.0)
        assert await outbox_monitoring.list_causes(conn, 2 * 3600.0) == {"waits_for_person": (units["Incerta"].id,)}
    assert causes == {"late": (units["Atrasada"].id,), "waits_for_person": (units["Incerta"].id,)}
    totals = OutboxTotals({("waits_for_person", "reply"): 1}, 3600.0, causes)
    monkeypatch.setattr(api.health, "_outbound", lambda: OutboundReport(totals))
    for path in ("/console/health", "/console/"):
        page = await operator.get(path)
        assert "Oldest waiting reply" in page.visible_text
        for name in ("Atrasada", "Incerta"):
            assert f'<a href="/console/units/{units[name].id}"><bdi>{name}</bdi></a>' in page.text
        if path == "/console/health":
            assert "under Sending what holds it" in page.visible_text
            assert "Calma" not in page.text
            assert "Desligada" not in page.text
    report = (await operator.client.get("/health")).text
    assert all(name not in report and str(unit.id) not in report for name, unit in units.items()), "open to all"


async def test_the_files_that_are_kept_are_chosen_and_their_room_is_shown(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    where = f"/console/units/{unit.id}/files"
    assert 'name="image" checked' not in (await operator.get(where)).text
    await operator.send(
        where, {"image": "on", "voice": "on", "max_bytes": "20", "quota_bytes": "100", "kept_days": "30"}
    )
    page = await operator.follow()
    assert "Saved." in page.visible_text
    assert 'name="image" checked' in page.text
    shown = await api.get(f"/units/{unit.id}/files")
    assert (shown["kinds"], shown["maxBytes"], shown["days"]) == (["image", "voice"], 20 * 2**20, 30)
    await operator.send(where, {"max_bytes": "200", "quota_bytes": "100"}, 422)
    assert "as many bytes as the quota" in operator.page.visible_text
    await operator.send(where, {"max_bytes": "", "quota_bytes": "100"}, 422)
    assert "Largest file, in MiB: is missing" in operator.page.visible_text
