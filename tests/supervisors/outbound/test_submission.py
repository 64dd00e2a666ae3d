"""Submitting a message without HTTP: what is looked up when, and which sender is woken."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.errors import DatabaseUnavailable
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.facts import MessageArrived, MessageKind
from zapline.domain.outbox.contents import File, SharedContact, Text
from zapline.sql.inbound import contact_identities
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.outbound import outbox
from zapline.sql.outbound.outbox import ChatAddress
from zapline.sql.outbound.outbox_monitoring import date_expiries, expire_overdue
from zapline.sql.outbound.uploads import UploadQuota
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed, Verdict
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.queries import Queries
from zapline.sql.units.units import insert_unit
from zapline.supervisors.outbound.batches import shared_statement
from zapline.supervisors.outbound.media_url_check import MediaUrlUnresolvable
from zapline.supervisors.outbound.message_composition import InvalidMessage, SendRequest, recipient_address, remote_jid
from zapline.supervisors.outbound.submission import ClientIdTaken, SubmissionPolicy, Submissions, UploadsFull

CONTACTS = Queries(contact_identities.__name__)
URL = "https://files.example/a.jpg"


@dataclass
class SubmissionStack:
    """``now`` and ``resolvable`` may be set by a test; the rest is what it can look at."""

    submissions: Submissions
    unit: UnitId
    now: list[float]
    woken: list[UnitId] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    resolvable: bool = True
    clocks_agree: bool = True


@pytest.fixture
async def stack(database: str) -> AsyncIterator[SubmissionStack]:
    unit = UnitId(uuid4())
    async with await connect(database) as conn:
        await insert_unit(conn, id=unit, name="u", instance="u", secret_digest=b"x", time_zone="UTC")
    now = [1_795_364_000.0]

    async def check(url: str) -> str:
        stack.checked.append(url)
        if not stack.resolvable:
            raise MediaUrlUnresolvable("the host is not known")
        return url + "?plain"

    async with Pool.open(database, size=4, role="zapline_engine") as pool:
        policy = SubmissionPolicy(region="PT", expiry=600.0)
        submissions = Submissions(
            pool,
            lambda: now[0],
            lambda unit: stack.woken.append(unit),
            policy=policy,
            check_url=check,
            clocks_agree=lambda: stack.clocks_agree,
        )
        stack = SubmissionStack(submissions, unit, now)
        yield stack


async def test_the_region_and_the_expiry_are_those_of_the_policy(stack: SubmissionStack) -> None:
    made, created = await stack.submissions.send(stack.unit, SendRequest("c1", Text("olá"), to="912 345 678"))
    assert created
    assert made.sending is not None
    assert made.sending.expires_at is not None
    assert made.sending.expires_at.timestamp() == stack.now[0] + 600
    again, created = await stack.submissions.send(stack.unit, SendRequest("c1", Text("olá"), to="+351912345678"))
    assert (again, created) == (made, False)
    assert stack.woken == [stack.unit]
    card, _ = await stack.submissions.send(
        stack.unit, SendRequest("c2", SharedContact("Rui", "912 345 678"), to="912 345 678")
    )
    assert card.message.detail == {"contacts": [{"name": "Rui", "phones": ["+351912345678"]}]}
    with pytest.raises(ClientIdTaken):
        await stack.submissions.send(stack.unit, SendRequest("c1", Text("adeus"), to="+351912345678"))


async def test_what_is_asked_for_while_nobody_knows_the_time_ends_by_the_time_that_turns_out(
    stack: SubmissionStack, database: str
) -> None:
    """The database's clock was 40 days behind, and then was right."""
    right = stack.now[0]
    stack.now[0], stack.clocks_agree = right - 40 * 86_400.0, False
    ends = {"own": right + 900.0, "late": None, "later": None}
    for name, expires_at in ends.items():
        send_at = right + 300.0 if name == "later" else None
        request = SendRequest(name, Text("olá"), to="912 345 678", send_at=send_at, expires_at=expires_at)
        made, _ = await stack.submissions.send(stack.unit, request)
        assert made.sending is not None
        assert (made.sending.expires_at is None) == (expires_at is None)
    told = (
        "select m.client_message_id as name, extract(epoch from o.expires_at)::float8 as at"
        " from zapline.outbox o join zapline.messages m on m.id = o.message_id"
    )
    async with await connect(database, role="zapline_engine") as conn:
        assert await expire_overdue(conn, right) == []
        assert [await date_expiries(conn, right, 600.0) for _ in range(2)] == [2, 0]
        assert {row.name: row.at for row in await conn.fetch(told)} == {
            "own": right + 900.0,
            "late": right + 600.0,
            "later": right + 900.0,
        }


async def test_a_repeated_request_is_answered_without_checking_its_url_again(stack: SubmissionStack) -> None:
    request = SendRequest("c1", File(MessageKind.IMAGE, URL), to="+351912345678")
    stack.resolvable = False
    with pytest.raises(MediaUrlUnresolvable):
        await stack.submissions.send(stack.unit, request)
    stack.resolvable = True
    made, _ = await stack.submissions.send(stack.unit, request)
    stack.resolvable = False
    assert await stack.submissions.send(stack.unit, request) == (made, False)
    assert stack.checked == [URL, URL]
    with pytest.raises(ClientIdTaken):
        await stack.submissions.send(stack.unit, SendRequest("c1", File(MessageKind.VIDEO, URL), to="+351912345678"))
    assert stack.checked == [URL, URL]


async def test_times_are_checked_only_when_a_message_is_new(stack: SubmissionStack) -> None:
    start = stack.now[0]
    request = SendRequest("c1", Text("x"), to="+351912345678", send_at=start + 60, expires_at=start + 90)
    made, _ = await stack.submissions.send(stack.unit, request)
    assert stack.woken == []
    stack.now[0] = start + 100
    assert await stack.submissions.send(stack.unit, request) == (made, False)
    with pytest.raises(InvalidMessage) as refused:
        await stack.submissions.send(
            stack.unit, SendRequest("c2", Text("x"), to="+351912345678", expires_at=start + 90)
        )
    assert refused.value.field == "expiresAt"
    past, _ = await stack.submissions.send(stack.unit, SendRequest("c3", Text("x"), to="+351912345678", send_at=start))
    assert past.sending is not None
    assert past.sending.due_at.timestamp() == start + 100
    assert stack.woken == [stack.unit]


async def test_a_unit_keeps_files_up_to_its_quota_and_what_nothing_needs_goes_first(
    stack: SubmissionStack, database: str
) -> None:
    stack.submissions._policy = SubmissionPolicy("PT", uploads=UploadQuota(1000, 3))

    async def store(size: int, id: UUID | None = None) -> UUID:
        stored, _ = await stack.submissions.store_upload(stack.unit, "image/png", None, b"x" * size, id)
        return stored

    needed, sent, idle = await store(300), await store(300), await store(300)
    for client_id, upload in (("c1", needed), ("c2", sent)):
        content = File(MessageKind.IMAGE, upload=upload)
        await stack.submissions.send(stack.unit, SendRequest(client_id, content, to="+351912345678"))
    for _ in range(2):
        with pytest.raises(UploadsFull):
            await store(1)
    assert await store(300, idle) == idle, "the same file again needs no room"
    async with await connect(database) as conn:
        await conn.execute(
            "update zapline.outbox o set state = 'settled' from zapline.messages m"
            " where m.id = o.message_id and m.client_message_id = 'c2'"
        )
        await conn.execute("update zapline.uploads set created_at = now() - interval '2 days'")
        stack.clocks_agree = False
        with pytest.raises(UploadsFull):
            await store(400)  # nobody knows how old the others are
        assert len(await conn.fetch("select from zapline.uploads")) == 3
        stack.clocks_agree = True
        with pytest.raises(UploadsFull):
            await store(701)
        fresh = await store(700)
        assert {row.id for row in await conn.fetch("select id from zapline.uploads")} == {needed, fresh}


async def test_a_cancelled_request_leaves_a_whole_message_or_none(stack: SubmissionStack, database: str) -> None:
    for number in range(40):
        with trio.move_on_after(number * 0.0002):
            await stack.submissions.send(stack.unit, SendRequest(f"c{number}", Text("x"), to="+351912345678"))
    async with await connect(database) as conn:
        halves = await conn.fetch(
            "select from zapline.messages m full join zapline.outbox o on o.message_id = m.id"
            " where m.id is null or o.message_id is null"
        )
    assert halves == []
    for number in range(40):
        made, _ = await stack.submissions.send(stack.unit, SendRequest(f"c{number}", Text("x"), to="+351912345678"))
        assert made.message.client_message_id == f"c{number}"


async def test_requests_that_come_together_are_stored_together_and_a_refused_one_fails_alone(
    stack: SubmissionStack, database: str
) -> None:
    """A trigger of somebody's refuses one text; the same client id comes twice, once with another text."""
    outcomes: dict[int, object] = {}

    async def send(number: int, client_id: str, text: str) -> None:
        try:
            made, created = await stack.submissions.send(stack.unit, SendRequest(client_id, Text(text), to="912345678"))
            outcomes[number] = (made, created)
        except (ClientIdTaken, StatementFailed) as error:
            outcomes[number] = type(error)

    async with await connect(database) as conn:
        await conn.execute(
            "create function refuse() returns trigger language plpgsql as"
            " $$ begin if new.body = 'nunca' then raise exception 'no' using errcode = '23514'; end if; return new;"
            " end $$; create trigger refuse before insert on zapline.messages for each row execute function refuse()"
        )
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for number in range(30):
                    text = "nunca" if number == 7 else "outro" if number == 20 else f"olá {number % 28}"
                    nursery.start_soon(send, number, f"c{number % 28 if number != 20 else 19}", text)
        assert outcomes.pop(7) is StatementFailed
        repeated = [outcomes.pop(number) for number in (0, 28, 1, 29)]
        assert sorted(created for _, created in repeated) == [False, False, True, True]  # type: ignore[misc]
        assert [outcomes.pop(19), outcomes.pop(20)].count(ClientIdTaken) == 1
        assert all(created for _, created in outcomes.values())  # type: ignore[misc]
        rows = await conn.fetch("select xmin::text as one from zapline.messages")
        assert len(rows) == 26
        for made, _ in outcomes.values():  # type: ignore[misc]
            assert made == await stack.submissions.get(stack.unit, made.message.id)
        # Those with the refused one were stored one by one; now all is well, and they share few transactions.
        async with trio.open_nursery() as nursery:
            for number in range(100, 130):
                nursery.start_soon(send, number, f"c{number}", "oi")
        together = await conn.fetch(
            "select m.xmin::text as one, o.seq as place from zapline.messages m"
            " join zapline.outbox o on o.message_id = m.id where m.body = 'oi' order by m.seq"
        )
        assert 1 <= len({row.one for row in together}) <= 3
        assert [row.place for row in together] == sorted(row.place for row in together)


async def test_whoever_is_cancelled_takes_nobody_along(stack: SubmissionStack) -> None:
    stored: list[str | None] = []

    async def send(number: int, scope: trio.CancelScope) -> None:
        with scope:
            made, _ = await stack.submissions.send(stack.unit, SendRequest(f"c{number}", Text("x"), to="912345678"))
            stored.append(made.message.client_message_id)

    for turn in range(6):
        scopes = [trio.CancelScope() for _ in range(8)]
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for number, scope in enumerate(scopes):
                    nursery.start_soon(send, turn * 8 + number, scope)
                await trio.sleep(0.001 * turn)
                scopes[0].cancel()
                scopes[3].cancel()
    assert {f"c{number}" for number in range(48) if number % 8 not in (0, 3)} <= set(stored)


async def test_whoever_was_interrupted_once_is_stored_in_a_statement_that_nobody_else_can_interrupt(
    stack: SubmissionStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    begun, all_wait, leaving = trio.Event(), trio.Event(), trio.CancelScope()
    enqueue = outbox.enqueue_encoded

    async def send(number: int, scope: trio.CancelScope | None = None) -> None:
        with scope or trio.CancelScope():
            await stack.submissions.send(stack.unit, SendRequest(f"c{number}", Text("x"), to="912345678"))

    async def interrupted(conn: Connection, messages: Iterable[bytes], limit: int | None = None) -> Any:
        """The first statement takes its time; whoever runs the second, for others too, is cancelled in it."""
        batch = list(messages)
        sizes.append(len(batch))
        if len(sizes) == 1:
            begun.set()
            await all_wait.wait()
        elif len(sizes) == 2:
            for number in (3, 4, 5):
                nursery.start_soon(send, number)
            await wait_all_tasks_blocked()
            leaving.cancel()
        return await enqueue(conn, batch, limit)

    monkeypatch.setattr(outbox, "enqueue_encoded", interrupted)
    monkeypatch.setattr(shared_statement, "_TURN", inf)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, 0)
            await begun.wait()
            nursery.start_soon(send, -1, leaving)
            await wait_all_tasks_blocked()
            nursery.start_soon(send, 1)
            nursery.start_soon(send, 2)
            await wait_all_tasks_blocked()
            all_wait.set()
    assert sizes[:2] == [1, 3]
    assert sorted(sizes[2:]) == [1, 1, 3]


async def test_a_text_that_postgresql_cannot_hold_is_refused_before_it_fails_others(stack: SubmissionStack) -> None:
    for number, text in enumerate(("\0", "a\\\0", 'é"\\\\\0b')):
        request = SendRequest(f"c{number}", Text(text), to="912345678")
        with pytest.raises(StatementFailed, match="holds NUL") as refused:
            await stack.submissions.send(stack.unit, request)
        assert refused.value.verdict is Verdict.POISON
    for number, text in enumerate(("\\u0000", "a\\\\u0000", '"\\\\\\u0000b', "\1u0000")):
        made, _ = await stack.submissions.send(stack.unit, SendRequest(f"d{number}", Text(text), to="912345678"))
        assert await stack.submissions.get(stack.unit, made.message.id) == made


async def test_a_message_that_is_refused_alone_is_not_tried_again(
    stack: SubmissionStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int | None] = []

    async def refuse(conn: Connection, messages: Iterable[bytes], limit: int | None = None) -> Any:
        tries.append(limit)
        raise StatementFailed("23514", "refused")

    monkeypatch.setattr(outbox, "enqueue_encoded", refuse)
    with pytest.raises(StatementFailed):
        await stack.submissions.send(stack.unit, SendRequest("c1", Text("x"), to="912345678"))
    assert tries == [None]


async def test_a_message_that_cannot_be_read_back_is_an_error_that_says_to_repeat_the_request(
    stack: SubmissionStack, database: str
) -> None:
    """Here a trigger of somebody's deletes it at the commit; behind a pooler the next role may not see it."""
    request = SendRequest("c1", Text("olá"), to="+351912345678")
    async with await connect(database) as conn:
        await conn.execute(
            "create function vanish() returns trigger language plpgsql security definer as"
            " $$ begin delete from zapline.outbox where message_id = new.message_id;"
            " delete from zapline.messages where id = new.message_id; return null; end $$"
        )
        await conn.execute(
            "create constraint trigger vanish after insert on zapline.outbox deferrable initially deferred"
            " for each row execute function vanish()"
        )
        with pytest.raises(DatabaseUnavailable, match="repeating the request is safe"):
            await stack.submissions.send(stack.unit, request)
        await conn.execute("drop trigger vanish on zapline.outbox")
    made, _ = await stack.submissions.send(stack.unit, request)
    assert made.message.client_message_id == "c1"


async def test_without_a_database_the_caller_gets_an_error_in_time(stack: SubmissionStack) -> None:
    async with Pool.open("postgresql://nobody@127.0.0.1:1/nothing", size=1, patience=0.5) as pool:
        away = Submissions(pool, lambda: stack.now[0])
        with trio.fail_after(30), pytest.raises(DatabaseUnavailable):
            await away.send(stack.unit, SendRequest("c1", Text("x"), to="+351912345678"))


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


def test_the_jid_of_a_chat_is_the_one_that_whatsapp_reported() -> None:
    def chat(*jids: str, phone: str | None = None, lid: str | None = None, canonical: str = "x") -> ChatAddress:
        return ChatAddress(UUID(int=1), UUID(int=2), "person", canonical, phone, lid, jids)

    seen, lid = "551199990001@s.whatsapp.net", "111@lid"
    assert remote_jid(chat(seen, lid, phone="+5511999990001")) == seen
    assert remote_jid(chat(lid, phone="+5511999990001")) == "5511999990001@s.whatsapp.net"
    assert remote_jid(chat(lid, lid="111")) == lid
    assert remote_jid(chat(lid="111")) == lid
    assert remote_jid(chat(canonical="group:1@g.us")) == "1@g.us"


# -- an answer while the first webhook of its contact is stored --------------------------------------------------


def first_message(unit: UnitId, number: int) -> UnitBatch:
    chat = resolve_address(f"55119{number:08}@s.whatsapp.net")
    assert chat is not None
    fact = MessageArrived(ExternalId(f"{number}"), chat, False, MessageKind.TEXT, "oi", sent_at=1_795_364_000.0)
    entry = EntryFacts(Seq(number + 1), "messages.upsert", 1_795_364_000.0, b"{}", facts=(fact,))
    return prepare_batch(unit, [entry], None, None, UUID(int=1))


async def deadlocks(conn: Connection) -> int:
    await conn.execute("select pg_stat_force_next_flush()")
    (row,) = await conn.fetch("select deadlocks from pg_stat_database where datname = current_database()")
    return int(row.deadlocks)


async def test_an_answer_waits_for_the_contact_and_holds_nothing_that_the_recorder_wants(
    stack: SubmissionStack, database: str
) -> None:
    """The recorder stands between contacts and conversations; the POST of the same contact comes."""
    rows = first_message(stack.unit, 1).rows
    async with (
        await connect(database, role="zapline_engine") as recorder,
        await connect(database) as observer,
        trio.open_nursery() as nursery,
        recorder.transaction(),
    ):
        await CONTACTS.run_batch(recorder, "upsert_contacts", rows.contacts)
        nursery.start_soon(stack.submissions.send, stack.unit, SendRequest("c", Text("oi"), to="+5511900000001"))
        with trio.fail_after(30):
            while not await observer.fetch("select from pg_locks where not granted"):  # noqa: ASYNC110
                await trio.sleep(0.01)
        await CONTACTS.run_batch(recorder, "upsert_conversations", rows.conversations)
    async with await connect(database) as conn:
        assert await deadlocks(conn) == 0
        assert len(await conn.fetch("select from zapline.outbox")) == 1


async def test_two_hundred_answers_that_meet_their_contacts_first_webhooks_deadlock_with_none(
    stack: SubmissionStack, database: str
) -> None:
    async def answer(number: int) -> None:
        request = SendRequest(f"c{number}", Text("oi"), to=f"+55119{number:08}")
        await stack.submissions.send(stack.unit, request)

    async with await connect(database, role="zapline_engine") as conn:
        known = RecorderCache()
        for number in range(0, 200, 4):
            async with trio.open_nursery() as nursery:
                for one in range(number, number + 4):
                    nursery.start_soon(answer, one)
                batches = [first_message(stack.unit, one) for one in range(number, number + 4)]
                entries = [entry for batch in batches for entry in batch.entries]
                await record(conn, [prepare_batch(stack.unit, entries, None, None, UUID(int=1))], known)
        assert await deadlocks(conn) == 0
        for table in ("messages", "contacts", "conversations"):
            (row,) = await conn.fetch(f"select count(*) as n from zapline.{table}")
            assert row.n == (400 if table == "messages" else 200)
