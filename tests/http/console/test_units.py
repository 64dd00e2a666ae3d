"""A unit's page: made, connected, scanned, paused, logged out and closed by an operator."""

from typing import Any

import trio
from support.console_operator import Operator


async def until(operator: Operator, path: str, word: str) -> Any:
    with trio.fail_after(30):
        while word not in (page := await operator.get(path)).visible_text:  # noqa: ASYNC110 - it looks as a person would
            await trio.sleep(0.05)
    return page


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
