"""Runs what the faults are injected into: a PostgreSQL, units, a state directory, and daemons as child processes."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import trio
from support.prepared_processes import DAEMON, start

from zapline.daemon.master_key import master_key, webhook_secret
from zapline.domain.ids import UnitId
from zapline.sandbox.embedded_postgres.host import free_port
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate
from zapline.sql.units.units import insert_unit
from zapline.supervisors.units.webhook_authentication import digest_secret

CANARY = "canario-7d1f"
"""Part of every message text and every key of a run; it must not be in any log line."""
API_KEY = f"{CANARY}-evolution-key"
READY_SECONDS = 120.0
EXIT_SECONDS = 60.0
FAULT_POINT_SECONDS = 240.0
"""Longest wait for a fault point to be reached under load. None of these decides on a machine that is only slow."""
HANGS_AFTER = 3600.0
"""Seconds after which a part that hangs is ended."""
POLL_SECONDS = 0.005
DAEMONS = Path(__file__).with_name("daemons")
"""Scripts that run the daemon with fault points."""


class DaemonFailed(Exception):
    """A daemon did not start or did not exit as expected; the text holds the end of its log."""


async def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False where it does not within ``seconds``."""
    deadline = trio.current_time() + seconds
    while not condition():
        if trio.current_time() > deadline:
            return False
        await trio.sleep(POLL_SECONDS)
    return True


async def wait_until_none(count: Callable[[], Awaitable[int]], patience: float) -> bool:
    """Wait until nothing is left; False where it has not become less for ``patience`` seconds.

    A slow machine takes longer, and fails no run: what counts is that it goes on.
    """
    least, deadline = await count(), trio.current_time() + patience
    while least:
        await trio.sleep(0.1)
        left = await count()
        if left < least:
            least, deadline = left, trio.current_time() + patience
        elif trio.current_time() > deadline:
            return False
    return True


class DaemonProcess:
    """One process of the daemon, from its start to its exit."""

    def __init__(self, program: str | Path, arguments: Sequence[str], variables: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = start(program, arguments, env=variables, stdout=out, stderr=out)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def wait_until_ready(self) -> None:
        """Wait until it serves. Raises ``DaemonFailed``."""
        await wait_until(lambda: not self.alive or self._has_logged_ready(), READY_SECONDS)
        if self.alive and self._has_logged_ready():
            return
        raise DaemonFailed(f"the daemon did not get ready (exit {self.process.poll()}):\n{self.log_tail()}")

    def _has_logged_ready(self) -> bool:
        return b"Ready: " in self.log.read_bytes()

    async def wait_for_exit(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait until it has exited; return the exit code, negative for a signal. Raises ``DaemonFailed``."""
        if await wait_until(lambda: not self.alive, seconds):
            return self.process.wait()
        raise DaemonFailed(f"the daemon did not end within {seconds:g} s:\n{self.log_tail()}")

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.wait_for_exit()

    def end(self) -> None:
        """Kill it, if it is alive."""
        if self.alive:
            self.process.kill()
        self.process.wait()

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


@dataclass
class Environment:
    """The database, the units and the daemons of a run. Created by ``open_environment``."""

    directory: Path
    postgres: EmbeddedPostgres
    port: int
    evolution_url: str = "http://127.0.0.1:9"
    """By default nothing listens there."""
    faulty_daemon: Path = DAEMONS / "inbound.py"
    """The script that runs the daemon with fault points."""
    key: bytes = b""
    units: list[UnitId] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    daemons: list[DaemonProcess] = field(default_factory=list)
    """Every daemon that was started, in order."""

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def marker(self) -> Path:
        return self.directory / "marker"

    @property
    def daemon(self) -> DaemonProcess:
        return self.daemons[-1]

    async def prepare(self, count: int) -> None:
        """Migrate the empty database, and add ``count`` units with secrets derived from the daemon's key."""
        async with await connect(self.postgres.url, statement_timeout_ms=0) as conn:
            await migrate(conn, lambda line: None)
        self.state.mkdir(mode=0o700)
        self.key = master_key(None, self.state)
        async with await connect(self.postgres.url, role="zapline_engine") as conn:
            for number in range(count):
                unit, instance = UnitId(uuid4()), f"chaos_{number}"
                secret = webhook_secret(self.key, unit, 1)
                await insert_unit(
                    conn,
                    id=unit,
                    name=f"Unidade {number}",
                    instance=instance,
                    secret_digest=digest_secret(secret),
                    time_zone="America/Sao_Paulo",
                )
                self.units.append(unit)
                self.instances.append(instance)
                self.secrets.append(secret)

    @property
    def paths(self) -> list[str]:
        return [f"/webhooks/whatsapp/evolution/{secret}" for secret in self.secrets]

    def launch(
        self,
        *,
        with_fault_points: bool = False,
        port: int | None = None,
        state: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> DaemonProcess:
        """Start a daemon; one with a ``port`` of its own does not become ``self.daemon``."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("ZAPLINE_", "CHAOS_"))}
        second = port is not None
        daemon_port = port or self.port
        variables |= {
            "DATABASE_URL": self.postgres.url,
            "EVOLUTION_API_URL": self.evolution_url,
            "EVOLUTION_API_KEY": API_KEY,
            "BASE_URL": f"http://127.0.0.1:{daemon_port}",
            "ZAPLINE_BIND": f"127.0.0.1:{daemon_port}",
            "ZAPLINE_STATE_DIR": str(state or self.state),
            "ZAPLINE_HOOK_PRIVATE_HOSTS": "true",
            "ZAPLINE_LOG_FORMAT": "json",
            "ZAPLINE_LOG_LEVEL": "debug",
            "CHAOS_MARKER": str(self.marker),
            "CHAOS_ORDERS": str(self.directory / "orders"),
            **(extra or {}),
        }
        program, arguments = (self.faulty_daemon, []) if with_fault_points else (DAEMON, ["run"])
        daemon = DaemonProcess(program, arguments, variables, self.directory / f"daemon-{len(self.daemons):03}.log")
        self.daemons.insert(len(self.daemons) - 1 if second else len(self.daemons), daemon)
        return daemon

    async def start(self, *, with_fault_points: bool = False, extra: Mapping[str, str] | None = None) -> None:
        """Start a daemon and wait until it is ready; ``extra`` are variables. Raises ``DaemonFailed``."""
        await self.launch(with_fault_points=with_fault_points, extra=extra).wait_until_ready()

    def arm(self, point: str, passes: int) -> None:
        """Have the running daemon trigger a fault point at its ``passes``-th pass."""
        self.marker.unlink(missing_ok=True)
        (self.directory / "orders").write_text(f"{point} {passes}")
        self.daemon.process.send_signal(signal.SIGUSR1)

    def triggered_point(self) -> str:
        """Return the fault point that was triggered since the last ``arm``, or an empty text."""
        return self.marker.read_text() if self.marker.exists() else ""

    async def health(self) -> dict[str, object]:
        """Return the daemon's health document."""
        with trio.fail_after(5):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: zapline\r\nConnection: close\r\n\r\n")
                response = b"".join([chunk async for chunk in stream])
        document: dict[str, object] = json.loads(response.partition(b"\r\n\r\n")[2])
        return document


@asynccontextmanager
async def open_environment(
    units: int, evolution_url: str = "http://127.0.0.1:9", faulty_daemon: Path = DAEMONS / "inbound.py"
) -> AsyncIterator[Environment]:
    """Prepare an environment; at the end every process it started is stopped, and its directory removed."""
    directory = _make_directory()
    try:
        async with EmbeddedPostgres.running(directory / "postgres", durable=True) as postgres:
            environment = Environment(directory, postgres, free_port(), evolution_url, faulty_daemon)
            try:
                await environment.prepare(units)
                yield environment
            finally:
                for daemon in environment.daemons:
                    daemon.end()
    finally:
        with suppress(OSError):
            shutil.rmtree(directory)


def _make_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="zapline-chaos-"))
    directory.chmod(0o711)  # as root the database runs as another user, who must get in
    return directory
