"""A failure is put down to its cause alone: what only stood beside it is neither blamed nor lost."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trio
from support.house import House, house, text, until

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.transitions import Action
from zapline.domain.messages.events import ConnectAsked, ConnectionEvent, Parsed
from zapline.sql.inbound.message_rows import prepare
from zapline.sql.journal.schema import Arrival, Entry
from zapline.supervisors.inbound import journal_entries as entries_module
from zapline.supervisors.inbound import mailbox as mailbox_module
from zapline.supervisors.inbound.mailbox import Direct, Mailbox
from zapline.supervisors.units import actor as unit_module

real_parse = entries_module.parse
BODY = b'{"event":"messages.upsert","data":{"key":{"id":"%s","remoteJid":"5511999990001@s.whatsapp.net"},"message":{}}}'


def crash_on_boom(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(body: bytes, *, event_hint: str | None = None) -> list[Parsed]:
        if b"BOOM" in body:
            raise RuntimeError("planted")
        return real_parse(body, event_hint=event_hint)

    monkeypatch.setattr(entries_module, "parse", parse)


def refuse_appends(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def append_many(arrivals: Sequence[Arrival]) -> None:
        raise JournalRefused("planted")

    monkeypatch.setattr(home.journal, "append_many", append_many)


def noted(home: House, monkeypatch: pytest.MonkeyPatch) -> list[Seq]:
    """The entries for which a crash is noted from here on."""
    note_crash = home.journal.note_crash
    seen: list[Seq] = []

    async def note(seqs: Sequence[Seq]) -> None:
        seen.extend(seqs)
        await note_crash(seqs)

    monkeypatch.setattr(home.journal, "note_crash", note)
    return seen


async def test_a_crash_in_a_call_blames_no_entry_and_what_waited_for_postgresql_is_stored_once(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(database, tmp_path, lock_timeout_ms=0) as home:
        perform, go, entered = home.calls.perform, trio.Event(), trio.Event()
        crashed: list[Action] = []

        async def planted(
            action: Action, instance: str, number: str | None, secret_of: tuple[bytes, int]
        ) -> ConnectionEvent:
            if not crashed:
                entered.set()
                await go.wait()
                crashed.append(action)
                raise RuntimeError("planted")
            return await perform(action, instance, number, secret_of)

        monkeypatch.setattr(home.calls, "perform", planted)
        blamed = noted(home, monkeypatch)
        unit = await home.add_unit()
        assert home.roster.ask(unit, ConnectAsked())
        with trio.fail_after(5):
            await entered.wait()
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            await home.send(unit, "connection.update", {"state": "open", "statusReason": 200})
            for number in range(20):
                await home.send(unit, "messages.upsert", text(f"{number:02}"))
            await until(lambda: unit.doing is unit_module.Doing.RECORDING)
            go.set()
            await until(lambda: home.counters.total("actor_crashes") == 1)
            other.rollback()
        await home.settled()
        assert crashed
        assert blamed == []
        assert await home.rows("select count(*) from zapline.messages") == [(20,)]
        assert unit.unsettled is None
        assert unit.state is not None
        assert await home.rows("select phase::text, applied_seq from zapline.unit_whatsapp_connections") == [
            (unit.state.stored.phase.value, unit.applied_seq)
        ]
        assert home.counters.total("actor_crashes") == 1


async def test_a_crash_while_parsing_blames_the_entry_in_hand_alone(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on_boom(monkeypatch)
    async with house(database, tmp_path) as home:
        blamed = noted(home, monkeypatch)
        unit = await home.add_unit()
        for identity in ("1", "BOOM", "2"):
            await home.send(unit, "messages.upsert", text(identity))
        await home.settled()
        assert len(blamed) == 3
        assert len(set(blamed)) == 1


async def test_a_full_disk_holds_up_a_suspicious_entry_and_neither_crashes_nor_buries(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on_boom(monkeypatch)
    monkeypatch.setattr(unit_module, "REFUSED_PAUSE", 0.2)
    async with house(database, tmp_path) as home:
        unit = await home.add_unit()
        refusals: list[Seq] = []

        async def take_in_hand(seq: Seq) -> None:
            refusals.append(seq)
            raise JournalRefused("planted")

        with monkeypatch.context() as full:
            full.setattr(home.journal, "take_in_hand", take_in_hand)
            for identity in ("1", "BOOM", "2"):
                await home.send(unit, "messages.upsert", text(identity))
            await until(lambda: len(refusals) >= 3)
            refuse_appends(home, full)
            assert await home.post(unit, BODY % b"direct")
            assert home.counters.total("actor_crashes") == 2
            assert unit.quarantined_at is None
            assert home.journal.statistics().depth >= 2
            assert await home.rows("select reason from zapline.dead_letters") == []
        monkeypatch.setattr(entries_module, "parse", real_parse)  # it was innocent after all
        await home.settled()
        stored = await home.rows("select external_id from zapline.messages order by seq")
        assert stored == [("1",), ("direct",), ("BOOM",), ("2",)]
        assert home.counters.total("actor_crashes") == 2


async def test_a_direct_entry_that_crashes_the_actor_is_buried_and_those_beside_it_are_stored(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_on_boom(monkeypatch)
    async with house(database, tmp_path, hold_up=10) as home:
        unit = await home.add_unit()
        refuse_appends(home, monkeypatch)
        answers: list[bool] = []

        async def one(identity: bytes) -> None:
            answers.append(await home.post(unit, BODY % identity))

        async with trio.open_nursery() as nursery:
            for identity in (b"1", b"BOOM", b"2"):
                nursery.start_soon(one, identity)
        assert answers == [True] * 3
        assert set(await home.rows("select external_id from zapline.messages")) == {("1",), ("2",)}
        assert await home.rows("select reason, journal_seq from zapline.dead_letters") == [("crashed_actor", None)]
        assert home.counters.total("actor_crashes") == 3


async def test_a_webhook_counted_as_lost_is_withdrawn_and_not_stored_later(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(database, tmp_path, hold_up=0.4, lock_timeout_ms=0) as home:
        unit = await home.add_unit()
        await home.send(unit, "messages.upsert", text("0"))
        await home.settled()
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            await home.send(unit, "messages.upsert", text("1"))
            await until(lambda: unit.doing is unit_module.Doing.RECORDING)
            refuse_appends(home, monkeypatch)
            assert not await home.post(unit, BODY % b"lost")
            assert unit.mailbox.take_direct() == []
            other.rollback()
        await home.settled()
        await home.until("select count(*) from zapline.messages", [(2,)])
        assert home.counters.total("lost") == 1


async def test_entries_past_the_journal_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_module, "BYTES", 100)
    mailbox = Mailbox()
    first, second = (Direct(Entry(Seq(0), UnitId(uuid4()), "", 0.0, b"x" * 60)) for _ in range(2))
    await mailbox.put_direct(first)
    with trio.move_on_after(0.05) as waited:
        await mailbox.put_direct(second)
    assert waited.cancelled_caught
    mailbox.withdraw(first)
    with trio.fail_after(1):
        await mailbox.put_direct(second)
    assert mailbox.take_direct() == [second]


async def test_a_cancelled_write_that_is_not_in_work_is_never_committed(database: str, tmp_path: Path) -> None:
    async with house(database, tmp_path, lanes=1, lock_timeout_ms=0) as home:
        unit, other_unit = await home.add_units(["um", "dois"])
        await home.send(unit, "messages.upsert", text("0"))
        await home.settled()
        with psycopg.connect(database) as other:
            other.execute("lock table zapline.messages in exclusive mode")
            await home.send(unit, "messages.upsert", text("1"))
            await until(lambda: unit.doing is unit_module.Doing.RECORDING)
            await until(lambda: home.recorder._lanes[0]._in_work == 1)
            write = prepare(other_unit.id, (), None, Seq(77), home.journal.journal_id)
            with trio.move_on_after(0.1):
                await home.recorder.store(write)
            assert home.recorder.statistics().waiting == 1
            other.rollback()
        await home.settled()
        assert await home.rows("select count(*) from zapline.unit_whatsapp_connections where applied_seq = 77") == [
            (0,)
        ]


async def test_a_lock_on_what_stands_beside_poison_does_not_stop_the_lane(database: str, tmp_path: Path) -> None:
    refusing = """
        create function zapline.refuse() returns trigger language plpgsql as $$ begin
            if new.external_id = 'POISON' then raise exception 'no' using errcode = '22003'; end if;
            return new;
        end $$;
        create trigger refuse before insert on zapline.messages for each row execute function zapline.refuse()"""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(refusing)
    async with house(database, tmp_path, lanes=1, lock_timeout_ms=200) as home:
        ill, well = await home.add_units(["mal", "bem"])
        await home.send(ill, "messages.upsert", text("0", jid="5511999990002@s.whatsapp.net", at=1_795_000_000))
        await home.settled()
        with psycopg.connect(database) as other:
            other.execute("select * from zapline.conversations for update")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(home.send, ill, "messages.upsert", text("POISON"))
                nursery.start_soon(home.send, ill, "messages.upsert", text("1", jid="5511999990002@s.whatsapp.net"))
            await trio.sleep(0.3)
            await home.send(well, "messages.upsert", text("2"))
            await home.until("select count(*) from zapline.messages where external_id = '2'", [(1,)], 5)
            other.rollback()
        await home.settled()
        assert set(await home.rows("select external_id from zapline.messages")) == {("0",), ("1",), ("2",)}
        assert await home.rows("select reason from zapline.dead_letters") == [("refused_by_database",)]
        assert home.counters.total("actor_crashes") == 0
