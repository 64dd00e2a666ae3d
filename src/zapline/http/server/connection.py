"""One HTTP/1.1 connection on hypercorn's protocols, with fewer objects and task switches a request."""

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

_READ_BYTES = 2**16
_INBOX = 10
"""Messages of a request that may wait for the application; then its sender waits."""
_SHUT_WITHIN = 1.0
"""Seconds to tell the application of the end in order; then the socket is closed over its head."""


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
        """Wait while the application is slow; what nobody will read any more is let go.

        The news that the client is gone never waits: who brings it may hold a shield.
        """
        if not message.get("more_body", False):
            self.complete = True
        if message["type"] != "http.disconnect":
            while len(self._messages) >= _INBOX and not self._over:
                if self._room is None:
                    self._room = trio.Event()
                await self._room.wait()
            if self._over:
                return
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
        """Nobody reads any more: whoever waits for room goes on."""
        self._over = self.complete = True
        if self._room is not None:
            self._room.set()
            self._room = None


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
        self._senders = 0
        self._sending_since: float | None = None
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

    def unread_for(self, now: float) -> float:
        """Seconds for which a send has been waiting for the client to read; 0 while none waits."""
        return now - self._sending_since if self._sending_since is not None else 0.0

    async def shut(self) -> None:
        """End the connection and its request within a second, whatever they are at. Not cancelled in between."""
        if self._tasks.inbox is not None:
            self._tasks.inbox.end()
        with trio.move_on_after(_SHUT_WITHIN, shield=True):
            await self._initiate_server_close()
        cast(Any, self.stream).socket.close()
        self._until_closed.cancel()

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
