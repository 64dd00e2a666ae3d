"""Runs all of Zapline as real processes: PostgreSQL, a simulated Evolution, and the daemon; without trio."""

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx2
import psycopg
from support.prepared_processes import COMMAND, DAEMON, SIMULATOR, PreparedProcess, start

from zapline.sandbox.embedded_postgres.host import free_port
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sandbox.simulator.server import API_KEY

ADMIN = "ana@example.com"
READY_SECONDS = 60.0
STOP_SECONDS = 15.0


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> float:
    """Poll until the condition holds; return the seconds it took. Fails naming ``what`` after ``seconds``."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - started


@dataclass
class RunningSystem:
    """The processes and the client that drives them. Created by ``running_system``."""

    directory: Path
    postgres: PostgresServer
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    port: int = field(default_factory=free_port)
    http: httpx2.Client = field(default_factory=httpx2.Client)
    evolution_url: str = ""
    daemon: PreparedProcess | None = None
    _evolution: PreparedProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """The log of all daemon processes, one after the other."""
        return self.directory / "daemon.log"

    # -- the processes -------------------------------------------------------------------------------------

    def open(self) -> None:
        self.run("migrate")
        self.run("admin", "add", ADMIN, "--password-stdin", stdin=f"{self.password}\n")
        port = free_port()
        self.evolution_url = f"http://127.0.0.1:{port}"
        log = self.directory / "evolution.log"
        self._evolution = self._start_process(SIMULATOR, ["--port", str(port)], log)
        self.start_daemon()
        self.http = httpx2.Client(base_url=self.url, timeout=15, trust_env=False)
        answer = self.http.post("/admin/login", json={"email": ADMIN, "password": self.password})
        self.http.headers["authorization"] = f"Bearer {answer.json()['token']}"

    def start_daemon(self) -> None:
        """Start the daemon and wait until it is ready; the port stays the same."""
        self.daemon = self._start_process(DAEMON, ["run"], self.log)
        wait_until(self._is_ready, READY_SECONDS, "the daemon's start")

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def close(self) -> None:
        self.http.close()
        for child in (self.daemon, self._evolution):
            if child is not None and child.poll() is None:
                child.terminate()
                try:
                    child.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def _start_process(self, program: str, arguments: list[str], log: Path) -> PreparedProcess:
        with log.open("ab") as out:
            return start(program, arguments, env=self._environment(), stdout=out, stderr=out)

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run a command of ``zapline`` that must succeed; what it prints."""
        with TemporaryFile() as given, TemporaryFile() as printed:
            given.write(stdin.encode())
            given.seek(0)
            streams = {"stdin": given, "stdout": printed, "stderr": printed}
            code = start(COMMAND, arguments, env=self._environment(), **streams).wait(60)
            printed.seek(0)
            told = printed.read().decode()
            assert code == 0, told
            return told

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZAPLINE_")}
        return inherited | {
            "DATABASE_URL": self.postgres.url,
            "EVOLUTION_API_URL": self.evolution_url or "http://127.0.0.1:9",
            "EVOLUTION_API_KEY": API_KEY,
            "BASE_URL": self.url,
            "ZAPLINE_BIND": f"127.0.0.1:{self.port}",
            "ZAPLINE_STATE_DIR": str(self.directory / "state"),
            "ZAPLINE_LOG_FORMAT": "json",
            "ZAPLINE_LOG_LEVEL": "debug",
        }

    def _is_ready(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, self.log.read_text(errors="replace")[-3000:]
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    # -- what users and phones do ----------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, expect: int | None = None, **more: Any) -> Any:
        """Call the API as the administrator; return the JSON response. Fails on an unexpected status."""
        answer = self.http.request(method, path, **({"json": body} if body is not None else {}), **more)
        assert answer.status_code == expect if expect else answer.status_code < 400, (
            f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        )
        return answer.json() if answer.content else None

    def control(self, command: str, method: str = "POST", **arguments: Any) -> Any:
        """Call a control endpoint of the simulated Evolution."""
        url = f"{self.evolution_url}/_control/{command}"
        answer = httpx2.request(method, url, json=arguments, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self, unit: str) -> dict[str, Any]:
        status: dict[str, Any] = self.call("GET", f"/units/{unit}/whatsapp/status")
        return status

    def new_unit(self, name: str, instance: str, *, connected: bool = True) -> str:
        """Create a unit, by default with an open line; return its id."""
        unit = str(self.call("POST", "/units", {"name": name, "instance": instance})["id"])
        if connected:
            self.call("POST", f"/units/{unit}/whatsapp/connect", {})
            wait_until(lambda: self.status(unit)["reason"] == "waiting_scan", 15, "a code to scan")
            self.control("scan", instance=instance)
            wait_until(lambda: self.status(unit)["status"] == "connected", 10, "the connection")
        return unit

    def allow_fast_sending(self, unit: str) -> None:
        """Set the unit's pace to the highest allowed."""
        self.call(
            "PUT",
            f"/units/{unit}/pace",
            {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001},
        )

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query as the owner of the database."""
        with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=5) as conn:
            return conn.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def log_lines(self) -> list[dict[str, Any]]:
        """The records of the daemon's log. Raises ``ValueError`` for a line that is not JSON."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]


@contextmanager
def running_system() -> Iterator[RunningSystem]:
    """Run the whole system until the block ends; then remove everything."""
    directory = Path(tempfile.mkdtemp(prefix="zapline-system-"))
    directory.chmod(0o711)  # as root the database runs as another user, who must get in
    server = PostgresServer(directory / "postgres", durable=False)
    try:
        server.open()
        try:
            server.start()
            system = RunningSystem(directory, server)
            try:
                system.open()
                yield system
            finally:
                system.close()
        finally:
            server.stop()
            server.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
