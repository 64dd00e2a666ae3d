"""The part about messages that are sent: Evolution's faults, kills, and who got what how often."""

import time
from collections.abc import Sequence

import trio

from .outbound_faults import outbound_plan
from .outbound_report import outbound_table, outbound_verdict
from .outbound_run import OutboundRun, open_outbound_run
from .report import say

__all__ = ["outbound_plan", "part"]

UNITS = 20
LIMIT = 270.0
"""Seconds for the whole part; whatever hangs, hangs no longer."""


async def part(seed: int, words: Sequence[str]) -> bool:
    """The whole part; whether every invariant held."""
    started = time.monotonic()
    say(f"Outbound: {UNITS} units")
    run: OutboundRun | None = None
    ended = "the run was interrupted"
    try:
        with trio.move_on_after(LIMIT) as limit:
            async with open_outbound_run(UNITS, seed) as run:
                for phase in outbound_plan():
                    if not words or any(word in phase.name for word in words):
                        await run.phase(phase)
                await run.judge()
                ended = ""
        if limit.cancelled_caught:
            ended = f"the run did not end within {LIMIT:g} s"
    finally:
        rows = run.rows if run is not None else []
        say("\n" + outbound_table(rows))
        took = time.monotonic() - started
        say("\n" + (f"FAIL: {ended} (seed {seed})" if ended else outbound_verdict(rows, took, seed)))
    return all(row.sound for row in rows) and bool(rows) and not ended
