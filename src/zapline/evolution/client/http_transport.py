"""Carries requests to Evolution over kept connections, with few objects for each: HTTP/1.1 by h11, on trio.

It stands below httpx2's client and raises httpx2's errors. What is written once is never written again: an error after
the first byte says that the request may have arrived.
"""

import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import h11
import httpx2
import trio

_READ_BYTES = 64 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}
_Address = tuple[str, str, int]
"""Scheme, host and port."""
_Take = Callable[[bytes], Awaitable[None]] | None


class _KeptConnection:
    """One connection. ``idle_since``: monotonic time since which it has no request."""

    def __init__(self, stream: trio.abc.Stream, socket: trio.socket.SocketType) -> None:
        self.stream = stream
        self.socket = socket
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=100 * 1024)
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        """Whether the server has said nothing since the last answer: it would be a goodbye."""
        return self.http.our_state is h11.IDLE and not self.socket.is_readable()


class KeptConnections(httpx2.AsyncBaseTransport):
    """At most ``limit`` connections at a time; an idle one is not used any more after ``keep`` seconds.

    An answer is read whole, but not further than ``longest`` bytes; its connection is closed then. Where a request has
    the extension ``take``, an answer of success is not kept: ``take`` is awaited with each piece of it.
    """

    def __init__(self, context: ssl.SSLContext, limit: int, keep: float, longest: int) -> None:
        self._context = context
        self._slots = trio.Semaphore(limit)
        self._keep = keep
        self._longest = longest
        self._idle: dict[_Address, deque[_KeptConnection]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and read its answer. Raises httpx2's errors; when cancelled, its connection is closed.

        The extension ``before_first_byte`` is called when the connection stands; where it raises, nothing is written.
        """
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        await self._take_slot(timeouts.get("pool"))
        try:
            url = request.url
            address = (url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme, 0))
            connection = self._take_idle(address)
            if connection is None:
                connection = await self._connect(address, timeouts.get("connect"))
                if (trace := request.extensions.get("trace")) is not None:
                    await trace("connection.connect_tcp.complete", {})
            kept = False
            try:
                response = await self._exchange(connection, request)
                kept = connection.http.our_state is h11.IDLE
            finally:
                if kept:
                    connection.idle_since = trio.current_time()
                    self._idle.setdefault(address, deque()).append(connection)
                else:
                    await trio.aclose_forcefully(connection.stream)
            return response
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        for connections in self._idle.values():
            while connections:
                await trio.aclose_forcefully(connections.pop().stream)

    async def _take_slot(self, patience: float | None) -> None:
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            with _translated(httpx2.PoolTimeout), trio.fail_after(_seconds(patience)):
                await self._slots.acquire()

    def _take_idle(self, address: _Address) -> _KeptConnection | None:
        """The connection that was used last, if the server has not closed it; those that are too old are closed."""
        connections = self._idle.get(address, deque())
        while connections and connections[0].idle_since + self._keep <= trio.current_time():
            connections.popleft().socket.close()
        while connections:
            connection = connections.pop()
            if connection.reusable:
                return connection
            connection.socket.close()
        return None

    async def _connect(self, address: _Address, patience: float | None) -> _KeptConnection:
        """Raises ConnectError and ConnectTimeout: nothing was sent."""
        scheme, host, port = address
        if not port:
            raise httpx2.UnsupportedProtocol("neither http nor https")
        with _translated(httpx2.ConnectTimeout), trio.fail_after(_seconds(patience)):
            try:
                plain = await trio.open_tcp_stream(host, port)
            except OSError as error:
                raise httpx2.ConnectError(str(error)) from error
            if scheme == "http":
                return _KeptConnection(plain, plain.socket)
            secure = trio.SSLStream(plain, self._context, server_hostname=host, https_compatible=True)
            try:
                await secure.do_handshake()
            except BaseException as error:
                await trio.aclose_forcefully(plain)
                if isinstance(error, trio.BrokenResourceError | ssl.SSLError):
                    raise httpx2.ConnectError(str(error.__cause__ or error)) from error
                raise
            return _KeptConnection(secure, plain.socket)

    async def _exchange(self, connection: _KeptConnection, request: httpx2.Request) -> httpx2.Response:
        http = connection.http
        try:
            head = http.send(
                h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            )
            content = request.content
            body = http.send(h11.Data(data=content)) if content else b""
            end = http.send(h11.EndOfMessage())
        except h11.LocalProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        if (begin := request.extensions.get("before_first_byte")) is not None:
            begin()
        with suppress(trio.BrokenResourceError):  # the server may have answered before it has read everything
            await connection.stream.send_all(b"".join((head or b"", body or b"", end or b"")))
        return await self._read_answer(connection, request.extensions.get("take"))

    async def _read_answer(self, connection: _KeptConnection, take: _Take) -> httpx2.Response:
        http, content, response = connection.http, bytearray(), None
        try:
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await connection.stream.receive_some(_READ_BYTES)))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data) and take is not None and response is not None and _succeeds(response):
                    await take(bytes(event.data))
                elif isinstance(event, h11.Data):
                    content += event.data
                    if len(content) > self._longest:
                        break
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    break
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpx2.ReadError(str(error)) from error
        if response is None:
            raise httpx2.RemoteProtocolError("the server closed the connection without an answer")
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        headers = list(response.headers)
        if any(name == b"content-encoding" for name, _ in headers):  # though nobody has asked for it
            return httpx2.Response(response.status_code, headers=headers, stream=httpx2.ByteStream(bytes(content)))
        return httpx2.Response(response.status_code, headers=headers, content=bytes(content))


@contextmanager
def _translated(kind: type[httpx2.TimeoutException]) -> Iterator[None]:
    try:
        yield
    except trio.TooSlowError as error:
        raise kind("no time is left") from error


def _succeeds(response: h11.Response) -> bool:
    return 200 <= response.status_code < 300


def _seconds(value: float | None) -> float:
    return float("inf") if value is None else value
