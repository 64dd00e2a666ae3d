"""Asking for a message without HTTP: what is looked up when, whom it wakes, and what waits for what."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
import trio

from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import UnitId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, SharedContact, Text
from zapline.sql.outbound.outbox import ChatAddress
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import insert_unit
from zapline.supervisors.outbound.media_url_check import MediaUrlUnresolvable
from zapline.supervisors.outbound.message_composition import InvalidMessage, SendRequest, recipient_address, remote_jid
from zapline.supervisors.outbound.submission import ClientIdTaken, SubmissionPolicy, Submissions

URL = "https://files.example/a.jpg"


@dataclass
class Desk:
    """What a test can turn, and what it can look at."""

    outgoing: Submissions
    unit: UnitId
    now: list[float]
    woken: list[UnitId] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    resolvable: bool = True


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    unit = UnitId(uuid4())
    async with await connect(database) as conn:
        await insert_unit(conn, id=unit, name="u", instance="u", secret_digest=b"x", time_zone="UTC")
    now = [1_795_364_000.0]

    async def check(url: str) -> str:
        made.checked.append(url)
        if not made.resolvable:
            raise MediaUrlUnresolvable("the host is not known")
        return url + "?plain"

    async with Pool.open(database, size=4, role="zapline_engine") as pool:
        policy = SubmissionPolicy(region="PT", expiry=600.0)
        outgoing = Submissions(
            pool, lambda: now[0], lambda unit: made.woken.append(unit), policy=policy, check_url=check
        )
        made = Desk(outgoing, unit, now)
        yield made


async def test_the_region_and_the_expiry_are_those_of_the_house(desk: Desk) -> None:
    made, created = await desk.outgoing.send(desk.unit, SendRequest("c1", Text("olá"), to="912 345 678"))
    assert created
    assert made.sending is not None
    assert made.sending.expires_at is not None
    assert made.sending.expires_at.timestamp() == desk.now[0] + 600
    again, created = await desk.outgoing.send(desk.unit, SendRequest("c1", Text("olá"), to="+351912345678"))
    assert (again, created) == (made, False)
    assert desk.woken == [desk.unit]
    card, _ = await desk.outgoing.send(
        desk.unit, SendRequest("c2", SharedContact("Rui", "912 345 678"), to="912 345 678")
    )
    assert card.message.detail == {"contacts": [{"name": "Rui", "phones": ["+351912345678"]}]}
    with pytest.raises(ClientIdTaken):
        await desk.outgoing.send(desk.unit, SendRequest("c1", Text("adeus"), to="+351912345678"))


async def test_a_known_request_is_answered_without_looking_at_its_url_again(desk: Desk) -> None:
    asked = SendRequest("c1", File(MessageKind.IMAGE, URL), to="+351912345678")
    desk.resolvable = False
    with pytest.raises(MediaUrlUnresolvable):
        await desk.outgoing.send(desk.unit, asked)
    desk.resolvable = True
    made, _ = await desk.outgoing.send(desk.unit, asked)
    desk.resolvable = False
    assert await desk.outgoing.send(desk.unit, asked) == (made, False)
    assert desk.checked == [URL, URL]
    with pytest.raises(ClientIdTaken):
        await desk.outgoing.send(desk.unit, SendRequest("c1", File(MessageKind.VIDEO, URL), to="+351912345678"))
    assert desk.checked == [URL, URL]


async def test_times_are_judged_when_a_message_is_new_alone(desk: Desk) -> None:
    start = desk.now[0]
    asked = SendRequest("c1", Text("x"), to="+351912345678", send_at=start + 60, expires_at=start + 90)
    made, _ = await desk.outgoing.send(desk.unit, asked)
    assert desk.woken == []
    desk.now[0] = start + 100
    assert await desk.outgoing.send(desk.unit, asked) == (made, False)
    with pytest.raises(InvalidMessage) as refused:
        await desk.outgoing.send(desk.unit, SendRequest("c2", Text("x"), to="+351912345678", expires_at=start + 90))
    assert refused.value.field == "expiresAt"
    past, _ = await desk.outgoing.send(desk.unit, SendRequest("c3", Text("x"), to="+351912345678", send_at=start))
    assert past.sending is not None
    assert past.sending.due_at.timestamp() == start + 100
    assert desk.woken == [desk.unit]


async def test_a_cancelled_request_leaves_a_whole_message_or_none(desk: Desk, database: str) -> None:
    for number in range(40):
        with trio.move_on_after(number * 0.0002):
            await desk.outgoing.send(desk.unit, SendRequest(f"c{number}", Text("x"), to="+351912345678"))
    async with await connect(database) as conn:
        halves = await conn.fetch(
            "select from zapline.messages m full join zapline.outbox o on o.message_id = m.id"
            " where m.id is null or o.message_id is null"
        )
    assert halves == []
    for number in range(40):
        made, _ = await desk.outgoing.send(desk.unit, SendRequest(f"c{number}", Text("x"), to="+351912345678"))
        assert made.message.client_message_id == f"c{number}"


async def test_without_a_database_the_caller_is_told_in_time(desk: Desk) -> None:
    async with Pool.open("postgresql://nobody@127.0.0.1:1/nothing", size=1, patience=0.5) as pool:
        away = Submissions(pool, lambda: desk.now[0])
        with trio.fail_after(5), pytest.raises(DatabaseUnavailable):
            await away.send(desk.unit, SendRequest("c1", Text("x"), to="+351912345678"))


def test_a_jid_of_a_person_or_a_group_is_an_address_and_others_are_not() -> None:
    assert recipient_address("551199990001@s.whatsapp.net", "BR").canonical == "+5511999990001"
    assert recipient_address("5511999990001:12@s.whatsapp.net", "BR").canonical == "+5511999990001"
    assert recipient_address(" 111222333444555@lid ", "BR").canonical == "lid:111222333444555"
    assert recipient_address("120363025246125486@g.us", "BR").canonical == "group:120363025246125486@g.us"
    assert recipient_address("https://wa.me/5511999990001", "BR").canonical == "+5511999990001"
    for to in ("status@broadcast", "1@newsletter", "@", "a@b@c", "x@s.whatsapp.net", "", "+", "maria"):
        with pytest.raises(InvalidMessage) as refused:
            recipient_address(to, "BR")
        assert refused.value.field == "to"


def test_a_chat_is_named_to_whatsapp_as_whatsapp_has_named_it() -> None:
    def chat(*jids: str, phone: str | None = None, lid: str | None = None, canonical: str = "x") -> ChatAddress:
        return ChatAddress(UUID(int=1), UUID(int=2), "person", canonical, phone, lid, jids)

    seen, lid = "551199990001@s.whatsapp.net", "111@lid"
    assert remote_jid(chat(seen, lid, phone="+5511999990001")) == seen
    assert remote_jid(chat(lid, phone="+5511999990001")) == "5511999990001@s.whatsapp.net"
    assert remote_jid(chat(lid, lid="111")) == lid
    assert remote_jid(chat(lid="111")) == lid
    assert remote_jid(chat(canonical="group:1@g.us")) == "1@g.us"
