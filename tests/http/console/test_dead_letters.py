"""What needs a person, in the console: uncertain, failed and unconfirmed messages, and dead letters."""

from typing import Any
from urllib.parse import urlencode

from support.console_operator import Operator

PHONE = "+5511999990001"


async def send_message(api: Any, unit: Any, text: str) -> str:
    body = {"clientMessageId": text, "to": PHONE, "text": text}
    return str((await api.post(f"/units/{unit.id}/messages", body, 202))["id"])


async def update_outbox(api: Any, message: str, changes: str) -> None:
    async with api.engine_pool.connection() as conn:
        await conn.execute(f"update zapline.outbox set {changes} where message_id = '{message}'")


async def tell_where(api: Any, operator: Operator, unit: Any, messages: dict[str, str]) -> None:
    """Where each of these messages is: on its page, and by the API; found by every name that it has."""
    verdicts = {"talvez": "uncertain", "não foi": "not_sent", "calado": "unconfirmed"}
    journeys, other = f"/units/{unit.id}/journeys", await api.add_unit("Outra")
    for text, message in messages.items():
        client_id = "<b>talvez</b>" if text == "talvez" else text
        found = [await api.get(journeys, **asked) for asked in ({"id": message}, {"clientMessageId": client_id})]
        told = await api.get(f"/units/{unit.id}/messages/{message}/journey")
        assert [each["items"] for each in found] == [[told]] * 2
        assert (told["verdict"], told["contact"], told["steps"][0]["step"]) == (verdicts[text], "****0001", "accepted")
        await api.get(f"/units/{other.id}/messages/{message}/journey", 404)
        assert await api.get(f"/units/{other.id}/journeys", id=message) == {"items": []}
        for name in (client_id, message):
            await operator.get("/console/where?" + urlencode({"q": name}), 303)
            page = await operator.follow()
            assert told["sentence"] in page.visible_text
            assert told["advice"] in page.visible_text
            assert PHONE not in page.text
            assert "<b>talvez" not in page.text
    near = await api.get(journeys, phone="(11) 99999-0001", at="2026-01-01T00:00:00Z")
    assert {item["id"] for item in near["items"]} == set(messages.values())
    page = await operator.get("/console/where?" + urlencode({"q": PHONE, "unit": "Loja <i>", "at": "2026-01-01T10:00"}))
    assert page.visible_text.count("****0001") == len(messages)
    for nothing in ("q=nobody", f"q=calado&unit={other.id}", "q=1%27%3B--", "at=nonsense&q=calad"):
        assert "No such message is known" in (await operator.get(f"/console/where?{nothing}")).visible_text
    assert (await api.get(journeys, 422, id=messages["talvez"], clientMessageId="a"))["code"] == "invalid_request"
    assert (await api.get(journeys, 422))["code"] == "invalid_request"
    await api.get(journeys, 422, phone="nobody")


async def test_an_uncertain_message_is_decided_and_a_failed_one_is_sent_anew_once(api: Any, operator: Operator) -> None:
    unit = await api.add_unit("Loja <i>")
    base = f"/console/units/{unit.id}/attention"
    for path in (base, "/console/attention"):
        assert "Nothing needs you" in (await operator.get(path)).visible_text
    uncertain = await send_message(api, unit, "<b>talvez</b>")
    await update_outbox(api, uncertain, "state = 'uncertain', failure = 'no_answer', look_at = null, looks = 3")
    failed = await send_message(api, unit, "não foi")
    await update_outbox(api, failed, "state = 'dead', failure = 'server_error', ended_at = now()")
    unconfirmed = await send_message(api, unit, "calado")
    await update_outbox(api, unconfirmed, "state = 'settled', settled_at = now(), stalled_at = now()")
    for path in (base, f"{base}/part", "/console/attention", "/console/attention/part"):
        page = await operator.get(path)
        assert "Evolution did not answer" in page.visible_text
        assert "only you can decide" in page.visible_text
        assert "it may arrive twice" in page.visible_text
        assert "confirmed by nobody" in page.visible_text
        assert "****0001" in page.visible_text
        assert PHONE not in page.text
        assert "<b>talvez" not in page.text
    await tell_where(api, operator, unit, {"talvez": uncertain, "não foi": failed, "calado": unconfirmed})
    page = await operator.get(base)
    assert "2 wait" in (await operator.get(f"{base}/count")).visible_text, "the failed one counts too"
    await operator.get("/console/attention")
    await operator.send(f"{base}/messages/{failed}/again")
    assert operator.answer is not None
    assert operator.answer.headers["location"] == "/console/attention"
    page = await operator.follow()
    assert "It is sent as a new message." in page.visible_text
    assert "não foi" not in page.visible_text
    resent = await api.sql("select body from zapline.messages where client_message_id like 'console:again:%'")
    assert [row.body for row in resent] == ["não foi"]
    await operator.send(f"{base}/messages/{uncertain}/resend")
    await operator.follow()
    assert [
        row.state for row in await api.sql(f"select state from zapline.outbox where message_id = '{uncertain}'")
    ] == ["queued"]
    await update_outbox(api, uncertain, "state = 'uncertain', failure = 'no_answer', look_at = null")
    await operator.get(base)
    await operator.send(f"{base}/messages/{uncertain}/give-up")
    page = await operator.follow()
    assert "It is left alone." in page.visible_text
    assert "1 waits" not in page.visible_text, "the number is that of now"
    assert "talvez" not in page.visible_text
    actions = [row.action for row in await api.sql("select action from zapline.audit_log where actor_kind = 'admin'")]
    assert actions.count("release_message") == 2


async def test_failed_messages_count_until_a_person_dismisses_them_and_no_other_unit_can(
    api: Any, operator: Operator
) -> None:
    unit, other = await api.add_unit("Loja"), await api.add_unit("Outra")
    base = f"/console/units/{unit.id}/attention"
    for text, changes in {
        "morta": "state = 'dead', failure = 'server_error', ended_at = now()",
        "recusada": "state = 'settled', settled_at = now(), ended_at = now()",
        "velha": "state = 'dead', failure = 'server_error', ended_at = now() - interval '8 days'",
        "desistida": "state = 'dead', failure = 'given_up', ended_at = now()",
    }.items():
        await update_outbox(api, await send_message(api, unit, text), changes)
    async with api.engine_pool.connection() as conn:
        await conn.execute(
            "update zapline.messages set delivery = 'failed', refused_at = now() where client_message_id = 'recusada'"
        )
    ids = {row.body: row.id for row in await api.sql("select id, body from zapline.messages where from_me")}
    assert "2 wait" in (await operator.get(f"{base}/count")).visible_text
    await operator.get(base)
    mine = f"{base}/messages/{ids['morta']}/dismiss"
    foreign = f"/console/units/{other.id}/attention/messages/{ids['morta']}/dismiss"
    fields = operator.page.forms[mine]
    await operator.post(foreign, fields)
    assert "2 wait" in (await operator.get(f"{base}/count")).visible_text
    await operator.get(base)
    for left, text in ((1, "morta"), (0, "recusada")):
        await operator.send(f"{base}/messages/{ids[text]}/dismiss")
        page = await operator.follow()
        assert "It is left alone." in page.visible_text
        assert text not in page.visible_text
        count = (await operator.get("/console/attention/count")).visible_text
        assert ("1 waits" in count) == (left == 1), count
        page = await operator.get(base)
    assert "Nothing needs you" in page.visible_text
    await operator.post(mine, fields)
    assert "It is left alone." in (await operator.follow()).visible_text, "a second click changes nothing"
    kept = await api.sql("select count(*) as kept from zapline.outbox where dismissed_at is not null")
    assert kept[0].kept == 2, "in the database, which outlives the process"


async def test_a_dead_letter_is_read_as_text_replayed_and_left_alone_within_its_unit(
    api: Any, operator: Operator
) -> None:
    unit, other = await api.add_unit(), await api.add_unit("Outra")
    raw = b'{"event": "no.such.event", "data": "<script>alert(1)</script>\xe2\x80\xae"}' + b" " * 90_000
    assert await api.intake.accept(unit, "no.such.event", raw)
    await api.until("/dead-letters", lambda page: page["items"])
    base = f"/console/units/{unit.id}/attention"
    page = await operator.get(base)
    assert "Its event is not known to this version of Zapline." in page.visible_text
    (letter,) = [row.id for row in await api.sql("select id from zapline.dead_letters")]
    one = f"{base}/letters/{letter}"
    page = await operator.get(one)
    assert "<script>alert" not in page.text
    assert "\\u202e" in page.visible_text
    assert "Only the first 20,000 characters are shown" in page.visible_text
    answer = await operator.client.get(f"{one}/raw")
    assert answer.content == raw
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    for path in ("", "/raw"):
        await operator.get(f"/console/units/{other.id}/attention/letters/{letter}{path}", 404)
    await operator.get(f"{base}/letters/{10**30}", 404)
    await operator.get(one)
    await operator.send(f"{one}/replay")
    assert "It was given to the unit again." in (await operator.follow()).visible_text
    for path in (f"{base}/letters", "/console/attention/letters"):
        assert "Replayed" in (await operator.get(path)).visible_text
    await api.until("/dead-letters", lambda page: len(page["items"]) == 2)
    page = await operator.get(base)
    (give_up,) = [action for action in page.forms if action.endswith("/give-up")]
    await operator.send(give_up)
    assert "Nothing needs you" in (await operator.follow()).visible_text
