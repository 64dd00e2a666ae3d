"""Serves HTTP/1.1 over trio sockets for the simulated Evolution server, including resets and missing responses.

It uses h11 alone, because the faults need the socket: to reset a connection, or to close it without a response.
"""

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import cast
from urllib.parse import parse_qsl

import h11
import trio

BODY_LIMIT = 136 * 1024 * 1024  # as Evolution's own (contract, section 1)
HEAD_LIMIT = 64 * 1024
IDLE_SECONDS = 65.0  # for a whole request to arrive; longer than the keep-alive of the clients
CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """As sent: percent-encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Disconnect(Enum):
    """How a connection ends in place of a response."""

    RESET = "reset"
    CLOSE = "close"
    HANG = "hang"
    """Send nothing until the client disconnects."""


@dataclass(frozen=True, slots=True)
class AfterDisconnect:
    """Send nothing until the client disconnects, then call ``action``."""

    action: Callable[[], object]


Outcome = Response | Disconnect | AfterDisconnect
Handler = Callable[[Request], Awaitable[Outcome]]


async def serve_connection(handler: Handler, stream: trio.SocketStream) -> None:
    """Serve requests on one connection until either side ends it. Cancellation closes it at once."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    peer = _peer(stream)
    try:
        while True:
            request = None
            with trio.move_on_after(IDLE_SECONDS):
                request = await _read_request(connection, stream, peer)
            if request is None:
                return
            response = await _handle(handler, request, stream)
            if response is None:
                return
            await _send(connection, stream, response)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, ConnectionError):
        return
    finally:
        await trio.aclose_forcefully(stream)


def _peer(stream: trio.SocketStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""  # disconnected already


async def _handle(handler: Handler, request: Request, stream: trio.SocketStream) -> Response | None:
    """Return the response, or None where the handler wants the connection to end without one."""
    if len(request.body) > BODY_LIMIT:
        return Response(413, b'{"status":413,"error":"Payload Too Large"}')
    result = await handler(request)
    if isinstance(result, Response):
        return result
    if isinstance(result, AfterDisconnect):
        await _wait_for_disconnect(stream)
        result.action()
    elif result is Disconnect.HANG:
        await _wait_for_disconnect(stream)
    elif result is Disconnect.RESET:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return None


async def _wait_for_disconnect(stream: trio.SocketStream) -> None:
    """Wait until the client closes or resets the connection."""
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some(CHUNK):
            pass


async def _read_request(connection: h11.Connection, stream: trio.SocketStream, peer: str) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                interim = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                await stream.send_all(connection.send(interim) or b"")
            connection.receive_data(await stream.receive_some(CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            if len(body) <= BODY_LIMIT:
                body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            path, _, query = head.target.decode("latin-1").partition("?")
            return Request(
                method=head.method.decode("ascii"),
                path=path,
                query=dict(parse_qsl(query)),
                headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
                body=bytes(body),
                peer=peer,
            )
        else:
            return None


async def _send(connection: h11.Connection, stream: trio.SocketStream, response: Response) -> None:
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        *response.headers,
    ]
    head = h11.Response(status_code=response.status, headers=headers, reason=b"")
    events = (head, h11.Data(data=response.body), h11.EndOfMessage())
    await stream.send_all(b"".join(connection.send(event) or b"" for event in events))


class Listener:
    """The listening socket; it can be taken down, which refuses connections, and brought up again on the same port.

    With ``or_any`` a port that is taken at the start is replaced by any free one.
    """

    def __init__(self, port: int | None, *, or_any: bool = False) -> None:
        self.port = port or 0
        self._or_any = or_any
        self._change = trio.Event()
        self._down = False

    def take_down(self) -> None:
        """Stop listening and break all connections, as when the server is down."""
        self._set_down(True)

    def bring_up(self) -> None:
        self._set_down(False)

    def _set_down(self, down: bool) -> None:
        if self._down is not down:
            self._down = down
            self._change.set()
            self._change = trio.Event()

    async def serve(self, handler: Handler, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; reports the port as started once it listens."""
        started = False
        while True:
            change = self._change
            if self._down:
                await change.wait()
                continue
            try:
                listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1", backlog=1024)
            except OSError:
                if started or not self._or_any or not self.port:
                    raise
                self.port = 0
                continue
            self.port = cast(int, listeners[0].socket.getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, partial(serve_connection, handler), listeners)
                if not started:
                    started = True
                    task_status.started(self.port)
                await change.wait()
                nursery.cancel_scope.cancel()
