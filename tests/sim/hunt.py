"""Looks for each planted bug anew, in the worlds that seeds draw for themselves: ``make planted``."""

import argparse
import sys

from .plan import draw
from .planted import PLANTED, Bug
from .server import Place, simulation_server
from .simulation import simulate

SEEDS = 500
"""Within which each bug has to be found."""


def find(bug: Bug, place: Place, start: int) -> tuple[int, int, str] | None:
    """The first seed that finds the bug, how many it took to simulate, and what it told.

    A seed whose world cannot show the bug is counted and not simulated; one that fails without the bug proves nothing.
    """
    simulated = 0
    for seed in range(start, start + SEEDS):
        if not bug.shows(draw(seed)):
            continue
        simulated += 1
        found = simulate(seed, place, plant=bug.plant).violations
        if found and not simulate(seed, place).violations:
            return seed, simulated, found[0]
    return None


def main() -> int:
    """Print where each bug is found; 0 where all are."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.hunt", description=__doc__)
    parser.add_argument("bugs", nargs="*", default=[], help=f"these alone, of: {', '.join(PLANTED)}")
    parser.add_argument("--from", dest="start", type=int, default=1, help="the first seed (1)")
    arguments = parser.parse_args()
    missed = 0
    with simulation_server() as place:
        for name in arguments.bugs or PLANTED:
            found = find(PLANTED[name], place, arguments.start)
            missed += found is None
            told = f"seed {found[0]}, the {found[1]}. simulated: {found[2][:160]}" if found else f"not in {SEEDS} seeds"
            print(f"{name}: {told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
