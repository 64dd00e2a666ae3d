"""Reconciliation: what webhooks have missed comes back from Evolution's store, once, in order, and is counted."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.inbound_stack import text, until
from support.reconciliation_stack import HOUR, QUICK, ReconciliationStack, reconciliation_stack

from zapline.evolution.client.response_parser import MessagePage
from zapline.sandbox.simulator.state.message_store import MessageStore
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.reconciliation.scheduler import AlreadyReconciling


async def live(stack: ReconciliationStack, unit: Unit, external_id: str, words: str, at: float) -> None:
    """A message whose webhook comes, too."""
    stack.evolution.receive(unit.record.instance, words, external_id=external_id, at=at)
    await stack.inbound.send(unit, "messages.upsert", text(external_id, words, at=int(at)))
    await stack.inbound.wait_until_stored()


async def thread(stack: ReconciliationStack) -> list[tuple[object, ...]]:
    return await stack.inbound.rows("select body, backfilled from zapline.messages order by sent_at, seq")


async def test_what_webhooks_missed_comes_back_in_order_and_a_live_message_hides_nothing(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        for number in range(4):
            stack.evolution.receive("loja", f"perdida {number}", external_id=f"L{number}", at=now - 7200 + 600 * number)
        await live(stack, unit, "LIVE", "ao vivo", now - 6300)
        own = stack.evolution.receive("loja", "do telefone", external_id="OWN", from_me=True, at=now - 4000)
        for word in ("DELIVERY_ACK", "READ", "SERVER_ACK"):
            stack.evolution.status("loja", own, word)
        stack.evolution.status("loja", "LIVE", "READ")

        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        assert await thread(stack) == [
            ("perdida 0", True),
            ("perdida 1", True),
            ("ao vivo", False),
            ("perdida 2", True),
            ("perdida 3", True),
            ("do telefone", True),
        ]
        assert await stack.inbound.rows(
            "select delivery::text from zapline.messages where external_id in ('OWN', 'LIVE')"
        ) == [("read",), ("read",)]
        totals = stack.inbound.counters.totals
        # Nobody listened before this daemon's first look, so this is no alarm.
        assert (totals["repairs", "known_gap"], totals["repairs_unexplained", ""]) == (5, 0)
        assert totals["backfilled", ""] == 5
        assert totals["duplicates", ""] == 0

        status = stack.reconciler.status(unit.id)
        assert status is not None
        assert (status.running, status.error, status.gap_since, status.store_kept) == (False, None, None, True)
        marked = await stack.watermark(unit)
        assert marked == status.reconciled_until
        assert marked is not None
        assert now - 1 <= marked <= time.time()

        journaled = stack.inbound.journal.statistics().appended
        found = await stack.reconciler.reconcile(unit.id, now - 8000)
        assert stack.inbound.journal.statistics().appended == journaled, "what is known is not written again"
        assert (found.records, found.repaired, found.failures, found.running) == (6, 0, 0, 0)
        assert (found.statuses, found.windows, found.windows_done) == (2, 3, 3)
        assert totals["repairs", "known_gap"] == 5

        # Now it is: webhooks come, the line was open all the time, and one message is missing.
        stack.evolution.receive("loja", "sumida", external_id="LOST", at=now - 1500)
        await stack.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 1000
        )
        line = stack.reconciler._lines[unit.id]
        assert line.row is not None
        line.row = replace(line.row, reconciled_until=now - 1000)
        await stack.wait_until_reconciled(unit)
        assert (totals["repairs", "unexplained"], totals["repairs_unexplained", ""]) == (1, 1)


async def test_only_windows_read_to_their_last_page_move_the_watermark(database: str, tmp_path: Path) -> None:
    """Small pages: some windows have many, one has more than it may and is cut, and Evolution fails in the middle."""
    now = float(int(time.time()))
    policy = replace(QUICK, page_size=10, max_pages=3, pages_per_turn=4, window_span=3600)
    async with reconciliation_stack(database, tmp_path, policy) as stack:
        unit = await stack.open_unit(connected=4 * HOUR)
        for number in range(25):
            stack.evolution.receive("loja", f"a{number}", external_id=f"A{number}", at=now - 13_000 + number)
        for number in range(90):
            stack.evolution.receive("loja", f"b{number}", external_id=f"B{number}", at=now - 3000 + number * 10)
        # Traffic that goes on moves nothing.
        await live(stack, unit, "LIVE", "ao vivo", now)
        assert await stack.watermark(unit) is None

        # The fourth page fails: the first window has three.
        stack.evolution.inject_fault("slow", path="/chat/findMessages", seconds=0.0, count=3)
        stack.evolution.inject_fault("error", path="/chat/findMessages")
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "failed"] >= 2)
        first_end = now - 4 * HOUR + policy.window_span - 1
        marked = await stack.watermark(unit)
        assert marked is not None
        assert marked == pytest.approx(first_end, abs=3)
        status = stack.reconciler.status(unit.id)
        assert status is not None
        assert status.error is not None
        assert "server_error" in status.error
        assert await stack.inbound.rows("select count(*)::int from zapline.messages where backfilled") == [(25,)]

        stack.evolution.clear_faults("error")
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        assert await stack.inbound.rows("select count(*)::int from zapline.messages where backfilled") == [(115,)]
        marked = await stack.watermark(unit)
        assert marked is not None
        assert marked >= now


async def test_a_run_by_hand_leaves_no_hole_below_the_watermark(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path, replace(QUICK, settle_delay=60.0)) as stack:
        unit = await stack.open_unit()
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        await stack.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 7200
        )
        stack.evolution.receive("loja", "antes da linha", external_id="OLD", at=now - 20 * HOUR)
        stack.evolution.receive("loja", "agora", external_id="NEW", at=now)
        stack.evolution.inject_fault("error", path="/chat/findMessages", count=1)
        stack.reconciler.start_run(unit.id, now - 3600)
        with pytest.raises(AlreadyReconciling):
            stack.reconciler.start_run(unit.id, now - 3600)
        await until(lambda: stack.reconciler.progress(unit.id).running == 0)
        failed = stack.reconciler.progress(unit.id)
        assert (failed.failures, failed.windows_done, failed.failed[0][0]) == (1, 0, str(unit.id))
        found = await stack.reconciler.reconcile(unit.id, now - 3600)
        assert (found.repaired, found.failures) == (1, 0)
        # Between the watermark and what was read nobody has looked: it must not jump.
        assert await stack.watermark(unit) == pytest.approx(now - 7200, abs=1)
        assert (await stack.reconciler.reconcile(unit.id, now - 7201)).repaired == 0
        assert (await stack.watermark(unit) or 0) == pytest.approx(time.time() - 60, abs=3)
        # A person may read more than is ours to read.
        assert (await stack.reconciler.reconcile(unit.id, now - 21 * HOUR)).repaired == 1
        with pytest.raises(Exception, match="no such unit"):
            stack.reconciler.start_run(type(unit.id)(int=7), now)
        assert stack.reconciler.start_all(now - 60) == 1
        await until(lambda: stack.reconciler.progress().running == 0)
        assert stack.reconciler.progress().units == 1

        stack.evolution.inject_fault("slow", path="/chat/findMessages", seconds=0.2)
        run = stack.reconciler.start_run(unit.id, now - 60)
        await until(lambda: run.begun)
        await stack.write("update zapline.unit_whatsapp_connections set archived_at = now()")
        await stack.inbound.reload()
        with trio.fail_after(5):
            await run.ended.wait()
        assert run.error == "the unit was closed"
        assert stack.reconciler.status(unit.id) is None
        await until(lambda: stack.reconciler._busy == 0)


async def test_a_disconnection_is_a_gap_until_it_was_read_past(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        await stack.set_line_state(unit, "close", ago=2000)
        await until(lambda: stack.reconciler._lines[unit.id].disconnected is not None)
        # What was sent meanwhile comes in with its own old time, when the line is open again.
        stack.evolution.receive("loja", "enquanto isso", external_id="OFF", at=now - 1500)
        stack.evolution.receive("loja", "pouco antes", external_id="BEFORE", at=now - 2100)
        stack.evolution.inject_fault("error", path="/chat/findMessages")
        await stack.set_line_state(unit, "open")
        await stack.inbound.wait_for_rows(
            "select gap_since is not null from zapline.unit_whatsapp_connections", [(True,)]
        )
        status = stack.reconciler.status(unit.id)
        assert status is not None
        assert status.gap_since == pytest.approx(now - 2000, abs=5)
        stack.evolution.clear_faults("error")
        await until(lambda: stack.inbound.counters.totals["repairs", "known_gap"] == 2)
        await stack.inbound.wait_for_rows("select gap_since is null from zapline.unit_whatsapp_connections", [(True,)])
        assert stack.inbound.counters.totals["repairs_unexplained", ""] == 0


async def test_what_a_database_that_was_set_back_has_forgotten_is_a_known_gap(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        stack.evolution.receive("loja", "esquecida", external_id="GONE", at=now - 5000)
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        await stack.write("delete from zapline.messages")
        await stack.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 6000
        )
        before = stack.inbound.counters.totals["repairs", "known_gap"]
        stack.evolution.inject_fault("error", path="/chat/findMessages", count=1)
        stack.reconciler.schedule(unit.id, "test")
        await until(lambda: stack.inbound.counters.totals["repairs", "known_gap"] == before + 1)
        assert stack.inbound.counters.totals["repairs_unexplained", ""] == 0


async def test_lost_webhooks_and_a_quarantine_are_gaps(database: str, tmp_path: Path) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        stack.start()
        done = stack.inbound.counters.totals
        await until(lambda: done["reconciliations", "done"] == 1)
        stack.evolution.receive("loja", "perdida", external_id="LOST", at=time.time())
        unit.gap_since = time.time()
        await until(lambda: done["reconciliations", "done"] == 2)
        assert unit.gap_since is None
        assert await stack.inbound.rows("select external_id from zapline.messages") == [("LOST",)]
        unit.quarantined_at = trio.current_time()
        await until(lambda: stack.reconciler._lines[unit.id].quarantined is not None)
        unit.quarantined_at = None
        await until(lambda: done["reconciliations", "done"] >= 3)


async def test_an_evolution_that_stores_nothing_is_told_once_and_recognised_when_it_does(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        await stack.inbound.send(unit, "messages.upsert", text("HEARD", at=int(now - 500)))
        await stack.inbound.wait_until_stored()
        stack.start()
        await until(lambda: stack.reconciler.units_without_store() == [unit.id])
        assert await stack.inbound.rows("select store_kept from zapline.unit_whatsapp_connections") == [(False,)]
        stack.evolution.receive("loja", "guardada", at=time.time())
        await stack.wait_until_reconciled(unit)
        assert stack.reconciler.units_without_store() == []
        assert await stack.inbound.rows("select store_kept from zapline.unit_whatsapp_connections") == [(True,)]


async def test_a_line_with_a_long_history_lets_the_others_have_their_turn(database: str, tmp_path: Path) -> None:
    now = time.time()
    policy = replace(QUICK, max_lines=1, page_size=5, pages_per_turn=4)
    async with reconciliation_stack(database, tmp_path, policy) as stack:
        full = await stack.open_unit("cheia")
        for number in range(50):
            stack.evolution.receive("cheia", "x", external_id=f"X{number}", at=now - 8 * HOUR + number * 500)
        quiet = await stack.open_unit("quieta")
        stack.evolution.receive("quieta", "oi", external_id="Q", at=now - 100)
        await stack.leadership.may_write()
        stack.start()
        query = f"select external_id from zapline.messages where unit_id = '{quiet.id}'"
        await stack.inbound.wait_for_rows(query, [("Q",)])
        status = stack.reconciler.status(full.id)
        assert status is not None
        assert status.reconciled_at is None, "the long one is not done yet"
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 2)
        assert await stack.inbound.rows("select count(*)::int from zapline.messages") == [(51,)]


async def test_rows_that_vanish_while_a_window_is_read_hide_no_others(database: str, tmp_path: Path) -> None:
    """They move the rows behind them to a page that was read already."""
    now = time.time()
    async with reconciliation_stack(database, tmp_path, replace(QUICK, page_size=10)) as stack:
        unit = await stack.open_unit()
        for number in range(30):
            stack.evolution.receive("loja", "x", external_id=f"X{number:02}", at=now - 3000 + number)
        instance = stack.evolution.instance("loja")
        read = stack.client.find_messages

        async def find(name: str, gte: float, lte: float, page: int = 1, page_size: int = 50) -> MessagePage:
            found = await read(name, gte, lte, page, page_size)
            if page == 1 and len(instance.messages) == 30:
                kept, instance.messages = list(instance.messages)[:25], MessageStore()
                for stored in kept:
                    instance.messages.add(stored)
            return found

        stack.client.find_messages = find  # type: ignore[method-assign]
        stack.start()
        done = await stack.reconciler.reconcile(unit.id, now - 3100)
        assert (done.failures, done.repaired) == (0, 30)
