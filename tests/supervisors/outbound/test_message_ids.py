"""Ids that are chosen before the call: where the server honours them, nothing stays uncertain or is doubled."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from support.outbound_stack import QUICK, OutboundStack, outbound_stack_on

from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox import send_outcomes
from zapline.domain.outbox.contents import File, Poll
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.supervisors.clock_watch import ClockWatch
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.uncertain_send_lookup import LookupPolicy, UncertainSendLookup
from zapline.supervisors.units.message_id_support import MessageIdSupport

LOOKS = LookupPolicy(delays=(0.0, 0.2, 0.4, 0.8), retry_delay=0.1, min_age=0.0, poll_every=0.02)


class _Leads:
    def __init__(self) -> None:
        self.clock = ClockWatch()
        self.clock.compare(time.time(), trio.current_time())

    async def may_write(self) -> None:
        """This process always leads."""


@asynccontextmanager
async def stack_with(
    url: str, directory: Path, version: str, monkeypatch: pytest.MonkeyPatch, call: float = 0.5
) -> AsyncIterator[tuple[OutboundStack, Unit]]:
    """A stack that also looks uncertain messages up, with one unit, at a server of this version."""
    monkeypatch.setattr(send_outcomes, "FIRST_STORE_LOOKUP", 0.1)
    behaviour = replace(QUICK, version=version)
    async with (
        SimulatedEvolution.running(behaviour=behaviour) as evolution,
        outbound_stack_on(url, directory, evolution, call=call) as stack,
        trio.open_nursery() as nursery,
    ):
        parts: Any = (stack.pool, stack.client, stack.intake, stack.journal, stack.roster, _Leads(), stack.counters)
        support = MessageIdSupport(stack.pool, stack.client)
        lookup = UncertainSendLookup(*parts, stack.senders.wake, LOOKS, support)
        unit = await stack.add_unit()
        async with stack.pool.connection() as conn:
            await conn.execute("update zapline.unit_whatsapp_connections set store_kept = true")
        nursery.start_soon(lookup.run)
        yield stack, unit
        nursery.cancel_scope.cancel()


def set_version(stack: OutboundStack, version: str) -> None:
    """Evolution was updated, or set back."""
    state = stack.evolution.state
    state.behaviour = replace(state.behaviour, version=version)


KNOWN = "select version, route, honoured from zapline.message_id_support order by route"


THOUSAND = pytest.param(1000, marks=pytest.mark.long)
"""So many messages that lose their answers take a minute."""


def lose_answers(stack: OutboundStack, hanging: int) -> None:
    """Some calls hang and send nothing; of the others most are sent, and answered to nobody; four lose their echoes."""
    stack.evolution.inject_fault("hang", path="/message/", count=hanging)
    stack.evolution.inject_fault("drop_reply", path="/message/", probability=0.5)
    stack.evolution.inject_fault("act_then_reset", path="/message/", probability=0.2)
    stack.evolution.inject_fault("webhooks_off", count=4)


@pytest.mark.parametrize("sends", [60, THOUSAND])
async def test_a_server_that_honours_ids_leaves_no_message_uncertain(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sends: int
) -> None:
    async with stack_with(database, tmp_path, "2.4.0-rc2", monkeypatch, call=0.3) as (stack, unit):
        await stack.enqueue(unit, "primeira")
        await stack.wait_until_idle()
        await stack.wait_for_rows(KNOWN, ("2.4.0-rc2", "sendText", True))
        lose_answers(stack, hanging=2)
        texts = [f"n{number}" for number in range(sends)]
        await stack.enqueue(unit, *texts)
        await stack.wait_until_idle(seconds=60 + sends)
        assert Counter(stack.received_texts()) == Counter(["primeira", *texts])
        assert {row[0] for row in await stack.outbox_rows()} == {"settled"}
        assert await stack.rows("select count(*)::int from zapline.messages") == [(sends + 1,)]
        assert await stack.rows("select count(*)::int from zapline.outbox where twice") == [(0,)]
        # What hung was not sent; that is sent again, be it the same message twice, and what a slow machine has cut off
        # before it arrived.
        [(resends,)] = await stack.rows("select sum(resends)::int from zapline.outbox")
        assert resends >= stack.evolution.state.faults.triggered["hang"] == 2
        assert stack.evolution.ledger.repeated == 0, "nothing that had arrived was sent again"
        ids = await stack.rows(
            "select count(distinct chosen_id)::int as ids, count(distinct message_id)::int as messages,"
            " bool_and(chosen_id is not null) as chosen from zapline.attempts"
        )
        assert ids == [(sends + 1, sends + 1, True)], "a message keeps its id"


@pytest.mark.parametrize("sends", [12, pytest.param(200, marks=pytest.mark.long)])
async def test_a_server_that_gives_ids_of_its_own_is_served_as_before(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sends: int
) -> None:
    async with stack_with(database, tmp_path, "2.3.7", monkeypatch, call=0.3) as (stack, unit):
        await stack.enqueue(unit, "primeira")
        await stack.wait_until_idle()
        await stack.wait_for_rows(KNOWN, ("2.3.7", "sendText", False))
        lose_answers(stack, hanging=1)
        await stack.enqueue(unit, *(f"n{number}" for number in range(sends)))
        await stack.wait_for_rows(
            "select state, look_at is null, resends from zapline.outbox where state <> 'settled'",
            ("uncertain", True, 0),
            seconds=60 + sends,
        )
        await stack.wait_until_idle(["queued", "leased"])
        assert Counter(stack.received_texts()) == Counter(["primeira", *(f"n{number}" for number in range(1, sends))])
        assert await stack.rows("select count(*)::int from zapline.outbox where twice") == [(0,)]


async def test_what_is_honoured_is_learnt_by_route_and_remembered(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stack_with(database, tmp_path, "2.4.0-rc2", monkeypatch) as (stack, unit):
        picture = File(MessageKind.IMAGE, url="https://example.com/a.png", caption="uma")
        await stack.enqueue(unit, "um", picture, Poll("sim?", ("sim", "não")))
        await stack.wait_until_idle()
        version = "2.4.0-rc2"
        await stack.wait_for_rows(
            KNOWN, (version, "sendMedia", True), (version, "sendPoll", False), (version, "sendText", True)
        )
        remembered = MessageIdSupport(stack.pool, stack.client)
        assert await remembered.is_honoured("sendText")
        assert not await remembered.is_honoured("sendPoll")
        # Another version is another server.
        set_version(stack, "2.3.7")
        assert not await remembered.is_honoured("sendText")
        await stack.enqueue(unit, "dois")
        await stack.wait_for_rows(
            f"{KNOWN}, version",
            ("2.4.0-rc2", "sendMedia", True),
            ("2.4.0-rc2", "sendPoll", False),
            ("2.3.7", "sendText", False),
            ("2.4.0-rc2", "sendText", True),
        )


async def test_a_timed_out_relay_is_never_sent_again_by_itself(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evolution did answer, with words that say "perhaps": the absence from its store proves nothing."""
    async with stack_with(database, tmp_path, "2.4.0-rc2", monkeypatch) as (stack, unit):
        await stack.enqueue(unit, "um")
        await stack.wait_until_idle()
        stack.evolution.inject_fault("never_echo", path="/message/", count=1)
        await stack.enqueue(unit, "talvez")
        await stack.wait_for_rows(
            "select state, look_at is null, resends, failure from zapline.outbox where state <> 'settled'",
            ("uncertain", True, 0, "timed_out_after_relay"),
        )
