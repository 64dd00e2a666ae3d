"""The whole daemon, as it composes itself, within the test's process, between a database and a simulated Evolution."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import argon2
import httpx2
import msgspec
import trio
from support.console_operator import Operator

from zapline.daemon.composition.app import RunningDaemon, daemon
from zapline.daemon.settings import Settings, load
from zapline.sandbox.embedded_postgres.host import free_port
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect

EMAIL, PASSWORD = "ana@example.com", "correct horse battery"
_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
QUICK: dict[str, Any] = {"first_qr": 0.02, "connect_wait": 0.3, "create_wait": 0.3, "status_gap": 0.02}
OWN = "5511999990000@s.whatsapp.net"


@dataclass
class WholeDaemon:
    """A running daemon, a client with an administrator's token, and the means to play what phones do."""

    client: httpx2.AsyncClient
    operator: Operator
    """At the console, signed in."""
    evolution: SimulatedEvolution
    running: RunningDaemon
    database: str
    secrets: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, body: object = None, expect: int | None = None) -> Any:
        """Ask the API as a caller does who asks again where it says that it is busy; the answer."""
        content = msgspec.json.encode(body) if body is not None else b""
        with trio.fail_after(120):
            while (answer := await self.client.request(method, path, content=content)).status_code == 503:
                assert answer.json()["retryable"], answer.text
                await trio.sleep(0.1)
        assert answer.status_code == expect if expect else answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    async def get(self, path: str) -> Any:
        return await self.call("GET", path)

    async def post(self, path: str, body: object = None, expect: int | None = None) -> Any:
        return await self.call("POST", path, body, expect)

    async def until(self, path: str, wanted: Callable[[Any], Any], seconds: float = 60, every: float = 0.05) -> Any:
        """Poll until the answer is as wanted; on failure show the last one."""
        with trio.move_on_after(seconds):
            while not wanted(answer := await self.get(path)):  # noqa: ASYNC110 - it asks as a caller would
                await trio.sleep(every)
            return answer
        raise AssertionError(await self.get(path))

    async def add_unit(self, name: str, *, connected: bool = True) -> str:
        """A unit of this name and instance, as fast as it may be, by default with an open line; its id."""
        unit = str((await self.post("/units", {"name": name, "instance": name}))["id"])
        pace = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.001}
        await self.call("PUT", f"/units/{unit}/pace", pace)
        if connected:
            await self.post(f"/units/{unit}/whatsapp/connect", {})
            status = f"/units/{unit}/whatsapp/status"
            await self.until(status, lambda shown: shown["reason"] == "waiting_scan")
            await self.control("scan", instance=name)
            await self.until(status, lambda shown: shown["status"] == "connected")
        return unit

    async def control(self, command: str, **arguments: Any) -> Any:
        """Tell the simulated server or its phones what to do."""
        path = f"{self.evolution.url}/_control/{command}"
        answer = await self.client.post(path, content=msgspec.json.encode(arguments))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def play(
        self, unit: str, name: str, steps: list[dict[str, Any]], looks: list[Callable[[], Awaitable[None]]]
    ) -> None:
        """Play the steps of a public case for a unit of this instance name; at each wait comes the next look.

        A look waits for what it wants to see, so it takes the place of the seconds.
        """
        waiting = iter(looks)
        for step in steps:
            [(kind, value)] = step.items()
            if kind == "webhook":
                hook = self.evolution.instance(name).webhook
                assert hook is not None
                body = {"event": value["event"], "instance": name, "data": value["data"], "sender": OWN}
                answer = await self.client.post(hook.url, content=msgspec.json.encode(body))
                assert answer.status_code == 200
            elif kind == "control":
                _, command, arguments = value
                await self.control(command, **(arguments | ({"instance": name} if command == "faults" else {})))
            elif kind == "api":
                method, path, body = (*value, None)[:3]
                await self.call(method, f"/units/{unit}{path}", body)
            elif kind == "wait":
                await next(waiting)()
        assert next(waiting, None) is None, "a look is left"


@asynccontextmanager
async def daemon_in_process(
    database: str, directory: Path, behaviour: Behaviour | None = None, **settings: Any
) -> AsyncIterator[WholeDaemon]:
    """Run the daemon with ``settings`` of its own until the block ends; that is a kill."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    async with await connect(database) as conn:
        assert await add_admin(conn, EMAIL, _HASH) is not None
    async with SimulatedEvolution.running(behaviour=behaviour or Behaviour(**QUICK)) as evolution:
        given: dict[str, Any] = {
            "database_url": database,
            "evolution_api_url": evolution.url,
            "evolution_api_key": evolution.api_key,
            "base_url": url,
            "bind": f"127.0.0.1:{port}",
            "state_dir": directory,
            "master_key": "k" * 40,
            "hook_private_hosts": True,
        }
        async with daemon(load(Settings, **(given | settings))) as running:
            await running.nursery.start(running.serve, 0.1)
            async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
                login = await client.post("/admin/login", json={"email": EMAIL, "password": PASSWORD})
                client.headers["authorization"] = f"Bearer {login.json()['token']}"
                operator = Operator(url)
                await operator.sign_in(EMAIL, PASSWORD)
                yield WholeDaemon(client, operator, evolution, running, database)
                await operator.close()
            running.stop_serving.set()
