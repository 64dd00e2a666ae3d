"""Reconciliation: what webhooks have missed comes back from Evolution's store, once, in order, and is counted."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.house import text, until
from support.reconciling import HOUR, QUICK, Store, store

from zapline.evolution.client.response_parser import MessagePage
from zapline.sandbox.simulator.state.message_store import History
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.reconciliation.scheduler import AlreadyReconciling


async def live(place: Store, unit: Unit, external_id: str, words: str, at: float) -> None:
    """A message whose webhook comes, too."""
    place.evolution.receive(unit.record.instance, words, external_id=external_id, at=at)
    await place.home.send(unit, "messages.upsert", text(external_id, words, at=int(at)))
    await place.home.settled()


async def thread(place: Store) -> list[tuple[object, ...]]:
    return await place.home.rows("select body, backfilled from zapline.messages order by sent_at, seq")


async def test_what_webhooks_missed_comes_back_in_order_and_a_live_message_hides_nothing(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with store(database, tmp_path) as place:
        unit = await place.open_unit()
        for number in range(4):
            place.evolution.receive("loja", f"perdida {number}", external_id=f"L{number}", at=now - 7200 + 600 * number)
        await live(place, unit, "LIVE", "ao vivo", now - 6300)
        own = place.evolution.receive("loja", "do telefone", external_id="OWN", from_me=True, at=now - 4000)
        for word in ("DELIVERY_ACK", "READ", "SERVER_ACK"):
            place.evolution.status("loja", own, word)
        place.evolution.status("loja", "LIVE", "READ")

        place.start()
        await until(lambda: place.home.counters.totals["reconciliations", "done"] == 1)
        assert await thread(place) == [
            ("perdida 0", True),
            ("perdida 1", True),
            ("ao vivo", False),
            ("perdida 2", True),
            ("perdida 3", True),
            ("do telefone", True),
        ]
        assert await place.home.rows(
            "select delivery::text from zapline.messages where external_id in ('OWN', 'LIVE')"
        ) == [("read",), ("read",)]
        totals = place.home.counters.totals
        # Nobody listened before this daemon's first look, so this is no alarm.
        assert (totals["repairs", "known_gap"], totals["repairs_unexplained", ""]) == (5, 0)
        assert totals["backfilled", ""] == 5
        assert totals["duplicates", ""] == 0

        status = place.reconciler.status(unit.id)
        assert status is not None
        assert (status.running, status.error, status.gap_since, status.store_kept) == (False, None, None, True)
        marked = await place.watermark(unit)
        assert marked == status.reconciled_until
        assert marked is not None
        assert now - 1 <= marked <= time.time()

        journaled = place.home.journal.statistics().appended
        found = await place.reconciler.reconcile(unit.id, now - 8000)
        assert place.home.journal.statistics().appended == journaled, "what is known is not written again"
        assert (found.records, found.repaired, found.failures, found.running) == (6, 0, 0, 0)
        assert (found.statuses, found.windows, found.windows_done) == (2, 3, 3)
        assert totals["repairs", "known_gap"] == 5

        # Now it is: webhooks come, the line was open all the time, and one message is missing.
        place.evolution.receive("loja", "sumida", external_id="LOST", at=now - 1500)
        await place.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 1000
        )
        line = place.reconciler._lines[unit.id]
        assert line.row is not None
        line.row = replace(line.row, reconciled_until=now - 1000)
        await place.compared(unit)
        assert (totals["repairs", "unexplained"], totals["repairs_unexplained", ""]) == (1, 1)


async def test_only_windows_read_to_their_last_page_move_the_watermark(database: str, tmp_path: Path) -> None:
    """Small pages: some windows have many, one has more than it may and is cut, and Evolution fails in the middle."""
    now = float(int(time.time()))
    policy = replace(QUICK, page_size=10, most_pages=3, pages_a_turn=4, span=3600)
    async with store(database, tmp_path, policy) as place:
        unit = await place.open_unit(connected=4 * HOUR)
        for number in range(25):
            place.evolution.receive("loja", f"a{number}", external_id=f"A{number}", at=now - 13_000 + number)
        for number in range(90):
            place.evolution.receive("loja", f"b{number}", external_id=f"B{number}", at=now - 3000 + number * 10)
        # Traffic that goes on moves nothing.
        await live(place, unit, "LIVE", "ao vivo", now)
        assert await place.watermark(unit) is None

        # The fourth page fails: the first window has three.
        place.evolution.plant("slow", path="/chat/findMessages", seconds=0.0, count=3)
        place.evolution.plant("error", path="/chat/findMessages")
        place.start()
        await until(lambda: place.home.counters.totals["reconciliations", "failed"] >= 2)
        first_end = now - 4 * HOUR + policy.span - 1
        marked = await place.watermark(unit)
        assert marked is not None
        assert marked == pytest.approx(first_end, abs=3)
        status = place.reconciler.status(unit.id)
        assert status is not None
        assert status.error is not None
        assert "server_error" in status.error
        assert await place.home.rows("select count(*)::int from zapline.messages where backfilled") == [(25,)]

        place.evolution.clear("error")
        await until(lambda: place.home.counters.totals["reconciliations", "done"] == 1)
        assert await place.home.rows("select count(*)::int from zapline.messages where backfilled") == [(115,)]
        marked = await place.watermark(unit)
        assert marked is not None
        assert marked >= now


async def test_a_run_by_hand_leaves_no_hole_below_the_watermark(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with store(database, tmp_path, replace(QUICK, settles=60.0)) as place:
        unit = await place.open_unit()
        place.start()
        await until(lambda: place.home.counters.totals["reconciliations", "done"] == 1)
        await place.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 7200
        )
        place.evolution.receive("loja", "antes da linha", external_id="OLD", at=now - 20 * HOUR)
        place.evolution.receive("loja", "agora", external_id="NEW", at=now)
        place.evolution.plant("error", path="/chat/findMessages", count=1)
        place.reconciler.begin(unit.id, now - 3600)
        with pytest.raises(AlreadyReconciling):
            place.reconciler.begin(unit.id, now - 3600)
        await until(lambda: place.reconciler.progress(unit.id).running == 0)
        failed = place.reconciler.progress(unit.id)
        assert (failed.failures, failed.windows_done, failed.failed[0][0]) == (1, 0, str(unit.id))
        found = await place.reconciler.reconcile(unit.id, now - 3600)
        assert (found.repaired, found.failures) == (1, 0)
        # Between the watermark and what was read nobody has looked: it must not jump.
        assert await place.watermark(unit) == pytest.approx(now - 7200, abs=1)
        assert (await place.reconciler.reconcile(unit.id, now - 7201)).repaired == 0
        assert (await place.watermark(unit) or 0) == pytest.approx(time.time() - 60, abs=3)
        # A person may read more than is ours to read.
        assert (await place.reconciler.reconcile(unit.id, now - 21 * HOUR)).repaired == 1
        with pytest.raises(Exception, match="no such unit"):
            place.reconciler.begin(type(unit.id)(int=7), now)
        assert place.reconciler.begin_all(now - 60) == 1
        await until(lambda: place.reconciler.progress().running == 0)
        assert place.reconciler.progress().units == 1

        place.evolution.plant("slow", path="/chat/findMessages", seconds=0.2)
        run = place.reconciler.begin(unit.id, now - 60)
        await until(lambda: run.begun)
        await place.write("update zapline.unit_whatsapp_connections set archived_at = now()")
        await place.home.reload()
        with trio.fail_after(5):
            await run.ended.wait()
        assert run.error == "the unit was closed"
        assert place.reconciler.status(unit.id) is None
        await until(lambda: place.reconciler._busy == 0)


async def test_a_disconnection_is_a_gap_until_it_was_read_past(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with store(database, tmp_path) as place:
        unit = await place.open_unit()
        place.start()
        await until(lambda: place.home.counters.totals["reconciliations", "done"] == 1)
        await place.turn(unit, "close", ago=2000)
        await until(lambda: place.reconciler._lines[unit.id].disconnected is not None)
        # What was sent meanwhile comes in with its own old time, when the line is open again.
        place.evolution.receive("loja", "enquanto isso", external_id="OFF", at=now - 1500)
        place.evolution.receive("loja", "pouco antes", external_id="BEFORE", at=now - 2100)
        place.evolution.plant("error", path="/chat/findMessages")
        await place.turn(unit, "open")
        await place.home.until("select gap_since is not null from zapline.unit_whatsapp_connections", [(True,)])
        status = place.reconciler.status(unit.id)
        assert status is not None
        assert status.gap_since == pytest.approx(now - 2000, abs=5)
        place.evolution.clear("error")
        await until(lambda: place.home.counters.totals["repairs", "known_gap"] == 2)
        await place.home.until("select gap_since is null from zapline.unit_whatsapp_connections", [(True,)])
        assert place.home.counters.totals["repairs_unexplained", ""] == 0


async def test_what_a_database_that_was_set_back_has_forgotten_is_a_known_gap(database: str, tmp_path: Path) -> None:
    now = time.time()
    async with store(database, tmp_path) as place:
        unit = await place.open_unit()
        place.evolution.receive("loja", "esquecida", external_id="GONE", at=now - 5000)
        place.start()
        await until(lambda: place.home.counters.totals["reconciliations", "done"] == 1)
        await place.write("delete from zapline.messages")
        await place.write(
            "update zapline.unit_whatsapp_connections set reconciled_until = to_timestamp(%s)", now - 6000
        )
        before = place.home.counters.totals["repairs", "known_gap"]
        place.evolution.plant("error", path="/chat/findMessages", count=1)
        place.reconciler.want(unit.id, "test")
        await until(lambda: place.home.counters.totals["repairs", "known_gap"] == before + 1)
        assert place.home.counters.totals["repairs_unexplained", ""] == 0


async def test_lost_webhooks_and_a_quarantine_are_gaps(database: str, tmp_path: Path) -> None:
    async with store(database, tmp_path) as place:
        unit = await place.open_unit()
        place.start()
        done = place.home.counters.totals
        await until(lambda: done["reconciliations", "done"] == 1)
        place.evolution.receive("loja", "perdida", external_id="LOST", at=time.time())
        unit.gap_since = time.time()
        await until(lambda: done["reconciliations", "done"] == 2)
        assert unit.gap_since is None
        assert await place.home.rows("select external_id from zapline.messages") == [("LOST",)]
        unit.quarantined_at = trio.current_time()
        await until(lambda: place.reconciler._lines[unit.id].quarantined is not None)
        unit.quarantined_at = None
        await until(lambda: done["reconciliations", "done"] >= 3)


async def test_an_evolution_that_stores_nothing_is_told_once_and_recognised_when_it_does(
    database: str, tmp_path: Path
) -> None:
    now = time.time()
    async with store(database, tmp_path) as place:
        unit = await place.open_unit()
        await place.home.send(unit, "messages.upsert", text("HEARD", at=int(now - 500)))
        await place.home.settled()
        place.start()
        await until(lambda: place.reconciler.units_without_store() == [unit.id])
        assert await place.home.rows("select store_kept from zapline.unit_whatsapp_connections") == [(False,)]
        place.evolution.receive("loja", "guardada", at=time.time())
        await place.compared(unit)
        assert place.reconciler.units_without_store() == []
        assert await place.home.rows("select store_kept from zapline.unit_whatsapp_connections") == [(True,)]


async def test_a_line_with_a_long_history_lets_the_others_have_their_turn(database: str, tmp_path: Path) -> None:
    now = time.time()
    policy = replace(QUICK, at_once=1, page_size=5, pages_a_turn=4)
    async with store(database, tmp_path, policy) as place:
        full = await place.open_unit("cheia")
        for number in range(50):
            place.evolution.receive("cheia", "x", external_id=f"X{number}", at=now - 8 * HOUR + number * 500)
        quiet = await place.open_unit("quieta")
        place.evolution.receive("quieta", "oi", external_id="Q", at=now - 100)
        await place.leadership.may_write()
        place.start()
        query = f"select external_id from zapline.messages where unit_id = '{quiet.id}'"
        await place.home.until(query, [("Q",)])
        status = place.reconciler.status(full.id)
        assert status is not None
        assert status.reconciled_at is None, "the long one is not done yet"
        await until(lambda: place.home.counters.totals["reconciliations", "done"] == 2)
        assert await place.home.rows("select count(*)::int from zapline.messages") == [(51,)]


async def test_rows_that_vanish_while_a_window_is_read_hide_no_others(database: str, tmp_path: Path) -> None:
    """They move the rows behind them to a page that was read already."""
    now = time.time()
    async with store(database, tmp_path, replace(QUICK, page_size=10)) as place:
        unit = await place.open_unit()
        for number in range(30):
            place.evolution.receive("loja", "x", external_id=f"X{number:02}", at=now - 3000 + number)
        instance = place.evolution.instance("loja")
        read = place.client.find_messages

        async def find(name: str, gte: float, lte: float, page: int = 1, page_size: int = 50) -> MessagePage:
            found = await read(name, gte, lte, page, page_size)
            if page == 1 and len(instance.messages) == 30:
                kept, instance.messages = list(instance.messages)[:25], History()
                for stored in kept:
                    instance.messages.add(stored)
            return found

        place.client.find_messages = find  # type: ignore[method-assign]
        place.start()
        done = await place.reconciler.reconcile(unit.id, now - 3100)
        assert (done.failures, done.repaired) == (0, 30)
