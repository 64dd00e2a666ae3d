"""What real people send in 2026, from the webhook to API, hook and console, in any order and repeated."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.console_operator import Operator

import zapline.sandbox

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
NOW = 1_795_972_802
PHONE = "5511999990001@s.whatsapp.net"


def case(name: str) -> list[dict[str, Any]]:
    webhooks: list[dict[str, Any]] = json.loads((RECORDINGS / "cases" / f"{name}.json").read_text())
    return webhooks


def of_2026(name: str) -> dict[str, Any]:
    (path,) = (RECORDINGS / "2026").glob(f"{name}-*.json")
    body: dict[str, Any] = json.loads(path.read_text())
    return body


def upsert(external_id: str, message: Any, *, key: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    whole = {"remoteJid": PHONE, "fromMe": False, "id": external_id} | (key or {})
    return {"key": whole, "pushName": "Rita", "message": message, "messageTimestamp": NOW, **more}


async def told(api: Any, unit: Any) -> dict[str, Any]:
    """The unit's messages by external id."""
    page = await api.get(f"/units/{unit.id}/messages", afterSeq=0, limit=200)
    return {one["externalId"]: one for one in page["items"]}


async def thread(operator: Operator, api: Any, unit: Any) -> str:
    (one,) = (await api.get(f"/units/{unit.id}/conversations"))["items"]
    return (await operator.get(f"/console/units/{unit.id}/conversations/{one['id']}")).visible_text


# -- quotes ------------------------------------------------------------------------------------------------------


async def test_a_quote_of_an_unknown_message_is_told_with_its_author(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    for webhook in case("04-quote-of-unknown") * 2:
        await api.send(unit, webhook["event"], webhook["data"])
    (message,) = (await told(api, unit)).values()
    assert message["text"] == "Confirmo sim"
    assert message["quotedId"] == "3EB0AAAA000000000001"
    assert message["quoted"] == {
        "id": "3EB0AAAA000000000001",
        "kind": "text",
        "text": "Confirma o horário das 15h?",
        "author": "+5511999990000",
        "fromMe": True,
        "status": False,
    }
    shown = await thread(operator, api, unit)
    # The list beside the thread tells its last text, too.
    assert shown.index("Confirma o horário das 15h?") < shown.rindex("Confirmo sim")


async def test_an_answer_to_a_status_says_so_with_its_caption(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    (webhook,) = case("05-reply-to-status")
    await api.send(unit, webhook["event"], webhook["data"])
    (message,) = (await told(api, unit)).values()
    assert (message["quoted"]["status"], message["quoted"]["fromMe"]) == (True, True)
    assert (message["quoted"]["kind"], message["quoted"]["text"]) == ("image", "Tênis azul em promoção")
    assert "Status · The unit" in await thread(operator, api, unit)


async def test_the_bodies_of_2_4_are_read_as_far_as_they_tell(api: Any) -> None:
    unit = await api.add_unit()
    for name in ("01", "02", "03", "04", "05", "06", "16"):
        body = of_2026(name)
        await api.send(unit, body["event"], body["data"])
    messages = await told(api, unit)
    assert messages["3A0000001F2E3D6A0002"]["quoted"] is None  # the server has taken it away
    assert messages["3A0000001F2E3D6A0003"]["quoted"]["text"] == "manda a foto?"
    assert messages["3A0000001F2E3D6A0004"]["kind"] == "unknown"
    assert messages["3A0000001F2E3D6A0005"]["sender"] == "+5511999990001"
    assert messages["3A0000001F2E3D6A0006"]["sender"] == "lid:281380638478587"
    assert messages["3A0000001F2E3D6A0016"]["text"] == "Olá! Vi o anúncio"
    assert api.counters.totals[("dead_letters", "no_chat")] == 0


# -- one photo ---------------------------------------------------------------------------------------------------

SMALL, BETTER = "3A180000000000000001", "3A180000000000000002"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
async def test_a_photo_in_hd_is_one_row_with_the_better_file(api: Any, order: tuple[int, ...]) -> None:
    unit = await api.add_unit()
    reaction = {"reactionMessage": {"key": {"id": BETTER, "remoteJid": PHONE}, "text": "👍"}}
    author = {"id": BETTER, "remoteJid": "5511977770021@s.whatsapp.net", "fromMe": False}
    edit = {"key": author, "type": "MESSAGE_EDIT", "timestampMs": (NOW + 9) * 1000}
    events = [
        *((webhook["event"], webhook["data"]) for webhook in case("18-hd-photo")),
        ("messages.upsert", upsert("R1", reaction, key={"remoteJid": "5511977770021@s.whatsapp.net"})),
        ("messages.edited", edit | {"editedMessage": {"imageMessage": {"caption": "Comprovante certo"}}}),
    ]
    for index in (*order, *order):
        await api.send(unit, *events[index])
    reply = {"conversation": "vi", "contextInfo": {"stanzaId": BETTER, "participant": PHONE}}
    await api.send(unit, "messages.upsert", upsert("Q1", reply, key={"remoteJid": "5511977770021@s.whatsapp.net"}))
    messages = await told(api, unit)
    assert set(messages) == {SMALL, "Q1"}
    photo = messages[SMALL]
    assert (photo["kind"], photo["text"], photo["detail"]) == ("image", "Comprovante certo", {})
    assert (photo["media"]["width"], photo["media"]["size"], photo["media"]["copyId"]) == (4000, 2_900_000, BETTER)
    assert [one["emoji"] for one in photo["reactions"]] == ["👍"]
    assert messages["Q1"]["quotedId"] == SMALL
    assert await api.sql("select 1 from zapline.parked_reports") == []


# -- kinds -------------------------------------------------------------------------------------------------------


async def test_pix_cards_calls_lists_and_ads_are_readable(api: Any, operator: Operator) -> None:
    unit = await api.add_unit()
    for name in ("12-pix", "17-vcard-without-waid"):
        for webhook in case(name):
            data = webhook["data"] | {"key": webhook["data"]["key"] | {"remoteJid": PHONE}}
            await api.send(unit, webhook["event"], data)
    ad = {
        "title": "Promoção",
        "body": "Só hoje",
        "sourceUrl": "https://fb.me/ad1",
        "ctwaClid": "CLID1",
        "sourceId": "9",
    }
    await api.send(unit, "messages.upsert", upsert("AD", {"conversation": "oi"}, contextInfo={"externalAdReply": ad}))
    by_list = {"remoteJid": "1609459200@broadcast", "participant": "111222333444555@lid", "remoteJidAlt": PHONE}
    await api.send(unit, "messages.upsert", upsert("LIST", {"conversation": "novidades"}, key=by_list))
    voice = {"audioMessage": {"ptt": True, "mimetype": "audio/ogg"}, "speechToText": "pode entregar amanhã"}
    await api.send(unit, "messages.upsert", upsert("VOICE", voice))
    call = {"chatId": PHONE, "from": PHONE, "id": "CALL1", "date": "2026-11-29T17:20:02.000Z"}
    for step in ("terminate", "offer", "terminate"):
        await api.send(unit, "call", call | {"status": step} | ({"isVideo": True} if step == "offer" else {}))
    await api.send(unit, "messages.upsert", upsert("WAITS", None, messageStubType=2))
    await api.send(unit, "messages.upsert", upsert("WAITS", {"conversation": "chegou"}))
    messages = await told(api, unit)
    pix = messages["3A120000000000000001"]
    assert pix["detail"]["pix"] == [{"name": "Mara Treze", "key": "mara@exemplo.test", "key_type": "EMAIL"}]
    assert pix["text"] == "Pix · Mara Treze · EMAIL · mara@exemplo.test"
    cards = [messages[f"3A17000000000000000{number}"]["detail"]["contacts"][0]["phones"] for number in (1, 2)]
    assert cards == [["+551133330018", "+5511977770019"], ["+551133330020"]]
    assert messages["AD"]["detail"]["ad"]["click_id"] == "CLID1"
    assert messages["LIST"]["conversationId"] == messages["AD"]["conversationId"]
    assert messages["VOICE"]["detail"] == {"transcript": "pode entregar amanhã"}
    assert (messages["CALL1"]["kind"], messages["CALL1"]["fromMe"]) == ("call_log", False)
    assert messages["CALL1"]["detail"] == {"offered": True, "ended": True, "video": True}
    assert (messages["WAITS"]["kind"], messages["WAITS"]["text"]) == ("text", "chegou")
    assert len(messages) == 8
    shown = await thread(operator, api, unit)
    for words in (
        *("mara@exemplo.test", "+551133330020", "From an advertisement Promoção · Só hoje"),
        *("pode entregar amanhã", "Call: hung up, or answered on another phone (video)", "Sent to a broadcast list"),
    ):
        assert words in shown, words
