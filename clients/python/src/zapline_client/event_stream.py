"""Reads server-sent events from bytes, and decides where to go on after a break; does no input or output itself."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from zapline_client.errors import StreamTooLarge
from zapline_client.retries import Patience, media_type, not_by_zapline, problem_of

MAX_EVENT = 4 * 2**20
"""Characters of one event; Zapline's largest is a message of some ten thousand."""
SILENCE_SECONDS = 45.0
"""Zapline says something at least every fifteen seconds."""
_PATIENCE = Patience(first=1.0, longest=30.0)
BROKEN = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ProxyError)
"""Errors of the network, after which the stream is asked for again; what this program does wrong is none of them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: ``hello`` after each connection, then ``message``, ``delivery``, ``status`` and the others.

    ``reset`` says that some were missed: read again what you show. ``id`` is what a later stream resumes behind.
    """

    id: str
    kind: str
    data: Any


class EventParser:
    """The format of the HTML standard: lines end by CR, LF or both, and arrive cut anywhere."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_seconds: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text, self._after_turn = "", False
        self._kind, self._id = "", last_id
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that these bytes complete. Raises StreamTooLarge."""
        text = self._decoder.decode(chunk)
        if text and self._after_turn:
            text = text.removeprefix("\n")  # the second half of a line's end
            self._after_turn = False
        self._after_turn |= text.endswith("\r")
        self._text += text
        start = 0
        while (end := _line_end(self._text, start)) is not None:
            event = self._line(self._text[start : end[0]])
            start = end[1]
            if event is not None:
                yield event
        self._text = self._text[start:]
        if self._size + len(self._text) > MAX_EVENT:
            raise StreamTooLarge("an event of the stream is too large")

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry_seconds = min(int(value[:9]) / 1000, 60.0)
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        kind, data = self._kind or "message", "\n".join(self._data)
        had_data = bool(self._data)
        self._kind, self._data, self._size = "", [], 0
        if not had_data:
            return None
        try:
            value: Any = json.loads(data)
        except ValueError:
            value = data
        return Event(self.last_id, kind, value)


def _line_end(text: str, start: int) -> tuple[int, int] | None:
    """Where the next line ends and the one after it begins; None where that is not known yet."""
    feed, turn = text.find("\n", start), text.find("\r", start)
    if turn >= 0 and (feed < 0 or turn < feed):
        return turn, turn + 2 if text.startswith("\n", turn + 1) else turn + 1
    return (feed, feed + 1) if feed >= 0 else None


class Resumption:
    """Where a stream goes on after it has ended or failed, and after how long."""

    def __init__(self, last_id: str, route: str = "/events") -> None:
        self.last_id = last_id
        self._call = f"GET {route}"
        self._told_wait = 1.0
        self._failures = 0

    def headers(self) -> dict[str, str]:
        """Those of the next request."""
        resume = {"last-event-id": self.last_id} if self.last_id else {}
        return {"accept": "text/event-stream", "cache-control": "no-store", **resume}

    def parser(self) -> EventParser:
        """Reads a stream that has just begun."""
        return EventParser(self.last_id)

    def note(self, parser: EventParser) -> None:
        """Remember how far it was read, and that it works."""
        self.last_id, self._failures = parser.last_id, 0
        if parser.retry_seconds is not None:
            self._told_wait = parser.retry_seconds

    def is_stream(self, response: httpx2.Response) -> bool:
        """Whether the body is the stream. Raises Unanswered for a page in its place."""
        if not response.is_success:
            return False
        if response.status_code != 200 or media_type(response) != "text/event-stream":
            raise not_by_zapline(self._call, response, repeatable=True)
        return True

    def refused(self, response: httpx2.Response) -> float:
        """Seconds until the next try after an answer that is no stream; its body has been read.

        Raises ZaplineProblem where asking again will not help: a wrong token, another's unit; Unanswered where it is
        not Zapline that refuses.
        """
        problem = problem_of(response)
        if problem is not None and not problem.retryable and problem.status < 500:
            raise problem
        if problem is None and response.status_code < 500:
            raise not_by_zapline(self._call, response, repeatable=True)
        return max(self.broken(0.0), (problem.retry_after if problem is not None else None) or 0.0)

    def broken(self, spread: float) -> float:
        """Seconds until the next try after the connection has failed or ended."""
        self._failures += 1
        if self._failures == 1:
            return self._told_wait * (1 - spread / 2)
        return max(self._told_wait, _PATIENCE.pause(self._failures, spread))
