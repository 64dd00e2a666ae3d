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
    """Interleaved rounds with and without clients at one rate; then memory of those who never read.

    Many short pairs and the median of their ratios: whatever else the machine does falls on single pairs.
    """
    pairs, seconds, rate = (4, 4.0, 200.0) if quick else (12, 4.0, 200.0)
    say(f"\nLive events: {CLIENTS} clients, {UNITS} units, {rate:g} webhooks a second, {pairs} pairs of {seconds:g} s")
    targets = place.prepare(UNITS)
    token = trio.run(token_of, place.url)
    with psycopg.connect(place.url) as conn:
        units = [str(row[0]) for row in conn.execute("select id from zapline.units order by id limit %s", (CLIENTS,))]
    paths = [f"/units/{unit}/events" for unit in units]
    rounds: dict[str, list[Round]] = {"alone": [], "watched": []}
    with place.daemon(targets) as (daemon, _):
        load(daemon, targets, connections=16, seconds=3.0, rate=rate)
        for number in range(pairs):
            for name in ("alone", "watched") if number % 2 == 0 else ("watched", "alone"):
                clients = paths if name == "watched" else []
                rounds[name].append(_round(daemon, name, targets, clients, token, rate, seconds))
        good = _stalled(daemon, targets, paths, token, rate)
    ratios = [one.p99 / other.p99 for one, other in zip(rounds["watched"], rounds["alone"], strict=True)]
    cpu = {name: statistics.median(one.cpu for one in found) for name, found in rounds.items()}
    say(f"  CPU a webhook: {cpu['alone'] * 1e6:.0f} us alone, {cpu['watched'] * 1e6:.0f} us watched")
    say(f"  ratios of p99, pair by pair: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    ratio = statistics.median(ratios)
    return verdict(f"p99 with {CLIENTS} clients / without", ratio, f"< {RATIO_WANTED}", ratio < RATIO_WANTED) and good


@dataclass(frozen=True, slots=True)
class Round:
    """``p99`` of the answers in seconds, ``cpu`` of the daemon for each webhook."""

    p99: float
    cpu: float


def _round(
    daemon: Server, name: str, targets: Path, clients: Sequence[str], token: str, rate: float, seconds: float
) -> Round:
    with watchers(daemon, clients, token, reads=True) as watching:
        time.sleep(1.0)
        cpu = daemon.cpu_seconds()
        told = load(daemon, targets, connections=32, seconds=seconds, rate=rate)
        time.sleep(0.5)
        cpu = daemon.cpu_seconds() - cpu
    said = watching.told
    say(
        f"  {name:8} p50 {told['p50'] * 1e3:5.2f} ms, p99 {told['p99'] * 1e3:6.2f} ms, CPU {cpu / seconds:.0%}"
        f"  {watching.open} clients, {said['events']} events, lost {said['lost']}, errors {told['errors']}"
    )
    return Round(told["p99"], cpu / max(1, told["requests"]))


def _stalled(daemon: Server, targets: Path, paths: Sequence[str], token: str, rate: float) -> bool:
    """Memory of the daemon for each client that was greeted and never reads again, while much is told."""
    time.sleep(2.0)
    before = daemon.memory_kib()
    with watchers(daemon, paths, token, reads=False) as watching:
        load(daemon, targets, connections=32, seconds=10.0, rate=2 * rate)
        time.sleep(1.0)
        each = (daemon.memory_kib() - before) / watching.open
    return verdict("KiB a client that never reads", each, f"< {STALLED_KIB_WANTED}", each < STALLED_KIB_WANTED)
