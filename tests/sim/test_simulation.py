"""The simulation finds what is planted, finds nothing where nothing is, and takes the same steps for the same seed."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sim.__main__ import line, story
from sim.disk import library
from sim.plan import CHANCES, Death, Plan, draw
from sim.planted import PLANTED
from sim.server import Place, simulation_server
from sim.simulation import simulate

KEPT: tuple[int, ...] = ()
"""Seeds that have failed once; each is told in the commit that mended it."""
FRESH = 2
"""Fresh seeds in each run of the tests; ``make sim`` runs more."""
pytestmark = [
    pytest.mark.long,
    pytest.mark.server,
    pytest.mark.skipif(library() is None, reason="SQLite is built into this Python: its files cannot be simulated"),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with simulation_server() as place:
        yield place


def test_a_plan_of_a_seed_is_always_the_same_and_turns_each_fault_off_for_most_seeds() -> None:
    assert draw(7) == draw(7)
    plans = [draw(seed) for seed in range(300)]
    for name in CHANCES:
        assert 60 < sum(bool(getattr(plan, name)) for plan in plans) < 150


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, place: Place) -> None:
    plant, plan = PLANTED[name]
    assert any(simulate(seed, place, plan, plant).violations for seed in range(1, 4))


def test_a_seed_takes_the_same_steps_under_another_hash_seed(place: Place) -> None:
    here = simulate(11, place, _busy())
    assert not here.violations, story(here, 40)
    program = "from sim.test_simulation import print_trace; print_trace()"
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {"PYTHONHASHSEED": other, "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = [sys.executable, "-c", program, place.server, str(place.directory), str(place.clock)]
    told = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.split()[-1] == here.trace


def print_trace() -> None:
    """For another process: run the same seed on the same server."""
    server, directory, clock = sys.argv[1:]
    print(simulate(11, Place(server, Path(directory), Path(clock)), _busy()).trace)


def _busy() -> Plan:
    deaths = [Death(2.0, "kill", 0.5), Death(4.0, "power loss", 0.5)]
    faults = {"cut_before": 0.01, "cut_after": 0.01, "disk_sync": 0.03, "webhook_lost": 0.1, "duplicate": 0.2}
    return replace(Plan(), units=3, seconds=6.0, inbound=40, outbound=8, deaths=deaths, **faults)


@pytest.mark.parametrize("seed", [*KEPT, *(None for _ in range(FRESH))])
def test_nothing_is_lost_nothing_is_sent_twice_and_nothing_is_silent(seed: int | None, place: Place) -> None:
    result = simulate(secrets.randbelow(1_000_000_000) if seed is None else seed, place)
    assert not result.violations, f"{line(result)}\n{story(result, 60)}"
