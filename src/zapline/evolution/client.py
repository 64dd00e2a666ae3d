"""Performs the REST calls that Zapline makes to Evolution: one method per endpoint, over one shared client.

Every call has a deadline and ends in a value or an ``EvolutionFailure``; cancelling it closes its connection.
The key travels in a header only. Paths and headers are never logged here.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2
import trio
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from zapline.evolution.answers import (
    ConnectAnswer,
    CreatedInstance,
    InstanceInfo,
    MessagePage,
    RegisteredWebhook,
    ServerInfo,
    WebhookRegistration,
    decode,
    read_connect,
    read_created,
    read_instances,
    read_messages,
    read_server,
    read_state,
    read_webhook,
)
from zapline.evolution.failures import (
    BadAnswer,
    EvolutionFailure,
    NoAnswer,
    failure_of_answer,
    failure_of_exception,
)

MAX_CONNECTIONS = 100
"""Above this the pool's own scan costs more CPU than the requests (measured: 0.7 ms a request at 100)."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A page of messages with inline thumbnails stays far below; more is not an answer but a fault."""


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """Seconds, and how often an idempotent call is made at most."""

    connect: float = 5.0
    """Evolution is near; a handshake that takes longer will not end."""
    call: float = 30.0
    """``connect`` waits 2 s and ``create`` up to 5 s inside Evolution (contract, section 1)."""
    overall: float = 60.0
    """All attempts and the waits between them."""
    attempts: int = 3
    first_wait: float = 0.2
    longest_wait: float = 2.0


def open_http(max_connections: int = MAX_CONNECTIONS, context: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """The one shared HTTP client; the caller closes it. ``context`` is shared because making one takes 18 ms.

    The environment's proxies and .netrc are not used: a .netrc entry would replace our headers.
    """
    return httpx2.AsyncClient(
        verify=context or ssl.create_default_context(),
        limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        trust_env=False,
        follow_redirects=False,
    )


def worth_repeating(exc: BaseException) -> bool:
    """Only our own transient failures; never ``trio.Cancelled``, or a cancellation would be swallowed."""
    return isinstance(exc, EvolutionFailure) and exc.transient


class EvolutionClient:
    """One Evolution server, seen with the global key. Owns nothing: ``http`` is closed by who opened it."""

    def __init__(self, http: httpx2.AsyncClient, base_url: str, api_key: str, policy: CallPolicy | None = None) -> None:
        self._http = http
        self._base = base_url.rstrip("/")
        self._headers = {"apikey": api_key, "accept": "application/json"}
        self._policy = policy or CallPolicy()
        self._timeout = httpx2.Timeout(self._policy.call, connect=self._policy.connect, pool=self._policy.connect)

    async def server_info(self) -> ServerInfo:
        """``GET /``: needs no key, so it proves reachability alone."""
        return read_server(await self._repeat("GET", "/"))

    async def create_instance(
        self, name: str, webhook: WebhookRegistration, number: str | None = None
    ) -> CreatedInstance:
        """Make the instance with its webhook, without connecting. ``InstanceExists``: the name is taken."""
        body: dict[str, Any] = {
            "instanceName": name,
            "integration": "WHATSAPP-BAILEYS",
            "qrcode": False,
            "webhook": webhook.as_json(),
        }
        if number is not None:
            body["number"] = number
        return read_created(await self._call("POST", "/instance/create", body))

    async def connect(self, name: str, number: str | None = None) -> ConnectAnswer:
        """Start pairing, or take the current code; ``number`` (digits) asks for a pairing code too."""
        query = {"number": number} if number is not None else {}
        return read_connect(await self._repeat("GET", _at("connect", name), query=query))

    async def connection_state(self, name: str) -> str:
        """``open``, ``connecting`` or ``close``, from Evolution's memory. ``InstanceUnknown`` for a 404."""
        return read_state(await self._repeat("GET", _at("connectionState", name)))

    async def fetch_instances(self, name: str | None = None) -> list[InstanceInfo]:
        """All instances, or the one called ``name``; ``InstanceUnknown`` where there is none."""
        query = {"instanceName": name} if name is not None else {}
        answer = await self._repeat("GET", "/instance/fetchInstances", query=query)
        return read_instances(answer)

    async def restart(self, name: str) -> str:
        """Reconnect the socket; the state it answers. ``OperationFailed`` where it was closed."""
        return read_state(await self._call("POST", _at("restart", name)))

    async def logout(self, name: str) -> None:
        """End the WhatsApp session. ``NotConnected`` where there was none."""
        await self._call("DELETE", _at("logout", name))

    async def delete(self, name: str) -> None:
        """Remove the instance, logging out first. ``InstanceUnknown`` where there was none."""
        await self._call("DELETE", _at("delete", name))

    async def set_webhook(self, name: str, registration: WebhookRegistration) -> RegisteredWebhook:
        """Replace the webhook; URL and events apply at once (contract, section 1)."""
        path = f"/webhook/set/{quote(name, safe='')}"
        found = read_webhook(await self._call("POST", path, {"webhook": registration.as_json()}))
        if found is None:
            raise BadAnswer("webhook/set: null")
        return found

    async def find_webhook(self, name: str) -> RegisteredWebhook | None:
        """The webhook as Evolution has it, or None."""
        path = f"/webhook/find/{quote(name, safe='')}"
        return read_webhook(await self._repeat("GET", path))

    async def find_messages(self, name: str, gte: float, lte: float, page: int = 1, page_size: int = 50) -> MessagePage:
        """One page of the messages between two moments (seconds since the epoch, both inclusive).

        Newest first; ``page`` counts from 1. Evolution compares whole seconds (contract, section 4).
        """
        body = {
            "where": {"messageTimestamp": {"gte": _iso(gte), "lte": _iso(lte)}},
            "page": page,
            "offset": page_size,
        }
        path = f"/chat/findMessages/{quote(name, safe='')}"
        return read_messages(await self._repeat("POST", path, body))

    async def _repeat(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Make an idempotent call up to ``attempts`` times. Raises the last failure."""
        policy = self._policy
        retrying = AsyncRetrying(
            sleep=trio.sleep,
            stop=stop_after_attempt(policy.attempts),
            wait=wait_random_exponential(multiplier=policy.first_wait, max=policy.longest_wait),
            retry=retry_if_exception(worth_repeating),
            reraise=True,
        )
        try:
            with trio.fail_after(policy.overall):
                return await retrying(self._call, method, path, body, query)
        except trio.TooSlowError:
            raise NoAnswer(f"no answer within {policy.overall:g} s") from None

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """One request; its JSON. Raises an ``EvolutionFailure``, also for 200 with ``{"error": true}``."""
        try:
            with trio.fail_after(self._policy.call):
                status, headers, content = await self._exchange(method, path, body, query)
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise failure_of_exception(exc) from exc
        except trio.TooSlowError:
            raise NoAnswer(f"no answer within {self._policy.call:g} s") from None
        if not 200 <= status < 300:
            raise failure_of_answer(status, content, headers)
        answer = decode(content, status)
        if isinstance(answer, dict) and answer.get("error") is True:
            raise failure_of_answer(status, content, headers)
        return answer

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None
    ) -> tuple[int, httpx2.Headers, bytes]:
        async with self._http.stream(
            method,
            self._base + path,
            params=query or None,
            json=body,
            headers=self._headers,
            timeout=self._timeout,
        ) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise BadAnswer("longer than any answer", status=response.status_code)
            return response.status_code, response.headers, bytes(content)


def _at(action: str, name: str) -> str:
    return f"/instance/{action}/{quote(name, safe='')}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
