"""Recognises requests that a direct application answers without hypercorn, and writes its answers.

Only what h11 would have read in the same way is taken: a POST with one ``Content-Length`` and a head that is whole, in
canonical spelling. All else (chunked bodies, ``Expect``, folded or doubled headers, bare line feeds) is left to h11, so
that no two parsers can disagree where a request ends.
"""

import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import unquote

from hypercorn.config import Config

from zapline.http.server.asgi import Receive, Scope

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A whole answer, but for the headers that all have. Compared by identity: an application has a few."""

    status: int
    headers: Headers
    body: bytes = b""


_CLOSE = (b"connection", b"close")
FAILED = Answer(500, ((b"content-length", b"0"), _CLOSE))
"""What a client gets whose request ended in an unforeseen error; its connection ends."""
CUT_SHORT = Answer(400, FAILED.headers)
"""What a client gets that sends no more, but has not sent its whole body; its connection ends."""


@runtime_checkable
class DirectApp(Protocol):
    """An ASGI application that answers each POST below one path in one piece, also without ASGI's ``send``.

    The answers of both ways must be the same.
    """

    direct_prefix: str
    """As ``/webhooks/``, in letters that need no quoting."""

    async def answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """Answer a request; None if its sender has disconnected.

        ``scope`` has ASGI's ``path``, ``headers``, ``client`` and ``extensions``.
        """
        ...


@dataclass(slots=True)
class PlainHead:
    """The head of a request. Mutable without need, because that is faster to make."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    """Names in lower case."""
    length: int
    """Bytes of the body."""
    ends: int
    """Bytes of the head."""
    close: bool
    """The connection ends with the answer."""

    @property
    def path(self) -> str:
        path = self.target.partition(b"?")[0].decode("ascii")
        return unquote(path) if "%" in path else path


_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++"
_FIELD = re.compile(rb"\r\n([^:]++):[\t ]*+([^\r]*+)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_FOR_H11 = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_MAX_SLASHES = 8
_MOST_WRITTEN = 64
"""Answers kept as they were written."""


class PlainRequests:
    """Recognises the requests of a direct application. ``max_head``: bytes of the largest head."""

    def __init__(self, prefix: str, max_head: int) -> None:
        below = re.escape(prefix.encode("ascii"))
        self._head = re.compile(
            rb"POST (/{0,%d}%b[!-~]*+) HTTP/1\.([01])((?:\r\n%b:[\t -~\x80-\xff]*+)++)\r\n\r\n"
            % (_MAX_SLASHES, below, _TOKEN)
        )
        self._max_head = max_head

    def head(self, data: bytes) -> PlainHead | None:
        """The head that ``data`` begins with; None: h11 is to read this."""
        found = self._head.match(data, 0, self._max_head)
        if found is None:
            return None
        target, minor, fields = found.groups()
        headers = [(name.lower(), value.rstrip(b"\t ")) for name, value in _FIELD.findall(fields)]
        length, hosts, close = None, 0, minor == b"0"
        for name, value in headers:
            if name == b"content-length":
                if length is not None or _LENGTH.fullmatch(value) is None:
                    return None
                length = int(value)
            elif name == b"host":
                hosts += 1
            elif name == b"connection":
                close = close or b"close" in [token.strip() for token in value.lower().split(b",")]
            elif name in _FOR_H11:
                return None
        if length is None or hosts != 1:
            return None
        return PlainHead(target, headers, length, found.end(), close)


class AnswerWriter:
    """Writes answers as h11 does, from the headers that hypercorn's configuration gives to all."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._common: list[tuple[bytes, bytes]] = []
        self._written: dict[tuple[Answer, bool, bool], bytes] = {}

    def write(self, answer: Answer, close: bool, last: bool) -> bytes:
        """Head and body; what was written is kept for as long as its date is right.

        ``close``: the client has said that the connection ends; ``last``: it is the last that we serve on it.
        """
        common = self._config.response_headers("h11")
        if common is not self._common or len(self._written) >= _MOST_WRITTEN:
            self._common, self._written = common, {}
        written = self._written.get((answer, close, last))
        if written is None:
            headers = [*answer.headers, *common, *([_CLOSE] if last else [])]
            if close:
                headers = [*(header for header in headers if header != _CLOSE), (b"Connection", b"close")]
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            written = b"HTTP/1.1 %d \r\n%b\r\n%b" % (answer.status, lines, answer.body)
            self._written[answer, close, last] = written
        return written
