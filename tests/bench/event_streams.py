"""Measures the cost of event stream clients: for the inbound path, and the memory of one that does not read."""

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

from .environment import HERE, Environment, ServerProcess, check, log, run_load
from .outbound import create_token

UNITS, CLIENTS = 1000, 500
MAX_RATIO = 1.2
"""Limit of the p99 of webhooks with all clients connected, divided by that without."""
MAX_STALLED_KIB = 128.0


@dataclass(slots=True)
class StreamClients:
    """The process of the clients, and the counts it printed at its end."""

    process: subprocess.Popen[str]
    open: int
    counts: dict[str, int] = field(default_factory=dict)


@contextmanager
def stream_clients(daemon: ServerProcess, paths: Sequence[str], token: str, *, reads: bool) -> Iterator[StreamClients]:
    """Connect a client to each path until the block ends."""
    options = json.dumps({"port": daemon.port, "paths": paths, "token": token, "reads": reads})
    process = subprocess.Popen(
        [sys.executable, str(HERE / "stream_clients.py"), options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    if not first:
        raise SystemExit("the clients did not connect")
    clients = StreamClients(process, json.loads(first)["open"])
    try:
        yield clients
    finally:
        output, _ = process.communicate(timeout=30)
        clients.counts = json.loads(output)


def event_streams(environment: Environment, quick: bool) -> bool:
    """Measure interleaved rounds with and without clients at one rate, then the memory of clients that never read.

    It takes the median ratio of many short pairs, so that other load on the machine affects single pairs only.
    """
    pairs, seconds, rate = (4, 4.0, 200.0) if quick else (12, 4.0, 200.0)
    log(f"\nLive events: {CLIENTS} clients, {UNITS} units, {rate:g} webhooks a second, {pairs} pairs of {seconds:g} s")
    targets = environment.prepare(UNITS)
    token = trio.run(create_token, environment.url)
    with psycopg.connect(environment.url) as conn:
        units = [str(row[0]) for row in conn.execute("select id from zapline.units order by id limit %s", (CLIENTS,))]
    paths = [f"/units/{unit}/events" for unit in units]
    rounds: dict[str, list[Round]] = {"alone": [], "watched": []}
    with environment.daemon(targets) as (daemon, _):
        run_load(daemon, targets, connections=16, seconds=3.0, rate=rate)
        for number in range(pairs):
            for name in ("alone", "watched") if number % 2 == 0 else ("watched", "alone"):
                clients = paths if name == "watched" else []
                rounds[name].append(_measure_round(daemon, name, targets, clients, token, rate, seconds))
        passed = _measure_stalled_clients(daemon, targets, paths, token, rate)
    ratios = [watched.p99 / alone.p99 for watched, alone in zip(rounds["watched"], rounds["alone"], strict=True)]
    cpu = {name: statistics.median(round.cpu for round in measured) for name, measured in rounds.items()}
    log(f"  CPU a webhook: {cpu['alone'] * 1e6:.0f} us alone, {cpu['watched'] * 1e6:.0f} us watched")
    log(f"  ratios of p99, pair by pair: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    ratio = statistics.median(ratios)
    return check(f"p99 with {CLIENTS} clients / without", ratio, f"< {MAX_RATIO}", ratio < MAX_RATIO) and passed


@dataclass(frozen=True, slots=True)
class Round:
    """``p99`` of the responses in seconds; ``cpu`` seconds of the daemon for each webhook."""

    p99: float
    cpu: float


def _measure_round(
    daemon: ServerProcess, name: str, targets: Path, clients: Sequence[str], token: str, rate: float, seconds: float
) -> Round:
    with stream_clients(daemon, clients, token, reads=True) as streams:
        time.sleep(1.0)
        cpu = daemon.cpu_seconds()
        result = run_load(daemon, targets, connections=32, seconds=seconds, rate=rate)
        time.sleep(0.5)
        cpu = daemon.cpu_seconds() - cpu
    counts = streams.counts
    log(
        f"  {name:8} p50 {result['p50'] * 1e3:5.2f} ms, p99 {result['p99'] * 1e3:6.2f} ms, CPU {cpu / seconds:.0%}"
        f"  {streams.open} clients, {counts['events']} events, lost {counts['lost']}, errors {result['errors']}"
    )
    return Round(result["p99"], cpu / max(1, result["requests"]))


def _measure_stalled_clients(
    daemon: ServerProcess, targets: Path, paths: Sequence[str], token: str, rate: float
) -> bool:
    """Measure the daemon's memory for each client that stops reading after its connection, under load."""
    time.sleep(2.0)
    before = daemon.memory_kib()
    with stream_clients(daemon, paths, token, reads=False) as streams:
        run_load(daemon, targets, connections=32, seconds=10.0, rate=2 * rate)
        time.sleep(1.0)
        client_kib = (daemon.memory_kib() - before) / streams.open
    return check("KiB a client that never reads", client_kib, f"< {MAX_STALLED_KIB}", client_kib < MAX_STALLED_KIB)
