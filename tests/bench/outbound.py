"""Measures sending through 1,000 units: messages a second, CPU per message, POST to Evolution, beside a bare loop."""

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
from zapline.sql.accounts.access_tokens import Grant, issue
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units.roster import digest

from .evolution import Evolution, evolution
from .place import HERE, Place, Server, load, say, verdict

UNITS = 1000
NAIVE_AT_ONCE = 32
"""Calls under way in the bare loop: more do not make it faster."""
RECEIPT_P99_WANTED = 1.0
"""Seconds from POST to Evolution's receipt."""
RATE = 100.0
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A running daemon with open lines."""

    place: Place
    daemon: Server
    evolution: Evolution
    targets: Path
    instances: Sequence[str]

    def post(self, **given: Any) -> dict[str, Any]:
        return load(self.daemon, self.targets, messages=True, **given)

    def one(self, query: str) -> tuple[Any, ...]:
        with psycopg.connect(self.place.url, autocommit=True) as conn:
            row = conn.execute(query.encode()).fetchone()
            assert row is not None
            return row

    def settled(self, count: int) -> None:
        """Wait until so many are settled, their echoes are taken, and all that is stored."""
        deadline = time.perf_counter() + PATIENCE
        while True:
            (done,) = self.one("select count(*) from zapline.outbox where state = 'settled'")
            if done >= count and not self.evolution.received(10**9)[1]:
                return
            if time.perf_counter() > deadline:
                states = self.one(
                    "select json_object_agg(state, n) from"
                    " (select state, count(*) n from zapline.outbox group by state) x"
                )
                raise SystemExit(f"only {done} of {count} messages were settled: {states}")
            time.sleep(0.1)


@contextmanager
def opened(place: Place) -> Iterator[Bench]:
    """A fresh database whose units are connected already, a simulator, and the daemon."""
    known = json.loads(place.prepare(UNITS).read_text())
    file = max(place.directory.glob("*/targets.json"), key=lambda path: path.stat().st_mtime_ns)
    port = free_port()
    token = trio.run(token_of, place.url)
    with psycopg.connect(place.url, autocommit=True) as conn:
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
    with evolution() as server:
        server.open_instances(hooks)
        extra = {"EVOLUTION_API_URL": server.url, "EVOLUTION_API_KEY": API_KEY}
        with place.daemon(file, port, extra) as (daemon, _):
            time.sleep(3.0)  # the lines are looked at after a start
            yield Bench(place, daemon, server, file, [instance for instance, _ in hooks])


async def token_of(url: str) -> str:
    """A token of an administrator."""
    token = "zl_" + secrets.token_urlsafe(32)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(secrets.token_hex())
    async with await connect(url, role="zapline_engine") as conn:
        admin = await add_admin(conn, "bench@example.com", hashed)
        await issue(conn, digest(token), Grant(TokenKind.ADMIN, "bench", "bench", admin=admin, lasts=86400.0))
    return token


def outbound(place: Place, quick: bool) -> bool:
    """All of it; about a minute and a half."""
    each = 3 if quick else 8
    with opened(place) as bench:
        say(f"\nSending through {UNITS} units, {UNITS * each} messages that become due at once")
        sent_cpu = throughput(bench, each)
        good = latency(bench, 8.0 if quick else 20.0)
    with evolution() as server:
        instances = [f"naive_{number}" for number in range(100)]
        server.open_instances([(name, None) for name in instances])
        say("\nThe same by one asyncio loop that calls and updates a row, without queue, echo, pace or retry")
        compare(place, server, instances, UNITS * each, sent_cpu)
    return good


def throughput(bench: Bench, each: int) -> tuple[float, float]:
    """(messages a second, CPU seconds a message) of the daemon, from due to settled."""
    count = UNITS * each
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    cpu = bench.daemon.cpu_seconds()
    told = bench.post(connections=16, seconds=PATIENCE, most=count, extra={"sendAt": later})
    cpu = bench.daemon.cpu_seconds() - cpu
    say(
        f"  POSTs: {told['requests'] / told['seconds']:.0f}/s, p99 {told['p99'] * 1e3:.0f} ms,"
        f" CPU {cpu / count * 1e3:.2f} ms each{'  errors: ' + str(told['errors']) if told['errors'] else ''}"
    )
    cpu, simulator = bench.daemon.cpu_seconds(), bench.evolution.cpu_seconds()
    with psycopg.connect(bench.place.url, autocommit=True) as conn:
        conn.execute("update zapline.outbox set due_at = now() where state = 'queued'")
    bench.settled(told["requests"])
    cpu, simulator = bench.daemon.cpu_seconds() - cpu, bench.evolution.cpu_seconds() - simulator
    (took,) = bench.one(
        "select extract(epoch from max(o.settled_at) - min(a.started_at))::float8"
        "  from zapline.outbox o join zapline.attempts a on a.message_id = o.message_id"
    )
    say(
        f"  sent: {count / took:.0f} messages/s over {took:.1f} s; CPU a message: daemon {cpu / count * 1e3:.2f} ms"
        f" (claim, call, answer, echo), simulator {simulator / count * 1e3:.2f} ms"
    )
    return count / took, cpu / count


def latency(bench: Bench, seconds: float) -> bool:
    """From the POST to Evolution's receipt, by the clock of this machine."""
    before = len(bench.evolution.received()[0])
    (settled,) = bench.one("select count(*) from zapline.outbox where state = 'settled'")
    bench.post(connections=4, seconds=1.0, rate=50)
    told = bench.post(connections=32, seconds=seconds, rate=RATE, remember=True)
    bench.settled(settled + told["requests"] + 40)
    received = dict(bench.evolution.received(before)[0])
    p50, p99, worst, missing = spread(told["sent"], received)
    say(f"\nPOST to Evolution's receipt at {RATE:g} a second for {seconds:g} s, {UNITS} units")
    say(f"  POST answered p50 {told['p50'] * 1e3:.1f} ms, p99 {told['p99'] * 1e3:.1f} ms; never received: {missing}")
    say(f"  receipt p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms")
    good = p99 < RECEIPT_P99_WANTED and not missing
    return verdict("p99 from POST to Evolution's receipt", p99, f"< {RECEIPT_P99_WANTED:g} s", good)


def spread(sent: Mapping[str, float], received: Mapping[str, float]) -> tuple[float, float, float, int]:
    """p50, p99 and worst of the waits, and how many were never received."""
    waits = sorted(received[text] - at for text, at in sent.items() if text in received)
    if not waits:
        return float("inf"), float("inf"), float("inf"), len(sent)
    return waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1], len(sent) - len(waits)


def compare(place: Place, server: Evolution, instances: Sequence[str], count: int, ours: tuple[float, float]) -> None:
    """The bare loop's numbers, and ours as a ratio to them. Nothing is promised of the ratio."""
    for at_once in (1, NAIVE_AT_ONCE):
        told = naive(place, server, instances, count if at_once > 1 else count // 4, at_once)
        sent = count if at_once > 1 else count // 4
        rate, cpu = sent / told["seconds"], told["cpu"] / sent
        say(
            f"  {at_once:3} at once: {rate:.0f} messages/s, CPU {cpu * 1e3:.2f} ms each;"
            f" ours: {ours[0] / rate:.2f} of its rate, {ours[1] / cpu:.2f} times its CPU"
        )
    told = naive(place, server, instances, 1000, NAIVE_AT_ONCE, rate=RATE)
    p50, p99, worst, missing = spread(told["sent"], dict(server.received()[0]))
    say(
        f"  at {RATE:g} a second: receipt p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms"
        f"{'; never received: ' + str(missing) if missing else ''}"
    )


def naive(
    place: Place, server: Evolution, instances: Sequence[str], count: int, at_once: int, rate: float | None = None
) -> dict[str, Any]:
    given = {"evolution": server.url, "key": API_KEY, "database": place.url, "instances": list(instances)}
    given |= {"count": count, "atOnce": at_once, "rate": rate}
    done = subprocess.run(
        [sys.executable, str(HERE / "naive.py"), json.dumps(given)], capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout)
    return told
