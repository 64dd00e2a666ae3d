"""Conversations and messages over HTTP: merged, paged, and kept apart between units."""

from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from zapline.sql.postgres.connection import connect

NOW = 1_795_364_451
PHONE = "5511999990001@s.whatsapp.net"
LID = "111222333444555@lid"


def text(external_id: str, words: str, at: int = NOW, jid: str = PHONE, **key: object) -> dict[str, object]:
    """Data of a messages.upsert."""
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": external_id, **key},
        "pushName": "Maria",
        "message": {"conversation": words},
        "messageType": "conversation",
        "messageTimestamp": at,
        "status": "DELIVERY_ACK",
    }


async def all_pages(api: Any, path: str, limit: int) -> list[Any]:
    result, cursor = [], None
    for _ in range(50):
        page = await api.get(path, limit=limit, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= limit
        result += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            return result
    raise AssertionError("the pages do not end")


async def test_a_message_is_shown_with_all_that_is_known_of_it(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", "bom dia"))
    (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    assert conversation["phone"] == "+5511999990001"
    assert (conversation["name"], conversation["kind"]) == ("Maria", "person")
    assert conversation["lastMessageAt"] == "2026-11-22T17:00:51.000Z" or conversation["lastMessageAt"].endswith("Z")
    path = f"/units/{unit.id}/conversations/{conversation['id']}/messages"
    (message,) = (await api.get(path))["items"]
    last = {"id": message["id"], "fromMe": False, "kind": "text", "text": "bom dia", "sentAt": message["sentAt"]}
    assert (conversation["lastMessage"], conversation["unreadCount"]) == (last, 1)
    assert message["conversationId"] == conversation["id"]
    assert message["sentAt"] == conversation["lastMessageAt"]
    expected = {
        "externalId": "A1",
        "clientMessageId": None,
        "fromMe": False,
        "kind": "text",
        "text": "bom dia",
        "editedAt": None,
        "deletedAt": None,
        "media": None,
        "deliveryStatus": None,
        "reactions": [],
        "votes": [],
        "backfilled": False,
    }
    assert {name: message[name] for name in expected} == expected


async def test_reactions_edits_and_deletes_show_in_the_message(api: Any) -> None:
    unit = await api.add_unit()
    for number in range(3):
        await api.send(unit, "messages.upsert", text(f"A{number}", f"text {number}", NOW + number))
    for target, emoji, at in [("A0", "👍", 1), ("A1", "🙏", 1), ("A1", "", 2)]:
        reaction = {"reactionMessage": {"key": {"id": target, "remoteJid": PHONE}, "text": emoji}}
        data = text(f"R{target}{at}", "", NOW + 10 + at) | {"message": reaction, "messageType": "reactionMessage"}
        await api.send(unit, "messages.upsert", data)
    rows = await api.sql("select external_id, value from zapline.message_reactions order by 1")
    assert [(row.external_id, row.value) for row in rows] == [("A0", "👍"), ("A1", "")]
    await api.sql(
        "update zapline.messages set edited_body = 'better', edited_at_ms = 1795364460123 "
        "where external_id = 'A1' returning 1"
    )
    await api.sql("update zapline.messages set deleted_at = now() where external_id = 'A2' returning 1")
    result = {item["externalId"]: item for item in (await api.get(f"/units/{unit.id}/messages"))["items"]}
    assert result["A0"]["reactions"] == [{"actor": "+5511999990001", "emoji": "👍"}]
    assert result["A1"]["reactions"] == []
    assert result["A1"]["text"] == "better"
    assert result["A1"]["editedAt"].endswith(".123Z")
    assert result["A2"]["text"] is None
    assert result["A2"]["deletedAt"] is not None


async def test_a_merged_conversation_is_one_with_its_root(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("L1", "from the lid", NOW, LID))
    (before,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    await api.send(unit, "messages.upsert", text("P1", "from the phone", NOW + 1, PHONE, remoteJidAlt=LID))
    await api.send(unit, "messages.upsert", text("L2", "from the lid again", NOW + 2, LID))
    (after,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    assert after["phone"] == "+5511999990001"
    assert after["lid"] == "111222333444555"
    root = f"/units/{unit.id}/conversations/{after['id']}/messages"
    page = (await api.get(root))["items"]
    assert [item["externalId"] for item in page] == ["L2", "P1", "L1"]
    assert {item["conversationId"] for item in page} == {after["id"]}
    assert after["lastMessageAt"] == page[0]["sentAt"]
    rows = await api.sql("select id, merged_into from zapline.conversations where merged_into is not null")
    assert [str(row.merged_into) for row in rows] == [after["id"]]
    assert before["id"] == str(rows[0].id)
    assert (await api.get(f"/units/{unit.id}/conversations/{before['id']}/messages"))["items"] == page
    polled = (await api.get(f"/units/{unit.id}/messages"))["items"]
    assert {item["conversationId"] for item in polled} == {after["id"]}


async def test_pages_are_whole_also_where_times_are_equal(api: Any) -> None:
    unit = await api.add_unit()
    for number in range(7):
        await api.send(unit, "messages.upsert", text(f"A{number}", "x", NOW + number // 3))
    (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    path = f"/units/{unit.id}/conversations/{conversation['id']}/messages"
    for limit in (1, 2, 3, 7, 200):
        assert [item["externalId"] for item in await all_pages(api, path, limit)] == [f"A{n}" for n in range(6, -1, -1)]


async def test_conversations_are_paged_latest_first(api: Any) -> None:
    unit = await api.add_unit()
    for number in range(5):
        jid = f"551199999{number:04d}@s.whatsapp.net"
        await api.send(unit, "messages.upsert", text(f"A{number}", "x", NOW + number // 2, jid))
    result = await all_pages(api, f"/units/{unit.id}/conversations", 2)
    assert len({item["id"] for item in result}) == 5
    times = [item["lastMessageAt"] for item in result]
    assert times == sorted(times, reverse=True)


async def test_a_crm_polls_by_sequence_and_misses_nothing(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("NEW", "x", NOW + 50))
    first = await api.get(f"/units/{unit.id}/messages", afterSeq=0)
    assert [item["externalId"] for item in first["items"]] == ["NEW"]
    await api.send(unit, "messages.upsert", text("OLD", "sent earlier, arrived later", NOW))
    second = await api.get(f"/units/{unit.id}/messages", afterSeq=first["nextAfterSeq"])
    assert [item["externalId"] for item in second["items"]] == ["OLD"]
    third = await api.get(f"/units/{unit.id}/messages", afterSeq=second["nextAfterSeq"])
    assert third == {"items": [], "changed": [], "nextAfterSeq": second["nextAfterSeq"], "hasMore": False}
    assert (await api.get(f"/units/{unit.id}/messages", limit=1))["hasMore"] is True


async def test_units_do_not_see_each_others_rows(api: Any) -> None:
    item, other = await api.add_unit("one"), await api.add_unit("other")
    await api.send(item, "messages.upsert", text("A1", "secret of one"))
    await api.send(other, "messages.upsert", text("A1", "secret of other"))
    for unit, words in ((item, "secret of one"), (other, "secret of other")):
        (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
        path = f"conversations/{conversation['id']}/messages"
        assert [m["text"] for m in (await api.get(f"/units/{unit.id}/{path}"))["items"]] == [words]
        assert [m["text"] for m in (await api.get(f"/units/{unit.id}/messages"))["items"]] == [words]
        stranger = other if unit is item else item
        assert (await api.get(f"/units/{stranger.id}/{path}", 404))["code"] == "conversation_not_found"


async def test_the_database_itself_keeps_the_readers_of_two_units_apart(api: Any) -> None:
    item, other = await api.add_unit("one"), await api.add_unit("other")
    await api.send(item, "messages.upsert", text("A1", "x"))
    async with api.api_pool.connection() as conn:
        assert (await conn.fetch("select * from zapline.messages")) == []
        async with conn.transaction():
            await conn.execute("select set_config('zapline.unit', %s, true)", (str(other.id),))
            assert (await conn.fetch("select * from zapline.messages")) == []
        async with conn.transaction():
            await conn.execute("select set_config('zapline.unit', %s, true)", (str(item.id),))
            assert len(await conn.fetch("select * from zapline.messages")) == 1
        assert (await conn.fetch("select * from zapline.messages")) == []


async def test_a_bad_cursor_or_limit_is_refused(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", "x"))
    await api.send(unit, "messages.upsert", text("A2", "x", jid="5511999990002@s.whatsapp.net"))
    base = f"/units/{unit.id}/conversations"
    mine = (await api.get(base, limit=1))["nextCursor"]
    thread = f"{base}/{(await api.get(base))['items'][0]['id']}/messages"
    for cursor in ("", "x", "!!!!", "é", "a" * 500, "W10", "WyJjIiwgIngiXQ"):
        problem = await api.get(base, 422, cursor=cursor)
        assert problem["errors"][0]["field"] == "cursor"
    assert (await api.get(thread, 422, cursor=mine))["errors"][0]["field"] == "cursor"
    for limit in ("0", "201", "-1", "1.5", "x", "", "٣", "9" * 30):
        assert (await api.get(base, 422, limit=limit))["errors"][0]["field"] == "limit"
    for after in ("-1", "x", str(2**63)):
        assert (await api.get(f"/units/{unit.id}/messages", 422, afterSeq=after))["code"] == "invalid_request"
    assert (await api.get(f"{base}/{uuid4()}/messages", 404))["code"] == "conversation_not_found"


async def test_the_first_page_of_a_long_thread_does_not_read_the_whole_of_it(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A0", "x"))
    await api.sql(
        "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, "
        "origin, sent_at, received_at) select gen_random_uuid(), unit_id, conversation_id, provider, 'B' || n, false, "
        "'text', 2, 'live', sent_at + n * interval '1 second', now() from zapline.messages, "
        "generate_series(1, 20000) n returning 1"
    )
    async with api.engine_pool.connection() as conn:
        await conn.execute("select count(*) from zapline.messages")
        async with await connect(api.database) as owner:
            await owner.execute("analyze zapline.messages")
        await conn.execute("select pg_stat_force_next_flush()")
    (conversation,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    path = f"/units/{unit.id}/conversations/{conversation['id']}/messages"
    before = await messages_read(api)
    page = await api.get(path, limit=50)
    assert [item["externalId"] for item in page["items"][:2]] == ["B20000", "B19999"]
    assert 50 <= await messages_read(api) - before < 500


async def messages_read(api: Any) -> int:
    """Rows of ``messages`` that PostgreSQL has read for the API so far."""
    async with AsyncExitStack() as stack:
        for _ in range(3):  # all connections of its pool
            conn = await stack.enter_async_context(api.api_pool.connection())
            await conn.execute("select pg_stat_force_next_flush()")
    read = "select seq_tup_read + idx_tup_fetch as rows from pg_stat_user_tables where relname = 'messages'"
    (row,) = await api.sql(read)
    return int(row.rows)


async def test_of_searches_at_once_those_that_find_no_place_are_to_come_again(api: Any, operator: Any) -> None:
    unit = await api.add_unit()
    path, page = f"/units/{unit.id}/messages/search?q=oi", f"/console/search?q=oi&unitId={unit.id}"
    async with api.searches.take(unit.id):
        held = await api.client.get(path)
        assert (held.status_code, held.json()["code"], held.headers["retry-after"]) == (429, "searches_held", "5")
        assert "Others search just now" in (await operator.get(page, 429)).visible_text
        await operator.get("/console/search?q=oi")  # there is a place for another one
    assert (await api.client.get(path)).status_code == 200


async def test_a_search_says_so_while_its_index_is_being_built(api: Any, operator: Any) -> None:
    unit = await api.add_unit()
    await api.sql("alter index zapline.messages_by_words rename to set_aside")
    early = await api.client.get(f"/units/{unit.id}/messages/search?q=oi")
    page = await operator.get("/console/search?q=oi")
    await api.sql("alter index zapline.set_aside rename to messages_by_words")
    assert (early.status_code, early.json()["code"], early.json()["retryable"]) == (503, "search_not_ready", True)
    assert "cannot be searched yet" in page.visible_text


async def test_messages_are_found_by_their_words_page_by_page(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("other")
    said = [text(f"A{number}", f"Promoção nº {number}", NOW + number) for number in range(3)]
    await api.send(unit, "messages.upsert", [*said, text("B", "outra coisa", NOW + 9)])
    path = f"/units/{unit.id}/messages/search"
    pages, cursor = [], {}
    for _ in range(3):
        page = await api.get(path, q="promocao", limit=1, **cursor)
        pages += page["items"]
        cursor = {"cursor": page["nextCursor"]}
    assert [each["externalId"] for each in pages] == ["A2", "A1", "A0"]
    assert page["nextCursor"] is None
    (known,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    assert {each["conversationId"] for each in pages} == {known["id"]}
    assert (await api.get(f"/units/{other.id}/messages/search", q="promocao"))["items"] == []
    for wrong in ({}, {"q": " !? "}, {"q": "a" * 201}, {"q": "a", "cursor": "x"}):
        assert (await api.get(path, 422, **wrong))["code"] == "invalid_request"


async def test_quick_replies_are_kept_by_their_shortcuts(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit("Outra")
    path = f"/units/{unit.id}/quick-replies"
    made = await api.put(f"{path}/Preço", {"text": " São *R$ 10*.\r\nAté já! "}, 201)
    assert (made["shortcut"], made["text"]) == ("preço", "São *R$ 10*.\nAté já!")
    again = await api.put(f"{path}/preço", {"text": "São R$ 12."})
    assert again["text"] == "São R$ 12."
    for name in ("bom-dia", "tchau"):
        await api.put(f"{path}/{name}", {"text": name}, 201)
    first = await api.get(path, limit=2)
    rest = await api.get(path, limit=2, cursor=first["nextCursor"])
    assert [row["shortcut"] for row in first["items"] + rest["items"]] == ["bom-dia", "preço", "tchau"]
    assert rest["nextCursor"] is None
    assert (await api.get(f"/units/{other.id}/quick-replies"))["items"] == []
    for bad, field in (("a b", "shortcut"), ("a" * 33, "shortcut"), ("!", "shortcut"), ("ok", "text")):
        refused = await api.put(f"{path}/{bad}", {"text": " " if bad == "ok" else "x"}, 422)
        assert (refused["code"], refused["errors"][0]["field"]) == ("invalid_quick_reply", field), bad
    await api.sql(
        "insert into zapline.quick_replies"
        f" select '{unit.id}', 'n' || n, 'x' from generate_series(1, 197) n returning 1"
    )
    assert (await api.put(f"{path}/one-more", {"text": "x"}, 409))["code"] == "too_many_quick_replies"
    assert (await api.put(f"{path}/tchau", {"text": "até"}))["text"] == "até"
    assert (await api.client.delete(f"{path}/tchau")).status_code == 204
    assert (await api.client.delete(f"{path}/tchau")).json()["code"] == "quick_reply_not_found"
