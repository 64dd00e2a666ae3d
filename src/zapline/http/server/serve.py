"""Serves an ASGI application with hypercorn's protocols, in our own nursery, and stops within its grace.

hypercorn's own ``serve`` cannot be stopped while a client does not read: it sends under a shield, out of reach
of any deadline. Here the sockets are ours, and what is left when the grace is over is closed under the send.
"""

import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import LifespanState
from hypercorn.utils import repr_socket_addr, wrap_app

from zapline.domain.errors import ConfigurationError
from zapline.http.server.connection import Connection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LAST_CALL = 0.75
"""Seconds that handlers have once their connections are closed; then they are cancelled."""
_TCP_NOTSENT_LOWAT = 25
"""Linux's number; the socket module has no name for it."""
_UNSENT = 128 * 1024
"""Bytes that the kernel takes ahead of what a client reads. Without it that is 4 MB for each that reads nothing."""
_UNACKNOWLEDGED_MS = 60_000
"""How long bytes may stay unacknowledged: a client that has vanished keeps its stream for no longer."""
_LOG = structlog.get_logger(scope="Server")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. ``keep_alive``: seconds without a request, and for a request's headers."""

    keep_alive: float = 15.0
    body_within: float = 30.0
    """Seconds for a whole body: who trickles holds a connection and a share of the byte budget."""
    write_within: float = 30.0
    """Seconds for which one send may wait for a client that does not read."""
    connections: int = 4096
    """Open at once; who comes then waits, unanswered, until one ends."""
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
    room = trio.Semaphore(limits.connections)
    listeners = [_Listener(trio.SocketListener(trio.socket.from_stdlib_socket(one)), room) for one in sockets]
    streams = _Streams()
    asgi = wrap_app(cast(Any, app), 0, "asgi")

    async def handle(stream: trio.SocketStream) -> None:
        try:
            connection = Connection(asgi, config, context, LifespanState(), cast(Any, stream))
            with streams.holding(stream, connection):
                try:
                    await connection.run()
                except Exception:  # noqa: BLE001 - the error handler of a connection: one must not end them all
                    _LOG.exception("A connection crashed")
        finally:
            room.release()

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
                await streams.close_idle()
                await streams.gone()
        finally:
            # Also when cancelled: a send that no reader takes ends with its socket, and in no other way.
            streams.cut()
        with trio.move_on_after(_LAST_CALL):
            await streams.gone()
        connections.cancel_scope.cancel()


class _Listener(trio.abc.Listener[trio.SocketStream]):
    """Hands on a connection once there is room for it; whoever ends one releases ``room``."""

    def __init__(self, listener: trio.SocketListener, room: trio.Semaphore) -> None:
        self._listener = listener
        self._room = room

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        try:
            await self._room.acquire()
        except trio.Cancelled:
            stream.socket.close()
            raise
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


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
        """Close what is idle, trickling or unread for too long, until cancelled; up to a twelfth late."""

        def overdue(one: Connection, now: float) -> bool:
            return (
                one.idle_for(now) >= limits.keep_alive
                or one.trickles_for(now) > limits.body_within
                or one.unread_for(now) > limits.write_within
            )

        while True:
            await trio.sleep(min(limits.keep_alive, limits.body_within, limits.write_within) / 12)
            await self._close_if(overdue)

    async def close_idle(self) -> None:
        """Close connections that have no request."""
        await self._close_if(lambda one, now: one.idle_for(now) >= 0.0)

    async def _close_if(self, due: Callable[[Connection, float], bool]) -> None:
        now = trio.current_time()
        for connection in [one for one in self._open.values() if due(one, now)]:
            if due(connection, trio.current_time()):  # while others were closed, a request may have come
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
        return _tuned(given) if given.family != socket.AF_UNIX else given
    if bind.startswith("unix:"):
        path = Path(bind.removeprefix("unix:"))
        if path.is_socket():  # of an earlier process
            path.unlink()
        return socket.create_server(str(path), family=socket.AF_UNIX, backlog=backlog)
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _tuned(socket.create_server((host, int(port)), family=family, backlog=backlog))


def _tuned(listening: socket.socket) -> socket.socket:
    """Set what the connections that it accepts are to inherit."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    return listening
