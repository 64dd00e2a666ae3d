"""All senders together: which is woken when, what a kill leaves behind, and that no unit delays another."""

from collections import Counter
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio
from support.journeys import line_of, verdicts
from support.outbound_stack import QUICK, outbound_stack, outbound_stack_on, queue_message

from zapline.domain.line.reasons import Phase
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox import send_outcomes
from zapline.domain.outbox.contents import File
from zapline.domain.outbox.work_states import Lane
from zapline.domain.restart_policy import RestartIntensity
from zapline.domain.retry_policy import Backoff
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound import sender_pool
from zapline.supervisors.outbound.outbox_monitor import OutboxMonitor
from zapline.supervisors.outbound.sender_pool import PAUSED_BY_REQUEST
from zapline.supervisors.outbound.sender_state import SenderActivity


@pytest.fixture
def no_regular_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody announces is never found: whatever is sent was announced, or scheduled."""
    assert sender_pool.SCAN_EVERY <= 5
    monkeypatch.setattr(sender_pool, "SCAN_EVERY", 3600.0)


@pytest.mark.usefixtures("no_regular_scans")
async def test_a_scan_finds_what_nobody_announced_and_schedules_what_becomes_due(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        async with stack.pool.connection() as conn:
            await queue_message(conn, unit.id, "depois", due_in=0.6)
            await queue_message(conn, unit.id, "logo", expires_in=5, due_in=0.1)
            await queue_message(conn, unit.id, "nunca", expires_in=-1)
        stack.senders.scan_soon()
        await stack.wait_until(lambda: len(stack.received_texts()) == 2)
        await stack.wait_until_idle()
        assert await stack.rows(
            "select bool_and(a.started_at >= o.due_at) from zapline.attempts a join zapline.outbox o using (message_id)"
        ) == [(True,)]
        assert stack.received_texts() == ["logo", "depois"]
        assert await stack.outbox_rows() == [("settled", 0, None), ("settled", 0, None), ("expired", 0, "expired")]
        assert stack.counters.totals["messages_ended_unsent", "expired"] == 1
        assert (await verdicts(database, unit.id))[-1] == ("expired", None)
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)


@pytest.mark.usefixtures("no_regular_scans")
async def test_a_line_that_opens_sends_at_once_what_has_waited(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.evolution.close("loja", 401)
        await stack.wait_until(lambda: unit.state is not None and unit.state.stored.phase is not Phase.OPEN)
        await stack.enqueue(unit, "oi")
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        assert await stack.outbox_rows() == [("queued", 0, None)]
        assert await stack.rows("select from zapline.attempts") == []
        line = line_of(unit, stack.senders.status(unit.id))
        assert await verdicts(database, unit.id, line) == [("waiting_for_line", "logged_out")]
        stack.evolution.scan("loja")
        await stack.wait_until_open(unit)
        await stack.wait_until_idle()
        assert stack.received_texts() == ["oi"]


async def test_a_call_that_a_kill_has_cut_is_uncertain_at_the_next_start(database: str, tmp_path: Path) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with outbound_stack_on(database, tmp_path, evolution) as stack:
            unit = await stack.add_unit()
            evolution.inject_fault("hang", count=1, path="/message/")
            await stack.enqueue(unit, "cortada", "seguinte")
            await stack.wait_until(lambda: not evolution.state.faults.as_json())
            assert stack.senders.status(unit.id).state is SenderActivity.CALLING
        async with outbound_stack_on(database, tmp_path, evolution, port=stack.port) as stack:
            await stack.wait_until_idle(["queued", "leased"])
            assert await stack.outbox_rows() == [("uncertain", 0, "crashed"), ("settled", 0, None)]
            assert stack.received_texts() == ["seguinte"]
            rows = await stack.rows("select outcome, failure from zapline.attempts order by started_at")
            assert rows == [("uncertain", "crashed"), ("sent", None)]
            assert stack.counters.total("leases_rescued") == 1


async def test_a_lease_is_rescued_though_the_line_is_closed_and_nothing_else_waits(
    database: str, tmp_path: Path
) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with outbound_stack_on(database, tmp_path, evolution) as stack:
            unit = await stack.add_unit()
            evolution.inject_fault("hang", count=1, path="/message/")
            await stack.enqueue(unit, "cortada")
            await stack.wait_until(lambda: not evolution.state.faults.as_json())
            evolution.close("loja", 401)
            await stack.wait_until(lambda: unit.state is not None and unit.state.stored.phase is not Phase.OPEN)
        async with outbound_stack_on(database, tmp_path, evolution, port=stack.port) as stack:
            await stack.wait_for_rows("select state, failure from zapline.outbox", ("uncertain", "crashed"))


async def test_an_answer_that_was_on_disk_before_the_kill_wins_over_the_rescue(database: str, tmp_path: Path) -> None:
    never, held = trio.Event(), False

    async def may_record() -> None:
        if held:
            await never.wait()

    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with outbound_stack_on(database, tmp_path, evolution, may_record=may_record) as stack:
            unit = await stack.add_unit()
            held = True
            await stack.enqueue(unit, "oi")
            await stack.wait_until(lambda: any(state.pending_answers for state in stack.senders._states.values()))
            await stack.wait_until(lambda: not stack.senders._states[unit.id].send_in_progress)
            assert await stack.outbox_rows() == [("leased", 0, None)]
        async with outbound_stack_on(database, tmp_path, evolution, port=stack.port) as stack:
            await stack.wait_until_idle()
            assert await stack.outbox_rows() == [("settled", 0, None)]
            assert stack.received_texts() == ["oi"]
            assert await stack.rows("select matched_by from zapline.attempts") == [("reply",)]


async def test_a_stop_waits_for_the_calls_under_way_and_begins_no_other(database: str, tmp_path: Path) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with outbound_stack_on(database, tmp_path, evolution) as stack:
            unit = await stack.add_unit()
            evolution.inject_fault("slow", count=1, path="/message/", seconds=0.3)
            await stack.enqueue(unit, "um", "dois")
            await stack.wait_until(lambda: stack.senders.status(unit.id).state is SenderActivity.CALLING)
            with trio.fail_after(30):
                await stack.senders.drain(60)
            assert not stack.senders._states[unit.id].send_in_progress
            await stack.enqueue(unit, "três")
            stack.senders.scan_soon()
        async with outbound_stack_on(database, tmp_path, evolution, port=stack.port) as stack:
            assert evolution.ledger.messages[-1].text == "um"
            await stack.wait_until_idle()
            assert stack.received_texts() == ["um", "dois", "três"]
            assert await stack.outbox_rows() == [("settled", 0, None)] * 3
            assert await stack.rows("select distinct matched_by from zapline.attempts") == [("reply",)]


async def test_a_hung_unit_and_a_busy_one_delay_no_other(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path, call=600) as stack:
        hung, busy = await stack.add_unit("hung"), await stack.add_unit("busy")
        quiet = [await stack.add_unit(f"quiet{number}") for number in range(4)]
        stack.evolution.inject_fault("hang", instance="hung", path="/message/")
        await stack.enqueue(hung, "a", "b")
        queued = 0

        def has_received(unit: Unit, text: str) -> bool:
            return text in stack.received_texts(unit.record.instance)

        for number in range(5):
            # A hundred stand before theirs, however many the busy unit has sent meanwhile.
            more = len(stack.received_texts("busy")) + 100 - queued
            await stack.enqueue(busy, *(f"n{queued + each}" for each in range(more)), lane=Lane.CAMPAIGN)
            queued += more
            await stack.wait_until(lambda: len(stack.received_texts("busy")) > 0, seconds=60)
            for unit in quiet:
                await stack.enqueue(unit, str(number))
            for unit in quiet:
                await stack.wait_until(partial(has_received, unit, str(number)), seconds=60)
            assert len(stack.received_texts("busy")) < queued, "they waited for the whole queue of another unit"
        assert stack.senders.status(hung.id).state is SenderActivity.CALLING


@pytest.mark.heavy
async def test_while_evolution_is_down_messages_wait_and_none_is_lost(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_outcomes, "LINE_PAUSE", Backoff(base=0.3, factor=1.0, cap=0.3, jitter=0.3))
    async with outbound_stack(database, tmp_path) as stack:
        units = [await stack.add_unit(f"u{number}") for number in range(10)]
        stack.evolution.take_down()
        for unit in units:
            await stack.enqueue(unit, *(f"{unit.record.instance} {number}" for number in range(5)))
        await stack.wait_until(lambda: all(stack.senders._states[unit.id].line_failures > 0 for unit in units))
        stack.evolution.bring_up()
        await stack.wait_until_idle(["queued", "leased"])
        states = Counter((state, tries) for state, tries, _ in await stack.outbox_rows())
        assert states == {("settled", 0): 50}
        received = [each.text for each in stack.evolution.ledger.messages]
        assert len(received) == len(set(received)) == 50
        assert stack.counters.total("line_pauses") >= 10


async def test_pace_and_leases_are_loaded_again_when_this_process_leads_again(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.enqueue(unit, "um")
        await stack.wait_until_idle()
        async with stack.pool.connection() as conn:
            await conn.execute("update zapline.unit_paces set daily_cap = 1")
            await queue_message(conn, unit.id, "dois")
        stack.senders.leadership_regained()
        await stack.wait_until(lambda: stack.senders.status(unit.id).reason == "daily_cap")
        assert stack.received_texts() == ["um"]
        stack.senders.wake(UUID(int=0))  # type: ignore[arg-type] - a unit that nobody knows
        assert stack.senders.statistics().down == 0


async def test_a_sender_that_crashes_too_often_stays_down_for_a_while_alone(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path, intensity=RestartIntensity(1, 60.0)) as stack:
        bad, good = await stack.add_unit("bad"), await stack.add_unit("good")
        stack.failing_loads = 2
        await stack.enqueue(bad, File(MessageKind.DOCUMENT, upload=uuid4(), file_name="a.pdf"))
        await stack.wait_until(lambda: stack.senders.statistics().down == 1)
        await stack.enqueue(bad, "depois")
        await stack.enqueue(good, "oi")
        await stack.wait_until(lambda: stack.received_texts("good") == ["oi"])
        assert stack.received_texts("bad") == []
        assert stack.senders.statistics().running <= 1
        assert stack.counters.total("sender_crashes") == 2


async def test_a_paused_unit_sends_nothing_until_it_is_resumed_also_after_a_restart(
    database: str, tmp_path: Path
) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with outbound_stack_on(database, tmp_path, evolution) as stack:
            unit, other = await stack.add_unit(), await stack.add_unit("outra")
            await stack.rows("update zapline.units set paused_at = now() where id = %s returning id", unit.id)
            await stack.enqueue(unit, "espera")  # the sender does not know of it yet: the database does
            await stack.reload()
            await stack.enqueue(unit, "espera também")
            await stack.enqueue(other, "vai")
            await stack.wait_until(lambda: stack.received_texts("outra") == ["vai"])
            await stack.wait_until(lambda: stack.senders.statistics().running == 0)
            assert stack.senders.status(unit.id).state is SenderActivity.PAUSED
            assert stack.senders.status(unit.id).reason == PAUSED_BY_REQUEST
            line = line_of(unit, stack.senders.status(unit.id))
            assert await verdicts(database, unit.id, line) == [("paused", None)] * 2
        async with outbound_stack_on(database, tmp_path, evolution, port=stack.port) as stack:
            await stack.wait_until(lambda: stack.roster.get(unit.id) is not None)
            async with stack.pool.connection() as conn:
                await queue_message(conn, other.id, "vai também")
            stack.senders.scan_soon()
            await stack.wait_until(lambda: stack.received_texts("outra") == ["vai", "vai também"])
            assert stack.received_texts() == []
            assert await stack.rows("select distinct state, tries from zapline.outbox where unit_id = %s", unit.id) == [
                ("queued", 0)
            ]
            await stack.wait_until(lambda: stack.senders.statistics().running == 0)
            await stack.rows("update zapline.units set paused_at = null returning id")
            await stack.reload()
            stack.senders.wake(unit.id)
            await stack.wait_until_idle()
            assert stack.received_texts() == ["espera", "espera também"]


async def test_a_call_that_hangs_holds_up_its_own_chat_alone(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_outcomes, "LINE_PAUSE", Backoff(base=0.05, factor=1.0, cap=0.05, jitter=0.0))
    async with outbound_stack(database, tmp_path, call=600, patience=0.05) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("hang", path="/message/", count=1)
        await stack.enqueue(unit, "um", "dois")
        await stack.wait_until(lambda: stack.counters.total("calls_overtaken") == 1)
        for number in range(3):
            await stack.enqueue(unit, f"outro {number}", phone=f"+551199999100{number}")
        await stack.wait_until(lambda: len(stack.received_texts()) == 3)
        assert await stack.rows("select state from zapline.outbox order by seq limit 2") == [("leased",), ("queued",)]
        assert stack.senders.status(unit.id).state is SenderActivity.CALLING
        # Its end makes it uncertain, and its own chat goes on.
        stack.evolution.take_down()
        stack.evolution.bring_up()
        await stack.wait_until(lambda: "dois" in stack.received_texts())
        assert await stack.rows("select state, failure from zapline.outbox order by seq limit 1") == [
            ("uncertain", "no_answer")
        ]
        await stack.wait_until_idle(["queued", "leased"])
        assert stack.counters.total("leases_rescued") == 0
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)


async def test_where_the_server_does_not_say_that_the_line_is_open_the_unit_waits(
    database: str, tmp_path: Path
) -> None:
    async with outbound_stack(database, tmp_path, call=1.0, patience=0.1) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("hang", path="/message/", count=1)
        stack.evolution.inject_fault("error", path="/instance/connectionState", count=50)
        await stack.enqueue(unit, "um")
        await stack.enqueue(unit, "dois", phone="+5511999991000")
        await stack.wait_for_rows("select state from zapline.outbox order by seq limit 1", ("uncertain",))
        assert stack.received_texts() == []
        assert stack.counters.total("calls_overtaken") == 0
        stack.evolution.clear_faults()
        await stack.wait_until(lambda: stack.received_texts() == ["dois"])


async def test_a_hidden_number_is_not_called_a_wrong_one(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        (message,) = await stack.enqueue(unit, "oi", due_in=3600)
        stack.evolution.numbers.missing.add("210000000000009@lid")
        await stack.rows("select 1")
        async with stack.pool.connection() as conn:
            await conn.execute(
                "update zapline.outbox set address = '210000000000009@lid', due_at = now() where message_id = %s",
                (message,),
            )
        stack.senders.wake(unit.id)
        await stack.wait_for_rows(
            "select state, failure, failure_detail from zapline.outbox", ("dead", "hidden_number", "Evolution 2.3.7")
        )


async def test_what_a_wrong_clock_has_put_off_is_due_once_it_is_right(database: str, tmp_path: Path) -> None:
    weeks = 40 * 86_400.0
    async with outbound_stack(database, tmp_path) as stack, trio.open_nursery() as nursery:
        unit = await stack.add_unit()
        await stack.rows("update zapline.units set paused_at = now() returning id")
        scheduled, retried, asked = [(await stack.enqueue(unit, text, due_in=weeks))[0] for text in ("A", "B", "C")]
        uncertain = (await stack.enqueue(unit, "D"))[0]
        await stack.rows(
            "update zapline.outbox set state = 'uncertain', fence = 1, look_at = now() + interval '1 hour'"
            " where message_id = %s returning fence",
            uncertain,
        )
        await stack.rows(
            "update zapline.outbox set fence = 1, tries = 1 where message_id = %s returning fence", retried
        )
        at_once, in_an_hour = [(await stack.enqueue(unit, text, due_in=3600.0))[0] for text in ("F", "G")]
        for message, ahead in ((asked, weeks), (at_once, 3600.0)):
            await stack.rows(
                "update zapline.messages set received_at = received_at + %s * interval '1 second' where id = %s"
                " returning id",
                ahead,
                message,
            )
        late = (await stack.enqueue(unit, "D", due_in=weeks, lane=Lane.CAMPAIGN))[0]
        hours = (await stack.enqueue(unit, "E", due_in=2 * 86_400.0, lane=Lane.CAMPAIGN))[0]
        assert late != hours
        # Its claim was given back without a call.
        await stack.rows("update zapline.outbox set fence = 1 where message_id = %s returning fence", at_once)
        tried_ahead, tried = [(await stack.enqueue(unit, text, due_in=3600.0))[0] for text in ("H", "I")]
        for message, ahead in ((tried_ahead, 3000.0), (tried, 0.0)):
            await stack.rows(
                "with o as (update zapline.outbox set fence = 1, tries = 1 where message_id = %s returning *)"
                " insert into zapline.attempts (id, message_id, unit_id, conversation_id, provider, fence, lane,"
                " recipient, fingerprint, started_at, outcome) select gen_random_uuid(), message_id, unit_id,"
                " conversation_id, 'evolution', 1, lane, recipient, fingerprint, now() + %s * interval '1 second',"
                " 'not_sent' from o returning id",
                message,
                ahead,
            )
        agree = False
        monitor = OutboxMonitor(stack.pool, stack.counters, 1800.0, clocks_agree=lambda: agree)
        waiting = "select message_id from zapline.outbox where due_at > now() order by seq"
        agree = True
        nursery.start_soon(monitor.run)
        await stack.wait_for_rows(waiting, (scheduled,), (in_an_hour,), (hours,), (tried,))
        await stack.wait_until(lambda: stack.counters.total("misdated") == 6)
        late = "select message_id from zapline.outbox where look_at > now() + interval '10 minutes'"
        assert await stack.rows(late) == []
        nursery.cancel_scope.cancel()
