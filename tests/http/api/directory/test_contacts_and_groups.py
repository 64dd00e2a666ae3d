"""Contacts and groups as WhatsApp knows them: listed, found by name, asked for seldom, told as they were."""

import time
from typing import Any

import trio
import trio.testing

GROUP, QUIET = "120363000000000001@g.us", "120363000000000002@g.us"
ANA, RUI, LID = "5511999990001@s.whatsapp.net", "5531988880002@s.whatsapp.net", "111222333444555@lid"
HIDDEN = "999888777666555@lid"
PICTURE = "https://pps.whatsapp.net/v/t61/ana.jpg?oe=69"


def text(id: str, jid: str, name: str, **key: object) -> dict[str, object]:
    return {
        "key": {"remoteJid": jid, "fromMe": False, "id": id, **key},
        "pushName": name,
        "message": {"conversation": "oi"},
        "messageType": "conversation",
        "messageTimestamp": int(time.time()) - 60,
    }


def asked(api: Any, what: str) -> list[tuple[str, ...]]:
    return [told for _, kind, told in api.evolution.ledger.questions if kind == what]


async def people(api: Any, unit: Any, **query: object) -> list[tuple[object, ...]]:
    items = (await api.get(f"/units/{unit.id}/contacts", **query))["items"]
    return [(item["phone"], item["lid"], item["name"]) for item in items]


async def test_contacts_are_listed_once_each_and_found_by_name_and_phone(api: Any) -> None:
    unit, other = await api.add_unit(), await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", LID, "Ana Estética"))
    await api.send(unit, "messages.upsert", text("A2", RUI, "Rui 50%"))
    await api.send(unit, "messages.upsert", text("A3", HIDDEN, "João da Padaria"))
    await api.send(unit, "messages.upsert", text("A4", GROUP, "Zé", participant=RUI))
    ana, rui = ("+5511999990001", LID.partition("@")[0], "Ana Estética"), ("+5531988880002", None, "Zé")
    hidden = (None, HIDDEN.partition("@")[0], "João da Padaria")
    assert len(await people(api, unit)) == 3
    # The LID is found to be a phone's: one person, called as he was under the other address.
    await api.send(unit, "messages.upsert", text("A5", LID, "", remoteJidAlt=ANA))
    everybody = await people(api, unit)
    assert sorted(map(str, everybody)) == sorted(map(str, (ana, rui, hidden)))
    for query, found in (
        ({"search": "estetica"}, [ana]),
        ({"search": "ESTÉTICA"}, [ana]),
        ({"search": "(31) 98888"}, [rui]),
        ({"search": "%"}, []),
        ({"search": "joao"}, [hidden]),
        ({"phone": "(11) 99999-0001"}, [ana]),
        ({"phone": "(11) 99999-0009"}, []),
    ):
        assert await people(api, unit, **query) == found, query
    assert await people(api, other) == []
    paged, cursor = [], None
    while cursor is not None or not paged:
        page = await api.get(f"/units/{unit.id}/contacts", limit=1, **({"cursor": cursor} if cursor else {}))
        paged += page["items"]
        cursor = page["nextCursor"]
    assert [(item["phone"], item["lid"], item["name"]) for item in paged] == everybody
    assert all(item["conversationId"] for item in paged if item["name"] != "Zé" or item["lastMessageAt"])
    await api.get(f"/units/{unit.id}/contacts", 422, search="x", phone="11999990001")
    await api.get(f"/units/{unit.id}/contacts", 422, phone="12")


async def test_a_picture_is_asked_for_once_an_hour_and_no_faster_than_whatsapp_bears(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", ANA, "Ana"))
    await api.send(unit, "messages.upsert", text("A2", HIDDEN, "João"))
    ids = {item["name"]: item["id"] for item in (await api.get(f"/units/{unit.id}/contacts"))["items"]}
    ana, hidden = (f"/units/{unit.id}/contacts/{ids[name]}/picture" for name in ("Ana", "João"))
    assert (await api.get(ana, 409))["code"] == "line_not_connected"
    await api.connect_line(unit)
    api.evolution.numbers.pictures[ANA] = PICTURE
    first = await api.get(ana)
    assert (first["url"], await api.get(ana)) == (PICTURE, first)
    assert (await api.get(hidden))["url"] is None
    assert asked(api, "picture") == [(ANA,), (HIDDEN,)]
    assert (await api.get(f"/units/{unit.id}/contacts/{unit.id}/picture", 404))["code"] == "contact_not_found"
    api.pictures._kept.clear()
    statuses = []
    while len(statuses) < 300 and 429 not in statuses:  # a slow machine is given some more meanwhile
        statuses.append((await api.client.get(ana)).status_code)
        api.pictures._kept.clear()
    assert statuses[-1] == 429
    assert set(statuses[:20]) == {200}


async def test_groups_are_told_with_their_members_roles_and_names_and_asked_for_seldom(api: Any) -> None:
    unit = await api.add_unit()
    await api.send(unit, "messages.upsert", text("A1", ANA, "Ana"))
    await api.send(unit, "messages.upsert", text("A2", GROUP, "Ana", participant=ANA))
    groups = f"/units/{unit.id}/groups"
    (known,) = (await api.get(groups))["items"]
    assert (known["jid"], known["size"], known["membersAt"]) == (GROUP, None, None)
    one = f"{groups}/{known['id']}"
    assert (await api.get(one, 409))["code"] == "line_not_connected"
    assert (await api.get(groups, 409, refresh="true"))["code"] == "line_not_connected"
    await api.connect_line(unit)
    directory = api.evolution.numbers
    assert (await api.get(one, 502))["code"] == "evolution_failed", "the line is not in it"
    failed = len(asked(api, "group"))
    assert (await api.get(one, 502))["code"] == "evolution_failed"
    assert len(asked(api, "group")) == failed, "what failed a moment ago is not asked again"
    api.groups._failed.clear()
    directory.subjects |= {GROUP: "Clientes VIP", QUIET: "Equipe"}
    directory.groups[GROUP] = (RUI, ANA, "5511988887777@s.whatsapp.net")
    directory.lids[ANA] = LID
    directory.roles |= {(GROUP, ANA): "superadmin", (GROUP, RUI): "admin"}
    directory.admins_write.add(GROUP)
    told = await api.get(one)
    assert (told["name"], told["size"], told["adminsOnly"]) == ("Clientes VIP", 3, True)
    assert [(member["phone"], member["lid"], member["role"], member["name"]) for member in told["members"]] == [
        ("+5511999990001", LID.partition("@")[0], "owner", "Ana"),
        ("+5531988880002", None, "admin", None),
        ("+5511988887777", None, "member", None),
    ]
    directory.groups[GROUP] = (ANA,)
    count = len(asked(api, "group"))
    assert await api.get(one) == await api.get(one, refresh="true") == told
    assert len(asked(api, "group")) == count, "it was asked for a moment ago"
    api.groups._asked_at.clear()
    await api.sql("update zapline.group_details set told_at = told_at - interval '2 hours' returning 1")
    assert [member["role"] for member in (await api.get(one))["members"]] == ["owner"]
    # What is known is told where WhatsApp cannot be asked.
    api.groups._asked_at.clear()
    await api.sql("update zapline.group_details set told_at = told_at - interval '2 hours' returning 1")
    del directory.subjects[GROUP]
    old = await api.get(one)
    assert len(old["members"]) == 1
    # Who comes while others wait already is to come again.
    async with api.groups._turns[unit.id], trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(api.groups.look_for_groups, unit)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await api.get(groups, 429, refresh="true"))["code"] == "lookups_held"
        nursery.cancel_scope.cancel()
    # All groups of the line, also those in which nothing was written yet.
    names = [item["name"] for item in (await api.get(groups, refresh="true"))["items"]]
    assert names == ["Clientes VIP", "Equipe"]
    await api.get(groups, refresh="true")
    assert len(asked(api, "groups")) == 1
    assert [item["name"] for item in (await api.get(groups, search="equi"))["items"]] == ["Equipe"]
    assert (await api.get(f"{groups}/{unit.id}", 404))["code"] == "group_not_found"


async def test_people_are_mentioned_in_groups_alone_and_stickers_are_files(api: Any) -> None:
    unit = await api.add_unit()
    messages = f"/units/{unit.id}/messages"
    text = {"clientMessageId": "a", "to": GROUP, "text": "oi @5511999990001"}
    mentions = ["(11) 99999-0001", LID, "+55 11 99999-0001"]
    await api.post(messages, {**text, "mentions": mentions}, 202)
    await api.post(messages, {**text, "mentions": mentions}, 202)
    problem = await api.post(messages, text, 409)
    assert problem["code"] == "client_message_id_taken", "who is mentioned belongs to what is asked"
    everyone = {"clientMessageId": "b", "to": GROUP, "mentionEveryone": True}
    await api.post(messages, {**everyone, "image": {"url": "https://1.1.1.1/a.png"}}, 202)
    await api.post(messages, {"clientMessageId": "c", "to": GROUP, "sticker": {"url": "https://1.1.1.1/a.webp"}}, 202)
    rows = await api.sql("select content from zapline.outbox order by created_at")
    told = [(row.content.get("mentioned"), row.content.get("mentionsAll")) for row in rows]
    assert told == [(["5511999990001", LID], False), ([], True), ([], False)]
    assert rows[2].content["content"]["kind"] == "sticker"
    for more, field in (
        ({"to": "+5511999990001", "mentions": mentions}, "mentions"),
        ({"to": "+5511999990001", "mentionEveryone": True}, "mentions"),
        ({"mentions": ["99999-0001"]}, "mentions"),
        ({"mentions": [GROUP]}, "mentions"),
        ({"mentions": ["+5511999990001"] * 257}, "mentions"),
    ):
        problem = await api.post(messages, {**text, "clientMessageId": "d", **more}, 422)
        assert problem["errors"][0]["field"] == field, more
    poll = {"clientMessageId": "e", "to": GROUP, "poll": {"name": "?", "options": ["a", "b"]}, "mentionEveryone": True}
    assert (await api.post(messages, poll, 422))["errors"][0]["field"] == "mentions"
    sticker = {"clientMessageId": "f", "to": GROUP, "sticker": {}}
    assert (await api.post(messages, sticker, 422))["errors"][0]["field"] == "sticker"
