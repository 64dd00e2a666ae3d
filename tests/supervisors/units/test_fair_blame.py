"""Only the cause of a failure is blamed: entries processed beside it are neither blamed nor lost."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, text, until

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.domain.inbound_events import InboundEvent
from zapline.domain.line.events import ConnectAsked, ConnectionEvent
from zapline.domain.line.transitions import LineAction
from zapline.sql.inbound.unit_batches import prepare_batch
from zapline.sql.journal.schema import Arrival, Entry
from zapline.supervisors.inbound import journal_entries, mailbox
from zapline.supervisors.inbound.mailbox import DirectEntry, Mailbox
from zapline.supervisors.units import actor

real_parse = journal_entries.parse_webhook
BODY = b'{"event":"messages.upsert","data":{"key":{"id":"%s","remoteJid":"5511999990001@s.whatsapp.net"},"message":{}}}'


def crash_on_boom(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(body: bytes, *, event_hint: str | None = None) -> list[InboundEvent]:
        if b"BOOM" in body:
            raise RuntimeError("planted")
        return real_parse(body, event_hint=event_hint)

    monkeypatch.setattr(journal_entries, "parse_webhook", parse)


def refuse_appends(stack: InboundStack, monkeypatch: pytest.MonkeyPatch) -> None:
    async def append_many(arrivals: Sequence[Arrival], within: float) -> None:
        raise JournalRefused("planted")

    monkeypatch.setattr(stack.journal, "append_many", append_many)


def blamed_entries(stack: InboundStack, monkeypatch: pytest.MonkeyPatch) -> list[Seq]:
    """The list of entries for which a crash is noted from now on."""
    note_crash = stack.journal.note_crash
    seen: list[Seq] = []

    async def note(seqs: Sequence[Seq]) -> None:
        seen.extend(seqs)
        await note_crash(seqs)

    monkeypatch.setattr(stack.journal, "note_crash", note)
    return seen


async def test_a_crash_in_a_call_blames_no_entry_and_entries_waiting_for_postgresql_are_stored_once(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbound_stack(database, tmp_path, lock_timeout_ms=0) as stack:
        perform, go, entered = stack.calls.perform, trio.Event(), trio.Event()
        crashed: list[LineAction] = []

        async def planted(
            action: LineAction, instance: str, number: str | None, secret_of: tuple[bytes, int], enforce: bool = True
        ) -> ConnectionEvent:
            if not crashed:
                entered.set()
                await go.wait()
                crashed.append(action)
                raise RuntimeError("planted")
            return await perform(action, instance, number, secret_of)

        monkeypatch.setattr(stack.calls, "perform", planted)
        blamed = blamed_entries(stack, monkeypatch)
        unit = await stack.add_unit()
        assert stack.roster.send_event(unit, ConnectAsked())
        with trio.fail_after(30):
            await entered.wait()
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            await stack.send(unit, "connection.update", {"state": "open", "statusReason": 200})
            for number in range(20):
                await stack.send(unit, "messages.upsert", text(f"{number:02}"))
            await until(lambda: unit.activity is actor.ActorActivity.RECORDING)
            go.set()
            await until(lambda: stack.counters.total("actor_crashes") == 1)
            other.rollback()
        await stack.wait_until_stored()
        assert crashed
        assert blamed == []
        assert await stack.rows("select count(*) from zapline.messages") == [(20,)]
        assert unit.uncommitted is None
        assert unit.state is not None
        assert await stack.rows("select phase::text, applied_seq from zapline.unit_whatsapp_connections") == [
            (unit.state.stored.phase.value, unit.applied_seq)
        ]
        assert stack.counters.total("actor_crashes") == 1


async def test_a_crash_while_parsing_blames_the_parsed_entry_alone(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on_boom(monkeypatch)
    async with inbound_stack(database, tmp_path) as stack:
        blamed = blamed_entries(stack, monkeypatch)
        unit = await stack.add_unit()
        for identity in ("1", "BOOM", "2"):
            await stack.send(unit, "messages.upsert", text(identity))
        await stack.wait_until_stored()
        assert len(blamed) == 3
        assert len(set(blamed)) == 1


async def test_a_full_disk_delays_a_suspect_entry_and_causes_neither_a_crash_nor_a_dead_letter(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on_boom(monkeypatch)
    monkeypatch.setattr(actor, "JOURNAL_RETRY_PAUSE", 0.2)
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        refusals: list[Seq] = []

        async def mark_suspect(seq: Seq) -> None:
            refusals.append(seq)
            raise JournalRefused("planted")

        with monkeypatch.context() as full:
            full.setattr(stack.journal, "mark_suspect", mark_suspect)
            for identity in ("1", "BOOM", "2"):
                await stack.send(unit, "messages.upsert", text(identity))
            await until(lambda: len(refusals) >= 3)
            refuse_appends(stack, full)
            assert await stack.post(unit, BODY % b"direct")
            assert stack.counters.total("actor_crashes") == 2
            assert unit.quarantined_at is None
            assert stack.journal.statistics().depth >= 2
            assert await stack.rows("select reason from zapline.dead_letters") == []
        monkeypatch.setattr(journal_entries, "parse_webhook", real_parse)  # the bug is fixed
        await stack.wait_until_stored()
        stored = await stack.rows("select external_id from zapline.messages order by seq")
        assert stored == [("1",), ("direct",), ("BOOM",), ("2",)]
        assert stack.counters.total("actor_crashes") == 2


async def test_a_direct_entry_that_crashes_the_actor_becomes_a_dead_letter_and_the_others_are_stored(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on_boom(monkeypatch)
    async with inbound_stack(database, tmp_path, database_timeout=10) as stack:
        unit = await stack.add_unit()
        refuse_appends(stack, monkeypatch)
        answers: list[bool] = []

        async def one(identity: bytes) -> None:
            answers.append(await stack.post(unit, BODY % identity))

        async with trio.open_nursery() as nursery:
            for identity in (b"1", b"BOOM", b"2"):
                nursery.start_soon(one, identity)
        assert answers == [True] * 3
        assert set(await stack.rows("select external_id from zapline.messages")) == {("1",), ("2",)}
        assert await stack.rows("select reason, journal_seq from zapline.dead_letters") == [("crashed_actor", None)]
        assert stack.counters.total("actor_crashes") == 3


async def test_a_webhook_counted_as_lost_is_withdrawn_and_not_stored_later(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbound_stack(database, tmp_path, database_timeout=0.4, lock_timeout_ms=0) as stack:
        unit = await stack.add_unit()
        await stack.send(unit, "messages.upsert", text("0"))
        await stack.wait_until_stored()
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            await stack.send(unit, "messages.upsert", text("1"))
            await until(lambda: unit.activity is actor.ActorActivity.RECORDING)
            refuse_appends(stack, monkeypatch)
            assert not await stack.post(unit, BODY % b"lost")
            assert unit.mailbox.take_direct() == []
            other.rollback()
        await stack.wait_until_stored()
        await stack.wait_for_rows("select count(*) from zapline.messages", [(2,)])
        assert stack.counters.total("lost") == 1


async def test_direct_entries_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MAX_BYTES", 100)
    direct = Mailbox()
    first, second = (DirectEntry(Entry(Seq(0), UnitId(uuid4()), "", 0.0, b"x" * 60)) for _ in range(2))
    await direct.put_direct(first)
    with trio.move_on_after(0) as waited:
        await direct.put_direct(second)
    assert waited.cancelled_caught
    direct.withdraw(first)
    with trio.fail_after(30):
        await direct.put_direct(second)
    assert direct.take_direct() == [second]


async def test_a_cancelled_write_that_is_not_being_committed_is_never_committed(database: str, tmp_path: Path) -> None:
    async with inbound_stack(database, tmp_path, lanes=1, lock_timeout_ms=0) as stack:
        unit, other_unit = await stack.add_units(["um", "dois"])
        await stack.send(unit, "messages.upsert", text("0"))
        await stack.wait_until_stored()
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            await stack.send(unit, "messages.upsert", text("1"))
            await until(lambda: unit.activity is actor.ActorActivity.RECORDING)
            await until(lambda: stack.recorder._lanes[0]._committing == 1)
            write = prepare_batch(other_unit.id, (), None, Seq(77), stack.journal.journal_id)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stack.recorder.store, write)
                await until(lambda: stack.recorder.statistics().waiting == 2)
                nursery.cancel_scope.cancel()
            assert stack.recorder.statistics().waiting == 1
            other.rollback()
        await stack.wait_until_stored()
        assert await stack.rows("select count(*) from zapline.unit_whatsapp_connections where applied_seq = 77") == [
            (0,)
        ]


async def test_a_lock_on_a_row_beside_poison_does_not_stop_the_lane(database: str, tmp_path: Path) -> None:
    refusing = """
        create function zapline.refuse() returns trigger language plpgsql as $$ begin
            if new.external_id = 'POISON' then raise exception 'no' using errcode = '22003'; end if;
            return new;
        end $$;
        create trigger refuse before insert on zapline.messages for each row execute function zapline.refuse()"""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(refusing)
    async with inbound_stack(database, tmp_path, lanes=1, lock_timeout_ms=200) as stack:
        ill, well = await stack.add_units(["mal", "bem"])
        await stack.send(ill, "messages.upsert", text("0", jid="5511999990002@s.whatsapp.net", at=1_795_000_000))
        await stack.wait_until_stored()
        with psycopg.connect(database) as other:
            other.execute("select * from zapline.conversations for update")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stack.send, ill, "messages.upsert", text("POISON"))
                nursery.start_soon(stack.send, ill, "messages.upsert", text("1", jid="5511999990002@s.whatsapp.net"))
            await until(lambda: stack.counters.total("recorder_retries") > 1)  # both parts have run into the lock
            await stack.send(well, "messages.upsert", text("2"))
            await stack.wait_for_rows("select count(*) from zapline.messages where external_id = '2'", [(1,)])
            other.rollback()
        await stack.wait_until_stored()
        assert set(await stack.rows("select external_id from zapline.messages")) == {("0",), ("1",), ("2",)}
        assert await stack.rows("select reason from zapline.dead_letters") == [("refused_by_database",)]
        assert stack.counters.total("actor_crashes") == 0
