"""What those who watch live cost the inbound path, and what one costs who does not read."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import trio

from .outbound import token_of
from .place import HERE, Place, Server, load, say, verdict

UNITS, CLIENTS = 1000, 500
RATIO_WANTED = 1.2
"""The p99 of webhooks with all clients connected, to that without: what must hold."""
STALLED_KIB_WANTED = 128.0


@dataclass(slots=True)
class Watching:
    """The clients' process, and what it said at its end."""

    process: subprocess.Popen[str]
    open: int
    told: dict[str, int] = field(default_factory=dict)


@contextmanager
def watchers(daemon: Server, paths: Sequence[str], token: str, *, reads: bool) -> Iterator[Watching]:
    """So many clients, all greeted, until the block is left."""
    given = json.dumps({"port": daemon.port, "paths": paths, "token": token, "reads": reads})
    process = subprocess.Popen(
        [sys.executable, str(HERE / "watchers.py"), given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    if not first:
        raise SystemExit("the watchers did not come up")
    made = Watching(process, json.loads(first)["open"])
    try:
        yield made
    finally:
        said, _ = process.communicate(timeout=30)
        made.told = json.loads(said)


def live(place: Place, quick: bool) -> bool:
    """Interleaved rounds with and without clients at one rate; then memory of those who never read."""
    rounds, seconds, rate = (3, 5.0, 200.0) if quick else (7, 8.0, 200.0)
    say(
        f"\nLive events: {CLIENTS} clients, {UNITS} units, {rate:g} webhooks a second, {rounds} rounds of {seconds:g} s"
    )
    targets = place.prepare(UNITS)
    token = trio.run(token_of, place.url)
    with psycopg.connect(place.url) as conn:
        units = [str(row[0]) for row in conn.execute("select id from zapline.units order by id limit %s", (CLIENTS,))]
    paths = [f"/units/{unit}/events" for unit in units]
    with place.daemon(targets) as (daemon, _):
        load(daemon, targets, connections=16, seconds=3.0, rate=rate)
        ratios, answers = [], {"alone": list[float](), "watched": list[float]()}
        for number in range(rounds):
            pair: dict[str, float] = {}
            # The order alternates: what the machine does beside meets both alike.
            for name in ("alone", "watched") if number % 2 == 0 else ("watched", "alone"):
                pair[name] = _round(daemon, name, targets, paths, token, rate, seconds)
                answers[name].append(pair[name])
            ratios.append(pair["watched"] / pair["alone"])
        good = _stalled(daemon, targets, paths, token, rate)
    alone, watched = (statistics.median(answers[name]) for name in ("alone", "watched"))
    say(f"  p99 of answers, median of rounds: {alone * 1e3:.2f} ms alone, {watched * 1e3:.2f} ms watched")
    say(f"  ratios of the pairs: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    ratio = watched / alone
    return verdict(f"p99 with {CLIENTS} clients / without", ratio, f"< {RATIO_WANTED}", ratio < RATIO_WANTED) and good


def _round(
    daemon: Server, name: str, targets: Path, paths: Sequence[str], token: str, rate: float, seconds: float
) -> float:
    """One round; the p99 of its answers."""
    clients = paths if name == "watched" else []
    with watchers(daemon, clients, token, reads=True) as watching:
        time.sleep(1.0)
        cpu = daemon.cpu_seconds()
        told = load(daemon, targets, connections=32, seconds=seconds, rate=rate)
        cpu = daemon.cpu_seconds() - cpu
        time.sleep(1.0)
    said = watching.told
    say(
        f"  {name:8} p50 {told['p50'] * 1e3:5.2f} ms, p99 {told['p99'] * 1e3:6.2f} ms, CPU {cpu / seconds:.0%}"
        f"  {watching.open} clients, {said['events']} events, lost {said['lost']}, errors {told['errors']}"
    )
    return float(told["p99"])


def _stalled(daemon: Server, targets: Path, paths: Sequence[str], token: str, rate: float) -> bool:
    """Memory of the daemon for each client that was greeted and never reads again, while much is told."""
    time.sleep(2.0)
    before = daemon.memory_kib()
    with watchers(daemon, paths, token, reads=False) as watching:
        load(daemon, targets, connections=32, seconds=10.0, rate=2 * rate)
        time.sleep(1.0)
        each = (daemon.memory_kib() - before) / watching.open
    return verdict("KiB a client that never reads", each, f"< {STALLED_KIB_WANTED}", each < STALLED_KIB_WANTED)
