"""Runs the inbound part: kills under load, and a check that the database holds every acknowledged webhook."""

import time
from collections.abc import Sequence

import trio

from ..environment import HANGS_AFTER
from ..output import log
from . import faults
from .report import table, verdict
from .run import RATE, InboundRun, open_inbound_run

UNITS = 20
KILLS = 10

FAULT_POINTS = ("after-append", "after-answer", "in-hand", "before-commit", "after-commit", "after-mark-done")


def plan() -> list[tuple[str, faults.Fault, float, bool]]:
    """Return name, fault, rate, and whether the daemon has fault points, for each phase."""
    random_kills = [
        (f"kill {number} {'daemon' if number % 2 else 'PostgreSQL'}", fault, RATE, False)
        for number in range(1, KILLS + 1)
        for fault in [faults.daemon_killed if number % 2 else faults.postgres_killed]
    ]
    return [
        ("undisturbed", faults.undisturbed, RATE, False),
        *random_kills,
        ("kill both at once", faults.both_killed, RATE, False),
        ("SIGTERM", faults.terminated, RATE, False),
        ("PostgreSQL stopped", faults.postgres_stopped, 100.0, False),
        ("start without PostgreSQL", faults.started_without_postgres, 100.0, False),
        ("second daemon", faults.second_daemon, 50.0, False),
        *((f"die {point}", faults.dies_at(point), RATE, True) for point in FAULT_POINTS),
        ("die during-snapshot", faults.dies_during_snapshot, RATE, True),
        ("PostgreSQL dies in transaction", faults.postgres_dies_in_transaction, RATE, True),
        ("commit-answer-lost", faults.commit_response_lost, RATE, True),
        ("snapshot-refused", faults.snapshot_refused, RATE, True),
        ("die during-prune", faults.dies_during_prune, RATE, True),
    ]


async def run_plan(run: InboundRun, words: Sequence[str]) -> None:
    """Run the phases whose names hold one of the words (no words: all), then check the daemon's health."""
    fault_points: bool | None = None
    for name, fault, rate, needs_fault_points in plan():
        if words and not any(word in name for word in words):
            continue
        if needs_fault_points is not fault_points:
            if fault_points is not None:
                run.environment.daemon.process.terminate()
                await run.environment.daemon.wait_for_exit()
            await run.environment.start(with_fault_points=needs_fault_points)
            fault_points = needs_fault_points
        await run.phase(name, fault, rate)
    health = await run.environment.health()
    journal = health["journal"]
    if run.rows and isinstance(journal, dict) and journal["depth"]:
        run.rows[-1].failures.append(f"/health reports {journal['depth']} unfinished entries")


async def run_inbound(seed: int, words: Sequence[str]) -> bool:
    """Run the part; return whether every invariant held."""
    started = time.monotonic()
    log(f"Inbound: {UNITS} units; about {RATE:g} webhooks a second")
    run: InboundRun | None = None
    failure = "the run was interrupted"
    try:
        with trio.move_on_after(HANGS_AFTER) as limit:
            async with open_inbound_run(UNITS, seed) as run:
                await run_plan(run, words)
                failure = ""
        if limit.cancelled_caught:
            failure = f"the run did not end within {HANGS_AFTER:g} s"
    finally:
        rows = run.rows if run is not None else []
        log("\n" + table(rows))
        log("\n" + (f"FAIL: {failure} (seed {seed})" if failure else verdict(rows, time.monotonic() - started, seed)))
    return all(row.sound for row in rows) and bool(rows) and not failure
