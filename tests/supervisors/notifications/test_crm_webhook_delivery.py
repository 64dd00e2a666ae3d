"""Webhooks to a real receiver: at least once, signed, each hook by itself, whatever the CRM answers."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio
from support.crm_receiver import CrmReceiver, ReceivedCall, crm_receiver, response
from support.outbound_stack import always_may_write

from zapline.crm.webhook_client import open_crm_client
from zapline.domain import crm_webhooks as policy
from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.crm_webhooks import DISABLE_AFTER_DAYS, PAUSE_AFTER_FAILURES, CrmWebhookEvent
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.messages.facts import MessageArrived, MessageDeleted, MessageFact, MessageKind
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import prepare_batch
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import insert_unit
from zapline.supervisors.counters import Counters
from zapline.supervisors.notifications import crm_webhook_delivery
from zapline.supervisors.notifications.crm_webhook_commands import (
    KEY_GRACE,
    AskedHook,
    CrmWebhooks,
    HookDisabled,
    UnknownDelivery,
)
from zapline.supervisors.notifications.crm_webhook_delivery import CrmWebhookDelivery
from zapline.supervisors.notifications.hook_headers import HeaderSealer
from zapline.supervisors.outbound.media_url_check import resolve_host


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two queries for due deliveries."""
    monkeypatch.setattr(crm_webhook_delivery, "_MIN_PAUSE", 0.01)


SEALER = HeaderSealer(bytes(32))


def key_of(hook: UUID, generation: int) -> bytes:
    return hook.bytes + bytes([generation])


@dataclass
class DeliveryStack:
    """The running delivery, a CRM, and a unit with events."""

    url: str
    crm: CrmReceiver
    pool: Pool
    webhooks: CrmWebhooks
    delivery: CrmWebhookDelivery
    unit: UnitId
    counters: Counters
    secrets: dict[UUID, str] = field(default_factory=dict)
    clock_offset: float = 0.0
    """Seconds by which the clock of the delivery is ahead."""

    async def hook(self, path: str = "/hook", *events: CrmWebhookEvent) -> UUID:
        hook, secret = await self.webhooks.create(
            self.unit, AskedHook(self.crm.url + path, events or tuple(CrmWebhookEvent))
        )
        self.secrets[hook.id] = secret
        return hook.id

    async def happen(self, *facts: MessageFact) -> None:
        """Store facts as the recorder does, and wake the delivery."""
        entries = [EntryFacts(Seq(n + 1), "x", time.time(), b"{}", facts=(fact,)) for n, fact in enumerate(facts)]
        async with await connect(self.url, role="zapline_engine") as conn:
            await record(conn, [prepare_batch(self.unit, entries, None, None, UUID(int=1))], RecorderCache())
        self.delivery.wake(self.unit)

    async def arrive(self, *ids: str) -> None:
        chat = resolve_address("5511999990001@s.whatsapp.net")
        assert chat is not None
        await self.happen(
            *(MessageArrived(ExternalId(id), chat, from_me=False, kind=MessageKind.TEXT, text=f"oi {id}") for id in ids)
        )

    async def pass_by(self, seconds: float, hook: UUID, query: str, *wanted: tuple[Any, ...]) -> None:
        """Let so much time pass, and wait for the outcome; no rest of the hook, whenever it begins, lasts meanwhile."""
        self.clock_offset += seconds
        with trio.fail_after(30):
            while await self.rows(query) != list(wanted):
                self.delivery.hook_changed(hook)
                await trio.sleep(0.01)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return [tuple(row) for row in await conn.fetch(query)]

    async def expect_due(self, started: float, wait: float) -> None:
        """The tried delivery is due ``wait`` seconds after a moment between ``started`` and now."""
        query = "select extract(epoch from due_at)::float8 from zapline.hook_deliveries where tries = 1"
        ((due_at,),) = await self.rows(query)
        assert started + wait - 0.01 <= due_at <= time.time() + wait + 0.01

    async def wait_for_rows(self, query: str, *wanted: tuple[Any, ...]) -> None:
        with trio.fail_after(30):
            while await self.rows(query) != list(wanted):  # noqa: ASYNC110
                await trio.sleep(0.01)


LATER = "update zapline.hook_deliveries set due_at = now() + interval '5 hours'"
DELIVERIES = "select state, tries, last_status, last_error from zapline.hook_deliveries order by seq"


@asynccontextmanager
async def delivery_stack(url: str, run: bool = True, call: float = 2.0) -> AsyncIterator[DeliveryStack]:
    unit, counters = UnitId(uuid4()), Counters(trio.current_time)
    async with await connect(url, role="zapline_engine") as conn:
        await insert_unit(
            conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="America/Sao_Paulo"
        )
    async with (
        crm_receiver() as crm,
        Pool.open(url, size=3, patience=2.0, role="zapline_engine") as pool,
        open_crm_client(time.time, resolve_host, private=True, timeout=call) as client,
        trio.open_nursery() as nursery,
    ):

        def clock() -> float:
            return time.time() + stack.clock_offset

        parts = (pool, client, always_may_write, key_of, SEALER)
        delivery = CrmWebhookDelivery(*parts, counters, clock, draw_spread=lambda: 0.0)
        webhooks = CrmWebhooks(
            *(pool, lambda unit: unit, key_of, SEALER, delivery.hook_changed), private=True, clock=clock
        )
        stack = DeliveryStack(url, crm, pool, webhooks, delivery, unit, counters)
        if run:
            nursery.start_soon(delivery.run)
        yield stack
        nursery.cancel_scope.cancel()


async def test_a_message_is_delivered_in_the_apis_own_shape_and_its_signature_verifies(database: str) -> None:
    async with delivery_stack(database) as stack:
        hook, started = await stack.hook(), time.time()
        await stack.arrive("A", "B")
        first, second = await stack.crm.wait_for_calls(2)
        assert [call.payload["data"]["text"] for call in (first, second)] == ["oi A", "oi B"]
        body = first.payload
        assert (body["type"], body["timestamp"][-1]) == ("message.received", "Z")
        data = body["data"]
        assert (data["unitId"], data["phone"], data["fromMe"]) == (str(stack.unit), "+5511999990001", False)
        assert second.payload["data"]["seq"] > data["seq"]
        assert first.id.startswith("msg_")
        assert first.id != second.id
        assert int(started) <= int(first.headers["webhook-timestamp"]) <= time.time()
        assert first.headers["content-type"] == "application/json"
        assert first.signed_with(stack.secrets[hook])
        assert not ReceivedCall(first.path, first.headers, first.body + b" ").signed_with(stack.secrets[hook])
        await stack.wait_for_rows(DELIVERIES, *[("delivered", 1, 204, None)] * 2)
        await stack.happen(MessageDeleted(ExternalId("A")))
        (deleted,) = (await stack.crm.wait_for_calls(3))[2:]
        assert (deleted.payload["type"], deleted.payload["data"]["messageId"]) == ("message.deleted", data["id"])
        assert "oi A" not in deleted.body.decode()


async def test_what_fails_is_tried_again_ends_dead_and_can_be_replayed_under_its_id(database: str) -> None:
    async with delivery_stack(database) as stack:
        hook = await stack.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        stack.crm.respond("/hook", response(500))
        started = time.time()
        await stack.arrive("A")
        await stack.wait_for_rows(DELIVERIES, ("queued", 1, 500, "status_500"))
        await stack.expect_due(started, 5)
        tries, state = 1, "queued"
        while state == "queued":
            tries += 1
            state = "queued" if policy.retry_delay(tries, 0.0) is not None else "dead"
            await stack.pass_by(7 * 3600, hook, DELIVERIES, (state, tries, 500, "status_500"))
        assert len(stack.crm.calls) == tries
        stack.crm.respond("/hook", response(200))
        assert await stack.webhooks.replay_dead(stack.unit, hook, time.time() - 60) == 1
        calls = await stack.crm.wait_for_calls(tries + 1)
        assert {call.id for call in calls} == {calls[0].id}
        await stack.wait_for_rows(DELIVERIES, ("delivered", 1, 200, None))
        ((id,),) = await stack.rows("select id from zapline.hook_deliveries")
        await stack.webhooks.replay(stack.unit, hook, id)
        assert (await stack.crm.wait_for_calls(tries + 2))[-1].id == calls[0].id
        with pytest.raises(UnknownDelivery):
            await stack.webhooks.replay(stack.unit, hook, uuid4())


async def test_one_that_hangs_holds_up_no_other_hook(database: str) -> None:
    async def never(call: ReceivedCall) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with delivery_stack(database, call=30.0) as stack:
        await stack.hook("/hangs")
        await stack.hook("/works")
        stack.crm.responders["/hangs"] = never
        for number in range(5):
            await stack.arrive(f"A{number}")
        works = await stack.crm.wait_for_calls(5, "/works")
        assert [call.payload["data"]["text"] for call in works] == [f"oi A{number}" for number in range(5)]
        assert len(stack.crm.calls_to("/hangs")) == 1


async def test_a_host_that_hangs_for_many_hooks_leaves_room_for_others(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(call: ReceivedCall) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(crm_webhook_delivery, "MAX_CALLS", 3)
    monkeypatch.setattr(crm_webhook_delivery, "MAX_CALLS_PER_HOST", 2)
    async with delivery_stack(database, call=30.0) as stack, crm_receiver() as other:
        for number in range(5):
            path = f"/{number}"
            await stack.hook(path)
            stack.crm.responders[path] = never
        await stack.webhooks.create(stack.unit, AskedHook(other.url, tuple(CrmWebhookEvent)))
        await stack.arrive("A")
        await other.wait_for_calls(1)
        await stack.crm.wait_for_calls(2)
        await trio.sleep(0.1)
        assert len(stack.crm.calls) == 2


async def test_a_failing_crm_rests_and_gets_all_that_waits_once_it_answers(database: str) -> None:
    async with delivery_stack(database) as stack:
        await stack.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        stack.crm.respond("/hook", response(503))
        await stack.arrive(*"ABCDEFGH")
        await stack.crm.wait_for_calls(PAUSE_AFTER_FAILURES)
        await trio.sleep(0.1)
        assert len(stack.crm.calls) == PAUSE_AFTER_FAILURES  # the others are not worn out by it
        await stack.rows(f"{LATER} where tries > 0 returning 1")
        stack.crm.respond("/hook", response(204))
        await stack.wait_for_rows("select count(*) from zapline.hook_deliveries where state = 'delivered'", (8,))
        assert {call.payload["data"]["text"] for call in stack.crm.calls} == {f"oi {id}" for id in "ABCDEFGH"}
        await stack.wait_for_rows("select failing_since from zapline.hooks", (None,))


async def test_a_crm_that_asks_for_time_gets_it(database: str) -> None:
    async with delivery_stack(database) as stack:
        await stack.hook()
        stack.crm.respond("/hook", response(429, "Retry-After: 600"))
        started = time.time()
        await stack.arrive("A", "B")
        await stack.wait_for_rows(
            "select tries, last_status from zapline.hook_deliveries order by seq", (1, 429), (0, None)
        )
        await stack.expect_due(started, 600)
        await trio.sleep(0.1)
        assert len(stack.crm.calls) == 1


async def test_410_and_days_of_failures_disable_a_hook_until_somebody_enables_it(database: str) -> None:
    async with delivery_stack(database) as stack:
        gone = await stack.hook("/gone")
        stack.crm.respond("/gone", response(410))
        await stack.arrive("A")
        await stack.wait_for_rows(
            "select h.disabled_reason, d.state from zapline.hooks h join zapline.hook_deliveries d on d.hook_id = h.id",
            ("gone", "dead"),
        )
        with pytest.raises(HookDisabled):
            await stack.webhooks.send_test(stack.unit, gone)
        await stack.arrive("B")
        assert await stack.rows("select count(*) from zapline.hook_deliveries") == [(1,)]
        stack.crm.respond("/gone", response(204))
        await stack.webhooks.enable(stack.unit, gone)
        await stack.webhooks.send_test(stack.unit, gone)
        await stack.crm.wait_for_calls(2)
        assert stack.crm.calls[1].payload["type"] == "hook.test"

        ill = await stack.hook("/ill")
        stack.crm.respond("/ill", response(500))
        await stack.arrive(*"CDE")
        await stack.crm.wait_for_calls(PAUSE_AFTER_FAILURES, "/ill")
        await stack.wait_for_rows("select disabled_at from zapline.hooks where failing_since is not null", (None,))
        query = "select disabled_reason from zapline.hooks where url like '%/ill'"
        await stack.pass_by((DISABLE_AFTER_DAYS + 0.1) * 86_400, ill, query, ("failing",))


async def test_a_hook_without_events_for_days_is_not_disabled_by_an_old_failure(database: str) -> None:
    answers = iter([500, 204, 500, 500, 500])

    async def one_after_the_other(call: ReceivedCall) -> bytes:
        return response(next(answers, 204))

    async with delivery_stack(database) as stack:
        await stack.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        long_ago = f"now() - {DISABLE_AFTER_DAYS + 1} * interval '1 day'"
        await stack.rows(f"update zapline.hooks set failing_since = {long_ago} returning 1")
        stack.crm.responders["/hook"] = one_after_the_other
        await stack.arrive(*"ABCDE")  # one failure, a success, and then so many that it is an ill one of a moment ago
        await stack.crm.wait_for_calls(5)
        await stack.wait_for_rows("select count(*) from zapline.hook_deliveries where last_error is not null", (4,))
        await trio.sleep(0.2)
        assert await stack.rows(
            "select disabled_reason, failing_since > now() - interval '1 minute' from zapline.hooks"
        ) == [(None, True)]


async def test_a_clock_behind_the_databases_keeps_nothing_waiting(database: str) -> None:
    async with delivery_stack(database) as stack:
        stack.clock_offset = -600.0
        await stack.hook()
        stack.crm.respond("/hook", response(500))
        await stack.arrive("A")
        await stack.wait_for_rows(
            "select tries, due_at > now() + interval '3 seconds' from zapline.hook_deliveries", (1, True)
        )
        await stack.arrive("B")
        await stack.crm.wait_for_calls(2)


async def test_a_test_that_arrives_brings_all_that_waits(database: str) -> None:
    async with delivery_stack(database) as stack:
        hook = await stack.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        stack.crm.respond("/hook", response(503))
        await stack.arrive(*"ABC")
        await stack.wait_for_rows("select count(*) from zapline.hook_deliveries where tries = 1", (3,))
        await stack.rows(f"{LATER} returning 1")
        stack.crm.respond("/hook", response(204))
        await stack.webhooks.send_test(stack.unit, hook)
        await stack.wait_for_rows("select count(*) from zapline.hook_deliveries where state = 'delivered'", (4,))


async def test_after_a_rotation_both_secrets_verify_for_a_day(database: str) -> None:
    async with delivery_stack(database) as stack:
        hook = await stack.hook()
        old = stack.secrets[hook]
        found, new = await stack.webhooks.rotate_key(stack.unit, hook)
        assert (found.key_generation, new != old) == (2, True)
        await stack.arrive("A")
        (call,) = await stack.crm.wait_for_calls(1)
        assert call.signed_with(old)
        assert call.signed_with(new)
        stack.clock_offset += KEY_GRACE + 1
        await stack.arrive("B")
        call = (await stack.crm.wait_for_calls(2))[1]
        assert call.signed_with(new)
        assert not call.signed_with(old)


async def test_a_kill_at_any_moment_loses_nothing(database: str) -> None:
    """Before the delivery starts, and while the CRM handles a call, which it then gets again with the same id."""
    asked = trio.Event()

    async def hold(call: ReceivedCall) -> bytes:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    async with delivery_stack(database, run=False) as stack:
        hook = await stack.hook()
        await stack.arrive("A")  # and nobody delivers
        stack.crm.responders["/hook"] = hold
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.delivery.run)
            await asked.wait()
            nursery.cancel_scope.cancel()
        assert await stack.rows("select state, tries from zapline.hook_deliveries") == [("queued", 0)]
        del stack.crm.responders["/hook"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.delivery.run)
            first, second = await stack.crm.wait_for_calls(2)
            assert first.id == second.id
            assert second.signed_with(stack.secrets[hook])
            await stack.wait_for_rows("select state from zapline.hook_deliveries", ("delivered",))
            nursery.cancel_scope.cancel()


async def test_a_process_that_lost_the_lead_for_a_while_queries_again_before_it_delivers(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, leading = trio.Event(), trio.Event()

    async def may_write() -> None:
        if "_serve_hook" in trio.lowlevel.current_task().name:
            reached.set()
            await leading.wait()

    async with delivery_stack(database, run=False) as stack:
        await stack.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        await stack.arrive("A")
        monkeypatch.setattr(crm_webhook_delivery, "_MAX_TURN", 0.0)
        monkeypatch.setattr(stack.delivery, "_may_write", may_write)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.delivery.run)
            await reached.wait()
            await stack.rows("update zapline.hook_deliveries set state = 'delivered', ended_at = now() returning 1")
            monkeypatch.setattr(crm_webhook_delivery, "_MAX_TURN", 30.0)  # of the turns after this one
            leading.set()
            await stack.arrive("B")
            (call,) = await stack.crm.wait_for_calls(1)
            assert call.payload["data"]["text"] == "oi B"
            nursery.cancel_scope.cancel()


async def test_a_deleted_message_is_not_delivered_and_old_deliveries_are_deleted(database: str) -> None:
    async with delivery_stack(database, run=False) as stack:
        await stack.hook()
        await stack.arrive("A", "B")
        await stack.rows("delete from zapline.messages where external_id = 'A' returning 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.delivery.run)
            await stack.wait_for_rows(DELIVERIES, ("dead", 0, None, "subject_gone"), ("delivered", 1, 204, None))
            nursery.cancel_scope.cancel()
        assert len(stack.crm.calls) == 1
        await stack.rows("update zapline.hook_deliveries set ended_at = ended_at - interval '25 hours' returning 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stack.delivery.run)
            await stack.wait_for_rows("select state from zapline.hook_deliveries", ("dead",))
            nursery.cancel_scope.cancel()


async def test_what_a_wrong_clock_has_put_off_by_weeks_is_due_once_it_is_right(database: str) -> None:
    async with delivery_stack(database, run=False) as stack, trio.open_nursery() as nursery:
        await stack.hook()
        await stack.arrive("A", "B")
        await stack.rows(
            "update zapline.hook_deliveries set due_at = now() + interval '40 days', tries = 1 returning id"
        )
        nursery.start_soon(stack.delivery.run)
        await stack.crm.wait_for_calls(2)
        await stack.wait_for_rows(DELIVERIES, *[("delivered", 2, 204, None)] * 2)
        assert stack.counters.total("misdated") == 2
        nursery.cancel_scope.cancel()
