"""The courier against a real receiver: at least once, signed, each hook by itself, whatever the CRM answers."""

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
from zapline.supervisors.notifications.crm_webhook_commands import KEY_GRACE, CrmWebhooks, HookDisabled, UnknownDelivery
from zapline.supervisors.notifications.crm_webhook_delivery import CrmWebhookDelivery
from zapline.supervisors.outbound.media_url_check import resolve_host


def key_of(hook: UUID, generation: int) -> bytes:
    return hook.bytes + bytes([generation])


@dataclass
class Post:
    """The running courier, a CRM, and a unit that things happen to."""

    url: str
    crm: CrmReceiver
    pool: Pool
    hooks: CrmWebhooks
    courier: CrmWebhookDelivery
    unit: UnitId
    counters: Counters
    secrets: dict[UUID, str] = field(default_factory=dict)
    late: float = 0.0
    """Seconds by which the courier's clock is late or early."""

    async def hook(self, path: str = "/hook", *events: CrmWebhookEvent) -> UUID:
        made, secret = await self.hooks.create(self.unit, self.crm.url + path, events or tuple(CrmWebhookEvent))
        self.secrets[made.id] = secret
        return made.id

    async def happen(self, *facts: MessageFact) -> None:
        """Store facts as the recorder does, and ring as those who are told do."""
        entries = [EntryFacts(Seq(n + 1), "x", time.time(), b"{}", facts=(fact,)) for n, fact in enumerate(facts)]
        async with await connect(self.url, role="zapline_engine") as conn:
            await record(conn, [prepare_batch(self.unit, entries, None, None, UUID(int=1))], RecorderCache())
        self.courier.wake(self.unit)

    async def arrive(self, *ids: str) -> None:
        chat = resolve_address("5511999990001@s.whatsapp.net")
        assert chat is not None
        await self.happen(
            *(MessageArrived(ExternalId(id), chat, from_me=False, kind=MessageKind.TEXT, text=f"oi {id}") for id in ids)
        )

    async def pass_by(self, seconds: float) -> None:
        """Let so much time pass."""
        self.late += seconds
        self.courier.hook_changed()

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return [tuple(row) for row in await conn.fetch(query)]

    async def until_rows(self, query: str, *wanted: tuple[Any, ...]) -> None:
        with trio.fail_after(10):
            while await self.rows(query) != list(wanted):  # noqa: ASYNC110
                await trio.sleep(0.01)


LATER = "update zapline.hook_deliveries set due_at = now() + interval '5 hours'"
DELIVERIES = "select state, tries, last_status, last_error from zapline.hook_deliveries order by seq"


@asynccontextmanager
async def posting(url: str, run: bool = True, call: float = 2.0) -> AsyncIterator[Post]:
    unit, counters = UnitId(uuid4()), Counters(trio.current_time)
    async with await connect(url, role="zapline_engine") as conn:
        await insert_unit(
            conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="America/Sao_Paulo"
        )
    async with (
        crm_receiver() as at,
        Pool.open(url, size=3, patience=2.0, role="zapline_engine") as pool,
        open_crm_client(time.time, resolve_host, private=True, call=call) as client,
        trio.open_nursery() as nursery,
    ):

        def clock() -> float:
            return time.time() + made.late

        carrier = CrmWebhookDelivery(pool, client, always_may_write, key_of, counters, clock, draw_spread=lambda: 0.0)
        asking = CrmWebhooks(pool, lambda unit: unit, key_of, carrier.hook_changed, private=True, clock=clock)
        made = Post(url, at, pool, asking, carrier, unit, counters)
        if run:
            nursery.start_soon(carrier.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_a_message_is_delivered_in_the_apis_own_shape_and_its_signature_verifies(database: str) -> None:
    async with posting(database) as post:
        hook = await post.hook()
        await post.arrive("A", "B")
        first, second = await post.crm.wait_for_calls(2)
        assert [call.payload["data"]["text"] for call in (first, second)] == ["oi A", "oi B"]
        told = first.told
        assert (told["type"], told["timestamp"][-1]) == ("message.received", "Z")
        data = told["data"]
        assert (data["unitId"], data["phone"], data["fromMe"]) == (str(post.unit), "+5511999990001", False)
        assert second.payload["data"]["seq"] > data["seq"]
        assert first.id.startswith("msg_")
        assert first.id != second.id
        assert abs(time.time() - int(first.headers["webhook-timestamp"])) < 10
        assert first.headers["content-type"] == "application/json"
        assert first.signed_with(post.secrets[hook])
        assert not ReceivedCall(first.path, first.headers, first.body + b" ").signed_with(post.secrets[hook])
        await post.until_rows(DELIVERIES, *[("delivered", 1, 204, None)] * 2)
        await post.happen(MessageDeleted(ExternalId("A")))
        (deleted,) = (await post.crm.wait_for_calls(3))[2:]
        assert (deleted.payload["type"], deleted.payload["data"]["messageId"]) == ("message.deleted", data["id"])
        assert "oi A" not in deleted.body.decode()


async def test_what_fails_is_tried_again_ends_dead_and_can_be_replayed_under_its_id(database: str) -> None:
    async with posting(database) as post:
        hook = await post.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        post.crm.respond("/hook", response(500))
        await post.arrive("A")
        await post.until_rows(DELIVERIES, ("queued", 1, 500, "status_500"))
        ((wait,),) = await post.rows("select extract(epoch from due_at - now())::float8 from zapline.hook_deliveries")
        assert 3 < wait <= 5
        tries, state = 1, "queued"
        while state == "queued":
            await post.pass_by(7 * 3600)
            post.courier.hook_changed(hook)
            tries += 1
            state = "queued" if policy.retry_delay(tries, 0.0) is not None else "dead"
            await post.until_rows(DELIVERIES, (state, tries, 500, "status_500"))
        assert len(post.crm.calls) == tries
        post.crm.respond("/hook", response(200))
        assert await post.hooks.replay_dead(post.unit, hook, time.time() - 60) == 1
        calls = await post.crm.wait_for_calls(tries + 1)
        assert {call.id for call in calls} == {calls[0].id}
        await post.until_rows(DELIVERIES, ("delivered", 1, 200, None))
        ((id,),) = await post.rows("select id from zapline.hook_deliveries")
        await post.hooks.replay(post.unit, hook, id)
        assert (await post.crm.wait_for_calls(tries + 2))[-1].id == calls[0].id
        with pytest.raises(UnknownDelivery):
            await post.hooks.replay(post.unit, hook, uuid4())


async def test_one_that_hangs_holds_up_no_other_hook(database: str) -> None:
    async def never(call: ReceivedCall) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with posting(database, call=30.0) as post:
        await post.hook("/hangs")
        await post.hook("/works")
        post.crm.responders["/hangs"] = never
        for number in range(5):
            await post.arrive(f"A{number}")
        with trio.fail_after(5):
            works = await post.crm.wait_for_calls(5, "/works")
        assert [call.payload["data"]["text"] for call in works] == [f"oi A{number}" for number in range(5)]
        assert len(post.crm.calls_to("/hangs")) == 1


async def test_a_host_that_hangs_for_many_hooks_leaves_room_for_others(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(call: ReceivedCall) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(crm_webhook_delivery, "AT_ONCE", 3)
    monkeypatch.setattr(crm_webhook_delivery, "OF_HOST", 2)
    async with posting(database, call=30.0) as post, crm_receiver() as other:
        for number in range(5):
            path = f"/{number}"
            await post.hook(path)
            post.crm.responders[path] = never
        await post.hooks.create(post.unit, other.url, tuple(CrmWebhookEvent))
        await post.arrive("A")
        await other.wait_for_calls(1)
        await post.crm.wait_for_calls(2)
        await trio.sleep(0.3)
        assert len(post.crm.calls) == 2


async def test_an_ill_crm_rests_and_gets_all_that_waits_once_it_answers(database: str) -> None:
    async with posting(database) as post:
        await post.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        post.crm.respond("/hook", response(503))
        await post.arrive(*"ABCDEFGH")
        await post.crm.wait_for_calls(PAUSE_AFTER_FAILURES)
        await trio.sleep(0.3)
        assert len(post.crm.calls) == PAUSE_AFTER_FAILURES  # the others are not worn out by it
        await post.rows(f"{LATER} where tries > 0 returning 1")
        post.crm.respond("/hook", response(204))
        await post.until_rows("select count(*) from zapline.hook_deliveries where state = 'delivered'", (8,))
        assert {call.payload["data"]["text"] for call in post.crm.calls} == {f"oi {id}" for id in "ABCDEFGH"}
        await post.until_rows("select failing_since from zapline.hooks", (None,))


async def test_a_crm_that_asks_for_time_gets_it(database: str) -> None:
    async with posting(database) as post:
        await post.hook()
        post.crm.respond("/hook", response(429, "Retry-After: 600"))
        await post.arrive("A", "B")
        await post.until_rows(
            "select tries, last_status from zapline.hook_deliveries order by seq", (1, 429), (0, None)
        )
        ((wait,),) = await post.rows(
            "select extract(epoch from due_at - now())::float8 from zapline.hook_deliveries where tries = 1"
        )
        assert 590 < wait <= 600
        await trio.sleep(0.5)
        assert len(post.crm.calls) == 1


async def test_410_and_days_of_failures_disable_a_hook_until_somebody_enables_it(database: str) -> None:
    async with posting(database) as post:
        gone = await post.hook("/gone")
        post.crm.respond("/gone", response(410))
        await post.arrive("A")
        await post.until_rows(
            "select h.disabled_reason, d.state from zapline.hooks h join zapline.hook_deliveries d on d.hook_id = h.id",
            ("gone", "dead"),
        )
        with pytest.raises(HookDisabled):
            await post.hooks.send_test(post.unit, gone)
        await post.arrive("B")
        assert await post.rows("select count(*) from zapline.hook_deliveries") == [(1,)]
        post.crm.respond("/gone", response(204))
        await post.hooks.enable(post.unit, gone)
        await post.hooks.send_test(post.unit, gone)
        await post.crm.wait_for_calls(2)
        assert post.crm.calls[1].payload["type"] == "hook.test"

        ill = await post.hook("/ill")
        post.crm.respond("/ill", response(500))
        await post.arrive(*"CDE")
        await post.crm.wait_for_calls(PAUSE_AFTER_FAILURES, "/ill")
        await post.until_rows("select disabled_at from zapline.hooks where failing_since is not null", (None,))
        await post.pass_by((DISABLE_AFTER_DAYS + 0.1) * 86_400)
        post.courier.hook_changed(ill)
        await post.until_rows("select disabled_reason from zapline.hooks where url like '%/ill'", ("failing",))


async def test_a_hook_that_was_told_nothing_for_days_is_not_disabled_by_what_failed_before(database: str) -> None:
    answers = iter([500, 204, 500, 500, 500])

    async def one_after_the_other(call: ReceivedCall) -> bytes:
        return response(next(answers, 204))

    async with posting(database) as post:
        await post.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        long_ago = f"now() - {DISABLE_AFTER_DAYS + 1} * interval '1 day'"
        await post.rows(f"update zapline.hooks set failing_since = {long_ago} returning 1")
        post.crm.responders["/hook"] = one_after_the_other
        await post.arrive(*"ABCDE")  # one failure, a success, and then so many that it is an ill one of a moment ago
        await post.crm.wait_for_calls(5)
        await post.until_rows("select count(*) from zapline.hook_deliveries where last_error is not null", (4,))
        await trio.sleep(0.2)
        assert await post.rows(
            "select disabled_reason, failing_since > now() - interval '1 minute' from zapline.hooks"
        ) == [(None, True)]


async def test_a_clock_behind_the_databases_keeps_nothing_waiting(database: str) -> None:
    async with posting(database) as post:
        post.late = -600.0
        await post.hook()
        post.crm.respond("/hook", response(500))
        await post.arrive("A")
        await post.until_rows(
            "select tries, due_at > now() + interval '3 seconds' from zapline.hook_deliveries", (1, True)
        )
        await post.arrive("B")
        await post.crm.wait_for_calls(2)


async def test_a_test_that_arrives_brings_all_that_waits(database: str) -> None:
    async with posting(database) as post:
        hook = await post.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        post.crm.respond("/hook", response(503))
        await post.arrive(*"ABC")
        await post.until_rows("select count(*) from zapline.hook_deliveries where tries = 1", (3,))
        await post.rows(f"{LATER} returning 1")
        post.crm.respond("/hook", response(204))
        await post.hooks.send_test(post.unit, hook)
        await post.until_rows("select count(*) from zapline.hook_deliveries where state = 'delivered'", (4,))


async def test_after_a_rotation_both_secrets_verify_for_a_day(database: str) -> None:
    async with posting(database) as post:
        hook = await post.hook()
        old = post.secrets[hook]
        found, new = await post.hooks.rotate_key(post.unit, hook)
        assert (found.key_generation, new != old) == (2, True)
        await post.arrive("A")
        (call,) = await post.crm.wait_for_calls(1)
        assert call.signed_with(old)
        assert call.signed_with(new)
        await post.pass_by(KEY_GRACE + 1)
        await post.arrive("B")
        call = (await post.crm.wait_for_calls(2))[1]
        assert call.signed_with(new)
        assert not call.signed_with(old)


async def test_a_kill_at_any_moment_loses_nothing(database: str) -> None:
    """Before the courier knows of a fact; and while the CRM has it in hand, which it then gets again, same id."""
    asked = trio.Event()

    async def hold(call: ReceivedCall) -> bytes:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    async with posting(database, run=False) as post:
        hook = await post.hook()
        await post.arrive("A")  # and nobody delivers
        post.crm.responders["/hook"] = hold
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.courier.run)
            await asked.wait()
            nursery.cancel_scope.cancel()
        assert await post.rows("select state, tries from zapline.hook_deliveries") == [("queued", 0)]
        del post.crm.responders["/hook"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.courier.run)
            first, second = await post.crm.wait_for_calls(2)
            assert first.id == second.id
            assert second.signed_with(post.secrets[hook])
            await post.until_rows("select state from zapline.hook_deliveries", ("delivered",))
            nursery.cancel_scope.cancel()


async def test_who_may_not_write_for_a_while_looks_again_before_he_delivers(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, leading = trio.Event(), trio.Event()

    async def may_write() -> None:
        if "_serve_hook" in trio.lowlevel.current_task().name:
            reached.set()
            await leading.wait()

    async with posting(database, run=False) as post:
        await post.hook("/hook", CrmWebhookEvent.MESSAGE_RECEIVED)
        await post.arrive("A")
        monkeypatch.setattr(crm_webhook_delivery, "_MAX_TURN", 0.2)
        monkeypatch.setattr(post.courier, "_may_write", may_write)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.courier.run)
            await reached.wait()
            await post.rows("update zapline.hook_deliveries set state = 'delivered', ended_at = now() returning 1")
            await trio.sleep(0.25)
            leading.set()
            await post.arrive("B")
            (call,) = await post.crm.wait_for_calls(1)
            assert call.payload["data"]["text"] == "oi B"
            nursery.cancel_scope.cancel()


async def test_what_is_gone_is_not_told_and_what_is_old_is_forgotten(database: str) -> None:
    async with posting(database, run=False) as post:
        await post.hook()
        await post.arrive("A", "B")
        await post.rows("delete from zapline.messages where external_id = 'A' returning 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.courier.run)
            await post.until_rows(DELIVERIES, ("dead", 0, None, "subject_gone"), ("delivered", 1, 204, None))
            nursery.cancel_scope.cancel()
        assert len(post.crm.calls) == 1
        await post.rows("update zapline.hook_deliveries set ended_at = ended_at - interval '25 hours' returning 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post.courier.run)
            await post.until_rows("select state from zapline.hook_deliveries", ("dead",))
            nursery.cancel_scope.cancel()
