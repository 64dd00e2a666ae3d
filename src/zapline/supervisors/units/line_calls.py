"""Calls Evolution for the units' lines: register, connect, observe, log out. Each outcome is returned as an event."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import trio

from zapline.domain.ids import UnitId
from zapline.domain.line.events import (
    CallFailed,
    ConnectionEvent,
    ConnectStarted,
    LogoutDone,
    QrOffered,
    Registered,
    RegistrationChecked,
    StateObserved,
)
from zapline.domain.line.transitions import LineAction
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import (
    EvolutionFailure,
    FailureVerdict,
    InstanceExists,
    InstanceUnknown,
    InvalidRequest,
    NotConnected,
    OperationFailed,
    Unauthorized,
)
from zapline.evolution.client.response_parser import WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.server_standing import PerServer, ServerStanding
from zapline.supervisors.units.registration import EVENTS_OF_2_2, WEBHOOK_EVENTS, differences, leads_to_us

MAX_CONCURRENT_CALLS = 24
"""Calls in progress at one server: a start with thousands of lines must not flood it, nor wait for another server."""
CALL_DEADLINE = 40.0
"""Seconds for one call including its retries; connect alone takes two."""
_CLOSE_LOOKS, _CLOSE_PAUSE = 10, 0.5
"""How often a line that was logged out is asked whether it is closed, and the seconds in between."""


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """Where Evolution delivers webhooks. The secret is in the URL, or in a header if it must not be in the URL."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class LineCalls:
    """Performs the calls of all actors; one instance per process."""

    def __init__(
        self,
        client: EvolutionClient,
        address_of: Callable[[bytes, int], WebhookAddress],
        counters: Counters,
        server_of: Callable[[UnitId], ServerStanding] | None = None,
    ) -> None:
        """``server_of`` knows a unit's server; without it all have ``client``, as those of the environment's have."""
        environment = ServerStanding()
        self._client = client
        self._server_of = server_of or (lambda unit: environment)
        self._address_of = address_of
        self._counters = counters
        self._turns = PerServer(MAX_CONCURRENT_CALLS)

    async def perform(
        self,
        action: LineAction,
        instance: str,
        number: str | None,
        secret_id: tuple[bytes, int],
        enforce: bool = True,
    ) -> ConnectionEvent:
        """Make one call; return its answer or failure, never raise it.

        ``secret_id``: unit id and generation. ``enforce``: set a webhook again that somebody has changed.
        """
        server = self._server_of(UnitId(UUID(bytes=secret_id[0])))
        async with self._turns.of(server):
            client = server.client or self._client
            self._counters.add("evolution_calls", action.value)
            try:
                with trio.fail_after(CALL_DEADLINE):
                    return await self._call(client, action, instance, number, secret_id, enforce)
            except trio.TooSlowError:
                self._counters.add("evolution_failures", "deadline")
                return CallFailed(action.value, "deadline")
            except EvolutionFailure as failure:
                self._counters.add("evolution_failures", failure.code)
                refused = isinstance(failure, Unauthorized) or failure.verdict is FailureVerdict.REJECTED
                return CallFailed(action.value, failure.code, retryable=not refused)

    async def _call(
        self,
        client: EvolutionClient,
        action: LineAction,
        instance: str,
        number: str | None,
        secret_id: tuple[bytes, int],
        enforce: bool,
    ) -> ConnectionEvent:
        match action:
            case LineAction.REGISTER | LineAction.RENEW_PAIRING | LineAction.RECREATE:
                if action is LineAction.RENEW_PAIRING:
                    await self._close_pairing(client, instance)
                elif action is LineAction.RECREATE:
                    with suppress(InstanceUnknown):
                        await client.delete(instance)
                address = self._address_of(*secret_id)
                return Registered(await self._register(client, instance, number, address, enforce))
            case LineAction.CHECK:
                return await self._check(client, instance, self._address_of(*secret_id), enforce)
            case LineAction.CONNECT:
                return await self._connect(client, instance, number)
            case LineAction.OBSERVE:
                try:
                    return StateObserved(await client.connection_state(instance))
                except InstanceUnknown:
                    return StateObserved("missing")
            case LineAction.LOGOUT:
                with suppress(NotConnected, InstanceUnknown):  # it is logged out already
                    await client.logout(instance)
                return LogoutDone()
        raise AssertionError(f"{action} is no call")

    async def _connect(self, client: EvolutionClient, instance: str, number: str | None) -> ConnectionEvent:
        answer = await client.connect(instance, number)
        if answer.state == "open":
            return StateObserved("open")
        if answer.code:
            return QrOffered(answer.code, answer.pairing_code, answer.count)
        return ConnectStarted()

    async def _register(
        self, client: EvolutionClient, instance: str, number: str | None, address: WebhookAddress, enforce: bool
    ) -> tuple[str, ...]:
        """Create the instance if it is missing; set its webhook and read it back, unless it is already right.

        Returns what is left different, because not ``enforce``: somebody else looks after this webhook.
        """
        wanted = WebhookRegistration(address.url, WEBHOOK_EVENTS, dict(address.headers))
        try:
            registered = await client.find_webhook(instance)
        except InstanceUnknown:
            # If another process creates it at the same moment, the name is in use, which is just as good.
            with suppress(InstanceExists):
                await client.create_instance(instance, wanted, number)
            registered = await client.find_webhook(instance)
        found = differences(registered, wanted)
        if found and not enforce and (found != ("url",) or not leads_to_us(registered, wanted)):
            return found
        if found:
            await self._set(client, instance, wanted)
        return ()

    async def _check(
        self, client: EvolutionClient, instance: str, address: WebhookAddress, enforce: bool
    ) -> ConnectionEvent:
        """Read the webhook back; set it again if somebody has changed it and ``enforce``."""
        wanted = WebhookRegistration(address.url, WEBHOOK_EVENTS, dict(address.headers))
        try:
            found = differences(await client.find_webhook(instance), wanted)
        except InstanceUnknown:
            return StateObserved("missing")
        if found and enforce:
            await self._set(client, instance, wanted)
        return RegistrationChecked(found, restored=bool(found) and enforce)

    async def _set(self, client: EvolutionClient, instance: str, wanted: WebhookRegistration) -> None:
        try:
            await client.set_webhook(instance, wanted)
        except InvalidRequest:
            # All versions validate the names of events here; those before 2.3 know fewer.
            await client.set_webhook(instance, replace(wanted, events=EVENTS_OF_2_2))
        if differences(await client.find_webhook(instance), wanted):
            raise EvolutionFailure(Sentence("the webhook that was set does not read back the same"))

    async def _close_pairing(self, client: EvolutionClient, instance: str) -> None:
        """Log out of a pairing, and wait until Evolution begins another when it is asked to connect."""
        with suppress(NotConnected, InstanceUnknown, OperationFailed):
            await client.logout(instance)
        for _ in range(_CLOSE_LOOKS):
            with suppress(InstanceUnknown):
                if await client.connection_state(instance) == "close":
                    return
            await trio.sleep(_CLOSE_PAUSE)
