"""Measures sending through 1,000 units: rate, CPU per message, and the time from POST to Evolution's receipt."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
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
from .measuring import compare, machine, medians, pin
from .simulator import Simulator, running_simulator

UNITS = 1000
BASELINE_CONCURRENCY = 32
"""Concurrent calls of the baseline: more do not make it faster."""
MAX_POST_CPU, MAX_SEND_CPU, MIN_SEND_RATE = 0.7, 1.2, 0.9
"""Goals, beside the bare loop."""
MAX_RECEIPT_P99 = 1.0
"""Seconds from POST to Evolution's receipt."""
RATE = 100.0
SETTLE_SECONDS = 300.0


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
        """Wait until ``count`` messages are settled."""
        deadline = time.perf_counter() + SETTLE_SECONDS
        while True:
            (done,) = self.fetch_one("select count(*) from zapline.outbox where state = 'settled'")
            if done >= count:
                return
            if time.perf_counter() > deadline:
                states = self.fetch_one(
                    "select json_object_agg(state, n) from"
                    " (select state, count(*) n from zapline.outbox group by state) x"
                )
                raise SystemExit(f"only {done} of {count} messages were settled: {states}")
            time.sleep(0.1)


@contextmanager
def open_sending_bench(
    environment: Environment, units: int = UNITS, build: Path | None = None
) -> Iterator[SendingBench]:
    """Run a new database with connected units, a simulator, and the daemon of this or of another build."""
    environment = replace(environment)  # each daemon has its own database
    known = json.loads(environment.prepare(units, build).read_text())
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
        conn.execute(  # one unit is measured alone
            "insert into zapline.unit_paces (unit_id, per_minute, burst, gap_seconds, campaign_seconds)"
            " values (%s, 1000000, 100000, 0, 2)",
            (ids[known[0][1]],),
        )
    hooks = [(instance, f"http://127.0.0.1:{port}{path}") for path, instance in known]
    file.write_text(json.dumps([(f"/units/{ids[name]}/messages", name, token) for _, name in known]))
    with running_simulator() as server:
        server.open_instances(hooks)
        extra = {"EVOLUTION_API_URL": server.url, "EVOLUTION_API_KEY": API_KEY}
        with environment.daemon(file, port, extra, build) as (daemon, _):
            daemon.wait_until_quiet()  # it registers webhooks and checks the lines after a start
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


def outbound(environment: Environment, quick: bool, earlier: Path | None = None) -> bool:
    """Run all measurements of sending; ``earlier``: a checkout of another build, measured in the same rounds."""
    rounds, units, per_unit = (2, 100, 4) if quick else (5, UNITS, 4)
    series: dict[str, dict[str, list[float]]] = {}

    def note(name: str, values: Mapping[str, float]) -> None:
        for what, value in values.items():
            series.setdefault(what, {}).setdefault(name, []).append(value)

    log(f"\nSending through {units} units, {rounds} interleaved rounds of {units * per_unit} messages due at once")
    log(f"  before: {machine(environment.directory)}")
    with ExitStack() as stack:
        benches = {"zapline": stack.enter_context(open_sending_bench(environment, units=units))}
        if earlier is not None:
            benches["earlier"] = stack.enter_context(open_sending_bench(environment, units=units, build=earlier))
        bare = stack.enter_context(running_simulator())
        instances = [f"naive_{number}" for number in range(100)]
        bare.open_instances([(name, None) for name in instances])
        for number in range(rounds):
            for name, bench in benches.items():
                note(name, send_round(bench, units * per_unit, number))
            for at_once, count in ((1, units * per_unit // 4), (BASELINE_CONCURRENCY, units * per_unit)):
                result = run_baseline(benches["zapline"].environment, bare, instances, count, at_once)
                cost = {"POST": result["cpu"] / count, "CPU": result["cpu"] / count} if at_once == 1 else {}
                note("bare loop", cost | ({"rate": count / result["seconds"]} if at_once > 1 else {}))
        log(f"  after:  {machine(environment.directory)}")
        passed = report(series)
        if not quick:
            passed = latency(benches["zapline"], 20.0) and passed
            one_unit(benches)
    return passed


def report(series: Mapping[str, Mapping[str, Sequence[float]]]) -> bool:
    """Print medians and ratios; the bare loop makes one call at a time where CPU is compared, 32 where rates are."""
    labels = {"POST": "CPU of a POST (bare: of a whole message)", "CPU": "CPU of a send", "rate": "sends a second"}
    limits = {"POST": MAX_POST_CPU, "CPU": MAX_SEND_CPU, "rate": MIN_SEND_RATE}
    passed = True
    for what, label in labels.items():
        for name, value in medians(series[what]).items():
            beside = compare(series[what]["zapline"], series[what][name])
            shown = f"{value:9.0f}/s " if what == "rate" else f"{value * 1e3:9.2f} ms"
            log(f"  {label:42} {name:10} {shown}   zapline beside it: {beside}")
        ratio, limit = compare(series[what]["zapline"], series[what]["bare loop"]).median, limits[what]
        good = ratio >= limit if what == "rate" else ratio <= limit
        passed = check(f"{label}, beside the bare loop", ratio, f"{'>=' if what == 'rate' else '<='} {limit}", good)
    return passed


def send_round(bench: SendingBench, count: int, number: int) -> dict[str, float]:
    """POST ``count`` messages, let them all become due, and wait until they are settled: CPU of each, and the rate."""
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    pin(bench.daemon.pid, 0)
    bench.daemon.wait_until_quiet()
    cpu = bench.daemon.cpu_seconds()
    result = bench.post(core=1, connections=16, seconds=SETTLE_SECONDS, most=count, extra={"sendAt": later})
    post_cpu = (bench.daemon.cpu_seconds() - cpu) / count
    if result["errors"]:
        raise SystemExit(f"{result['errors']} of {count} POSTs were refused")
    cpu = bench.daemon.cpu_seconds()
    with psycopg.connect(bench.environment.url, autocommit=True) as conn:
        conn.execute("update zapline.outbox set due_at = now() where state = 'queued'")
    bench.wait_until_settled(count * (number + 1))
    bench.daemon.wait_until_quiet()  # the echoes
    (took,) = bench.fetch_one(
        "select extract(epoch from max(o.settled_at) - min(a.started_at))::float8 from zapline.attempts a"
        f" join (select * from zapline.outbox order by seq desc limit {count}) o on o.message_id = a.message_id"
    )
    return {"POST": post_cpu, "CPU": (bench.daemon.cpu_seconds() - cpu) / count, "rate": count / took}


def one_unit(benches: Mapping[str, SendingBench]) -> None:
    """The rate of the first unit, which has no pace, alone, to 200 chats."""
    for name, bench in benches.items():
        path, instance, token = json.loads(bench.targets.read_text())[0]
        only = bench.targets.with_name("one.json")
        only.write_text(json.dumps([(path, instance, token)]))
        (settled,) = bench.fetch_one("select count(*) from zapline.outbox where state = 'settled'")
        run_load(bench.daemon, only, messages=True, connections=4, seconds=30.0, most=200)
        bench.wait_until_settled(settled + 200)
        (took,) = bench.fetch_one(
            "select extract(epoch from max(o.settled_at) - min(a.started_at))::float8 from zapline.attempts a"
            " join (select * from zapline.outbox order by seq desc limit 200) o on o.message_id = a.message_id"
        )
        log(f"  one unit alone without a pace, {name}: {200 / took:.0f} messages/s")


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
