"""A unit's page: made, connected, scanned, paused, logged out and closed by an operator."""

from typing import Any

import trio
from support.console_operator import Operator


async def until(operator: Operator, path: str, *words: str, first: str = "") -> Any:
    """Look at ``path`` until its text begins with ``first`` and has each of ``words``."""
    with trio.fail_after(60):
        while True:
            page = await operator.get(path)
            text = page.visible_text
            if text.startswith(first) and all(word in text for word in words):
                return page
            await trio.sleep(0.05)


async def test_a_unit_is_made_connected_and_closed(api: Any, operator: Operator) -> None:
    await operator.get("/console/units/new")
    await operator.send("/console/units/new", {"name": "", "time_zone": "America/Bahia"}, 422)
    assert "1 to 200 characters" in operator.page.visible_text
    await operator.send("/console/units/new", {"name": "Loja", "instance": "loja", "time_zone": "No/Where"}, 422)
    await operator.send("/console/units/new", {"name": "Loja", "instance": "loja", "time_zone": "America/Bahia"})
    where = operator.answer.headers["location"]
    page = await operator.follow()
    assert "Loja is made." in page.visible_text
    assert "never been connected" in page.visible_text
    assert "Nothing since somebody last looked" in page.visible_text

    await operator.send(f"{where}/connect", {"number": "call me"})
    assert "a phone number holds digits" in (await operator.follow()).visible_text
    await operator.send(f"{where}/connect", {"number": "+55 (11) 99999-0001"})
    page = await until(operator, where, "valid for")
    assert f'src="{where}/qr.svg' in page.text
    picture = await operator.client.get(f"{where}/qr.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    await operator.client.post(f"{api.evolution.url}/_control/scan", json={"instance": "loja"})
    page = await until(operator, f"{where}/part/line", "Connected")
    assert "qr.svg" not in page.text
    await operator.get(f"{where}/qr.svg", 404)

    await operator.get(where)
    await operator.send(f"{where}/pause")
    assert "Paused by a person" in (await operator.follow()).visible_text
    await operator.send(f"{where}/resume")
    await operator.follow()

    rotate = f"{where}/rotate-secret"
    sent = dict((await operator.get(rotate)).forms[rotate])
    await operator.send(rotate)
    assert "new webhook secret" in (await operator.follow()).visible_text
    await operator.get(rotate)
    await operator.send(rotate, sent)  # the same form once more
    assert [row[0] for row in await api.sql("select secret_generation from zapline.unit_whatsapp_connections")] == [2]
    await operator.get(where)
    page = await operator.get(f"{where}/disconnect")
    assert "The phone is unlinked." in page.visible_text
    await operator.send(f"{where}/disconnect")
    page = await until(operator, where, "Not connected")

    await operator.get(f"{where}/archive")
    await operator.send(f"{where}/archive", {"name": "Loj"}, 422)
    assert "not the unit's name" in operator.page.visible_text
    await operator.send(f"{where}/archive", {"name": "Loja"})
    assert "Loja is closed." in (await operator.follow()).visible_text
    await operator.get(where, 404)

    rows = await api.sql("select action, outcome from zapline.audit_log where actor_kind = 'admin' order by id")
    done = [row.action for row in rows if row.outcome == 200]
    wanted = ["create_unit", "connect", "pause_unit", "resume_unit", "rotate_secret", "disconnect", "archive_unit"]
    assert [action for action in done if action in wanted] == sorted([*wanted, "rotate_secret"], key=wanted.index)


async def test_the_tail_tells_what_happens_without_phones_or_texts(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    with api.feed.watch(unit.id):
        key = {"remoteJid": "5511999990001@s.whatsapp.net", "fromMe": False, "id": "3EB0AA"}
        data = {"key": key, "message": {"conversation": "segredo"}, "messageTimestamp": 1700000000}
        await api.send(unit, "messages.upsert", {**data, "pushName": "Bia", "messageType": "conversation"})
        page = await until(operator, f"/console/units/{unit.id}/part/activity", "text from")
    assert "****0001" in page.visible_text
    assert "99999" not in page.visible_text
    assert "segredo" not in page.visible_text
    page = await operator.get(f"/console/units/{unit.id}")
    assert "Last message in" in page.visible_text


async def test_lines_that_are_out_are_the_headline_and_come_back_together(api: Any, operator: Operator) -> None:
    units = []
    for name, instance in (("São João", "sao_joao"), ("Centro", "centro"), ("Praia", "praia")):
        made = await api.post("/units", {"name": name, "instance": instance, "timeZone": "UTC"}, 201)
        units.append(made["id"])
    page = await operator.get("/console/")
    assert "3 off" in page.visible_text
    assert page.text.index('id="units-title"') < page.text.index('class="rates"'), "units first, rates below"
    assert "São João" in (await operator.get("/console/part/units?q=sao")).visible_text
    assert "Centro" not in operator.page.visible_text
    await operator.get("/console/")
    await operator.send("/console/units/several", {"act": "connect"})
    assert "Choose the units first." in (await operator.follow()).visible_text
    await operator.send("/console/units/several", {"act": "explode", "unit": units[0]}, 422)
    await operator.get("/console/")
    for unit in units[:2]:
        await operator.send("/console/units/several", {"act": "connect", "unit": unit})
        assert operator.answer is not None
        assert operator.answer.headers["location"] == "/console/scan"
        await operator.get("/console/")
    await until(operator, "/console/scan/part", "valid for", "Then São João", first="Centro")  # by name, once both wait
    await operator.client.post(f"{api.evolution.url}/_control/scan", json={"instance": "centro"})
    with trio.fail_after(30):
        while "Centro" in (await operator.get("/console/scan/part")).visible_text:  # noqa: ASYNC110
            await trio.sleep(0.05)
    page = await until(operator, "/console/scan/part", "valid for")
    assert "It is the last one." in page.visible_text
    page = await operator.get("/console/part/verdict")
    assert "1 reconnecting, 1 connected, 1 off" in page.visible_text
    assert "Codes to scan" in page.visible_text, "one still waits for its scan"
    await operator.client.post(f"{api.evolution.url}/_control/close", json={"instance": "centro", "code": 401})
    page = await until(operator, "/console/part/verdict", "1 out")
    assert "Something is broken" in page.visible_text
    health = (await operator.client.get("/health")).json()
    assert (health["status"], health["checks"]["linesDown"]["verdict"]) == ("fail", "fail")
    assert health["checks"]["linesDown"]["explanation"].startswith("1 out, ")
    page = await operator.get("/console/part/units?state=out")
    assert "Centro" in page.visible_text
    assert "Praia" not in page.visible_text
    assert "out for 0 min" in page.visible_text
    assert f'formaction="/console/units/{units[1]}/connect"' in page.text
    await operator.get("/console/")
    await operator.send("/console/units/several", {"act": "pause", "unit": units[2]})
    assert "1 unit sends nothing now." in (await operator.follow()).visible_text
    assert "Praia" in (await operator.get("/console/part/units?state=paused&sort=queue")).visible_text
    line = f"/units/{units[1]}"
    told = await api.get(f"{line}/line-history", limit=3)
    assert [item["reason"] for item in told["items"]] == ["logged_out", "scan_completed", "waiting_scan"]
    assert [item["ended"] and item["ended"]["reason"] for item in told["items"]] == [
        None,
        "logged_out",
        "scan_completed",
    ]
    rest = await api.get(f"{line}/line-history", cursor=told["nextCursor"])
    assert ([item["phase"] for item in rest["items"]], rest["nextCursor"]) == (["connecting"], None)
    months = (await api.get(f"{line}/uptime", months=2))["months"]
    assert (len(months), sum(month["falls"] for month in months)) == (2, 1)
    assert months[0]["connectedSeconds"] + months[1]["connectedSeconds"] > 0
    csv = (await api.client.get(f"{line}/uptime.csv?months=1")).text.splitlines()
    assert csv[0].startswith("unit,name,month,uptime,")
    assert csv[1].startswith(f"{units[1]},Centro,{months[0]['month']},0.")
    await api.get(f"{line}/uptime", 422, months=14)
    page = await operator.get(f"/console/units/{units[1]}/history")
    assert "still so" in page.visible_text
    assert "unlinked this device" in page.visible_text
    assert "out 2 times" in (await operator.get(f"/console/units/{units[1]}")).visible_text, (
        "it waited for its scan, too"
    )
    assert "not known yet" in (await operator.get(f"/console/units/{units[2]}/part/week")).visible_text
    everything = (await operator.client.get("/console/uptime.csv")).text.splitlines()
    assert len(everything) == 1 + 2 * len(units)
    rows = await api.sql("select action, unit_id from zapline.audit_log where action in ('connect', 'pause_unit')")
    assert {(row.action, str(row.unit_id)) for row in rows} >= {("connect", units[0]), ("pause_unit", units[2])}
