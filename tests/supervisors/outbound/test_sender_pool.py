"""All senders together: who is woken when, what a kill leaves behind, and that no unit holds up another."""

import time
from collections import Counter
from pathlib import Path
from uuid import UUID, uuid4

import trio
from support.outgoing import QUICK, office, queue, sending

from zapline.domain.line.reasons import Phase
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File
from zapline.domain.outbox.work_states import Lane
from zapline.domain.restart_policy import RestartIntensity
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.delivery_ledger import DeliveredMessage
from zapline.supervisors.outbound.sender_pool import PAUSED_BY_REQUEST, SCAN_EVERY
from zapline.supervisors.outbound.sender_state import SenderActivity


async def test_the_due_query_finds_what_nobody_announced_and_what_becomes_due(database: str, tmp_path: Path) -> None:
    async with sending(database, tmp_path) as at:
        unit = await at.add_unit()
        at.senders.scan_soon()
        await trio.sleep(0.3)
        started = trio.current_time()
        async with at.pool.connection() as conn:
            await queue(conn, unit.id, "depois", due_in=0.6)
            await queue(conn, unit.id, "logo", expires_in=5, due_in=0.1)
            await queue(conn, unit.id, "nunca", expires_in=-1)
        at.senders.scan_soon()
        await at.until(lambda: len(at.received()) == 2)
        assert 0.5 < trio.current_time() - started < 1.2
        await at.rest()
        assert at.received() == ["logo", "depois"]
        assert await at.outbox() == [("settled", 0, None), ("settled", 0, None), ("expired", 0, "expired")]
        assert at.counters.totals["messages_ended_unsent", "expired"] == 1
        assert SCAN_EVERY <= 5
        await at.until(lambda: at.senders.statistics().running == 0)


async def test_a_line_that_opens_sends_at_once_what_has_waited(database: str, tmp_path: Path) -> None:
    async with sending(database, tmp_path) as at:
        unit = await at.add_unit()
        at.evolution.close("loja", 401)
        await at.until(lambda: unit.state is not None and unit.state.stored.phase is not Phase.OPEN)
        await at.post(unit, "oi")
        await at.until(lambda: at.senders.statistics().running == 0)
        assert await at.outbox() == [("queued", 0, None)]
        assert await at.rows("select from zapline.attempts") == []
        at.evolution.scan("loja")
        await at.open(unit)
        opened = trio.current_time()
        await at.rest()
        assert trio.current_time() - opened < 0.5
        assert at.received() == ["oi"]


async def test_a_call_that_a_kill_has_cut_is_uncertain_at_the_next_start(database: str, tmp_path: Path) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with office(database, tmp_path, evolution) as at:
            unit = await at.add_unit()
            evolution.inject_fault("hang", count=1, path="/message/")
            await at.post(unit, "cortada", "seguinte")
            await at.until(lambda: not evolution.state.faults.as_json())
            assert at.senders.status(unit.id).state is SenderActivity.CALLING
        async with office(database, tmp_path, evolution, port=at.port) as at:
            await at.rest(["queued", "leased"])
            assert await at.outbox() == [("uncertain", 0, "crashed"), ("settled", 0, None)]
            assert at.received() == ["seguinte"]
            rows = await at.rows("select outcome, failure from zapline.attempts order by started_at")
            assert rows == [("uncertain", "crashed"), ("sent", None)]
            assert at.counters.total("leases_rescued") == 1


async def test_a_lease_is_rescued_though_the_line_is_closed_and_nothing_else_waits(
    database: str, tmp_path: Path
) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with office(database, tmp_path, evolution) as at:
            unit = await at.add_unit()
            evolution.inject_fault("hang", count=1, path="/message/")
            await at.post(unit, "cortada")
            await at.until(lambda: not evolution.state.faults.as_json())
            evolution.close("loja", 401)
            await at.until(lambda: unit.state is not None and unit.state.stored.phase is not Phase.OPEN)
        async with office(database, tmp_path, evolution, port=at.port) as at:
            await at.until_rows("select state, failure from zapline.outbox", ("uncertain", "crashed"))


async def test_an_answer_that_was_on_disk_before_the_kill_wins_over_the_rescue(database: str, tmp_path: Path) -> None:
    gate, held = trio.Event(), False

    async def may_record() -> None:
        if held:
            await gate.wait()

    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with office(database, tmp_path, evolution, may_record=may_record) as at:
            unit = await at.add_unit()
            held = True
            await at.post(unit, "oi")
            await at.until(lambda: any(state.pending_answer for state in at.senders._states.values()))
            await at.until(lambda: not at.senders._states[unit.id].send_in_progress)
            assert await at.outbox() == [("leased", 0, None)]
        async with office(database, tmp_path, evolution, port=at.port) as at:
            await at.rest()
            assert await at.outbox() == [("settled", 0, None)]
            assert at.received() == ["oi"]
            assert await at.rows("select matched_by from zapline.attempts") == [("reply",)]


async def test_a_stop_waits_for_the_calls_under_way_and_begins_no_other(database: str, tmp_path: Path) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with office(database, tmp_path, evolution) as at:
            unit = await at.add_unit()
            evolution.inject_fault("slow", count=1, path="/message/", seconds=0.3)
            await at.post(unit, "um", "dois")
            await at.until(lambda: at.senders.status(unit.id).state is SenderActivity.CALLING)
            started = trio.current_time()
            await at.senders.drain(5)
            assert 0.1 < trio.current_time() - started < 1
            await at.post(unit, "três")
            at.senders.scan_soon()
        async with office(database, tmp_path, evolution, port=at.port) as at:
            assert evolution.ledger.messages[-1].text == "um"
            await at.rest()
            assert at.received() == ["um", "dois", "três"]
            assert await at.outbox() == [("settled", 0, None)] * 3
            assert await at.rows("select distinct matched_by from zapline.attempts") == [("reply",)]


async def test_a_hung_unit_and_a_busy_one_hold_up_nobody(database: str, tmp_path: Path) -> None:
    async with sending(database, tmp_path, call=5) as at:
        hung, busy = await at.add_unit("hung"), await at.add_unit("busy")
        quiet = [await at.add_unit(f"quiet{number}") for number in range(4)]
        at.evolution.inject_fault("hang", instance="hung", path="/message/")
        await at.post(hung, "a", "b")
        await at.post(busy, *(f"n{number}" for number in range(100)), lane=Lane.CAMPAIGN)
        asked: dict[str, float] = {}
        for number in range(5):
            for unit in quiet:
                words = f"{unit.record.instance} {number}"
                asked[words] = time.time()
                await at.post(unit, words)
            await trio.sleep(0.15)

        def replies() -> list[DeliveredMessage]:
            return [each for each in at.evolution.ledger.messages if each.instance.startswith("quiet")]

        await at.until(lambda: len(replies()) == len(asked))
        assert max(each.at - asked[each.text] for each in replies()) < 1
        assert 0 < len(at.received("busy")) < 100, "it is still busy"
        assert at.senders.status(hung.id).state is SenderActivity.CALLING


async def test_while_evolution_is_shut_messages_wait_and_none_is_lost(database: str, tmp_path: Path) -> None:
    async with sending(database, tmp_path) as at:
        units = [await at.add_unit(f"u{number}") for number in range(10)]
        at.evolution.take_down()
        for unit in units:
            await at.post(unit, *(f"{unit.record.instance} {number}" for number in range(5)))
        await at.until(lambda: at.senders.statistics().paused == 10)
        at.evolution.bring_up()
        await at.rest(["queued", "leased"])
        states = Counter((state, tries) for state, tries, _ in await at.outbox())
        assert states == {("settled", 0): 50}
        received = [each.text for each in at.evolution.ledger.messages]
        assert len(received) == len(set(received)) == 50
        assert at.counters.total("line_pauses") >= 10


async def test_pace_and_leases_are_read_anew_when_this_process_leads_again(database: str, tmp_path: Path) -> None:
    async with sending(database, tmp_path) as at:
        unit = await at.add_unit()
        await at.post(unit, "um")
        await at.rest()
        async with at.pool.connection() as conn:
            await conn.execute("update zapline.unit_paces set daily_cap = 1")
            await queue(conn, unit.id, "dois")
        at.senders.leadership_regained()
        await at.until(lambda: at.senders.status(unit.id).reason == "daily_cap")
        assert at.received() == ["um"]
        at.senders.wake(UUID(int=0))  # type: ignore[arg-type] - a unit that nobody knows
        assert at.senders.statistics().down == 0


async def test_a_sender_that_crashes_too_often_stays_down_for_a_while_alone(database: str, tmp_path: Path) -> None:
    async with sending(database, tmp_path, intensity=RestartIntensity(1, 60.0)) as at:
        bad, good = await at.add_unit("bad"), await at.add_unit("good")
        at.broken_loads = 2
        await at.post(bad, File(MessageKind.DOCUMENT, upload=uuid4(), file_name="a.pdf"))
        await at.until(lambda: at.senders.statistics().down == 1)
        await at.post(bad, "depois")
        await at.post(good, "oi")
        await at.until(lambda: at.received("good") == ["oi"])
        assert at.received("bad") == []
        assert at.senders.statistics().running <= 1
        assert at.counters.total("sender_crashes") == 2


async def test_a_paused_unit_sends_nothing_until_it_is_resumed_also_after_a_restart(
    database: str, tmp_path: Path
) -> None:
    async with SimulatedEvolution.running(behaviour=QUICK) as evolution:
        async with office(database, tmp_path, evolution) as at:
            unit, other = await at.add_unit(), await at.add_unit("outra")
            await at.rows("update zapline.units set paused_at = now() where id = %s returning id", unit.id)
            await at.post(unit, "espera")  # the sender does not know of it yet: the database does
            await at.reload()
            await at.post(unit, "espera também")
            await at.post(other, "vai")
            await at.until(lambda: at.received("outra") == ["vai"])
            await at.until(lambda: at.senders.statistics().running == 0)
            assert at.senders.status(unit.id).state is SenderActivity.PAUSED
            assert at.senders.status(unit.id).reason == PAUSED_BY_REQUEST
        async with office(database, tmp_path, evolution, port=at.port) as at:
            await at.until(lambda: at.roster.get(unit.id) is not None)
            at.senders.scan_soon()
            await trio.sleep(0.5)
            assert at.received() == []
            assert await at.rows("select distinct state, tries from zapline.outbox where unit_id = %s", unit.id) == [
                ("queued", 0)
            ]
            assert at.senders.statistics().running == 0
            await at.rows("update zapline.units set paused_at = null returning id")
            await at.reload()
            at.senders.wake(unit.id)
            await at.rest()
            assert at.received() == ["espera", "espera também"]
