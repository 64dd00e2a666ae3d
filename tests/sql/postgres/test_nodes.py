"""Who owns a unit: one node at a time, epochs that only rise, and nothing that another node's statement changes."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio
from support.database_copies import database_copies
from support.outbound_stack import queue_message, set_pace

from zapline.domain.campaigns.schedule import CampaignTiming
from zapline.domain.campaigns.states import CampaignState
from zapline.domain.errors import PositionRefused
from zapline.domain.ids import Seq, UnitId
from zapline.domain.line.state import StoredLineState
from zapline.domain.outbox.work_states import Lane
from zapline.sql.campaigns import campaign_enqueueing
from zapline.sql.campaigns.campaign_enqueueing import ActiveCampaign
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.recorder_types import EntryFacts
from zapline.sql.inbound.unit_batches import UnitBatch, prepare_batch
from zapline.sql.notifications import crm_webhooks
from zapline.sql.outbound import reconciliation, uncertain_sends
from zapline.sql.outbound.send_claims import ClaimGuard, ClaimRequest, claim_all
from zapline.sql.outbound.uncertain_sends import UncertainSend
from zapline.sql.postgres.connection import Connection, connect
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.nodes import NodeName, Ownership, adopt_units, hand_back, list_nodes, renew_lease
from zapline.sql.units.units import insert_unit
from zapline.supervisors.leadership import WriterStanding

NOW = 1_795_364_000.0
JOURNAL = UUID(int=1)
LEASE = 10.0
OWNERS = "select unit_id, owner, epoch from zapline.unit_whatsapp_connections order by unit_id"
WHAT_MAY_CHANGE = (
    *("unit_whatsapp_connections", "messages", "outbox", "attempts", "campaigns", "campaign_recipients"),
    *("hooks", "hook_deliveries", "dead_letters"),
)


async def make_unit(conn: Connection) -> UnitId:
    unit = UnitId(uuid4())
    await insert_unit(conn, id=unit, name="u", instance=str(unit), secret_digest=unit.bytes, time_zone="UTC")
    return unit


async def owners(conn: Connection) -> dict[UUID, tuple[UUID | None, int]]:
    return {row.unit_id: (row.owner, row.epoch) for row in await conn.fetch(OWNERS)}


def right_of(standing: WriterStanding) -> Ownership:
    assert standing.node is not None
    assert standing.epoch is not None
    return Ownership(standing.node, standing.epoch)


async def test_a_node_takes_every_unit_under_a_higher_epoch_and_the_one_before_is_out(database: str) -> None:
    first, second = WriterStanding(called=NodeName("one", "1.0")), WriterStanding(called=NodeName("two", "2.0"))
    async with await connect(database) as lock, await connect(database, role="zapline_engine") as conn:
        units = [await make_unit(conn) for _ in range(3)]
        await first.take(lock)
        assert await owners(conn) == dict.fromkeys(units, (first.node, 1))
        assert await renew_lease(conn, right_of(first).node, LEASE, NOW) is not None  # type: ignore[arg-type]
        before = right_of(first)
        await second.take(lock)
        assert await owners(conn) == dict.fromkeys(units, (second.node, 2))
        assert before.node is not None
        assert await renew_lease(conn, before.node, LEASE, NOW) is None
        late = await make_unit(conn)
        assert await adopt_units(conn, before.node) == 0
        assert second.node is not None
        assert await adopt_units(conn, second.node) == 1
        assert (await owners(conn))[late] == (second.node, 2)
        (node,) = await list_nodes(conn)
        assert (node.id, node.name, node.version, node.epoch, node.units) == (second.node, "two", "2.0", 2, 4)
        assert (node.lives, node.clock_offset) == (True, None)
        await conn.execute("update zapline.nodes set expires_at = now()")
        assert await renew_lease(conn, second.node, LEASE, NOW) is None  # by the server's clock, not by its own
        assert not (await list_nodes(conn))[0].lives
        await hand_back(conn, second.node)
        assert await owners(conn) == dict.fromkeys([*units, late], (None, 2))
        assert await list_nodes(conn) == []
        await first.take(lock)
        assert await owners(conn) == dict.fromkeys([*units, late], (first.node, 3))
        assert first.node != before.node


async def test_on_a_database_that_is_set_back_no_earlier_node_is_an_owner_again_once_somebody_leads(
    database: str,
) -> None:
    """Copied while the first one led: its rows name the first one again, whose epoch is the highest there."""
    first, second, third = WriterStanding(), WriterStanding(), WriterStanding()
    with database_copies(database) as copies:
        async with await connect(database) as conn:
            unit = await make_unit(conn)
            await first.take(conn)
        earlier = copies.copy()
        async with await connect(database) as conn:
            await second.take(conn)
        copies.set_back(earlier)
        async with await connect(database) as conn:
            assert (await owners(conn))[unit] == (first.node, 1)
            rights = right_of(first), right_of(second)
            await third.take(conn)  # a process that knows of neither
            assert third.epoch == second.epoch == 2  # the same number, which was given anew: the owner tells them apart
            for right in rights:
                with pytest.raises(PositionRefused) as refused:
                    await record(conn, [write(unit, right, Seq(1))], RecorderCache())
                assert refused.value.units == {unit}
            await record(conn, [write(unit, right_of(third), Seq(1))], RecorderCache())
            await second.take(conn)
            assert second.epoch == 3


def write(unit: UnitId, held: Ownership, position: Seq | None, line: StoredLineState | None = None) -> UnitBatch:
    entry = EntryFacts(position, "messages.upsert", NOW, b"{}", dead_reason="of_a_test")
    return prepare_batch(unit, [entry], line, position, JOURNAL, held=held)


async def digest(conn: Connection) -> list[Any]:
    """What all these tables hold."""
    return [await conn.fetch(f"select t::text as row from zapline.{table} t order by 1") for table in WHAT_MAY_CHANGE]


class Scene:
    """A unit with something for each fenced statement to do."""

    def __init__(self, conn: Connection, unit: UnitId, uncertain: UUID) -> None:
        self.conn, self.unit = conn, unit
        self.sends = [UncertainSend(uncertain, unit, 1, 0, NOW - 100, NOW - 90)]
        self.campaign, self.hook, self.delivery = uuid4(), uuid4(), uuid4()

    @classmethod
    async def made(cls, conn: Connection) -> "Scene":
        unit = await make_unit(conn)
        await queue_message(conn, unit, "em fila")
        uncertain = await queue_message(conn, unit, "incerta")
        scene = cls(conn, unit, uncertain)
        await conn.execute(
            "update zapline.outbox set state = 'uncertain', fence = 1, look_at = now() where message_id = %s",
            (uncertain,),
        )
        await conn.execute(
            "update zapline.unit_whatsapp_connections set store_kept = true, first_connected_at = to_timestamp(1)"
        )
        await set_pace(conn, unit, resend_lanes=["reply"])
        await conn.execute(
            "insert into zapline.campaigns (id, unit_id, name, state, content) values (%s, %s, 'c', 'running',"
            """ '{"content": {"type": "text", "text": "oi"}}')""",
            (scene.campaign, unit),
        )
        await conn.execute(
            "insert into zapline.campaign_recipients (campaign_id, unit_id, number, recipient, parameters)"
            " values (%s, %s, 1, '+5511999990007', '{}')",
            (scene.campaign, unit),
        )
        await conn.execute(
            "insert into zapline.hooks (id, unit_id, url, events) values (%s, %s, 'https://crm.example.com', '{}')",
            (scene.hook, unit),
        )
        await conn.execute(
            "insert into zapline.hook_deliveries (id, hook_id, unit_id, event) values (%s, %s, %s, 'hook.test')",
            (scene.delivery, scene.hook, unit),
        )
        return scene

    async def claim(self, held: Ownership) -> None:
        guard = ClaimGuard(owner=held.node, since=held.epoch)
        now = NOW * 2  # whenever it was queued, it is due
        request = ClaimRequest(self.unit, uuid4(), now, list(Lane), [], guard)
        (result,) = await claim_all(self.conn, [request], process=uuid4(), lease=60)
        assert result.refused is (result.claimed is None)

    async def store(self, held: Ownership, position: Seq | None, line: StoredLineState | None = None) -> None:
        with suppress(PositionRefused):
            await record(self.conn, [write(self.unit, held, position, line)], RecorderCache())

    async def feed(self, held: Ownership) -> None:
        timing = CampaignTiming()
        work = ActiveCampaign(self.campaign, self.unit, CampaignState.RUNNING, timing, None, 0, 0, None, True)
        await campaign_enqueueing.enqueue_next(self.conn, work, 1, NOW, lambda: 0.0, held)

    async def finish(self, held: Ownership) -> None:
        await campaign_enqueueing.finish_campaign(self.conn, self.campaign, NOW, held)

    def statements(self) -> dict[str, Callable[[Ownership], Awaitable[object]]]:
        conn, unit, sends = self.conn, self.unit, self.sends
        hook, delivery = self.hook, self.delivery
        failed = {"status": 500, "error": "", "wait": 60.0, "now": NOW, "wall": NOW}
        return {
            "facts alone": lambda held: self.store(held, None),
            "a position": lambda held: self.store(held, Seq(7)),
            "a line": lambda held: self.store(held, Seq(8), StoredLineState(updated_at=NOW)),
            "a claim": self.claim,
            "a watermark": lambda held: reconciliation.advance_watermark(conn, unit, 1.0, NOW, held),
            "a gap": lambda held: reconciliation.store_gap(conn, unit, NOW, held),
            "the end of a run": lambda held: reconciliation.store_run_end(conn, unit, NOW, held),
            "whether messages are kept": lambda held: reconciliation.store_history_kept(conn, unit, False, held),
            "a lookup later": lambda held: uncertain_sends.postpone_lookup(conn, sends, NOW, held),
            "the next lookup": lambda held: uncertain_sends.schedule_next_lookup(conn, [(sends[0], NOW)], held),
            "a campaign's message": self.feed,
            "a delivery that failed": lambda held: crm_webhooks.store_failure(
                conn,
                hook,
                delivery,
                **failed,  # type: ignore[arg-type]
                held=held,
            ),
            "a delivery": lambda held: crm_webhooks.store_success(
                conn, hook, delivery, status=200, wall=NOW, held=held
            ),
        }


async def test_no_statement_of_a_node_that_is_out_changes_a_row(database: str) -> None:
    out, owner = WriterStanding(), WriterStanding()
    async with await connect(database) as lock, await connect(database, role="zapline_engine") as conn:
        scene = await Scene.made(conn)
        await out.take(lock)
        over = right_of(out)
        await owner.take(lock)
        held = right_of(owner)
        for name, statement in scene.statements().items():
            before = await digest(conn)
            for wrong in (over, Ownership(over.node, held.epoch), Ownership(held.node, over.epoch)):
                await statement(wrong)
                assert await digest(conn) == before, name
            await statement(held)
            assert await digest(conn) != before, name
        epochs = await conn.fetch("select epoch from zapline.attempts")
        assert epochs == [(held.epoch,)]
        before = await digest(conn)
        for resend in (uncertain_sends.requeue_unsent, _missing):
            sends = [replace(scene.sends[0], lookups=1)]
            assert await resend(conn, sends, NOW * 2, over) == set()
        assert await digest(conn) == before
        assert await uncertain_sends.requeue_unsent(conn, scene.sends, NOW, held) == {scene.sends[0].message}


async def _missing(conn: Connection, sends: list[UncertainSend], now: float, held: Ownership) -> set[UUID]:
    return await uncertain_sends.requeue_missing(conn, sends, now, 0.0, held)


async def test_units_are_taken_after_what_their_owner_has_begun_and_claims_do_not_wait_for_what_is_stored(
    database: str,
) -> None:
    owner, next_one = WriterStanding(), WriterStanding()
    async with (
        await connect(database) as lock,
        await connect(database, role="zapline_engine") as conn,
        await connect(database, role="zapline_engine", lock_timeout_ms=100) as other,
        await connect(database, lock_timeout_ms=100) as impatient,
    ):
        scene = await Scene.made(other)
        await owner.take(lock)
        held = right_of(owner)
        async with conn.transaction():
            await conn.execute(
                "update zapline.unit_whatsapp_connections set applied_seq = 1 where unit_id = %s", (scene.unit,)
            )
            await scene.claim(held)  # though the row is locked by who stores
            with pytest.raises(StatementFailed, match="lock timeout"):
                await next_one.take(impatient)
        await conn.execute("update zapline.outbox set state = 'queued'")
        async with conn.transaction():
            scene.conn = conn
            await scene.claim(held)
            with pytest.raises(StatementFailed, match="lock timeout"):
                await next_one.take(impatient)
        await next_one.take(impatient)
        assert (await owners(other))[scene.unit] == (next_one.node, 2)
        assert next_one.epoch == 2  # what was not taken has begun no epoch
        with trio.fail_after(5):
            await scene.claim(held)
