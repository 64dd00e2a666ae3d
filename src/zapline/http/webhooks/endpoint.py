"""The webhook endpoint, an ASGI application in front of all others: authenticates, hands to the intake, answers 200."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import msgspec
import structlog
import trio

from zapline.domain.ids import PROVIDER
from zapline.domain.privacy.masking import mask_secrets
from zapline.evolution.webhooks.envelope import event_name, extract_envelope
from zapline.http.server.asgi import App, Receive, Scope, Send
from zapline.http.server.client_address import client_address, rate_limit_key
from zapline.http.server.fair_places import hold_for
from zapline.http.server.plain_requests import Answer
from zapline.http.webhooks.body_budget import BodyBudget, BodyInFlight
from zapline.supervisors.counters import Counters
from zapline.supervisors.inbound.intake import Intake
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.inbound.unrouted import UnroutedWebhooks
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.webhook_authentication import Refusal, digest_secret

PREFIX = "/webhooks/"
SECRET_HEADER = b"x-zapline-secret"
_TAKEN = Answer(200, ((b"content-type", b"application/json"), (b"content-length", b"2")), b"{}")
_AGAIN = Answer(503, ((b"retry-after", b"30"), (b"content-length", b"0")))
_POST_ONLY = Answer(405, ((b"allow", b"POST"), (b"content-length", b"0")))
_NOT_FOUND = Answer(404, ((b"content-length", b"0"),))
_UNTRUSTED_LIMIT = 16_384
"""Bytes kept of an untrusted sender's body: enough to log the instance's name."""
_LOGGED_PER_MINUTE = 10
"""Security events of one source logged per minute; the rest are only counted."""
_MAX_SOURCES = 1024
_REFUSED_SECONDS, _MAX_REFUSED = 5.0, 4096
"""For how long, and of how many secrets, it is remembered that the units were read for them in vain."""
_LOG = structlog.get_logger(scope="Webhook")


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """Limits in bytes: of one body, and of all bodies in flight, as far as they have arrived."""

    max_body: int
    body_budget: int


class _WebhookPath(msgspec.Struct, frozen=True):
    provider: str
    secret: str
    event: str | None
    """From the path's suffix, where Evolution sends by events."""


class WebhookApp:
    """``/webhooks/whatsapp/{provider}/{secret}[/event]``; the secret may be in a header instead.

    Every POST is answered 200 with ``{}``: Evolution drops a webhook at once on most 4xx and repeats it on 5xx
    (contract, section 2). There is a 503 only where a webhook cannot be kept and is to come again: where there is no
    room for more before the units were read, where the journal refuses and the unit's actor rests, or where another
    process leads: what only this one's journal holds would wait until it leads itself.
    All other requests go to ``rest``. The server calls ``answer`` itself where a request is plain enough.
    """

    direct_prefix = PREFIX

    def __init__(
        self,
        roster: Roster,
        intake: Intake,
        counters: Counters,
        policy: IntakePolicy,
        rest: App | None,
        trusted: Sequence[IPv4Network | IPv6Network] = (),
        unrouted: UnroutedWebhooks | None = None,
        stands_by: Callable[[], bool] = lambda: False,
        read_units: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """``stands_by``: another process leads, and what is taken in here would wait until this one does.
        ``read_units`` reads units that another process may have made; False: it could not. None: there are none.
        ``unrouted`` keeps webhooks of unknown senders until the units have been read.

        ``trusted``: networks of proxies whose X-Forwarded-For is used in security events."""
        self._authentication = roster.webhook_authentication
        self._intake = intake
        self._counters = counters
        self._policy = policy
        self._unrouted = unrouted
        self._stands_by, self._read_units = stands_by, read_units
        self._budget = BodyBudget(max(policy.body_budget, policy.max_body))
        self._rest = rest
        self._trusted_proxies = trusted
        self._log_limit = _LogRateLimit()
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _normalised_path(scope).startswith(PREFIX):
            answer = await self.answer(scope, receive) if scope["method"] == "POST" else _POST_ONLY
            if answer is not None:
                await _send_answer(send, answer)
        elif self._rest is not None:
            await self._rest(scope, receive, send)
        elif scope["type"] == "http":
            await _send_answer(send, _NOT_FOUND)

    async def answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """Take in one webhook; None if its sender has disconnected, and will repeat it."""
        counters = self._counters
        counters.add("webhooks")
        route = _parse_path(scope)
        sender = self._authentication.by_secret(route.provider, route.secret)
        if self._read_units is not None and sender is Refusal.SECRET and route.secret:
            if not await self._read_for(self._read_units, route):
                counters.add("webhooks_put_off", "units_unread")
                return _AGAIN
            sender = self._authentication.by_secret(route.provider, route.secret)
        limit, holder = self._policy.max_body, None
        if isinstance(sender, Unit):
            holder = str(sender.id)
            hold_for(scope, ("unit", holder))
        elif self._may_be_known_later(sender):
            holder = f"unread {rate_limit_key(client_address(scope, self._trusted_proxies))}"
        else:  # not counted: a stranger's body is hardly kept
            limit = _UNTRUSTED_LIMIT
        with self._budget.body(holder or "") as counted:
            body = await _read(receive, limit, counted if holder is not None else None)
            if body is None:
                return None
            if self._stands_by():
                counters.add("webhooks_put_off", "standby")
                return _AGAIN
            stored = await self._deliver(sender, route, scope, body)
        if stored is None:
            return _AGAIN
        if not stored:
            counters.add("webhook_errors", "lost")
        return _TAKEN

    async def _read_for(self, read_units: Callable[[], Awaitable[bool]], route: _WebhookPath) -> bool:
        """Read the units for a secret that is nobody's yet, unless that was just done; False: it could not be done."""
        refused, digest = self._refused, digest_secret(route.secret)
        if trio.current_time() < refused.get(digest, 0.0):
            return True
        if not await read_units():
            return False
        if isinstance(self._authentication.by_secret(route.provider, route.secret), Refusal):
            refused[digest] = trio.current_time() + _REFUSED_SECONDS
            refused.move_to_end(digest)
            if len(refused) > _MAX_REFUSED:
                refused.popitem(last=False)
        return True

    def _may_be_known_later(self, sender: Unit | Refusal) -> bool:
        """Whether the units have not been read yet, so that this may be one of them."""
        unread = self._unrouted is not None and self._unrouted.is_open
        return unread and isinstance(sender, Refusal) and sender is not Refusal.PROVIDER

    async def _deliver(
        self, sender: Unit | Refusal, route: _WebhookPath, scope: Scope, body: bytes | int
    ) -> bool | None:
        """Hand the body to the intake of its unit; False if it is lost. ``body`` is a size if it was over the limit.

        None: it cannot be kept just now, and is to be sent again. Without an instance in the body the secret alone
        identifies the unit.
        """
        if isinstance(body, int):
            if isinstance(sender, Unit):
                return await self._intake.accept_too_large(sender, body)
            if self._unrouted is not None and self._may_be_known_later(sender):
                return await self._unrouted.keep(digest_secret(route.secret), route.event, body) or None
            self._log_refusal(sender, None, route, scope)
            return True
        envelope = extract_envelope(body)
        if envelope.instance is not None:
            sender = self._authentication.match(sender, envelope.instance)
        if isinstance(sender, Unit):
            event = envelope.event or route.event or ""
            self._counters.add("webhooks_accepted", event or "unknown")
            return await self._intake.accept(sender, event, body)
        if self._unrouted is not None and self._may_be_known_later(sender):
            return await self._unrouted.keep(digest_secret(route.secret), route.event, body) or None
        self._log_refusal(sender, envelope.instance, route, scope)
        return True

    def _log_refusal(self, refusal: Refusal, instance: str | None, route: _WebhookPath, scope: Scope) -> None:
        self._counters.add("refused_webhooks", refusal.value)
        if refusal is Refusal.ARCHIVED:
            return
        if refusal is not Refusal.PROVIDER:
            self._counters.add("unknown_instances")
        source = client_address(scope, self._trusted_proxies)
        number = self._counters.total("refused_webhooks")
        if not self._log_limit.may_log(rate_limit_key(source), trio.current_time()):
            self._counters.add("security_events_unlogged")
            return
        name = (instance or "none")[:80]
        # In a path without a provider the secret is in its place.
        provider = PROVIDER if route.provider == PROVIDER else "unknown"
        masked_url = mask_secrets(f"{PREFIX}whatsapp/{provider}/secret")
        reason = "Unknown instance" if refusal is Refusal.INSTANCE else refusal.value.replace("_", " ").capitalize()
        # The name is untrusted text: as a field it cannot become part of the template.
        _LOG.warning(
            reason + ": {instance}, provider: {provider}",
            scope=f"Webhook:{number:06x}",
            instance=name,
            provider=provider,
            url=masked_url,
        )
        _LOG.error(
            "Auth failed: " + reason + ": {instance}",
            scope=f"webhook_{number:06x}",
            instance=name,
            source=source,
            security=True,
        )


class _LogRateLimit:
    """Limits what one source may write to the log; the least recently seen source is forgotten."""

    def __init__(self) -> None:
        self._logged: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def may_log(self, source: str, now: float) -> bool:
        since, count = self._logged.pop(source, (now, 0))
        if now - since >= 60.0:
            since, count = now, 0
        self._logged[source] = (since, count + 1)
        if len(self._logged) > _MAX_SOURCES:
            self._logged.popitem(last=False)
        return count < _LOGGED_PER_MINUTE


def _normalised_path(scope: Scope) -> str:
    """The path with a single leading slash: a base URL that ends in a slash makes two."""
    path: str = scope["path"]
    return "/" + path.lstrip("/") if path.startswith("//") else path


def _parse_path(scope: Scope) -> _WebhookPath:
    """Provider and secret from path or header; empty strings match nothing. The path is already unquoted."""
    segments = [segment for segment in _normalised_path(scope)[len(PREFIX) :].split("/") if segment]
    segments += [""] * 4
    in_header = [value for name, value in scope["headers"] if name == SECRET_HEADER]
    secret, suffix = (
        (in_header[0].decode("latin-1"), segments[3] or segments[2]) if in_header else (segments[2], segments[3])
    )
    provider = segments[1] if segments[0] == "whatsapp" else ""
    return _WebhookPath(provider, secret, event_name(suffix) if suffix else None)


async def _read(receive: Receive, limit: int, counted: BodyInFlight | None) -> bytes | int | None:
    """The body; its size if it is over the limit (drained, not kept); None if the sender disconnected.

    What is kept of it is taken from the budget of ``counted`` as it arrives.
    """
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
            if counted is not None:
                counted.give_back()
        elif chunk:
            if counted is not None:
                await counted.take(len(chunk))
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if size > limit:
        return size
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _send_answer(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})
