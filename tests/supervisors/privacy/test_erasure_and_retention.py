"""An erasure continues after a kill and deletes everything of a person; retention deletes what is old and done."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, ready_at_once, text, until
from support.outbound_stack import queue_message

from zapline.domain.ids import ExternalId, UnitId
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.privacy import erasure
from zapline.sql.privacy.erasure import DropFiles
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.privacy.erasure_jobs import ErasureJobs
from zapline.supervisors.privacy.retention import Retention
from zapline.supervisors.units.unit_commands import UnitCommands, UnitPolicy

PHONE, OTHER = "+5511999990001", "+5511888880002"
KEY = bytes(32)


async def fill(stack: InboundStack, unit: Unit, messages: int) -> None:
    """Store ``messages`` messages of the person, an hour ago."""
    await stack.send(unit, "messages.upsert", text("A0"))
    await stack.wait_until_stored()
    async with await connect(stack.url) as conn:
        await conn.execute(
            "insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind,"
            " kind_rank, body, origin, sent_at, received_at)"
            " select gen_random_uuid(), unit_id, conversation_id, provider, 'F' || n, false, kind, 2, body, origin,"
            " sent_at, received_at - interval '1 hour' from zapline.messages, generate_series(2, %s) as n",
            (messages,),
        )


async def execute(pool: Pool, statement: str) -> None:
    async with pool.connection() as conn:
        await conn.execute(statement)


async def drop_nothing(unit: UnitId, ids: Sequence[ExternalId]) -> None:
    """There are no files to delete."""


def erasure_jobs(stack: InboundStack, pool: Pool, drop: DropFiles = drop_nothing) -> ErasureJobs:
    policy = UnitPolicy("unit_", 30.0, KEY)
    parts, forget = (pool, stack.journal, stack.roster, stack.dispatcher, stack.intake), stack.recorder.forget_contacts
    commands = UnitCommands(*parts, lambda unit, generation: "", policy)
    return ErasureJobs(pool, stack.journal, commands, ready_at_once, stack.counters, drop, forget, KEY)


async def test_an_erasure_interrupted_by_a_kill_continues_and_counts_each_once(database: str, tmp_path: Path) -> None:
    dropped: list[ExternalId] = []
    cut = trio.CancelScope()

    async def drop(unit: UnitId, ids: Sequence[ExternalId]) -> None:
        dropped.extend(ids)
        if len(set(dropped)) >= 400 and not cut.cancel_called:
            cut.cancel()
            await trio.sleep_forever()  # before the second batch is committed

    async with inbound_stack(database, tmp_path) as stack, Pool.open(database, size=3, role="zapline_engine") as pool:
        unit = await stack.add_unit()
        await fill(stack, unit, 450)
        first = erasure_jobs(stack, pool, drop)
        await first.request(unit.id, PHONE)
        with trio.fail_after(30), cut:
            await first.run()
        assert await stack.rows("select state, counts ->> 'messages' from zapline.erasures") == [("running", "200")]
        assert await stack.rows("select count(*) from zapline.messages") == [(250,)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(erasure_jobs(stack, pool, drop).run)
            await stack.wait_for_rows("select state, counts ->> 'messages' from zapline.erasures", [("done", "450")])
            nursery.cancel_scope.cancel()
        assert len(set(dropped)) == 450
        left = "select (select count(*) from zapline.contacts) + (select count(*) from zapline.conversations)"
        assert await stack.rows(left) == [(0,)]
        assert await stack.rows("select names, digits from zapline.erasures") == [([], [])]
        # The recorder has forgotten the contact: a new message creates it again.
        await stack.send(unit, "messages.upsert", text("N1", "de volta", at=int(time.time()) + 5))
        await stack.wait_until_stored()
        assert await stack.rows("select name from zapline.contacts") == [("Maria",)]


async def test_an_erasure_deletes_messages_that_were_queued_again_or_locked(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_messages, rounds_with_messages_left = erasure.has_messages, 0

    async def count_messages_left(conn: Connection, job: erasure.ErasureJob) -> bool:
        nonlocal rounds_with_messages_left
        messages_left = await has_messages(conn, job)
        rounds_with_messages_left += messages_left
        return messages_left

    monkeypatch.setattr(erasure, "has_messages", count_messages_left)
    async with (
        inbound_stack(database, tmp_path) as stack,
        Pool.open(database, size=3, role="zapline_engine") as pool,
        await connect(database) as other,
    ):
        unit, second, closed = [await stack.add_unit(name) for name in ("um", "dois", "fechada")]
        for each in (unit, second):
            await stack.send(each, "messages.upsert", text("A0"))
        await stack.wait_until_stored()
        async with pool.connection() as conn:
            for each in (unit, closed):
                await queue_message(conn, each.id, "oi", phone=PHONE)
            await conn.execute("update zapline.outbox set state = 'leased', fence = 1, lease_until = now()")
            await conn.execute("update zapline.units set archived_at = now() where id = %s", (closed.id,))
        first = erasure_jobs(stack, pool)
        jobs = "select unit_id, state, waits_for from zapline.erasures order by erased_at"
        async with trio.open_nursery() as nursery:
            for each in (unit, second, closed):
                await first.request(each.id, PHONE)
            nursery.start_soon(first.run)
            # A call of the first unit is in progress; that of the archived unit is nobody's any more.
            waiting, done = (unit.id, "running", "call"), [(each.id, "done", None) for each in (second, closed)]
            await stack.wait_for_rows(jobs, [waiting, *done])
            async with other.transaction():
                await other.execute("select from zapline.messages where external_id = 'A0' for update")
                # The call has failed: the message is to be sent again.
                await execute(pool, "update zapline.outbox set state = 'queued', due_at = now() + interval '1 hour'")
                await stack.wait_for_rows("select state from zapline.outbox", [])
                await first.request(unit.id, PHONE)
                await until(lambda: rounds_with_messages_left > 0)
                assert await stack.rows(jobs) == [(unit.id, "running", None), *done]
            await first.request(unit.id, PHONE)
            await stack.wait_for_rows(jobs, [(unit.id, "done", None), *done])
            nursery.cancel_scope.cancel()
        assert await stack.rows("select count(*) from zapline.messages") == [(0,)]


async def test_texts_that_take_long_to_search_are_searched_in_smaller_batches(database: str, tmp_path: Path) -> None:
    async with (
        inbound_stack(database, tmp_path) as stack,
        Pool.open(database, size=2, role="zapline_engine", statement_timeout_ms=400) as pool,
    ):
        unit = await stack.add_unit()
        await fill(stack, unit, 100)
        async with await connect(database) as owner:
            await owner.execute("update zapline.messages set body = 'ask 5511888880002'")
            await owner.execute(
                "create function public.dawdle() returns trigger language plpgsql as"
                " $$ begin perform pg_sleep(0.005); return new; end $$"
            )
            await owner.execute(
                "create trigger dawdle before update on zapline.messages for each row execute function public.dawdle()"
            )
        job = erasure_jobs(stack, pool)
        await job.request(unit.id, OTHER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.run)
            await stack.wait_for_rows("select state, counts ->> 'mentions' from zapline.erasures", [("done", "100")])
            nursery.cancel_scope.cancel()
        assert await stack.rows("select distinct body from zapline.messages") == [("ask ****",)]


async def test_a_refused_deletion_of_one_unit_delays_no_other_unit(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path) as stack, Pool.open(database, size=3, role="zapline_engine") as pool:
        units = [await stack.add_unit(name) for name in ("um", "dois")]
        for each in units:
            await stack.send(each, "messages.upsert", text("A0"))
            await stack.send(each, "messages.upsert", text("B0", "antiga", jid=f"{OTHER[1:]}@s.whatsapp.net"))
        await stack.wait_until_stored()
        await execute(pool, "update zapline.units set retention_days = 1")
        old = "now() - interval '2 days'"
        await execute(
            pool, f"update zapline.messages set received_at = {old}, sent_at = {old} where external_id = 'B0'"
        )
        first, second = sorted(units, key=lambda unit: unit.id)
        async with await connect(database) as owner:
            await owner.execute(
                "create function public.refuse() returns trigger language plpgsql as"
                " $$ begin raise exception 'no' using errcode = 'check_violation'; end $$"
            )
            await owner.execute(
                "create trigger refuse before delete on zapline.messages"
                f" for each row when (old.unit_id = '{first.id}') execute function public.refuse()"
            )
        await Retention(pool, ready_at_once, stack.counters, drop_nothing, stack.recorder.forget_contacts).round()
        left = "select unit_id, external_id from zapline.messages order by external_id, unit_id"
        assert await stack.rows(left) == [(first.id, "A0"), (second.id, "A0"), (first.id, "B0")]
        both = erasure_jobs(stack, pool)
        for each in (first, second):
            await both.request(each.id, PHONE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(both.run)
            await stack.wait_for_rows("select unit_id from zapline.erasures where state = 'done'", [(second.id,)])
            nursery.cancel_scope.cancel()


async def test_retention_deletes_old_messages_and_leaves_those_to_be_sent(database: str, tmp_path: Path) -> None:
    gone: list[ExternalId] = []

    async def drop(unit: UnitId, ids: Sequence[ExternalId]) -> None:
        gone.extend(ids)

    async with inbound_stack(database, tmp_path) as stack, Pool.open(database, size=2, role="zapline_engine") as pool:
        unit, keeper, closed = [await stack.add_unit(name) for name in ("um", "guarda", "fechada")]
        for each in (unit, keeper):
            await stack.send(each, "messages.upsert", text("OLD", "antiga"))
            await stack.send(each, "messages.upsert", text("NEW", "nova", jid="5511888880002@s.whatsapp.net"))
            await stack.send(each, "messages.upsert", "no object")
        await stack.wait_until_stored()
        async with pool.connection() as conn:
            for state in ("settled", "queued", "uncertain", "dead"):
                await queue_message(conn, unit.id, state, phone=OTHER if state == "uncertain" else "+5511777770003")
                await conn.execute(
                    "update zapline.outbox set state = %s where content -> 'content' ->> 'text' = %s", (state, state)
                )
            # Messages in the outbox of an archived unit are not needed any more.
            await queue_message(conn, closed.id, "queued", phone=PHONE)
            await conn.execute(
                "update zapline.units set archived_at = now() - interval '2 days' where id = %s", (closed.id,)
            )
            await conn.execute("update zapline.units set retention_days = 30 where id <> %s", (keeper.id,))
            old = "now() - interval '31 days'"
            await conn.execute(  # a wrong clock has dated what is new
                f"update zapline.messages set received_at = {old},"
                f" sent_at = case when external_id = 'NEW' then now() else {old} end"
            )
            await conn.execute(f"update zapline.dead_letters set created_at = {old}")
            await conn.execute(f"update zapline.contacts set created_at = {old}")
            await conn.execute(
                f"update zapline.conversations c set created_at = {old}, last_message_at = (select max(received_at)"
                " from zapline.messages m where m.conversation_id = c.id)"
            )
            await conn.execute(
                "insert into zapline.line_changes (unit_id, number, at, phase, reason)"
                " select %s, n, now() - (10 - n) * interval '90 days', 'open', 'scan_completed'"
                " from generate_series(1, 7) as n",
                (unit.id,),
            )
        counters = Counters(trio.current_time)
        before = await stack.rows("select count(*) from zapline.messages")
        off = Retention(
            pool, ready_at_once, counters, drop, stack.recorder.forget_contacts, _clocks_agree=lambda: False
        )
        await off.round()
        assert await stack.rows("select count(*) from zapline.messages") == before  # by a wrong clock nothing is old
        retention = Retention(pool, ready_at_once, counters, drop, stack.recorder.forget_contacts)
        await retention.round()
        await retention.round()
        bodies = "select body from zapline.messages where unit_id = '{}' order by body"
        assert await stack.rows(bodies.format(unit.id)) == [("nova",), ("queued",), ("uncertain",)]
        assert await stack.rows(bodies.format(closed.id)) == []
        assert await stack.rows(bodies.format(keeper.id)) == [("antiga",), ("nova",)]
        assert set(gone) == {"OLD"}
        assert await stack.rows("select unit_id from zapline.dead_letters") == [(keeper.id,)]
        people = f"select phone from zapline.contacts where unit_id = '{unit.id}' order by phone"
        assert await stack.rows(people) == [("+5511777770003",), (OTHER,)]
        assert counters.totals["retention_deleted", "messages"] == 4
        assert counters.totals["retention_deleted", "letters"] == 1
        assert await stack.rows("select number from zapline.line_changes order by 1") == [(6,), (7,)]
