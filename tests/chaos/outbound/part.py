"""Runs the outbound part: Evolution's faults, kills, and a count of the copies of each message."""

import time
from collections.abc import Sequence

import trio

from ..environment import HANGS_AFTER
from ..output import log
from .phases import phases
from .report import table, verdict
from .run import OutboundRun, open_outbound_run

UNITS = 20


async def run_outbound(seed: int, words: Sequence[str]) -> bool:
    """Run the part; return whether every invariant held."""
    started = time.monotonic()
    log(f"Outbound: {UNITS} units")
    run: OutboundRun | None = None
    failure = "the run was interrupted"
    try:
        with trio.move_on_after(HANGS_AFTER) as limit:
            async with open_outbound_run(UNITS, seed) as run:
                for phase in phases():
                    if not words or any(word in phase.name for word in words):
                        await run.phase(phase)
                await run.check()
                failure = ""
        if limit.cancelled_caught:
            failure = f"the run did not end within {HANGS_AFTER:g} s"
    finally:
        rows = run.rows if run is not None else []
        log("\n" + table(rows))
        took = time.monotonic() - started
        log("\n" + (f"FAIL: {failure} (seed {seed})" if failure else verdict(rows, took, seed)))
    return all(row.sound for row in rows) and bool(rows) and not failure
