"""Calls Evolution's REST API: one method per endpoint, over one shared HTTP client.

Every call has a deadline and ends in a value or an ``EvolutionFailure``; cancelling it closes its connection.
The key is sent in a header only. Paths and headers are never logged here.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
import trio
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from zapline.domain.ids import ExternalId
from zapline.domain.outbox.contents import File, OutgoingMessage
from zapline.domain.text import Sentence
from zapline.evolution.client.call_policy import CallPolicy
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
from zapline.evolution.client.http_transport import KeptConnections
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

MAX_CONNECTIONS = 100
"""Calls at a time; Evolution is one process, too."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A page of messages with inline thumbnails stays far below, as does every file that WhatsApp lets people send,
except large documents."""
MAX_MEDIA_BYTES = 100 * 1024 * 1024
"""Evolution accepts bodies of 136 MB (contract, section 1), and base64 makes four bytes of three."""
KEEPALIVE = 2.0
"""Seconds. Node closes idle connections after 5 s, and a request written to a closing one is an uncertain send."""
_Begin = Callable[[], None] | None
"""Called right before the first byte is written; where it raises, nothing is sent."""
_Take = Callable[[bytes], Awaitable[None]] | None
_Query = Mapping[str, str] | None
_IN_THREAD_ABOVE = 256 * 1024
"""Bytes whose base64 takes longer than a millisecond or two, so that a thread costs less than blocking the loop."""


@dataclass(frozen=True, slots=True)
class MessageKey:
    """The key by which Evolution identifies a message."""

    external_id: ExternalId
    remote_jid: str
    from_me: bool


def open_http_client(
    max_connections: int = MAX_CONNECTIONS, context: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    """The shared HTTP client, which the caller closes. ``context`` is shared because creating one takes 18 ms.

    Proxies of the environment and .netrc are not used: a .netrc entry would replace our headers.
    """
    transport = KeptConnections(
        context or ssl.create_default_context(), max_connections, keep=KEEPALIVE, longest=MAX_ANSWER_BYTES
    )
    return httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)


def is_transient(exc: BaseException) -> bool:
    """Whether to repeat an idempotent call: never for ``trio.Cancelled``, which must not be swallowed."""
    return isinstance(exc, EvolutionFailure) and exc.transient


class EvolutionClient:
    """Client of one Evolution server with the global key. It does not close ``http``."""

    def __init__(self, http: httpx2.AsyncClient, base_url: str, api_key: str, policy: CallPolicy | None = None) -> None:
        self._http = http
        self._base = base_url.rstrip("/")
        self._headers = httpx2.Headers({"apikey": api_key, "accept": "application/json", "accept-encoding": "identity"})
        self._json_headers = httpx2.Headers({**self._headers, "content-type": "application/json"})
        self._policy = policy or CallPolicy()
        self._dialect = Dialect.FLAT

    @property
    def server(self) -> str:
        """Scheme, host and port, without anything that may be secret."""
        parts = urlsplit(self._base)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port is not None else "")

    async def server_info(self) -> ServerInfo:
        """``GET /``: needs no key, so it only proves that the server is reachable."""
        return parse_server_info(await self.call_repeatedly("GET", "/"))

    async def create_instance(
        self, name: str, webhook: WebhookRegistration, number: str | None = None
    ) -> CreatedInstance:
        """Create the instance with its webhook, without connecting. Raises ``InstanceExists`` if the name is taken."""
        body: dict[str, Any] = {
            "instanceName": name,
            "integration": "WHATSAPP-BAILEYS",
            "qrcode": False,
            "webhook": webhook.as_json(),
        }
        if number is not None:
            body["number"] = number
        return parse_created_instance(await self.call("POST", "/instance/create", body))

    async def connect(self, name: str, number: str | None = None) -> ConnectResponse:
        """Start pairing, or return the current code; ``number`` (digits) requests a pairing code too."""
        query = {"number": number} if number is not None else {}
        return parse_connect(await self.call_repeatedly("GET", instance_path("instance/connect", name), query=query))

    async def connection_state(self, name: str) -> str:
        """``open``, ``connecting`` or ``close``, from Evolution's memory. Raises ``InstanceUnknown`` for a 404."""
        return parse_connection_state(
            await self.call_repeatedly("GET", instance_path("instance/connectionState", name))
        )

    async def fetch_instances(self, name: str | None = None) -> list[InstanceInfo]:
        """All instances, or the one called ``name``; raises ``InstanceUnknown`` where there is none."""
        query = {"instanceName": name} if name is not None else {}
        answer = await self.call_repeatedly("GET", "/instance/fetchInstances", query=query)
        return parse_instances(answer)

    async def restart(self, name: str) -> str:
        """Reconnect the socket and return the new state. Raises ``OperationFailed`` where it was closed."""
        return parse_connection_state(await self.call("POST", instance_path("instance/restart", name)))

    async def logout(self, name: str) -> None:
        """End the WhatsApp session. Raises ``NotConnected`` where there was none."""
        await self.call("DELETE", instance_path("instance/logout", name))

    async def delete(self, name: str) -> None:
        """Delete the instance, logging out first. Raises ``InstanceUnknown`` where there was none."""
        await self.call("DELETE", instance_path("instance/delete", name))

    async def set_webhook(self, name: str, registration: WebhookRegistration) -> RegisteredWebhook:
        """Replace the webhook; URL and events apply at once (contract, section 1)."""
        body = {"webhook": registration.as_json()}
        webhook = parse_registered_webhook(await self.call("POST", instance_path("webhook/set", name), body))
        if webhook is None:
            raise BadAnswer(Sentence("{name} is missing in Evolution's answer", name="webhook/set"))
        return webhook

    async def find_webhook(self, name: str) -> RegisteredWebhook | None:
        """The webhook as Evolution has it, or None."""
        return parse_registered_webhook(await self.call_repeatedly("GET", instance_path("webhook/find", name)))

    async def find_messages(self, name: str, gte: float, lte: float, page: int = 1, page_size: int = 50) -> MessagePage:
        """One page of the messages between two moments (seconds since the epoch, both inclusive).

        Newest first; ``page`` counts from 1. Evolution compares whole seconds (contract, section 4).
        """
        body = {
            "where": {"messageTimestamp": {"gte": _iso(gte), "lte": _iso(lte)}},
            "page": page,
            "offset": page_size,
        }
        return parse_message_page(await self.call_repeatedly("POST", instance_path("chat/findMessages", name), body))

    async def find_message(self, name: str, message_id: ExternalId) -> MessagePage:
        """The stored messages with this WhatsApp id: one or none."""
        body = {"where": {"key": {"id": message_id}}, "page": 1, "offset": 5}
        return parse_message_page(await self.call_repeatedly("POST", instance_path("chat/findMessages", name), body))

    async def send(
        self,
        name: str,
        address: str,
        outgoing: OutgoingMessage,
        media: bytes | None = None,
        message_id: ExternalId | None = None,
        begin: Callable[[], None] = lambda: None,
        typing: float = 0.0,
    ) -> SentMessage:
        """Send one message, once. ``address``: digits, or a JID; ``media``: the bytes of an uploaded file.

        ``message_id``: the WhatsApp id that it is to have; whether the server honours it shows in the answer.
        ``typing``: seconds for which Evolution shows that the line is typing before a text; it answers later by them.
        Never repeated: the verdict of the failure says whether the message may have been sent. Only if a server of
        the other dialect refuses the form of the request, and so has sent nothing, is it sent again in that dialect,
        within the same deadline. Raises ``InvalidRequest`` also where Evolution has no request for the content. If
        cancelled, the message may have been sent.
        """
        if media is not None and len(media) > MAX_MEDIA_BYTES:
            raise TooLarge(Sentence("the file is larger than Evolution takes"))
        seconds = self._policy.send_file if isinstance(outgoing.content, File) else self._policy.call + typing
        dialect = self._dialect
        with _deadline(seconds):
            try:
                return await self._send(name, address, outgoing, media, message_id, dialect, seconds, begin, typing)
            except InvalidRequest as refusal:
                if not expects_other_dialect(refusal.detail, dialect):
                    raise
                first_refusal = refusal
            try:
                sent = await self._send(
                    name, address, outgoing, media, message_id, dialect.other, seconds, begin, typing
                )
            except EvolutionFailure as failure:
                if isinstance(failure, InvalidRequest) and expects_other_dialect(failure.detail, dialect.other):
                    raise first_refusal from None
                if failure.status == 400:
                    self._dialect = dialect.other  # the form was accepted, and something else was wrong
                raise
            self._dialect = dialect.other
            return sent

    async def _send(
        self,
        name: str,
        address: str,
        outgoing: OutgoingMessage,
        media: bytes | None,
        message_id: ExternalId | None,
        dialect: Dialect,
        seconds: float,
        begin: Callable[[], None],
        typing: float,
    ) -> SentMessage:
        parts = (address, outgoing, dialect, media, message_id, typing)
        if media is not None and len(media) > _IN_THREAD_ABOVE:
            route, body = await trio.to_thread.run_sync(build_send_request, *parts)
        else:
            route, body = build_send_request(*parts)
        path = instance_path(f"message/{route}", name)
        status, headers, content = await self._request("POST", path, body, None, seconds, begin)
        if not 200 <= status < 300:
            failure = classify_response(status, content, headers)
            if isinstance(failure, RouteUnknown) and "Cannot POST" in failure.detail and route != "sendText":
                # Evolution itself answers, so the line is not at fault.
                raise InvalidRequest(Sentence("this version of Evolution has no {route}", route=route), status=status)
            raise failure
        return parse_sent_message(decode_json(content, status))

    async def mark_read(self, name: str, keys: Sequence[MessageKey]) -> None:
        """Send read receipts for these messages. Keys of ``@lid`` chats have no effect, without an error."""
        message_keys = [{"id": key.external_id, "remoteJid": key.remote_jid, "fromMe": key.from_me} for key in keys]
        # The second name is version 1's; each version ignores the other's.
        body = {"readMessages": message_keys, "read_messages": message_keys}
        await self.call_repeatedly("POST", instance_path("chat/markMessageAsRead", name), body)

    async def fetch_media(
        self, name: str, external_id: ExternalId, content: Mapping[str, Any] | None = None
    ) -> MediaContent:
        """Fetch from WhatsApp the file of a message that Evolution has stored, or of one whose ``content`` is this.

        Raises ``MediaGone`` if Evolution has not stored the message or WhatsApp no longer has the file,
        ``InvalidRequest`` if the message has no file, ``BadAnswer`` above :data:`MAX_ANSWER_BYTES`.
        """
        message: dict[str, Any] = {"key": {"id": external_id}} | ({"message": content} if content else {})
        body = {"message": message, "convertToMp4": False}
        path = instance_path("chat/getBase64FromMediaMessage", name)
        try:
            answer = await self.call_repeatedly("POST", path, body, seconds=self._policy.send_file)
        except EvolutionFailure as failure:
            if is_file_gone(failure):
                raise MediaGone(failure.why, status=failure.status) from failure
            raise
        return await trio.to_thread.run_sync(parse_media, answer)

    async def call_streamed(self, path: str, body: Mapping[str, Any], take: Callable[[bytes], Awaitable[None]]) -> None:
        """Post once; ``take`` gets the answer piece by piece. Raises EvolutionFailure, and what ``take`` raises."""
        content, seconds = msgspec.json.encode(body), self._policy.fetch_file
        status, headers, refusal = await self._request("POST", path, content, None, seconds, take=take)
        if not 200 <= status < 300:
            raise classify_response(status, refusal, headers)

    async def call_repeatedly(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: _Query = None,
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
            return await retrying(self.call, method, path, body, query, seconds)

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: _Query = None,
        seconds: float | None = None,
        begin: _Begin = None,
    ) -> Any:
        """Make one request and return its JSON. Raises ``EvolutionFailure``, also for 200 with ``{"error": true}``."""
        content = None if body is None else msgspec.json.encode(body)
        seconds = seconds or self._policy.call
        status, headers, response = await self._request(method, path, content, query, seconds, begin)
        if not 200 <= status < 300:
            raise classify_response(status, response, headers)
        if len(response) > _IN_THREAD_ABOVE:
            answer = await trio.to_thread.run_sync(decode_json, response, status)
        else:
            answer = decode_json(response, status)
        if isinstance(answer, dict) and answer.get("error") is True:
            raise classify_response(status, response, headers)
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        query: _Query,
        seconds: float,
        begin: _Begin = None,
        take: _Take = None,
    ) -> tuple[int, httpx2.Headers, bytes]:
        """Make one request under its deadline; any status is returned. Raises ``EvolutionFailure``."""
        try:
            with _deadline(seconds):
                return await self._exchange(method, path, body, query, seconds, begin, take)
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise classify_exception(exc) from exc

    async def _exchange(
        self, method: str, path: str, body: bytes | None, query: _Query, seconds: float, begin: _Begin, take: _Take
    ) -> tuple[int, httpx2.Headers, bytes]:
        timeouts = {"connect": self._policy.connect, "read": seconds, "write": seconds, "pool": self._policy.connect}
        # Made here, and not by the client: merging its defaults into each request costs more than sending it.
        request = httpx2.Request(
            method,
            self._base + path,
            params=query or None,
            content=body,
            headers=self._headers if body is None else self._json_headers,
            extensions={"timeout": timeouts, "before_first_byte": begin, "take": take},
        )
        response = await self._http.send(request, stream=True)
        try:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise BadAnswer(Sentence("longer than any answer"), status=response.status_code)
            return response.status_code, response.headers, bytes(content)
        finally:
            await response.aclose()


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """As ``trio.fail_after``, but raises ``NoAnswer``."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise NoAnswer(Sentence("no answer within {seconds} s", seconds=f"{seconds:g}")) from None


def instance_path(endpoint: str, name: str) -> str:
    """The path of an endpoint of the instance ``name``."""
    return f"/{endpoint}/{quote(name, safe='')}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
