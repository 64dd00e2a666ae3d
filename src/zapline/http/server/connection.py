"""One HTTP/1.1 connection on hypercorn's protocols, with fewer objects and task switches for each request."""

import os
from collections import deque
from contextlib import suppress
from typing import Any, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from zapline.http.server.client_address import rate_limit_key
from zapline.http.server.fair_places import HOLDER, Place

_READ_BYTES = 2**16
_MAX_MESSAGES = 10
"""Messages of a request that may wait for the application; then its sender waits."""
_SHUT_SECONDS = 1.0
"""Seconds for an orderly end; then the socket is closed."""


class _IdleTimer:
    """Since when a connection has had no request; hypercorn starts a task for each request instead."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None

    async def restart(self, task_group: object, action: object) -> None:
        self.since = trio.current_time()

    async def stop(self) -> None:
        self.since = None


class _MessageQueue:
    """A request's messages to the application: bounded, and without a task switch where none is needed."""

    __slots__ = ("_arrived", "_closed", "_messages", "_room", "complete")

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._arrived: trio.Event | None = None
        self._room: trio.Event | None = None
        self._closed = False
        self.complete = False
        """The whole body has come."""

    async def put(self, message: Any) -> None:
        """Wait while the application is slow; messages after ``end`` are dropped.

        ``http.disconnect`` never waits: its sender may hold a shield.
        """
        if not message.get("more_body", False):
            self.complete = True
        if message["type"] != "http.disconnect":
            while len(self._messages) >= _MAX_MESSAGES and not self._closed:
                if self._room is None:
                    self._room = trio.Event()
                await self._room.wait()
            if self._closed:
                return
        self._messages.append(message)
        if self._arrived is not None:
            self._arrived.set()

    async def get(self) -> Any:
        while not self._messages:
            self._arrived = trio.Event()
            await self._arrived.wait()
        self._arrived = None
        message = self._messages.popleft()
        if self._room is not None:
            self._room.set()
            self._room = None
        return message

    def end(self) -> None:
        """Stop reading: whoever waits in ``put`` continues."""
        self._closed = self.complete = True
        if self._room is not None:
            self._room.set()
            self._room = None


class _Protocol(H11Protocol):
    """HTTP/1.1 only: no upgrade to HTTP/2 or websockets."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            *(self.app, self.config, self.context, self.task_group, self.ssl),
            *(self.client, self.server, self.stream_send, 1),
        )
        headers, target = list(request.headers), request.target
        if not target.startswith(b"/"):
            headers, target = _origin_form(headers, target)
        await self.stream.handle(
            Request(
                stream_id=1,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1


def _origin_form(headers: list[tuple[bytes, bytes]], target: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """An absolute target (``http://host/path``) as path and ``Host``, which it overrules (RFC 9112, 3.2.2).

    Other targets are returned as they are.
    """
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return headers, target
    end = next((at for at, byte in enumerate(rest) if byte in b"/?#"), len(rest))
    authority, path = rest[:end].rpartition(b"@")[2], rest[end:].partition(b"#")[0]
    path = path if path.startswith(b"/") else b"/" + path
    if not authority:
        return headers, path
    return [(b"host", authority), *(header for header in headers if header[0].lower() != b"host")], path


class _Tasks(TaskGroup):
    """The tasks of a connection's requests, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: _MessageQueue | None = None
        self.holder: str | None = None
        """Who the request in hand comes from, once the application knows."""

    def _hold(self, holder: str) -> None:
        self.holder = holder

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        self.queue = queue = _MessageQueue()
        scope["extensions"][HOLDER] = self._hold

        async def answer() -> None:
            try:
                await _handle(app, config, scope, queue.get, send, trio.to_thread.run_sync, trio.from_thread.run)
            finally:
                queue.end()

        assert self._nursery is not None
        self._nursery.start_soon(answer)
        return queue.put


class Connection(TCPServer):
    """hypercorn's connection with fewer steps for each request.

    It has no idle task and no channel for each request, sends head and body at once, and takes no lock if the kernel
    accepts the bytes at once.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.idle_task: Any = _IdleTimer()
        self._head = b""
        self._tasks = _Tasks()
        self._busy_since: float | None = None
        self._senders = 0
        self._sending_since: float | None = None
        self._until_closed = trio.CancelScope()
        self._source = "unknown"

    async def run(self) -> None:
        """Serve until the connection is closed; hypercorn's reader could wait for ever on a closed stream."""
        plain: trio.SocketStream = cast(Any, self.stream)
        with self._until_closed:
            try:
                client = parse_socket_addr(plain.socket.family, plain.socket.getpeername())
                self._source = rate_limit_key(client[0]) if client is not None else "unix"
                server = parse_socket_addr(plain.socket.family, plain.socket.getsockname())
                async with self._tasks as tasks:
                    self._task_group = tasks
                    state = ConnectionState(self.state)
                    arguments = (self.app, self.config, self.context, tasks, state, False)
                    self.protocol = cast(Any, _Protocol(*arguments, client, server, self.protocol_send))
                    await self.protocol.initiate()
                    await self.idle_task.restart(tasks, None)
                    await self._read_data()
            except OSError:
                pass  # the peer has closed the connection
            finally:
                await self._close()

    def place(self) -> Place:
        """Whose this connection is, and since when it waits for its client."""
        queue = self._tasks.queue
        since = self.idle_task.since
        if since is None and queue is not None and not queue.complete:
            since = self._busy_since
        return Place(self._tasks.holder or self._source, since)

    def idle_for(self, now: float) -> float:
        """Seconds without a request; negative during one."""
        return now - self.idle_task.since if self.idle_task.since is not None else -1.0

    def body_incomplete_for(self, now: float) -> float:
        """Seconds since the current request's body began to arrive; 0 once it is complete."""
        queue = self._tasks.queue
        if self._busy_since is None or queue is None or queue.complete:
            return 0.0
        return now - self._busy_since

    def send_blocked_for(self, now: float) -> float:
        """Seconds that a send has waited for the client to read; 0 if none waits."""
        return now - self._sending_since if self._sending_since is not None else 0.0

    def cut(self) -> None:
        """End the connection and its request at once."""
        if self._tasks.queue is not None:
            self._tasks.queue.end()
        cast(Any, self.stream).socket.close()
        self._until_closed.cancel()

    async def shut(self) -> None:
        """End the connection and its request within a second. Cancellation is shielded meanwhile."""
        if self._tasks.queue is not None:
            self._tasks.queue.end()
        with trio.move_on_after(_SHUT_SECONDS, shield=True):
            await self._initiate_server_close()
        cast(Any, self.stream).socket.close()
        self._until_closed.cancel()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            if not self._head and event.data.startswith(b"HTTP/1.1 ") and event.data[9:10] != b"1":
                self._head = event.data  # sent with the body; an interim response (1xx) has none
            else:
                await self._write(event.data)
            return
        await self._write(b"")
        if isinstance(event, Updated):
            self._busy_since = None if event.idle else trio.current_time()
            if event.idle:
                self._tasks.holder = None
        await super().protocol_send(event)

    async def _write(self, data: bytes) -> None:
        data, self._head = self._head + data, b""
        if data and not self.send_lock.locked():
            with suppress(OSError):  # full or closed: the normal send below finds out
                data = data[os.write(cast(Any, self.stream).socket.fileno(), data) :]
        if data:
            if not self._senders:
                self._sending_since = trio.current_time()
            self._senders += 1
            try:
                await super().protocol_send(RawData(data))
            finally:
                self._senders -= 1
                self._sending_since = trio.current_time() if self._senders else None

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
