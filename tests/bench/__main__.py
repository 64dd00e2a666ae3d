"""Measures the inbound path beside FastAPI and a bare server, the outbound path beside a bare loop, and memory.

``make bench`` runs it, on loopback only; ``make bench-quick`` the throughput of both directions. docs/performance.md
tells what is measured and how to read it.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from zapline.sandbox.embedded_postgres.server import PostgresServer

from .environment import Environment, check, log, run_load
from .event_streams import event_streams
from .inbound import inbound
from .outbound import outbound

PARTS = ["throughput", "latency", "outbound", "sse", "memory"]
MAX_COMMIT_P99 = 0.250
MAX_UNIT_KIB = 40.0
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
    passed = check("KiB a unit", unit_kib, f"< {MAX_UNIT_KIB}", unit_kib < MAX_UNIT_KIB)
    return check("seconds until ready", ready, f"< {MAX_READY_SECONDS}", ready < MAX_READY_SECONDS) and passed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short rounds of both directions, or of --only",
    )
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--connections", type=int, default=64)
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
    finally:
        postgres.stop()
        postgres.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
