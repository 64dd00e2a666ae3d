"""Delivers webhooks as Evolution does: unordered, retried from memory only, the body always the same bytes.

Contract, section 2: ten attempts, 5 s doubled up to 300 s, jitter of a fifth, some statuses never retried.
"""

import base64
import hashlib
import hmac
import json
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from zapline.sandbox.simulator.state.faults import FaultBoard
from zapline.sandbox.simulator.state.ledger import Ledger, Webhook
from zapline.sandbox.simulator.state.webhook_poster import Poster

CONNECTIONS = 50
PENDING_LIMIT = 50_000
"""Webhooks in memory, waiting retries included. What comes above is lost, and counted as such."""


@dataclass(frozen=True, slots=True)
class WebhookRetryPolicy:
    """Seconds. Evolution 2.3's defaults; tests scale them down."""

    attempts: int = 10
    initial: float = 5.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: float = 0.2
    timeout: float = 30.0
    never_retry: frozenset[int] = frozenset({400, 401, 403, 404, 422})

    def delay(self, failed: int, spread: float) -> float:
        """Seconds to wait after ``failed`` attempts; ``spread`` in 0..1 is drawn by the caller."""
        plain = min(self.initial * self.factor ** (failed - 1), self.cap)
        return plain * (1 + self.jitter * (2 * spread - 1))


@dataclass(frozen=True, slots=True)
class Parcel:
    """One webhook, ready to be posted."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    entry: Webhook


@dataclass(slots=True)
class _Queue:
    """An instance's events behind an awaited one."""

    held: deque[Parcel] = field(default_factory=deque)


class Courier:
    """Posts parcels over a bounded number of connections."""

    def __init__(
        self,
        nursery: trio.Nursery,
        poster: Poster,
        policy: WebhookRetryPolicy,
        faults: FaultBoard,
        ledger: Ledger,
        chance: random.Random,
    ) -> None:
        self._nursery = nursery
        self._poster = poster
        self._policy = policy
        self._faults = faults
        self._ledger = ledger
        self._chance = chance
        self._room = trio.CapacityLimiter(CONNECTIONS)
        self._blocked: dict[str, _Queue] = {}
        self._pending = 0
        self._idle = trio.Event()
        self._idle.set()

    @property
    def pending(self) -> int:
        return self._pending

    async def quiet(self) -> None:
        """Wait until no webhook is pending."""
        while self._pending:
            await self._idle.wait()

    def dispatch(self, parcel: Parcel, awaited: bool) -> None:
        """Send without waiting. An awaited one (messages.edited) holds up the instance's later events."""
        instance = parcel.entry.instance
        copies = 2 if self._faults.strike(("duplicate",), instance) else 1
        if self._faults.strike(("webhooks_off",), instance):
            parcel.entry.fate = "off"
            return
        if self._pending + copies > PENDING_LIMIT:
            parcel.entry.fate = "lost"
            return
        self._pending += copies
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        if instance in self._blocked:
            self._blocked[instance].held.extend([parcel] * copies)
        elif awaited:
            self._blocked[instance] = _Queue(deque([parcel] * copies))
            self._nursery.start_soon(self._one_by_one, instance)
        else:
            for _ in range(copies):
                self._nursery.start_soon(self._deliver, parcel)

    async def _one_by_one(self, instance: str) -> None:
        queue = self._blocked[instance]
        while queue.held:
            parcel = queue.held.popleft()
            if parcel.entry.event == "messages.edited":
                await self._deliver(parcel)
            else:
                self._nursery.start_soon(self._deliver, parcel)
        del self._blocked[instance]

    async def _deliver(self, parcel: Parcel) -> None:
        try:
            await self._attempts(parcel)
        finally:
            self._pending -= 1
            if not self._pending:
                self._idle.set()

    async def _attempts(self, parcel: Parcel) -> None:
        entry, policy = parcel.entry, self._policy
        late = self._faults.strike(("reorder",), entry.instance)
        if late is not None:
            await trio.sleep(late.seconds * self._chance.random())
        for failed in range(1, policy.attempts + 1):
            status = await self._post(parcel)
            entry.attempts += 1
            entry.last_status = status
            if status is not None and 200 <= status < 300:
                entry.fate = "acknowledged"
                return
            if status in policy.never_retry:
                entry.fate = "refused" if entry.fate == "pending" else entry.fate
                return
            if failed < policy.attempts:
                await trio.sleep(policy.delay(failed, self._chance.random()))
        entry.fate = "lost" if entry.fate == "pending" else entry.fate

    async def _post(self, parcel: Parcel) -> int | None:
        """The status, or None where there was no answer in time."""
        async with self._room:
            with trio.move_on_after(self._policy.timeout):
                return await self._poster.post(parcel.url, parcel.headers, parcel.body)
        return None


def parcel_headers(custom: Mapping[str, Any] | None) -> dict[str, str]:
    """Evolution's own headers and the configured ones, verbatim; ``jwt_key`` becomes a bearer token."""
    headers = {
        "Accept": "application/json, text/plain, */*",
        "Content-Type": "application/json",
        "User-Agent": "axios/1.21.1",
    }
    for name, value in (custom or {}).items():
        if name == "jwt_key":
            headers["Authorization"] = f"Bearer {_jwt(str(value), int(time.time()))}"
        else:
            headers[name] = str(value)
    return headers


def _jwt(key: str, now: int) -> str:
    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    claims = {"iat": now, "exp": now + 600, "app": "evolution", "action": "webhook"}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    return f"{signed}.{part(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"
