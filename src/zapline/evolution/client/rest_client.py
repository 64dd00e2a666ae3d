"""Performs the REST calls that Zapline makes to Evolution: one method per endpoint, over one shared client.

Every call has a deadline and ends in a value or an ``EvolutionFailure``; cancelling it closes its connection.
The key travels in a header only. Paths and headers are never logged here.
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import trio
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from zapline.domain.ids import ExternalId
from zapline.domain.outbox.contents import File, OutgoingMessage
from zapline.evolution.client.failure_classifier import classify_exception, classify_response, is_file_gone
from zapline.evolution.client.failures import (
    BadAnswer,
    EvolutionFailure,
    InvalidRequest,
    MediaGone,
    NoAnswer,
    RouteUnknown,
    TooLarge,
)
from zapline.evolution.client.response_parser import (
    ConnectResponse,
    CreatedInstance,
    InstanceInfo,
    MediaContent,
    MessagePage,
    RegisteredWebhook,
    SentMessage,
    ServerInfo,
    WebhookRegistration,
    decode_json,
    parse_connect,
    parse_connection_state,
    parse_created_instance,
    parse_instances,
    parse_media,
    parse_message_page,
    parse_registered_webhook,
    parse_sent_message,
    parse_server_info,
)
from zapline.evolution.client.send_requests import Dialect, build_send_request, expects_other_dialect

__all__ = [
    "CallPolicy",
    "EvolutionClient",
    "MediaContent",
    "MessageKey",
    "SentMessage",
    "is_transient",
    "open_http_client",
]

MAX_CONNECTIONS = 100
"""Above this the pool's own scan costs more CPU than the requests (measured: 0.7 ms a request at 100)."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A page of messages with inline thumbnails stays far below, as does a file that WhatsApp lets people send as
anything but a document; more is not an answer but a fault."""
MAX_MEDIA_BYTES = 100 * 1024 * 1024
"""Evolution takes bodies of 136 MB (contract, section 1), and base64 makes four bytes of three."""
KEEPALIVE = 2.0
"""Seconds. Node closes idle connections after 5 s: a request written into a closing one is an uncertain send."""
_IN_THREAD_ABOVE = 256 * 1024
"""Bytes whose base64 takes longer than a millisecond or two: a thread costs less than the loop's delay."""


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """Seconds, and how often an idempotent call is made at most."""

    connect: float = 5.0
    """Evolution is near; a handshake that takes longer will not end."""
    call: float = 30.0
    """``connect`` waits 2 s and ``create`` up to 5 s inside Evolution (contract, section 1)."""
    send_file: float = 120.0
    """Evolution fetches the file, may convert it, and uploads it to WhatsApp before it answers."""
    overall: float = 60.0
    """All attempts and the waits between them."""
    attempts: int = 3
    first_wait: float = 0.2
    longest_wait: float = 2.0


@dataclass(frozen=True, slots=True)
class MessageKey:
    """Which message, as Evolution names it."""

    external_id: ExternalId
    remote_jid: str
    from_me: bool


def open_http_client(
    max_connections: int = MAX_CONNECTIONS, context: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    """The one shared HTTP client; the caller closes it. ``context`` is shared because making one takes 18 ms.

    The environment's proxies and .netrc are not used: a .netrc entry would replace our headers.
    """
    return httpx2.AsyncClient(
        verify=context or ssl.create_default_context(),
        limits=httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections, keepalive_expiry=KEEPALIVE
        ),
        trust_env=False,
        follow_redirects=False,
    )


def is_transient(exc: BaseException) -> bool:
    """Only our own transient failures; never ``trio.Cancelled``, or a cancellation would be swallowed."""
    return isinstance(exc, EvolutionFailure) and exc.transient


class EvolutionClient:
    """One Evolution server, seen with the global key. Owns nothing: ``http`` is closed by who opened it."""

    def __init__(self, http: httpx2.AsyncClient, base_url: str, api_key: str, policy: CallPolicy | None = None) -> None:
        self._http = http
        self._base = base_url.rstrip("/")
        self._headers = {"apikey": api_key, "accept": "application/json"}
        self._policy = policy or CallPolicy()
        self._dialect = Dialect.FLAT

    async def server_info(self) -> ServerInfo:
        """``GET /``: needs no key, so it proves reachability alone."""
        return parse_server_info(await self._repeat("GET", "/"))

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
        return parse_created_instance(await self._call("POST", "/instance/create", body))

    async def connect(self, name: str, number: str | None = None) -> ConnectResponse:
        """Start pairing, or take the current code; ``number`` (digits) asks for a pairing code too."""
        query = {"number": number} if number is not None else {}
        return parse_connect(await self._repeat("GET", _at("connect", name), query=query))

    async def connection_state(self, name: str) -> str:
        """``open``, ``connecting`` or ``close``, from Evolution's memory. ``InstanceUnknown`` for a 404."""
        return parse_connection_state(await self._repeat("GET", _at("connectionState", name)))

    async def fetch_instances(self, name: str | None = None) -> list[InstanceInfo]:
        """All instances, or the one called ``name``; ``InstanceUnknown`` where there is none."""
        query = {"instanceName": name} if name is not None else {}
        answer = await self._repeat("GET", "/instance/fetchInstances", query=query)
        return parse_instances(answer)

    async def restart(self, name: str) -> str:
        """Reconnect the socket; the state it answers. ``OperationFailed`` where it was closed."""
        return parse_connection_state(await self._call("POST", _at("restart", name)))

    async def logout(self, name: str) -> None:
        """End the WhatsApp session. ``NotConnected`` where there was none."""
        await self._call("DELETE", _at("logout", name))

    async def delete(self, name: str) -> None:
        """Remove the instance, logging out first. ``InstanceUnknown`` where there was none."""
        await self._call("DELETE", _at("delete", name))

    async def set_webhook(self, name: str, registration: WebhookRegistration) -> RegisteredWebhook:
        """Replace the webhook; URL and events apply at once (contract, section 1)."""
        path = f"/webhook/set/{quote(name, safe='')}"
        found = parse_registered_webhook(await self._call("POST", path, {"webhook": registration.as_json()}))
        if found is None:
            raise BadAnswer("webhook/set: null")
        return found

    async def find_webhook(self, name: str) -> RegisteredWebhook | None:
        """The webhook as Evolution has it, or None."""
        path = f"/webhook/find/{quote(name, safe='')}"
        return parse_registered_webhook(await self._repeat("GET", path))

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
        return parse_message_page(await self._repeat("POST", path, body))

    async def send(self, name: str, address: str, outgoing: OutgoingMessage, media: bytes | None = None) -> SentMessage:
        """Send one message, once. ``address``: digits, or a JID; ``media``: the bytes of an uploaded file.

        Never repeated: the failure's verdict says whether it may have been sent. Only where a server of the other
        dialect has refused the request's shape, and so has sent nothing, is it put into that one, within the same
        deadline. ``InvalidRequest`` also where the content fits no request. Cancelled, it may have been sent.
        """
        if media is not None and len(media) > MAX_MEDIA_BYTES:
            raise TooLarge("the file is larger than Evolution takes")
        seconds = self._policy.send_file if isinstance(outgoing.content, File) else self._policy.call
        dialect = self._dialect
        with _deadline(seconds):
            try:
                return await self._send(name, address, outgoing, media, dialect, seconds)
            except InvalidRequest as refusal:
                if not expects_other_dialect(refusal.detail, dialect):
                    raise
                misfit = refusal
            try:
                sent = await self._send(name, address, outgoing, media, dialect.other, seconds)
            except EvolutionFailure as failure:
                if isinstance(failure, InvalidRequest) and expects_other_dialect(failure.detail, dialect.other):
                    raise misfit from None
                if failure.status == 400:
                    self._dialect = dialect.other  # it fitted, and something else was wrong
                raise
            self._dialect = dialect.other
            return sent

    async def _send(
        self, name: str, address: str, outgoing: OutgoingMessage, media: bytes | None, dialect: Dialect, seconds: float
    ) -> SentMessage:
        if media is not None and len(media) > _IN_THREAD_ABOVE:
            route, body = await trio.to_thread.run_sync(build_send_request, address, outgoing, dialect, media)
        else:
            route, body = build_send_request(address, outgoing, dialect, media)
        path = f"/message/{route}/{quote(name, safe='')}"
        status, headers, content = await self._request("POST", path, body, None, seconds)
        if not 200 <= status < 300:
            failure = classify_response(status, content, headers)
            if isinstance(failure, RouteUnknown) and "Cannot POST" in failure.detail and route != "sendText":
                # It is Evolution that answers, so it is not the line that is at fault.
                raise InvalidRequest(f"this version of Evolution has no {route}", status=status)
            raise failure
        return parse_sent_message(decode_json(content, status))

    async def mark_read(self, name: str, keys: Sequence[MessageKey]) -> None:
        """Tell the senders that these messages were read. Keys of ``@lid`` chats have no effect, silently."""
        told = [{"id": key.external_id, "remoteJid": key.remote_jid, "fromMe": key.from_me} for key in keys]
        # Version 1 knows the list by the second name; each ignores the other's.
        body = {"readMessages": told, "read_messages": told}
        await self._repeat("POST", f"/chat/markMessageAsRead/{quote(name, safe='')}", body)

    async def media_of(self, name: str, external_id: ExternalId) -> MediaContent:
        """The file of a message that Evolution has stored, from WhatsApp.

        ``MediaGone``: Evolution has not stored the message, or WhatsApp no longer has the file.
        ``InvalidRequest``: the message has no file. ``BadAnswer`` above :data:`MAX_ANSWER_BYTES`.
        """
        body = {"message": {"key": {"id": external_id}}, "convertToMp4": False}
        path = f"/chat/getBase64FromMediaMessage/{quote(name, safe='')}"
        try:
            answer = await self._repeat("POST", path, body, seconds=self._policy.send_file)
        except EvolutionFailure as failure:
            if is_file_gone(failure):
                raise MediaGone(failure.detail, status=failure.status) from failure
            raise
        return await trio.to_thread.run_sync(parse_media, answer)

    async def _repeat(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """Make an idempotent call up to ``attempts`` times, each within ``seconds``. Raises the last failure."""
        policy = self._policy
        retrying = AsyncRetrying(
            sleep=trio.sleep,
            stop=stop_after_attempt(policy.attempts),
            wait=wait_random_exponential(multiplier=policy.first_wait, max=policy.longest_wait),
            retry=retry_if_exception(is_transient),
            reraise=True,
        )
        with _deadline(max(policy.overall, seconds or 0.0)):
            return await retrying(self._call, method, path, body, query, seconds)

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """One request; its JSON. Raises an ``EvolutionFailure``, also for 200 with ``{"error": true}``."""
        content = None if body is None else msgspec.json.encode(body)
        status, headers, told = await self._request(method, path, content, query, seconds or self._policy.call)
        if not 200 <= status < 300:
            raise classify_response(status, told, headers)
        if len(told) > _IN_THREAD_ABOVE:
            answer = await trio.to_thread.run_sync(decode_json, told, status)
        else:
            answer = decode_json(told, status)
        if isinstance(answer, dict) and answer.get("error") is True:
            raise classify_response(status, told, headers)
        return answer

    async def _request(
        self, method: str, path: str, body: bytes | None, query: Mapping[str, str] | None, seconds: float
    ) -> tuple[int, httpx2.Headers, bytes]:
        """One request under its deadline, with whatever status. Raises an ``EvolutionFailure``."""
        try:
            with _deadline(seconds):
                return await self._exchange(method, path, body, query, seconds)
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise classify_exception(exc) from exc

    async def _exchange(
        self, method: str, path: str, body: bytes | None, query: Mapping[str, str] | None, seconds: float
    ) -> tuple[int, httpx2.Headers, bytes]:
        policy = self._policy
        async with self._http.stream(
            method,
            self._base + path,
            params=query or None,
            content=body,
            headers=self._headers if body is None else self._headers | _JSON,
            timeout=httpx2.Timeout(seconds, connect=policy.connect, pool=policy.connect),
        ) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise BadAnswer("longer than any answer", status=response.status_code)
            return response.status_code, response.headers, bytes(content)


_JSON = {"content-type": "application/json"}


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """As ``trio.fail_after``, with our own failure."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise NoAnswer(f"no answer within {seconds:g} s") from None


def _at(action: str, name: str) -> str:
    return f"/instance/{action}/{quote(name, safe='')}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
