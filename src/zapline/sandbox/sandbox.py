"""Runs a whole Zapline locally: embedded PostgreSQL, a simulated Evolution, the daemon, and two demo units."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from argon2 import PasswordHasher

from zapline.domain.errors import LocalError, leaf_errors
from zapline.sandbox.embedded_postgres.host import pdeathsig_prefix
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sandbox.sandbox_info import SandboxInfo
from zapline.sandbox.simulator.endpoints import phone_actions
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sql.accounts.administrators import add_admin, set_password
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate

DIRECTORY = Path(".zapline")
ADMIN = "admin@sandbox.test"
DEMO_UNITS = (("Loja Centro", "loja_centro"), ("Clínica Sul", "clinica_sul"))
PREFERRED_PORTS = {"daemon": 8080, "evolution": 8081}
TOKEN_DAYS = 7
"""Each start creates new tokens for the demo units; the old ones expire."""
READY_SECONDS = 60.0
STOP_SECONDS = 15.0


class SandboxFailed(LocalError):
    """The sandbox cannot run; the text says why and what to do."""


def main_sandbox(servers: int = 1) -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code of the process. ``servers``: simulated Evolution servers."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    errors: list[str] = []
    try:
        trio.run(_main, DIRECTORY.resolve(), servers)
    except* (LocalError, httpx2.HTTPError) as failures:
        errors += [str(failure) for failure in leaf_errors(failures)]
    for error in errors:
        sys.stderr.write(f"The sandbox stopped: {error}\n")
    return 1 if errors else 0


async def _main(directory: Path, servers: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_run_until_daemon_exits, directory, servers, nursery.cancel_scope))
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                _print("Stopping ...")
                nursery.cancel_scope.cancel()


async def _run_until_daemon_exits(directory: Path, servers: int, scope: trio.CancelScope) -> None:
    async with AsyncExitStack() as stack:
        database_url = await _start_database(stack, directory)
        evolution = await _start_evolution(stack, servers)
        password = await _prepare_database(database_url)
        daemon = await stack.enter_async_context(_running_daemon(directory, database_url, evolution))
        demo = DemoSetup(daemon.url, database_url, evolution, password, directory)
        async with httpx2.AsyncClient(base_url=daemon.url, timeout=30, trust_env=False) as http:
            await demo.run(http, daemon)
            await wait_for_exit(daemon.process)
        _print(f"The daemon ended by itself with code {daemon.process.returncode}.")
        scope.cancel()


@dataclass(frozen=True, slots=True)
class EvolutionServer:
    """The server that the daemon uses. ``simulated`` None: a real one, named by the environment."""

    url: str
    api_key: str
    simulated: SimulatedEvolution | None
    others: Mapping[str, SimulatedEvolution] = field(default_factory=dict)
    """Simulated servers beside it, by name."""

    def of(self, unit: Mapping[str, Any]) -> SimulatedEvolution | None:
        """The simulated server on which a unit lives."""
        return self.others.get(unit["evolutionServer"], self.simulated)


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    url: str
    process: subprocess.Popen[bytes]


async def _start_database(stack: AsyncExitStack, directory: Path) -> str:
    url = os.environ.get("DATABASE_URL")
    if url:
        _print("PostgreSQL: the one that DATABASE_URL names")
        return url
    _print("PostgreSQL: starting an embedded one ...")
    postgres = await stack.enter_async_context(EmbeddedPostgres.running(directory / "postgres"))
    return postgres.url


async def _start_evolution(stack: AsyncExitStack, servers: int) -> EvolutionServer:
    url = os.environ.get("EVOLUTION_API_URL")
    if url and servers > 1:
        raise SandboxFailed("--servers simulates them: unset EVOLUTION_API_URL, or add your servers by zapline servers")
    if url:
        _print("Evolution: the one that EVOLUTION_API_URL names")
        return EvolutionServer(url, os.environ.get("EVOLUTION_API_KEY", ""), None)
    running = SimulatedEvolution.running(PREFERRED_PORTS["evolution"], or_any_port=True)
    simulated = await stack.enter_async_context(running)
    _print(f"Evolution: simulated at {simulated.url}")
    others = {}
    for number in range(2, servers + 1):
        key = f"{simulated.api_key}-{number}"
        running = SimulatedEvolution.running(PREFERRED_PORTS["evolution"] + number - 1, key, or_any_port=True)
        others[f"evo-{number}"] = other = await stack.enter_async_context(running)
        _print(f"Evolution: simulated at {other.url} too, as evo-{number}")
    return EvolutionServer(simulated.url, simulated.api_key, simulated, others)


async def _prepare_database(database_url: str) -> str:
    """Migrate the schema and give the administrator a new password; return it."""
    password = secrets.token_urlsafe(12)
    hashed = await trio.to_thread.run_sync(PasswordHasher().hash, password)
    async with await connect(database_url, statement_timeout_ms=0) as conn:
        await migrate(conn, lambda line: _print(f"Database: {line}"))
        if await add_admin(conn, ADMIN, hashed) is None:
            await set_password(conn, ADMIN, hashed)
    return password


def _listen(preferred: int) -> socket.socket:
    """Return a socket that listens on the preferred loopback port, or on a free one if that is taken."""
    try:
        return socket.create_server(("127.0.0.1", preferred))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


@asynccontextmanager
async def _running_daemon(
    directory: Path, database_url: str, evolution: EvolutionServer
) -> AsyncIterator[DaemonProcess]:
    """Run the daemon as a child process until the block ends; then terminate it, and kill it after a while.

    The child inherits the listening socket, so no other process can take the port before it.
    """
    listening = _listen(PREFERRED_PORTS["daemon"])
    port = listening.getsockname()[1]
    base_url = os.environ.get("BASE_URL") or f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZAPLINE_")}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("ZAPLINE_LOG_")}
    environment |= {
        "DATABASE_URL": database_url,
        "EVOLUTION_API_URL": evolution.url,
        "EVOLUTION_API_KEY": evolution.api_key,
        "BASE_URL": base_url,
        "ZAPLINE_BIND": f"fd://{listening.fileno()}",
        "ZAPLINE_HOOK_PRIVATE_HOSTS": "true",
        "ZAPLINE_STATE_DIR": str(directory / "state"),
        "ZAPLINE_LOG_FORMAT": os.environ.get("ZAPLINE_LOG_FORMAT", "text"),
    }
    command = [*pdeathsig_prefix(), sys.executable, "-m", "zapline", "run"]
    # In a session of its own, so that Ctrl-C reaches the daemon only through us.
    # In this thread: the child is stopped when the thread that started it ends, as pool threads do.
    with listening:
        process = subprocess.Popen(  # noqa: ASYNC220 - takes a few milliseconds
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[listening.fileno()],
        )
    try:
        yield DaemonProcess(f"http://127.0.0.1:{port}", process)
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(STOP_SECONDS):
                await wait_for_exit(process)
            process.kill()
            await wait_for_exit(process)


async def wait_for_exit(process: subprocess.Popen[bytes]) -> int:
    """Wait until a child process has ended; return its exit code."""
    while (code := process.poll()) is None:  # noqa: ASYNC110 - no portable notification
        await trio.sleep(0.05)
    return code


@dataclass(slots=True)
class DemoSetup:
    """Sets up the demo units through the API, as an operator would."""

    base_url: str
    database_url: str
    evolution: EvolutionServer
    password: str
    directory: Path
    units: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, http: httpx2.AsyncClient, daemon: DaemonProcess) -> None:
        """Wait for the daemon, create and connect the demo units, replay messages, and print the sandbox's info."""
        await self._wait_until_ready(http, daemon)
        response = await http.post("/admin/login", json={"email": ADMIN, "password": self.password})
        http.headers["authorization"] = f"Bearer {self._json(response)['token']}"
        known = {unit["instance"]: unit for unit in self._json(await http.get("/units?limit=200"))["items"]}
        await self._add_servers(http)
        for name, instance in DEMO_UNITS:
            if instance not in known:  # with several servers each goes to another by itself
                response = await http.post("/units", json={"name": name, "instance": instance})
                known[instance] = self._json(response)
            await self._connect(http, known[instance])
        simulated = self.evolution.simulated is not None
        info = SandboxInfo(
            *(self.base_url, ADMIN, self.password, self.database_url, self.evolution.url, self.evolution.api_key),
            simulated=simulated,
            units=tuple(self.units),
        )
        info.write(self.directory)
        await self._replay_recordings(http)
        _print(str(info))

    async def _add_servers(self, http: httpx2.AsyncClient) -> None:
        """Add the simulated servers beside the first, or tell where they are this time."""
        for name, server in self.evolution.others.items():
            body = {"url": server.url, "key": server.api_key}
            response = await http.post("/evolution-servers", json={"name": name, **body})
            if response.status_code == 409:
                response = await http.patch(f"/evolution-servers/{name}", json=body)
            self._json(response)

    async def _wait_until_ready(self, http: httpx2.AsyncClient, daemon: DaemonProcess) -> None:
        with trio.move_on_after(READY_SECONDS):
            while daemon.process.poll() is None:
                try:
                    if (await http.get("/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await trio.sleep(0.1)
        raise SandboxFailed("the daemon did not become ready; its last lines above say why")

    async def _connect(self, http: httpx2.AsyncClient, unit: dict[str, Any]) -> None:
        """Connect a unit; with simulated phones, scan the QR code that appears."""
        path, simulated = f"/units/{unit['id']}/whatsapp", self.evolution.of(unit)
        self._json(await http.post(f"{path}/connect", json={}))
        wanted = "connected" if simulated is not None else "waiting_scan"
        scanned = False
        with trio.move_on_after(READY_SECONDS):
            while True:
                status = self._json(await http.get(f"{path}/status"))
                if wanted in (status["status"], status["reason"]) or status["status"] == "connected":
                    break
                if simulated is not None and status["reason"] == "waiting_scan" and not scanned:
                    simulated.scan(unit["instance"])
                    scanned = True
                await trio.sleep(0.05)
        hook = simulated.instance(unit["instance"]).webhook if simulated is not None else None
        body = {"label": "sandbox", "scopes": ["read", "send"], "expiresInDays": TOKEN_DAYS}
        access = self._json(await http.post(f"/units/{unit['id']}/tokens", json=body))
        self.units.append(
            {
                "id": unit["id"],
                "name": unit["name"],
                "instance": unit["instance"],
                "webhookUrl": hook.url if hook is not None else None,
                "token": access["token"],
                "evolutionServer": unit["evolutionServer"],
            }
        )

    async def _replay_recordings(self, http: httpx2.AsyncClient) -> None:
        """Have the demo units receive every recorded message, and wait until the daemon has stored them."""
        for unit in self.units:
            if (simulated := self.evolution.of(unit)) is None:
                return
            for name in phone_actions.recording_names("webhooks"):
                if name.startswith(("messages.", "send.message", "contacts.", "v1.8-messages", "v2.")) and (
                    "close" not in name
                ):
                    simulated.replay(unit["instance"], name)
        with trio.move_on_after(10):
            for unit in self.units:
                if (simulated := self.evolution.of(unit)) is not None:
                    await simulated.wait_until_idle()
            while (await http.get("/health")).json()["journal"]["depth"]:  # noqa: ASYNC110 - in another process
                await trio.sleep(0.1)

    @staticmethod
    def _json(response: httpx2.Response) -> Any:
        if response.status_code >= 400:
            raise SandboxFailed(f"the daemon answered {response.status_code}: {response.text[:300]}")
        return response.json()


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
