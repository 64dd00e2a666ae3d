"""The webhook endpoint, as a bare ASGI application in front of all others: routes, answers 200, nothing else."""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec
import structlog
import trio

from zapline.domain.ids import PROVIDER
from zapline.domain.privacy.masking import mask_url
from zapline.evolution.webhooks.envelope import event_name, extract_envelope
from zapline.http.server.client_address import source_of
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Refusal, Roster

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/webhooks/"
SECRET_HEADER = b"x-zapline-secret"
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
_BODY = {"type": "http.response.body", "body": b"{}"}
_SMALL = 65_536
_SMALL_BUDGET = 64 * _SMALL
"""Declared bytes of a small body, and of all small ones in flight: they do not wait for the large ones."""
_UNTRUSTED = 16_384
"""Bytes kept of a body whose sender is not trusted: enough to name the instance in the log."""
_LOGGED_PER_MINUTE = 10
"""Security events of one source that are written out a minute; the rest is only counted."""
_SOURCES = 1024
_LOG = structlog.get_logger(scope="Webhook")


class ByteBudget:
    """Bytes of all bodies in flight; who finds no room waits, and his sender with him (TCP does that)."""

    def __init__(self, total: int) -> None:
        self.free = total
        self._queue: deque[tuple[int, trio.Event]] = deque()  # bounded by the connections

    async def reserve(self, size: int) -> None:
        """Wait until ``size`` bytes are free, first come first served. Cancellation reserves nothing."""
        if not self._queue and size <= self.free:
            self.free -= size
            return
        turn = (size, trio.Event())
        self._queue.append(turn)
        try:
            await turn[1].wait()
        except trio.Cancelled:
            if turn in self._queue:
                self._queue.remove(turn)
            else:
                self.release(size)
            raise

    def release(self, size: int) -> None:
        self.free += size
        while self._queue and self._queue[0][0] <= self.free:
            waiting, event = self._queue.popleft()
            self.free -= waiting
            event.set()


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """Bytes of one body at most, and of all bodies in flight.

    Small bodies (64 KiB and less, declared) have 4 MiB of their own; a body without a declared length may
    be of any size and counts as one of the largest.
    """

    max_body: int
    body_budget: int


class _Route(msgspec.Struct, frozen=True):
    provider: str
    secret: str
    event: str | None
    """Named by the path's suffix, where Evolution sends by events."""


class WebhookApp:
    """``/webhooks/whatsapp/{provider}/{secret}[/event]``; the secret may come in a header instead.

    Whatever comes by POST is answered 200 with ``{}``: Evolution drops a webhook at once on most 4xx and
    repeats it, whole, on 5xx (contract, section 2). Everything else goes to ``rest``.
    """

    def __init__(
        self,
        roster: Roster,
        intake: Intake,
        counters: Counters,
        policy: IntakePolicy,
        rest: App | None,
        trusted: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        """``trusted``: networks of proxies whose X-Forwarded-For is believed in security events."""
        self._roster = roster
        self._intake = intake
        self._counters = counters
        self._policy = policy
        self._budget = ByteBudget(max(policy.body_budget, policy.max_body))
        self._small_budget = ByteBudget(_SMALL_BUDGET)
        self._rest = rest
        self._proxies = trusted
        self._loud = _Loudness()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _path_of(scope).startswith(PREFIX):
            if scope["method"] == "POST":
                await self._webhook(scope, receive, send)
            else:
                await _answer_empty(send, 405, (b"allow", b"POST"))
        elif self._rest is not None:
            await self._rest(scope, receive, send)
        elif scope["type"] == "http":
            await _answer_empty(send, 404)

    async def _webhook(self, scope: Scope, receive: Receive, send: Send) -> None:
        counters = self._counters
        counters.add("webhooks")
        route = _route_of(scope)
        found = self._roster.by_secret(route.provider, route.secret)
        trusted = isinstance(found, Unit)
        # Who is not trusted gets no share of the budget: a declared length alone must not keep others out.
        keep = self._policy.max_body if trusted else _UNTRUSTED
        declared = _declared_length(scope["headers"])
        reserved = min(declared if declared is not None else keep, keep) if trusted else 0
        budget = self._small_budget if reserved <= _SMALL else self._budget
        await budget.reserve(reserved)
        try:
            body = await _read(receive, keep)
            if body is None:
                return  # the sender went away; it will come again
            stored = await self._route(found, route, scope, body)
        finally:
            budget.release(reserved)
        if not stored:
            counters.add("webhook_errors", "lost")
        await send(_START)
        await send(_BODY)

    async def _route(self, found: Unit | Refusal, route: _Route, scope: Scope, body: bytes | int) -> bool:
        """Bring the body to its unit; False where it is lost. ``body`` is a size where it was over the limit.

        Where nothing says which instance it is for, the secret alone tells who sends it.
        """
        if isinstance(body, int):
            if isinstance(found, Unit):
                return await self._intake.accept_too_large(found, body)
            self._refuse(found, None, route, scope)
            return True
        envelope = extract_envelope(body)
        if envelope.instance is not None:
            found = self._roster.match(found, envelope.instance)
        if isinstance(found, Unit):
            event = envelope.event or route.event or ""
            self._counters.add("webhooks_accepted", event or "unknown")
            return await self._intake.accept(found, event, body)
        self._refuse(found, envelope.instance, route, scope)
        return True

    def _refuse(self, why: Refusal, instance: str | None, route: _Route, scope: Scope) -> None:
        self._counters.add("refused_webhooks", why.value)
        if why is Refusal.ARCHIVED:
            return
        if why is not Refusal.PROVIDER:
            self._counters.add("unknown_instances")
        source = source_of(scope, self._proxies)
        number = self._counters.total("refused_webhooks")
        if not self._loud.may_log(source, trio.current_time()):
            self._counters.add("security_events_unlogged")
            return
        name = (instance or "none")[:80]
        # A path without a provider has the secret in its place.
        provider = PROVIDER if route.provider == PROVIDER else "unknown"
        where = mask_url(f"{PREFIX}whatsapp/{provider}/secret")
        said = "Unknown instance" if why is Refusal.INSTANCE else why.value.replace("_", " ").capitalize()
        # The name is a stranger's text: as a field it cannot be taken for a part of the template.
        _LOG.warning(
            said + ": {instance}, provider: {provider}",
            scope=f"Webhook:{number:06x}",
            instance=name,
            provider=provider,
            url=where,
        )
        _LOG.error(
            "Auth failed: " + said + ": {instance}",
            scope=f"webhook_{number:06x}",
            instance=name,
            source=source,
            security=True,
        )


class _Loudness:
    """Limits what one source may write into the log; the least recently heard source is forgotten."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def may_log(self, source: str, now: float) -> bool:
        since, count = self._heard.pop(source, (now, 0))
        if now - since >= 60.0:
            since, count = now, 0
        self._heard[source] = (since, count + 1)
        if len(self._heard) > _SOURCES:
            self._heard.popitem(last=False)
        return count < _LOGGED_PER_MINUTE


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _path_of(scope: Scope) -> str:
    """The path with one slash in front: a base address that ends in a slash makes two of it."""
    path: str = scope["path"]
    return "/" + path.lstrip("/") if path.startswith("//") else path


def _route_of(scope: Scope) -> _Route:
    """Provider and secret from path or header; empty strings match nothing. The path is unquoted already."""
    parts = [part for part in _path_of(scope)[len(PREFIX) :].split("/") if part]
    parts += [""] * 4
    in_header = [value for name, value in scope["headers"] if name == SECRET_HEADER]
    secret, suffix = (in_header[0].decode("latin-1"), parts[3] or parts[2]) if in_header else (parts[2], parts[3])
    provider = parts[1] if parts[0] == "whatsapp" else ""
    return _Route(provider, secret, event_name(suffix) if suffix else None)


async def _read(receive: Receive, limit: int) -> bytes | int | None:
    """The body; its size where it is over the limit (drained, not kept); None where the sender left."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            chunks.clear()
        else:
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if size > limit:
        return size
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _answer_empty(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
