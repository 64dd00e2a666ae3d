"""Statements for outgoing messages: once per client id, guarded, and without deadlocks."""

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid4

import msgspec
import trio

from zapline.domain.ids import ExternalId, UnitId, contact_id, conversation_id
from zapline.domain.outbox.contents import Location, OutgoingMessage, Reaction, Text
from zapline.domain.outbox.work_states import Lane
from zapline.sql.conversations.conversations import get_message
from zapline.sql.outbound import outbox, read_receipts, uncertain_sends, uploads
from zapline.sql.outbound.outbox import ChatAddress, NewMessage
from zapline.sql.outbound.send_claims import NO_GUARD, ClaimGuard, ClaimRequest, NextDue, claim, claim_all
from zapline.sql.outbound.uploads import UploadInfo, UploadQuota
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.sql.units.units import insert_unit

PHONE, NOW = "+5511999990001", 1_795_364_000.0


async def make_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


def chat_with(unit: UnitId, phone: str = PHONE) -> ChatAddress:
    return ChatAddress(UUID(conversation_id(unit, phone)), UUID(contact_id(unit, phone)), "person", phone, phone)


def message(unit: UnitId, client_id: str, outgoing: OutgoingMessage | None = None, **more: object) -> NewMessage:
    chat = chat_with(unit)
    values = {"digest": b"d", "media": None, "detail": {}, "now": NOW, "due_at": NOW, "expires_at": NOW + 60} | more
    return NewMessage(uuid4(), client_id, chat, PHONE[1:], outgoing or OutgoingMessage(Text("oi")), **values)  # type: ignore[arg-type]


async def test_one_of_many_inserts_under_one_client_id_wins_and_the_others_change_nothing(database: str) -> None:
    async with Pool.open(database, size=8, role="zapline_engine") as pool:
        async with pool.connection() as conn:
            unit = await make_unit(conn)
        results: Counter[bool] = Counter()

        async def insert(number: int) -> None:
            new = message(unit, f"c{number % 2}", OutgoingMessage(Text(str(number))))
            async with pool.connection() as conn:
                results[await outbox.enqueue(conn, unit, new)] += 1

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for number in range(60):
                    nursery.start_soon(insert, number)
        assert results == {True: 2, False: 58}
        async with pool.connection() as conn:
            (counts,) = await conn.fetch(
                "select (select count(*) from zapline.messages) as m, (select count(*) from zapline.outbox) as o,"
                " (select count(*) from zapline.contacts) as k, (select count(*) from zapline.conversations) as c"
            )
            assert tuple(counts) == (2, 2, 1, 1)
            known = await outbox.find_by_client_id(conn, unit, "c0")
            assert known is not None
            assert known[1] == b"d"
            assert await outbox.find_by_client_id(conn, unit, "c2") is None


async def test_a_queued_message_is_claimed_as_it_was_requested(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)
        outgoing = OutgoingMessage(Location(-23.5, -46.6, "Loja"))
        new = message(unit, "c1", outgoing, detail={"latitude": -23.5}, due_at=NOW + 5, expires_at=NOW + 10)
        assert await outbox.enqueue(conn, unit, new)
        arguments = {"process": uuid4(), "lease": 60, "lanes": list(Lane), "blocked": []}
        assert await claim(conn, unit, attempt=uuid4(), now=NOW + 4, **arguments) is None  # type: ignore[arg-type]
        claimed = await claim(conn, unit, attempt=uuid4(), now=NOW + 5, **arguments)  # type: ignore[arg-type]
        assert claimed is not None
        assert (claimed.message, claimed.outgoing, claimed.address) == (new.id, outgoing, PHONE[1:])
        assert (claimed.recipient, claimed.lane, claimed.expires_at) == (PHONE, Lane.REPLY, NOW + 10)
        stored = await get_message(conn, unit, new.id)
        assert stored is not None
        assert stored.sending is not None
        assert (stored.sending.state, [call.outcome for call in stored.sending.calls]) == ("leased", ["calling"])
        assert stored.message.sent_at.timestamp() == NOW + 5


async def test_many_units_claim_in_one_statement_and_each_hears_what_concerns_it(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        units = [await make_unit(conn) for _ in range(5)]
        one, two, later, refused, empty = units
        queued = [message(one, "a"), message(two, "b"), message(later, "c", due_at=NOW + 9), message(refused, "d")]
        for unit, new in zip((one, two, later, refused), queued, strict=True):
            assert await outbox.enqueue(conn, unit, new)
        other = replace(message(two, "e"), chat=chat_with(two, "+5511999990002"))
        assert await outbox.enqueue(conn, two, other)
        lost = ClaimGuard(stored=7, journal_id=uuid4())
        asked = [
            ClaimRequest(unit, uuid4(), NOW, list(Lane), [], lost if unit == refused else NO_GUARD) for unit in units
        ]
        results = dict(zip(units, await claim_all(conn, asked, process=uuid4(), lease=60), strict=True))
        assert [results[unit].claimed is not None for unit in units] == [True, True, False, False, False]
        assert [results[unit].last for unit in units] == [True, False, False, False, False]
        assert [results[unit].refused for unit in units] == [False, False, False, True, False]
        assert results[later].dues == {Lane.REPLY: NextDue(NOW + 9, NOW + 9)}
        assert results[empty].dues == {}
        rows = await conn.fetch("select message_id, id, fence from zapline.attempts order by message_id")
        assert [tuple(row) for row in rows] == sorted((queued[at].id, asked[at].attempt, 1) for at in (0, 1))
        # The chat of a call under way waits, the other one of the unit does not.
        (again,) = await claim_all(conn, [replace(asked[1], attempt=uuid4())], process=uuid4(), lease=60)
        assert again.claimed is not None
        assert (again.claimed.message, again.last) == (other.id, True)


async def test_a_conversation_is_as_recent_as_its_last_message_and_no_reaction_moves_it(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)

        async def recency() -> float | None:
            row = await conn.fetch_one("select last_message_at as at from zapline.conversations")
            assert row is not None
            return row.at.timestamp() if row.at is not None else None

        reaction = OutgoingMessage(Reaction("👍", ExternalId("A1"), "5511999990001@s.whatsapp.net", False))
        assert await outbox.enqueue(conn, unit, message(unit, "r1", reaction))
        assert await recency() is None
        assert await outbox.enqueue(conn, unit, message(unit, "c1", now=NOW + 10))
        assert await outbox.enqueue(conn, unit, message(unit, "c2", now=NOW + 5))
        assert await outbox.enqueue(conn, unit, message(unit, "r2", reaction, now=NOW + 20))
        assert await recency() == NOW + 10


async def test_only_queued_messages_are_cancelled_and_only_uncertain_ones_are_decided(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, other = await make_unit(conn), await make_unit(conn)
        new = message(unit, "c1")
        await outbox.enqueue(conn, unit, new)
        moves = {
            "cancel": lambda: outbox.cancel(conn, unit, new.id, NOW),
            "send_again": lambda: uncertain_sends.requeue_uncertain(conn, unit, new.id, NOW, NOW + 60),
            "give_up": lambda: uncertain_sends.give_up_uncertain(conn, unit, new.id, NOW),
        }
        allowed = {"queued": {"cancel"}, "uncertain": {"send_again", "give_up"}}
        for state in ("queued", "leased", "uncertain", "settled", "dead", "cancelled", "expired"):
            for name, move in moves.items():
                await conn.execute("update zapline.outbox set state = %s, look_at = now()", (state,))
                assert await move() is (name in allowed.get(state, ())), (state, name)
        for move in (outbox.cancel, uncertain_sends.give_up_uncertain):
            await conn.execute("update zapline.outbox set state = %s", ("queued",))
            assert not await move(conn, other, new.id, NOW)
        assert await outbox.find_work_state(conn, unit, new.id) == "queued"
        assert await outbox.find_work_state(conn, other, new.id) is None


async def test_uploads_are_deleted_after_a_month_unless_open_work_needs_them(database: str) -> None:
    async with Pool.open(database, size=2, role="zapline_engine") as pool, pool.connection() as conn:
        unit = await make_unit(conn)
        ids = {name: uuid4() for name in ("young", "old", "queued", "done", "campaign", "over")}
        for name, id in ids.items():
            info = UploadInfo("a/b", name, 3, b"s")
            assert await uploads.insert_upload(conn, unit, id, info, name.encode(), UploadQuota())
        await conn.execute(
            "update zapline.uploads set created_at = now() - interval '31 days' where file_name <> 'young'"
        )
        for name in ("queued", "done"):
            content = {"content": {"type": "file", "kind": "image", "upload": str(ids[name])}}
            new = message(unit, name, msgspec.convert(content, OutgoingMessage))
            assert await outbox.enqueue(conn, unit, new)
            if name == "done":
                await conn.execute("update zapline.outbox set state = 'settled' where message_id = %s", (new.id,))
        for name, state in (("campaign", "paused"), ("over", "done")):
            content = {"content": {"type": "file", "kind": "image", "upload": str(ids[name])}}
            await conn.execute(
                "insert into zapline.campaigns (id, unit_id, name, state, content) values (%s, %s, 'x', %s, %s)",
                (uuid4(), unit, state, Json(msgspec.json.encode(content))),
            )
        assert await uploads.prune_uploads(conn) == 3
        left = {name for name, id in ids.items() if await uploads.load_upload_bytes(pool, id) == name.encode()}
        assert left == {"young", "queued", "campaign"}
        assert await uploads.find_upload(conn, unit, ids["young"]) == UploadInfo("a/b", "young", 3, b"s")
        assert await uploads.find_upload(conn, await make_unit(conn), ids["young"]) is None


async def test_what_was_read_never_becomes_unread_again(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)
        await outbox.enqueue(conn, unit, message(unit, "c1"))
        chat = chat_with(unit)
        await conn.execute(
            "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind,"
            " kind_rank, origin, sent_at, received_at) select gen_random_uuid(), %s, %s, 'evolution', 'A' || n, n = 3,"
            " 'text', 2, 'live', now(), now() from generate_series(1, 5) n",
            (unit, chat.conversation),
        )
        unread = await read_receipts.find_unread(conn, unit, chat.conversation, 2)
        assert [external for external, _ in unread] == ["A5", "A4"]
        await read_receipts.mark_read_up_to(conn, unit, chat.conversation, unread[1][1])
        await read_receipts.mark_read_up_to(conn, unit, chat.conversation, 0)
        assert [external for external, _ in await read_receipts.find_unread(conn, unit, chat.conversation, 9)] == ["A5"]
        found = await outbox.find_chat(conn, unit, chat.conversation)
        assert found is not None
        assert found.read_up_to == unread[1][1]


async def test_what_was_asked_for_later_waits_while_the_clocks_differ(database: str) -> None:
    """By a clock that is 40 days ahead it would be due."""
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)
        later = message(unit, "later", due_at=NOW + 20 * 86_400, expires_at=NOW + 90 * 86_400)
        assert await outbox.enqueue(conn, unit, later)
        assert await outbox.enqueue(conn, unit, message(unit, "now", expires_at=NOW + 90 * 86_400))
        claimed = []
        for scheduled in (False, False, True):
            claimed.append(
                await claim(
                    conn, unit, process=uuid4(), attempt=uuid4(), now=NOW + 40 * 86_400, lease=60, lanes=list(Lane),
                    blocked=[], scheduled=scheduled,
                )
            )  # fmt: skip
        assert [one is not None for one in claimed] == [True, False, True]
