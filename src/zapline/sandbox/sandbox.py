"""Runs a whole Zapline here: embedded PostgreSQL, a simulated Evolution, the daemon, two units that talk."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from argon2 import PasswordHasher

from zapline.domain.errors import LocalError
from zapline.sandbox.embedded_postgres.host import death_wrapper, free_port
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sandbox.sandbox_info import Whereabouts
from zapline.sandbox.simulator.endpoints import phones
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sql.accounts.administrators import add_admin, set_password
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate

HOME = Path(".zapline")
ADMIN = "admin@sandbox.test"
DEMO_UNITS = (("Loja Centro", "loja_centro"), ("Clínica Sul", "clinica_sul"))
WANTED_PORTS = {"daemon": 8080, "evolution": 8081}
TOKEN_DAYS = 7
"""Each start gives the demo units new tokens; the old ones end by themselves."""
READY_WITHIN = 60.0
STOP_WITHIN = 15.0


class SandboxFailed(LocalError):
    """The sandbox cannot run; the text says why and what to do."""


def main_sandbox() -> int:
    """Run until Ctrl-C or SIGTERM; the process's exit code."""
    HOME.mkdir(mode=0o700, exist_ok=True)
    problems: list[str] = []
    try:
        trio.run(_main, HOME.resolve())
    except* (LocalError, httpx2.HTTPError) as failures:
        problems += [str(failure) for failure in _leaves(failures)]
    for problem in problems:
        sys.stderr.write(f"The sandbox stopped: {problem}\n")
    return 1 if problems else 0


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for failure in group.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure


async def _main(home: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_run, home, nursery.cancel_scope))
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                _say("Stopping ...")
                nursery.cancel_scope.cancel()


async def _run(home: Path, scope: trio.CancelScope) -> None:
    async with AsyncExitStack() as stack:
        database_url = await _database(stack, home)
        evolution = await _evolution(stack)
        password = await _prepare(database_url)
        daemon = await stack.enter_async_context(_daemon(home, database_url, evolution))
        house = House(daemon.url, database_url, evolution, password, home)
        async with httpx2.AsyncClient(base_url=daemon.url, timeout=30, trust_env=False) as http:
            await house.open(http, daemon)
            await ended(daemon.process)
        _say(f"The daemon ended by itself with code {daemon.process.returncode}.")
        scope.cancel()


@dataclass(frozen=True, slots=True)
class Evolution:
    """The server that the daemon talks to. ``simulated`` None: it is a real one, given from outside."""

    url: str
    api_key: str
    simulated: SimulatedEvolution | None


@dataclass(frozen=True, slots=True)
class Daemon:
    url: str
    process: subprocess.Popen[bytes]


async def _database(stack: AsyncExitStack, home: Path) -> str:
    given = os.environ.get("DATABASE_URL")
    if given:
        _say("PostgreSQL: the one that DATABASE_URL names")
        return given
    _say("PostgreSQL: starting an embedded one ...")
    postgres = await stack.enter_async_context(EmbeddedPostgres.running(home / "postgres"))
    return postgres.url


async def _evolution(stack: AsyncExitStack) -> Evolution:
    given = os.environ.get("EVOLUTION_API_URL")
    if given:
        _say("Evolution: the one that EVOLUTION_API_URL names")
        return Evolution(given, os.environ.get("EVOLUTION_API_KEY", ""), None)
    port = _port(WANTED_PORTS["evolution"])
    simulated = await stack.enter_async_context(SimulatedEvolution.running(port))
    _say(f"Evolution: simulated at {simulated.url}")
    return Evolution(simulated.url, simulated.api_key, simulated)


async def _prepare(database_url: str) -> str:
    """Bring the schema up to date and give the administrator a fresh password."""
    password = secrets.token_urlsafe(12)
    hashed = await trio.to_thread.run_sync(PasswordHasher().hash, password)
    async with await connect(database_url, statement_timeout_ms=0) as conn:
        await migrate(conn, lambda line: _say(f"Database: {line}"))
        if await add_admin(conn, ADMIN, hashed) is None:
            await set_password(conn, ADMIN, hashed)
    return password


def _port(wanted: int) -> int:
    """The wanted port of this machine's loopback, or any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


@asynccontextmanager
async def _daemon(home: Path, database_url: str, evolution: Evolution) -> AsyncIterator[Daemon]:
    """The daemon as a child, until the block is left; ended softly, then hard."""
    port = _port(WANTED_PORTS["daemon"])
    base_url = os.environ.get("BASE_URL") or f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZAPLINE_")}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("ZAPLINE_LOG_")}
    environment |= {
        "DATABASE_URL": database_url,
        "EVOLUTION_API_URL": evolution.url,
        "EVOLUTION_API_KEY": evolution.api_key,
        "BASE_URL": base_url,
        "ZAPLINE_BIND": f"127.0.0.1:{port}",
        "ZAPLINE_HOOK_PRIVATE_HOSTS": "true",
        "ZAPLINE_STATE_DIR": str(home / "state"),
        "ZAPLINE_LOG_FORMAT": os.environ.get("ZAPLINE_LOG_FORMAT", "text"),
    }
    command = [*death_wrapper(), sys.executable, "-m", "zapline", "run"]
    # A session of its own: Ctrl-C reaches it through us, once, when there is nothing left to lose.
    # In this very thread: the wrapper stops the child when the thread that started it ends, and threads of a pool do.
    process = subprocess.Popen(  # noqa: ASYNC220 - takes a few milliseconds
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield Daemon(f"http://127.0.0.1:{port}", process)
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(STOP_WITHIN):
                await ended(process)
            process.kill()
            await ended(process)


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a child; its exit code."""
    while (code := process.poll()) is None:  # noqa: ASYNC110 - nothing tells of it everywhere
        await trio.sleep(0.05)
    return code


@dataclass(slots=True)
class House:
    """What is done with the running parts, as an operator would, through the API."""

    base_url: str
    database_url: str
    evolution: Evolution
    password: str
    home: Path
    units: list[dict[str, Any]] = field(default_factory=list)

    async def open(self, http: httpx2.AsyncClient, daemon: Daemon) -> None:
        """Wait for the daemon, make the demo units, connect them, let them talk, say where everything is."""
        await self._until_ready(http, daemon)
        answer = await http.post("/admin/login", json={"email": ADMIN, "password": self.password})
        http.headers["authorization"] = f"Bearer {self._json(answer)['token']}"
        known = {unit["instance"]: unit for unit in self._json(await http.get("/units?limit=200"))["items"]}
        for name, instance in DEMO_UNITS:
            if instance not in known:
                answer = await http.post("/units", json={"name": name, "instance": instance})
                known[instance] = self._json(answer)
            await self._connect(http, known[instance])
        simulated = self.evolution.simulated is not None
        told = Whereabouts(
            *(self.base_url, ADMIN, self.password, self.database_url, self.evolution.url, self.evolution.api_key),
            simulated=simulated,
            units=tuple(self.units),
        )
        told.write(self.home)
        await self._talk(http)
        _say(str(told))

    async def _until_ready(self, http: httpx2.AsyncClient, daemon: Daemon) -> None:
        with trio.move_on_after(READY_WITHIN):
            while daemon.process.poll() is None:
                try:
                    if (await http.get("/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await trio.sleep(0.1)
        raise SandboxFailed("the daemon did not become ready; its last lines above say why")

    async def _connect(self, http: httpx2.AsyncClient, unit: dict[str, Any]) -> None:
        """Ask for a connection; where the phones are simulated too, scan the code that appears."""
        path, simulated = f"/units/{unit['id']}/whatsapp", self.evolution.simulated
        self._json(await http.post(f"{path}/connect", json={}))
        wanted = "connected" if simulated is not None else "waiting_scan"
        scanned = False
        with trio.move_on_after(READY_WITHIN):
            while True:
                status = self._json(await http.get(f"{path}/status"))
                if wanted in (status["status"], status["reason"]) or status["status"] == "connected":
                    break
                if simulated is not None and status["reason"] == "waiting_scan" and not scanned:
                    simulated.scan(unit["instance"])
                    scanned = True
                await trio.sleep(0.05)
        hook = None
        if simulated is not None:
            hook = simulated.instance(unit["instance"]).webhook
        asked = {"label": "sandbox", "scopes": ["read", "send"], "expiresInDays": TOKEN_DAYS}
        minted = self._json(await http.post(f"/units/{unit['id']}/tokens", json=asked))
        self.units.append(
            {
                "id": unit["id"],
                "name": unit["name"],
                "instance": unit["instance"],
                "webhookUrl": hook.url if hook is not None else None,
                "token": minted["token"],
            }
        )

    async def _talk(self, http: httpx2.AsyncClient) -> None:
        """Let the demo units receive every recorded message, and the daemon say what it has to of them."""
        simulated = self.evolution.simulated
        if simulated is None:
            return
        for unit in self.units:
            for name in phones.recorded_names("webhooks"):
                if name.startswith(("messages.", "send.message", "contacts.", "v1.8-messages", "v2.")) and (
                    "close" not in name
                ):
                    simulated.play(unit["instance"], name)
        with trio.move_on_after(10):
            await simulated.quiet()
            while (await http.get("/health")).json()["journal"]["depth"]:  # noqa: ASYNC110 - another process has it
                await trio.sleep(0.1)

    @staticmethod
    def _json(answer: httpx2.Response) -> Any:
        if answer.status_code >= 400:
            raise SandboxFailed(f"the daemon answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
