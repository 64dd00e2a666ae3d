"""Calls Evolution for the units' lines: register, connect, observe, log out. Every outcome is returned as an event."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from zapline.domain.line.events import (
    CallFailed,
    ConnectionEvent,
    ConnectStarted,
    LogoutDone,
    QrOffered,
    Registered,
    StateObserved,
)
from zapline.domain.line.transitions import LineAction
from zapline.evolution.client.failures import (
    EvolutionFailure,
    FailureVerdict,
    InstanceExists,
    InstanceUnknown,
    InvalidRequest,
    NotConnected,
    Unauthorized,
)
from zapline.evolution.client.response_parser import RegisteredWebhook, WebhookRegistration
from zapline.evolution.client.rest_client import EvolutionClient
from zapline.supervisors.counters import Counters

WEBHOOK_EVENTS = (
    "QRCODE_UPDATED",
    "CONNECTION_UPDATE",
    "STATUS_INSTANCE",
    "LOGOUT_INSTANCE",
    "REMOVE_INSTANCE",
    "INSTANCE_DELETE",
    "MESSAGES_SET",
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "SEND_MESSAGE_UPDATE",
    "CONTACTS_UPSERT",
    "CONTACTS_UPDATE",
    "GROUP_PARTICIPANTS_UPDATE",
)
"""Only the events that are used: presence and chats alone would double the traffic.

MESSAGES_EDITED is not among them: Evolution waits for that webhook, with all its repetitions, inside the line's own
event queue. While we are away, nothing newer of the line is stored or sent, and what waits is lost when Evolution
ends. Edits come in MESSAGES_UPDATE (from 2.3.7 on), deletions in MESSAGES_DELETE; both without that risk.
"""

_EVENTS_SINCE_1_8 = tuple(name for name in WEBHOOK_EVENTS if name not in {"SEND_MESSAGE_UPDATE", "REMOVE_INSTANCE"})

MAX_CONCURRENT_CALLS = 24
"""Calls in progress over all units: a start with thousands of lines must not flood Evolution."""
CALL_DEADLINE = 40.0
"""Seconds for one call including its retries; connect alone takes two."""


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """Where Evolution delivers webhooks. The secret is in the URL, or in a header if it must not be in the URL."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class LineCalls:
    """Performs the calls of all actors; one instance per process."""

    def __init__(
        self, client: EvolutionClient, address_of: Callable[[bytes, int], WebhookAddress], counters: Counters
    ) -> None:
        self._client = client
        self._address_of = address_of
        self._counters = counters
        self._limiter = trio.CapacityLimiter(MAX_CONCURRENT_CALLS)

    async def perform(
        self, action: LineAction, instance: str, number: str | None, secret_id: tuple[bytes, int]
    ) -> ConnectionEvent:
        """Make one call; return its answer or failure, never raise it. ``secret_id``: unit id and generation."""
        async with self._limiter:
            self._counters.add("evolution_calls", action.value)
            try:
                with trio.fail_after(CALL_DEADLINE):
                    return await self._call(action, instance, number, secret_id)
            except trio.TooSlowError:
                self._counters.add("evolution_failures", "deadline")
                return CallFailed(action.value, "deadline")
            except EvolutionFailure as failure:
                self._counters.add("evolution_failures", failure.code)
                refused = isinstance(failure, Unauthorized) or failure.verdict is FailureVerdict.REJECTED
                return CallFailed(action.value, failure.code, retryable=not refused)

    async def _call(
        self, action: LineAction, instance: str, number: str | None, secret_id: tuple[bytes, int]
    ) -> ConnectionEvent:
        match action:
            case LineAction.REGISTER:
                await self._register(instance, number, self._address_of(*secret_id))
                return Registered()
            case LineAction.CONNECT:
                return await self._connect(instance, number)
            case LineAction.OBSERVE:
                try:
                    return StateObserved(await self._client.connection_state(instance))
                except InstanceUnknown:
                    return StateObserved("missing")
            case LineAction.LOGOUT:
                with suppress(NotConnected, InstanceUnknown):  # it is logged out already
                    await self._client.logout(instance)
                return LogoutDone()
        raise AssertionError(f"{action} is no call")

    async def _connect(self, instance: str, number: str | None) -> ConnectionEvent:
        answer = await self._client.connect(instance, number)
        if answer.state == "open":
            return StateObserved("open")
        if answer.code:
            return QrOffered(answer.code, answer.pairing_code, answer.count)
        return ConnectStarted()

    async def _register(self, instance: str, number: str | None, address: WebhookAddress) -> None:
        """Create the instance if it is missing; set its webhook and read it back, unless it is already right."""
        wanted = WebhookRegistration(address.url, WEBHOOK_EVENTS, dict(address.headers))
        try:
            registered = await self._client.find_webhook(instance)
        except InstanceUnknown:
            # If another process creates it at the same moment, the name is in use, which is just as good.
            with suppress(InstanceExists):
                await self._client.create_instance(instance, wanted, number)
            registered = await self._client.find_webhook(instance)
        if _same_registration(registered, wanted):
            return
        try:
            await self._client.set_webhook(instance, wanted)
        except InvalidRequest:
            # Servers before 2.3 validate the event names and know fewer of them.
            await self._client.set_webhook(instance, replace(wanted, events=_EVENTS_SINCE_1_8))
        if not _same_registration(await self._client.find_webhook(instance), wanted):
            raise EvolutionFailure("the webhook that was set does not read back the same")


def _same_registration(registered: RegisteredWebhook | None, wanted: WebhookRegistration) -> bool:
    """Whether Evolution delivers the wanted events to the wanted address."""
    if registered is None or not registered.enabled or registered.base64:
        return False
    same_address = registered.url == wanted.url and dict(registered.headers) == dict(wanted.headers)
    return same_address and set(registered.events) in (set(wanted.events), set(_EVENTS_SINCE_1_8))
