"""Measures both directions beside what one would write instead, memory, growth, reading, and what neighbours wait.

``make bench`` runs it, on loopback only; ``make bench-quick`` the throughput of both directions. docs/performance.md
tells what is measured and how to read it.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import psycopg

from zapline.sandbox.embedded_postgres.server import PostgresServer

from . import growth
from .crowding import crowding
from .environment import Environment, check, log, run_load
from .event_streams import event_streams
from .inbound import inbound
from .outbound import outbound

PARTS = ["throughput", "latency", "outbound", "sse", "memory", "growth", "reading", "crowding"]
MAX_COMMIT_P99 = 0.250
MAX_UNIT_KIB = 12.0
MAX_MIB = 64.0
"""Goals: of each of many units; of a process with two, after a minute of webhooks."""
MAX_READY_SECONDS = 20.0


def commit_latency(environment: Environment, rate: float, seconds: float) -> bool:
    """Measure the time from the POST to the commit of its row, at a fixed rate."""
    log(f"\nPOST to committed row at {rate:g} a second for {seconds:g} s, 1000 units")
    targets = environment.prepare(1000)
    with environment.daemon(targets) as (daemon, _):
        run_load(daemon, targets, connections=8, seconds=1.0, rate=100)
        result = run_load(daemon, targets, connections=32, seconds=seconds, rate=rate, remember=True)
        environment.wait_until_stored(int(100 * 1.0) + result["requests"] - 5)
        time.sleep(0.5)
    with psycopg.connect(environment.url) as conn:
        rows = conn.execute(
            "select external_id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 from zapline.messages"
        ).fetchall()
    waits = sorted(committed - result["sent"][external] for external, committed in rows if external in result["sent"])
    missing = len(result["sent"]) - len(waits)
    if missing:
        stored = {external for external, _ in rows}
        log(f"  not stored: {[id for id in result['sent'] if id not in stored][:5]}, answered {result['requests']}")
        log(f"  errors {result['errors']}, sent {len(result['sent'])}")
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    log(f"  answer p50 {result['p50'] * 1e3:.1f} ms, p99 {result['p99'] * 1e3:.1f} ms; not stored: {missing}")
    log(f"  commit p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {waits[-1] * 1e3:.1f} ms")
    passed = p99 < MAX_COMMIT_P99 and missing == 0
    return check("p99 from POST to committed row", p99, f"< {MAX_COMMIT_P99} s", passed)


def memory(environment: Environment, units: int) -> bool:
    """Measure the memory of a unit, and the start with many units."""
    log(f"\nMemory and start with {units} units")
    with environment.daemon(environment.prepare(0)) as (empty, _):
        time.sleep(2)
        base = empty.memory_kib()
    with environment.daemon(environment.prepare(units)) as (full, ready):
        time.sleep(5)
        unit_kib = (full.memory_kib() - base) / units
    log(f"  empty process {base} KiB")
    passed = _two_units(environment, 10.0 if units < 10_000 else 60.0)
    passed = check("KiB a unit", unit_kib, f"< {MAX_UNIT_KIB}", unit_kib < MAX_UNIT_KIB) and passed
    return check("seconds until ready", ready, f"< {MAX_READY_SECONDS}", ready < MAX_READY_SECONDS) and passed


def _two_units(environment: Environment, seconds: float) -> bool:
    """Measure the process of a small house after ``seconds`` of webhooks, and once its API and console were used."""
    targets = environment.prepare(2)
    with environment.daemon(targets) as (small, _):
        run_load(small, targets, connections=8, seconds=seconds, rate=50)
        webhooks = small.memory_kib() / 1024
        for path in ("/health", "/metrics", "/console/sign-in"):
            urlopen(f"http://127.0.0.1:{small.port}{path}", timeout=30).close()
        used = small.memory_kib() / 1024
    log(f"  two units after {seconds:g} s of webhooks {webhooks:.1f} MiB, once API and console were used {used:.1f}")
    return check("MiB with two units", webhooks, f"<= {MAX_MIB:g}", webhooks <= MAX_MIB)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short rounds of both directions, or of --only",
    )
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--messages", type=int, default=growth.ROWS[-1], help="of the largest table that is read")
    parser.add_argument("--earlier", type=Path, help="a checkout of another build, measured in the same rounds")
    options = parser.parse_args()
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
        environment = Environment(directory, postgres)
        wanted = [options.only] if options.only else ["throughput", "outbound"] if options.quick else PARTS
        rounds, seconds, earlier = (2, 2.0, options.earlier) if options.quick else (5, 8.0, options.earlier)
        if "throughput" in wanted:
            results.append(inbound(environment, rounds, seconds, options.connections, earlier))
        if "latency" in wanted:
            results.append(commit_latency(environment, 500, 5.0 if options.quick else 20.0))
        if "outbound" in wanted:
            results.append(outbound(environment, options.quick, earlier))
        if "sse" in wanted:
            results.append(event_streams(environment, options.quick))
        if "memory" in wanted:
            results.append(memory(environment, 2000 if options.quick else 10_000))
        if "growth" in wanted:
            results.append(growth.webhooks(environment, seconds, growth.CONNECTIONS, growth.UNITS))
        if "reading" in wanted:
            sizes = [size for size in growth.ROWS if size < options.messages]
            results.append(growth.rows(environment, [*sizes, options.messages], 40 if options.quick else 200))
        if "crowding" in wanted:
            results.append(crowding(environment, 20.0 if options.quick else 60.0, whole=not options.quick))
    finally:
        postgres.stop()
        postgres.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
