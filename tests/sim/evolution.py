"""The simulated Evolution and its phones in the world's process: requests and webhooks pass without sockets."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import trio

from zapline.sandbox.simulator.endpoints.router import handler
from zapline.sandbox.simulator.http.http_server import AfterDisconnect, Disconnect, Request, Response
from zapline.sandbox.simulator.server import SimulatedEvolution
from zapline.sandbox.simulator.state.server_state import Behaviour, ServerState
from zapline.sandbox.simulator.state.webhook_delivery import WebhookRetryPolicy, WebhookSender

from .world import ON_MACHINE, World

URL, KEY = "http://evolution.simulated", "simulated-evolution-key"
BEHAVIOUR = {"first_qr": 0.05, "connect_wait": 0.5, "create_wait": 0.5, "status_gap": 0.3}


@dataclass
class NetworkFaults:
    """Chances for each webhook, and for each request of the daemon to Evolution."""

    webhook_lost: float = 0.0
    """The connection is refused: the daemon hears nothing of it."""
    answer_lost: float = 0.0
    """The daemon's answer to a webhook is lost: Evolution repeats what is stored already."""


class PipeListener:
    """Takes the place of the listening socket: down, it refuses requests and breaks those under way."""

    def __init__(self) -> None:
        self.down = False
        self.broken = trio.Event()

    def take_down(self) -> None:
        self.down = True
        self.broken.set()

    def bring_up(self) -> None:
        if self.down:
            self.down, self.broken = False, trio.Event()


class EvolutionTransport(httpx2.AsyncBaseTransport):
    """The daemon's way to Evolution. A request that has arrived is processed even if the daemon dies meanwhile."""

    def __init__(self, world: World, evolution: SimulatedEvolution, listener: PipeListener) -> None:
        self._world = world
        self._state = evolution.state
        self._listener = listener
        self._handle = handler(evolution.state)
        self._chance = world.stream("network")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        await trio.sleep(self._chance.uniform(0.001, 0.02))
        if self._listener.down:
            raise httpx2.ConnectError("refused", request=request)
        received = Request(
            method=request.method,
            path=request.url.raw_path.decode().partition("?")[0],
            query=dict(parse_qsl(request.url.query.decode())),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            peer="127.0.0.1",
        )
        self._world.step("request", received.method, received.path)
        outcome: list[Any] = []
        ended, broken = trio.Event(), self._listener.broken

        async def process() -> None:
            ON_MACHINE.set(False)
            outcome.append(await self._handle(received))
            ended.set()

        self._state.spawn(process)
        try:
            with trio.move_on_after(request.extensions.get("timeout", {}).get("read") or 60.0):
                await _first(ended, broken)
                if broken.is_set():
                    raise httpx2.RemoteProtocolError("the server is gone", request=request)
                await trio.sleep(self._chance.uniform(0.001, 0.02))
                return await self._answer(request, outcome[0])
            raise httpx2.ReadTimeout("no answer", request=request)
        finally:
            if outcome and isinstance(outcome[0], AfterDisconnect):
                outcome[0].action()

    async def _answer(self, request: httpx2.Request, outcome: Any) -> httpx2.Response:
        if isinstance(outcome, Response):
            headers = [("content-type", outcome.content_type), *outcome.headers]
            return httpx2.Response(outcome.status, headers=headers, content=outcome.body, request=request)
        if outcome is Disconnect.RESET:
            raise httpx2.ReadError("reset", request=request)
        if outcome is Disconnect.CLOSE:
            raise httpx2.RemoteProtocolError("closed without an answer", request=request)
        await trio.sleep_forever()
        raise AssertionError


async def _first(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)


@dataclass(eq=False)
class WebhookWire:
    """Evolution's way to the daemon: posts each webhook to the daemon that lives at this moment, if one does."""

    world: World
    find_daemon: Callable[[], "Any | None"]
    """The daemon's host while its daemon serves, else None."""
    on_begun: Callable[[bytes], None]
    """Told of each webhook that is on its way to a daemon."""
    on_answered: Callable[[bytes, float], None]
    """Told of each answer 200 that left the daemon, with the webhook's body, and when it was on its way."""
    faults: NetworkFaults = field(default_factory=NetworkFaults)

    def __post_init__(self) -> None:
        self._chance = self.world.stream("webhooks")

    async def post(self, url: str, headers: Any, body: bytes) -> int | None:
        """Return the status, or None without an answer."""
        dice = self._chance.random()
        await trio.sleep(self._chance.uniform(0.001, 0.03))
        daemon = self.find_daemon()
        if daemon is None or dice < self.faults.webhook_lost:
            self.world.step("webhook refused")
            return None
        begun = self.world.now
        self.on_begun(body)
        status = await daemon.post(url, headers, body)
        self.world.step("webhook", status)
        if status == 200:
            self.on_answered(body, begun)
        await trio.sleep(self._chance.uniform(0.001, 0.01))
        if dice > 1 - self.faults.answer_lost:
            self.world.strike("answer to a webhook lost")
            return None
        return status


@asynccontextmanager
async def evolution_in_process(
    world: World, wire: WebhookWire, **behaviour: Any
) -> AsyncIterator[tuple[SimulatedEvolution, PipeListener]]:
    """Run the simulated Evolution until the block ends."""
    rng, listener = world.stream("evolution"), PipeListener()
    retry = WebhookRetryPolicy(attempts=10, initial=5.0)
    settings = Behaviour(**(BEHAVIOUR | {"retry": retry} | behaviour))
    async with trio.open_nursery() as nursery:

        def webhook_sender(state: ServerState) -> WebhookSender:
            return WebhookSender(nursery, wire, settings.retry, state.faults, state.ledger, rng)  # type: ignore[arg-type]

        state = ServerState(nursery, webhook_sender, listener, KEY, settings, rng)  # type: ignore[arg-type]
        state.url = URL
        yield SimulatedEvolution(state), listener
        nursery.cancel_scope.cancel()
