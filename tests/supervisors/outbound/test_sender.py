"""One unit's sender, from the queued message to the phone and back, whatever Evolution answers."""

import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import trio
import trio.testing
from support.journeys import line_of, steps, verdicts
from support.outbound_stack import OutboundStack, outbound_stack, queue_message

from zapline.domain.ids import ExternalId
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox import send_outcomes
from zapline.domain.outbox.contents import File, Reaction
from zapline.domain.outbox.work_states import Lane
from zapline.domain.retry_policy import Backoff
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sql.outbound import send_claims as sql
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.database_errors import CommitUnknown
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound import sender_pool
from zapline.supervisors.outbound.sender_state import SenderActivity, SenderStatus

OTHER = "+5511999990002"


async def wait_until_none_is_queued(stack: OutboundStack, seconds: float = 10) -> None:
    """Wait until nothing is to be sent any more, skipping the delays between the tries of a message."""
    with trio.fail_after(seconds):
        while await stack.rows("select from zapline.outbox where state in ('queued', 'leased')"):
            await stack.make_due()
            await trio.sleep(0.01)


async def seconds_to_next_try(stack: OutboundStack, column: str = "due_at") -> float:
    """From the end of the last call to the next try of its message, as stored: no time of this test is in it."""
    ((seconds,),) = await stack.rows(
        f"select extract(epoch from o.{column} - max(a.ended_at))::float8 from zapline.outbox o"
        " join zapline.attempts a using (message_id) where o.state <> 'settled' group by o.message_id"
    )
    return float(seconds)


async def wait_until_paused(stack: OutboundStack, unit: Unit) -> SenderStatus:
    await stack.wait_until(lambda: stack.senders.status(unit.id).state is SenderActivity.PAUSED)
    return stack.senders.status(unit.id)


async def test_a_message_is_sent_once_and_settled(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit(typing_speed=100.0)
        assert stack.senders.status(unit.id) == SenderStatus()
        await stack.enqueue(unit, "bom dia")
        await stack.wait_until_idle()
        assert stack.received_texts() == ["bom dia"]
        assert await stack.rows(
            "select o.state, m.delivery::text, o.tries, m.external_id = a.external_id, a.outcome, a.matched_by"
            " from zapline.outbox o join zapline.messages m on m.id = o.message_id"
            " join zapline.attempts a on a.message_id = o.message_id"
        ) == [("settled", "delivered", 0, True, "sent", "reply")]
        assert stack.senders.status(unit.id) == SenderStatus()
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        assert stack.counters.totals["calls_started", "reply"] == 1
        assert list(stack.evolution.ledger.questions) == [("loja", "typing", ("5511999990001", "70"))], "milliseconds"
        assert await verdicts(database, unit.id) == [("delivered", None)]
        assert await steps(database, unit.id) == [["accepted", "called", "answer_sent", "told_delivered"]]


async def test_whoever_watches_hears_how_far_a_message_has_come(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        with stack.feed.watch(unit.id) as watcher:
            (message,) = await stack.enqueue(unit, "bom dia")
            await stack.wait_until_idle()
            payloads: list[Any] = []
            with trio.fail_after(30):
                while not payloads or payloads[-1]["deliveryStatus"] != "delivered":
                    await watcher.wait(10)
                    payloads += [msgspec.json.decode(event.data) for event in watcher.take()]
            assert {each["messageId"] for each in payloads} == {str(message)}
            assert {each["clientMessageId"] for each in payloads} != {None}
            assert (payloads[0]["workState"], payloads[0]["deliveryStatus"]) == ("settled", "sent")
            stack.evolution.inject_fault("error", path="/message/", count=3)
            (message,) = await stack.enqueue(unit, "nunca")
            last = payloads[-1]
            with trio.fail_after(30):
                while last["workState"] != "dead":
                    await watcher.wait(10)
                    last = [last, *(msgspec.json.decode(event.data) for event in watcher.take())][-1]
            assert (last["messageId"], last["workState"], last["failure"]) == (str(message), "dead", "server_error")


async def test_three_failures_of_its_own_are_the_end_of_a_message_and_hold_up_no_other(
    database: str, tmp_path: Path
) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("error", path="/message/", count=3)
        await stack.enqueue(unit, "nunca")
        for tries, wait in ((1, 2.0), (2, 8.0)):
            await stack.wait_for_rows(
                "select state, tries, failure from zapline.outbox", ("queued", tries, "server_error")
            )
            assert 0.7 * wait <= await seconds_to_next_try(stack) <= wait
            await stack.make_due()
        await wait_until_none_is_queued(stack)
        await stack.enqueue(unit, "depois")
        await stack.wait_until_idle()
        assert await stack.outbox_rows() == [("dead", 3, "server_error"), ("settled", 0, None)]
        assert stack.received_texts() == ["depois"]
        outcomes = await stack.rows("select outcome, failure from zapline.attempts order by started_at")
        assert outcomes == [("not_sent", "server_error")] * 3 + [("sent", None)]
        assert await verdicts(database, unit.id) == [("not_sent", "server_error"), ("delivered", None)]
        assert (await steps(database, unit.id))[0] == ["accepted", *["called", "answer_not_sent"] * 3, "given_up"]
        assert stack.senders.statistics().paused == 0


async def test_what_the_line_is_to_blame_for_costs_no_try(database: str, tmp_path: Path) -> None:
    """Three units at once, since each line rests for a second."""
    async with outbound_stack(database, tmp_path) as stack:
        throttled, closed, unlicensed = [await stack.add_unit(name) for name in ("throttled", "closed", "unlicensed")]
        stack.evolution.inject_fault("throttle", instance="throttled", path="/message/", count=1, seconds=0.1)
        stack.evolution.inject_fault("connection_closed", instance="closed", count=1)
        stack.evolution.inject_fault("license", instance="unlicensed", path="/message/", count=1)
        started = time.time()
        for unit in (throttled, closed, unlicensed):
            await stack.enqueue(unit, "oi")
        reasons = [await wait_until_paused(stack, unit) for unit in (throttled, closed, unlicensed)]
        assert [status.reason for status in reasons] == ["throttled", "not_connected", "not_licensed"]
        until = reasons[0].throttled_until
        assert until is not None
        assert started + 0.7 * 30 < until <= time.time() + 30
        assert reasons[1].throttled_until is None
        assert await stack.outbox_rows() == [
            ("queued", 0, "throttled"), ("queued", 0, "not_connected"), ("queued", 0, "not_licensed"),
        ]  # fmt: skip
        await stack.enqueue(throttled, "promo", lane=Lane.CAMPAIGN, phone=OTHER)
        await stack.wait_until(lambda: len(stack.evolution.ledger.messages) == 3)
        await stack.wait_until_idle(["leased", "uncertain"])
        assert await stack.rows("select state, tries, lane from zapline.outbox order by seq") == [
            ("settled", 0, "reply"), ("settled", 0, "reply"), ("settled", 0, "reply"), ("queued", 0, "campaign"),
        ]  # fmt: skip
        assert stack.senders.status(throttled.id).throttled_until is not None, "campaigns rest longer than the line"
        assert stack.counters.totals["line_pauses", "throttled"] == 1
        # The actors looked at the lines that are in doubt, and not at the one that was asked to slow down.
        assert stack.counters.totals["connection_events", "CallFailed"] == 2


async def test_a_dropped_reply_is_settled_by_the_echo_and_sent_once(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("drop_reply", path="/message/", count=5)
        await stack.enqueue(unit, *(f"n{number}" for number in range(7)))
        await stack.wait_until_idle()
        assert stack.received_texts() == [f"n{number}" for number in range(7)]
        found = await stack.rows("select matched_by, count(*) from zapline.attempts group by 1 order by 1")
        assert found == [("echo", 5), ("reply", 2)]
        assert Counter(state for state, *_ in await stack.outbox_rows()) == {"settled": 7}
        assert stack.counters.total("line_pauses") == 0, "Evolution showed that it was there"
        told = [set(one) for one in await steps(database, unit.id)]
        assert sum({"called", "proven_echo"} <= one for one in told) == 5


async def test_what_no_echo_tells_of_stays_uncertain_while_others_go_on(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("never_echo", count=1)
        await stack.enqueue(unit, "talvez", "certo")
        await stack.wait_until_idle(["queued", "leased"])
        assert await stack.outbox_rows() == [("uncertain", 0, "timed_out_after_relay"), ("settled", 0, None)]
        assert await seconds_to_next_try(stack, "look_at") == pytest.approx(8, abs=0.001)
        assert (await verdicts(database, unit.id))[0] == ("searching", "timed_out_after_relay")
        await stack.make_due()
        stack.senders.wake(unit.id)
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        assert stack.received_texts() == ["talvez", "certo"]


async def test_after_silence_evolution_must_show_life_before_the_next_message(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path, call=0.15) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("hang")
        await stack.enqueue(unit, "primeira", "segunda")
        status = await wait_until_paused(stack, unit)
        assert status.reason == "no_answer"
        assert await stack.outbox_rows() == [("uncertain", 0, "no_answer"), ("queued", 0, None)]
        stack.evolution.clear_faults("hang")
        await stack.wait_until_idle(["queued", "leased"])
        assert await stack.outbox_rows() == [("uncertain", 0, "no_answer"), ("settled", 0, None)]
        assert stack.received_texts() == ["segunda"]


async def test_a_reaction_without_an_answer_is_simply_sent_again(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("drop_reply", path="/message/", count=1)
        await stack.enqueue(unit, Reaction("👍", ExternalId("A1"), "5511999990001@s.whatsapp.net", False))
        await wait_until_none_is_queued(stack)
        assert await stack.outbox_rows() == [("settled", 1, None)]
        assert len(stack.evolution.ledger.messages) == 2


async def test_a_number_that_is_said_not_to_exist_is_asked_for_twice(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        stack.evolution.numbers.missing.add("5511999990001")
        await stack.enqueue(unit, "oi")
        await stack.wait_for_rows(
            "select state, tries, failure from zapline.outbox", ("queued", 1, "number_not_on_whatsapp")
        )
        assert await seconds_to_next_try(stack) == pytest.approx(20, abs=0.001)
        await wait_until_none_is_queued(stack)
        assert await stack.outbox_rows() == [("dead", 1, "number_not_on_whatsapp")]
        assert await stack.rows("select delivery::text from zapline.messages") == [("failed",)]


async def test_replies_leave_before_campaigns_and_a_gap_lets_others_pass(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit(gap_seconds=30.0)
        async with stack.pool.connection() as conn, conn.transaction():
            for number in range(2):
                await queue_message(
                    conn, unit.id, f"promo {number}", lane=Lane.CAMPAIGN, phone=f"+551199999001{number}"
                )
            for words, phone in (("a1", "+5511999990001"), ("a2", "+5511999990001"), ("b1", OTHER)):
                await queue_message(conn, unit.id, words, phone=phone)
            # For whoever is about to claim, by a time of some milliseconds ago, all of them are due.
            await conn.execute("update zapline.outbox set due_at = due_at - interval '1 minute'")
        stack.senders.wake(unit.id)
        await stack.wait_until(lambda: stack.senders.status(unit.id).reason == "gap")
        until = stack.senders.status(unit.id).paused_until
        assert until is not None
        assert stack.evolution.ledger.messages[0].at + 29.9 < until < time.time() + 30.1
        assert stack.received_texts() == ["a1", "b1", "promo 0", "promo 1"]
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        async with stack.pool.connection() as conn:
            await conn.execute("update zapline.unit_paces set gap_seconds = 0.1")
        stack.senders.reload_pace(unit.id)
        await stack.wait_until_idle()
        assert stack.received_texts()[-1] == "a2"


async def test_the_pace_is_kept_and_changed_limits_apply_at_once(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit(per_minute=600, burst=2)
        await stack.enqueue(unit, "um", "dois", "tres", "quatro")
        await stack.wait_until_idle()
        query = "select extract(epoch from started_at)::float8 from zapline.attempts order by started_at"
        starts = [start for (start,) in await stack.rows(query)]
        assert starts[3] - starts[0] >= 0.2 - 0.001, "two at once, then one each 0.1 s"
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        async with stack.pool.connection() as conn:
            await conn.execute("update zapline.unit_paces set daily_cap = 4")
        stack.senders.reload_pace(unit.id)
        await stack.enqueue(unit, "amanhã")
        await stack.wait_until(lambda: stack.senders.status(unit.id).state is SenderActivity.PACING)
        assert stack.senders.status(unit.id).reason == "daily_cap"
        line = line_of(unit, stack.senders.status(unit.id))
        assert (await verdicts(database, unit.id, line))[-1] == ("waiting_for_pace", "daily_cap")
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        async with stack.pool.connection() as conn:
            await conn.execute("update zapline.unit_paces set daily_cap = 5")
        stack.senders.reload_pace(unit.id)
        await stack.wait_until_idle()
        assert stack.received_texts()[-1] == "amanhã"


async def test_a_sender_that_is_woken_while_its_last_call_comes_to_an_end_looks_once_more(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_pool, "SCAN_EVERY", 3600.0)
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        learning, go_on = trio.Event(), trio.Event()

        async def learn(route: str, honoured: bool) -> None:
            learning.set()
            await go_on.wait()

        monkeypatch.setattr(stack.senders._context.support, "learn", learn)
        await stack.enqueue(unit, "um")
        await learning.wait()
        await stack.wait_until(lambda: stack.senders.status(unit.id).state is SenderActivity.IDLE)
        await trio.testing.wait_all_tasks_blocked(0.2)
        await stack.enqueue(unit, "dois")
        go_on.set()
        await stack.wait_until(lambda: stack.received_texts() == ["um", "dois"])


async def test_uploaded_files_are_read_when_they_are_sent(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        known, gone = uuid4(), uuid4()
        stack.uploads[known] = b"%PDF-1.4"
        files = [
            File(MessageKind.DOCUMENT, upload=id, file_name="a.pdf", caption=words)
            for id, words in ((gone, "x"), (known, "y"))
        ]
        await stack.enqueue(unit, *files)
        await stack.wait_until_idle()
        assert await stack.outbox_rows() == [("dead", 0, "upload_missing"), ("settled", 0, None)]
        assert stack.received_texts() == ["y"]
        assert stack.counters.total("calls_started") == 1


async def test_a_mistake_of_ours_before_the_call_costs_nothing(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        upload = uuid4()
        stack.uploads[upload], stack.failing_loads = b"%PDF-1.4", 1
        await stack.enqueue(unit, File(MessageKind.DOCUMENT, upload=upload, file_name="a.pdf", caption="y"))
        await stack.wait_until_idle()
        assert stack.received_texts() == ["y"]
        assert await stack.outbox_rows() == [("settled", 0, None)]
        assert stack.counters.total("sender_crashes") == stack.counters.total("claims_given_back") == 1


async def test_a_message_that_cannot_be_read_does_not_stand_before_all_others(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        async with stack.pool.connection() as conn, conn.transaction():
            await queue_message(conn, unit.id, "x")
            await conn.execute("""update zapline.outbox set content = '{"content": 3}'""")
            await queue_message(conn, unit.id, "y")
        stack.senders.wake(unit.id)
        await stack.wait_until_idle()
        assert await stack.outbox_rows() == [("dead", 0, "unreadable"), ("settled", 0, None)]
        assert stack.received_texts() == ["y"]


async def test_a_claim_whose_commit_was_in_doubt_is_given_back(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, doubted = sql.claim_all, []

    async def doubtful(*arguments: Any, **named: Any) -> Any:
        made = await claim(*arguments, **named)
        if any(result.claimed is not None for result in made) and not doubted:
            doubted.append(made)
            raise CommitUnknown("planted: the answer to the commit is lost")
        return made

    monkeypatch.setattr(sql, "claim_all", doubtful)
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.enqueue(unit, "oi")
        await stack.wait_until_idle()
        assert stack.received_texts() == ["oi"]
        assert await stack.outbox_rows() == [("settled", 0, None)]
        assert stack.counters.total("claims_given_back") == 1
        assert len(await stack.rows("select from zapline.attempts")) == 1


async def test_a_claim_that_nobody_remembers_may_have_been_called(database: str, tmp_path: Path) -> None:
    """As after an answer that was buried: to give it back would be to send it blindly."""
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.wait_until(lambda: stack.senders.statistics().running == 0)
        async with stack.pool.connection() as conn, conn.transaction():
            await queue_message(conn, unit.id, "oi")
            made = await sql.claim(
                conn, unit.id, process=stack.process, attempt=uuid4(), now=time.time(), lease=60, lanes=list(Lane),
                blocked=[],
            )  # fmt: skip
            assert made is not None
        stack.senders.scan_soon()
        await stack.wait_until_idle(["queued", "leased"])
        assert stack.received_texts() == []
        assert await stack.outbox_rows() == [("uncertain", 0, "crashed")]


async def test_a_database_that_leaves_in_the_middle_loses_and_doubles_nothing(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.enqueue(unit, *(f"n{number}" for number in range(12)))
        for _ in range(4):
            await trio.sleep(0.1)
            async with await connect(stack.url) as conn:
                await conn.fetch(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
        await stack.wait_until_idle(["queued", "leased"])
        assert stack.received_texts() == [f"n{number}" for number in range(12)]
        assert Counter(state for state, *_ in await stack.outbox_rows()) == {"settled": 12}


@pytest.mark.heavy
async def test_forty_messages_through_random_faults_arrive_once_or_are_uncertain(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_outcomes, "LINE_PAUSE", Backoff(base=0.05, factor=2.0, cap=0.2, jitter=0.3))
    kinds = {"error": 0.12, "drop_reply": 0.12, "number_check_timeout": 0.1, "never_echo": 0.06, "hang": 0.03}
    async with outbound_stack(database, tmp_path, call=0.2) as stack:
        unit = await stack.add_unit()
        for kind, probability in kinds.items():
            stack.evolution.state.faults.inject(Fault(kind, path="/message/", probability=probability))
        words = [f"n{number}" for number in range(40)]
        for number, word in enumerate(words):
            await stack.enqueue(unit, word, phone=f"+551199999{number:04}")
        await wait_until_none_is_queued(stack, 20)
        await stack.wait_until_idle(["queued", "leased"])
        received = Counter(stack.received_texts())
        assert set(received.values()) == {1}
        rows = await stack.rows(
            "select m.body, o.state, o.tries from zapline.outbox o join zapline.messages m on m.id = o.message_id"
        )
        assert len(rows) == 40
        for body, state, tries in rows:
            assert tries <= 3
            assert state in ("settled", "uncertain", "dead")
            if state == "settled":
                assert received[body] == 1
            if state == "dead":
                assert (received[body], tries) == (0, 3)
        assert await stack.rows("select from zapline.attempts where outcome = 'calling'") == []
