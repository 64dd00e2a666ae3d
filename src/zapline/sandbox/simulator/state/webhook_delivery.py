"""Delivers webhooks as Evolution does: unordered, retried from memory, and with the same bytes each time.

Contract, section 2: ten attempts, 5 s doubled up to 300 s, jitter of a fifth, some statuses never retried.
"""

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from zapline.sandbox.simulator.state.delivery_ledger import DeliveryLedger, WebhookRecord
from zapline.sandbox.simulator.state.faults import FaultInjector
from zapline.sandbox.simulator.state.webhook_client import WebhookClient

CONNECTIONS = 50
PENDING_LIMIT = 50_000
"""Pending webhooks in memory, including those that wait for a retry. Webhooks above it are recorded as lost."""


@dataclass(frozen=True, slots=True)
class WebhookRetryPolicy:
    """When a webhook is retried; times in seconds. The defaults are those of Evolution 2.3; tests scale them down."""

    attempts: int = 10
    initial: float = 5.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: float = 0.2
    timeout: float = 30.0
    never_retry: frozenset[int] = frozenset({400, 401, 403, 404, 422})

    def delay(self, failed: int, spread: float) -> float:
        """Seconds to wait after ``failed`` attempts; ``spread`` in 0..1 is drawn by the caller."""
        backoff = min(self.initial * self.factor ** (failed - 1), self.cap)
        return backoff * (1 + self.jitter * (2 * spread - 1))


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One webhook, ready to be posted."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    record: WebhookRecord


class WebhookSender:
    """Delivers webhooks over a bounded number of connections, with retries and injected faults."""

    def __init__(
        self,
        nursery: trio.Nursery,
        client: WebhookClient,
        policy: WebhookRetryPolicy,
        faults: FaultInjector,
        ledger: DeliveryLedger,
        rng: random.Random,
    ) -> None:
        self._nursery = nursery
        self._client = client
        self._policy = policy
        self._faults = faults
        self._ledger = ledger
        self._rng = rng
        self._connections = trio.CapacityLimiter(CONNECTIONS)
        self._deliveries: set[trio.CancelScope] = set()
        self._pending = 0
        self._idle = trio.Event()
        self._idle.set()

    @property
    def pending(self) -> int:
        return self._pending

    async def wait_until_idle(self) -> None:
        """Wait until no webhook is pending."""
        while self._pending:
            await self._idle.wait()

    def dispatch(self, request: WebhookRequest) -> trio.Event:
        """Start the delivery; the event is set when it has ended, in whatever way."""
        instance, ended = request.record.instance, trio.Event()
        copies = 2 if self._faults.trigger(("duplicate",), instance) else 1
        if self._faults.trigger(("webhooks_off",), instance):
            request.record.fate = "off"
            ended.set()
        elif self._pending + copies > PENDING_LIMIT:
            request.record.fate = "lost"
            ended.set()
        else:
            self._pending += copies
            self._idle = trio.Event() if self._idle.is_set() else self._idle
            for copy in range(copies):
                scope = trio.CancelScope()
                self._deliveries.add(scope)
                self._nursery.start_soon(self._deliver, request, scope, ended if copy == copies - 1 else None)
        return ended

    def drop_all(self) -> None:
        """Forget all pending webhooks, which only the memory of the server holds."""
        for scope in self._deliveries:
            scope.cancel()

    async def _deliver(self, request: WebhookRequest, scope: trio.CancelScope, ended: trio.Event | None) -> None:
        try:
            with scope:
                await self._deliver_with_retries(request)
            if scope.cancelled_caught and request.record.fate == "pending":
                request.record.fate = "lost"
        finally:
            self._deliveries.discard(scope)
            if ended is not None:
                ended.set()
            self._pending -= 1
            if not self._pending:
                self._idle.set()

    async def _deliver_with_retries(self, request: WebhookRequest) -> None:
        record, policy = request.record, self._policy
        reorder = self._faults.trigger(("reorder",), record.instance)
        if reorder is not None:
            await trio.sleep(reorder.seconds * self._rng.random())
        for failed in range(1, policy.attempts + 1):
            status = await self._post(request)
            record.attempts += 1
            record.last_status = status
            if status is not None and 200 <= status < 300:
                record.fate = "acknowledged"
                return
            if status in policy.never_retry:
                record.fate = "refused" if record.fate == "pending" else record.fate
                return
            if failed < policy.attempts:
                await trio.sleep(policy.delay(failed, self._rng.random()))
        record.fate = "lost" if record.fate == "pending" else record.fate

    async def _post(self, request: WebhookRequest) -> int | None:
        """Return the HTTP status, or None without a response in time."""
        async with self._connections:
            with trio.move_on_after(self._policy.timeout):
                return await self._client.post(request.url, request.headers, request.body)
        return None


def webhook_headers(own: Mapping[str, str], configured: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the server's own headers and the configured ones, verbatim; ``jwt_key`` becomes a bearer token."""
    headers = dict(own)
    for name, value in (configured or {}).items():
        if name == "jwt_key":
            headers["Authorization"] = f"Bearer {_jwt(str(value), int(time.time()))}"
        else:
            headers[name] = str(value)
    return headers


def _jwt(key: str, now: int) -> str:
    def encode(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    claims = {"iat": now, "exp": now + 600, "app": "evolution", "action": "webhook"}
    signed = encode(b'{"alg":"HS256","typ":"JWT"}') + "." + encode(json.dumps(claims).encode())
    return f"{signed}.{encode(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"
