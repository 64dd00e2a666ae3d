"""One HTTP/1.1 connection: it answers a direct application's requests itself, and gives all others to hypercorn."""

import os
from contextlib import suppress
from typing import Any, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from zapline.http.server.client_address import rate_limit_key
from zapline.http.server.fair_places import HOLDER, Place
from zapline.http.server.hypercorn_parts import IdleTimer, Protocol, Tasks
from zapline.http.server.plain_requests import (
    CUT_SHORT,
    FAILED,
    Answer,
    AnswerWriter,
    DirectApp,
    PlainHead,
    PlainRequests,
)

_READ_BYTES = 2**16
_SHUT_SECONDS = 1.0
"""Seconds for an orderly end; then the socket is closed."""
_NO_MORE = {"type": "http.request", "body": b"", "more_body": False}
_DISCONNECT = {"type": "http.disconnect"}


class Server:
    """What all connections of a server share."""

    def __init__(self, app: Any, asgi: AppWrapper, config: Config, context: WorkerContext) -> None:
        """``asgi`` is ``app``, wrapped for hypercorn."""
        self.asgi, self.config, self.context = asgi, config, context
        self.writer = AnswerWriter(config)
        self.direct = app if isinstance(app, DirectApp) else None
        self.plain = (
            PlainRequests(self.direct.direct_prefix, config.h11_max_incomplete_size)
            if self.direct is not None
            else None
        )


class _NoProtocol:
    """Stands in for hypercorn's protocol until a request needs it."""

    async def handle(self, event: Event) -> None:
        pass


class Connection(TCPServer):
    """hypercorn's connection; requests of a direct application never reach hypercorn.

    A request that is plain, and comes whole or with the beginning of its body, is answered in the task of the
    connection. For all others there is hypercorn's protocol on h11, without an idle task and a channel for each
    request; it sends head and body at once, and takes no lock if the kernel accepts the bytes at once. The two take
    turns: bytes go to whoever has begun with a request, until that is answered.
    """

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        super().__init__(server.asgi, server.config, server.context, LifespanState(), cast(Any, stream))
        self.idle_task: Any = IdleTimer()
        self.protocol = cast(Any, _NoProtocol())
        self._server = server
        self._socket = stream.socket
        self._head = b""
        self._tasks = Tasks()
        self._busy_since: float | None = None
        self._senders = 0
        self._sending_since: float | None = None
        self._until_closed = trio.CancelScope()
        self._client: tuple[str, int] | None = None
        self._source = "unknown"
        self._served = 0
        self._unread = b""
        self._chunk: bytes | None = None
        self._body_left = 0
        self._awaits_body = False

    async def run(self) -> None:
        """Serve until the connection is closed; hypercorn's reader could wait for ever on a closed stream."""
        with self._until_closed:
            try:
                self._client = client = parse_socket_addr(self._socket.family, self._socket.getpeername())
                self._source = rate_limit_key(client[0]) if client is not None else "unix"
                await self.idle_task.restart(None, None)
                data = await self._answer_directly(await self._read())
                if data:
                    await self._serve_by_hypercorn(data)
            except OSError:
                pass  # the peer has closed the connection
            finally:
                await self._close()

    # -- hypercorn's requests ------------------------------------------------------------------------------

    async def _serve_by_hypercorn(self, data: bytes) -> None:
        server = parse_socket_addr(self._socket.family, self._socket.getsockname())
        async with self._tasks as tasks:
            self._task_group = tasks
            arguments = (self.app, self.config, self.context, tasks, ConnectionState(self.state), False)
            protocol = Protocol(*arguments, self._client, server, self.protocol_send)
            self.protocol = cast(Any, protocol)
            while data:
                protocol.keep_alive_requests = self._served
                await protocol.handle(RawData(data))
                self._served = protocol.keep_alive_requests
                data = await self._read()  # also during a request: its sender may leave
                if _rests(protocol):
                    data = await self._answer_directly(data)
            await protocol.handle(RawData(b""))
            await protocol.handle(Closed())

    # -- direct requests -----------------------------------------------------------------------------------

    async def _answer_directly(self, data: bytes) -> bytes:
        """Answer plain requests; returns the first bytes of another one, or none if the connection has ended."""
        plain = self._server.plain
        while plain is not None and data:
            head = plain.head(data)
            if head is None:
                return data
            if not await self._answer(head, data):
                return b""
            if self._unread:
                await trio.lowlevel.checkpoint()  # whoever sends many at once waits his turn
            data = self._unread or await self._read()
        return data

    async def _answer(self, head: PlainHead, data: bytes) -> bool:
        """Answer one request; False: it was the connection's last."""
        body_ends = head.ends + head.length
        self._unread = data[body_ends:]
        self._body_left = max(0, body_ends - len(data))
        self._busy_since, self.idle_task.since = trio.current_time(), None
        self._served += 1
        self._chunk = data[head.ends : body_ends]
        direct = self._server.direct
        assert direct is not None
        extensions = {HOLDER: self._hold}
        scope = {"path": head.path, "headers": head.headers, "client": self._client, "extensions": extensions}
        answer: Answer | None
        try:
            answer = await direct.answer(scope, self._receive)
        except Exception:  # noqa: BLE001 - hypercorn does the same
            await self.config.log.exception("Error in ASGI Framework")
            answer = FAILED
        answer = CUT_SHORT if answer is None else answer
        last = self._served >= self.config.keep_alive_max_requests
        await self._write(self._server.writer.write(answer, head.close, last))
        failed = answer is FAILED or answer is CUT_SHORT
        if head.close or last or failed or self._body_left or self.context.terminated.is_set():
            return False
        self._busy_since, self.idle_task.since = None, trio.current_time()
        self._tasks.holder = None
        return True

    async def _receive(self) -> dict[str, Any]:
        """ASGI's ``receive`` for the request in hand."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            if not self._body_left:
                return _NO_MORE
            chunk = await self._read_body()
            if not chunk:
                return _DISCONNECT
        return {"type": "http.request", "body": chunk, "more_body": self._body_left > 0}

    def _hold(self, holder: str) -> None:
        self._tasks.holder = holder

    async def _read_body(self) -> bytes:
        """The next part of a body; none if the connection has ended."""
        self._awaits_body = True
        data = await self._read()
        self._awaits_body = False
        chunk, self._unread = data[: self._body_left], data[self._body_left :]
        self._body_left -= len(chunk)
        return chunk

    # -- what the server asks ------------------------------------------------------------------------------

    def place(self) -> Place:
        """Whose this connection is, and since when it waits for its client."""
        since = self.idle_task.since
        if since is None and self._waits_for_body():
            since = self._busy_since
        return Place(self._tasks.holder or self._source, since)

    def _waits_for_body(self) -> bool:
        queue = self._tasks.queue
        return self._awaits_body or (queue is not None and not queue.complete)

    def idle_for(self, now: float) -> float:
        """Seconds without a request; negative during one."""
        return now - self.idle_task.since if self.idle_task.since is not None else -1.0

    def body_incomplete_for(self, now: float) -> float:
        """Seconds since the current request's body began to arrive; 0 once it is complete."""
        if self._busy_since is None or not self._waits_for_body():
            return 0.0
        return now - self._busy_since

    def send_blocked_for(self, now: float) -> float:
        """Seconds that a send has waited for the client to read; 0 if none waits."""
        return now - self._sending_since if self._sending_since is not None else 0.0

    def cut(self) -> None:
        """End the connection and its request at once."""
        if self._tasks.queue is not None:
            self._tasks.queue.end()
        self._socket.close()
        self._until_closed.cancel()

    async def shut(self) -> None:
        """End the connection and its request within a second. Cancellation is shielded meanwhile."""
        if self._tasks.queue is not None:
            self._tasks.queue.end()
        with trio.move_on_after(_SHUT_SECONDS, shield=True):
            await self._initiate_server_close()
        self._socket.close()
        self._until_closed.cancel()

    # -- the socket ----------------------------------------------------------------------------------------

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
                data = data[os.write(self._socket.fileno(), data) :]
        if data:
            if not self._senders:
                self._sending_since = trio.current_time()
            self._senders += 1
            try:
                await super().protocol_send(RawData(data))
            finally:
                self._senders -= 1
                self._sending_since = trio.current_time() if self._senders else None

    async def _read(self) -> bytes:
        """What has arrived; nothing if the connection has ended."""
        while self._socket.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                return os.read(self._socket.fileno(), _READ_BYTES)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                break
        return b""

    async def _close(self) -> None:
        await super()._close()
        self._until_closed.cancel()

    async def _initiate_server_close(self) -> None:
        await super()._initiate_server_close()
        self._until_closed.cancel()


def _rests(protocol: Protocol) -> bool:
    """Whether hypercorn has answered all requests, and has no byte of a further one."""
    connection = cast(h11.Connection, protocol.connection)
    return connection.our_state is connection.their_state is h11.IDLE and not connection.trailing_data[0]
