"""Holds what the faults strike: a PostgreSQL of its own, units, a state directory, and daemons as real children."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import trio

from zapline.daemon.master_key import master_key, webhook_secret
from zapline.domain.ids import UnitId
from zapline.sandbox.embedded_postgres.host import death_wrapper, free_port
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate
from zapline.sql.units.units import insert_unit
from zapline.supervisors.units.roster import digest

from .traffic import CANARY

API_KEY = f"{CANARY}-evolution-key"
READY_SECONDS = 30.0
END_SECONDS = 20.0
POLL_SECONDS = 0.005
PLANTED = Path(__file__).with_name("planted.py")


class PlaceFailed(Exception):
    """A daemon did not start or did not end as it should; the text shows the end of its log."""


async def until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again, for nothing tells us; False where it did not become true in time."""
    deadline = trio.current_time() + seconds
    while not true():
        if trio.current_time() > deadline:
            return False
        await trio.sleep(POLL_SECONDS)
    return True


class DaemonProcess:
    """One life of a daemon."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            # In the calling thread: death_wrapper ends the child when that thread ends.
            self.process = subprocess.Popen(
                [*death_wrapper(), *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def ready(self) -> None:
        """Wait until it serves. Raises PlaceFailed."""
        await until(lambda: not self.alive or self._says_ready(), READY_SECONDS)
        if self.alive and self._says_ready():
            return
        raise PlaceFailed(f"the daemon did not get ready (exit {self.process.poll()}):\n{self.tail()}")

    def _says_ready(self) -> bool:
        return b"Ready: " in self.log.read_bytes()

    async def ended(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end; the exit code, negative for a signal. Raises PlaceFailed."""
        if await until(lambda: not self.alive, seconds):
            return self.process.wait()
        raise PlaceFailed(f"the daemon did not end within {seconds:g} s:\n{self.tail()}")

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.ended()

    def end(self) -> None:
        """At once, whatever it does."""
        if self.alive:
            self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


@dataclass
class Place:
    """Only made by ``open_place``."""

    directory: Path
    postgres: EmbeddedPostgres
    port: int
    evolution_url: str = "http://127.0.0.1:9"
    """By default there is none."""
    planted: Path = PLANTED
    """The daemon with points of death in it."""
    key: bytes = b""
    units: list[UnitId] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    lives: list[DaemonProcess] = field(default_factory=list)
    """Every daemon that was started, the last one last."""

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def marker(self) -> Path:
        return self.directory / "marker"

    @property
    def daemon(self) -> DaemonProcess:
        return self.lives[-1]

    async def prepare(self, count: int) -> None:
        """Migrate the empty database, and add so many units whose secrets come from the daemon's own key."""
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
                    secret_digest=digest(secret),
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
        planted: bool = False,
        port: int | None = None,
        state: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> DaemonProcess:
        """Start a daemon; with ``port`` or ``state`` it is a second one, which is not remembered as the last."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ZAPLINE_", "CHAOS_"))}
        second = port is not None
        listens = port or self.port
        environment |= {
            "DATABASE_URL": self.postgres.url,
            "EVOLUTION_API_URL": self.evolution_url,
            "EVOLUTION_API_KEY": API_KEY,
            "BASE_URL": f"http://127.0.0.1:{listens}",
            "ZAPLINE_BIND": f"127.0.0.1:{listens}",
            "ZAPLINE_STATE_DIR": str(state or self.state),
            "ZAPLINE_HOOK_PRIVATE_HOSTS": "true",
            "ZAPLINE_LOG_FORMAT": "json",
            "ZAPLINE_LOG_LEVEL": "debug",
            "CHAOS_MARKER": str(self.marker),
            "CHAOS_ORDERS": str(self.directory / "orders"),
            **(extra or {}),
        }
        command = [sys.executable, str(self.planted)] if planted else [sys.executable, "-m", "zapline", "run"]
        life = DaemonProcess(command, environment, self.directory / f"daemon-{len(self.lives):03}.log")
        self.lives.insert(len(self.lives) - 1 if second else len(self.lives), life)
        return life

    async def start(self, *, planted: bool = False, extra: Mapping[str, str] | None = None) -> None:
        """A daemon that serves; ``extra`` goes into its environment. Raises PlaceFailed."""
        await self.launch(planted=planted, extra=extra).ready()

    def arm(self, point: str, passes: int) -> None:
        """Order the running planted daemon to act at the ``passes``-th time it comes by a point."""
        self.marker.unlink(missing_ok=True)
        (self.directory / "orders").write_text(f"{point} {passes}")
        self.daemon.process.send_signal(signal.SIGUSR1)

    def reached(self) -> str:
        """The point that has acted since the last order."""
        return self.marker.read_text() if self.marker.exists() else ""

    async def health(self) -> dict[str, object]:
        """What the daemon says of itself."""
        with trio.fail_after(5):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: zapline\r\nConnection: close\r\n\r\n")
                told = b"".join([chunk async for chunk in stream])
        answer: dict[str, object] = json.loads(told.partition(b"\r\n\r\n")[2])
        return answer


@asynccontextmanager
async def open_place(
    units: int, evolution_url: str = "http://127.0.0.1:9", planted: Path = PLANTED
) -> AsyncIterator[Place]:
    """A prepared place; at its end nothing that it started is left, whatever happened."""
    directory = _make_directory()
    try:
        async with EmbeddedPostgres.running(directory / "postgres", durable=True) as postgres:
            place = Place(directory, postgres, free_port(), evolution_url, planted)
            try:
                await place.prepare(units)
                yield place
            finally:
                for life in place.lives:
                    life.end()
    finally:
        with suppress(OSError):
            shutil.rmtree(directory)


def _make_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="zapline-chaos-"))
    directory.chmod(0o711)  # as root the database runs as another user, who must get in
    return directory
