"""Kills and stops daemons that share the units, round after round, and counts what was lost or sent twice.

``make cluster``: three processes on the loopback, one PostgreSQL, a simulated Evolution, traffic to all nodes in turn.
``--seed`` repeats the choices of a run; ``--rounds`` says how many faults there are (20; about twenty minutes).
"""

import argparse
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable

from support.cluster import Node, RunningCluster, Traffic, gaps, inspect, running_cluster
from support.running_system import wait_until

_WITHIN = 180.0
"""Seconds within which the nodes must be complete again; what is judged is printed, and a slow machine fails no run."""
_MOST_GAP = 30.0
"""Seconds that a unit may be without a node that serves it, from the fault on."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--units", type=int, default=12)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    print(f"Seed {arguments.seed}, {arguments.rounds} rounds", flush=True)
    found, everything = list[str](), list[float]()
    with running_cluster(3, arguments.units) as cluster:
        traffic = Traffic(cluster, arguments.seed)
        traffic.start()
        try:
            for number in range(arguments.rounds):
                cluster.wait_until_settled(_WITHIN)
                time.sleep(rng.uniform(0.5, 3))
                fault = rng.choice(FAULTS)
                node, since = rng.choice(cluster.nodes), time.time()
                fault(cluster, node, rng)
                cluster.wait_until_settled(_WITHIN)
                gone = gaps(cluster, since)
                everything += gone
                name = fault.__name__.strip("_")
                print(
                    f"{number + 1:3} {name}: {len(gone)} units moved, the last after {max(gone, default=0):.1f} s",
                    flush=True,
                )
        finally:
            traffic.stop()
        ledger, inspected = traffic.ledger, inspect(cluster, traffic.ledger, _WITHIN)
        found = inspected.all
    everything.sort()
    if everything:
        middle, near = everything[len(everything) // 2], everything[int(len(everything) * 0.99)]
        print(f"Without a new owner: p50 {middle:.1f} s, p99 {near:.1f} s, max {everything[-1]:.1f} s")
    webhooks, messages = sum(map(len, ledger.webhooks.values())), sum(map(len, ledger.messages.values()))
    print(f"{webhooks} webhooks, {messages} messages; {ledger.refused} requests were refused and posted again")
    for name in vars(inspected):
        print(f"{name}: {len(getattr(inspected, name))}")
    for line in found[:20]:
        print(f"  {line}")
    late = [gap for gap in everything if gap > _MOST_GAP]
    print("PASS" if not found and not late else f"FAIL ({len(late)} units waited for over {_MOST_GAP:.0f} s)")
    return 0 if not found and not late else 1


def _kill(cluster: RunningCluster, node: Node, rng: random.Random) -> None:
    """A node dies, and is started again once others own its units."""
    node.signal(signal.SIGKILL)
    cluster.wait_until_settled(_WITHIN, node)
    node.start()


def _kill_and_start(cluster: RunningCluster, node: Node, rng: random.Random) -> None:
    """A node dies, and is back before anybody has noticed."""
    node.signal(signal.SIGKILL)
    wait_until(lambda: not node.is_alive, _WITHIN, "a death")
    node.start()


def _stop_for_long(cluster: RunningCluster, node: Node, rng: random.Random) -> None:
    """A node stands still until others own its units, and goes on."""
    node.signal(signal.SIGSTOP)
    cluster.wait_until_settled(_WITHIN, node)
    time.sleep(rng.uniform(0, 10))
    node.signal(signal.SIGCONT)


def _stop_for_a_moment(cluster: RunningCluster, node: Node, rng: random.Random) -> None:
    """A node stands still about as long as its lease holds."""
    node.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(2, 14))
    node.signal(signal.SIGCONT)


def _kill_two(cluster: RunningCluster, node: Node, rng: random.Random) -> None:
    """Two nodes die, one after the other; one is left."""
    other = rng.choice([each for each in cluster.nodes if each is not node])
    node.signal(signal.SIGKILL)
    time.sleep(rng.uniform(0, 5))
    other.signal(signal.SIGKILL)
    cluster.wait_until_settled(_WITHIN, node, other)
    node.start()
    other.start()


def _restart(cluster: RunningCluster, node: Node, rng: random.Random) -> None:
    """A node ends as it was asked to, and is started again."""
    node.signal(signal.SIGTERM)
    wait_until(lambda: not node.is_alive, _WITHIN, "an orderly end")
    node.start()


FAULTS: list[Callable[[RunningCluster, Node, random.Random], None]] = [
    *(_kill, _kill_and_start, _stop_for_long, _stop_for_a_moment, _kill_two, _restart)
]

if __name__ == "__main__":
    sys.exit(main())
