"""Campaigns and suppressions over HTTP: as somebody who writes a CRM meets them."""

import csv
import io
from typing import Any
from uuid import uuid4

import trio

from zapline.http.api.campaigns.recipients import MAX_LIST

PLAN: dict[str, Any] = {"name": "Natal", "text": "Oi {{nome}}, {{oferta|oferta}}"}
CSV = {"Content-Type": "text/csv"}


def phone(number: int) -> str:
    return f"+55119{90_000_000 + number:08d}"


def items(count: int) -> list[dict[str, object]]:
    return [{"to": phone(number), "nome": f"N{number}"} for number in range(count)]


async def upload(api: Any, path: str, body: bytes, expect: int = 200, **headers: str) -> Any:
    answer = await api.client.post(path, content=body, headers=headers or CSV)
    assert answer.status_code == expect, answer.text
    return answer.json()


async def test_a_campaign_is_made_shown_and_controlled(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}/campaigns"
    requested = PLAN | {
        "recipients": [*items(2), {"telefone": "x", "nome": "Ana"}],
        "pace": 5,
        "window": {"from": "09:00", "until": "18:30"},
        "startAt": "2099-01-01T12:00:00Z",
        "clientCampaignId": "k1",
    }
    created = await api.post(base, requested, 201)
    assert created["state"] == "ready"
    assert created["content"] == {"type": "text", "text": PLAN["text"], "linkPreview": True}
    assert (created["pace"], created["window"]) == (5.0, {"from": "09:00", "until": "18:30"})
    assert (created["recipients"], created["counts"]["pending"], created["skipped"]) == (3, 2, {"invalid_phone": 1})
    assert set(created["counts"]) >= {
        "queued",
        "sending",
        "sent",
        "delivered",
        "read",
        "failed",
        "uncertain",
        "cancelled",
    }
    resource = f"{base}/{created['id']}"
    assert await api.get(resource) == created
    assert await api.post(base, requested, 200) == created
    refused = await api.post(base, requested | {"name": "x"}, 409)
    assert refused["code"] == "client_campaign_id_taken"
    assert (await api.post(f"{resource}/start"))["state"] == "scheduled"
    assert (await api.post(f"{resource}/start"))["state"] == "scheduled"
    assert (await api.post(f"{resource}/pause"))["state"] == "paused"
    assert (await api.post(f"{resource}/resume"))["state"] == "scheduled"
    assert (await api.post(f"{resource}/cancel"))["counts"]["cancelled"] == 2
    assert (await api.post(f"{resource}/start", None, 409))["code"] == "campaign_state"
    assert (await api.post(f"{resource}/retry-failed", None, 409))["code"] == "campaign_state"
    second = await api.post(base, PLAN, 201)
    assert (await api.post(f"{base}/{second['id']}/start", None, 409))["code"] == "no_recipients"
    page = await api.get(base, limit=1)
    assert [item["id"] for item in page["items"]] == [second["id"]]
    rest = await api.get(base, cursor=page["nextCursor"])
    assert ([item["id"] for item in rest["items"]], rest["nextCursor"]) == ([created["id"]], None)
    # What is another unit's is not there.
    other = await api.add_unit("Outra")
    reads = [("GET", path) for path in ("", "/recipients", "/failures.csv", "/results", "/results.csv")]
    for method, path in (*reads, ("POST", "/cancel")):
        answer = await api.client.request(method, f"/units/{other.id}/campaigns/{created['id']}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "campaign_not_found")
    assert (await api.post(f"/units/{uuid4()}/campaigns", PLAN, 404))["code"] == "unit_not_found"


async def test_a_campaign_with_a_file_keeps_its_url_to_itself(api: Any) -> None:
    unit = await api.add_unit()
    requested = {
        "name": "c",
        "image": {"url": "https://93.184.216.34/offer.jpg?signature=x", "caption": "Oi {{nome}}"},
        "recipients": items(1),
        "start": True,
    }
    created = await api.post(f"/units/{unit.id}/campaigns", requested, 201)
    assert created["state"] == "running"
    assert created["content"] == {
        "type": "image",
        "upload": None,
        "caption": "Oi {{nome}}",
        "fileName": None,
        "mimetype": None,
    }
    inside = requested | {"image": {"url": "https://192.168.0.1/a.jpg"}}
    assert (await api.post(f"/units/{unit.id}/campaigns", inside, 422))["code"] == "media_url_refused"
    lost = requested | {"image": {"upload": str(uuid4())}}
    assert (await api.post(f"/units/{unit.id}/campaigns", lost, 422))["code"] == "invalid_campaign"


async def test_a_field_that_does_not_fit_is_named(api: Any) -> None:
    unit = await api.add_unit()
    changes: list[tuple[dict[str, object], str]] = [
        ({"name": " "}, "name"),
        ({"text": None}, "text"),
        ({"image": {"url": "https://x.example/a"}}, "image"),
        ({"pace": 0.5}, "pace"),
        ({"window": {"from": "9h", "until": "18:00"}}, "window.from"),
        ({"window": {"from": "09:00", "until": "09:00"}}, "window.until"),
        ({"startAt": "2026-01-01"}, "startAt"),
        ({"recipients": [{"to": ["x"]}]}, "recipients"),
        ({"text": None, "linkPreview": True, "audio": {"url": "https://x.example/a"}}, "linkPreview"),
        ({"colour": 1}, "colour"),
    ]
    for change, field in changes:
        problem = await api.post(f"/units/{unit.id}/campaigns", PLAN | change, 422)
        assert problem["errors"][0]["field"].startswith(field), problem
    broken = await api.post(f"/units/{unit.id}/campaigns", PLAN | {"text": "Oi {{nome"}, 422)
    assert broken["code"] == "invalid_template"


async def test_a_dry_run_tells_what_would_become_of_it(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}/campaigns"
    await api.post(f"/units/{unit.id}/suppressions", {"to": phone(1)}, 201)
    payload = await api.post(f"{base}/dry-run", PLAN | {"recipients": [*items(3), {"to": phone(3)}, *items(1)]})
    assert (payload["received"], payload["accepted"]) == (5, 2)
    assert payload["skipped"] == {"opted_out": 1, "missing_variable": 1, "duplicate": 1}
    assert payload["skippedExamples"][1] == {
        "number": 4,
        "to": "****0003",
        "reason": "missing_variable",
        "detail": "nome",
    }
    assert payload["previews"][0] == {"to": "****0000", "text": "Oi N0, oferta"}
    assert payload["endsAt"] > payload["startsAt"]
    assert (await api.get(base))["items"] == []
    created = await api.post(base, PLAN, 201)
    payload = await upload(api, f"{base}/{created['id']}/recipients?dryRun=true", f"to,nome\n{phone(5)},Ana\n".encode())
    assert payload["accepted"] == 1
    assert (await api.get(f"{base}/{created['id']}"))["recipients"] == 0


async def test_a_list_is_uploaded_whole_or_not_at_all(api: Any) -> None:
    unit = await api.add_unit()
    created = await api.post(f"/units/{unit.id}/campaigns", PLAN, 201)
    resource = f"/units/{unit.id}/campaigns/{created['id']}"
    path = f"{resource}/recipients"
    lines = "".join(f"{phone(number)};José {number};{'x' * 450}\n" for number in range(2_500))
    body = ("telefone;nome;oferta\n" + lines).encode()
    assert len(body) > 1024 * 1024
    done = await upload(api, path, body)
    assert (done["list"]["accepted"], done["campaign"]["counts"]["pending"]) == (2_500, 2_500)
    assert done["campaign"]["state"] == "ready"
    for bad, status, code in (
        (b"nome;cidade\nAna;x\n", 422, "invalid_recipients"),
        (b"to,nome\n1,Jos\xe9\n", 422, "invalid_recipients"),
        (b"x" * (MAX_LIST + 1), 413, "body_too_large"),
    ):
        assert (await upload(api, path, bad, status))["code"] == code
    assert (await upload(api, path, b"x", 415, **{"Content-Type": "text/plain"}))["code"] == "unsupported_media_type"
    assert (await upload(api, path, b"x", 422, **{"Content-Type": "text/csv; charset=utf-16"}))["status"] == 422
    long = b'{"recipients": [' + b" " * 1024 * 1024 + b"]}"
    assert (await upload(api, path, long, 413, **{"Content-Type": "application/json"}))["code"] == "body_too_large"
    more = await api.post(path, {"recipients": [{"to": phone(2_500), "nome": "Ana"}]})
    assert (more["list"]["accepted"], more["campaign"]["recipients"]) == (1, 2_501)
    latin = {"Content-Type": "text/csv; charset=windows-1252"}
    await upload(api, path, "to,nome\n+5511988887777,José".encode("cp1252"), **latin)
    items, cursor = [], {}
    while True:
        page = await api.get(path, limit=200, state="pending", **cursor)
        items += page["items"]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert [item["number"] for item in items] == list(range(1, 2_503))
    assert items[2_500]["to"] == phone(2_500)
    assert items[-1] == {
        "number": 2_502,
        "to": "+5511988887777",
        "variables": {"nome": "José"},
        "state": "pending",
        "reason": None,
        "detail": None,
        "messageId": None,
        "sentAt": None,
    }
    await api.get(path, 422, state="lost")
    await api.get(path, 422, cursor="lost")


async def test_a_client_that_goes_away_leaves_nothing(api: Any) -> None:
    unit = await api.add_unit()
    created = await api.post(f"/units/{unit.id}/campaigns", PLAN | {"recipients": items(1)}, 201)
    resource = f"/units/{unit.id}/campaigns/{created['id']}"
    host, port = api.url.removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    head = f"POST {resource}/recipients HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
    head += "Content-Type: text/csv\r\nContent-Length: 9999999\r\n\r\n"
    rows = "".join(f"{phone(number)},N\n" for number in range(10, 6000))
    await stream.send_all((head + "to,nome\n" + rows).encode())
    output = await api.until(resource, lambda payload: payload["recipients"] > 1)
    assert output["state"] == "loading"
    await stream.aclose()
    output = await api.until(resource, lambda payload: payload["state"] == "ready")
    assert output["recipients"] == 1


async def test_failures_are_exported_safe_for_spreadsheets_and_can_be_sent_in_again(api: Any) -> None:
    unit = await api.add_unit()
    nasty = ["=1+1", "+1", "-1", "@x", "Ana\t", 'Bia "B", C']
    people = [{"to": phone(number), "nome": name} for number, name in enumerate(nasty)]
    created = await api.post(
        f"/units/{unit.id}/campaigns", PLAN | {"recipients": [*people, *people, {"to": "=x"}]}, 201
    )
    answer = await api.client.get(f"/units/{unit.id}/campaigns/{created['id']}/failures.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["number", "to", "state", "reason", "detail", "nome"]
    assert rows[1] == ["7", phone(0)[1:], "skipped", "duplicate", "", "'=1+1"]
    assert [row[5] for row in rows[1:5]] == ["'=1+1", "'+1", "'-1", "'@x"]
    assert rows[-1][1] == "'=x"
    second = await api.post(f"/units/{unit.id}/campaigns", PLAN, 201)
    done = await upload(api, f"/units/{unit.id}/campaigns/{second['id']}/recipients", answer.content)
    assert (done["list"]["received"], done["list"]["accepted"]) == (7, 6)


async def test_results_are_told_in_percent_and_exported_whole(api: Any) -> None:
    unit = await api.add_unit()
    people = [*items(3), {"to": "=x", "nome": "=1"}]
    created = await api.post(f"/units/{unit.id}/campaigns", PLAN | {"recipients": people}, 201)
    resource = f"/units/{unit.id}/campaigns/{created['id']}"
    empty = await api.get(f"{resource}/results")
    assert (empty["total"]["sent"], empty["total"]["deliveredPercent"], len(empty["timeline"])) == (0, None, 1)
    answer = await api.client.get(f"{resource}/results.csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    own = ["number", "to", "wording", "state", "reason", "detail", "sent_at", "delivered_at", "read_at", "replied_at"]
    assert rows[0] == [*own, "opted_out_at", "nome"]
    assert [row[3] for row in rows[1:]] == ["pending"] * 3 + ["skipped"]
    assert (rows[4][1], rows[4][4], rows[4][11]) == ("'=x", "invalid_phone", "'=1")


async def test_several_wordings_go_to_recipients_in_turn_and_have_their_own_results(api: Any) -> None:
    unit = await api.add_unit()
    base = f"/units/{unit.id}/campaigns"
    plan = {"name": "Natal", "wordings": ["Oi {{nome}}", "Feliz Natal!"], "clientCampaignId": "w1"}
    people: list[dict[str, object]] = [*items(2), {"to": phone(2)}, {"to": phone(3)}]
    tried = await api.post(f"{base}/dry-run", plan | {"recipients": people}, 200)
    assert [each["text"] for each in tried["previews"]] == ["Oi N0", "Feliz Natal!", "Feliz Natal!"]
    assert tried["skipped"] == {"missing_variable": 1}, "only the first wording needs a name"
    created = await api.post(base, plan | {"recipients": people}, 201)
    assert (created["wordings"], created["content"]["text"]) == (plan["wordings"], "Oi {{nome}}")
    assert await api.post(base, plan | {"recipients": people}, 200) == created
    other = plan | {"recipients": people, "wordings": ["Oi {{nome}}", "Boas festas!"]}
    assert (await api.post(base, other, 409))["code"] == "client_campaign_id_taken"
    resource = f"{base}/{created['id']}"
    await api.post(f"{resource}/recipients", {"recipients": [{"to": phone(9)}, {"to": phone(10)}]})
    results = await api.get(f"{resource}/results")
    assert [(each["wording"], each["text"], each["sent"]) for each in results["wordings"]] == [
        (1, "Oi {{nome}}", 0),
        (2, "Feliz Natal!", 0),
    ]
    rows = list(csv.reader(io.StringIO((await api.client.get(f"{resource}/results.csv")).text)))[1:]
    assert [(row[2], row[4]) for row in rows] == [
        *(("1", ""), ("2", ""), ("1", "missing_variable")),
        *(("2", ""), ("1", "missing_variable"), ("2", "")),
    ]
    for wrong in (
        {"wordings": ["Oi"]},
        {"wordings": ["Oi", "  "]},
        {"wordings": ["Oi", "{{nome"]},
        {"wordings": ["Oi", "Olá"], "text": "Oi"},
        {"wordings": ["Oi", "Olá"], "image": {"url": "https://example.com/a.png", "caption": "Oi"}},
        {"wordings": ["Oi", "Olá"], "audio": {"url": "https://example.com/a.ogg"}},
    ):
        await api.post(base, {"name": "Natal", **wrong}, 422)


async def test_suppressions_are_listed_added_and_taken_off(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/suppressions"
    added = await api.post(path, {"to": "(11) 99000-0001"}, 201)
    assert (added["contact"], added["phone"], added["needsPerson"]) == (phone(1), phone(1), False)
    assert await api.post(path, {"to": phone(1)}, 200) == added
    lid = await api.post(path, {"to": "lid:123"}, 201)
    assert (lid["contact"], lid["phone"], lid["needsPerson"], lid["reason"]) == ("lid:123", None, True, "manual")
    page = await api.get(path, limit=1)
    assert page["items"] == [lid]
    assert (await api.get(path, cursor=page["nextCursor"]))["items"] == [added]
    assert (await api.post(path, {"to": "ninguém"}, 422))["code"] == "invalid_phone"
    for contact in (phone(1), "lid:123"):
        assert (await api.client.delete(f"{path}/{contact}")).status_code == 204
        assert (await api.client.delete(f"{path}/{contact}")).json()["code"] == "suppression_not_found"
    assert (await api.get(path))["items"] == []
