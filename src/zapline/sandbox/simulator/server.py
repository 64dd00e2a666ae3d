"""Runs the simulated Evolution server, inside a program or as ``python -m zapline.sandbox.simulator.server``."""

import argparse
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import trio

from zapline.sandbox.simulator.endpoints import contact_events, phone_actions, phone_edits
from zapline.sandbox.simulator.endpoints.router import handler
from zapline.sandbox.simulator.http.http_server import Listener
from zapline.sandbox.simulator.state import connection_lifecycle, server_restart
from zapline.sandbox.simulator.state.delivery_ledger import DeliveryLedger
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.server_state import Behaviour, NumberDirectory, ServerState
from zapline.sandbox.simulator.state.webhook_client import WebhookClient
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy, WebhookSender

API_KEY = "sandbox-evolution-key"


class SimulatedEvolution:
    """A running simulated server; its methods do what the control endpoints do."""

    def __init__(self, state: ServerState) -> None:
        self.state = state

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        port: int | None = None,
        api_key: str = API_KEY,
        qr_lifetime: float = 45.0,
        qr_limit: int = 30,
        retry: WebhookRetryPolicy | None = None,
        behaviour: Behaviour | None = None,
        seed: int | None = None,
        *,
        or_any_port: bool = False,
    ) -> AsyncIterator["SimulatedEvolution"]:
        """Listen on the port (None: any free one) until the block ends; then all tasks are cancelled.

        With ``or_any_port`` a port that is taken is replaced by a free one; else it is an ``OSError``.
        ``behaviour`` holds the other settings. ``seed`` makes ids, jitter and faults repeatable.
        """
        behaviour = replace(
            behaviour or Behaviour(),
            qr_lifetime=qr_lifetime,
            qr_limit=qr_limit,
            retry=retry or (behaviour.retry if behaviour else WebhookRetryPolicy()),
        )
        rng, listener = random.Random(seed), Listener(port, or_any=or_any_port)
        with closing(WebhookClient()) as client:
            async with trio.open_nursery() as nursery:

                def webhook_sender(state: ServerState) -> WebhookSender:
                    return WebhookSender(nursery, client, behaviour.retry, state.faults, state.ledger, rng)

                state = ServerState(nursery, webhook_sender, listener, api_key, behaviour, rng)
                bound_port = await nursery.start(state.listener.serve, handler(state))
                state.url = f"http://127.0.0.1:{bound_port}"
                try:
                    yield cls(state)
                finally:
                    nursery.cancel_scope.cancel()

    @property
    def url(self) -> str:
        return self.state.url

    @property
    def api_key(self) -> str:
        return self.state.api_key

    @property
    def ledger(self) -> DeliveryLedger:
        return self.state.ledger

    @property
    def numbers(self) -> NumberDirectory:
        """What WhatsApp knows about numbers; tests change it in place."""
        return self.state.numbers

    def instance(self, name: str) -> Instance:
        """Raises ``KeyError`` for an unknown name."""
        return self.state.instances[name]

    def scan(self, name: str, number: str | None = None, profile_name: str | None = None) -> None:
        connection_lifecycle.scan(self.state, self.instance(name), number, profile_name)

    def close(self, name: str, code: int, reopen_after: float | None = None, stray: bool = False) -> None:
        connection_lifecycle.close(self.state, self.instance(name), code, reopen_after, stray)

    def receive(self, name: str, text: str = "", sender: str = "5511999990001", **more: Any) -> str:
        """Receive a message on the line; return its id. See ``phone_actions.receive``."""
        return phone_actions.receive(self.state, self.instance(name), text, sender, **more)

    def edit(self, name: str, external_id: str, text: str = "", **more: Any) -> None:
        """Edit a message from its author's phone. See ``phone_edits.edit``."""
        phone_edits.edit(self.state, self.instance(name), external_id, text, **more)

    def revoke(self, name: str, external_id: str, **more: Any) -> None:
        """Delete a message for everyone from its author's phone. See ``phone_edits.revoke``."""
        phone_edits.revoke(self.state, self.instance(name), external_id, **more)

    def react(self, name: str, external_id: str, emoji: str, sender: str = "5511999990001", **more: Any) -> str:
        """React to a message from a phone; return the reaction's own id. See ``phone_actions.react``."""
        return phone_actions.react(self.state, self.instance(name), external_id, emoji, sender, **more)

    def hand_over_history(self, name: str, **history: Any) -> None:
        """See ``contact_events.hand_over_history``."""
        contact_events.hand_over_history(self.state, self.instance(name), **history)

    def replay(self, name: str, recording: str, *, fresh: bool = False) -> None:
        phone_actions.replay(self.state, self.instance(name), recording, fresh=fresh)

    async def storm(self, name: str, count: int = 247, rate: float = connection_lifecycle.STORM_RATE) -> None:
        """Send a reconnect storm; returns after its last webhook was fired."""
        await connection_lifecycle.storm(self.state, self.instance(name), count, rate)

    def status(self, name: str, external_id: str, status: str, jid: str | None = None) -> None:
        phone_actions.status(self.state, self.instance(name), external_id, status, jid)

    def inject_fault(self, kind: str, **properties: Any) -> None:
        """Inject a fault; ``properties`` are those of ``faults.Fault``."""
        self.state.faults.inject(Fault(kind, **properties))

    def clear_faults(self, kind: str | None = None, instance: str | None = None) -> None:
        self.state.faults.clear(kind, instance)

    def take_down(self) -> None:
        """Refuse all connections until ``bring_up``."""
        self.state.listener.take_down()

    def bring_up(self) -> None:
        self.state.listener.bring_up()

    def kill(self) -> None:
        """End the server as by SIGKILL: see ``server_restart``. Phones go on meanwhile."""
        server_restart.end(self.state)

    def start(self) -> None:
        """Start the killed server again: see ``server_restart``."""
        server_restart.start(self.state)

    async def wait_until_idle(self) -> None:
        """Wait until no webhook is pending, and no event waits for one."""
        await self.state.webhook_sender.wait_until_idle()
        while any(instance.events.blocked for instance in self.state.instances.values()):
            await trio.lowlevel.checkpoint()  # its webhook has ended, so it goes on now
            await self.state.webhook_sender.wait_until_idle()


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


async def _serve(arguments: argparse.Namespace) -> None:
    retry = WebhookRetryPolicy(
        attempts=arguments.retry_attempts,
        initial=arguments.retry_initial,
        cap=arguments.retry_cap,
        timeout=arguments.webhook_timeout,
    )
    statuses = tuple(status for status in arguments.statuses.split(",") if status)
    behaviour = Behaviour(
        first_qr=arguments.first_qr,
        statuses=statuses,
        status_gap=arguments.status_gap,
        store=not arguments.no_store,
        version=arguments.evolution_version,
    )
    async with SimulatedEvolution.running(
        arguments.port, arguments.api_key, arguments.qr_lifetime, arguments.qr_limit, retry, behaviour, arguments.seed
    ) as evolution:
        print(evolution.url, flush=True)  # noqa: T201 - the parent reads the address from here
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return


def main() -> None:
    """Entry of the program: prints its address, and serves until SIGINT or SIGTERM."""
    trio.run(_serve, _arguments())


if __name__ == "__main__":
    main()
