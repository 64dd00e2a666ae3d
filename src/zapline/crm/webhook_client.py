"""Delivers webhooks to a CRM: a POST to a checked address; only the status and Retry-After of the response are used."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore2
import trio

from zapline.domain.errors import RemoteError
from zapline.domain.network_addresses import refusal_reason

Resolver = Callable[[str, int], Awaitable[Iterable[str]]]
"""(host, port) -> IP addresses. Raises ``OSError`` where there are none."""

TIMEOUT = 15.0
"""Seconds for a whole delivery with its DNS look-up; a CRM that needs longer should respond first and work later."""
_CONNECT = 5.0
MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of a response that are read and discarded, so that the connection can be reused."""
_MAX_CONNECTIONS, _MAX_IDLE, _IDLE_SECONDS = 64, 32, 30.0
_ALWAYS_REFUSED = frozenset({"link-local", "cloud metadata", "multicast", "unspecified", "IPv4 in IPv6"})
"""Refused even where private addresses are allowed; cloud machines hand out their credentials at some of them."""


class NotDelivered(RemoteError):
    """There was no response. ``code`` says why; it holds no text of the CRM."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class CrmResponse:
    """The response of a CRM. ``retry_after`` in seconds from now."""

    status: int
    retry_after: float | None


class CrmWebhookClient:
    """HTTP client for all hooks of the process. It does not close ``pool``; see ``open_crm_client``."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool, clock: Callable[[], float], timeout: float) -> None:
        self._pool = pool
        self._clock = clock
        self._timeout = timeout

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> CrmResponse:
        """Deliver once; a redirect is returned, not followed. Raises NotDelivered. Cancelled, it may have arrived."""
        raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        timeouts = {"connect": _CONNECT, "read": self._timeout, "write": self._timeout, "pool": self._timeout}
        try:
            with trio.fail_after(self._timeout):
                async with self._pool.stream(
                    "POST", _unchanged_url(url), headers=raw_headers, content=body, extensions={"timeout": timeouts}
                ) as response:
                    await _discard_body(response)
                    return CrmResponse(response.status, self._retry_after(response.headers))
        except (trio.TooSlowError, httpcore2.TimeoutException):
            raise NotDelivered("timeout") from None
        except _AddressRefused:
            raise NotDelivered("address_refused") from None
        except httpcore2.ConnectError as error:
            raise NotDelivered("tls_failed" if _is_tls(error) else "unreachable") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
            raise NotDelivered("broken_connection") from None

    def _retry_after(self, headers: Iterable[tuple[bytes, bytes]]) -> float | None:
        header = next((value for name, value in headers if name.lower() == b"retry-after"), None)
        if header is None:
            return None
        text = header.decode("latin-1").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._clock())
        except (ValueError, OverflowError):
            return None


@asynccontextmanager
async def open_crm_client(
    clock: Callable[[], float],
    resolver: Resolver,
    *,
    private: bool = False,
    context: ssl.SSLContext | None = None,
    timeout: float = TIMEOUT,
) -> AsyncIterator[CrmWebhookClient]:
    """Open the client with a connection pool. ``private``: private addresses are allowed."""
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=context or ssl.create_default_context(),
        max_connections=_MAX_CONNECTIONS,
        max_keepalive_connections=_MAX_IDLE,
        keepalive_expiry=_IDLE_SECONDS,
        network_backend=_CheckedBackend(resolver, private),
    )
    async with pool:
        yield CrmWebhookClient(pool, clock, timeout)


class _AddressRefused(Exception):
    """The host resolves to an address to which nothing is delivered."""


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that it has resolved and checked, so that DNS rebinding has no effect."""

    def __init__(self, resolver: Resolver, private: bool) -> None:
        self._resolver = resolver
        self._private = private
        self._backend = httpcore2.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = list(await self._resolver(host, port))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise httpcore2.ConnectError("the host is not known")
        if any(self._refuses(address) for address in addresses):
            raise _AddressRefused
        last: httpcore2.ConnectError | None = None
        for address in addresses[:3]:
            try:
                return _CancelSafeStream(
                    await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
                )
            except httpcore2.ConnectError as error:
                last = error
        assert last is not None
        raise last

    def _refuses(self, address: str) -> bool:
        why = refusal_reason(address)
        return why is not None and (not self._private or why in _ALWAYS_REFUSED)

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        raise _AddressRefused

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _CancelSafeStream(httpcore2.AsyncNetworkStream):
    """A connection that is closed if its handshake is cancelled; httpcore closes it only after errors."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


async def _discard_body(response: httpcore2.Response) -> None:
    """Read up to ``MAX_RESPONSE_BYTES``; the connection of a longer response is not reused."""
    size = 0
    async for part in response.aiter_stream():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return


def _unchanged_url(url: str) -> httpcore2.URL:
    """The URL with its whole path: httpcore's parser drops what follows a semicolon in it."""
    parsed = httpcore2.URL(url)
    target = "/" + "".join(url.split("/", 3)[3:])
    return httpcore2.URL(scheme=parsed.scheme, host=parsed.host, port=parsed.port, target=target)


def _is_tls(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
