"""Runs the simulated Evolution server, inside a program or as ``python -m zapline.sandbox.simulator.server``."""

import argparse
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import trio

from zapline.sandbox.simulator.endpoints import phones
from zapline.sandbox.simulator.endpoints.router import handler
from zapline.sandbox.simulator.http.http_server import Door
from zapline.sandbox.simulator.state import pairing
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.ledger import Ledger
from zapline.sandbox.simulator.state.webhook_delivery import Courier, WebhookRetryPolicy
from zapline.sandbox.simulator.state.webhook_poster import Poster
from zapline.sandbox.simulator.state.world import Habits, Phones, World

API_KEY = "sandbox-evolution-key"


class SimulatedEvolution:
    """A running simulated server; its methods do what the control endpoints do."""

    def __init__(self, world: World) -> None:
        self.world = world

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        port: int | None = None,
        api_key: str = API_KEY,
        qr_lifetime: float = 45.0,
        qr_limit: int = 30,
        retry: WebhookRetryPolicy | None = None,
        habits: Habits | None = None,
        seed: int | None = None,
    ) -> AsyncIterator["SimulatedEvolution"]:
        """Listen on the port (None: any free one) until the block is left; then all ends at once.

        ``habits`` holds all other behaviour. ``seed`` makes ids, jitter and faults repeatable.
        """
        habits = replace(
            habits or Habits(),
            qr_lifetime=qr_lifetime,
            qr_limit=qr_limit,
            retry=retry or (habits.retry if habits else WebhookRetryPolicy()),
        )
        chance = random.Random(seed)
        with closing(Poster()) as poster:
            async with trio.open_nursery() as nursery:

                def courier(world: World) -> Courier:
                    return Courier(nursery, poster, habits.retry, world.faults, world.ledger, chance)

                world = World(nursery, courier, Door(port), api_key, habits, chance)
                bound = await nursery.start(world.door.serve, handler(world))
                world.url = f"http://127.0.0.1:{bound}"
                try:
                    yield cls(world)
                finally:
                    nursery.cancel_scope.cancel()

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def api_key(self) -> str:
        return self.world.api_key

    @property
    def ledger(self) -> Ledger:
        return self.world.ledger

    @property
    def phones(self) -> Phones:
        """Numbers that do not exist, do not answer, or have another name; to be changed in place."""
        return self.world.phones

    def instance(self, name: str) -> Instance:
        """Raises ``KeyError`` for an unknown name."""
        return self.world.instances[name]

    def scan(self, name: str, number: str | None = None, profile_name: str | None = None) -> None:
        pairing.scan(self.world, self.instance(name), number, profile_name)

    def close(self, name: str, code: int, reopen_after: float | None = None, stray: bool = False) -> None:
        pairing.close(self.world, self.instance(name), code, reopen_after, stray)

    def receive(self, name: str, text: str = "", sender: str = "5511999990001", **more: Any) -> str:
        """A message comes in; its id. See ``phone.receive``."""
        return phones.receive(self.world, self.instance(name), text, sender, **more)

    def play(self, name: str, recording: str, *, fresh: bool = False) -> None:
        phones.play(self.world, self.instance(name), recording, fresh=fresh)

    async def storm(self, name: str, count: int = 247, rate: float = pairing.STORM_RATE) -> None:
        """Returns after the last webhook was fired; cancellation ends the storm."""
        await pairing.storm(self.world, self.instance(name), count, rate)

    def status(self, name: str, external_id: str, word: str, jid: str | None = None) -> None:
        phones.status(self.world, self.instance(name), external_id, word, jid)

    def plant(self, kind: str, **more: Any) -> None:
        """Plant a fault; the properties are those of ``faults.Fault``."""
        self.world.faults.plant(Fault(kind, **more))

    def clear(self, kind: str | None = None, instance: str | None = None) -> None:
        self.world.faults.clear(kind, instance)

    def shut(self) -> None:
        """Refuse all connections until ``open``."""
        self.world.door.shut()

    def open(self) -> None:
        self.world.door.open()

    async def quiet(self) -> None:
        """Wait until no webhook is pending."""
        await self.world.courier.quiet()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m zapline.sandbox.simulator.server", description=__doc__)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--api-key", default=API_KEY)
    parser.add_argument("--qr-lifetime", type=float, default=45.0)
    parser.add_argument("--qr-limit", type=int, default=30)
    parser.add_argument("--first-qr", type=float, default=0.05)
    parser.add_argument("--retry-attempts", type=int, default=10)
    parser.add_argument("--retry-initial", type=float, default=5.0)
    parser.add_argument("--retry-cap", type=float, default=300.0)
    parser.add_argument("--webhook-timeout", type=float, default=30.0)
    parser.add_argument("--statuses", default="SERVER_ACK,DELIVERY_ACK", help="comma separated; empty: none")
    parser.add_argument("--status-gap", type=float, default=0.2)
    parser.add_argument("--no-store", action="store_true", help="keep no messages to be read back")
    parser.add_argument("--evolution-version", default="2.3.7")
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args()


async def _main(given: argparse.Namespace) -> None:
    retry = WebhookRetryPolicy(
        attempts=given.retry_attempts,
        initial=given.retry_initial,
        cap=given.retry_cap,
        timeout=given.webhook_timeout,
    )
    statuses = tuple(word for word in given.statuses.split(",") if word)
    habits = Habits(
        first_qr=given.first_qr,
        statuses=statuses,
        status_gap=given.status_gap,
        store=not given.no_store,
        version=given.evolution_version,
    )
    async with SimulatedEvolution.running(
        given.port, given.api_key, given.qr_lifetime, given.qr_limit, retry, habits, given.seed
    ) as evolution:
        print(evolution.url, flush=True)  # noqa: T201 - the parent reads the address from here
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return


if __name__ == "__main__":
    trio.run(_main, _arguments())
