"""Asking for messages over HTTP: once per client id, to whom, what, when; then cancelling and deciding them."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from zapline.domain.errors import LocalError
from zapline.domain.ids import conversation_id
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.domain.outbox.work_states import Lane
from zapline.domain.principals import Scope
from zapline.http.api.framework.problems import COMMON_PROBLEMS, ProblemType, problem_of
from zapline.http.api.messages import send_endpoint
from zapline.sql.conversations import conversations
from zapline.sql.outbound.send_claims import claim
from zapline.sql.postgres.connection import connect

NOW = 1_795_364_451
JID, LID, GROUP = "5511999990001@s.whatsapp.net", "111222333444555@lid", "120363025246125486@g.us"
PICTURE = "https://93.184.216.34/offer.jpg"
"""A public address needs no looking up."""


def arrived(external_id: str, words: str = "oi", jid: str = JID, **key: object) -> dict[str, object]:
    """Data of a messages.upsert."""
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": external_id, **key},
        "pushName": "Maria",
        "message": {"conversation": words},
        "messageType": "conversation",
        "messageTimestamp": NOW,
        "status": "DELIVERY_ACK",
    }


def send_body(client_id: str = "c1", **more: object) -> dict[str, object]:
    return {"clientMessageId": client_id, "to": "+55 11 99999-0001", **({} if more else {"text": "bom dia"}), **more}


def iso(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def post_all(api: Any, path: str, bodies: Sequence[object]) -> list[Any]:
    """All at once; again where the answer is that the database is busy."""
    answers: list[Any] = []

    async def post(body: object) -> None:
        content = msgspec.json.encode(body)
        while (answer := await api.client.post(path, content=content)).status_code == 503:  # noqa: ASYNC110
            await trio.sleep(0.1)
        answers.append(answer)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for body in bodies:
                nursery.start_soon(post, body)
    return answers


async def stored(api: Any, client_id: str) -> Any:
    (row,) = await api.sql(
        "select o.*, m.kind, m.detail, m.media, m.quoted_id, m.sent_at from zapline.outbox o"
        f" join zapline.messages m on m.id = o.message_id where m.client_message_id = '{client_id}'"
    )
    return row


async def test_a_message_is_accepted_shown_and_waits_for_its_sender(api: Any) -> None:
    unit = await api.add_unit()
    answer = await api.client.post(f"/units/{unit.id}/messages", content=msgspec.json.encode(send_body()))
    created = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/units/{unit.id}/messages/{created['id']}"
    assert await api.get(answer.headers["location"]) == created
    assert api.woken == [unit.id]
    fields = ("clientMessageId", "text", "kind", "fromMe", "deliveryStatus", "workState", "externalId")
    assert [created[name] for name in fields] == ["c1", "bom dia", "text", True, "queued", "queued", None]
    work = created["work"]
    assert (work["state"], work["lane"], work["tries"], work["attempts"]) == ("queued", "reply", 0, [])
    assert (work["failure"], work["waitsForPerson"], work["stalled"], work["twice"]) == (None, False, False, False)
    due, expires = (datetime.fromisoformat(work[name]) for name in ("dueAt", "expiresAt"))
    assert expires - due == timedelta(hours=24)
    assert abs(due.timestamp() - time.time()) < 5
    row = await stored(api, "c1")
    assert (row.recipient, row.address, row.lane) == ("+5511999990001", "5511999990001", "reply")
    assert row.fingerprint == fingerprint_content(Text("bom dia"))
    assert msgspec.convert(row.content, OutgoingMessage) == OutgoingMessage(Text("bom dia"))
    (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    assert (conversation["id"], conversation["phone"]) == (created["conversationId"], "+5511999990001")
    (rows,) = (await api.get(f"/units/{unit.id}/conversations/{conversation['id']}/messages"))["items"]
    assert rows == {name: value for name, value in created.items() if name != "work"}
    assert (await api.get(f"/units/{unit.id}/messages"))["items"] == [rows]
    async with api.engine_pool.connection() as conn:
        taken = await claim(
            conn, unit.id, process=uuid4(), attempt=uuid4(), now=time.time() + 1, lease=60, lanes=list(Lane), blocked=[]
        )
    assert taken is not None
    assert str(taken.message) == created["id"]


async def test_fifty_posts_of_one_message_at_once_make_one(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    spellings = ["+55 11 99999-0001", "5511999990001", "(11) 99999-0001", JID, "551199990001@s.whatsapp.net"]
    answers = await post_all(api, path, [send_body(text="um", to=spellings[n % 5]) for n in range(50)])
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    answers = await post_all(
        api, path, [send_body("c2", text=f"texto {n}", to=f"+55 11 9888{n:05d}") for n in range(50)]
    )
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 49}
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert (refused["code"], refused["retryable"]) == ("client_message_id_taken", False)
    (counts,) = await api.sql(
        "select (select count(*) from zapline.messages) as m, (select count(*) from zapline.outbox) as o,"
        " (select count(*) from zapline.conversations) as c, (select count(*) from zapline.contacts) as k"
    )
    assert tuple(counts) == (2, 2, 2, 2)
    assert api.woken == [unit.id, unit.id]
    other = await api.add_unit("other")
    assert (await api.post(f"/units/{other.id}/messages", send_body(text="um"), 202))["workState"] == "queued"


async def test_every_part_of_a_request_counts_for_its_repetition(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    await api.send(unit, "messages.upsert", arrived("A1"))
    (target,) = (await api.get(path))["items"]
    whole = send_body(
        text="x", replyTo=target["id"], sendAt="2026-11-22T18:00:00Z", expiresAt=iso(3600), linkPreview=False
    )
    first = await api.post(path, whole, 202)
    assert (await api.post(path, whole, 202))["id"] == first["id"]
    same_moment = whole | {"sendAt": "2026-11-22T15:00:00-03:00"}
    assert (await api.post(path, same_moment, 202))["id"] == first["id"]
    for name, other in [
        ("text", "y"),
        ("to", "+5511999990002"),
        ("replyTo", None),
        ("sendAt", None),
        ("expiresAt", iso(7200)),
        ("linkPreview", True),
    ]:
        problem = await api.post(path, whole | {name: other}, 409)
        assert problem["code"] == "client_message_id_taken", name
    by_conversation = {name: value for name, value in whole.items() if name != "to"}
    by_conversation["conversationId"] = target["conversationId"]
    assert (await api.post(path, by_conversation, 409))["code"] == "client_message_id_taken"


async def test_what_was_accepted_stays_accepted_when_its_time_and_its_file_are_gone(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    body = send_body(image={"url": PICTURE}, expiresAt=iso(30))
    created = await api.post(path, body, 202)
    api.outgoing._clock = lambda: time.time() + 31
    assert (await api.post(path, body, 202))["id"] == created["id"]
    assert (await api.post(path, send_body("c2", text="x", expiresAt=iso(-1)), 422))["errors"][0][
        "field"
    ] == "expiresAt"


async def test_every_content_is_stored_as_it_will_be_sent(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    contents: list[tuple[dict[str, object], str, dict[str, object]]] = [
        ({"text": "oi\u0000 😀"}, "text", {"type": "text", "text": "oi 😀", "linkPreview": True}),
        (
            {"image": {"url": PICTURE + "#x", "caption": "veja"}},
            "image",
            {"type": "file", "kind": "image", "url": PICTURE, "caption": "veja"},
        ),
        (
            {"document": {"url": PICTURE, "fileName": "oferta.pdf", "mimetype": "Application/PDF; x=y"}},
            "document",
            {
                "type": "file",
                "kind": "document",
                "url": PICTURE,
                "fileName": "oferta.pdf",
                "mimetype": "application/pdf",
            },
        ),
        ({"audio": {"url": PICTURE}}, "voice", {"type": "file", "kind": "voice", "url": PICTURE}),
        ({"audio": {"url": PICTURE, "voice": False}}, "audio", {"type": "file", "kind": "audio", "url": PICTURE}),
        (
            {"location": {"latitude": -23.55, "longitude": -46.63}},
            "location",
            {"type": "location", "latitude": -23.55, "longitude": -46.63, "name": "", "address": ""},
        ),
        (
            {"contact": {"name": "Ana", "phone": "(11) 98888-0001"}},
            "contact",
            {"type": "contact", "name": "Ana", "phone": "+5511988880001"},
        ),
        (
            {"poll": {"name": "Quando?", "options": ["hoje", "amanhã"]}},
            "poll",
            {"type": "poll", "name": "Quando?", "options": ["hoje", "amanhã"], "selectable": 1},
        ),
    ]
    for number, (content, kind, expected) in enumerate(contents):
        created = await api.post(path, send_body(f"c{number}", **content), 202)
        assert created["kind"] == kind
        row = await stored(api, f"c{number}")
        payload = {name: value for name, value in row.content["content"].items() if value is not None}
        assert payload == expected
        assert row.content["quoted"] is None
    assert (await stored(api, "c2")).media == {"mimetype": "application/pdf", "fileName": "oferta.pdf"}
    assert (await stored(api, "c6")).detail == {"contacts": [{"name": "Ana", "phones": ["+5511988880001"]}]}


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"clientMessageId": ""}, "clientMessageId"),
    ({"clientMessageId": "a\nb"}, "clientMessageId"),
    ({"clientMessageId": "x" * 129}, "clientMessageId"),
    ({"clientMessageId": "campaign:1"}, "clientMessageId"),
    ({"to": None}, "to"),
    ({"to": "Maria"}, "to"),
    ({"to": "12"}, "to"),
    ({"to": "status@broadcast"}, "to"),
    ({"to": "120363@newsletter"}, "to"),
    ({"conversationId": str(uuid4())}, "to"),
    ({"text": ""}, "text"),
    ({"text": " \n"}, "text"),
    ({"text": "x" * 65_537}, "text"),
    ({"text": 7}, "text"),
    ({"text": None}, "text"),
    ({"image": {"url": PICTURE}}, "image"),
    ({"text": None, "image": {}}, "image"),
    ({"text": None, "image": {"url": PICTURE, "upload": str(uuid4())}}, "image"),
    ({"text": None, "image": {"upload": str(uuid4())}}, "image.upload"),
    ({"text": None, "audio": {"upload": str(uuid4())}}, "audio.upload"),
    ({"text": None, "image": {"url": PICTURE, "mimetype": "jpeg"}}, "image.mimetype"),
    ({"text": None, "document": {"url": PICTURE, "fileName": "../x"}}, "document.fileName"),
    ({"text": None, "audio": {"url": PICTURE, "caption": "x"}}, "audio.caption"),
    ({"text": None, "location": {"latitude": 91, "longitude": 0}}, "location.latitude"),
    ({"text": None, "contact": {"name": "Ana", "phone": "x"}}, "contact.phone"),
    ({"text": None, "poll": {"name": "?", "options": ["a"]}}, "poll.options"),
    ({"text": None, "poll": {"name": "?", "options": ["a", "a"]}}, "poll.options"),
    ({"text": None, "poll": {"name": "?", "options": ["a", " "]}}, "poll.options[1]"),
    ({"text": None, "poll": {"name": "?", "options": ["a", "b"], "selectable": 3}}, "poll.selectable"),
    ({"text": None, "reaction": {"emoji": "ok", "messageId": str(uuid4())}}, "reaction.emoji"),
    ({"text": None, "reaction": {"emoji": "👍", "messageId": str(uuid4())}}, "reaction.messageId"),
    ({"text": None, "image": {"url": PICTURE}, "linkPreview": True}, "linkPreview"),
    ({"replyTo": str(uuid4())}, "replyTo"),
    ({"sendAt": "2026-11-22T18:00:00"}, "sendAt"),
    ({"sendAt": "9999-01-01T00:00:00Z"}, "sendAt"),
    ({"expiresAt": "9999-12-31T23:59:59-12:00"}, "expiresAt"),
    ({"sendAt": iso(3600), "expiresAt": iso(1800)}, "expiresAt"),
    ({"extra": 1}, "extra"),
]


async def test_what_cannot_be_sent_is_refused_by_field_and_leaves_nothing(api: Any) -> None:
    unit = await api.add_unit()
    for change, field in REFUSED:
        body = msgspec.json.encode(send_body(text="x") | change)
        answer = await api.client.post(f"/units/{unit.id}/messages", content=body)
        assert answer.status_code == 422, (change, answer.text)
        assert answer.json()["errors"][0]["field"] == field, (change, answer.text)
    assert await api.sql("select from zapline.messages union all select from zapline.conversations") == []
    assert (await api.post(f"/units/{uuid4()}/messages", send_body(), 404))["code"] == "unit_not_found"
    assert api.woken == []


async def test_a_url_into_our_network_is_refused(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    for url, code, retryable in [
        ("http://127.0.0.1/x.jpg", "media_url_refused", False),
        ("https://[::ffff:10.0.0.1]/x.jpg", "media_url_refused", False),
        ("ftp://93.184.216.34/x.jpg", "invalid_media_url", False),
        ("https://nothing.invalid/x.jpg", "media_url_unresolvable", True),
    ]:
        problem = await api.post(path, send_body(image={"url": url}), 422)
        assert (problem["code"], problem["retryable"]) == (code, retryable), url
    assert await api.sql("select from zapline.messages") == []


async def test_a_message_finds_its_conversation_whoever_it_is_addressed_to(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    await api.send(unit, "messages.upsert", arrived("L1", jid=LID))
    (by_lid,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    alone = await api.post(path, send_body("c1", text="x", to=LID), 202)
    row = await stored(api, "c1")
    assert (alone["conversationId"], row.recipient, row.address) == (by_lid["id"], "lid:111222333444555", LID)
    # From here on it is known whose LID it is.
    await api.send(unit, "messages.upsert", arrived("P1", jid="551199990001@s.whatsapp.net", remoteJidAlt=LID))
    (whole,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    for number, where in enumerate(
        [{"to": LID}, {"to": "11 99999-0001"}, {"conversationId": by_lid["id"]}, {"conversationId": whole["id"]}]
    ):
        body = {"clientMessageId": f"w{number}", "text": "x", **where}
        created = await api.post(path, body, 202)
        row = await stored(api, f"w{number}")
        payload = (created["conversationId"], row.recipient, row.address)
        assert payload == (whole["id"], "+5511999990001", "5511999990001"), where
    created = await api.post(path, send_body("g", text="x", to=GROUP), 202)
    row = await stored(api, "g")
    assert (row.recipient, row.address) == (f"group:{GROUP}", GROUP)
    assert created["conversationId"] == str(UUID(conversation_id(unit.id, f"group:{GROUP}")))
    other = await api.add_unit("other")
    body = {"clientMessageId": "x", "text": "x", "conversationId": whole["id"]}
    assert (await api.post(f"/units/{other.id}/messages", body, 404))["code"] == "conversation_not_found"


async def test_a_reply_quotes_and_a_reaction_names_a_message_of_the_same_conversation(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    await api.send(unit, "messages.upsert", arrived("A1", "qual o preço?", "551199990001@s.whatsapp.net"))
    await api.send(unit, "messages.upsert", arrived("B1", "segredo", "5511999990002@s.whatsapp.net"))
    mine, strange = (await api.get(path))["items"]
    created = await api.post(path, send_body("r1", text="dez reais", replyTo=mine["id"]), 202)
    assert created["quotedId"] == "A1"
    assert (await stored(api, "r1")).content["quoted"] == {
        "externalId": "A1",
        "remoteJid": "551199990001@s.whatsapp.net",
        "fromMe": False,
        "text": "qual o preço?",
    }
    reaction = {"clientMessageId": "r2", "reaction": {"emoji": "👍", "messageId": mine["id"]}}
    reacted = await api.post(path, reaction, 202)
    row = await stored(api, "r2")
    assert row.content["content"] == {
        "type": "reaction",
        "emoji": "👍",
        "externalId": "A1",
        "remoteJid": "551199990001@s.whatsapp.net",
        "fromMe": False,
    }
    assert (row.kind, row.recipient) == ("reaction", "+5511999990001")
    # It is no message of the thread, but it can be looked at.
    assert (await api.get(f"{path}/{reacted['id']}"))["kind"] == "reaction"
    assert {item["kind"] for item in (await api.get(path))["items"]} == {"text"}
    thread = f"/units/{unit.id}/conversations/{mine['conversationId']}/messages"
    assert [item["kind"] for item in (await api.get(thread))["items"]] == ["text", "text"]
    for body, code in [
        (send_body("n1", text="x", replyTo=strange["id"]), "target_elsewhere"),
        (reaction | {"clientMessageId": "n2", "to": "+5511999990002"}, "target_elsewhere"),
        (send_body("n3", text="x", replyTo=reacted["id"]), "target_not_found"),
        (send_body("n4", text="x", replyTo=created["id"]), "target_not_sent"),
    ]:
        assert (await api.post(path, body, 422))["code"] == code, body
    other = await api.add_unit("other")
    foreign = await api.post(f"/units/{other.id}/messages", send_body("r1", text="x", replyTo=mine["id"]), 422)
    assert (foreign["code"], foreign["errors"][0]["field"]) == ("target_not_found", "replyTo")


async def test_a_message_for_later_wakes_nobody_now_and_does_not_top_the_list(api: Any) -> None:
    unit = await api.add_unit()
    created = await api.post(f"/units/{unit.id}/messages", send_body(text="x", sendAt="2027-01-01T12:00:00-03:00"), 202)
    assert api.woken == []
    assert (created["sentAt"], created["work"]["dueAt"]) == ("2027-01-01T15:00:00.000Z",) * 2
    assert created["work"]["expiresAt"] == "2027-01-02T15:00:00.000Z"
    (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    assert conversation["lastMessageAt"] < "2027"


async def test_a_queued_message_can_be_cancelled_once(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    created = await api.post(path, send_body(), 202)
    cancelled = await api.post(f"{path}/{created['id']}/cancel", {}, 200)
    assert (cancelled["workState"], cancelled["deliveryStatus"]) == ("cancelled", "failed")
    assert (cancelled["work"]["failure"]["code"], cancelled["work"]["endedAt"] is not None) == ("cancelled", True)
    again = await api.post(f"{path}/{created['id']}/cancel", {}, 409)
    assert (again["code"], "cancelled" in again["detail"]) == ("not_cancellable", True)
    # The same request is not sent a second time because the first was taken back.
    assert (await api.post(path, send_body(), 202))["workState"] == "cancelled"
    await api.send(unit, "messages.upsert", arrived("A1"))
    (inbound,) = [item for item in (await api.get(path))["items"] if not item["fromMe"]]
    assert (await api.get(f"{path}/{inbound['id']}"))["work"] is None
    assert (await api.post(f"{path}/{inbound['id']}/cancel", {}, 409))["code"] == "not_cancellable"
    other = await api.add_unit("other")
    for strange in (f"{path}/{uuid4()}", f"/units/{other.id}/messages/{created['id']}"):
        assert (await api.get(strange, 404))["code"] == "message_not_found"
        assert (await api.post(f"{strange}/cancel", {}, 404))["code"] == "message_not_found"
        assert (await api.post(f"{strange}/release", {"decision": "resend"}, 404))["code"] == "message_not_found"


async def test_an_uncertain_message_is_decided_by_a_person(api: Any) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    ids = [(await api.post(path, send_body(f"c{n}", text=f"x{n}"), 202))["id"] for n in range(2)]
    assert (await api.post(f"{path}/{ids[0]}/release", {"decision": "resend"}, 409))["code"] == "not_uncertain"
    await api.sql(
        "insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane, recipient,"
        " fingerprint, started_at, ended_at, outcome, failure) select gen_random_uuid(), message_id, unit_id,"
        " conversation_id, 'evolution', 1, lane, recipient, fingerprint, to_timestamp(1795364451.5), now(),"
        " 'uncertain', 'no_answer' from zapline.outbox returning 1"
    )
    await api.sql(
        "update zapline.outbox set state = 'uncertain', fence = 1, failure = 'no_answer', expires_at = now()"
        " returning 1"
    )
    waiting = await api.get(f"{path}/{ids[0]}")
    assert waiting["work"]["waitsForPerson"] is True
    assert waiting["work"]["failure"]["code"] == "no_answer"
    assert "may have been delivered" in waiting["work"]["failure"]["sentence"]
    (attempt,) = waiting["work"]["attempts"]
    assert (attempt["startedAt"], attempt["outcome"]) == ("2026-11-22T16:20:51.500Z", "uncertain")
    assert len((await api.get(f"/units/{unit.id}/outbox", state="uncertain"))["items"]) == 2
    for decision in ("", "again", "give_up"):
        problem = await api.post(f"{path}/{ids[0]}/release", {"decision": decision}, 422)
        assert problem["errors"][0]["field"] == "decision"
    api.woken.clear()
    queued = await api.post(f"{path}/{ids[0]}/release", {"decision": "resend"}, 200)
    assert api.woken == [unit.id]
    assert (queued["workState"], queued["work"]["resends"], queued["work"]["failure"]) == ("queued", 1, None)
    # Its time was over: a person who sends it again gives it a new one.
    assert datetime.fromisoformat(queued["work"]["expiresAt"]) > datetime.now(UTC) + timedelta(hours=23)
    # It may have been delivered before, so nobody may say that it failed.
    taken_back = await api.post(f"{path}/{ids[0]}/cancel", {}, 200)
    assert (taken_back["deliveryStatus"], taken_back["work"]["failure"]["code"]) == ("queued", "given_up")
    given_up = await api.post(f"{path}/{ids[1]}/release", {"decision": "giveUp"}, 200)
    assert (given_up["workState"], given_up["deliveryStatus"]) == ("cancelled", "queued")
    assert given_up["work"]["failure"]["code"] == "given_up"
    assert (await api.post(f"{path}/{ids[1]}/release", {"decision": "resend"}, 409))["code"] == "not_uncertain"


async def test_the_outbox_is_paged_by_state(api: Any) -> None:
    unit = await api.add_unit()
    path, outbox = f"/units/{unit.id}/messages", f"/units/{unit.id}/outbox"
    ids = [(await api.post(path, send_body(f"c{n}", text=f"x{n}"), 202))["id"] for n in range(5)]
    await api.sql("update zapline.outbox set state = 'dead', failure = 'invalid_request' where seq = 1 returning 1")
    await api.sql(
        "update zapline.outbox set state = 'settled', settled_at = now(), stalled_at = now() where seq = 2 returning 1"
    )
    result, cursor = [], None
    for _ in range(3):
        page = await api.get(outbox, limit=2, **({"cursor": cursor} if cursor else {}))
        result += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert result == ids[:1:-1]
    (dead,) = (await api.get(outbox, state="dead"))["items"]
    assert (dead["id"], dead["work"]["failure"]["code"]) == (ids[0], "invalid_request")
    (stalled,) = (await api.get(outbox, state="stalled"))["items"]
    assert (stalled["id"], stalled["work"]["stalled"]) == (ids[1], True)
    assert [item["id"] for item in (await api.get(outbox, state="settled"))["items"]] == [ids[1]]
    assert (await api.get(outbox, state="expired"))["items"] == []
    assert (await api.get(outbox, 422, state="x"))["errors"][0]["field"] == "state"
    other = await api.add_unit("other")
    assert (await api.get(f"/units/{other.id}/outbox"))["items"] == []


async def test_a_read_conversation_is_told_to_its_senders_once(api: Any) -> None:
    unit = await api.add_unit()
    await api.post(f"/units/{unit.id}/whatsapp/connect", {}, 202)
    await api.until(f"/units/{unit.id}/whatsapp/status", lambda status: status["qrCode"])
    for number, jid in enumerate([LID, "551199990001@s.whatsapp.net", LID]):
        await api.send(unit, "messages.upsert", arrived(f"A{number}", jid=jid, remoteJidAlt=JID if number else None))
    items = (await api.get(f"/units/{unit.id}/messages"))["items"]
    assert len({item["conversationId"] for item in items}) == 1
    path = f"/units/{unit.id}/conversations/{items[0]['conversationId']}/read"
    newest = items[-1]["seq"]
    assert await api.post(path, {}) == {"marked": 3, "skippedLid": 0, "readUpTo": newest}
    assert await api.post(path, {}) == {"marked": 0, "skippedLid": 0, "readUpTo": newest}
    listed = f"/units/{unit.id}/conversations"
    (whole,) = (await api.get(listed))["items"]
    assert whole["unreadCount"] == 0
    again = f"{path.removesuffix('read')}unread"
    assert [(await api.post(again, {}))["marked"] for _ in range(2)] == [True, False]
    (unread,) = (await api.get(listed))["items"]
    assert unread == {**whole, "unreadCount": 1}
    assert (await api.post(f"{listed}/{uuid4()}/unread", {}, 404))["code"] == "conversation_not_found"
    for phone in (whole["phone"], whole["phone"].removeprefix("+55")):
        assert await api.get(listed, phone=phone) == {"items": [unread], "nextCursor": None}, phone
    assert (await api.get(listed, phone=whole["phone"], updatedSince=unread["lastMessageAt"]))["items"] == []
    assert (await api.get(listed, phone="+5511988880001"))["items"] == []
    refused = await api.get(listed, 422, phone="ninguém")
    assert refused["errors"][0]["field"] == "phone"
    other = await api.add_unit("Outra")
    assert (await api.get(f"/units/{other.id}/conversations", phone=whole["phone"]))["items"] == []
    await api.send(unit, "messages.upsert", arrived("B1", jid="222333444555666@lid"))
    (conversation,) = [
        item for item in (await api.get(f"/units/{unit.id}/conversations"))["items"] if not item["phone"]
    ]
    answer = await api.post(f"/units/{unit.id}/conversations/{conversation['id']}/read", {})
    assert (answer["marked"], answer["skippedLid"]) == (0, 1)
    problem = await api.post(f"/units/{unit.id}/conversations/{uuid4()}/read", {}, 404)
    assert problem["code"] == "conversation_not_found"


async def test_receipts_that_evolution_refuses_are_not_remembered(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", arrived("A1"))
    (message,) = (await api.get(f"/units/{unit.id}/messages"))["items"]
    problem = await api.post(f"/units/{unit.id}/conversations/{message['conversationId']}/read", {}, 502)
    assert (problem["code"], problem["retryable"]) == ("evolution_failed", True)
    assert "instance_unknown" in problem["detail"]
    (row,) = await api.sql("select read_up_to from zapline.conversations")
    assert row.read_up_to == 0


async def test_who_polls_misses_nothing_that_is_committed_late(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = await api.add_unit()
    path = f"/units/{unit.id}/messages"
    await api.send(unit, "messages.upsert", arrived("A1"))
    (first,) = (await api.get(path))["items"]
    pages: list[Any] = []
    looks, find_writers = 0, conversations._writers

    async def counting_writers(conn: Any) -> set[str]:
        nonlocal looks
        looks += 1
        return await find_writers(conn)

    monkeypatch.setattr(conversations, "_writers", counting_writers)
    monkeypatch.setattr(conversations, "WRITERS_TIMEOUT", 30.0)

    async def poll() -> None:
        pages.append(await api.get(path, afterSeq=first["seq"]))

    async with await connect(api.database) as slow, trio.open_nursery() as nursery, slow.transaction():
        await slow.execute(
            "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind,"
            " kind_rank, origin, sent_at, received_at) select gen_random_uuid(), unit_id, conversation_id,"
            " provider, 'SLOW', false, 'text', 2, 'live', sent_at, now() from zapline.messages"
        )
        await api.post(path, send_body("c1", text="later number, earlier commit"), 202)
        nursery.start_soon(poll)
        with trio.fail_after(30):
            while looks < 3:  # noqa: ASYNC110 - counted by the patched function
                await trio.sleep(0.005)
        assert pages == []
    assert [item["externalId"] or item["clientMessageId"] for item in pages[0]["items"]] == ["SLOW", "c1"]
    assert pages[0]["hasMore"] is False
    monkeypatch.setattr(conversations, "WRITERS_TIMEOUT", 0.1)
    async with await connect(api.database) as stuck, stuck.transaction():
        await stuck.execute("update zapline.messages set source = source")
        page = await api.get(path, afterSeq=first["seq"])
        # Nothing is shown rather than too little, and the caller is told to come again.
        assert page == {"items": [], "changed": [], "nextAfterSeq": first["seq"], "hasMore": True}


def test_another_room_says_what_its_errors_are_to_a_caller() -> None:
    class CampaignFailed(LocalError):
        pass

    class CampaignRunning(CampaignFailed):
        pass

    problem = problem_of(
        CampaignRunning("it runs"), {**COMMON_PROBLEMS, CampaignFailed: ProblemType(409, "campaign_failed", True)}
    )
    assert (problem.status, problem.code, problem.detail) == (409, "campaign_failed", "it runs")
    assert (problem.retryable, problem.retry_after) == (True, 5)
    assert problem_of(CampaignRunning("x")).code == "refused"


async def test_a_refusal_after_the_answer_is_a_failure_with_a_reason_that_arrival_beats(api: Any) -> None:
    unit = await api.add_unit()
    created = await api.post(f"/units/{unit.id}/messages", send_body(), 202)
    async with api.engine_pool.connection() as conn:
        taken = await claim(
            conn, unit.id, process=uuid4(), attempt=uuid4(), now=time.time() + 1, lease=60, lanes=list(Lane), blocked=[]
        )
    assert taken is not None
    id = taken.chosen_id
    update = {"keyId": id, "remoteJid": "111222333444555@lid", "fromMe": True, "status": "ERROR"}
    await api.send(unit, "messages.update", update)
    path = f"/units/{unit.id}/messages/{created['id']}"
    failed = await api.until(path, lambda message: message["deliveryStatus"] == "failed")
    assert failed["failure"]["code"] == failed["work"]["failure"]["code"] == "whatsapp_refused"
    assert "too many strangers" in failed["failure"]["sentence"]
    thread = f"/units/{unit.id}/conversations/{created['conversationId']}/messages"
    (shown,) = (await api.get(thread))["items"]
    assert shown["failure"] == failed["failure"]
    await api.send(unit, "messages.update", update | {"status": 0, "messageStubParameters": ["463"]})
    told = await api.until(path, lambda message: message["failure"]["code"] == "whatsapp_refused_463")
    assert "463" in told["failure"]["sentence"]
    await api.send(unit, "messages.update", update | {"status": "DELIVERY_ACK"})
    arrived = await api.until(path, lambda message: message["deliveryStatus"] == "delivered")
    assert (arrived["failure"], arrived["work"]["failure"]) == (None, None)


async def test_a_number_without_its_area_code_is_refused_in_words(api: Any) -> None:
    unit = await api.add_unit()
    for to, words in (
        ("99999-0001", "area code"),
        ("3333-4444", "area code"),
        ("95552-2243", "area code"),
        ("(11) 99999-00012", "a digit too many"),
    ):
        problem = await api.post(f"/units/{unit.id}/messages", send_body(to=to, text="oi"), 422)
        assert words in str(problem), problem


async def test_a_plain_request_and_one_that_the_framework_takes_are_answered_alike(api: Any) -> None:
    """``POST .../messages`` has an endpoint of its own for plain requests: who asks otherwise must not notice."""
    unit, theirs = await api.add_unit(), await api.add_unit("Outra")
    foreign = (await api.identity.mint_unit_token(theirs.id, "t", frozenset({Scope.SEND}), "test", None)).token
    reader = (await api.identity.mint_unit_token(unit.id, "t", frozenset({Scope.READ}), "test", None)).token
    path = f"/units/{unit.id}/messages"
    await api.post(path, send_body("known"), 202)
    cases: list[tuple[str, str | None, bytes, int]] = [
        (path, api.token, msgspec.json.encode(send_body("known")), 202),
        (path.replace(str(unit.id), str(unit.id).upper()), api.token, msgspec.json.encode(send_body("known")), 202),
        (path, api.token, msgspec.json.encode(send_body("known", text="outro")), 409),
        (path, None, msgspec.json.encode(send_body("c2")), 401),
        (path, "zl_" + "x" * 43, msgspec.json.encode(send_body("c2")), 401),
        (path, foreign, msgspec.json.encode(send_body("c2")), 404),
        (path, reader, msgspec.json.encode(send_body("c2")), 403),
        (f"/units/{uuid4()}/messages", api.token, msgspec.json.encode(send_body("c2")), 404),
        (path, api.token, msgspec.json.encode(send_body("c2", text="")), 422),
        (path, api.token, msgspec.json.encode(send_body("c2", colour="red")), 422),
        (path, api.token, msgspec.json.encode(send_body("c2", text="oi") | {"to": "123"}), 422),
        (path, api.token, b"{", 400),
        (path, api.token, b"[]", 422),
        (path, api.token, b'{"clientMessageId": "c2", "to": "+5511999990001", "text": "\xff"}', 400),
    ]
    for where, token, content, status in cases:
        answers = []
        for media in ("application/json", "application/json; charset=utf-8"):
            headers = {"content-type": media, "authorization": f"Bearer {token}" if token is not None else "none"}
            answers.append(await api.client.post(where, content=content, headers=headers))
        plain, framework = answers
        assert plain.status_code == framework.status_code == status, (where, content, plain.text)
        assert plain.json() == framework.json()
        assert {name: value for name, value in plain.headers.items() if name != "date"} == {
            name: value for name, value in framework.headers.items() if name != "date"
        }
    for strange in ({"transfer-encoding": "chunked"}, {"content-type": "text/plain"}):
        answer = await api.client.post(path, content=msgspec.json.encode(send_body("known")), headers=strange)
        assert answer.status_code == (202 if "transfer-encoding" in strange else 415)
    assert (await api.client.post(path + "?x=1", content=b"{}")).status_code == 422


async def test_a_stranger_is_refused_before_his_body_has_come_and_who_is_late_is_heard(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_endpoint, "_PROMPT_SECONDS", 0.02)
    unit, host = await api.add_unit(), api.url.removeprefix("http://")
    body = msgspec.json.encode(send_body("late"))
    head = f"POST /units/{unit.id}/messages HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    address, _, port = host.rpartition(":")
    for token, pieces, expected in (
        ("zl_" + "x" * 43, [], b"HTTP/1.1 401 "),
        (api.token, [body[:5], body[5:]], b"HTTP/1.1 202 "),
        (api.token, [body], b"HTTP/1.1 202 "),
    ):
        stream = await trio.open_tcp_stream(address, int(port))
        async with stream:
            await stream.send_all(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
            for piece in pieces:
                await trio.sleep(0.05)
                await stream.send_all(piece)
            with trio.fail_after(10):
                assert (await stream.receive_some()).startswith(expected)
