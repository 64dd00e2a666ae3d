"""Serves an ASGI application with hypercorn's protocols in our own nursery, and stops within a grace period.

hypercorn's own ``serve`` cannot be stopped while a client does not read: it sends under a shield that no deadline
reaches. Here the sockets are ours, and what is left after the grace period is closed under the send.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import repr_socket_addr, wrap_app

from zapline.domain.errors import ConfigurationError
from zapline.http.server.asgi import App, Message, Receive, Scope, Send
from zapline.http.server.connection import Connection, Server
from zapline.http.server.fair_places import give_way

_CLEANUP_SECONDS = 0.75
"""Seconds that handlers have after their connections are closed; then they are cancelled."""
_TCP_NOTSENT_LOWAT = 25
"""Linux's number; the socket module has no name for it."""
_MAX_UNSENT = 128 * 1024
"""Bytes the kernel buffers ahead of a slow reader; the default is 4 MB for each client."""
_UNACKNOWLEDGED_MS = 60_000
"""How long bytes may stay unacknowledged; ends the connection of a client that has vanished."""
_FREED_AT_ONCE = 64
"""Where all connections are taken, one in so many gives way at once: to look through all of them takes milliseconds."""
_LOOK_AGAIN_SECONDS = 0.25
"""Where all connections are being served, none can give way; after this it is looked again."""
_TOLD_EVERY_SECONDS = 60.0
_LOG = structlog.get_logger(scope="Server")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits for clients. ``keep_alive``: seconds without a request, and for a request's headers."""

    keep_alive: float = 15.0
    body_seconds: float = 30.0
    """Seconds for a whole body: a slow sender holds a connection and part of the byte budget."""
    write_seconds: float = 30.0
    """Seconds that one send may wait for a client that does not read."""
    connections: int = 4096
    """Open at once; for further ones some give way (see ``fair_places``)."""
    header_bytes: int = 16 * 1024
    backlog: int = 1024


async def serve(
    app: App,
    binds: Sequence[str],
    shutdown: trio.Event,
    grace: float,
    *,
    limits: ServerLimits | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``shutdown``; then current requests have ``grace`` seconds, and all connections end.

    An ``app`` that is also a ``DirectApp`` gets its plain requests past hypercorn.

    ``binds``: ``host:port``, ``unix:/path`` or ``fd://3``; port 0 takes a free one. ``task_status`` gets the bound
    addresses, as ``http://127.0.0.1:8080``. Raises ConfigurationError for an address that cannot be bound.
    Cancellation ends all connections at once.
    """
    limits = limits or ServerLimits()
    config = _config(limits)
    context = WorkerContext(None)
    sockets = _listen(binds, limits.backlog)
    slots = trio.Semaphore(limits.connections)
    streams = _Connections()
    make_room = partial(streams.make_room, max(1, limits.connections // _FREED_AT_ONCE))
    listeners = [
        _Listener(trio.SocketListener(trio.socket.from_stdlib_socket(listening)), slots, make_room)
        for listening in sockets
    ]
    server = Server(app, wrap_app(cast(Any, app), 0, "asgi"), config, context)

    async def handle(stream: trio.SocketStream) -> None:
        try:
            connection = Connection(server, stream)
            with streams.track(stream, connection):
                try:
                    await connection.run()
                except Exception:  # noqa: BLE001 - one connection must not end all others
                    _LOG.exception("A connection crashed")
        finally:
            slots.release()

    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                serving = partial(trio.serve_listeners, handle, listeners, handler_nursery=connections)
                accepting.start_soon(serving)
                accepting.start_soon(streams.sweep, limits)
                task_status.started([_address(listening) for listening in sockets])
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            with trio.move_on_after(grace):
                await streams.close_idle()
                await streams.wait_closed()
        finally:
            # Also when cancelled: only closing its socket ends a send that nobody reads.
            streams.close_all()
        with trio.move_on_after(_CLEANUP_SECONDS):
            await streams.wait_closed()
        connections.cancel_scope.cancel()


class _Listener(trio.abc.Listener[trio.SocketStream]):
    """Accepts a connection only while a slot is free, or makes one so; the handler of a connection releases it."""

    def __init__(self, listener: trio.SocketListener, slots: trio.Semaphore, make_room: Callable[[], None]) -> None:
        self._listener = listener
        self._slots = slots
        self._make_room = make_room

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        try:
            await self._take_slot()
        except trio.Cancelled:
            stream.socket.close()
            raise
        return stream

    async def _take_slot(self) -> None:
        while True:
            with suppress(trio.WouldBlock):
                return self._slots.acquire_nowait()
            self._make_room()
            with trio.move_on_after(_LOOK_AGAIN_SECONDS):
                return await self._slots.acquire()

    async def aclose(self) -> None:
        await self._listener.aclose()


class _Connections:
    """The open connections."""

    def __init__(self) -> None:
        self._open: dict[trio.SocketStream, Connection] = {}
        self._all_closed = trio.Event()
        self._cut = 0
        self._told_at = float("-inf")

    @contextmanager
    def track(self, stream: trio.SocketStream, connection: Connection) -> Iterator[None]:
        self._open[stream] = connection
        try:
            yield
        finally:
            del self._open[stream]
            if not self._open:
                self._all_closed.set()

    async def sweep(self, limits: ServerLimits) -> None:
        """Close connections that are idle, slow or unread for too long, until cancelled; up to a twelfth late."""

        def overdue(connection: Connection, now: float) -> bool:
            return (
                connection.idle_for(now) >= limits.keep_alive
                or connection.body_incomplete_for(now) > limits.body_seconds
                or connection.send_blocked_for(now) > limits.write_seconds
            )

        while True:
            await trio.sleep(min(limits.keep_alive, limits.body_seconds, limits.write_seconds) / 12)
            await self._close_where(overdue)

    def make_room(self, number: int) -> None:
        """Close up to ``number`` connections that wait for their clients, and say so once a minute."""
        for connection in give_way({connection: connection.place() for connection in self._open.values()}, number):
            connection.cut()
            self._cut += 1
        if self._cut and trio.current_time() - self._told_at >= _TOLD_EVERY_SECONDS:
            _LOG.warning("All connections are taken: who holds most of them loses the oldest", count=self._cut)
            self._cut, self._told_at = 0, trio.current_time()

    async def close_idle(self) -> None:
        """Close connections without a request."""
        await self._close_where(lambda connection, now: connection.idle_for(now) >= 0.0)

    async def _close_where(self, due: Callable[[Connection, float], bool]) -> None:
        now = trio.current_time()
        for connection in [connection for connection in self._open.values() if due(connection, now)]:
            if due(connection, trio.current_time()):  # a request may have arrived while others were closed
                await connection.shut()

    async def wait_closed(self) -> None:
        """Return when none is open; no new one may be accepted meanwhile."""
        self._all_closed = trio.Event()
        if self._open:
            await self._all_closed.wait()

    def close_all(self) -> None:
        """Close all sockets; tasks that wait on one of them are woken."""
        for stream in self._open:
            stream.socket.close()


def shield_last_message(app: App) -> App:
    """Send ``app``'s last message of each response under a shield.

    At the end of a response hypercorn reports a disconnect to the application, and quart-trio then cancels its nursery
    while hypercorn is still cleaning up inside it: without the shield idle connections would never be closed.
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


class _QuietLogger(Logger):
    """hypercorn's logger without its greeting; the access log is off, since it would show secrets in paths."""

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        pass

    async def access(self, request: Any, response: Any, request_time: float) -> None:
        pass


class _CachedHeadersConfig(Config):
    """hypercorn's configuration; headers common to all responses are formatted once a second."""

    _second = 0
    _cached: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - replaced, never changed

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        second = int(time.time())
        if second != self._second:
            self._second, self._cached = second, super().response_headers(protocol)
        return self._cached


def _config(limits: ServerLimits) -> Config:
    config = _CachedHeadersConfig()
    config.accesslog = None
    config.errorlog = logging.getLogger("zapline.http.server")  # masked like all others, without a handler of its own
    config.logger_class = _QuietLogger
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
            for listening in opened:
                listening.close()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigurationError(f"cannot listen on {bind}: {reason}") from error
    return opened


def _open(bind: str, backlog: int) -> socket.socket:
    if bind.startswith("fd://"):
        listening = socket.socket(fileno=int(bind.removeprefix("fd://")))
        listening.listen(backlog)
        return _configure(listening) if listening.family != socket.AF_UNIX else listening
    if bind.startswith("unix:"):
        path = Path(bind.removeprefix("unix:"))
        if path.is_socket():  # left by an earlier process
            path.unlink()
        return socket.create_server(str(path), family=socket.AF_UNIX, backlog=backlog)
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _configure(socket.create_server((host, int(port)), family=family, backlog=backlog))


def _configure(listening: socket.socket) -> socket.socket:
    """Set the options that accepted connections inherit."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _MAX_UNSENT)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    return listening
