"""The part about webhooks: kills under load, and what the database holds of what was answered 200."""

import time
from collections.abc import Sequence

import trio

from . import faults
from .report import say, table, verdict
from .run import RATE, Run, open_run

UNITS = 20
LIMIT = 290.0
"""Seconds for the whole part; whatever hangs, hangs no longer."""
KILLS = 10

POINTS = ("after-append", "after-answer", "in-hand", "before-commit", "after-commit", "after-mark-done")


def plan() -> list[tuple[str, faults.Fault, float, bool]]:
    """Name, fault, rate, and whether the daemon is the planted one."""
    random_kills = [
        (f"kill {number} {'daemon' if number % 2 else 'PostgreSQL'}", strike, RATE, False)
        for number in range(1, KILLS + 1)
        for strike in [faults.daemon_killed if number % 2 else faults.postgres_killed]
    ]
    return [
        ("undisturbed", faults.undisturbed, RATE, False),
        *random_kills,
        ("kill both at once", faults.both_killed, RATE, False),
        ("SIGTERM", faults.terminated, RATE, False),
        ("PostgreSQL stopped", faults.postgres_stopped, 100.0, False),
        ("start without PostgreSQL", faults.started_without_postgres, 100.0, False),
        ("second daemon", faults.second_daemon, 50.0, False),
        *((f"die {point}", faults.dies_at(point), RATE, True) for point in POINTS),
        ("die during-snapshot", faults.dies_during_snapshot, RATE, True),
        ("PostgreSQL dies in transaction", faults.postgres_dies_in_transaction, RATE, True),
        ("commit-answer-lost", faults.commit_unanswered, RATE, True),
        ("snapshot-refused", faults.snapshot_refused, RATE, True),
        ("die during-prune", faults.dies_during_prune, RATE, True),
    ]


async def go_through(run: Run, words: Sequence[str]) -> None:
    """Every phase of the plan that is wanted, then a last look at the daemon's own health."""
    planted: bool | None = None
    for name, fault, rate, wants_planted in plan():
        if words and not any(word in name for word in words):
            continue
        if wants_planted is not planted:
            if planted is not None:
                run.place.daemon.process.terminate()
                await run.place.daemon.ended()
            await run.place.start(planted=wants_planted)
            planted = wants_planted
        await run.phase(name, fault, rate)
    health = await run.place.health()
    journal = health["journal"]
    if run.rows and isinstance(journal, dict) and journal["depth"]:
        run.rows[-1].failures.append(f"/health speaks of {journal['depth']} entries not stored")


async def part(seed: int, words: Sequence[str]) -> bool:
    """The whole part; whether every invariant held."""
    started = time.monotonic()
    say(f"Inbound: {UNITS} units; about {RATE:g} webhooks a second")
    run: Run | None = None
    ended = "the run was interrupted"
    try:
        with trio.move_on_after(LIMIT) as limit:
            async with open_run(UNITS, seed) as run:
                await go_through(run, words)
                ended = ""
        if limit.cancelled_caught:
            ended = f"the run did not end within {LIMIT:g} s"
    finally:
        rows = run.rows if run is not None else []
        say("\n" + table(rows))
        say("\n" + (f"FAIL: {ended} (seed {seed})" if ended else verdict(rows, time.monotonic() - started, seed)))
    return all(row.sound for row in rows) and bool(rows) and not ended
