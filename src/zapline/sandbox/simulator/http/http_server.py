"""Performs HTTP/1.1 over trio sockets for the simulated Evolution server, down to resets and cut answers.

h11 alone, because the faults need the socket: a connection that is reset, or closed where an answer was due.
"""

import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
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
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Cut(Enum):
    """What happens to a connection in place of an answer."""

    RESET = "reset"
    CLOSE = "close"
    HANG = "hang"
    """Say nothing until the client goes away."""


@dataclass(frozen=True, slots=True)
class AfterCut:
    """Say nothing until the client goes away, then do this."""

    act: Callable[[], object]


Outcome = Answer | Cut | AfterCut
Handler = Callable[[Request], Awaitable[Outcome]]


async def serve_connection(handler: Handler, stream: trio.SocketStream) -> None:
    """Answer requests on one connection until either side ends it. Cancellation closes it at once."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    peer = _peer(stream)
    try:
        while True:
            request = None
            with trio.move_on_after(IDLE_SECONDS):
                request = await _read_request(connection, stream, peer)
            if request is None:
                return
            outcome = await _outcome(handler, request, stream)
            if outcome is None:
                return
            await _send(connection, stream, outcome)
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
        return ""  # gone already


async def _outcome(handler: Handler, request: Request, stream: trio.SocketStream) -> Answer | None:
    """The answer, or None after the connection was cut as asked."""
    if len(request.body) > BODY_LIMIT:
        return Answer(413, b'{"status":413,"error":"Payload Too Large"}')
    outcome = await handler(request)
    if isinstance(outcome, Answer):
        return outcome
    if isinstance(outcome, AfterCut):
        await _gone(stream)
        outcome.act()
    elif outcome is Cut.HANG:
        await _gone(stream)
    elif outcome is Cut.RESET:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return None


async def _gone(stream: trio.SocketStream) -> None:
    """Wait until the client closes or resets."""
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
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                await stream.send_all(connection.send(go_on) or b"")
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


async def _send(connection: h11.Connection, stream: trio.SocketStream, answer: Answer) -> None:
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
        *answer.headers,
    ]
    response = h11.Response(status_code=answer.status, headers=headers, reason=b"")
    sent = [connection.send(response), connection.send(h11.Data(data=answer.body))]
    sent.append(connection.send(h11.EndOfMessage()))
    await stream.send_all(b"".join(part for part in sent if part))


class Door:
    """The listening socket, which can be shut (connections are then refused) and opened again on its port."""

    def __init__(self, port: int | None) -> None:
        self.port = port or 0
        self._change = trio.Event()
        self._shut = False

    def shut(self) -> None:
        """Stop listening and break all connections: to the outside the server is down."""
        self._turn(True)

    def open(self) -> None:
        self._turn(False)

    def _turn(self, shut: bool) -> None:
        if self._shut is not shut:
            self._shut = shut
            self._change.set()
            self._change = trio.Event()

    async def serve(self, handler: Handler, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started with the port once it listens."""
        started = False
        while True:
            change = self._change
            if self._shut:
                await change.wait()
                continue
            listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1", backlog=1024)
            self.port = cast(int, listeners[0].socket.getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, _bound(handler), listeners)
                if not started:
                    started = True
                    task_status.started(self.port)
                await change.wait()
                nursery.cancel_scope.cancel()


def _bound(handler: Handler) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def connection(stream: trio.SocketStream) -> None:
        await serve_connection(handler, stream)

    return connection
