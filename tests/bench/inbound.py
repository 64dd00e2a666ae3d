"""Measures stored webhooks beside what one would write instead: FastAPI, uvicorn and asyncpg, and a bare server."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from zapline.sandbox.embedded_postgres.host import free_port

from .environment import HERE, Environment, ServerProcess, check, log, run_load
from .measuring import compare, machine, medians, pin

SERVER_CORE, LOAD_CORE = 0, 1
MIN_RATIO, MAX_CPU_RATIO = 2.5, 0.4
"""Goals: stored webhooks a second, and CPU for each, beside the FastAPI service."""
_STORED_WITHIN = 120.0


@dataclass(slots=True)
class _Contestant:
    """A server under load. ``count`` tells how many rows it has committed; ``posted``: how many were answered."""

    server: ServerProcess
    targets: Path
    count: Callable[[], int] | None
    posted: int = 0

    def round(self, connections: int, seconds: float) -> tuple[float, float]:
        """Stored webhooks per second and CPU seconds for each; the round ends with its last committed row."""
        pin(self.server.pid, SERVER_CORE)
        cpu = self.server.cpu_seconds()
        result = run_load(self.server, self.targets, core=LOAD_CORE, connections=connections, seconds=seconds)
        took = result["seconds"]
        self.posted += result["requests"]
        began = time.perf_counter()
        while self.count is not None and self.count() < self.posted:
            if time.perf_counter() - began > _STORED_WITHIN:
                raise SystemExit(f"only {self.count()} of {self.posted} webhooks were stored")
            time.sleep(0.02)
        took += time.perf_counter() - began
        if result["errors"]:
            log(f"  errors: {result['errors']}")
        return result["requests"] / took, (self.server.cpu_seconds() - cpu) / max(1, result["requests"])


def inbound(environment: Environment, rounds: int, seconds: float, connections: int, earlier: Path | None) -> bool:
    """Compare the servers in interleaved rounds; ``earlier``: a checkout of another build, measured in the same run."""
    log(f"\nStored webhooks, {connections} connections, 1000 units, {rounds} interleaved rounds of {seconds:g} s")
    log(f"  before: {machine(environment.directory)}")
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    with ExitStack() as stack:
        contestants = {"zapline": _zapline(stack, environment, None)}
        if earlier is not None:
            contestants["earlier"] = _zapline(stack, environment, earlier)
        targets = contestants["zapline"].targets
        contestants["hello"] = _Contestant(stack.enter_context(hello_server()), targets, None)
        contestants["fastapi"] = stack.enter_context(_fastapi(environment, targets))
        for contestant in contestants.values():
            contestant.round(connections, 1.0)
        for _ in range(rounds):
            for name, contestant in contestants.items():
                rate, cost = contestant.round(connections, seconds)
                rates.setdefault(name, []).append(rate)
                costs.setdefault(name, []).append(cost)
    log(f"  after:  {machine(environment.directory)}")
    rate_medians, cost_medians = medians(rates), medians(costs)
    log(f"  {'':8} {'stored/s':>9} {'CPU each':>10}   zapline's rate beside it    zapline's CPU beside it")
    for name in rates:
        beside = compare(rates["zapline"], rates[name]), compare(costs["zapline"], costs[name])
        log(f"  {name:8} {rate_medians[name]:9.0f} {cost_medians[name] * 1e6:7.0f} us   {beside[0]!s:25}   {beside[1]}")
    rate = compare(rates["zapline"], rates["fastapi"]).median
    cpu = compare(costs["zapline"], costs["fastapi"]).median
    passed = check("stored webhooks beside FastAPI", rate, f">= {MIN_RATIO}", rate >= MIN_RATIO)
    return check("CPU for each beside FastAPI", cpu, f"<= {MAX_CPU_RATIO}", cpu <= MAX_CPU_RATIO) and passed


def _zapline(stack: ExitStack, environment: Environment, build: Path | None) -> _Contestant:
    targets = environment.prepare(1000, build)
    counting = stack.enter_context(psycopg.connect(environment.url, autocommit=True))
    daemon, _ = stack.enter_context(environment.daemon(targets, build=build))
    return _Contestant(daemon, targets, lambda: _count(counting, "select count(*) from zapline.messages"))


def _count(conn: psycopg.Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def hello_server() -> Iterator[ServerProcess]:
    """The bare server: it reads a body and says hello."""
    process = subprocess.Popen([sys.executable, str(HERE / "hello_server.py")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield ServerProcess(int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.wait()


@contextmanager
def _fastapi(environment: Environment, targets: Path) -> Iterator[_Contestant]:
    """The peer, in an environment of its own, which is thrown away with the bench's directory."""
    python = _install(environment.directory / "peers")
    port = free_port()
    command = [str(python), str(HERE / "peers" / "fastapi_app.py"), environment.url, str(port)]
    process = subprocess.Popen(command)
    try:
        server = ServerProcess(port, process.pid)
        server.wait_until_listening()
        with psycopg.connect(environment.url, autocommit=True) as conn:
            yield _Contestant(server, targets, lambda: _count(conn, "select count(*) from peer_messages"))
    finally:
        process.kill()
        process.wait()


def _install(directory: Path) -> Path:
    """Install the pinned packages of the peers; return their interpreter."""
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        lock = HERE / "peers" / "requirements.lock"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", str(lock)], check=True)
    return python
