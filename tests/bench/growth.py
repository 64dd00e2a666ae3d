"""Measures how cost grows, and draws it: webhooks a second over connections and over units, lists over rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from . import charts
from .environment import Environment, check, log, run_load
from .inbound import LOAD_CORE, SERVER_CORE
from .measuring import machine, pin
from .reading import reading

IMAGES = Path(__file__).parents[2] / "docs" / "images"
CONNECTIONS = (1, 4, 16, 64, 256)
UNITS = (10, 100, 1000, 10_000)
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
DRAWN: Mapping[str, str] = {
    "GET /units/{unit}/conversations": "conversations (API)",
    "GET /units/{unit}/conversations/{conversation}/messages": "messages of one (API)",
    "/console/units/*/conversations": "conversations (console)",
    "/console/units/*/conversations?q=*": "search (console)",
}
"""Addresses whose curves are drawn, by the names under which they are measured."""


def webhooks(environment: Environment, seconds: float, connections: Sequence[int], units: Sequence[int]) -> bool:
    """Stored webhooks a second at each number of connections (1,000 units), and of units (64 connections)."""
    log(f"\nHow stored webhooks a second grow, {seconds:g} s each; {machine(environment.directory)}")
    over_connections = [
        (float(number), rate)
        for number, rate in zip(connections, _rates(environment, 1000, connections, seconds), strict=True)
    ]
    for number, rate in over_connections:
        log(f"  {number:6g} connections, 1,000 units: {rate:7.0f}/s")
    over_units = [(float(number), _rates(environment, number, (64,), seconds)[0]) for number in units]
    for number, rate in over_units:
        log(f"  64 connections, {number:6g} units: {rate:7.0f}/s")
    for name, across, points in (
        ("webhooks-over-connections", "connections", over_connections),
        ("webhooks-over-units", "units", over_units),
    ):
        title = f"Stored webhooks a second over {across}"
        charts.write(IMAGES, name, charts.draw(title, across, "stored a second, one core", {"zapline": points}))
    best = max(rate for _, rate in over_connections)
    return check("the most connections beside the best", over_connections[-1][1] / best, ">= 0.5", True)


def _rates(environment: Environment, units: int, connections: Sequence[int], seconds: float) -> list[float]:
    targets = environment.prepare(units)
    rates, stored = [], 0
    with environment.daemon(targets) as (daemon, _):
        pin(daemon.pid, SERVER_CORE)
        daemon.wait_until_quiet(60)
        for number in connections:
            result = run_load(daemon, targets, core=LOAD_CORE, connections=number, seconds=seconds)
            stored += result["requests"]
            rates.append(result["requests"] / (result["seconds"] + environment.wait_until_stored(stored)))
    environment.drop()
    return rates


def rows(environment: Environment, sizes: Sequence[int], most: int) -> bool:
    """Each list and search at each size of the tables; the curves of four of them are drawn."""
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in DRAWN.values()}
    passed = True
    for messages in sizes:
        good, median = reading(environment, messages, most)
        passed = passed and good
        for address, name in DRAWN.items():
            lines[name].append((float(messages), median[address] * 1e3))
    title = "Lists and searches over the number of messages"
    charts.write(IMAGES, "lists-over-rows", charts.draw(title, "messages", "median, ms", lines))
    return passed
