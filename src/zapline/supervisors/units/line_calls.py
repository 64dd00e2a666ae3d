"""Performs a line's calls to Evolution, one at a time a unit; every answer comes back as an event."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from zapline.domain.line.transitions import Action
from zapline.domain.messages.events import (
    CallFailed,
    ConnectionEvent,
    ConnectStarted,
    LogoutDone,
    QrOffered,
    Registered,
    StateObserved,
)
from zapline.evolution.client.failures import (
    EvolutionFailure,
    InstanceExists,
    InstanceUnknown,
    InvalidRequest,
    NotConnected,
    Unauthorized,
    Verdict,
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
    "MESSAGES_EDITED",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "SEND_MESSAGE_UPDATE",
    "CONTACTS_UPSERT",
    "CONTACTS_UPDATE",
    "GROUP_PARTICIPANTS_UPDATE",
)
"""Only what is used: presence and chats alone would double the traffic."""

_EVENTS_SINCE_1_8 = tuple(
    name for name in WEBHOOK_EVENTS if name not in {"MESSAGES_EDITED", "SEND_MESSAGE_UPDATE", "REMOVE_INSTANCE"}
)

AT_ONCE = 24
"""Calls under way over all units: a start with thousands of lines must not flood Evolution."""
CALL_DEADLINE = 40.0
"""Seconds for one call with its repetitions; connect itself takes two."""


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """Where Evolution is to deliver; the secret stands in the URL, or in a header where it must stay out."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class LineCalls:
    """The calls that a unit's actor asks for; one instance serves all units."""

    def __init__(
        self, client: EvolutionClient, address_of: Callable[[bytes, int], WebhookAddress], counters: Counters
    ) -> None:
        self._client = client
        self._address_of = address_of
        self._counters = counters
        self._limiter = trio.CapacityLimiter(AT_ONCE)

    async def perform(
        self, action: Action, instance: str, number: str | None, secret_of: tuple[bytes, int]
    ) -> ConnectionEvent:
        """Make one call; its answer or failure is returned, never raised. ``secret_of``: unit id, generation."""
        async with self._limiter:
            self._counters.add("evolution_calls", action.value)
            try:
                with trio.fail_after(CALL_DEADLINE):
                    return await self._call(action, instance, number, secret_of)
            except trio.TooSlowError:
                self._counters.add("evolution_failures", "deadline")
                return CallFailed(action.value, "deadline")
            except EvolutionFailure as failure:
                self._counters.add("evolution_failures", failure.code)
                refused = isinstance(failure, Unauthorized) or failure.verdict is Verdict.REJECTED
                return CallFailed(action.value, failure.code, retryable=not refused)

    async def _call(
        self, action: Action, instance: str, number: str | None, secret_of: tuple[bytes, int]
    ) -> ConnectionEvent:
        match action:
            case Action.REGISTER:
                await self._register(instance, number, self._address_of(*secret_of))
                return Registered()
            case Action.CONNECT:
                return await self._connect(instance, number)
            case Action.OBSERVE:
                try:
                    return StateObserved(await self._client.connection_state(instance))
                except InstanceUnknown:
                    return StateObserved("missing")
            case Action.LOGOUT:
                with suppress(NotConnected, InstanceUnknown):  # what was asked for is so already
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
        """Create the instance if it is missing; set its webhook and read it back, unless it is right already."""
        wanted = WebhookRegistration(address.url, WEBHOOK_EVENTS, dict(address.headers))
        try:
            registered = await self._client.find_webhook(instance)
        except InstanceUnknown:
            # Somebody else may be as quick as we are: then the name is in use, which is as good.
            with suppress(InstanceExists):
                await self._client.create_instance(instance, wanted, number)
            registered = await self._client.find_webhook(instance)
        if _fits(registered, wanted):
            return
        try:
            await self._client.set_webhook(instance, wanted)
        except InvalidRequest:
            # Servers before 2.3 check the names and know fewer of them.
            await self._client.set_webhook(instance, replace(wanted, events=_EVENTS_SINCE_1_8))
        if not _fits(await self._client.find_webhook(instance), wanted):
            raise EvolutionFailure("the webhook that was set does not read back the same")


def _fits(registered: RegisteredWebhook | None, wanted: WebhookRegistration) -> bool:
    """Whether Evolution will deliver what is wanted to where it is wanted."""
    if registered is None or not registered.enabled or registered.base64:
        return False
    same_place = registered.url == wanted.url and dict(registered.headers) == dict(wanted.headers)
    return same_place and set(registered.events) in (set(wanted.events), set(_EVENTS_SINCE_1_8))
