"""Runs seeds of the deterministic simulation: ``make sim``.

Each seed builds a world of its own (the whole daemon on a simulated disk, real PostgreSQL stepped in one thread, a
simulated Evolution, phones and a CRM, in virtual time), draws its own mix of faults, and compares at the end what
entered, what was stored and what phones received. The same seed takes the same steps.
"""

import argparse
import secrets
import sys
import time
from collections import Counter

from .plan import draw
from .planted import PLANTED
from .proof import publish
from .search import results, run_seed
from .server import simulation_server
from .shrink import changed, differences, shrink
from .simulation import Result


def main() -> int:
    """Run what the arguments ask for; 0 where no seed failed."""
    arguments = _arguments()
    seeds = list(arguments.seed or range(arguments.start, arguments.start + arguments.seeds))
    began, failed, ended = time.monotonic(), [], []
    for result in results(seeds, arguments):
        ended.append(result)
        print(line(result), flush=True)
        if result.violations:
            failed.append(result.seed)
        if result.violations or arguments.seed:
            print(story(result, arguments.history), flush=True)
    seconds = time.monotonic() - began
    print(summary(ended, failed, seconds))
    if arguments.publish and ended:
        publish(ended, seconds, arguments.processes)
    if failed and arguments.shrink:
        _shrink(failed[0], arguments)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="run this seed alone, and tell its history")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds (20)")
    parser.add_argument("--from", dest="start", type=int, default=None, help="the first seed (by chance)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no seed after this time")
    parser.add_argument("--processes", type=int, default=1, help="seeds at the same time (1)")
    parser.add_argument("--history", type=int, default=40, help="lines of history to tell (40)")
    parser.add_argument("--plan", default="", help="JSON: what is to differ from the plan that the seed draws")
    parser.add_argument("--shrink", action="store_true", help="make the plan of a failing seed smaller while it fails")
    parser.add_argument("--publish", action="store_true", help="write the figures into docs/reliability.md")
    parser.add_argument("--plant", default="", choices=["", *PLANTED], help="plant this bug, to see it found")
    parsed = parser.parse_args()
    if parsed.start is None:
        parsed.start = secrets.randbelow(1_000_000_000)
    return parsed


def _shrink(seed: int, arguments: argparse.Namespace) -> None:
    """Tell the smallest plan under which the seed still fails."""
    with simulation_server() as place:
        given = changed(draw(seed), arguments.plan)
        plan = shrink(given, lambda smaller: bool(run_seed(seed, place, arguments, smaller).violations))
        result = run_seed(seed, place, arguments, plan)
    print(f"Smaller:\n{line(result)}\n{story(result, arguments.history)}")


def line(result: Result) -> str:
    verdict = "FAIL" if result.violations else "ok"
    return (
        f"seed {result.seed}: {verdict}, trace {result.trace}, {result.steps} steps, {result.inbound} in, "
        f"{result.outbound} out, {sum(result.struck.values())} faults, at rest after {result.drained:.0f} s; "
        f"{result.virtual:.0f} s virtual in {result.real:.1f} s"
    )


def story(result: Result, lines: int) -> str:
    told = [f"  plan: {result.plan.describe()}", *(f"  {text}" for text in result.history[-lines:])] if lines else []
    told += [f"  VIOLATION {text}" for text in result.violations]
    if result.violations:
        plan = differences(result.plan, draw(result.seed))
        told.append(f"  again: make sim SEED={result.seed}" + (f" PLAN='{plan}'" if plan != "{}" else ""))
    return "\n".join(told)


def summary(results: list[Result], failed: list[int], seconds: float) -> str:
    struck: Counter[str] = Counter()
    for result in results:
        struck.update(result.struck)
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(struck.items()))
    slowest = max((result.drained for result in results), default=0.0)
    return (
        f"{len(results)} seeds in {seconds:.0f} s, {len(failed)} failed{f' {failed}' if failed else ''}; "
        f"{sum(result.inbound for result in results)} messages in, {sum(result.outbound for result in results)} out; "
        f"slowest to rest {slowest:.0f} s\nfaults: {faults}"
    )


if __name__ == "__main__":
    sys.exit(main())
