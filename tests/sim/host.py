"""The machine on which the daemon lives: starts the whole daemon on the simulated parts, and kills it."""

import ssl
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trio

from zapline.daemon.composition.app import RunningDaemon, daemon
from zapline.daemon.settings import Settings, load
from zapline.domain.errors import JournalRefused, MustNotWrite, RemoteError
from zapline.sql.journal.journal import Journal

from .database import SteppedPostgres
from .disk import Disk
from .evolution import KEY, URL, EvolutionTransport
from .world import ON_MACHINE, World

BASE_URL = "http://zapline.simulated"


class _Alarm:
    """Takes the place of the lock on which the journal's thread sleeps."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def locked(self) -> bool:
        return True

    def release(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        await self._rung.wait()
        self._rung = trio.Event()


_create_context = ssl.create_default_context


@cache
def _tls_context() -> ssl.SSLContext:
    """One for all runs: to read the system's certificates takes a tenth of a second."""
    return _create_context()


async def _no_api(*call: Any) -> None:
    raise AssertionError("nobody calls the API over HTTP here")


class _Answer:
    """What the daemon answers to one request."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.ended = trio.Event()


@dataclass(eq=False)
class Host:
    """One daemon at a time, over one state directory."""

    world: World
    postgres: SteppedPostgres
    disk: Disk
    transport: EvolutionTransport | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    running: RunningDaemon | None = None
    starts: int = 0
    exits: list[str] = field(default_factory=list)
    """Why daemons ended by themselves."""
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Counters of the daemons that have ended."""

    def __post_init__(self) -> None:
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._dying = False
        self._latency = self.world.stream("disk")

    def clock(self) -> float:
        """The host's wall clock."""
        return self.world.now + self.world.skews["machine"]

    @property
    def state_dir(self) -> Path:
        return self.disk.root / "state"

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Give the daemon the simulated disk's writer and the way to the simulated Evolution."""
        host = self

        async def write(self: Journal) -> None:
            await host._write_journal(self)

        def client(*args: Any, **options: Any) -> httpx2.AsyncClient:
            assert host.transport is not None
            return httpx2.AsyncClient(transport=host.transport, trust_env=False, follow_redirects=False)

        patch.setattr(Journal, "_write", write)
        # Callers use the daemon's objects: the API's routes and its hashes would cost seconds at each start.
        patch.setattr("zapline.daemon.composition.listeners.create_app", lambda deps: _no_api)
        patch.setattr(ssl, "create_default_context", lambda *args, **options: _tls_context())
        for module in ("app", "outbound"):
            patch.setattr(f"zapline.daemon.composition.{module}.open_http_client", client)

    async def _write_journal(self, journal: Journal) -> None:
        """The journal's writer as a task: what its thread does, with the disk's delays drawn by the seed."""
        writer = journal._writer
        writer._token = type("Here", (), {"run_sync_soon": staticmethod(lambda call, *args: call(*args))})()
        alarm = writer._wakeup = _Alarm()
        with trio.CancelScope(shield=True):
            while True:
                await trio.sleep(self._latency.uniform(0.0005, 0.006))
                if not (writer.closing or writer._requests or writer._retried or writer._retried_done):
                    await alarm.wait()
                closing = writer.closing
                writer._urgent = writer._lingering = False
                entries, done = writer._take()
                if writer._batch or done:
                    writer._commit(entries, done)
                    self.world.step("journal", len(entries), len(done))
                    if writer._retried or writer._retried_done:
                        await trio.sleep(1.0)
                if closing and not (writer._requests or writer._done):
                    writer._file.close()
                    return

    # -- the daemon's life ---------------------------------------------------------------------------------------

    def alive(self) -> "Host | None":
        """This host while its daemon serves."""
        return self if self.running is not None and not self._dying else None

    async def start(self, nursery: trio.Nursery) -> bool:
        """Start the daemon; False where it ended by itself."""
        self._ended, self._scope, self._dying = trio.Event(), trio.CancelScope(), False
        self.starts += 1
        self.world.tell("the daemon starts")
        ready = trio.Event()
        nursery.start_soon(self._live, ready)
        await ready.wait()
        return self.running is not None

    async def _live(self, ready: trio.Event) -> None:
        given: dict[str, Any] = {
            "database_url": self.postgres.url,
            "evolution_api_url": URL,
            "evolution_api_key": KEY,
            "base_url": BASE_URL,
            "state_dir": self.state_dir,
            "master_key": "k" * 40,
            "hook_private_hosts": True,
        }
        reason = ""
        ON_MACHINE.set(True)
        try:
            with self._scope:
                async with daemon(load(Settings, **(given | self.settings)), self.clock) as running:
                    self.running = running
                    ready.set()
                    await trio.sleep_forever()
        except* (MustNotWrite, JournalRefused, RemoteError) as failures:
            reason = repr(failures.exceptions[0])
        finally:
            if self.running is not None:
                self.counted.update(self.running.core.counters.totals)
            self.running = None
            if reason:
                self.exits.append(reason)
                self.world.tell(f"the daemon ended by itself: {reason}")
            ready.set()
            self._ended.set()

    async def kill(self, *, power: bool = False) -> None:
        """Kill the daemon as SIGKILL does; with ``power`` the machine loses its power, and the disk what it had not
        synced."""
        self._dying = self.disk.dead = True
        self.postgres.cut_off = True
        self.postgres.close_all()
        self._scope.cancel()
        await self._ended.wait()
        self.postgres.close_all()
        self.postgres.cut_off = False
        lost = self.disk.power_loss() if power else 0
        self.disk.dead = False
        self.world.strike("power loss" if power else "kill", f"{lost} writes lost" if lost else "")

    async def stop(self) -> None:
        """Stop the daemon in order, as SIGTERM does."""
        running = self.running
        if running is None:
            return
        running.served.set()
        await running.drain(8.0)
        self._dying = True
        self._scope.cancel()
        await self._ended.wait()
        self.postgres.close_all()
        self.world.strike("orderly stop")

    # -- requests --------------------------------------------------------------------------------------------------

    async def post(self, url: str, headers: Any, body: bytes) -> int | None:
        """Post to the daemon; None if it dies before its answer."""
        running = self.running
        assert running is not None
        answer = _Answer()
        running.nursery.start_soon(self._serve, running, urlsplit(url).path, headers, body, answer)
        await answer.ended.wait()
        return answer.status

    async def _serve(self, running: RunningDaemon, path: str, headers: Any, body: bytes, answer: _Answer) -> None:
        ON_MACHINE.set(True)
        given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        given.append((b"content-length", b"%d" % len(body)))
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": given,
            "client": ("127.0.0.1", 1),
            "query_string": b"",
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and not self._dying:
                answer.status = message["status"]

        try:
            await running.listeners[0][0](scope, receive, send)
        finally:
            answer.ended.set()
