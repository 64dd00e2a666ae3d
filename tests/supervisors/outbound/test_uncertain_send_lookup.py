"""Messages of which nobody knows whether they were sent: looked for in Evolution's store, then left to a person."""

import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
from support.inbound_stack import until
from support.journeys import verdicts
from support.reconciliation_stack import LOOKS, ReconciliationStack, reconciliation_stack

from zapline.domain.ids import PROVIDER, contact_id, conversation_id
from zapline.domain.messages.facts import SendAnswered
from zapline.domain.outbox.content_fingerprint import fingerprint_content
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.domain.outbox.work_states import Lane
from zapline.sql.journal.schema import SEND_ANSWER
from zapline.sql.outbound.send_claims import ClaimedSend, claim
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.psycopg_on_trio import Json
from zapline.supervisors.inbound.unit_state import Unit

PHONE = "+5511999990001"


async def calling(stack: ReconciliationStack, unit: Unit, words: str, at: float) -> ClaimedSend:
    """A text that a sender has claimed, as it stands while Evolution is called."""
    message, outgoing = uuid4(), OutgoingMessage(Text(words))
    contact, conversation = contact_id(unit.id, PHONE), conversation_id(unit.id, PHONE)
    async with await connect(stack.inbound.url, role="zapline_engine") as conn:
        await conn.execute(
            "insert into zapline.contacts (id, unit_id, kind, canonical, phone) values (%s, %s, 'person', %s, %s)"
            " on conflict do nothing",
            (contact, unit.id, PHONE, PHONE),
        )
        await conn.execute(
            "insert into zapline.conversations (id, unit_id, contact_id) values (%s, %s, %s) on conflict do nothing",
            (conversation, unit.id, contact),
        )
        await conn.execute(
            "insert into zapline.messages (id, unit_id, conversation_id, provider, client_message_id, from_me, kind,"
            " kind_rank, body, origin, delivery, sent_at, received_at) values (%s, %s, %s, %s, %s, true, 'text', 2,"
            " %s, 'sent', 'queued', to_timestamp(%s), to_timestamp(%s))",
            (message, unit.id, conversation, PROVIDER, str(message), words, at, at),
        )
        await conn.execute(
            "insert into zapline.outbox (message_id, unit_id, conversation_id, lane, recipient, address, fingerprint,"
            " content, request_digest, due_at) values (%s, %s, %s, 'reply', %s, %s, %s, %s, '', to_timestamp(%s))",
            (
                *(message, unit.id, conversation, PHONE, PHONE[1:], fingerprint_content(outgoing.content)),
                *(Json(msgspec.json.encode(outgoing)), at - 1),
            ),
        )
        claimed = await claim(
            conn, unit.id, process=uuid4(), attempt=uuid4(), now=at, lease=60, lanes=list(Lane), blocked=[]
        )
    assert claimed is not None
    assert claimed.message == message
    return claimed


async def left_uncertain(
    stack: ReconciliationStack, unit: Unit, words: str, *, ago: float = 40.0, failure: str = "no_answer"
) -> UUID:
    """The call got no answer; it ended so many seconds ago, and is to be looked for."""
    at = time.time() - ago - 1
    claimed = await calling(stack, unit, words, at)
    answer = SendAnswered(
        claimed.attempt,
        claimed.message,
        claimed.fence,
        "uncertain",
        "uncertain",
        at + 1,
        failure=failure,
        look_at=time.time(),
    )
    assert await stack.inbound.intake.accept_internal(unit, SEND_ANSWER, msgspec.json.encode(answer))
    await stack.inbound.wait_until_stored()
    return claimed.message


def kept_by_evolution(stack: ReconciliationStack, words: str, external_id: str, ago: float = 40.0) -> None:
    """Evolution has sent it, but the answer was lost and no webhook came."""
    stack.evolution.receive("loja", words, PHONE[1:], from_me=True, external_id=external_id, at=time.time() - ago)


async def test_while_this_machines_clock_is_ahead_nothing_is_looked_for_before_its_time(
    database: str, tmp_path: Path
) -> None:
    """It would be given up, or sent again, before Evolution has done with it."""
    async with reconciliation_stack(database, tmp_path) as stack:
        await left_uncertain(stack, await stack.open_unit(), "foi")
        clock, right = stack.leadership.clock, time.time() - 40 * 86_400
        clock.wall = lambda: right
        clock.compare(right, trio.current_time())
        clock.wall = time.time
        assert await stack.uncertain._list_due(10) == {}
        clock.compare(time.time(), trio.current_time())
        assert len(await stack.uncertain._list_due(10)) == 1


async def test_a_call_that_ended_before_it_began_by_a_wrong_clock_is_looked_for_up_to_now(
    database: str, tmp_path: Path
) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        await left_uncertain(stack, await stack.open_unit(), "foi")
        (unit, sends) = (await stack.uncertain._list_due(10)).popitem()
        wrong = [replace(send, ended_at=(send.ended_at or 0.0) - 40 * 86_400) for send in sends]
        kept_by_evolution(stack, "foi", "3EB0ENDEDEARLY")
        assert await stack.uncertain._read_store(stack.inbound.unit(unit), wrong)
        await stack.inbound.wait_until_stored()
        assert await stack.inbound.rows("select state from zapline.outbox") == [("settled",)]


STATE = "select state, looks, look_at is null from zapline.outbox order by seq"


async def test_what_evolution_has_is_settled_and_the_rest_waits_for_a_person(database: str, tmp_path: Path) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        found = await left_uncertain(stack, unit, "foi")
        kept_by_evolution(stack, "foi", "FOUND")
        kept_by_evolution(stack, "outra", "FOREIGN")
        await left_uncertain(stack, unit, "não foi")
        await left_uncertain(stack, unit, "talvez", failure="timed_out_after_relay")
        stack.nursery.start_soon(stack.uncertain.run)
        await stack.inbound.wait_for_rows(STATE, [("settled", 0, True), ("uncertain", 3, True), ("uncertain", 3, True)])
        assert await stack.inbound.rows(
            "select external_id, matched_by, outcome from zapline.attempts where external_id is not null"
        ) == [("FOUND", "store", "sent")]
        assert await stack.inbound.rows(
            f"select external_id, delivery::text from zapline.messages where id = '{found}'"
        ) == [("FOUND", "sent")]
        assert await stack.inbound.rows("select count(*)::int from zapline.messages") == [(4,)]
        totals = stack.inbound.counters.totals
        assert (totals["looks", "settled"], totals["looks", "again"], totals["looks", "waits"]) == (1, 4, 2)
        assert totals["looks", "resent"] == 0
        told = await verdicts(stack.inbound.url, unit.id)
        assert sorted(told, key=repr) == [
            *(("sent", None), ("stored_late", None)),
            *(("uncertain", "no_answer"), ("uncertain", "timed_out_after_relay")),
        ]

        # What waits for a person is not looked for again, but its echo still settles it.
        kept_by_evolution(stack, "não foi", "LATE", ago=20.0)
        stack.start()
        await stack.inbound.wait_for_rows(
            "select state from zapline.outbox order by seq",
            [
                ("settled",),
                ("settled",),
                ("uncertain",),
            ],
        )


async def test_a_call_that_a_wrong_clock_has_dated_ahead_is_looked_for_in_what_was_sent_by_now(
    database: str, tmp_path: Path
) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        await left_uncertain(stack, unit, "foi", ago=-3600.0)
        kept_by_evolution(stack, "outra", "FOREIGN")
        stack.nursery.start_soon(stack.uncertain.run)
        await stack.inbound.wait_for_rows(STATE, [("uncertain", 3, True)])
        assert await stack.inbound.rows("select external_id from zapline.messages where external_id is not null") == [
            ("FOREIGN",)
        ]


async def test_a_look_that_saw_nothing_does_not_count(database: str, tmp_path: Path) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        await left_uncertain(stack, unit, "foi")
        stack.evolution.inject_fault("error", path="/chat/findMessages")
        stack.nursery.start_soon(stack.uncertain.run)
        totals = stack.inbound.counters.totals
        await until(lambda: totals["looks", "later"] >= 2)
        assert await stack.inbound.rows(STATE) == [("uncertain", 0, False)]
        await stack.set_line_state(unit, "close")
        stack.evolution.clear_faults("error")
        before = totals["looks", "later"]
        await until(lambda: totals["looks", "later"] > before + 1)
        assert await stack.inbound.rows(STATE) == [("uncertain", 0, False)]
        kept_by_evolution(stack, "foi", "FOUND")
        await stack.set_line_state(unit, "open")
        await stack.inbound.wait_for_rows(STATE, [("settled", 0, True)])


async def test_a_message_is_sent_once_more_only_where_its_absence_is_proved(database: str, tmp_path: Path) -> None:
    async with reconciliation_stack(database, tmp_path, looks=replace(LOOKS, min_age=30.0)) as stack:
        unit = await stack.open_unit()
        await left_uncertain(stack, unit, "de novo")
        await left_uncertain(stack, unit, "talvez", failure="timed_out_after_relay")
        await left_uncertain(stack, unit, "agora mesmo", ago=0.0)
        expired = await left_uncertain(stack, unit, "tarde demais")
        second = await left_uncertain(stack, unit, "segunda vez")
        sighted = await left_uncertain(stack, unit, "com eco")
        await stack.write("update zapline.outbox set expires_at = now() where message_id = %s", expired)
        await stack.write("update zapline.outbox set resends = 1 where message_id = %s", second)
        await stack.write(
            "insert into zapline.sightings (unit_id, provider, external_id, conversation_id, fingerprint, sent_at,"
            " received_at, backfilled, row) select unit_id, 'evolution', 'SEEN', conversation_id, fingerprint, now(),"
            " now(), false, '{}' from zapline.outbox where message_id = %s",
            sighted,
        )
        allow = (
            "insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, campaign_seconds, resend_lanes)"
        )
        await stack.write(allow + " values (%s, 60, 1, 0, 1, '{reply}')", unit.id)
        await stack.write("update zapline.unit_whatsapp_connections set store_kept = true")
        stack.nursery.start_soon(stack.uncertain.run)
        query = "select state, resends from zapline.outbox where look_at is null order by seq"
        waits = ("uncertain", 0)
        await stack.inbound.wait_for_rows(query, [("queued", 1), waits, waits, waits, ("uncertain", 1), waits])
        assert stack.woken == [unit.id]
        assert stack.inbound.counters.totals["looks", "resent"] == 1


@pytest.mark.parametrize("known", [True, False], ids=["known", "not known yet"])
async def test_what_was_called_before_a_move_is_for_a_person_since_the_new_server_knows_nothing_of_it(
    database: str, tmp_path: Path, known: bool
) -> None:
    async with reconciliation_stack(database, tmp_path, looks=replace(LOOKS, min_age=30.0)) as stack:
        unit = await stack.open_unit()
        allow = (
            "insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, campaign_seconds, resend_lanes)"
        )
        await stack.write(allow + " values (%s, 60, 1, 0, 1, '{reply}')", unit.id)
        await stack.write(
            "update zapline.unit_whatsapp_connections set store_kept = true, evolution_server_since = now()"
        )
        if known:  # else the look begins while the move is being stored
            await stack.inbound.reload()
        stack.evolution.receive("loja", "está lá", at=time.time() - 40)
        await left_uncertain(stack, unit, "no outro servidor")
        stack.nursery.start_soon(stack.uncertain.run)
        await stack.inbound.wait_for_rows("select state, look_at is null from zapline.outbox", [("uncertain", True)])
        assert stack.woken == []


async def test_where_the_store_is_not_kept_or_not_allowed_nothing_is_sent_again(database: str, tmp_path: Path) -> None:
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        await left_uncertain(stack, unit, "um")
        stack.nursery.start_soon(stack.uncertain.run)
        # The lane may be sent again, but nobody has seen yet whether Evolution keeps messages.
        allow = (
            "insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, campaign_seconds, resend_lanes)"
        )
        await stack.write(allow + " values (%s, 60, 1, 0, 1, '{reply}')", unit.id)
        await stack.inbound.wait_for_rows(STATE, [("uncertain", 3, True)])
        # It did, and does no more: webhooks tell of a message that is not there.
        await stack.write("update zapline.unit_whatsapp_connections set store_kept = true")
        data = {
            "key": {"remoteJid": "5511999990002@s.whatsapp.net", "fromMe": False, "id": "HEARD"},
            "message": {"conversation": "oi"},
            "messageType": "conversation",
            "messageTimestamp": int(time.time() - 40),
        }
        await stack.inbound.send(unit, "messages.upsert", data)
        await left_uncertain(stack, unit, "dois")
        await stack.inbound.wait_for_rows(STATE, [("uncertain", 3, True), ("uncertain", 3, True)])
        # And now the other lane only.
        stack.evolution.receive("loja", "está lá", at=time.time() - 40)
        await stack.write("update zapline.unit_paces set resend_lanes = '{campaign}'")
        await left_uncertain(stack, unit, "três")
        await stack.inbound.wait_for_rows(STATE, [("uncertain", 3, True)] * 3)
        await stack.write("update zapline.unit_paces set resend_lanes = '{reply}'")
        await left_uncertain(stack, unit, "quatro")
        await stack.inbound.wait_for_rows("select state from zapline.outbox order by seq desc limit 1", [("queued",)])


async def test_an_echo_that_is_still_in_the_journal_is_waited_for(database: str, tmp_path: Path) -> None:
    """Sent again while its echo lies on the disk: that would be a second delivery."""
    async with reconciliation_stack(database, tmp_path) as stack:
        unit = await stack.open_unit()
        await left_uncertain(stack, unit, "de novo")
        allow = (
            "insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, campaign_seconds, resend_lanes)"
        )
        await stack.write(allow + " values (%s, 60, 1, 0, 1, '{reply}')", unit.id)
        await stack.write("update zapline.unit_whatsapp_connections set store_kept = true")
        async with await connect(stack.inbound.url) as blocker, blocker.transaction():
            await blocker.execute("lock table zapline.contacts in access exclusive mode")
            data = {
                "key": {"remoteJid": f"{PHONE[1:]}@s.whatsapp.net", "fromMe": True, "id": "ECHO"},
                "message": {"conversation": "de novo"},
                "messageType": "conversation",
                "messageTimestamp": int(time.time() - 40),
            }
            await stack.inbound.send(unit, "send.message", data)
            stack.nursery.start_soon(stack.uncertain.run)
            await trio.sleep(0.3)
            assert await stack.inbound.rows(STATE) == [("uncertain", 0, False)]
        await stack.inbound.wait_for_rows(STATE, [("settled", 0, True)])
        assert stack.woken == []
