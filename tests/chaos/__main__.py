"""Kills the daemon and PostgreSQL, and lets Evolution fail, under load; counts what was lost: ``make chaos``.

Two parts: inbound (webhooks, about three minutes) and outbound (messages that are sent, about four). ``--seed``
repeats the random choices of a run. ``--only`` takes a part by its name, or the phases whose names hold a word;
two are not part of the whole: ``campaign10k``, a campaign of 10,000 recipients (about two minutes), and
``neighbours``, a line that hangs and a campaign of 50,000 beside others that reply (half a minute).
"""

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import trio

from . import inbound, outbound
from .outbound_campaign import campaign10k
from .outbound_neighbours import neighbours
from .report import say

Part = Callable[[int, Sequence[str]], Awaitable[bool]]
PARTS: dict[str, Part] = {"inbound": inbound.part, "outbound": outbound.part}
ON_DEMAND: dict[str, Part] = {"campaign10k": campaign10k, "neighbours": neighbours}


async def main(seed: int, words: Sequence[str]) -> int:
    """Every part that is wanted, one after the other; 0 if every invariant held in all of them."""
    started, sound = time.monotonic(), True
    say(f"Seed {seed}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        for part, phases in chosen(words):
            sound = await part(seed, phases) and sound
            say()
        nursery.cancel_scope.cancel()
    say(f"{'PASS' if sound else 'FAIL'} (seed {seed}, {time.monotonic() - started:.0f} s)")
    return 0 if sound else 1


def chosen(words: Sequence[str]) -> list[tuple[Part, Sequence[str]]]:
    """The parts to run, each with the words that pick its phases; no words: all of them."""
    if not words:
        return [(part, ()) for part in PARTS.values()]
    picked: list[tuple[Part, Sequence[str]]] = [
        (part, ()) for name, part in (PARTS | ON_DEMAND).items() if name in words
    ]
    rest = [word for word in words if word not in PARTS | ON_DEMAND]
    if rest:
        names = {
            "inbound": [each[0] for each in inbound.plan()],
            "outbound": [p.name for p in outbound.outbound_plan()],
        }
        picked += [
            (PARTS[part], rest) for part, all_names in names.items() if any(w in n for w in rest for n in all_names)
        ]
    return picked


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    """Also an interrupted run ends what it has started."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            say("Interrupted")
            scope.cancel()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    code = trio.run(main, seed, given.only)
    sys.exit(code)
