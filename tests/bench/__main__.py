"""Measures both directions: the inbound path beside a bare "hello", the outbound one beside a bare loop, and memory.

``make bench`` runs it: about nine minutes, on loopback only. ``--quick`` takes one short round of each.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from zapline.sandbox.embedded_postgres.server import PostgresServer

from .outbound import outbound
from .place import HERE, Place, Server, load, say, verdict
from .sse import live

RATIO_WANTED = 0.6
COMMIT_P99_WANTED = 0.250
UNIT_KIB_WANTED = 40.0
READY_WANTED = 20.0


@contextmanager
def hello() -> Iterator[Server]:
    process = subprocess.Popen([sys.executable, str(HERE / "hello.py")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.wait()


def throughput(place: Place, rounds: int, seconds: float, connections: int) -> bool:
    """Interleaved rounds of hello and of the full path."""
    say(f"\nThroughput, {connections} connections, 1000 units, {rounds} interleaved rounds of {seconds:g} s")
    say(f"  {'':6} {'requests/s':>11} {'p50':>8} {'p99':>8} {'CPU/request':>12}")
    targets = place.prepare(1000)
    rates: dict[str, list[float]] = {"hello": [], "full": []}
    ratios, posted = [], 0
    with hello() as yardstick, place.daemon(targets) as (daemon, _):
        for server in (yardstick, daemon):
            posted += load(server, targets, connections=connections, seconds=1.0)["requests"] * (server is daemon)
        for _ in range(rounds):
            for name, server in (("hello", yardstick), ("full", daemon)):
                cpu = server.cpu_seconds()
                told = load(server, targets, connections=connections, seconds=seconds)
                took = told["seconds"]
                if name == "full":
                    posted += told["requests"]
                    took += place.stored(posted)  # a round lasts until its last message is committed
                cpu = server.cpu_seconds() - cpu
                rate = told["requests"] / took
                rates[name].append(rate)
                per = cpu / max(1, told["requests"]) * 1e6
                say(
                    f"  {name:6} {rate:11.0f} {told['p50'] * 1e3:6.1f}ms {told['p99'] * 1e3:6.1f}ms {per:9.0f} us"
                    f"{'  errors: ' + str(told['errors']) if told['errors'] else ''}"
                )
            ratios.append(rates["full"][-1] / rates["hello"][-1])
    ratio = statistics.median(ratios)
    return verdict(f"ratio full/hello, median of {rounds}", ratio, f">= {RATIO_WANTED}", ratio >= RATIO_WANTED)


def commit_latency(place: Place, rate: float, seconds: float) -> bool:
    """From the POST to the commit of its row, at a fixed rate."""
    say(f"\nPOST to committed row at {rate:g} a second for {seconds:g} s, 1000 units")
    targets = place.prepare(1000)
    with place.daemon(targets) as (daemon, _):
        load(daemon, targets, connections=8, seconds=1.0, rate=100)
        told = load(daemon, targets, connections=32, seconds=seconds, rate=rate, remember=True)
        place.stored(int(100 * 1.0) + told["requests"] - 5)
        time.sleep(0.5)
    with psycopg.connect(place.url) as conn:
        rows = conn.execute(
            "select external_id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 from zapline.messages"
        ).fetchall()
    waits = sorted(committed - told["sent"][external] for external, committed in rows if external in told["sent"])
    missing = len(told["sent"]) - len(waits)
    if missing:
        stored = {external for external, _ in rows}
        say(f"  not stored: {[one for one in told['sent'] if one not in stored][:5]}, answered {told['requests']}")
        say(f"  errors {told['errors']}, sent {len(told['sent'])}")
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    say(f"  answer p50 {told['p50'] * 1e3:.1f} ms, p99 {told['p99'] * 1e3:.1f} ms; not stored: {missing}")
    say(f"  commit p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {waits[-1] * 1e3:.1f} ms")
    ok = p99 < COMMIT_P99_WANTED and missing == 0
    return verdict("p99 from POST to committed row", p99, f"< {COMMIT_P99_WANTED} s", ok)


def memory(place: Place, units: int) -> bool:
    """What a unit costs, and how long a large house takes to start."""
    say(f"\nMemory and start with {units} units")
    with place.daemon(place.prepare(0)) as (empty, _):
        time.sleep(2)
        base = empty.memory_kib()
    with place.daemon(place.prepare(units)) as (full, ready):
        time.sleep(5)
        each = (full.memory_kib() - base) / units
    say(f"  empty process {base} KiB")
    good = verdict("KiB a unit", each, f"< {UNIT_KIB_WANTED}", each < UNIT_KIB_WANTED)
    return verdict("seconds until ready", ready, f"< {READY_WANTED}", ready < READY_WANTED) and good


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument("--only", choices=["throughput", "latency", "memory", "outbound", "sse"])
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="zapline-bench-"))
    directory.chmod(0o711)
    postgres = PostgresServer(directory / "postgres", durable=True)
    postgres.open()
    results = []
    try:
        postgres.start()
        with psycopg.connect(postgres.url, autocommit=True) as admin:
            admin.execute("alter system set track_commit_timestamp = on")
        postgres.stop()
        postgres.start()
        place = Place(directory, postgres)
        if given.only in (None, "throughput"):
            results.append(throughput(place, 1 if given.quick else 5, 3.0 if given.quick else 8.0, given.connections))
        if given.only in (None, "latency"):
            results.append(commit_latency(place, 500, 5.0 if given.quick else 20.0))
        if given.only in (None, "outbound"):
            results.append(outbound(place, given.quick))
        if given.only in (None, "sse"):
            results.append(live(place, given.quick))
        if given.only in (None, "memory"):
            results.append(memory(place, 2000 if given.quick else 10_000))
    finally:
        postgres.stop()
        postgres.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
