"""Kills the daemon and PostgreSQL and injects faults into Evolution under load, and counts losses: ``make chaos``.

Two parts: inbound (webhooks, about three minutes) and outbound (sent messages, about four). ``--seed`` repeats the
random choices of a run. ``--only`` selects a part by its name, or the phases whose names hold a word. Two parts run
only on demand: ``campaign10k``, a campaign of 10,000 recipients (about two minutes), and ``neighbours``, a line that
hangs and a campaign of 50,000 beside other units that reply (half a minute).
"""

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import trio

from .inbound.part import plan, run_inbound
from .outbound.campaign import campaign10k
from .outbound.neighbours import neighbours
from .outbound.part import run_outbound
from .outbound.phases import phases
from .output import log

Part = Callable[[int, Sequence[str]], Awaitable[bool]]
PARTS: dict[str, Part] = {"inbound": run_inbound, "outbound": run_outbound}
ON_DEMAND: dict[str, Part] = {"campaign10k": campaign10k, "neighbours": neighbours}


async def main(seed: int, words: Sequence[str]) -> int:
    """Run the selected parts in turn; 0 if every invariant held in all of them."""
    started, sound = time.monotonic(), True
    log(f"Seed {seed}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        for part, phase_words in select(words):
            sound = await part(seed, phase_words) and sound
            log()
        nursery.cancel_scope.cancel()
    log(f"{'PASS' if sound else 'FAIL'} (seed {seed}, {time.monotonic() - started:.0f} s)")
    return 0 if sound else 1


def select(words: Sequence[str]) -> list[tuple[Part, Sequence[str]]]:
    """Return the parts to run, each with the words that select its phases; no words: all of them."""
    if not words:
        return [(part, ()) for part in PARTS.values()]
    selected: list[tuple[Part, Sequence[str]]] = [
        (part, ()) for name, part in (PARTS | ON_DEMAND).items() if name in words
    ]
    rest = [word for word in words if word not in PARTS | ON_DEMAND]
    if rest:
        names = {
            "inbound": [name for name, *_ in plan()],
            "outbound": [phase.name for phase in phases()],
        }
        selected += [
            (PARTS[part], rest)
            for part, phase_names in names.items()
            if any(word in name for word in rest for name in phase_names)
        ]
    return selected


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    """Cancel the run on a signal, so that it stops the processes it has started."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            log("Interrupted")
            scope.cancel()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(10**6)
    code = trio.run(main, seed, arguments.only)
    sys.exit(code)
