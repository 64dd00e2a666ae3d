"""Destinations of alarms by the API: what is refused, what is shown, and that a test arrives by webhook and by line."""

import time
from typing import Any
from uuid import uuid4

from support.crm_receiver import crm_receiver

from zapline.domain.alarms.destinations import MAX_DESTINATIONS
from zapline.domain.alarms.incidents import Incident, Member, NoticeKind, Saying, Trouble
from zapline.sql.health import alarms
from zapline.supervisors.alarms.channels import AlarmText, SiblingLines, Telling

PATH = "/alarms/destinations"


async def test_a_test_arrives_signed_at_a_webhook_and_once_by_the_line_that_is_open(api: Any) -> None:
    down, up = await api.add_unit("Down"), await api.add_unit("Up")
    await api.connect_line(up)
    async with crm_receiver() as at:
        made = await api.post(PATH, {"kind": "webhook", "to": f"{at.url}/alarm?key=A1", "language": "es"}, 201)
        hook, secret = made["destination"], made["secret"]
        asked = {"kind": "line", "to": "(11) 98888-0001", "units": [str(down.id), str(up.id)]}
        line = (await api.post(PATH, asked, 201))["destination"]
        assert (hook["to"], line["to"]) == ("http://127.0.0.1/…", "****0001")
        for each in (hook, line):
            answer = await api.post(f"{PATH}/{each['id']}/test", {})
            assert answer == {"id": each["id"], "error": None}
        (call,) = at.calls
        assert call.path == "/alarm?key=A1"
        assert call.signed_with(secret)
        assert (call.payload["type"], call.payload["event"]) == ("info", "test")
        assert call.payload["title"] == "Prueba de las alarmas"
    (told,) = (await api.get(f"/units/{up.id}/messages"))["items"]
    assert told["text"].startswith("*Test of the alarms*")
    assert (await api.get(f"/units/{down.id}/messages"))["items"] == []
    lines, again = SiblingLines(api.roster.get, api.outgoing), Telling(uuid4(), None, None, time.time())
    for _ in range(2):
        await lines.tell([down.id, up.id], "+5511988880001", again, AlarmText("Again", "and again"))
    assert len((await api.get(f"/units/{up.id}/messages"))["items"]) == 2, "what is told again is the same message"
    assert (await api.post(f"{PATH}/{hook['id']}/test", {}))["error"] == "unreachable"
    listed = {each["id"]: each["error"] for each in (await api.get(PATH))["items"]}
    assert listed == {hook["id"]: "unreachable", line["id"]: None}
    await api._ask("DELETE", f"{PATH}/{hook['id']}", 204)
    await api._ask("DELETE", f"{PATH}/{hook['id']}", 404)
    await api.post(f"{PATH}/{hook['id']}/test", {}, 404)


async def test_what_cannot_be_told_is_refused_in_words_and_incidents_are_listed_page_by_page(api: Any) -> None:
    unit = str((await api.add_unit()).id)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"kind": "email", "to": "ana@example.com"}, "kind"),
        ({"kind": "email", "to": "ana@example.com\r\nBcc: x@example.com"}, "to"),
        ({"kind": "email", "to": "ana"}, "to"),
        ({"kind": "webhook", "to": "ftp://example.com"}, "to"),
        ({"kind": "webhook", "to": "https://example.com", "units": [unit]}, "units"),
        ({"kind": "line", "to": "(11) 98888-0001"}, "units"),
        ({"kind": "line", "to": "123", "units": [unit]}, "to"),
        ({"kind": "webhook", "to": "https://example.com", "language": "fr"}, "language"),
    ]
    for body, where in refused:
        answer = await api.post(PATH, body, 422)
        assert answer["errors"][0]["field"] == where, (body, answer)
    unknown = {"kind": "line", "to": "(11) 98888-0001", "units": [str(uuid4())]}
    assert (await api.post(PATH, unknown, 404))["code"] == "unit_not_found"
    for number in range(MAX_DESTINATIONS):
        await api.post(PATH, {"kind": "webhook", "to": f"https://example.com/{number}"}, 201)
    full = await api.post(PATH, {"kind": "webhook", "to": "https://example.com/more"}, 409)
    assert full["code"] == "too_many_alarm_destinations"
    async with api.engine_pool.connection() as conn, conn.transaction():
        for number in range(3):
            member = Member(Trouble(f"line:{number}", 1000.0, "Loja", "logged_out"), told=True)
            incident = Incident(uuid4(), 1000.0, 1000.0, (member,), 1, 1000.0 + number)
            await alarms.store_saying(conn, Saying(NoticeKind.ALARM, incident), [])
    first = await api.get("/alarms/incidents", limit=2)
    rest = await api.get("/alarms/incidents", cursor=first["nextCursor"])
    items = first["items"] + rest["items"]
    assert [each["members"][0]["key"] for each in items] == ["line:2", "line:1", "line:0"]
    assert rest["nextCursor"] is None
    assert items[0]["members"][0]["reason"] == "logged_out"
