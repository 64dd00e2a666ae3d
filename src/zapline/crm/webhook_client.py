"""Delivers one webhook to a CRM: a POST to an address that was checked, its status, and nothing of its body."""

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
"""From a host's name and a port to its addresses. Raises ``OSError`` where there are none."""

DELIVERY_TIMEOUT = 15.0
"""Seconds for a whole delivery, the look-up of the name included: who needs longer should answer first, work later."""
_CONNECT = 5.0
MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of an answer that are read and thrown away, so that the connection can be used again."""
_CONNECTIONS, _KEPT, _KEPT_FOR = 64, 32, 30.0
_NO_CRM = frozenset({"link-local", "cloud metadata", "multicast", "unspecified", "IPv4 in IPv6"})
"""No CRM has such an address, in no network of ours; the keys of a machine in a cloud are handed out at some."""


class NotDelivered(RemoteError):
    """No answer came. ``code`` says in a word why; nothing of the CRM's own words is in it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class CrmResponse:
    """What a CRM answered. ``retry_after`` in seconds, from now."""

    status: int
    retry_after: float | None


class CrmWebhookClient:
    """One for the process. ``pool`` is closed by who opened it; see ``open_crm_client``."""

    def __init__(
        self, pool: httpcore2.AsyncConnectionPool, clock: Callable[[], float], call: float = DELIVERY_TIMEOUT
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._call = call

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> CrmResponse:
        """Deliver once; redirections are answers like any other. Raises NotDelivered."""
        listed = [(name.encode(), value.encode()) for name, value in headers.items()]
        times = {"connect": _CONNECT, "read": self._call, "write": self._call, "pool": self._call}
        try:
            with trio.fail_after(self._call):
                async with self._pool.stream(
                    "POST", _whole(url), headers=listed, content=body, extensions={"timeout": times}
                ) as answer:
                    await _read_a_little(answer)
                    return CrmResponse(answer.status, self._wait_of(answer.headers))
        except (trio.TooSlowError, httpcore2.TimeoutException):
            raise NotDelivered("timeout") from None
        except _Refused:
            raise NotDelivered("address_refused") from None
        except httpcore2.ConnectError as error:
            raise NotDelivered("tls_failed" if _is_tls(error) else "unreachable") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
            raise NotDelivered("broken_connection") from None

    def _wait_of(self, headers: Iterable[tuple[bytes, bytes]]) -> float | None:
        given = next((value for name, value in headers if name.lower() == b"retry-after"), None)
        if given is None:
            return None
        text = given.decode("latin-1").strip()
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
    call: float = DELIVERY_TIMEOUT,
) -> AsyncIterator[CrmWebhookClient]:
    """The client, with connections that are kept for a while. ``private``: it may reach into our own networks."""
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=context or ssl.create_default_context(),
        max_connections=_CONNECTIONS,
        max_keepalive_connections=_KEPT,
        keepalive_expiry=_KEPT_FOR,
        network_backend=_Checked(resolver, private),
    )
    async with pool:
        yield CrmWebhookClient(pool, clock, call)


class _Refused(Exception):
    """The host leads to an address that nothing is delivered to."""


class _Checked(httpcore2.AsyncNetworkBackend):
    """Connects to an address that it has looked at itself: a name that changes its mind leads nowhere else."""

    def __init__(self, resolver: Resolver, private: bool) -> None:
        self._resolver = resolver
        self._private = private
        self._plain = httpcore2.TrioBackend()

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
            raise _Refused
        last: httpcore2.ConnectError | None = None
        for address in addresses[:3]:
            try:
                return _Closing(await self._plain.connect_tcp(address, port, timeout, local_address, socket_options))
            except httpcore2.ConnectError as error:
                last = error
        assert last is not None
        raise last

    def _refuses(self, address: str) -> bool:
        why = refusal_reason(address)
        return why is not None and (not self._private or why in _NO_CRM)

    async def connect_unix_socket(self, *given: Any, **more: Any) -> httpcore2.AsyncNetworkStream:
        raise _Refused

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Closing(httpcore2.AsyncNetworkStream):
    """A connection that is closed where its handshake is cancelled; httpcore closes it after errors alone."""

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


async def _read_a_little(answer: httpcore2.Response) -> None:
    """A longer answer is not read to its end, and its connection not used again."""
    size = 0
    async for part in answer.aiter_stream():
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            return


def _whole(url: str) -> httpcore2.URL:
    """The URL as it was given: httpcore's own reading leaves out what follows a semicolon in the path."""
    read = httpcore2.URL(url)
    target = "/" + "".join(url.split("/", 3)[3:])
    return httpcore2.URL(scheme=read.scheme, host=read.host, port=read.port, target=target)


def _is_tls(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
