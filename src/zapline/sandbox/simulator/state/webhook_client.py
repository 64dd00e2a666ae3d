"""Posts webhook bodies over keep-alive connections, plain or TLS, and reads the status of the response.

A general HTTP client takes more CPU time per webhook than the rest of the simulated server.
"""

import select
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import trio

_CHUNK = 64 * 1024
HEAD_LIMIT = 64 * 1024
IDLE_LIMIT = 50
"""Idle connections kept for each host."""

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_Address = tuple[str, str, int]


class WebhookClient:
    """A connection serves one request at a time; ``close`` ends the idle ones."""

    def __init__(self) -> None:
        self._idle: dict[_Address, list[_Stream]] = {}
        self._context: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int | None:
        """Return the HTTP status, or None for an invalid URL or an incomplete response. It sets no deadline."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        try:
            address = (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            stream = self._take_idle(address) or await self._open(address)
        except (OSError, ValueError, trio.BrokenResourceError):
            return None
        reusable = False
        try:
            status, reusable = await _exchange(stream, parts.netloc.rpartition("@")[2], target, headers, body)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ValueError, IndexError):
            return None
        finally:
            if reusable and len(self._idle.setdefault(address, [])) < IDLE_LIMIT:
                self._idle[address].append(stream)
            else:
                _socket(stream).close()
        return status

    def close(self) -> None:
        for streams in self._idle.values():
            for stream in streams:
                _socket(stream).close()
        self._idle.clear()

    def _take_idle(self, address: _Address) -> _Stream | None:
        """Return an idle connection that the server has not closed."""
        streams = self._idle.get(address, [])
        while streams:
            stream = streams.pop()
            poll = select.poll()
            poll.register(_socket(stream).fileno(), select.POLLIN)
            if not poll.poll(0):
                return stream
            _socket(stream).close()
        return None

    async def _open(self, address: _Address) -> _Stream:
        scheme, host, port = address
        tcp = await trio.open_tcp_stream(host, port)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "http":
            return tcp
        try:
            self._context = self._context or ssl.create_default_context()
            tls = trio.SSLStream(tcp, self._context, server_hostname=host, https_compatible=True)
            await tls.do_handshake()
        except BaseException:
            tcp.socket.close()
            raise
        return tls


def _socket(stream: _Stream) -> trio.socket.SocketType:
    return stream.socket if isinstance(stream, trio.SocketStream) else stream.transport_stream.socket


async def _exchange(
    stream: _Stream, host: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bool]:
    """Return the status, and whether the connection is reusable. Raises ``ValueError`` for an invalid response."""
    all_headers = {"Host": host, **headers, "Content-Length": str(len(body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    await stream.send_all("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body)
    received = b""
    while True:
        head, separator, rest = received.partition(b"\r\n\r\n")
        if separator and head[9:10] != b"1":
            break
        received = rest if separator else received + await _receive(stream)
        if len(received) > HEAD_LIMIT:
            raise ValueError("a response head without an end")
    status, length, keep_alive = _parse_head(head)
    while length is not None and len(rest) < length:
        rest += await _receive(stream)
    return status, keep_alive and length is not None and len(rest) == length


def _parse_head(head: bytes) -> tuple[int, int | None, bool]:
    """Return the status, the content length if there is one, and whether the server keeps the connection."""
    first, *lines = head.lower().split(b"\r\n")
    length, keep_alive = None, first.startswith(b"http/1.1")
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding" or (name == b"connection" and b"close" in value):
            keep_alive = False  # a body of unknown length ends with the connection
    return int(first.split(maxsplit=2)[1]), length, keep_alive


async def _receive(stream: _Stream) -> bytes:
    chunk = await stream.receive_some(_CHUNK)
    if not chunk:
        raise ValueError("closed in the middle of a response")
    return bytes(chunk)
