"""A call's result, its echo, its status and Evolution's store lead to one message in any order."""

import itertools
import random

import msgspec
import pytest
from support.journeys import steps, verdicts
from support.recorded_sends import (
    JID,
    LID,
    NOW,
    accepted,
    batch_of,
    call,
    echo,
    make_unit,
    queue,
    state,
    store,
    timed_out,
)
from support.shared_transactions import store_side_by_side

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.ids import ExternalId, UnitId
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import (
    ContactSeen,
    MessageEdited,
    MessageFact,
    SendAnswered,
    StatusReported,
)
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.outbound.send_claims import list_due_lanes, list_unended_calls
from zapline.sql.postgres.connection import connect


async def test_answer_echo_and_status_make_one_row_in_every_order(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        batches: dict[UnitId, list[UnitBatch]] = {}
        again: dict[UnitId, list[UnitBatch]] = {}
        for order, together in itertools.product(itertools.permutations(range(3)), (True, False)):
            unit = await make_unit(conn)
            await queue(conn, unit)
            claimed = await call(conn, unit)
            facts: list[MessageFact] = [
                accepted(claimed, "X"),
                echo("X"),
                StatusReported(ExternalId("X"), DeliveryStatus.DELIVERED),
            ]
            ordered = [facts[index] for index in order]
            again[unit] = [batch_of(unit, ordered)]
            batches[unit] = again[unit] if together else [batch_of(unit, [fact]) for fact in ordered]
        expected = [("X", "delivered", "settled", "reply", "sent", "X", False)]
        for played in (batches, again):  # the second time as after a replay: nothing moves
            await store_side_by_side(conn, played)
            for unit in played:
                assert await state(conn, unit) == expected, batches[unit]


async def test_a_call_without_an_answer_is_settled_by_its_echo_in_either_order(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        for order in ((0, 1), (1, 0)):
            unit, known = await make_unit(conn), RecorderCache()
            await queue(conn, unit)
            claimed = await call(conn, unit)
            facts: list[MessageFact] = [timed_out(claimed), echo("X")]
            for index in order:
                await store(conn, unit, [facts[index]], known)
            assert await state(conn, unit) == [("X", "sent", "settled", "echo", "sent", "X", False)]


async def test_while_the_call_is_under_way_its_echo_waits(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await queue(conn, unit)
        await call(conn, unit)
        await store(conn, unit, [echo("X")], known)
        assert len(await conn.fetch("select from zapline.sightings")) == 1
        assert len(await conn.fetch("select from zapline.messages")) == 1


async def test_evolutions_store_settles_a_send_without_an_echo(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await queue(conn, unit)
        claimed = await call(conn, unit)
        await store(conn, unit, [timed_out(claimed)], known)
        read = [echo("X", origin="backfill"), StatusReported(ExternalId("X"), DeliveryStatus.READ)]
        await store(conn, unit, read, known, at=NOW + 400, backfilled=True)
        assert await state(conn, unit) == [("X", "read", "settled", "store", "sent", "X", False)]


async def test_what_somebody_else_sent_is_a_message_of_its_own(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await queue(conn, unit)
        await store(conn, unit, [echo("BEFORE")], known, at=NOW - 5)
        claimed = await call(conn, unit)
        await store(conn, unit, [echo("OTHER", "outra coisa")], known)
        await store(conn, unit, [timed_out(claimed)], known)
        await store(conn, unit, [echo("LATE", at=NOW + 4000)], known, at=NOW + 4000)
        rows = await state(conn, unit)
        assert [row[0] for row in rows] == [None, "BEFORE", "OTHER", "LATE"]
        assert rows[0][2] == "uncertain"


async def test_a_second_delivery_is_marked_and_its_statuses_reach_the_message(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        for late in (False, True):
            unit, known = await make_unit(conn), RecorderCache()
            message = await queue(conn, unit)
            first = await call(conn, unit)
            await store(conn, unit, [timed_out(first)], known)
            await conn.execute("update zapline.outbox set state = 'queued' where message_id = %s", (message,))
            second = await call(conn, unit, NOW + 60)
            if not late:  # the echo of the first comes while the second is under way, long after its own time
                await store(conn, unit, [echo("X", at=NOW)], known, at=NOW + 61)
            await store(conn, unit, [accepted(second, "Y", NOW + 61)], known)
            if late:
                await store(conn, unit, [echo("X", at=NOW)], known, at=NOW + 300)
            await store(conn, unit, [echo("Y", at=NOW + 60)], known, at=NOW + 62)
            await store(conn, unit, [StatusReported(ExternalId("X"), DeliveryStatus.READ)], RecorderCache())
            assert await state(conn, unit) == [
                ("Y", "read", "settled", "echo", "sent", "X", True),
                ("Y", "read", "settled", "reply", "sent", "Y", True),
            ]
            assert await verdicts(database, unit) == [("twice", None)]
            told = (await steps(database, unit))[0]
            assert {"answer_uncertain", "proven_echo", "second", "answer_sent", "told_read"} <= set(told)


async def test_both_ids_of_a_message_in_one_batch_are_one_row(database: str) -> None:
    """A history, or two echoes of one commit, names the first and the second delivery."""
    async with await connect(database, role="zapline_engine") as conn:
        for known in (RecorderCache(), None):
            unit, cache = await make_unit(conn), known or RecorderCache()
            message = await queue(conn, unit)
            first = await call(conn, unit)
            await store(conn, unit, [timed_out(first)], cache)
            await conn.execute("update zapline.outbox set state = 'queued' where message_id = %s", (message,))
            second = await call(conn, unit, NOW + 60)
            await store(conn, unit, [accepted(second, "Y", NOW + 61)], cache)
            await store(conn, unit, [echo("X", at=NOW)], cache, at=NOW + 300)
            ids = ("X", "Y", "X", "Y")
            reports = [StatusReported(ExternalId(id), DeliveryStatus.READ) for id in ids]
            edits = [MessageEdited(ExternalId(id), "olá", 1_795_364_451_000) for id in ids]
            both = [echo(id, origin="history") for id in ids]
            await store(conn, unit, [*both, *reports, *edits], cache if known else RecorderCache())
            assert {row[:2] for row in await state(conn, unit)} == {("Y", "read")}
            assert len(await conn.fetch("select from zapline.messages where unit_id = %s", (unit,))) == 1


async def test_a_stranger_who_answers_under_our_ids_keeps_no_send_from_being_settled(database: str) -> None:
    """He knows the id from his phone before Evolution has answered us."""
    foreign = msgspec.structs.replace(echo("X", "forged"), from_me=False)
    async with await connect(database, role="zapline_engine") as conn:
        for ids in (("X",), ("X", "Y")):
            unit, known = await make_unit(conn), RecorderCache()
            await queue(conn, unit)
            claimed = await call(conn, unit)
            await store(conn, unit, [foreign], known)
            await store(conn, unit, [accepted(claimed, ids[0]), echo(ids[0])], known)
            await store(conn, unit, [foreign], known)
            assert [row[:3] for row in await state(conn, unit)] == [("X", "sent", "settled")]
            letters = await conn.fetch("select reason from zapline.dead_letters where unit_id = %s", (unit,))
            assert {letter.reason for letter in letters} == {"foreign_author"}


async def test_the_echo_of_an_earlier_call_takes_a_message_out_of_the_queue(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        message = await queue(conn, unit)
        first = await call(conn, unit)
        await store(conn, unit, [timed_out(first)], known)
        await conn.execute("update zapline.outbox set state = 'queued' where message_id = %s", (message,))
        await store(conn, unit, [echo("X")], known)
        assert await state(conn, unit) == [("X", "sent", "settled", "echo", "sent", "X", False)]


async def test_an_echo_under_an_unknown_lid_is_merged_once_the_response_names_it(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        for order in ((0, 1), (1, 0)):
            unit, known = await make_unit(conn), RecorderCache()
            await queue(conn, unit)
            claimed = await call(conn, unit)
            both = resolve_address(LID, JID)
            assert both is not None
            facts: list[list[MessageFact]] = [
                [ContactSeen(both), accepted(claimed, "X", remote=f"{LID} {JID}")],
                [echo("X", "oi", NOW, LID), MessageEdited(ExternalId("X"), "olá", 1_795_364_451_000)],
            ]
            for index in order:
                await store(conn, unit, facts[index], known)
            assert await state(conn, unit) == [("X", "sent", "settled", "reply", "sent", "X", False)]
            edited = await conn.fetch("select edited_body from zapline.messages where unit_id = %s", (unit,))
            assert [row.edited_body for row in edited] == ["olá"]


async def test_refusals_and_failures_move_the_message_once(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await queue(conn, unit)
        for number in (1, 2):
            claimed = await call(conn, unit)
            move = "queued" if number == 1 else "dead"
            answer = SendAnswered(
                claimed.attempt, claimed.message, claimed.fence, "not_sent", move, NOW, failure="server_error", tries=1
            )
            for _ in range(2):  # the second time says nothing new
                await store(conn, unit, [answer], known)
            found = await conn.fetch("select state, tries from zapline.outbox where unit_id = %s", (unit,))
            assert [tuple(row) for row in found] == [(move, number)]
        assert [row[1] for row in await state(conn, unit)] == ["failed", "failed"]


async def test_an_id_of_another_message_makes_this_one_uncertain(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        for words in ("um", "dois"):
            await queue(conn, unit, words)
        for _ in range(2):
            await store(conn, unit, [accepted(await call(conn, unit), "X")], known)
        rows = await state(conn, unit)
        assert [(row[0], row[2], row[4]) for row in rows] == [
            ("X", "settled", "sent"),
            (None, "uncertain", "uncertain"),
        ]
        failures = await conn.fetch("select failure from zapline.outbox where state = 'uncertain'")
        assert [row.failure for row in failures] == ["id_taken"]


async def test_an_answer_takes_its_id_back_from_a_guess(database: str) -> None:
    """The echo of the second call was accepted for the first one's: the second one's own answer knows better."""
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        for _ in range(2):
            await queue(conn, unit)
        first = await call(conn, unit)
        await store(conn, unit, [timed_out(first)], known)
        second = await call(conn, unit, NOW + 30)
        ends = "update zapline.attempts set outcome = %s, ended_at = started_at where id = %s"
        await conn.execute(ends, ("uncertain", second.attempt))
        await store(conn, unit, [echo("X", at=NOW)], known, at=NOW + 31)
        assert [row[0] for row in await state(conn, unit)] == ["X", None]
        await conn.execute(ends, ("calling", second.attempt))
        await store(conn, unit, [accepted(second, "X", NOW + 31)], known)
        rows = await state(conn, unit)
        assert [(row[0], row[2], row[3]) for row in rows] == [(None, "uncertain", None), ("X", "settled", "reply")]


async def test_a_call_left_on_a_message_that_another_call_settled_is_found(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        message = await queue(conn, unit)
        first = await call(conn, unit)
        await store(conn, unit, [timed_out(first)], known)
        await conn.execute("update zapline.outbox set state = 'queued' where message_id = %s", (message,))
        second = await call(conn, unit, NOW + 60)
        read = [echo("X", origin="backfill")]
        await store(conn, unit, read, known, at=NOW + 61, backfilled=True)
        left = await list_unended_calls(conn, unit)
        assert [(lease.attempt, lease.leased_by) for lease in left] == [(second.attempt, None)]
        assert [due.leased for due in await list_due_lanes(conn) if due.unit == unit] == [True]
        await store(conn, unit, [timed_out(second, NOW + 90, "crashed")], known)
        assert await list_unended_calls(conn, unit) == []
        assert {row[2] for row in await state(conn, unit)} == {"settled"}


@pytest.mark.parametrize("seed", range(3))
async def test_of_fifty_identical_texts_each_id_is_claimed_once(database: str, seed: int) -> None:
    """Half of them get no answer, and of these only some an echo."""
    chance = random.Random(seed)
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        for _ in range(50):
            await queue(conn, unit)
        echoes: list[tuple[float, str]] = []
        lost = 0
        for number in range(50):
            at = NOW + 2 * number
            claimed = await call(conn, unit, at)
            if chance.random() < 0.5:
                if chance.random() < 0.3:
                    lost += 1
                    failure = "timed_out_after_relay"
                else:
                    echoes.append((at + chance.uniform(0.1, 30), f"X{number}"))
                    failure = "no_answer"
                await store(conn, unit, [timed_out(claimed, at + 1, failure)], known, at + 1)
            else:
                await store(conn, unit, [accepted(claimed, f"X{number}", at + 1)], known, at + 1)
                echoes.append((at + chance.uniform(0.1, 30), f"X{number}"))
            for due, external in sorted(echoes):
                if due <= at + 1.9:
                    await store(conn, unit, [echo(external, at=NOW + 2 * int(external[1:]))], known, due)
                    echoes.remove((due, external))
        for due, external in sorted(echoes):
            await store(conn, unit, [echo(external, at=NOW + 2 * int(external[1:]))], known, due)
        rows = await state(conn, unit)
        ids = [row[5] for row in rows if row[5] is not None]
        assert len(rows) == 50
        assert len(ids) == len(set(ids)) == 50 - lost
        assert sum(row[2] == "uncertain" for row in rows) == lost
        assert not any(row[6] for row in rows)
