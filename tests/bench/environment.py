"""Runs what is measured: a database server, units, daemons as child processes, and the load on them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import trio

from zapline.daemon.master_key import master_key, webhook_secret
from zapline.domain.ids import UnitId
from zapline.sandbox.embedded_postgres.host import free_port
from zapline.sandbox.embedded_postgres.server import PostgresServer
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate
from zapline.supervisors.units.webhook_authentication import digest_secret

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


def log(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server process: its port, and its CPU time and memory as the kernel reports them."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def wait_until_listening(self, seconds: float = 30.0) -> None:
        deadline = time.perf_counter() + seconds
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.perf_counter() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def wait_until_quiet(self, seconds: float = 180.0) -> None:
        """Wait until what follows a start is over: the process takes less than a tenth of a core for 1.5 seconds."""
        deadline, calm = time.perf_counter() + seconds, 0
        while calm < 3 and time.perf_counter() < deadline:
            before = self.cpu_seconds()
            time.sleep(0.5)
            calm = calm + 1 if self.cpu_seconds() - before < 0.05 else 0

    def memory_kib(self) -> int:
        match = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1])


@dataclass(slots=True)
class Environment:
    """A directory, a database server that records commit times, and the current database."""

    directory: Path
    postgres: PostgresServer
    url: str = ""

    def prepare(self, units: int, build: Path | None = None) -> Path:
        """Create a database with ``units`` units; return the load generator's file of targets.

        ``build``: a checkout of another build, whose migrations are used.
        """
        name = f"bench_{uuid4().hex[:8]}"
        with psycopg.connect(self.postgres.url, autocommit=True) as admin:
            admin.execute(f"create database {name}")
        self.url = self.postgres.url.rpartition("/")[0] + f"/{name}"
        if build is None:
            trio.run(self._migrate)
        else:
            variables = {**os.environ, "DATABASE_URL": self.url, "PYTHONPATH": str(build / "src")}
            subprocess.run([sys.executable, "-m", "zapline", "migrate"], env=variables, check=True, capture_output=True)
        state = self.directory / name
        state.mkdir(mode=0o700)
        key = master_key(None, state)
        targets = []
        with psycopg.connect(self.url) as conn, conn.cursor() as cursor:
            for number in range(units):
                unit = UnitId(uuid4())
                secret = webhook_secret(key, unit, 1)
                cursor.execute("insert into zapline.units (id, name) values (%s, %s)", (unit, f"unit {number}"))
                cursor.execute(
                    "insert into zapline.unit_whatsapp_connections (unit_id, provider, instance_id, secret_digest)"
                    " values (%s, 'evolution', %s, %s)",
                    (unit, f"bench_{number}", digest_secret(secret)),
                )
                targets.append((f"/webhooks/whatsapp/evolution/{secret}", f"bench_{number}"))
        file = state / "targets.json"
        file.write_text(json.dumps(targets))
        return file

    def drop(self) -> None:
        """Remove the current database, which nobody may use any more."""
        with psycopg.connect(self.postgres.url, autocommit=True) as admin:
            admin.execute(f"drop database {self.url.rpartition('/')[2]} with (force)".encode())

    async def _migrate(self) -> None:
        async with await connect(self.url, statement_timeout_ms=0) as conn:
            await migrate(conn, lambda line: None)

    @contextmanager
    def daemon(
        self,
        targets: Path,
        port: int | None = None,
        extra: Mapping[str, str] | None = None,
        build: Path | None = None,
    ) -> Iterator[tuple[ServerProcess, float]]:
        """Run the daemon with production settings and ``extra`` variables; yields it and its startup seconds.

        ``build``: a checkout of another build, which is run instead.
        """
        port = port or free_port()
        variables = {name: value for name, value in os.environ.items() if not name.startswith("ZAPLINE_")}
        variables |= {
            "DATABASE_URL": self.url,
            "EVOLUTION_API_URL": "http://127.0.0.1:9",
            "EVOLUTION_API_KEY": "bench",
            "BASE_URL": f"http://127.0.0.1:{port}",
            "ZAPLINE_BIND": f"127.0.0.1:{port}",
            "ZAPLINE_STATE_DIR": str(targets.parent),
            "ZAPLINE_LOG_FORMAT": "json",
            **(extra or {}),
            **({"PYTHONPATH": str(build / "src")} if build is not None else {}),
        }
        log_path = targets.parent / "daemon.log"
        output = log_path.open("wb")
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "zapline", "run"], env=variables, stdout=output, stderr=output
        )
        try:
            while b"Ready" not in log_path.read_bytes():
                if process.poll() is not None or time.perf_counter() - started > 60:
                    raise SystemExit("the daemon did not start:\n" + log_path.read_text()[-2000:])
                time.sleep(0.02)
            yield ServerProcess(port, process.pid), time.perf_counter() - started
        finally:
            if process.poll() is not None:
                log(f"  the daemon exited: {process.returncode}")
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.close()

    def wait_until_stored(self, expected: int, seconds: float = 60) -> float:
        """Wait until ``expected`` messages are committed; return the seconds it took."""
        started = time.perf_counter()
        with psycopg.connect(self.url, autocommit=True) as conn:
            while True:
                row = conn.execute("select count(*) from zapline.messages").fetchone()
                assert row is not None
                if row[0] >= expected:
                    return time.perf_counter() - started
                if time.perf_counter() - started > seconds:
                    raise SystemExit(f"only {row[0]} of {expected} messages were stored")
                time.sleep(0.05)


def run_load(server: ServerProcess, targets: Path, core: int | None = None, **arguments: Any) -> dict[str, Any]:
    """Run the load generator against a server, on this ``core``; return its result.

    ``arguments`` are those of ``load_generator``.
    """
    options = {"port": server.port, "targets": str(targets), "rate": None, "remember": False, **arguments}
    process = subprocess.run(
        [sys.executable, str(HERE / "load_generator.py"), json.dumps({**options, "core": core})],
        capture_output=True,
        text=True,
        timeout=arguments["seconds"] + 60,
    )
    if process.returncode:
        raise SystemExit(process.stderr[-2000:])
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def check(name: str, value: float, limit: str, passed: bool) -> bool:
    """Print a measurement beside its limit; return ``passed``."""
    log(f"  {'ok  ' if passed else 'FAIL'} {name}: {value:.3f} (limit {limit})")
    return passed
