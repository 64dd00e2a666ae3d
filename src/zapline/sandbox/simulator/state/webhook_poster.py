"""Posts webhook bodies over kept connections, plain or TLS; of an answer only the status counts.

A general HTTP client costs more per webhook than all the rest of the simulated server.
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
"""Connections kept for later, each host."""

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_Address = tuple[str, str, int]


class Poster:
    """Connections are used by one request at a time; ``aclose`` ends those that are idle."""

    def __init__(self) -> None:
        self._idle: dict[_Address, list[_Stream]] = {}
        self._context: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int | None:
        """The status, or None where the URL is none or no whole answer came. Has no deadline of its own."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        try:
            address = (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            stream = self._kept(address) or await self._open(address)
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

    def _kept(self, address: _Address) -> _Stream | None:
        """An idle connection that the other side has not closed meanwhile."""
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
        plain = await trio.open_tcp_stream(host, port)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "http":
            return plain
        try:
            self._context = self._context or ssl.create_default_context()
            secured = trio.SSLStream(plain, self._context, server_hostname=host, https_compatible=True)
            await secured.do_handshake()
        except BaseException:
            plain.socket.close()
            raise
        return secured


def _socket(stream: _Stream) -> trio.socket.SocketType:
    return stream.socket if isinstance(stream, trio.SocketStream) else stream.transport_stream.socket


async def _exchange(
    stream: _Stream, host: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, bool]:
    """Status, and whether the connection may be used again. Raises ``ValueError`` for an answer that is none."""
    named = {"Host": host, **headers, "Content-Length": str(len(body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    await stream.send_all("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body)
    told = b""
    while True:
        head, ended, rest = told.partition(b"\r\n\r\n")
        if ended and head[9:10] != b"1":
            break
        told = rest if ended else told + await _more(stream)
        if len(told) > HEAD_LIMIT:
            raise ValueError("a head without an end")
    status, length, keeps = _read_head(head)
    while length is not None and len(rest) < length:
        rest += await _more(stream)
    return status, keeps and length is not None and len(rest) == length


def _read_head(head: bytes) -> tuple[int, int | None, bool]:
    """Status, length where it is told, and whether the other side keeps the connection."""
    first, *lines = head.lower().split(b"\r\n")
    length, keeps = None, first.startswith(b"http/1.1")
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding" or (name == b"connection" and b"close" in value):
            keeps = False  # closing ends a body of unknown length as well
    return int(first.split(maxsplit=2)[1]), length, keeps


async def _more(stream: _Stream) -> bytes:
    chunk = await stream.receive_some(_CHUNK)
    if not chunk:
        raise ValueError("closed in the middle of an answer")
    return bytes(chunk)
