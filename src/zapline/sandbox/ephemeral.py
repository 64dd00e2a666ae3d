"""Runs a whole Zapline for the tests of what is built on it: in a temporary directory, on free ports, gone afterwards.

Beside PostgreSQL there is one process, which prints one line of JSON when it is ready. It ends with its standard input,
where that is a pipe, with its parent, or by a signal; nothing of the caller's environment is used but ZAPLINE_LOG_*.
"""

import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from argon2 import PasswordHasher

from zapline.daemon.composition.app import daemon
from zapline.daemon.logs import configuration
from zapline.daemon.settings import Settings, load
from zapline.domain.errors import LocalError, leaf_errors
from zapline.sandbox.embedded_postgres.host import child_user, reachable_directory
from zapline.sandbox.embedded_postgres.server import EmbeddedPostgres
from zapline.sandbox.sandbox import ADMIN, SandboxFailed
from zapline.sandbox.simulator.endpoints.control import CONTROL
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect
from zapline.sql.postgres.migrate import migrate

MAX_UNITS = 20
_QUICK_PHONES = Behaviour(first_qr=0.02, connect_wait=0.3, create_wait=0.3, status_gap=0.02)
_QUICK_HASH = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
"""The password is of no use once this process has ended."""
_NO_LIMITS = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001}
"""A pace under which no test waits."""
_LOOK_EVERY = 0.2
_READY_SECONDS = 60.0
_LEAVE = 'read -r _; for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$@" && exit; sleep 0.3; done'
"""Run by a shell that outlives us, however we end: waits until its standard input ends, then removes directories."""


def main_ephemeral(units: int = 1) -> int:
    """Run until standard input, the parent or a signal ends it; return the exit code of the process."""
    parent, watched = os.getppid(), _is_pipe(0)
    log_format, log_level = os.environ.get("ZAPLINE_LOG_FORMAT", "text"), os.environ.get("ZAPLINE_LOG_LEVEL", "warning")
    _forget_settings()
    errors: list[str] = []
    try:
        configuration.configure("json" if log_format == "json" else "text", log_level.lower(), sys.stderr)
        with _vanishing_directory() as directory:
            trio.run(_main, directory, units, parent, watched)
    except* (LocalError, httpx2.HTTPError, OSError, KeyError) as failures:
        errors += [f"{type(failure).__name__}: {failure}" for failure in leaf_errors(failures)]
    for error in errors:
        sys.stderr.write(f"The sandbox stopped: {error}\n")
    return 1 if errors else 0


def _is_pipe(descriptor: int) -> bool:
    """Whether this standard stream is a pipe or socket, whose end can be waited for; a file or terminal is not."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _forget_settings() -> None:
    """Take whatever configures a real Zapline out of our environment: a test must never reach a real database."""
    for name in list(os.environ):
        if name.upper().startswith("ZAPLINE_") or name.upper() in ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
            del os.environ[name]
    for name in ("DATABASE_URL", "EVOLUTION_API_URL", "EVOLUTION_API_KEY", "BASE_URL"):
        os.environ.pop(name, None)


@contextmanager
def _vanishing_directory() -> Iterator[Path]:
    """A directory for all that is kept; it is removed at the end, and also where this process is killed before.

    As root the database runs as another user, who may not be able to reach the usual place for temporary files.
    """
    own = Path(tempfile.mkdtemp(prefix="zapline-ephemeral-"))
    own.chmod(0o711)
    reachable = reachable_directory(own / "postgres", child_user()[0]).parent
    shell = ["/bin/sh", "-c", _LEAVE, "sh", str(own), str(reachable)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True):
        yield reachable


async def _main(directory: Path, units: int, parent: int, watched: bool) -> None:
    is_ready = False
    async with trio.open_nursery() as nursery:

        async def end(wait: Callable[[], Awaitable[object]], why: str) -> None:
            await wait()
            if not is_ready:
                sys.stderr.write(f"The sandbox stopped before it was ready: {why}\n")
            nursery.cancel_scope.cancel()

        # Signals first: who starts us may end us before we are ready.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            nursery.start_soon(end, signals.__anext__, "a signal came")
            nursery.start_soon(end, partial(_until_parent_ends, parent), "who started it has ended")
            if watched:
                nursery.start_soon(end, _until_input_ends, "its standard input, a pipe, has ended")
            async with _running(directory) as (daemon_url, database_url, evolution):
                ready = await _ready_line(daemon_url, database_url, evolution, units)
                sys.stdout.write(json.dumps(ready, ensure_ascii=False) + "\n")
                sys.stdout.flush()
                is_ready = True
                await trio.sleep_forever()


async def _until_parent_ends(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel's own notice is tied to a thread of the parent
        await trio.sleep(_LOOK_EVERY)


async def _until_input_ends() -> None:
    """Whoever has started us holds the other end of our standard input, and need not write anything."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        while await stream.receive_some(4096):
            pass


@asynccontextmanager
async def _running(directory: Path) -> AsyncIterator[tuple[str, str, SimulatedEvolution]]:
    """Run PostgreSQL, Evolution and the daemon; yields the daemon's address, the database's, and Evolution.

    Cancelling ends all at once: nothing is worth a drain.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with (
        EmbeddedPostgres.running(directory / "postgres", durable=False) as postgres,
        SimulatedEvolution.running(behaviour=_QUICK_PHONES) as evolution,
    ):
        async with await connect(postgres.url, statement_timeout_ms=0) as conn:
            await migrate(conn, lambda line: None)
        settings = load(
            Settings,
            database_url=postgres.url,
            evolution_api_url=evolution.url,
            evolution_api_key=evolution.api_key,
            base_url=url,
            bind=(f"fd://{listening.detach()}",),
            state_dir=directory / "state",
            master_key=secrets.token_urlsafe(32),
            hook_private_hosts=True,
        )
        async with daemon(settings) as running:
            await running.nursery.start(running.serve, 0.1)
            yield url, postgres.url, evolution


async def _ready_line(url: str, database_url: str, evolution: SimulatedEvolution, count: int) -> dict[str, Any]:
    """Make the units, connect them, and say all that a caller needs. Raises SandboxFailed."""
    password = secrets.token_urlsafe(12)
    async with await connect(database_url) as conn:
        await add_admin(conn, ADMIN, _QUICK_HASH.hash(password))
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        answer = await http.post("/admin/login", json={"email": ADMIN, "password": password})
        token = _json(answer)["token"]
        http.headers["authorization"] = f"Bearer {token}"
        units: list[dict[str, str]] = []
        for number in range(1, count + 1):
            units.append(await _connected_unit(http, evolution, number))
    return {
        "url": url,
        "token": units[0]["token"],
        "unit": units[0]["id"],
        "instance": units[0]["instance"],
        "controlUrl": evolution.url + CONTROL.rstrip("/"),
        "units": units,
        "admin": {"email": ADMIN, "password": password, "token": token},
    }


async def _connected_unit(http: httpx2.AsyncClient, evolution: SimulatedEvolution, number: int) -> dict[str, str]:
    """A unit whose phone has scanned the code, without limits of its pace, and a token that may do all to it."""
    name = f"unit_{number}"
    unit = _json(await http.post("/units", json={"name": f"Unit {number}", "instance": name}))["id"]
    _json(await http.put(f"/units/{unit}/pace", json=_NO_LIMITS))
    line, scanned = f"/units/{unit}/whatsapp", False
    _json(await http.post(f"{line}/connect", json={}))
    with trio.move_on_after(_READY_SECONDS):
        while (status := _json(await http.get(f"{line}/status")))["status"] != "connected":
            if status["reason"] == "waiting_scan" and not scanned:
                evolution.scan(name, number=f"55119999{number:05}")
                scanned = True
            await trio.sleep(0.02)
    if status["status"] != "connected":
        raise SandboxFailed(f"the line did not open: {status['sentence']}")
    access = {"label": "sandbox", "scopes": ["read", "send", "control"]}
    token = _json(await http.post(f"/units/{unit}/tokens", json=access))["token"]
    return {"id": unit, "name": f"Unit {number}", "instance": name, "token": token}


def _json(response: httpx2.Response) -> Any:
    if response.status_code >= 400:
        raise SandboxFailed(f"the daemon answered {response.status_code}: {response.text[:300]}")
    return response.json()
