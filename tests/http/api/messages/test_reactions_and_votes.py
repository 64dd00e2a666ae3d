"""Reactions, votes, edits and deletions as a poller, a stream and the message itself tell them."""

import time
from typing import Any

import pytest
from support.event_stream import watching

PHONE = "5511999990001@s.whatsapp.net"


def upsert(external_id: str, message: dict[str, object], **key: object) -> dict[str, object]:
    return {
        "key": {"remoteJid": PHONE, "fromMe": False, "id": external_id, **key},
        "pushName": "Maria",
        "message": message,
        "messageTimestamp": int(time.time()),
        "status": "DELIVERY_ACK",
    }


def reaction(target: str, emoji: str, number: int = 0, **key: object) -> dict[str, object]:
    value = {"key": {"id": target, "remoteJid": PHONE}, "text": emoji, "senderTimestampMs": 1_795_364_500_000 + number}
    return upsert(f"R{target}{number}", {"reactionMessage": value}, **key)


async def poll(api: Any, unit: Any, after: int) -> tuple[list[str], list[Any], int]:
    page = await api.get(f"/units/{unit.id}/messages", afterSeq=after)
    assert not page["hasMore"]
    return [one["externalId"] for one in page["items"]], page["changed"], page["nextAfterSeq"]


async def test_who_polls_sees_what_happened_to_messages_from_before(api: Any) -> None:
    unit = await api.add_unit()
    for name in ("A", "B", "C"):
        await api.send(unit, "messages.upsert", upsert(name, {"conversation": name}))
    arrived, changed, after = await poll(api, unit, 0)
    assert (arrived, changed) == (["A", "B", "C"], [])

    await api.send(unit, "messages.upsert", reaction("B", "👍"))
    await api.send(unit, "messages.upsert", reaction("A", "🙏", fromMe=True))
    arrived, changed, after = await poll(api, unit, after)
    assert arrived == []
    assert [(one["externalId"], one["reactions"]) for one in changed] == [
        ("B", [{"actor": "+5511999990001", "emoji": "👍"}]),
        ("A", [{"actor": "me", "emoji": "🙏"}]),
    ]
    await api.send(unit, "messages.upsert", reaction("B", "👍"))
    assert await poll(api, unit, after) == ([], [], after)

    await api.send(unit, "messages.upsert", reaction("B", "", 1))
    await api.send(unit, "messages.edited", {"key": {"id": "C"}, "type": 14, "editedMessage": {"conversation": "c"}})
    await api.send(unit, "messages.delete", {"id": "A", "remoteJid": PHONE, "fromMe": False})
    await api.send(unit, "messages.upsert", upsert("D", {"conversation": "D"}))
    arrived, changed, after = await poll(api, unit, after)
    assert arrived == ["D"]
    assert [(one["externalId"], one["text"], one["reactions"]) for one in changed] == [
        ("B", "B", []),
        ("C", "c", []),
        ("A", None, [{"actor": "me", "emoji": "🙏"}]),
    ]
    assert await poll(api, unit, after) == ([], [], after)


async def test_pages_of_arrivals_and_changes_are_whole(api: Any) -> None:
    unit = await api.add_unit()
    for number in range(4):
        await api.send(unit, "messages.upsert", upsert(f"M{number}", {"conversation": "x"}))
    after = (await api.get(f"/units/{unit.id}/messages"))["nextAfterSeq"]
    for number in range(4):
        await api.send(unit, "messages.upsert", reaction(f"M{number}", "👍"))
        await api.send(unit, "messages.upsert", upsert(f"N{number}", {"conversation": "x"}))
    seen, more = [], True
    while more:
        page = await api.get(f"/units/{unit.id}/messages", afterSeq=after, limit=3)
        assert len(page["items"]) + len(page["changed"]) <= 3
        seen += [one["externalId"] for one in (*page["items"], *page["changed"])]
        after, more = page["nextAfterSeq"], page["hasMore"]
    assert sorted(seen) == sorted([*(f"M{n}" for n in range(4)), *(f"N{n}" for n in range(4))])


async def test_a_reaction_that_comes_before_its_message_is_told_with_it(api: Any) -> None:
    unit = await api.add_unit()
    async with watching(api, unit) as stream:
        await stream.next()
        await api.send(unit, "messages.upsert", reaction("A", "👍"))
        assert (await poll(api, unit, 0))[:2] == ([], [])
        await api.send(unit, "messages.upsert", upsert("A", {"conversation": "oi"}))
        assert [(await stream.next())[0] for _ in range(2)] == ["message", "reaction"]
    ((only,), _, _) = await poll(api, unit, 0)
    assert only == "A"


@pytest.mark.parametrize("options", [["Sim"], []])
async def test_a_stream_tells_reactions_and_votes_with_their_message(api: Any, options: list[str]) -> None:
    unit = await api.add_unit()
    poll_of = {"pollCreationMessage": {"name": "Vem?", "options": [{"optionName": "Sim"}, {"optionName": "Não"}]}}
    await api.send(unit, "messages.upsert", upsert("P", poll_of))
    vote = {
        "pollCreationMessageKey": {"id": "P"},
        "vote": {"selectedOptions": options},
        "senderTimestampMs": "1795364500000",
    }
    (message,) = (await api.get(f"/units/{unit.id}/messages"))["items"]
    async with watching(api, unit) as stream:
        await stream.next()
        await api.send(unit, "messages.upsert", upsert("V", {"pollUpdateMessage": vote}))
        await api.send(unit, "messages.upsert", reaction("P", "👍"))
        (kind, told), (other, reacted) = await stream.next(), await stream.next()
    common = {
        "unitId": str(unit.id),
        "messageId": message["id"],
        "externalId": "P",
        "clientMessageId": None,
        "conversationId": message["conversationId"],
        "actor": "+5511999990001",
        "at": "2026-11-22T16:21:40.000Z",
    }
    assert (kind, told) == ("vote", {**common, "options": options})
    assert (other, reacted) == ("reaction", {**common, "emoji": "👍"})


async def test_what_others_wrote_has_no_delivery_status(api: Any) -> None:
    unit = await api.add_unit()
    async with watching(api, unit) as stream:
        await stream.next()
        await api.send(unit, "messages.update", {"keyId": "A", "remoteJid": PHONE, "fromMe": False, "status": "READ"})
        await api.send(unit, "messages.upsert", upsert("A", {"conversation": "oi"}))
        await api.send(unit, "messages.update", {"keyId": "A", "remoteJid": PHONE, "fromMe": False, "status": "PLAYED"})
        await api.send(unit, "messages.upsert", upsert("B", {"conversation": "olá"}, fromMe=True))
        first, second = await stream.next(), await stream.next()
    assert (first[0], first[1]["externalId"], first[1]["deliveryStatus"]) == ("message", "A", None)
    assert (second[0], second[1]["externalId"], second[1]["deliveryStatus"]) == ("message", "B", "delivered")
    shown = (await api.get(f"/units/{unit.id}/messages"))["items"]
    assert [one["deliveryStatus"] for one in shown] == [None, "delivered"]
