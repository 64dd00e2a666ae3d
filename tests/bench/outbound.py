"""Measures sending through 1,000 units: rate, CPU per message, and the time from POST to Evolution's receipt."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import argon2
import psycopg
import trio

from zapline.domain.principals import TokenKind
from zapline.sandbox.embedded_postgres.host import free_port
from zapline.sandbox.simulator.server import API_KEY
from zapline.sql.accounts.access_tokens import NewToken, insert_token
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units.webhook_authentication import digest_secret

from .environment import HERE, Environment, ServerProcess, check, log, run_load
from .simulator import Simulator, running_simulator

UNITS = 1000
BASELINE_CONCURRENCY = 32
"""Concurrent calls of the baseline: more do not make it faster."""
MAX_RECEIPT_P99 = 1.0
"""Seconds from POST to Evolution's receipt."""
RATE = 100.0
SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class SendingBench:
    """A running daemon with open lines."""

    environment: Environment
    daemon: ServerProcess
    simulator: Simulator
    targets: Path
    instances: Sequence[str]

    def post(self, **options: Any) -> dict[str, Any]:
        return run_load(self.daemon, self.targets, messages=True, **options)

    def fetch_one(self, query: str) -> tuple[Any, ...]:
        with psycopg.connect(self.environment.url, autocommit=True) as conn:
            row = conn.execute(query.encode()).fetchone()
            assert row is not None
            return row

    def wait_until_settled(self, count: int) -> None:
        """Wait until ``count`` messages are settled and no webhook is pending."""
        deadline = time.perf_counter() + SETTLE_SECONDS
        while True:
            (done,) = self.fetch_one("select count(*) from zapline.outbox where state = 'settled'")
            if done >= count and not self.simulator.delivered(10**9)[1]:
                return
            if time.perf_counter() > deadline:
                states = self.fetch_one(
                    "select json_object_agg(state, n) from"
                    " (select state, count(*) n from zapline.outbox group by state) x"
                )
                raise SystemExit(f"only {done} of {count} messages were settled: {states}")
            time.sleep(0.1)


@contextmanager
def open_sending_bench(environment: Environment) -> Iterator[SendingBench]:
    """Run a new database with connected units, a simulator, and the daemon."""
    known = json.loads(environment.prepare(UNITS).read_text())
    file = max(environment.directory.glob("*/targets.json"), key=lambda path: path.stat().st_mtime_ns)
    port = free_port()
    token = trio.run(create_token, environment.url)
    with psycopg.connect(environment.url, autocommit=True) as conn:
        conn.execute(
            "update zapline.unit_whatsapp_connections set phase = 'open', status = 'connected', wanted = true,"
            " status_reason = 'scan_completed', connected_at = now(), first_connected_at = now()"
        )
        ids = {
            row[0]: str(row[1])
            for row in conn.execute("select instance_id, unit_id from zapline.unit_whatsapp_connections")
        }
    hooks = [(instance, f"http://127.0.0.1:{port}{path}") for path, instance in known]
    file.write_text(json.dumps([(f"/units/{ids[name]}/messages", name, token) for _, name in known]))
    with running_simulator() as server:
        server.open_instances(hooks)
        extra = {"EVOLUTION_API_URL": server.url, "EVOLUTION_API_KEY": API_KEY}
        with environment.daemon(file, port, extra) as (daemon, _):
            time.sleep(3.0)  # the daemon checks the lines after a start
            yield SendingBench(environment, daemon, server, file, [instance for instance, _ in hooks])


async def create_token(url: str) -> str:
    """Create a token of an administrator."""
    token = "zl_" + secrets.token_urlsafe(32)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(secrets.token_hex())
    async with await connect(url, role="zapline_engine") as conn:
        admin = await add_admin(conn, "bench@example.com", hashed)
        await insert_token(
            conn, digest_secret(token), NewToken(TokenKind.ADMIN, "bench", "bench", admin=admin, lasts=86400.0)
        )
    return token


def outbound(environment: Environment, quick: bool) -> bool:
    """Run all measurements of sending, in about a minute and a half."""
    per_unit = 3 if quick else 8
    with open_sending_bench(environment) as bench:
        log(f"\nSending through {UNITS} units, {UNITS * per_unit} messages that become due at once")
        sent_cpu = throughput(bench, per_unit)
        passed = latency(bench, 8.0 if quick else 20.0)
    with running_simulator() as server:
        instances = [f"naive_{number}" for number in range(100)]
        server.open_instances([(name, None) for name in instances])
        log("\nThe same by one asyncio loop that calls and updates a row, without queue, echo, pace or retry")
        compare_with_baseline(environment, server, instances, UNITS * per_unit, sent_cpu)
    return passed


def throughput(bench: SendingBench, per_unit: int) -> tuple[float, float]:
    """Return messages per second and CPU seconds per message of the daemon, from due to settled."""
    count = UNITS * per_unit
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    cpu = bench.daemon.cpu_seconds()
    result = bench.post(connections=16, seconds=SETTLE_SECONDS, most=count, extra={"sendAt": later})
    cpu = bench.daemon.cpu_seconds() - cpu
    log(
        f"  POSTs: {result['requests'] / result['seconds']:.0f}/s, p99 {result['p99'] * 1e3:.0f} ms,"
        f" CPU {cpu / count * 1e3:.2f} ms each{'  errors: ' + str(result['errors']) if result['errors'] else ''}"
    )
    cpu, simulator = bench.daemon.cpu_seconds(), bench.simulator.cpu_seconds()
    with psycopg.connect(bench.environment.url, autocommit=True) as conn:
        conn.execute("update zapline.outbox set due_at = now() where state = 'queued'")
    bench.wait_until_settled(result["requests"])
    cpu, simulator = bench.daemon.cpu_seconds() - cpu, bench.simulator.cpu_seconds() - simulator
    (took,) = bench.fetch_one(
        "select extract(epoch from max(o.settled_at) - min(a.started_at))::float8"
        "  from zapline.outbox o join zapline.attempts a on a.message_id = o.message_id"
    )
    log(
        f"  sent: {count / took:.0f} messages/s over {took:.1f} s; CPU a message: daemon {cpu / count * 1e3:.2f} ms"
        f" (claim, call, answer, echo), simulator {simulator / count * 1e3:.2f} ms"
    )
    return count / took, cpu / count


def latency(bench: SendingBench, seconds: float) -> bool:
    """Measure the time from the POST to Evolution's receipt, by this machine's clock."""
    before = len(bench.simulator.delivered()[0])
    (settled,) = bench.fetch_one("select count(*) from zapline.outbox where state = 'settled'")
    bench.post(connections=4, seconds=1.0, rate=50)
    result = bench.post(connections=32, seconds=seconds, rate=RATE, remember=True)
    bench.wait_until_settled(settled + result["requests"] + 40)
    received = dict(bench.simulator.delivered(before)[0])
    p50, p99, worst, missing = latencies(result["sent"], received)
    log(f"\nPOST to Evolution's receipt at {RATE:g} a second for {seconds:g} s, {UNITS} units")
    log(
        f"  POST answered p50 {result['p50'] * 1e3:.1f} ms, p99 {result['p99'] * 1e3:.1f} ms; never received: {missing}"
    )
    log(f"  receipt p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms")
    passed = p99 < MAX_RECEIPT_P99 and not missing
    return check("p99 from POST to Evolution's receipt", p99, f"< {MAX_RECEIPT_P99:g} s", passed)


def latencies(sent: Mapping[str, float], received: Mapping[str, float]) -> tuple[float, float, float, int]:
    """Return p50, p99 and maximum of the latencies, and the number of messages never received."""
    waits = sorted(received[text] - at for text, at in sent.items() if text in received)
    if not waits:
        return float("inf"), float("inf"), float("inf"), len(sent)
    return waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1], len(sent) - len(waits)


def compare_with_baseline(
    environment: Environment, server: Simulator, instances: Sequence[str], count: int, ours: tuple[float, float]
) -> None:
    """Print the baseline's numbers and the ratio of ours to them; the ratio has no limit."""
    for concurrency in (1, BASELINE_CONCURRENCY):
        result = run_baseline(environment, server, instances, count if concurrency > 1 else count // 4, concurrency)
        sent = count if concurrency > 1 else count // 4
        rate, cpu = sent / result["seconds"], result["cpu"] / sent
        log(
            f"  {concurrency:3} at once: {rate:.0f} messages/s, CPU {cpu * 1e3:.2f} ms each;"
            f" ours: {ours[0] / rate:.2f} of its rate, {ours[1] / cpu:.2f} times its CPU"
        )
    result = run_baseline(environment, server, instances, 1000, BASELINE_CONCURRENCY, rate=RATE)
    p50, p99, worst, missing = latencies(result["sent"], dict(server.delivered()[0]))
    log(
        f"  at {RATE:g} a second: receipt p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms"
        f"{'; never received: ' + str(missing) if missing else ''}"
    )


def run_baseline(
    environment: Environment,
    server: Simulator,
    instances: Sequence[str],
    count: int,
    concurrency: int,
    rate: float | None = None,
) -> dict[str, Any]:
    options = {"evolution": server.url, "key": API_KEY, "database": environment.url, "instances": list(instances)}
    options |= {"count": count, "atOnce": concurrency, "rate": rate}
    done = subprocess.run(
        [sys.executable, str(HERE / "baseline_sender.py"), json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout)
    return result
