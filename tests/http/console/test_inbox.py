"""Conversations in the console: lists, threads, replies that are sent once, and hostile texts that stay texts."""

import re
import time
from html import unescape
from typing import Any

import pytest
import trio
from support.console_operator import Operator

from zapline.evolution.client.response_parser import MediaContent
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.sql.accounts.administrators import add_admin

PHONE = "5511999990001@s.whatsapp.net"
NOW = 1_795_364_451
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}} {% raw %}",
    "\u202egnp.exe",
    "javascript:alert(1)",
    "</textarea><script>alert(1)</script>",
)


def text(external_id: str, words: str, at: int = NOW, name: str = "Maria", **more: Any) -> dict[str, object]:
    return {
        "key": {"remoteJid": PHONE, "fromMe": False, "id": external_id},
        "pushName": name,
        "message": more or {"conversation": words},
        "messageType": "conversation",
        "messageTimestamp": at,
    }


def messages_of(page: str) -> str:
    """A page of a conversation without the list beside it."""
    return page[page.index('aria-labelledby="thread-title"') :]


async def first_chat(api: Any, unit: Any) -> str:
    (one,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    return f"/console/units/{unit.id}/conversations/{one['id']}"


async def test_a_conversation_is_listed_found_and_read_and_an_empty_list_says_what_to_expect(
    api: Any, operator: Operator
) -> None:
    unit = await api.add_unit()
    listed = f"/console/units/{unit.id}/conversations"
    assert "No conversation yet" in (await operator.get(listed)).text
    await api.send(unit, "messages.upsert", text("A1", "bom dia", NOW - 90_000, "Conceição"))
    await api.send(unit, "messages.upsert", text("A2", "tudo bem? https://example.com/a?b=1. ok", NOW, "Conceição"))
    page = (await operator.get(listed)).text
    assert "Conceição" in page
    assert "****0001" in page
    assert "99999" not in page
    assert "2 unread messages" in page
    for wanted, there in (
        ("conceicao", True),
        ("99999-0001", True),
        ("joao", False),
        ("4444", False),
        ("c_nceicao", False),
    ):
        assert ("Conceição" in (await operator.get(f"{listed}/part?q={wanted}")).text) is there, wanted
    thread = messages_of((await operator.get(await first_chat(api, unit))).text)
    assert "+5511999990001" in thread
    assert thread.index("bom dia") < thread.index("tudo bem?")
    assert thread.count('class="day"') == 2
    assert '<a href="https://example.com/a?b=1" rel="noopener noreferrer nofollow" target="_blank">' in thread
    await operator.get(f"{listed}/11111111-1111-1111-1111-111111111111", 404)
    other = await api.add_unit("Outra")
    moved = (await first_chat(api, unit)).replace(str(unit.id), str(other.id))
    await operator.get(moved, 404)


async def test_older_messages_come_on_demand_and_the_live_part_begins_where_the_page_does(
    api: Any, operator: Operator
) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", [text(f"A{n}", f"number {n};", NOW - 100 + n) for n in range(60)])
    chat = await first_chat(api, unit)
    page = (await operator.get(chat)).text
    assert "number 59;" in page
    assert "number 19;" not in page
    older = re.search(r'data-above="([^"]+)"', page)
    live = re.search(r'data-src="([^"]+/part[^"]*)"', messages_of(page))
    assert older is not None
    assert live is not None
    above = (await operator.get(unescape(older[1]))).text
    assert "number 19;" in above
    assert "number 20;" not in above
    assert "data-above" not in above
    part = (await operator.get(unescape(live[1]))).text
    assert "number 20;" in part
    assert "number 19;" not in part
    still = (await operator.get(unescape(older[1]).replace("/older?", "?"))).text
    assert "number 19;" in still
    assert "To the newest messages" in still


async def test_a_form_that_is_sent_twice_sends_one_message_and_a_queued_one_can_be_taken_back(
    api: Any, operator: Operator
) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", "oi"))
    chat = await first_chat(api, unit)
    action = f"{chat}/reply"
    form = (await operator.get(chat)).forms[action]
    for _ in range(2):
        await operator.post(action, form | {"text": "  já vai\r\nsair  "})
    page = (await operator.get(chat)).text
    assert page.count("já vai\nsair") == 1
    assert "Queued" in page
    again = await operator.post(action, form | {"text": "another"}, 422)
    assert "another</textarea>" in again.text
    assert again.forms[action]["key"] != form["key"]
    empty = await operator.post(action, form | {"text": " "}, 422, **{"X-Zapline-Live": "1"})
    assert "Type a message" in empty.text
    assert "<html" not in empty.text
    form = (await operator.get(chat)).forms[action]
    for _ in range(2):  # the same file of the same form, too
        file = {"file": ("../a\u202eb.pdf", b"%PDF-1.4", "application/pdf")}
        await operator.post(action, form | {"text": "a oferta"}, files=file)
    assert (await api.sql("select count(*) from zapline.outbox"))[0][0] == 2
    assert [row.file_name for row in await api.sql("select file_name from zapline.uploads")] == ["ab.pdf"]
    cancel = next(action for action in (await operator.get(chat)).forms if "/cancel/" in action)
    await operator.send(cancel)
    assert "Cancelled" in (await operator.get(chat)).text
    actions = await api.sql("select actor, action, outcome from zapline.audit_log where action like '%message'")
    assert [tuple(action) for action in actions][-1] == ("ana@example.com", "cancel_message", 200)


async def test_a_thread_says_why_a_reply_would_have_to_wait(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    part = f"/console/units/{unit.id}/part/hold"
    assert "The line is not open: This line has never been connected" in (await operator.get(part)).visible_text
    await api.post(f"/units/{unit.id}/pause")
    assert "sending is paused" in (await operator.get(part)).visible_text
    await api.post(f"/units/{unit.id}/resume")
    await api.client.post(f"/units/{unit.id}/whatsapp/connect")
    with trio.fail_after(30):
        while (await operator.get(part)).visible_text:
            scan = {"instance": unit.record.instance}
            await operator.client.post(f"{api.evolution.url}/_control/scan", json=scan)
            await trio.sleep(0.05)


async def test_a_reply_whose_form_is_not_of_this_session_is_refused(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", "oi"))
    chat = await first_chat(api, unit)
    form = (await operator.get(chat)).forms[f"{chat}/reply"] | {"text": "não"}
    await operator.post(f"{chat}/reply", form | {"csrf": "wrong"}, 403)
    await operator.post(f"{chat}/reply", form, 403, **{"Sec-Fetch-Site": "cross-site"})
    assert (await api.sql("select count(*) from zapline.outbox"))[0][0] == 0


async def test_hostile_texts_are_shown_as_text_and_change_no_direction(api: Any, operator: Operator) -> None:
    unit = await api.add_unit("<b>Loja</b>")
    place = {"degreesLatitude": -23.5, "degreesLongitude": -46.6, "name": HOSTILE[0], "url": HOSTILE[5]}
    card = {"displayName": HOSTILE[1], "contacts": [{"displayName": HOSTILE[4], "vcard": "waid=5511999990009"}]}
    poll = {"name": HOSTILE[2], "options": [{"optionName": words} for words in HOSTILE]}
    sent = [text(f"H{n}", words, NOW + n, HOSTILE[n]) for n, words in enumerate(HOSTILE)]
    sent += [
        text("L", "", NOW + 20, locationMessage=place),
        text("C", "", NOW + 21, contactsArrayMessage=card),
        text("P", "", NOW + 22, pollCreationMessage=poll),
        text("D", "", NOW + 23, documentMessage={"fileName": HOSTILE[1], "caption": HOSTILE[0], "mimetype": "x/y"}),
        text("I", "", NOW + 24, HOSTILE[4], imageMessage={"caption": HOSTILE[6], "mimetype": "text/html"}),
    ]
    for one in sent:
        await api.send(unit, "messages.upsert", one)
    chat = await first_chat(api, unit)
    for path in (chat, f"/console/units/{unit.id}/conversations", f"{chat}/part"):
        page = (await operator.get(path)).text
        assert "<script>alert" not in page
        assert not re.search(r"<[a-z]+[^<>]*\son\w+\s*=", page)
        assert "<img src=x" not in page
        assert 'href="javascript' not in page
        assert "<b>Loja" not in page
    thread = (await operator.get(chat)).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in thread
    assert "https://www.openstreetmap.org/?mlat=-23.50000" in thread
    assert 'href="https://www.openstreetmap.org' in thread
    # Direction marks are only in the block of their message, and in no name.
    for found in re.finditer("\u202e", thread):
        assert thread.rindex('<p class="text" dir="auto">', 0, found.start()) > thread.rindex("</p>", 0, found.start())


async def test_conversations_that_are_one_person_are_one_entry_with_the_latest_of_both(
    api: Any, operator: Operator
) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", "do telefone", NOW))
    hidden = text("A2", "do LID", NOW + 60) | {"key": {"remoteJid": "111222333@lid", "fromMe": False, "id": "A2"}}
    await api.send(unit, "messages.upsert", hidden)
    listed = f"/console/units/{unit.id}/conversations"
    assert (await operator.get(listed)).text.count('class="conversation unread"') == 2
    async with api.engine_pool.connection() as conn:
        await conn.execute(
            "update zapline.conversations c set merged_into = r.id from zapline.conversations r, zapline.contacts k"
            " where k.id = r.contact_id and k.phone is not null and c.id <> r.id"
        )
    page = await operator.get(listed)
    assert page.text.count('class="conversation unread"') == 1
    assert "do LID" in page.visible_text
    assert "2 unread messages" in page.visible_text
    thread = messages_of((await operator.get(next(link for link in page.links if link.startswith(f"{listed}/")))).text)
    assert thread.index("do telefone") < thread.index("do LID")


async def test_a_picture_is_shown_for_what_its_bytes_are_and_nothing_else_is(
    api: Any, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: dict[str, bytes] = {
        "PNG": b"\x89PNG\r\n\x1a\n" + b"x" * 100,
        "HTML": b"<script>alert(1)</script>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    }

    async def fetch_media(client: EvolutionClient, name: str, external_id: str) -> MediaContent:
        return MediaContent("image/png", "<b>.png", bodies[external_id])

    monkeypatch.setattr(EvolutionClient, "fetch_media", fetch_media)
    unit = await api.add_unit()
    for name in bodies:
        await api.send(unit, "messages.upsert", text(name, "", imageMessage={"mimetype": "image/png"}))
    ids = {row.external_id: row.id for row in await api.sql("select external_id, id from zapline.messages")}
    for name, body in bodies.items():
        path = f"/console/units/{unit.id}/messages/{ids[name]}"
        answer = await operator.client.get(f"{path}/shown")
        assert answer.status_code == (200 if name == "PNG" else 404), name
        if name == "PNG":
            assert (answer.headers["content-type"], answer.content) == ("image/png", body)
            assert answer.headers["content-security-policy"].endswith("sandbox")
            assert answer.headers["x-content-type-options"] == "nosniff"
        file = await operator.client.get(f"{path}/file")
        assert file.content == body
        assert file.headers["content-disposition"].startswith("attachment")


async def test_messages_are_searched_over_units_and_a_hit_leads_to_its_place(api: Any, operator: Operator) -> None:
    unit, other = await api.add_unit(), await api.add_unit("Filial")
    await api.send(unit, "messages.upsert", [text(f"A{n}", f"pão número {n}", NOW + n) for n in range(45)])
    await api.send(other, "messages.upsert", text("B1", HOSTILE[0] + " promoção", name="Zé"))
    page = await operator.get("/console/search?q=promocao+ALERT")
    assert "Filial" in page.visible_text
    assert "promoção" in page.visible_text
    first = await operator.get("/console/search?q=pao")
    older = next(link for link in first.links if "cursor=" in link and link.startswith("/console/search"))
    assert "pão número 14" in (await operator.get(older)).text
    hit = next(link for link in first.links if "/conversations/" in link)
    place = (await operator.get(hit.partition("#")[0])).text
    assert f'id="{hit.partition("#")[2]}"' in place
    part = (await operator.get(f"/console/search/part?q=promocao&unitId={unit.id}")).text
    assert "No message has these words" in part
    assert "<html" not in part
    for nothing in ("", "?q=!!"):
        assert "Type one or more words" in (await operator.get(f"/console/search{nothing}")).text


async def test_what_was_sent_can_be_edited_and_deleted_in_its_time_and_a_refusal_is_said(
    api: Any, operator: Operator
) -> None:
    unit = await api.add_unit()
    now = int(time.time())
    mine = {"key": {"remoteJid": PHONE, "fromMe": True, "id": "M1"}}
    await api.send(unit, "messages.upsert", [text("A1", "theirs", now - 60), text("M1", "ours <b>", now - 50) | mine])
    old = {"key": {"remoteJid": PHONE, "fromMe": True, "id": "M2"}}
    await api.send(unit, "messages.upsert", text("M2", "ours of yesterday", now - 86_400) | old)
    chat = await first_chat(api, unit)
    page = await operator.get(chat)
    forms = sorted(
        action.removeprefix(chat).split("/")[1] for action in page.forms if "/edit/" in action or "/delete/" in action
    )
    assert forms == ["delete", "delete", "edit"]
    assert "ours &lt;b&gt;</textarea>" in page.text
    edit = next(action for action in page.forms if "/edit/" in action)
    await operator.send(edit, {"new_text": "better"})
    assert "It could not be changed" in (await operator.follow()).text
    page = await operator.get(chat)
    await operator.send(edit, {"new_text": "  "})
    assert "could not" not in (await operator.follow()).text
    page = await operator.get(chat)
    await operator.send(next(action for action in page.forms if "/delete/" in action))
    assert "It could not be changed" in (await operator.follow()).text


async def test_a_message_is_answered_reacted_to_and_a_voice_note_is_one(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    now = int(time.time())
    await api.send(unit, "messages.upsert", [text("A1", "Quanto custa <b>?", now), text("A2", "oi", now + 1)])
    chat = await first_chat(api, unit)
    page = await operator.get(chat)
    reply = next(link for link in page.links if "?reply=" in link)
    asked = await operator.get(reply.partition("#")[0])
    assert "Reply to Quanto custa <b>?" in asked.visible_text
    await operator.send(f"{chat}/reply", {"text": "R$ 10"})
    sent = (await api.sql("select quoted_id, body from zapline.messages where from_me"))[0]
    assert tuple(sent) == ("A1", "R$ 10")
    assert "Reply to <" not in (await operator.get(f"{chat}?reply=nothing")).text
    (id,) = [row.id for row in await api.sql("select id from zapline.messages where external_id = 'A2'")]
    csrf = {"csrf": page.forms[f"{chat}/reply"]["csrf"]}
    await operator.post(f"{chat}/react/{id}", csrf | {"emoji": "👍"}, 204, **{"X-Zapline-Live": "1"})
    await operator.post(f"{chat}/react/{id}", csrf | {"emoji": "<b>"}, 422)
    kinds = [row.kind for row in await api.sql("select kind from zapline.messages where from_me order by seq")]
    assert kinds == ["text", "reaction"]
    form = (await operator.get(chat)).forms[f"{chat}/reply"]
    sound = {"file": ("voice.webm", b"\x1aE\xdf\xa3" + b"x" * 50, "audio/webm;codecs=opus")}
    refused = await operator.post(f"{chat}/reply", form | {"voice": "1", "text": "e isto"}, 422, files=sound)
    assert "WhatsApp shows no text with a sound" in refused.visible_text
    await operator.post(f"{chat}/reply", refused.forms[f"{chat}/reply"] | {"text": ""})
    (note,) = await api.sql("select kind, media ->> 'mimetype' as type from zapline.messages where kind = 'voice'")
    assert tuple(note) == ("voice", "audio/webm")


async def test_quick_replies_are_written_on_a_page_and_offered_to_the_composer(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    base = f"/console/units/{unit.id}/quick-replies"
    assert "No quick reply yet" in (await operator.get(base)).visible_text
    await operator.send(base, {"shortcut": "/Horario", "reply_text": HOSTILE[0]})
    assert "Saved." in (await operator.follow()).visible_text
    await operator.send(base, {"shortcut": "a b", "reply_text": "x"})
    assert "no blank" in (await operator.follow()).visible_text
    offered = await operator.get(f"{base}/options")
    assert 'data-shortcut="horario"' in offered.text
    assert "<script>" not in offered.text
    await operator.get(base)
    await operator.send(f"{base}/remove", {"shortcut": "horario"})
    assert "Removed." in (await operator.follow()).visible_text
    actions = await api.sql("select action from zapline.audit_log where action like '%quick_reply' order by id")
    assert [row.action for row in actions] == ["put_quick_reply", "put_quick_reply", "delete_quick_reply"]


async def test_who_else_is_in_a_conversation_is_told_to_the_console_alone(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", "oi"))
    chat = await first_chat(api, unit)
    page = await operator.get(chat)
    stream = re.search(r'data-events="([^"]+)"', page.text)
    assert stream is not None
    assert stream[1].endswith(f"?conversation={chat.rpartition('/')[2]}")
    (hashed,) = await api.sql("select password_hash from zapline.admins")
    async with api.engine_pool.connection() as conn:
        assert await add_admin(conn, "bia@example.com", hashed.password_hash) is not None
    colleague = Operator(api.url)
    await colleague.sign_in("bia@example.com", "correct horse battery")
    page = await colleague.get(chat)
    csrf = {"csrf": page.forms[f"{chat}/reply"]["csrf"]}
    live = {"X-Zapline-Live": "1"}
    unit_events = f"{api.url}/units/{unit.id}/events"
    with trio.fail_after(60):
        async with (
            operator.client.stream("GET", stream[1]) as mine,
            api.client.stream("GET", unit_events) as of_a_crm,
        ):
            told = mine.aiter_lines()
            async with colleague.client.stream("GET", stream[1]) as theirs:
                arriving = theirs.aiter_lines()  # kept: a stream whose reader has gone is closed
                await lines_until(arriving, "event: hello")
                await lines_until(told, "event: presence")
                while not (here := (await operator.get(f"{chat}/colleagues")).visible_text):  # noqa: ASYNC110
                    await trio.sleep(0.02)
                assert here == "bia has this conversation open too"
                await colleague.post(f"{chat}/typing", csrf | {"active": "1"}, 204, **live)
                assert (await operator.get(f"{chat}/colleagues")).visible_text == "bia is typing here"
                assert (await colleague.get(f"{chat}/colleagues")).visible_text.startswith("ana has")
                await colleague.post(f"{chat}/typing", csrf, 204, **live)
            while (await operator.get(f"{chat}/colleagues")).visible_text:  # noqa: ASYNC110
                await trio.sleep(0.02)
            await api.send(unit, "messages.upsert", text("A2", "e agora?", NOW + 1))
            seen = await lines_until(of_a_crm.aiter_lines(), "event: message")
            assert "event: presence" not in seen
    await colleague.close()


async def lines_until(lines: Any, last: str) -> list[str]:
    """The lines of a stream up to this one."""
    seen: list[str] = []
    async for line in lines:
        seen.append(line)
        if line == last:
            break
    return seen


async def test_what_ctrl_k_finds_are_conversations_units_and_the_way_to_messages(api: Any, operator: Operator) -> None:
    unit, other = await api.add_unit("Loja São João"), await api.add_unit("Filial")
    await api.send(unit, "messages.upsert", text("A1", HOSTILE[0], name="Conceição"))
    await api.send(other, "messages.upsert", text("B1", "oi", name="Conceição"))
    found = await operator.get(f"/console/find?q=conceicao&unitId={other.id}")
    chats = [link for link in found.links if "/conversations/" in link]
    assert [str(other.id) in chats[0], str(unit.id) in chats[1], len(chats)] == [True, True, 2]
    assert "<script>" not in found.text
    assert "/console/search?q=conceicao" in found.links
    assert f"/console/units/{unit.id}/conversations" in (await operator.get("/console/find?q=sao+joao")).links
    latest = await operator.get(f"/console/find?unitId={unit.id}")
    assert len([link for link in latest.links if "/conversations/" in link]) == 1
    assert "Filial" in (await operator.get("/console/find")).visible_text


async def test_what_was_read_can_be_marked_as_unread_again(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", [text("A1", "bom dia"), text("A2", "alguém?", NOW + 1)])
    chat, listed = await first_chat(api, unit), f"/console/units/{unit.id}/conversations"
    assert f"{chat}/unread" not in (await operator.get(chat)).forms
    await api.sql("update zapline.conversations set read_up_to = (select max(seq) from zapline.messages) returning 1")
    assert "unread message" not in (await operator.get(listed)).visible_text
    page = await operator.get(chat)
    assert f"{chat}/read" not in page.forms
    await operator.send(f"{chat}/unread")
    assert "1 unread message" in (await operator.follow()).visible_text
    assert f"{chat}/read" in (await operator.get(chat)).forms
    await operator.post(f"{chat}/unread", {"csrf": page.forms[f"{chat}/unread"]["csrf"]})
    assert "1 unread message" in (await operator.get(listed)).visible_text
