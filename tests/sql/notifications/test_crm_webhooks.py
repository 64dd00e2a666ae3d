"""The triggers that insert a hook's deliveries, in the transaction of the event."""

import itertools
import time
from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trio

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.campaigns.states import CampaignState
from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.crm_webhooks import CrmWebhookEvent
from zapline.domain.ids import ExternalId, Seq, UnitId
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import (
    MessageArrived,
    MessageDeleted,
    MessageEdited,
    MessageFact,
    MessageKind,
    ReactionReported,
    StatusReported,
    VoteReported,
)
from zapline.domain.outbox.contents import OutgoingMessage, Text
from zapline.sql.campaigns import campaigns
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.notifications import crm_webhooks
from zapline.sql.notifications.crm_webhooks import NewHook
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import archive_unit, insert_unit
from zapline.supervisors.notifications.crm_webhook_payloads import build_bodies

JOURNAL = UUID(int=1)
NOW = 1_795_364_000.0


async def make_unit(conn: Connection) -> UnitId:
    unit, zone = UnitId(uuid4()), "America/Sao_Paulo"
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone=zone)
    return unit


def write(unit: UnitId, facts: Iterable[MessageFact]) -> UnitBatch:
    entries = [EntryFacts(Seq(n + 1), "messages.upsert", NOW, b"{}", facts=(fact,)) for n, fact in enumerate(facts)]
    return prepare_batch(unit, entries, None, None, JOURNAL)


def message(identity: str, **more: Any) -> MessageArrived:
    chat = resolve_address("5511999990001@s.whatsapp.net")
    assert chat is not None
    fields: dict[str, Any] = {"kind": MessageKind.TEXT, "from_me": False, "sent_at": NOW, "text": "oi"}
    return MessageArrived(ExternalId(identity), chat, **(fields | more))


async def make_hook(conn: Connection, unit: UnitId, *events: str) -> UUID:
    hook = uuid4()
    asked = events or tuple(CrmWebhookEvent)
    assert await crm_webhooks.insert_hook(conn, unit, NewHook(hook, "https://crm.example.com/", asked), 10)
    return hook


async def deliveries_of(conn: Connection, hook: UUID) -> list[tuple[Any, ...]]:
    query = "select event, facts from zapline.hook_deliveries where hook_id = %s order by seq"
    return [tuple(row) for row in await conn.fetch(query, (hook,))]


async def test_every_event_of_a_message_is_delivered_once_and_only_to_its_units_hooks(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, other, known = await make_unit(conn), await make_unit(conn), RecorderCache()
        await record(conn, [write(unit, [message("before")])], known)
        everything, deleted_only = await make_hook(conn, unit), await make_hook(conn, unit, "message.deleted")
        elsewhere = await make_hook(conn, other)
        at = NOW + 1e8  # after the hooks were made
        arrived, own = message("A", sent_at=at), message("B", sent_at=at, from_me=True, delivery=DeliveryStatus.SENT)
        await record(conn, [write(unit, [arrived, arrived, own])], known)
        await record(conn, [write(unit, [arrived, own])], known)
        assert await deliveries_of(conn, everything) == [("message.received", {}), ("message.sent", {})]
        reports = [
            StatusReported(ExternalId("B"), DeliveryStatus.READ),
            StatusReported(ExternalId("A"), DeliveryStatus.READ),  # our own read status is no event
            MessageEdited(ExternalId("A"), "dois", 5),
            MessageDeleted(ExternalId("A")),
        ]
        for _ in range(2):
            await record(conn, [write(unit, reports)], known)
        assert sorted((await deliveries_of(conn, everything))[2:], key=str) == [
            ("message.deleted", {}),
            ("message.delivery", {"deliveryStatus": "read"}),
            ("message.edited", {}),
        ]
        assert await deliveries_of(conn, deleted_only) == [("message.deleted", {})]
        assert await deliveries_of(conn, elsewhere) == []


async def test_reactions_and_votes_are_delivered_once_whether_they_come_before_their_message_or_after(
    database: str,
) -> None:
    poll, target = message("P", kind=MessageKind.POLL), ExternalId("P")
    like, again = ReactionReported(target, "+55", "👍", 1), ReactionReported(target, "+55", "👍", 2)
    removed = ReactionReported(target, "+55", "", 3)
    vote = VoteReported(target, "lid:7", ("Sim",), 4)
    async with await connect(database, role="zapline_engine") as conn:
        for facts in itertools.permutations((poll, like, removed, vote)):
            unit, known = await make_unit(conn), RecorderCache()
            hook, other = await make_hook(conn, unit), await make_hook(conn, unit, "message.received")
            for fact in (*facts, *facts):
                await record(conn, [write(unit, [fact])], known)
            told = [event for event, _ in await deliveries_of(conn, hook)]
            # A reaction that is removed before it could be told is told once, as removed.
            most = 2 if facts.index(removed) > max(facts.index(poll), facts.index(like)) else 1
            assert sorted(told) == ["message.reaction"] * most + ["message.received", "poll.vote"], facts
            assert await deliveries_of(conn, other) == [("message.received", {})]
            ids = [UUID(facts["reaction"]) for _, facts in await deliveries_of(conn, hook) if facts]
            (subject,) = await conn.fetch("select id from zapline.messages where unit_id = %s", (unit,))
            rows = await crm_webhooks.load_reactions(conn, [unit], [subject[0]], ids)
            assert sorted((row.kind, row.value) for row in rows.values()) == [("reaction", ""), ("vote", ["Sim"])]
        await record(conn, [write(unit, [like, again])], known)  # an older one, and nothing new
        assert len(await deliveries_of(conn, hook)) == len(told)


async def test_reactions_of_a_history_are_not_delivered(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        hook = await make_hook(conn, unit)
        old = ReactionReported(ExternalId("A"), "+55", "👍", 1_000_000_000_000)
        entry = EntryFacts(Seq(1), "messages.set", NOW, b"{}", facts=(message("A", sent_at=1e9, origin="history"), old))
        await record(conn, [prepare_batch(unit, [entry], None, None, JOURNAL)], known)
        assert await deliveries_of(conn, hook) == []
        await record(conn, [write(unit, [ReactionReported(ExternalId("A"), "+55", "🙏", 2_000_000_000_000)])], known)
        assert [event for event, _ in await deliveries_of(conn, hook)] == ["message.reaction"]


async def test_a_reaction_is_told_of_a_send_whose_id_was_not_known_yet(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)
        hook, id = await make_hook(conn, unit), {"id": unit}
        await record(conn, [write(unit, [ReactionReported(ExternalId("A"), "+55", "👍", 1)])], RecorderCache())
        for statement in (_CONTACT, _CONVERSATION):
            await conn.execute(statement, id)
        await conn.execute(_MESSAGE.replace("external_id,", "client_message_id,"), id)
        assert await deliveries_of(conn, hook) == []
        await conn.execute("update zapline.messages set external_id = 'A'")
        assert [event for event, _ in await deliveries_of(conn, hook)] == ["message.reaction"]
        (row,) = await conn.fetch("select seq < changed_seq as changed from zapline.messages")
        assert row.changed


async def test_history_is_not_delivered_and_content_that_comes_later_is(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        hook = await make_hook(conn, unit)
        old = message("A", sent_at=1_000_000_000.0, origin="history")
        await record(conn, [write(unit, [old])], known)
        assert await deliveries_of(conn, hook) == []
        missed = message("B", sent_at=NOW + 1e8, origin="backfill")
        late = message(
            "C", sent_at=1_000_000_000.0, text=None, kind=MessageKind.PLACEHOLDER
        )  # live, though its time is long ago
        await record(conn, [write(unit, [missed, late])], known)
        await record(conn, [write(unit, [message("C", sent_at=1_000_000_000.0)])], known)
        assert [event for event, _ in await deliveries_of(conn, hook)] == ["message.received"] * 2 + ["message.edited"]


class RolledBack(Exception):
    pass


async def test_a_rolled_back_message_has_no_delivery(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)
        hook, id = await make_hook(conn, unit), {"id": unit}

        async def store_and_undo() -> None:
            async with conn.transaction():
                await conn.execute(_CONTACT, id)
                await conn.execute(_CONVERSATION, id)
                await conn.execute(_MESSAGE, id)
                assert await deliveries_of(conn, hook) == [("message.received", {})]
                raise RolledBack

        with pytest.raises(RolledBack):
            await store_and_undo()
        assert await deliveries_of(conn, hook) == []


_CONTACT = "insert into zapline.contacts (id, unit_id, kind, canonical) values (%(id)s, %(id)s, 'person', 'x')"
_CONVERSATION = "insert into zapline.conversations (id, unit_id, contact_id) values (%(id)s, %(id)s, %(id)s)"
_MESSAGE = """
insert into zapline.messages (id, unit_id, conversation_id, provider, external_id, from_me, kind, kind_rank, origin,
                              sent_at, received_at)
values (%(id)s, %(id)s, %(id)s, 'evolution', 'A', false, 'text', 2, 'live', now(), now())"""


async def test_a_lines_status_and_a_campaigns_state_are_delivered_when_they_change(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        hook = await make_hook(conn, unit)
        open_line = StoredLineState(
            phase=Phase.OPEN, reason=Reason.SCAN_COMPLETED, wanted=True, connected_at=NOW, updated_at=NOW
        )
        for _ in range(2):  # the second one changes nothing that is delivered
            await record(conn, [prepare_batch(unit, [], open_line, None, JOURNAL)], known)
        assert [(event, facts["status"], facts["reason"]) for event, facts in await deliveries_of(conn, hook)] == [
            ("unit.status", "connected", "scan_completed")
        ]
        id = uuid4()
        new = campaigns.NewCampaign(id, "Natal", OutgoingMessage(Text("oi")), CampaignTiming(), None, None, b"", NOW)
        assert await campaigns.insert_campaign(conn, unit, new)
        for state in (CampaignState.SCHEDULED, CampaignState.SCHEDULED, CampaignState.CANCELLED):
            await campaigns.set_state(conn, id, state, NOW)
        assert (await deliveries_of(conn, hook))[1:] == [
            ("campaign.state", {"state": "scheduled"}),
            ("campaign.state", {"state": "cancelled"}),
        ]


async def test_an_archived_unit_has_no_deliveries(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        hook = await make_hook(conn, unit)
        at = NOW + 1e8
        await record(conn, [write(unit, [message("A", sent_at=at)])], known)
        assert await archive_unit(conn, unit)
        await record(conn, [write(unit, [message("B", sent_at=at)])], known)
        assert await crm_webhooks.bury_waiting(conn, NOW, 10) == 1
        query = "select state, last_error from zapline.hook_deliveries"
        assert [tuple(row) for row in await conn.fetch(query)] == [("dead", "unit_archived")]
        hook_row = await crm_webhooks.find_hook(conn, unit, hook)
        assert hook_row is not None
        assert (hook_row.disabled_reason, hook_row.dead) == ("unit_archived", 1)
        assert await crm_webhooks.list_active_hooks(conn, NOW) == []
        assert (await crm_webhooks.count_deliveries(conn)).dead == 0  # it does not count


async def test_deleting_a_hook_blocks_no_transaction_and_its_rows_are_deleted_in_parts(database: str) -> None:
    role, at = "zapline_engine", NOW + 1e8
    async with await connect(database, role=role) as conn, await connect(database, role=role) as other:
        unit = await make_unit(conn)
        hook = await make_hook(conn, unit)
        async with other.transaction():
            assert await crm_webhooks.delete_hook(other, unit, hook)
            with trio.fail_after(30):  # the delivery still refers to the hook; a lock would end after two seconds
                await record(conn, [write(unit, [message("A", sent_at=at), message("B", sent_at=at)])], RecorderCache())
        await record(conn, [write(unit, [message("C", sent_at=at)])], RecorderCache())
        assert not await crm_webhooks.delete_hook(conn, unit, hook)
        assert not await crm_webhooks.enable_hook(conn, unit, hook)
        assert await crm_webhooks.rotate_key(conn, unit, hook, at) is None
        assert await crm_webhooks.find_hook(conn, unit, hook) is None
        left = "select count(*)::int, max(url) from zapline.hooks left join zapline.hook_deliveries on true"
        assert [tuple(row) for row in await conn.fetch(left)] == [(2, "")]
        assert [await crm_webhooks.prune_deliveries(conn, 1, 1, 1) for _ in range(3)] == [1, 1, 0]
        await conn.execute("update zapline.hooks set disabled_at = now() - interval '61 minutes'")
        await crm_webhooks.prune_deliveries(conn, 1, 1, 1)
        assert [tuple(row) for row in await conn.fetch(left)] == [(0, None)]


async def test_a_delivery_stored_while_its_hook_was_disabled_does_not_wait_for_ever(database: str) -> None:
    role = "zapline_engine"
    async with await connect(database, role=role) as conn, await connect(database, role=role) as other:
        unit = await make_unit(conn)
        hook = await make_hook(conn, unit)
        async with conn.transaction():
            assert await crm_webhooks.insert_test_delivery(conn, unit, hook) is not None
            await crm_webhooks.disable_hook(other, hook, "failing")
        assert (await crm_webhooks.count_deliveries(conn)).waiting == 1
        assert await crm_webhooks.bury_waiting(conn, NOW, 10) == 1
        totals = await crm_webhooks.count_deliveries(conn)
        assert (totals.waiting, totals.oldest, totals.dead, totals.disabled) == (0, None, 1, 1)


async def test_a_clock_that_is_behind_makes_no_ended_delivery_old_enough_to_be_deleted(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit = await make_unit(conn)
        for behind in (False, True):
            now = time.time() + (40 if behind else -40) * 86_400
            hook = await make_hook(conn, unit)
            ends = (
                partial(crm_webhooks.store_success, conn, hook, status=200, wall=now),
                partial(crm_webhooks.store_failure, conn, hook, status=500, error="", wait=None, now=now, wall=now),
                partial(crm_webhooks.bury_delivery, conn, hook, error="subject_gone", wall=now),
            )
            for end in ends:
                id = await crm_webhooks.insert_test_delivery(conn, unit, hook)
                assert id is not None
                await end(id)
            await crm_webhooks.insert_test_delivery(conn, unit, hook)
            await crm_webhooks.disable_hook(conn, hook, "failing")
            assert await crm_webhooks.bury_waiting(conn, now, 10) == 1
            ended = "select extract(epoch from ended_at - now())::float8 from zapline.hook_deliveries where hook_id=%s"
            later = (40 * 86_400) * behind
            assert [abs(row[0] - later) < 600 for row in await conn.fetch(ended, (hook,))] == [True] * 4
            assert await crm_webhooks.prune_deliveries(conn, 1, 1, 100) == 0


async def test_a_tenant_sees_only_its_own_hooks_and_deliveries(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        one, other = await make_unit(conn), await make_unit(conn)
        mine, theirs = await make_hook(conn, one), await make_hook(conn, other)
        for unit, hook in ((one, mine), (other, theirs)):
            assert await crm_webhooks.insert_test_delivery(conn, unit, hook) is not None
            assert await crm_webhooks.insert_test_delivery(conn, one if unit is other else other, hook) is None
        assert not await crm_webhooks.delete_hook(conn, one, theirs)
        assert await crm_webhooks.rotate_key(conn, one, theirs, NOW) is None
    async with Pool.open(database, size=1, patience=15.0, role="zapline_api") as pool:
        assert [hook.id for hook in await crm_webhooks.list_hooks(pool, one)] == [mine]
        assert await crm_webhooks.load_hook(pool, one, theirs) is None
        assert len(await crm_webhooks.list_deliveries(pool, one, mine, None, None, 10)) == 1
        assert await crm_webhooks.list_deliveries(pool, one, theirs, None, None, 10) == []
        async with pool.connection() as conn:
            for table in ("hooks", "hook_deliveries"):
                assert await conn.fetch(f"select * from zapline.{table}") == []


async def test_calls_contacts_and_groups_are_told_of_once_they_change(database: str) -> None:
    async with await connect(database, role="zapline_engine") as conn:
        unit, known = await make_unit(conn), RecorderCache()
        hook = await make_hook(conn, unit, "call.changed", "contact.changed", "group.changed")
        call = message("C", kind=MessageKind.CALL_LOG, text=None, detail={"offered": True, "video": True})
        ended = message("C", kind=MessageKind.CALL_LOG, text=None, detail={"ended": True})
        for fact in (call, call, ended, ended):
            await record(conn, [write(unit, [fact])], known)
        for name in ("Ana", "Ana", "Ana Lima"):
            await conn.execute("update zapline.contacts set name = %s where unit_id = %s", (name, unit))
        group, columns = uuid4(), "(id, unit_id, kind, canonical)"
        await conn.execute(f"insert into zapline.contacts {columns} values (%s, %s, 'group', 'g@g.us')", (group, unit))
        await conn.execute("update zapline.contacts set name = 'Turma' where id = %s", (group,))
        told = [event for event, _ in await deliveries_of(conn, hook)]
        assert told == ["call.changed"] * 2 + ["contact.changed"] * 2 + ["group.changed"]
        dues = await crm_webhooks.list_due_deliveries(conn, hook, NOW + 1e9, 10)
        bodies = [msgspec.json.decode(body or b"{}") for body in await build_bodies(conn, dues)]
        marks = {"offered": True, "ended": True, "missed": False, "video": True, "group": False}
        assert {mark: bodies[1]["data"][mark] for mark in marks} == marks
        assert (bodies[1]["data"]["contact"], bodies[1]["data"]["externalId"]) == ("+5511999990001", "C")
        assert (bodies[3]["data"]["name"], bodies[3]["data"]["phone"]) == ("Ana Lima", "+5511999990001")
        assert (bodies[4]["data"]["name"], bodies[4]["data"]["conversationId"]) == ("Turma", None)
