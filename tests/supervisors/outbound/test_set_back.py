"""Nothing is sent twice when the database is set back, another process leads, or this one stood still."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import trio
from support.database_copies import database_copies
from support.inbound_stack import text
from support.outbound_stack import OutboundStack, outbound_stack

from zapline.domain.errors import JournalRefused
from zapline.domain.ids import UnitId
from zapline.domain.outbox.send_outcomes import CALL_WITHIN
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.leader import take_epoch
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.outbound_checks import OutboundReport, check_outbound
from zapline.supervisors.inbound.call_announcements import DISK_REFUSES
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.sender_state import SenderActivity

SETTLED = "select count(*) from zapline.outbox where state = 'settled'"


async def wait_for_refusal(stack: OutboundStack, unit: Unit) -> None:
    """Wait until the database has refused something to a process that does not know yet that it was set back."""
    stack.senders.wake(unit.id)
    await stack.wait_until(lambda: stack.counters.total("standing_checks") > 0)


async def test_what_was_sent_behind_a_database_that_is_set_back_is_not_sent_again(
    database: str, tmp_path: Path
) -> None:
    with database_copies(database) as copies:
        async with outbound_stack(database, tmp_path) as stack:
            unit = await stack.add_unit()
            (first,) = await stack.enqueue(unit, "antes")
            await stack.wait_until_idle()
            stack.evolution.inject_fault("error", path="/message/", count=1)  # one of them takes two calls
            async with stack.pool.connection() as conn:
                await conn.execute("update zapline.units set paused_at = now()")
            await stack.enqueue(unit, "um", "dois", "tres")
            earlier = copies.copy()
            for name in (database, f"{database.rpartition('/')[0]}/{earlier}"):
                async with await connect(name) as conn:
                    await conn.execute("update zapline.units set paused_at = null")
            stack.senders.wake(unit.id)
            await stack.wait_for_rows(SETTLED, (4,))
            await stack.wait_until_idle()
            sent = stack.received_texts()
            assert sorted(sent) == ["antes", "dois", "tres", "um"]
            copies.set_back(earlier)
            await stack.wait_for_rows(SETTLED, (1,))
            await wait_for_refusal(stack, unit)
            assert stack.received_texts() == sent
            # The unit's last call is there before anything else is stored again: its echo may have waited for that.
            async with await connect(database, role="zapline_engine") as conn:
                await stack.comparison.look(conn, leads=True)
            assert await stack.rows("select count(distinct message_id) from zapline.attempts") == [(2,)]
            await stack.reload()
            await stack.wait_for_rows(SETTLED, (4,))
            await stack.wait_until(lambda: unit.catching_up is None)
            assert stack.received_texts() == sent
            (last,) = await stack.enqueue(unit, "depois")
            await stack.wait_for_rows(SETTLED, (5,))
            assert stack.received_texts() == [*sent, "depois"]
            assert await stack.rows("select count(*) from zapline.outbox where twice") == [(0,)]
            assert stack.counters.total("sent_twice") == 0
            assert {first, last} <= {row[0] for row in await stack.rows("select message_id from zapline.outbox")}


async def test_a_claim_that_is_lost_alone_is_known_from_the_journal_after_a_restart(
    database: str, tmp_path: Path
) -> None:
    with database_copies(database) as copies:
        async with outbound_stack(database, tmp_path, call=1.0) as stack:
            id: UnitId = (await stack.add_unit()).id
            async with stack.pool.connection() as conn:
                await conn.execute("update zapline.units set paused_at = now()")
            await stack.enqueue(stack.roster.get(id), "uma vez")  # type: ignore[arg-type]
            earlier = copies.copy()
            stack.evolution.inject_fault("hang", path="/message/", count=1)
            for name in (database, f"{database.rpartition('/')[0]}/{earlier}"):
                async with await connect(name) as conn:
                    await conn.execute("update zapline.units set paused_at = null")
            stack.senders.wake(id)
            await stack.wait_until(lambda: len(stack.received_texts()) + stack.counters.total("calls_started") > 0)
            await stack.wait_for_rows("select state from zapline.outbox", ("leased",))
        copies.set_back(earlier)
        async with outbound_stack(database, tmp_path) as stack:
            await stack.wait_for_rows("select state, failure from zapline.outbox", ("uncertain", "crashed"))
            assert stack.counters.total("units_set_back") == 1
            assert len(stack.received_texts()) <= 1


async def test_an_echo_is_not_stored_before_a_database_that_lost_the_claim_alone_knows_of_it_again(
    database: str, tmp_path: Path
) -> None:
    async with outbound_stack(database, tmp_path, call=1.0) as stack:
        unit = await stack.add_unit()
        stack.evolution.inject_fault("hang", path="/message/", count=1)
        (sent,) = await stack.enqueue(unit, "uma vez")
        await stack.wait_until(lambda: stack.counters.total("calls_started") > 0)
        assert unit.stored.last_claim == (sent, 1)
        stack.senders._context.may_write = trio.sleep_forever  # the sender itself does not look
        async with stack.pool.connection() as conn:
            await conn.execute("delete from zapline.attempts")
            await conn.execute("update zapline.outbox set state = 'queued', fence = 0, lease_until = null")
        echo = text("ECO", "uma vez")
        body = {
            "event": "messages.upsert",
            "instance": "loja",
            "data": {**echo, "key": {**echo["key"], "fromMe": True}},
        }  # type: ignore[dict-item]
        assert await stack.intake.accept(unit, "messages.upsert", msgspec.json.encode(body))
        await stack.wait_until(lambda: stack.counters.total("standing_checks") > 0)
        own = "select id from zapline.messages"
        assert await stack.rows(own) == [(sent,)]
        await stack.reload()
        await stack.journal.flush()
        await stack.wait_for_rows("select external_id from zapline.sightings", ("ECO",))  # until the call has ended
        assert await stack.rows(own) == [(sent,)]
        assert await stack.rows("select state, fence from zapline.outbox") == [("leased", 1)]
        assert unit.stored.last_claim is None


async def test_a_message_that_the_database_has_lost_and_is_told_of_anew_is_not_sent_again(
    database: str, tmp_path: Path
) -> None:
    """Also where claims were undone meanwhile, which leaves the fence raised: the journal could not be read."""
    sent, failed, asked = uuid4(), uuid4(), []
    states = "select state, fence, tries from zapline.outbox order by seq"
    with database_copies(database) as copies:
        async with outbound_stack(database, tmp_path) as stack:
            unit, last_call = await stack.add_unit(), stack.intake.last_call

            async def refuse_twice(message: UUID) -> bytes | None:
                asked.append(message)
                if len(asked) <= 2:
                    raise JournalRefused("planted: the journal cannot be read")
                return await last_call(message)

            await stack.wait_until_idle()
            earlier = copies.copy()
            await stack.wait_for_rows("select count(*) from zapline.outbox", (0,))
            await stack.enqueue(unit, "de campanha", id=sent)
            await stack.wait_for_rows(SETTLED, (1,))
            stack.evolution.inject_fault("error", path="/message/", count=1)
            await stack.enqueue(unit, "depois", id=failed)
            await stack.wait_until(lambda: stack.counters.total("calls_ended") > 1)
            await stack.journal.flush()
            copies.set_back(earlier)
            await stack.wait_for_rows("select count(*) from zapline.outbox", (0,))
            await wait_for_refusal(stack, unit)
            await stack.reload()
            await stack.wait_until(lambda: unit.catching_up is None)
            stack.intake.last_call = refuse_twice  # type: ignore[method-assign]
            await stack.enqueue(unit, "de campanha", id=sent)
            await stack.enqueue(unit, "depois", id=failed)
            await stack.wait_for_rows(states, ("settled", 1, 0), ("settled", 2, 1))
            assert stack.counters.total("calls_known") == 2
            assert stack.received_texts() == ["de campanha", "depois"]
            assert await stack.rows("select count(*) from zapline.attempts") == [(3,)]
            assert stack.counters.total("claims_given_back") == 2


async def test_a_process_whose_epoch_is_over_claims_and_stores_nothing(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        async with await connect(database) as conn:
            stack.standing.epoch, _ = await take_epoch(conn, stack.process, 0)
        await stack.enqueue(unit, "minha")
        await stack.wait_until_idle()
        async with await connect(database) as conn:  # another one leads, and our connections live on
            assert (await take_epoch(conn, stack.process, 0))[0] > stack.standing.epoch
        before = await stack.rows("select applied_seq from zapline.unit_whatsapp_connections")
        await stack.enqueue(unit, "de outro")
        await wait_for_refusal(stack, unit)
        body = {"event": "messages.upsert", "instance": "loja", "data": text("IN")}
        assert await stack.intake.accept(unit, "messages.upsert", msgspec.json.encode(body))
        refused = stack.counters.total("standing_checks")
        await stack.wait_until(lambda: stack.counters.total("standing_checks") > refused)
        assert await stack.rows("select from zapline.messages where external_id = 'IN'") == []
        assert stack.received_texts() == ["minha"]
        assert await stack.rows("select applied_seq from zapline.unit_whatsapp_connections") == before


async def test_a_process_that_stood_still_after_its_claim_does_not_call(database: str, tmp_path: Path) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        note, slept = stack.intake.note, 0

        async def stand_still(*arguments: object) -> bool:
            nonlocal slept
            slept += 1
            context = stack.senders._context
            if slept == 1:
                context.clock = lambda: time.time() + CALL_WITHIN + 1
            return await note(*arguments)  # type: ignore[arg-type]

        stack.intake.note = stand_still  # type: ignore[method-assign]
        await stack.enqueue(unit, "uma vez")
        await stack.wait_for_rows(SETTLED, (1,))
        assert stack.counters.total("calls_too_late") == 1
        assert stack.received_texts() == ["uma vez"]
        assert await stack.rows("select tries from zapline.outbox") == [(0,)]
        slept, stack.senders._context.clock = 1, time.time

        async def lose_the_lead(*arguments: object) -> bool:
            nonlocal slept
            slept += 1
            stack.standing.proven_until = -inf if slept == 2 else inf
            return await note(*arguments)  # type: ignore[arg-type]

        stack.intake.note = lose_the_lead  # type: ignore[method-assign]
        await stack.enqueue(unit, "e outra")
        await stack.wait_for_rows(SETTLED, (2,))
        assert (stack.counters.total("calls_too_late"), stack.received_texts()) == (2, ["uma vez", "e outra"])


@contextmanager
def calls_refused(journal: Path) -> Iterator[None]:
    """Have the journal's file take everything but notes of calls, until the block ends."""
    with closing(sqlite3.connect(journal, isolation_level=None, timeout=30)) as other:
        other.execute(
            "create trigger refusal before insert on entries when new.event = '!call'"
            " begin select raise(abort, 'refused'); end"
        )
        yield
        other.execute("drop trigger refusal")


async def test_no_call_is_made_that_the_journal_cannot_note_and_what_waits_leaves_by_itself(
    database: str, tmp_path: Path
) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        with calls_refused(stack.journal._file.path):
            waiting = await stack.enqueue(unit, "um", "dois")
            await stack.enqueue(unit, "tarde demais", expires_in=0.5)
            await stack.wait_until(lambda: stack.counters.total("calls_held") > 1)
            await stack.wait_for_rows(
                "select state, tries, failure from zapline.outbox order by seq",
                *[("queued", 0, None), ("queued", 0, None), ("expired", 0, "expired")],
            )
            status = stack.senders.status(unit.id)
            assert (status.state, status.reason) == (SenderActivity.PAUSED, DISK_REFUSES)
            assert stack.senders.held_since is not None
            held = stack.counters.total("calls_held")
            await stack.wait_until(lambda: stack.counters.total("calls_held") > held)
            assert stack.received_texts() == []
        await stack.wait_until(lambda: len(stack.received_texts()) == len(waiting))
        await stack.wait_until_idle()
        assert stack.received_texts() == ["um", "dois"]
        assert stack.senders.held_since is None
        assert await stack.rows("select count(*) from zapline.attempts") == [(2,)]
        assert stack.counters.total("leases_rescued") == 0


def test_health_fails_while_sending_is_held() -> None:
    for held, verdict in ((False, "pass"), (True, "fail")):
        checks = check_outbound(OutboundReport(None, sends_held=held), Counters(lambda: 0.0))
        assert [check.verdict.value for check in checks if check.name == "sendsHeld"] == [verdict]


async def test_a_hold_ends_with_its_cause_also_where_another_process_leads_meanwhile(
    database: str, tmp_path: Path
) -> None:
    async with outbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        with calls_refused(stack.journal._file.path):
            await stack.enqueue(unit, "um")
            await stack.wait_until(lambda: stack.senders.held_since is not None)
            stack.senders._context.may_write = trio.sleep_forever
        await stack.wait_until(lambda: stack.senders.held_since is None)
