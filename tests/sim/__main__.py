"""Runs seeds of the deterministic simulation: ``make sim``.

Each seed builds a world of its own (the whole daemon on a simulated disk, real PostgreSQL stepped in one thread, a
simulated Evolution, phones and a CRM, in virtual time), draws its own mix of faults, and compares at the end what
entered, what was stored and what phones received. The same seed takes the same steps.
"""

import argparse
import multiprocessing
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .planted import PLANTED
from .server import simulation_server
from .simulation import Result, simulate


def main() -> int:
    """Run what the arguments ask for; 0 where no seed failed."""
    arguments = _arguments()
    seeds = arguments.seed or range(arguments.start, arguments.start + arguments.seeds)
    began, failed, results = time.monotonic(), [], []
    for result in _results(list(seeds), arguments.processes, arguments.seconds, arguments.plant):
        results.append(result)
        print(line(result), flush=True)
        if result.violations:
            failed.append(result.seed)
            print(story(result, arguments.history), flush=True)
        elif arguments.seed:
            print(story(result, arguments.history), flush=True)
    print(summary(results, failed, time.monotonic() - began))
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="run this seed alone, and tell its history")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds (20)")
    parser.add_argument("--from", dest="start", type=int, default=None, help="the first seed (by chance)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no seed after this time")
    parser.add_argument("--processes", type=int, default=1, help="seeds at the same time (1)")
    parser.add_argument("--history", type=int, default=40, help="lines of history to tell (40)")
    parser.add_argument("--plant", default="", choices=["", *PLANTED], help="plant this bug, to see it found")
    parsed = parser.parse_args()
    if parsed.start is None:
        parsed.start = secrets.randbelow(1_000_000_000)
    return parsed


def _results(seeds: list[int], processes: int, seconds: float, planted: str) -> Iterator[Result]:
    deadline = time.monotonic() + seconds
    if processes == 1:
        with simulation_server() as place:
            for seed in seeds:
                if time.monotonic() > deadline:
                    return
                yield simulate(seed, place, plant=PLANTED[planted][0] if planted else None)
        return
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(seeds[number::processes], deadline, planted, queue))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    left = len(workers)
    while left:
        result = queue.get()
        if result is None:
            left -= 1
        else:
            yield result
    for worker in workers:
        worker.join()


def _work(seeds: list[int], deadline: float, planted: str, queue: Any) -> None:
    try:
        with simulation_server() as place:
            for seed in seeds:
                if time.monotonic() > deadline:
                    return
                queue.put(simulate(seed, place, plant=PLANTED[planted][0] if planted else None))
    finally:
        queue.put(None)


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
    told += [f"  again: make sim SEED={result.seed}"] if result.violations else []
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
