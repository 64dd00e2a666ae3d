"""Runs what the outbound faults are injected into: the common environment, and lines open to a simulator."""

import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import argon2
import httpx2
import trio

from zapline.domain.principals import TokenKind
from zapline.sandbox.simulator.server import API_KEY
from zapline.sql.accounts.access_tokens import NewToken, insert_token
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units.webhook_authentication import digest_secret

from ..environment import DAEMONS, Environment, open_environment
from .message_submission import CONCURRENCY, Submitter
from .simulator import Simulator, open_simulator

PACE = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.05}
TIMEOUT = "2"
"""Timeout of the daemon's calls to Evolution, in seconds."""
OPEN_SECONDS = 30.0


class OutboundEnvironment:
    """An environment, its simulator, and a signed-in client. Created by ``open_outbound_environment``."""

    def __init__(self, base: Environment, simulator: Simulator, client: httpx2.AsyncClient, seed: int) -> None:
        self.base = base
        self.simulator = simulator
        self.client = client
        self.submitter = Submitter(client, random.Random(seed))
        self.settings: dict[str, str] = {"EVOLUTION_API_KEY": API_KEY, "ZAPLINE_EVOLUTION_TIMEOUT_SECONDS": TIMEOUT}
        """Variables of every daemon that is started here."""

    @property
    def secrets(self) -> list[str]:
        """What no log line may hold: the token, and the phones without the country code."""
        token = self.client.headers["authorization"].removeprefix("Bearer ")
        return [token, *(phone[2:] for phone in self.submitter.phones)]

    @property
    def units(self) -> list[tuple[UUID, str]]:
        """Ids and instances of the units."""
        return list(zip(self.base.units, self.base.instances, strict=True))

    async def start(self) -> None:
        """Start a daemon with fault points and short timeouts. Raises ``DaemonFailed``."""
        await self.base.start(with_fault_points=True, extra=self.settings)

    async def open_lines(self) -> None:
        """Connect every unit and scan its code; returns when all lines are open."""
        async with trio.open_nursery() as nursery:
            for unit, instance in self.units:
                nursery.start_soon(self._open_line, unit, instance)

    async def _open_line(self, unit: UUID, instance: str) -> None:
        with trio.fail_after(OPEN_SECONDS):
            line = f"/units/{unit}/whatsapp"
            (await self.client.post(f"{line}/connect", json={})).raise_for_status()
            await self._wait_for_phase(line, "pairing")
            await self.simulator.control("POST", "scan", {"instance": instance})
            await self._wait_for_phase(line, "open")
            (await self.client.put(f"/units/{unit}/pace", json=PACE)).raise_for_status()

    async def _wait_for_phase(self, line: str, phase: str) -> None:
        while True:
            response = await self.client.get(f"{line}/status")
            response.raise_for_status()
            if response.json()["phase"] == phase:
                return
            await trio.sleep(0.1)


async def _token(base: Environment) -> str:
    """Create a bearer token, as the login does."""
    token = "zl_" + secrets.token_urlsafe(32)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(secrets.token_hex())
    async with await connect(base.postgres.url, role="zapline_engine") as conn:
        admin = await add_admin(conn, "caos@example.com", hashed)
        await insert_token(
            conn, digest_secret(token), NewToken(TokenKind.ADMIN, "chaos", "chaos", admin=admin, lasts=86400.0)
        )
    return token


@asynccontextmanager
async def open_outbound_environment(
    units: int,
    seed: int,
    faulty_daemon: Path = DAEMONS / "outbound.py",
    *,
    statuses: str = "SERVER_ACK,DELIVERY_ACK",
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[OutboundEnvironment]:
    """Start everything and open every line. ``statuses``: what the phones report for each message."""
    async with (
        open_simulator(statuses=statuses, seed=seed) as simulator,
        open_environment(units, simulator.url, faulty_daemon) as base,
    ):
        headers = {"Authorization": f"Bearer {await _token(base)}"}
        limits = httpx2.Limits(max_connections=2 * CONCURRENCY, max_keepalive_connections=2 * CONCURRENCY)
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{base.port}", headers=headers, timeout=25, trust_env=False, limits=limits
        ) as client:
            environment = OutboundEnvironment(base, simulator, client, seed)
            environment.settings |= settings or {}
            await environment.start()
            await environment.open_lines()
            yield environment
