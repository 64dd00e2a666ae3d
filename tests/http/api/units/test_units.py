"""Units over HTTP: making, listing, connecting, and the status answer."""

import re
from typing import Any
from uuid import uuid4

import msgspec
import trio

STATUS_FIELDS = ["status", "reason", "qrCode", "connectedAt", "disconnectedAt", "qrUpdatedAt", "lastUpdate"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_unit_that_is_made_has_a_place_and_is_listed(api: Any) -> None:
    answer = await api.client.post("/units", content=b'{"name": " Loja Centro ", "timeZone": "America/Manaus"}')
    created = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/units/{created['id']}"
    assert (created["name"], created["status"], created["reason"]) == ("Loja Centro", "disconnected", "never_connected")
    assert created["instance"] == f"unit_{created['id']}"
    assert created["timeZone"] == "America/Manaus"
    assert created["webhookPath"] == "/webhooks/whatsapp/evolution/[MASKED]"
    assert await api.get(f"/units/{created['id']}") == created
    assert await api.get("/units") == {"items": [created], "nextCursor": None}


async def test_pages_of_units_are_whole_and_do_not_overlap(api: Any) -> None:
    created = [(await api.post("/units", {"name": f"u{number}"}, 201))["id"] for number in range(5)]
    seen, cursor, pages = [], None, 0
    while pages < 10:
        page = await api.get("/units", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [unit["id"] for unit in page["items"]]
        pages, cursor = pages + 1, page["nextCursor"]
        if cursor is None:
            break
    assert seen == created
    assert pages == 3


async def test_an_instance_belongs_to_one_unit(api: Any) -> None:
    await api.post("/units", {"name": "a", "instance": "loja"}, 201)
    problem = await api.post("/units", {"name": "b", "instance": "loja"}, 409)
    assert problem["code"] == "instance_taken"


async def test_a_line_is_paired_by_scanning_and_says_so_in_the_promised_form(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/whatsapp"
    before = await api.get(f"{path}/status")
    assert list(before)[:7] == STATUS_FIELDS
    assert (before["status"], before["reason"], before["qrCode"]) == ("disconnected", "never_connected", None)
    accepted = await api.post(f"{path}/connect", {}, 202)
    assert accepted["status"] == "connecting"
    pairing = await api.until(f"{path}/status", lambda status: status["qrCode"])
    assert pairing["reason"] == "waiting_scan"
    assert pairing["qrCode"].startswith("data:image/png;base64,")
    assert TIME.fullmatch(pairing["qrUpdatedAt"])
    assert TIME.fullmatch(pairing["qrExpiresAt"])
    picture = await api.client.get(f"{path}/qr.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    assert "<svg" in picture.text
    api.evolution.scan(unit.record.instance)
    opened = await api.until(f"{path}/status", lambda status: status["status"] == "connected")
    text = msgspec.json.encode({name: opened[name] for name in STATUS_FIELDS}).decode()
    assert re.fullmatch(
        r'{"status":"connected","reason":"scan_completed","qrCode":null,"connectedAt":"[^"]+Z",'
        r'"disconnectedAt":null,"qrUpdatedAt":"[^"]+Z","lastUpdate":"[^"]+Z"}',
        text,
    )
    no_code = await api.get(f"{path}/qr.svg", 404)
    assert no_code["code"] == "no_qr_code"
    closed = await api.post(f"{path}/disconnect", None, 202)
    assert (closed["status"], closed["reason"]) == ("disconnected", "disconnected")
    assert TIME.fullmatch(closed["disconnectedAt"])


async def test_a_number_asks_for_a_pairing_code(api: Any) -> None:
    unit = await api.add_unit()
    await api.post(f"/units/{unit.id}/whatsapp/connect", {"number": "+5511999990001"}, 202)
    result = await api.until(f"/units/{unit.id}/whatsapp/status", lambda status: status["pairingCode"])
    assert result["qrText"]
    assert unit.state.stored.number == "5511999990001"


async def test_what_a_unit_cannot_be_is_refused_by_field(api: Any) -> None:
    unit = await api.add_unit()
    for body, field in [
        (b'{"name": ""}', "name"),
        (b'{"name": 7}', "name"),
        (b"{}", "name"),
        (b'{"name": "a", "colour": "red"}', "colour"),
        (b'{"name": "a", "time_zone": "UTC"}', "time_zone"),
        (b'{"name": "a", "timeZone": "Mars/Base"}', "timeZone"),
        (b'{"name": "a", "timeZone": "../../etc/passwd"}', "timeZone"),
    ]:
        answer = await api.client.post("/units", content=body)
        assert answer.status_code == 422, body
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    for name in ("   ", "a\0b"):
        assert (await api.post("/units", {"name": name}, 422))["code"] == "invalid_unit"
    assert (await api.post("/units", {"name": "a", "instance": "a b"}, 422))["code"] == "invalid_unit"
    for number in ("12", "letters", "+55 11 99999", "99999-0001"):
        problem = await api.post(f"/units/{unit.id}/whatsapp/connect", {"number": number}, 422)
        assert problem["errors"][0]["field"] == "number"
    assert len((await api.get("/units"))["items"]) == 1


async def test_a_unit_that_is_not_there_is_a_problem(api: Any) -> None:
    for path in (f"/units/{uuid4()}", f"/units/{uuid4()}/whatsapp/status", f"/units/{uuid4()}/conversations"):
        assert (await api.get(path, 404))["code"] == "unit_not_found"
    assert (await api.get("/units/7", 404))["code"] == "not_found"


async def test_a_unit_known_from_the_snapshot_only_is_not_ready(api: Any) -> None:
    unit = await api.add_unit()
    state, unit.state = unit.state, None
    try:
        problem = await api.get(f"/units/{unit.id}/whatsapp/status", 503)
        assert (problem["code"], problem["retryable"]) == ("unit_not_ready", True)
        assert (await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 503))["code"] == "unit_not_ready"
        assert (await api.get(f"/units/{unit.id}"))["status"] is None
    finally:
        unit.state = state


async def test_a_quarantined_unit_says_so(api: Any) -> None:
    unit = await api.add_unit()
    unit.quarantined_at = trio.current_time()
    assert (await api.get(f"/units/{unit.id}/whatsapp/status"))["quarantined"] is True
    assert (await api.get(f"/units/{unit.id}"))["quarantined"] is True
    unit.quarantined_at = None
