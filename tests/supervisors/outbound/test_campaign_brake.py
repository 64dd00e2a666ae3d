"""Refusals after the 201: failures with a reason, and a brake that holds campaigns until a person has looked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from support.journeys import line_of, verdicts
from support.outbound_stack import QUICK, OutboundStack, outbound_stack_on

from zapline.domain.outbox import refusal_brake
from zapline.domain.outbox.work_states import Lane
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sql.outbound.campaign_brake import release_campaigns
from zapline.supervisors.outbound import campaign_brake

GOOD, ALL = 9, 60


def phone(number: int) -> str:
    return f"+55119{90_000_000 + number:08d}"


@asynccontextmanager
async def slow_words(database: str, directory: Path) -> AsyncIterator[tuple[SimulatedEvolution, OutboundStack]]:
    """What WhatsApp says of a message comes 0.3 seconds after Evolution's answer."""
    async with (
        SimulatedEvolution.running(behaviour=replace(QUICK, status_gap=0.3)) as evolution,
        outbound_stack_on(database, directory, evolution) as stack,
    ):
        yield evolution, stack


async def queue_campaign(stack: OutboundStack, unit: Any, numbers: range) -> None:
    for number in numbers:
        await stack.enqueue(unit, f"promo {number}", phone=phone(number), lane=Lane.CAMPAIGN)


HELD = "select campaigns_held_reason from zapline.units where campaigns_held_at is not null"
LEFT = "select count(*)::int from zapline.attempts where lane = 'campaign'"


@pytest.mark.heavy
async def test_refused_campaigns_stop_and_wait_for_a_person(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_brake, "_POLL", 0.02)
    async with slow_words(database, tmp_path) as (evolution, stack):
        unit = await stack.add_unit()
        with stack.feed.watch(unit.id) as watcher:
            await queue_campaign(stack, unit, range(GOOD))
            await stack.wait_until_idle()
            evolution.inject_fault("refused_later", path="/message/")
            await queue_campaign(stack, unit, range(GOOD, ALL))
            await stack.wait_for_rows(HELD, ("whatsapp_refused",))
            await stack.wait_until_idle(["leased"])
            ((left,),) = await stack.rows(LEFT)
            assert GOOD < left <= GOOD + 10
            assert unit.record.campaigns_held_reason == "whatsapp_refused"
            told = [msgspec.json.decode(event.data) for event in watcher.take()]
            assert "whatsapp_refused" in {each.get("campaignsHeld") for each in told}
            assert "whatsapp_refused" in {each.get("failure") for each in told}
        assert stack.counters.totals["campaign_holds", "whatsapp_refused"] == 1
        # What left before the hold is refused, too, one after the other.
        await stack.wait_until(lambda: stack.counters.totals["messages_refused", "whatsapp_refused"] == left - GOOD)

        # Replies go on.
        evolution.clear_faults()
        await stack.enqueue(unit, "uma resposta", phone=phone(3))
        await stack.wait_until(lambda: "uma resposta" in stack.received_texts())
        assert await stack.rows(LEFT) == [(left,)]

        # A person has looked: what was refused before does not count again.
        async with stack.pool.connection() as conn:
            assert await release_campaigns(conn, unit.id)
            assert not await release_campaigns(conn, unit.id)
        await stack.reload()
        evolution.state.behaviour = replace(evolution.state.behaviour, status_gap=0.0)
        stack.senders.reload_pace(unit.id)
        await stack.wait_until_idle(seconds=60)
        assert await stack.rows(LEFT) == [(ALL,)]
        assert len(stack.received_texts()) == ALL - (left - GOOD) + 1


async def test_a_hold_outlives_the_process(database: str, tmp_path: Path) -> None:
    async with SimulatedEvolution.running(behaviour=replace(QUICK, status_gap=0.05)) as evolution:
        evolution.inject_fault("refused_later", path="/message/", status=463)
        async with outbound_stack_on(database, tmp_path, evolution) as stack:
            unit = await stack.add_unit()
            await queue_campaign(stack, unit, range(30))
            await stack.wait_for_rows(HELD, ("whatsapp_refused_463",))
            before = await stack.rows(LEFT)
        async with outbound_stack_on(database, tmp_path, evolution) as stack:
            (unit,) = stack.roster.units()
            assert unit.record.campaigns_held_reason == "whatsapp_refused_463"
            line = line_of(unit, stack.senders.status(unit.id))
            assert ("held", "whatsapp_refused_463") in await verdicts(database, unit.id, line)
            stack.senders.wake(unit.id)
            await stack.enqueue(unit, "resposta")
            await stack.wait_until_idle(["leased"])
            await stack.wait_for_rows("select count(*)::int from zapline.attempts where lane = 'reply'", (1,))
            assert await stack.rows(LEFT) == before


async def test_after_one_refusal_campaigns_go_on_one_at_a_time(database: str, tmp_path: Path) -> None:
    async with slow_words(database, tmp_path) as (evolution, stack):
        unit = await stack.add_unit()
        evolution.inject_fault("refused_later", path="/message/", count=1)
        await queue_campaign(stack, unit, range(1))
        await stack.wait_for_rows("select delivery::text from zapline.messages", ("failed",))
        await queue_campaign(stack, unit, range(1, 4))
        with trio.move_on_after(0.2):
            await stack.wait_for_rows(LEFT, (4,))
        assert await stack.rows(LEFT) in ([(1,)], [(2,)]), "the second is not confirmed yet"
        await stack.wait_until_idle()
        assert await stack.rows(HELD) == []
        assert await stack.rows(LEFT) == [(4,)]


async def test_campaigns_stop_when_no_phone_confirms_anything(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name, value in ((refusal_brake, "SILENCE", 0.5), (refusal_brake, "MAX_OPEN", 99)):
        monkeypatch.setattr(place, name, value)
    monkeypatch.setattr(campaign_brake, "_POLL", 0.05)
    silent = replace(QUICK, statuses=("SERVER_ACK",))
    async with (
        SimulatedEvolution.running(behaviour=silent) as evolution,
        outbound_stack_on(database, tmp_path, evolution) as stack,
    ):
        unit = await stack.add_unit()
        await queue_campaign(stack, unit, range(40))
        await stack.wait_for_rows(HELD, ("no_receipts",))
        ((left,),) = await stack.rows(LEFT)
        assert refusal_brake.MAX_SILENT <= left < 40, "those that are under way when the silence is over are made"
        assert stack.counters.totals["campaign_holds", "no_receipts"] == 1

        # A person has looked; where the server tells of no message, silence means nothing.
        async with stack.pool.connection() as conn:
            await conn.execute("update zapline.unit_whatsapp_connections set store_kept = false")
            assert await release_campaigns(conn, unit.id)
        await stack.reload()
        stack.senders.reload_pace(unit.id)
        await stack.wait_for_rows(LEFT, (40,))
        assert await stack.rows(HELD) == []
