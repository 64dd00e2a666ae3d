"""Sends known by their chosen id, and echoes under the other identity of a chat: one row in any order."""

import itertools

from support.journeys import verdicts
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
from zapline.domain.messages.delivery_status import REFUSED, REFUSED_TOO_MANY, DeliveryStatus
from zapline.domain.messages.facts import ContactSeen, MessageFact, StatusReported
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.outbound.uncertain_sends import requeue_uncertain
from zapline.sql.postgres.connection import connect

LINKED = resolve_address(JID, LID)
assert LINKED is not None
LINK = ContactSeen(LINKED)


async def test_answer_echo_and_status_meet_by_the_chosen_id_in_every_order(database: str) -> None:
    """Also when the answer says nothing, and when the echo has another text and chat."""
    async with await connect(database, role="zapline_engine") as conn:
        chosen: dict[UnitId, ExternalId] = {}
        first: dict[UnitId, list[UnitBatch]] = {}
        again: dict[UnitId, list[UnitBatch]] = {}
        for answered, order, together in itertools.product(
            (True, False), itertools.permutations(range(3)), (True, False)
        ):
            unit = await make_unit(conn)
            await queue(conn, unit)
            claimed = await call(conn, unit)
            answer = accepted(claimed, claimed.chosen_id) if answered else timed_out(claimed)
            facts: list[MessageFact] = [
                answer,
                echo(claimed.chosen_id, "oi, mudado no caminho", NOW, LID),
                StatusReported(claimed.chosen_id, DeliveryStatus.DELIVERED),
            ]
            ordered = [facts[index] for index in order]
            chosen[unit] = claimed.chosen_id
            first[unit] = [batch_of(unit, facts) for facts in ([ordered] if together else [[one] for one in ordered])]
            again[unit] = [batch_of(unit, [fact]) for fact in ordered[::-1]]
        await store_side_by_side(conn, first)
        for unit, id in chosen.items():
            ((external, delivery, work, _, outcome, owned, twice),) = await state(conn, unit)
            assert (external, delivery, work, outcome) == (id, "delivered", "settled", "sent"), first[unit]
            assert (owned, twice) == (id, False)
            # An echo of this id proves that both identities are one person's.
            merged = await conn.fetch(
                "select from zapline.conversations where merged_into is not null and unit_id = %s", (unit,)
            )
            assert len(merged) == 1
        await store_side_by_side(conn, again)
        for unit in chosen:
            assert len(await state(conn, unit)) == 1


async def test_a_status_alone_settles_an_uncertain_send(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await queue(conn, unit)
        claimed = await call(conn, unit)
        await store(conn, unit, [timed_out(claimed)], known)
        await store(conn, unit, [StatusReported(claimed.chosen_id, DeliveryStatus.READ)], known)
        id = claimed.chosen_id
        assert await state(conn, unit) == [(id, "read", "settled", "status", "sent", id, False)]


async def test_a_message_that_a_person_sends_again_has_one_id_and_is_never_twice(database: str) -> None:
    """The first call's echo, the second call's answer and its echo are reports of one message, in every order."""
    async with await connect(database, role="zapline_engine") as conn:
        for order in itertools.permutations(range(3)):
            unit, known = await make_unit(conn), RecorderCache()
            message = await queue(conn, unit)
            first = await call(conn, unit)
            await store(conn, unit, [timed_out(first)], known)
            assert await requeue_uncertain(conn, unit, message, NOW + 2, NOW + 900)
            second = await call(conn, unit, NOW + 10)
            assert second.chosen_id == first.chosen_id
            facts: list[MessageFact] = [
                echo(first.chosen_id),
                accepted(second, second.chosen_id, NOW + 11),
                StatusReported(first.chosen_id, DeliveryStatus.DELIVERED),
            ]
            for index in order:
                await store(conn, unit, [facts[index]], known)
            rows = await state(conn, unit)
            assert {row[:3] for row in rows} == {(first.chosen_id, "delivered", "settled")}, order
            assert [row[4] for row in rows] == ["sent", "sent"]
            assert not any(row[6] for row in rows)
            assert await verdicts(database, unit) == [("resent", None)]
            # No call is left open: the same words from the phone are a message of their own.
            await store(conn, unit, [echo("PHONE", at=NOW + 30, origin="live")], known, at=NOW + 31)
            assert [row[0] for row in await state(conn, unit)][-1] == "PHONE"


async def test_where_the_server_gives_an_id_of_its_own_all_is_as_before(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        message = await queue(conn, unit)
        first = await call(conn, unit)
        await store(conn, unit, [timed_out(first)], known)
        await requeue_uncertain(conn, unit, message, NOW + 2, NOW + 900)
        second = await call(conn, unit, NOW + 10)
        await store(conn, unit, [accepted(second, "OWN2", NOW + 11)], known)
        await store(conn, unit, [echo("OWN1", at=NOW + 1)], known, at=NOW + 12)
        rows = await state(conn, unit)
        assert {row[5] for row in rows} == {"OWN1", "OWN2"}
        assert all(row[6] for row in rows), "it was delivered twice, and that is told"


async def test_an_echo_under_the_other_identity_meets_its_message_in_every_order(database: str) -> None:
    """The server ignores chosen ids, the answer was lost, and the echo names the chat by its LID (or by its phone)."""
    async with await connect(database, role="zapline_engine") as conn:
        batches: dict[UnitId, list[UnitBatch]] = {}
        for order in itertools.permutations(range(4)):
            unit = await make_unit(conn)
            await queue(conn, unit)
            claimed = await call(conn, unit)
            facts: list[MessageFact] = [
                timed_out(claimed),
                echo("X", "oi", NOW, LID),
                LINK,
                StatusReported(ExternalId("X"), DeliveryStatus.DELIVERED),
            ]
            batches[unit] = [batch_of(unit, [facts[index]]) for index in order for _ in range(2)]
        await store_side_by_side(conn, batches)
        expected = [("X", "delivered", "settled", "echo", "sent", "X", False)]
        for unit, order_ in batches.items():
            assert await state(conn, unit) == expected, order_


async def test_until_the_link_is_known_the_echo_is_shown_and_nothing_is_hidden(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        await queue(conn, unit)
        claimed = await call(conn, unit)
        await store(conn, unit, [timed_out(claimed), echo("X", "oi", NOW, LID)], known)
        rows = await conn.fetch("select external_id from zapline.messages where unit_id = %s order by seq", (unit,))
        assert [row.external_id for row in rows] == [None, "X"]
        # Another person's LID is not the recipient, however long one waits.
        other = resolve_address("5511999990002@s.whatsapp.net", LID)
        assert other is not None
        await store(conn, unit, [ContactSeen(other)], known)
        assert [row[0] for row in await state(conn, unit)] == [None, "X"]


async def test_the_refusal_that_says_most_counts_and_arrival_beats_it(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        reports = [
            StatusReported(ExternalId("X"), DeliveryStatus.FAILED),
            StatusReported(ExternalId("X"), DeliveryStatus.FAILED, REFUSED_TOO_MANY),
            StatusReported(ExternalId("X"), DeliveryStatus.SENT),
        ]
        expected: dict[UnitId, str] = {}
        batches: dict[UnitId, list[UnitBatch]] = {}
        for arrived, order in itertools.product((False, True), itertools.permutations(range(4))):
            unit = await make_unit(conn)
            await queue(conn, unit)
            facts: list[MessageFact] = [accepted(await call(conn, unit), "X"), *reports]
            if arrived:
                facts[3] = StatusReported(ExternalId("X"), DeliveryStatus.DELIVERED)
            expected[unit] = "delivered" if arrived else "failed"
            batches[unit] = [batch_of(unit, [facts[index]]) for index in order]
        await store_side_by_side(conn, batches)
        rows = await conn.fetch("select unit_id, delivery::text, refusal from zapline.messages")
        assert sorted(tuple(row) for row in rows) == sorted(
            (unit, delivery, REFUSED_TOO_MANY) for unit, delivery in expected.items()
        )
        assert REFUSED < REFUSED_TOO_MANY
        for unit in list(expected)[::47]:
            refused = expected[unit] == "failed"
            assert await verdicts(database, unit) == [("refused", REFUSED_TOO_MANY) if refused else ("delivered", None)]
