"""Runs seeds, one after another or in several processes, each with a server of its own."""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any

from .plan import Plan, draw
from .planted import PLANTED
from .server import Place, simulation_server
from .shrink import changed
from .simulation import Result, simulate


def run_seed(seed: int, place: Place, arguments: argparse.Namespace, plan: Plan | None = None) -> Result:
    """Run one seed as the arguments ask for."""
    plant = PLANTED[arguments.plant].plant if arguments.plant else None
    return simulate(seed, place, plan or changed(draw(seed), arguments.plan), plant)


def results(seeds: list[int], arguments: argparse.Namespace) -> Iterator[Result]:
    """Run the seeds until the time of the arguments is over."""
    deadline, processes = time.monotonic() + arguments.seconds, arguments.processes
    if processes == 1:
        with simulation_server() as place:
            for seed in seeds:
                if time.monotonic() > deadline:
                    return
                yield run_seed(seed, place, arguments)
        return
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    shares = [(seeds[number::processes], deadline, arguments, queue) for number in range(processes)]
    workers = [context.Process(target=_work, args=share) for share in shares]
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


def _work(seeds: list[int], deadline: float, arguments: argparse.Namespace, queue: Any) -> None:
    try:
        with simulation_server() as place:
            for seed in seeds:
                if time.monotonic() > deadline:
                    return
                queue.put(run_seed(seed, place, arguments))
    finally:
        queue.put(None)
