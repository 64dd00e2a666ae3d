"""Serves an ASGI application with hypercorn's protocols, in our own nursery, and stops within its grace.

hypercorn's own ``serve`` cannot be stopped while a client does not read: it sends under a shield, out of reach
of any deadline. Here the sockets are ours, and what is left when the grace is over is closed under the send.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr, repr_socket_addr, wrap_app

from zapline.domain.errors import ConfigurationError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LAST_CALL = 1.0
"""Seconds that handlers have once their connections are closed; then they are cancelled."""
_READ_BYTES = 2**16
_INBOX = 10
"""Messages of a request that may wait for the application; then its sender waits."""
_LOG = structlog.get_logger(scope="Server")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. ``keep_alive``: seconds without a request, and for a request's headers."""

    keep_alive: float = 15.0
    body_within: float = 30.0
    """Seconds for a whole body: who trickles holds a connection and a share of the byte budget."""
    header_bytes: int = 16 * 1024
    backlog: int = 1024


async def serve(
    app: App,
    binds: Sequence[str],
    shutdown: trio.Event,
    grace: float,
    *,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``shutdown``; then requests in hand have ``grace`` seconds, and all connections end.

    ``binds``: ``host:port``, ``unix:/path`` or ``fd://3``; port 0 takes a free one. ``task_status`` gets the
    addresses once they listen, as ``http://127.0.0.1:8080``. Raises ConfigurationError for an address that
    cannot be had. Cancellation ends all connections at once.
    """
    limits = limits or Limits()
    config = _config(limits)
    context = WorkerContext(None)
    sockets = _listen(binds, limits.backlog)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
    streams = _Streams()
    asgi = wrap_app(cast(Any, app), 0, "asgi")

    async def handle(stream: trio.SocketStream) -> None:
        connection = Connection(asgi, config, context, LifespanState(), cast(Any, stream))
        with streams.holding(stream, connection):
            try:
                await connection.run()
            except Exception:  # noqa: BLE001 - the error handler of a connection: one must not end them all
                _LOG.exception("A connection crashed")

    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                serving = partial(trio.serve_listeners, handle, listeners, handler_nursery=connections)
                accepting.start_soon(serving)
                accepting.start_soon(streams.sweep, limits)
                task_status.started([_address(one) for one in sockets])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            with trio.move_on_after(grace):
                await streams.close_idle(0.0)
                await streams.gone()
        finally:
            # Also when cancelled: a send that no reader takes ends with its socket, and in no other way.
            streams.cut()
        with trio.move_on_after(_LAST_CALL):
            await streams.gone()
        connections.cancel_scope.cancel()


class _Idle:
    """Since when a connection has had no request. hypercorn keeps a task for it, and starts a new one a request."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None

    async def restart(self, task_group: object, action: object) -> None:
        self.since = trio.current_time()

    async def stop(self) -> None:
        self.since = None


class _Inbox:
    """A request's messages on their way to the application: bounded, and no task switch where none is needed."""

    __slots__ = ("_messages", "_news", "_over", "_room", "complete")

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._news: trio.Event | None = None
        self._room: trio.Event | None = None
        self._over = False
        self.complete = False
        """The whole body has come."""

    async def put(self, message: Any) -> None:
        """Wait while the application is slow; what nobody will read any more is let go."""
        if not message.get("more_body", False):
            self.complete = True
        while len(self._messages) >= _INBOX and not self._over:
            self._room = trio.Event()
            await self._room.wait()
        self._messages.append(message)
        if self._news is not None:
            self._news.set()

    async def get(self) -> Any:
        while not self._messages:
            self._news = trio.Event()
            await self._news.wait()
        self._news = None
        message = self._messages.popleft()
        if self._room is not None:
            self._room.set()
            self._room = None
        return message

    def end(self) -> None:
        self._over = self.complete = True
        if self._room is not None:
            self._room.set()


class _Protocol(H11Protocol):
    """HTTP/1.1 and nothing else: no upgrade to HTTP/2 or websockets is looked for in the headers."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            *(self.app, self.config, self.context, self.task_group, self.ssl),
            *(self.client, self.server, self.stream_send, 1),
        )
        await self.stream.handle(
            Request(
                stream_id=1,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1


class _Tasks(TaskGroup):
    """The tasks of a connection's requests, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox: _Inbox | None = None

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        self.inbox = inbox = _Inbox()

        async def answer() -> None:
            try:
                await _handle(app, config, scope, inbox.get, send, trio.to_thread.run_sync, trio.from_thread.run)
            finally:
                inbox.end()

        assert self._nursery is not None
        self._nursery.start_soon(answer)
        return inbox.put


class Connection(TCPServer):
    """hypercorn's connection with fewer steps a request.

    There is no task for idleness, no channel a request, one send for head and body, and no lock where the
    kernel takes the bytes at once.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.idle_task: Any = _Idle()
        self._head = b""
        self._tasks = _Tasks()
        self._busy_since: float | None = None
        self._until_closed = trio.CancelScope()

    async def run(self) -> None:
        """Serve until the connection is closed. hypercorn's reader may wait for ever on a stream that is gone."""
        plain: trio.SocketStream = cast(Any, self.stream)
        with self._until_closed:
            try:
                client = parse_socket_addr(plain.socket.family, plain.socket.getpeername())
                server = parse_socket_addr(plain.socket.family, plain.socket.getsockname())
                async with self._tasks as tasks:
                    self._task_group = tasks
                    state = ConnectionState(self.state)
                    given = (self.app, self.config, self.context, tasks, state, False)
                    self.protocol = cast(Any, _Protocol(*given, client, server, self.protocol_send))
                    await self.protocol.initiate()
                    await self.idle_task.restart(tasks, None)
                    await self._read_data()
            except OSError:
                pass  # the peer is gone, in whatever way
            finally:
                await self._close()

    def idle_for(self, now: float) -> float:
        """Seconds without a request; below zero while one is in hand."""
        return now - self.idle_task.since if self.idle_task.since is not None else -1.0

    def trickles_for(self, now: float) -> float:
        """Seconds for which the body of the request in hand has been coming; 0 once it is here."""
        inbox = self._tasks.inbox
        if self._busy_since is None or inbox is None or inbox.complete:
            return 0.0
        return now - self._busy_since

    async def shut(self) -> None:
        """End the connection."""
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            if not self._head and event.data.startswith(b"HTTP/1.1 ") and event.data[9:10] != b"1":
                self._head = event.data  # waits for what follows; an interim answer (1xx) is followed by nothing
            else:
                await self._write(event.data)
            return
        await self._write(b"")
        if isinstance(event, Updated):
            self._busy_since = None if event.idle else trio.current_time()
        await super().protocol_send(event)

    async def _write(self, data: bytes) -> None:
        data, self._head = self._head + data, b""
        if data and not self.send_lock.locked():
            with suppress(OSError):  # full or gone: the careful way will tell
                data = data[os.write(cast(Any, self.stream).socket.fileno(), data) :]
        if data:
            await super().protocol_send(RawData(data))

    async def _read_data(self) -> None:
        while True:
            try:
                data = bytes(await self.stream.receive_some(_READ_BYTES))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            await self.protocol.handle(RawData(data))
            if not data:
                break
        await self.protocol.handle(Closed())

    async def _close(self) -> None:
        await super()._close()
        self._until_closed.cancel()

    async def _initiate_server_close(self) -> None:
        await super()._initiate_server_close()
        self._until_closed.cancel()


class _Streams:
    """The open connections."""

    def __init__(self) -> None:
        self._open: dict[trio.SocketStream, Connection] = {}
        self._none = trio.Event()

    @contextmanager
    def holding(self, stream: trio.SocketStream, connection: Connection) -> Iterator[None]:
        self._open[stream] = connection
        try:
            yield
        finally:
            del self._open[stream]
            if not self._open:
                self._none.set()

    async def sweep(self, limits: Limits) -> None:
        """Close what has been idle, or trickling, for too long, until cancelled; up to a twelfth late."""
        while True:
            await trio.sleep(min(limits.keep_alive, limits.body_within) / 12)
            await self.close_idle(limits.keep_alive)
            now = trio.current_time()
            for connection in [one for one in self._open.values() if one.trickles_for(now) > limits.body_within]:
                await connection.shut()

    async def close_idle(self, least: float) -> None:
        """Close connections that have been idle for so many seconds."""
        now = trio.current_time()
        for connection in [one for one in self._open.values() if one.idle_for(now) >= least]:
            await connection.shut()

    async def gone(self) -> None:
        """Return when none is open. No new one may come."""
        self._none = trio.Event()
        if self._open:
            await self._none.wait()

    def cut(self) -> None:
        """Close all; whoever waits on one of them is woken."""
        for stream in self._open:
            stream.socket.close()


def finish_shielded(app: App) -> App:
    """Let ``app``'s last message of a response out whole.

    At the end of a response hypercorn tells the application that the client is gone, and quart-trio then
    cancels its nursery while hypercorn is still tidying up inside it: without the shield idle connections
    would never be closed.
    """

    async def shielded(scope: Scope, receive: Receive, send: Send) -> None:
        async def finishing(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                with trio.CancelScope(shield=True):
                    await send(message)
            else:
                await send(message)

        await app(scope, receive, finishing)

    return shielded


class _Silent(Logger):
    """hypercorn's own log without its greeting; its access log is never on: it would print secrets in paths."""

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        pass

    async def access(self, request: Any, response: Any, request_time: float) -> None:
        pass


class _Headers(Config):
    """hypercorn's configuration; what every answer carries is written once a second."""

    _second = 0
    _carried: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - replaced, never changed

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        second = int(time.time())
        if second != self._second:
            self._second, self._carried = second, super().response_headers(protocol)
        return self._carried


def _config(limits: Limits) -> Config:
    config = _Headers()
    config.accesslog = None
    config.errorlog = logging.getLogger("zapline.http.server")  # masked like all others, with no handler of its own
    config.logger_class = _Silent
    config.include_server_header = False
    config.keep_alive_timeout = limits.keep_alive
    config.h11_max_incomplete_size = limits.header_bytes
    return config


def _address(listening: socket.socket) -> str:
    name = repr_socket_addr(listening.family, listening.getsockname())
    return name if listening.family == socket.AF_UNIX else f"http://{name}"


def _listen(binds: Sequence[str], backlog: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    for bind in binds:
        try:
            opened.append(_open(bind, backlog))
        except (OSError, OverflowError, ValueError) as error:
            for one in opened:
                one.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigurationError(f"cannot listen on {bind}: {why}") from error
    return opened


def _open(bind: str, backlog: int) -> socket.socket:
    if bind.startswith("fd://"):
        given = socket.socket(fileno=int(bind.removeprefix("fd://")))
        given.listen(backlog)
        return given
    if bind.startswith("unix:"):
        path = Path(bind.removeprefix("unix:"))
        if path.is_socket():  # of an earlier process
            path.unlink()
        return socket.create_server(str(path), family=socket.AF_UNIX, backlog=backlog)
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.create_server((host, int(port)), family=family, backlog=backlog)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits this
    return made
