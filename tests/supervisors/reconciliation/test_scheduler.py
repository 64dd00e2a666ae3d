"""Reconciliation: messages whose webhooks were missed come back from Evolution's store, once, in order, counted."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.inbound_stack import text, until
from support.journeys import steps, verdicts
from support.reconciliation_stack import HOUR, QUICK, ReconciliationStack, reconciliation_stack

from zapline.domain.reconciliation_windows import FIRST_SLACK
from zapline.evolution.client.response_parser import MessagePage
from zapline.sandbox.simulator.state.message_store import MessageStore
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.reconciliation.scheduler import AlreadyReconciling


async def receive_live(stack: ReconciliationStack, unit: Unit, external_id: str, words: str, at: float) -> None:
    """A message in Evolution's store whose webhook also arrives."""
    stack.evolution.receive(unit.record.instance, words, external_id=external_id, at=at)
    await stack.inbound.send(unit, "messages.upsert", text(external_id, words, at=int(at)))
    await stack.inbound.wait_until_stored()


async def stored_messages(stack: ReconciliationStack) -> list[tuple[object, ...]]:
    return await stack.inbound.rows("select body, backfilled from zapline.messages order by sent_at, seq")


async def test_what_webhooks_missed_comes_back_in_order_and_a_live_message_hides_nothing(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        for number in range(4):
            stack.evolution.receive("loja", f"perdida {number}", external_id=f"L{number}", at=now - 7200 + 600 * number)
        await receive_live(stack, unit, "LIVE", "ao vivo", now - 6300)
        own = stack.evolution.receive("loja", "do telefone", external_id="OWN", from_me=True, at=now - 4000)
        for word in ("DELIVERY_ACK", "READ", "SERVER_ACK"):
            stack.evolution.status("loja", own, word)
        stack.evolution.status("loja", "LIVE", "READ")

        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        assert await stored_messages(stack) == [
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
        told = [verdict for verdict, _ in await verdicts(stack.inbound.url, unit.id)]
        assert (told.count("stored"), told.count("stored_late")) == (1, 5)
        late = (await steps(stack.inbound.url, unit.id))[-1]
        assert late[:3] == ["written", "read_back", "stored"]
        totals = stack.inbound.counters.totals
        # No webhooks were received before this daemon's first run, so this is a known gap.
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
        progress = await stack.reconciler.reconcile(unit.id, now - 8000)
        assert stack.inbound.journal.statistics().appended == journaled, "known messages are not written again"
        assert (progress.records, progress.repaired, progress.failures, progress.running) == (6, 0, 0, 0)
        assert (progress.statuses, progress.windows, progress.windows_done) == (2, 3, 3)
        assert totals["repairs", "known_gap"] == 5

        # Unexplained: webhooks arrive, the line was open all the time, and one message is missing.
        stack.evolution.receive("loja", "sumida", external_id="LOST", at=now - 1500)
        await stack.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 1000
        )
        line = stack.reconciler._lines[unit.id]
        assert line.row is not None
        line.row = replace(line.row, reconciled_until=now - 1000)
        await stack.wait_until_reconciled(unit)
        assert (totals["repairs", "unexplained"], totals["repairs_unexplained", ""]) == (1, 1)

        # Rows that say nothing usable are counted by what they lack, and are no dead letters.
        stack.evolution.receive("loja", "id com espaço", external_id="BAD ID", at=now - 1400)
        stack.evolution.receive("loja", "id de meio emoji", external_id="HALF\ud83d", at=now - 1350)
        stack.evolution.receive("loja", "sem conversa", external_id="NOCHAT", at=now - 1300)
        row = stack.evolution.instance("loja").messages.get("NOCHAT")
        assert row is not None
        row.message["key"] = {"id": "NOCHAT", "fromMe": False}
        await stack.reconciler.reconcile(unit.id, now - 1450)
        reasons = ("stored_with_bad_id", "stored_without_chat", "stored_without_id")
        assert [totals["ignored", reason] for reason in reasons] == [2, 1, 0]
        assert await stack.inbound.rows("select from zapline.dead_letters") == []


async def test_only_windows_read_to_their_last_page_move_the_watermark(database: str, tmp_path: Path) -> None:
    """Small pages: some windows have many, one has too many and is split, and Evolution fails in between."""
    now = float(int(time.time()))
    policy = replace(QUICK, page_size=10, max_pages=3, pages_per_turn=4, window_span=3600)
    async with reconciliation_stack(database, tmp_path, policy) as stack:
        unit = await stack.open_unit(connected=4 * HOUR)
        for number in range(25):
            stack.evolution.receive("loja", f"a{number}", external_id=f"A{number}", at=now - 13_000 + number)
        for number in range(90):
            stack.evolution.receive("loja", f"b{number}", external_id=f"B{number}", at=now - 3000 + number * 10)
        # Live traffic does not move the watermark.
        await receive_live(stack, unit, "LIVE", "ao vivo", now)
        assert await stack.watermark(unit) is None

        # The fourth page fails: the first window has three.
        stack.evolution.inject_fault("slow", path="/chat/findMessages", seconds=0.0, count=3)
        stack.evolution.inject_fault("error", path="/chat/findMessages")
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "failed"] >= 2)
        connected = "select extract(epoch from first_connected_at)::float8 from zapline.unit_whatsapp_connections"
        [[first_connected]] = await stack.inbound.rows(connected)
        assert isinstance(first_connected, float)
        end = first_connected - FIRST_SLACK + policy.window_span - 1
        assert await stack.watermark(unit) == pytest.approx(end, abs=1)
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


async def test_a_manual_run_leaves_no_hole_below_the_watermark(database: str, tmp_path: Path) -> None:
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
        progress = await stack.reconciler.reconcile(unit.id, now - 3600)
        assert (progress.repaired, progress.failures) == (1, 0)
        # Nothing was read between the watermark and this run: the watermark must not jump.
        assert await stack.watermark(unit) == pytest.approx(now - 7200, abs=1)
        began = time.time()
        assert (await stack.reconciler.reconcile(unit.id, now - 7201)).repaired == 0
        assert began - 61 <= (await stack.watermark(unit) or 0) <= time.time() - 59
        # A manual run may read what was sent before the line was connected.
        assert (await stack.reconciler.reconcile(unit.id, now - 21 * HOUR)).repaired == 1
        with pytest.raises(Exception, match="no such unit"):
            stack.reconciler.start_run(type(unit.id)(int=7), now)
        assert stack.reconciler.start_all(now - 60) == 1
        await until(lambda: stack.reconciler.progress().running == 0)
        assert stack.reconciler.progress().units == 1

        answered = trio.Event()

        async def find_slowly(*arguments: object) -> MessagePage:
            await answered.wait()
            return MessagePage(0, 0, 1, ())

        stack.client.find_messages = find_slowly  # type: ignore[method-assign]
        run = stack.reconciler.start_run(unit.id, now - 60)
        await until(lambda: run.begun)
        await stack.write("update zapline.unit_whatsapp_connections set archived_at = now()")
        await stack.inbound.reload()
        with trio.fail_after(30):
            await run.ended.wait()
        assert run.error == "the unit was closed"
        assert stack.reconciler.status(unit.id) is None
        answered.set()
        await until(lambda: stack.reconciler._busy_lines.total() == 0)


async def test_a_disconnection_is_a_gap_until_everything_in_it_was_read(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 1)
        before = time.time()
        await stack.set_line_state(unit, "close", ago=2000)
        after = time.time()
        await until(lambda: stack.reconciler._lines[unit.id].disconnected is not None)
        # Messages sent meanwhile arrive with their original times when the line is open again.
        stack.evolution.receive("loja", "enquanto isso", external_id="OFF", at=now - 1500)
        stack.evolution.receive("loja", "pouco antes", external_id="BEFORE", at=now - 2100)
        stack.evolution.inject_fault("error", path="/chat/findMessages")
        await stack.set_line_state(unit, "open")
        await stack.inbound.wait_for_rows(
            "select gap_since is not null from zapline.unit_whatsapp_connections", [(True,)]
        )
        status = stack.reconciler.status(unit.id)
        assert status is not None
        assert status.gap_since is not None
        assert before - 2001 <= status.gap_since <= after - 1999
        stack.evolution.clear_faults("error")
        await until(lambda: stack.inbound.counters.totals["repairs", "known_gap"] == 2)
        await stack.inbound.wait_for_rows("select gap_since is null from zapline.unit_whatsapp_connections", [(True,)])
        assert stack.inbound.counters.totals["repairs_unexplained", ""] == 0


async def test_what_a_restored_database_has_lost_is_a_known_gap(database: str, tmp_path: Path) -> None:
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


async def test_an_evolution_that_stores_nothing_is_reported_and_recognised_when_it_does(
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


async def test_a_line_with_a_long_history_lets_other_lines_have_their_turn(database: str, tmp_path: Path) -> None:
    now = time.time()
    policy = replace(QUICK, max_lines=1, page_size=5, pages_per_turn=4)
    async with reconciliation_stack(database, tmp_path, policy) as stack:
        await stack.open_unit("cheia")
        for number in range(50):
            stack.evolution.receive("cheia", "x", external_id=f"X{number}", at=now - 8 * HOUR + number * 500)
        quiet = await stack.open_unit("quieta")
        stack.evolution.receive("quieta", "oi", external_id="Q", at=now - 100)
        await stack.leadership.may_write()
        find_messages, instances_read = stack.client.find_messages, []

        async def find(name: str, *arguments: Any) -> MessagePage:
            instances_read.append(name)
            return await find_messages(name, *arguments)

        stack.client.find_messages = find  # type: ignore[method-assign]
        stack.start()
        await until(lambda: stack.inbound.counters.totals["reconciliations", "done"] == 2, 30)
        first, last = instances_read.index("quieta"), len(instances_read) - instances_read[::-1].index("quieta")
        assert "cheia" in instances_read[last:], "the long one is not done yet"
        assert first <= policy.pages_per_turn
        query = f"select external_id from zapline.messages where unit_id = '{quiet.id}'"
        assert await stack.inbound.rows(query) == [("Q",)]
        assert await stack.inbound.rows("select count(*)::int from zapline.messages") == [(51,)]


async def test_rows_deleted_while_a_window_is_read_hide_no_others(database: str, tmp_path: Path) -> None:
    """Deleted rows move the rows behind them to a page that was read already."""
    now = time.time()
    async with reconciliation_stack(database, tmp_path, replace(QUICK, page_size=10)) as stack:
        unit = await stack.open_unit()
        for number in range(30):
            stack.evolution.receive("loja", "x", external_id=f"X{number:02}", at=now - 3000 + number)
        instance = stack.evolution.instance("loja")
        find_messages = stack.client.find_messages

        async def find(name: str, gte: float, lte: float, page: int = 1, page_size: int = 50) -> MessagePage:
            found = await find_messages(name, gte, lte, page, page_size)
            if page == 1 and len(instance.messages) == 30:
                left, instance.messages = list(instance.messages)[:25], MessageStore()
                for stored in left:
                    instance.messages.add(stored)
            return found

        stack.client.find_messages = find  # type: ignore[method-assign]
        stack.start()
        progress = await stack.reconciler.reconcile(unit.id, now - 3100)
        assert (progress.failures, progress.repaired) == (0, 30)
