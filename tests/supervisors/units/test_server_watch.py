"""One watch tells all lines whether their server answers; what a line shows follows from it."""

import gc
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from support.inbound_stack import InboundStack, inbound_stack, until

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.domain.line.transitions import LineAction
from zapline.evolution.client.call_policy import CallPolicy
from zapline.evolution.client.rest_client import EvolutionClient, open_http_client
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.supervisors.health.line_checks import check_lines
from zapline.supervisors.inbound.server_standing import PerServer, ServerStanding
from zapline.supervisors.units import server_watch
from zapline.supervisors.units.server_watch import WATCH_DEADLINE, WATCH_EVERY, ServerWatch


@dataclass
class Watched:
    stack: InboundStack
    evolution: SimulatedEvolution
    watch: ServerWatch
    returns: list[float] = field(default_factory=list)


@pytest.fixture
async def watched(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(server_watch, "WATCH_DEADLINE", 0.2)
    monkeypatch.setattr(server_watch, "WATCH_EVERY", 0.02)
    monkeypatch.setattr(server_watch, "_AGAIN_AFTER", 0.02)
    async with (
        SimulatedEvolution.running() as evolution,
        inbound_stack(database, tmp_path) as stack,
        open_http_client() as http,
    ):
        client = EvolutionClient(http, evolution.url, evolution.api_key, CallPolicy(attempts=1))
        returns: list[float] = []
        watch = ServerWatch(
            client.server_info, stack.roster.server, stack.roster, stack.counters, lambda: returns.append(time.time())
        )
        yield Watched(stack, evolution, watch, returns)


def test_the_longest_silence_is_told_within_ten_seconds() -> None:
    worst = WATCH_EVERY + 2 * WATCH_DEADLINE + server_watch._AGAIN_AFTER
    assert worst < 9


async def test_a_line_says_that_its_server_is_away_and_is_asked_at_once_when_it_is_back(watched: Watched) -> None:
    stack, evolution, server = watched.stack, watched.evolution, watched.stack.roster.server
    unit, idle = await stack.add_unit("loja"), await stack.add_unit("nova")
    await stack.send(unit, "connection.update", {"state": "open", "statusReason": 200})
    await until(lambda: unit.state is not None and unit.state.stored.phase is Phase.OPEN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.watch.run)
        await until(lambda: server.version == "2.3.7")
        assert server.away_since is None
        evolution.take_down()
        await until(lambda: server.away_since is not None)
        shown = unit.shown
        assert shown is not None
        assert (shown.status, shown.reason) == ("disconnected", Reason.EVOLUTION_UNAVAILABLE)
        assert unit.state is not None
        assert unit.state.stored.phase is Phase.OPEN, "only what is shown follows from the server"
        assert idle.shown is not None
        assert idle.shown.reason is Reason.NEVER_CONNECTED
        [without, _] = check_lines(stack.roster.units(), stack.counters)
        assert (without.name, without.value) == ("linesWithoutServer", 1)
        stack.calls.performed.clear()
        evolution.bring_up()
        await until(lambda: server.away_since is None)
        await until(lambda: LineAction.OBSERVE in stack.calls.performed)
        assert unit.shown == unit.state.stored
        assert len(watched.returns) == 1
        history = "select unit_id, number, phase, reason from zapline.line_changes order by unit_id, number"
        told = [
            (1, "open", "scan_completed"),
            (2, "backing_off", "evolution_unavailable"),
            (3, "open", "scan_completed"),
        ]
        await stack.wait_for_rows(history, [(unit.id, *each) for each in told])  # of a line that nobody wants, nothing
        nursery.cancel_scope.cancel()
    assert stack.counters.totals["server_absences", ""] == 1
    assert stack.counters.total("unexpected_disconnects") == 0


async def test_what_a_line_shows_is_not_recorded_before_its_server_was_asked_once(watched: Watched) -> None:
    stack, evolution, server = watched.stack, watched.evolution, watched.stack.roster.server
    server.unknown = True
    unit = await stack.add_unit("loja")
    await stack.send(unit, "connection.update", {"state": "open", "statusReason": 200})
    await until(lambda: unit.state is not None and unit.state.stored.phase is Phase.OPEN)
    evolution.take_down()
    history = "select number, phase, reason from zapline.line_changes order by number"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.watch.run)
        await stack.wait_for_rows(history, [(1, "backing_off", "evolution_unavailable")])
        nursery.cancel_scope.cancel()
    evolution.bring_up()
    server.away_since, server.unknown = None, True
    await watched.watch.note(answers=True)
    told = [(1, "backing_off", "evolution_unavailable"), (2, "open", "scan_completed")]
    await stack.wait_for_rows(history, told)


@pytest.mark.parametrize(
    ("fault", "answers"), [("hang", False), ("html", False), ("license", False), ("throttle", True)]
)
async def test_what_no_server_in_order_answers_is_silence(watched: Watched, fault: str, answers: bool) -> None:
    watched.evolution.inject_fault(fault)
    assert await watched.watch._answers() is answers


async def test_one_failed_call_is_no_absence(watched: Watched) -> None:
    watched.evolution.inject_fault("refuse", count=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.watch.run)
        await until(lambda: watched.stack.roster.server.version is not None)
        nursery.cancel_scope.cancel()
    assert watched.stack.counters.totals["server_absences", ""] == 0


@pytest.mark.parametrize("phase", list(Phase))
def test_only_a_wanted_line_that_needs_its_server_shows_its_absence(phase: Phase) -> None:
    standing = ServerStanding(away_since=1000.0)
    for wanted in (True, False):
        stored = StoredLineState(phase=phase, reason=Reason.DISCONNECTED, wanted=wanted, qr_code="code")
        needs = wanted and phase in (Phase.OPEN, Phase.CONNECTING, Phase.PAIRING, Phase.BACKING_OFF)
        shown = standing.shown(stored)
        assert (shown.reason is Reason.EVOLUTION_UNAVAILABLE) == needs
        assert (shown == stored) == (not needs)
        if needs:
            assert shown.qr_code is None
    standing.away_since = None
    assert standing.shown(stored) is stored


def test_each_server_has_a_limiter_of_its_own_as_long_as_it_is_there() -> None:
    limits, standing, other = PerServer(3), ServerStanding(), ServerStanding()
    limiter = limits.of(standing)
    standing.version = "2.4.0"
    assert limits.of(standing) is limiter
    assert limits.of(other) is not limiter
    assert len(limits._limiters) == 2
    del standing, other
    gc.collect()
    assert len(limits._limiters) == 0
