"""The parts of hypercorn that a connection replaces: with fewer objects and task switches for each request."""

from collections import deque
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup, _handle

from zapline.http.server.fair_places import HOLDER

_MAX_MESSAGES = 10
"""Messages of a request that may wait for the application; then its sender waits."""


class IdleTimer:
    """Since when a connection has had no request; hypercorn starts a task for each request instead."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None

    async def restart(self, task_group: object, action: object) -> None:
        self.since = trio.current_time()

    async def stop(self) -> None:
        self.since = None


class MessageQueue:
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


class Protocol(H11Protocol):
    """HTTP/1.1 only: no upgrade to HTTP/2 or websockets."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
            # h11 would go by the latter; whoever stands before us may have gone by the former (RFC 9112, 6.3).
            await self._send_error_response(400)
            await self.send(Closed())
            return
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


class Tasks(TaskGroup):
    """The tasks of a connection's requests, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: MessageQueue | None = None
        self.holder: str | None = None
        """Who the request in hand comes from, once the application knows."""

    def _hold(self, holder: str) -> None:
        self.holder = holder

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        self.queue = queue = MessageQueue()
        scope["extensions"][HOLDER] = self._hold

        async def answer() -> None:
            try:
                await _handle(app, config, scope, queue.get, send, trio.to_thread.run_sync, trio.from_thread.run)
            finally:
                queue.end()

        assert self._nursery is not None
        self._nursery.start_soon(answer)
        return queue.put
