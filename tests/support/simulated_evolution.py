"""Runs a simulated Evolution with one open instance, whose webhooks go to a receiver of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.instances import EVENTS, Instance, WebhookRow, iso_now
from zapline.sandbox.simulator.state.server_state import Behaviour
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy

FAST_RETRY = WebhookRetryPolicy(attempts=4, initial=0.05, cap=0.25, timeout=0.5)
NO_STATUSES = Behaviour(statuses=())


@asynccontextmanager
async def serving(
    receiver: Any, retry: WebhookRetryPolicy = FAST_RETRY, behaviour: Behaviour = NO_STATUSES
) -> AsyncIterator[SimulatedEvolution]:
    """Run a simulated server with the open instance ``alpha``, whose ``open`` event is not delivered."""
    with trio.fail_after(120):
        async with SimulatedEvolution.running(retry=retry, behaviour=behaviour, seed=3) as evo:
            add(evo, "alpha", receiver.url)
            evo.instance("alpha").webhook.enabled = False
            evo.scan("alpha", "5511999990000")
            evo.instance("alpha").webhook.enabled = True
            yield evo


def add(evo: SimulatedEvolution, name: str, url: str) -> Instance:
    now = iso_now()
    events = [event for event in EVENTS if not event.startswith("CONTACTS_")]  # these follow each message
    row = WebhookRow("cm1", url, None, True, events, False, False, now, now)
    instance = Instance(name, "TOKEN", "WHATSAPP-BAILEYS", None, now, webhook=row)
    evo.state.instances[name] = instance
    return instance
