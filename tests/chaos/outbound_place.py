"""Holds what the outbound faults strike: the place of the inbound ones, with lines that are open to a simulator."""

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
from zapline.sql.accounts.access_tokens import Grant, issue
from zapline.sql.accounts.administrators import add_admin
from zapline.sql.postgres.connection import connect
from zapline.supervisors.units.roster import digest

from .outbound_posts import AT_ONCE, Posts
from .outbound_simulator import Simulator, open_simulator
from .place import Place, open_place

PLANTED = Path(__file__).with_name("outbound_planted.py")
PACE = {"perMinute": 6000, "burst": 1000, "gapSeconds": 0, "campaignSeconds": 0.05}
TIMEOUT = "2"
"""Seconds that the daemon waits for Evolution."""
OPEN_WITHIN = 30.0


class OutboundPlace:
    """A place, its simulator, and a client that is signed in. Only made by ``open_outbound``."""

    def __init__(self, place: Place, simulator: Simulator, client: httpx2.AsyncClient, seed: int) -> None:
        self.place = place
        self.simulator = simulator
        self.client = client
        self.posts = Posts(client, random.Random(seed))
        self.settings: dict[str, str] = {"EVOLUTION_API_KEY": API_KEY, "ZAPLINE_EVOLUTION_TIMEOUT_SECONDS": TIMEOUT}
        """Environment of every daemon that is started here."""

    @property
    def secrets(self) -> list[str]:
        """What no log line may hold: the token, and phones also without the country's code."""
        token = self.client.headers["authorization"].removeprefix("Bearer ")
        return [token, *(phone[2:] for phone in self.posts.phones)]

    @property
    def units(self) -> list[tuple[UUID, str]]:
        """Ids and instances."""
        return list(zip(self.place.units, self.place.instances, strict=True))

    async def start(self) -> None:
        """A planted daemon with short deadlines. Raises PlaceFailed."""
        await self.place.start(planted=True, extra=self.settings)

    async def open_lines(self) -> None:
        """Connect every unit and scan its code; returns when all lines are open."""
        async with trio.open_nursery() as nursery:
            for unit, instance in self.units:
                nursery.start_soon(self._open_line, unit, instance)

    async def _open_line(self, unit: UUID, instance: str) -> None:
        with trio.fail_after(OPEN_WITHIN):
            line = f"/units/{unit}/whatsapp"
            (await self.client.post(f"{line}/connect", json={})).raise_for_status()
            await self._until(line, "pairing")
            await self.simulator.ask("POST", "scan", {"instance": instance})
            await self._until(line, "open")
            (await self.client.put(f"/units/{unit}/pace", json=PACE)).raise_for_status()

    async def _until(self, line: str, phase: str) -> None:
        while True:
            answer = await self.client.get(f"{line}/status")
            answer.raise_for_status()
            if answer.json()["phase"] == phase:
                return
            await trio.sleep(0.1)


async def _token(place: Place) -> str:
    """A bearer token, as the login would give it."""
    token = "zl_" + secrets.token_urlsafe(32)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(secrets.token_hex())
    async with await connect(place.postgres.url, role="zapline_engine") as conn:
        admin = await add_admin(conn, "caos@example.com", hashed)
        await issue(conn, digest(token), Grant(TokenKind.ADMIN, "chaos", "chaos", admin=admin, lasts=86400.0))
    return token


@asynccontextmanager
async def open_outbound(
    units: int,
    seed: int,
    planted: Path = PLANTED,
    *,
    statuses: str = "SERVER_ACK,DELIVERY_ACK",
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[OutboundPlace]:
    """Everything up and every line open. ``statuses``: what the phones report of each message."""
    async with (
        open_simulator(statuses=statuses, seed=seed) as simulator,
        open_place(units, simulator.url, planted) as place,
    ):
        headers = {"Authorization": f"Bearer {await _token(place)}"}
        limits = httpx2.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=2 * AT_ONCE)
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{place.port}", headers=headers, timeout=25, trust_env=False, limits=limits
        ) as client:
            made = OutboundPlace(place, simulator, client, seed)
            made.settings |= settings or {}
            await made.start()
            await made.open_lines()
            yield made
