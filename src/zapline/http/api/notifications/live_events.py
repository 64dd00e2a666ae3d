"""Live events of a unit, as server-sent events: each stream holds a place in the feed, and little else."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from uuid import UUID

import msgspec
import trio
from quart import Response, request

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.supervisors.notifications.event_payloads import Hello, hello
from zapline.supervisors.notifications.live_feed import Event, Feed, Watcher
from zapline.supervisors.units.unit_commands import Submit, UnknownUnit

HEARTBEAT = 15.0
"""Seconds after which a comment is sent where nothing happens: proxies end what is silent for a minute."""
RETRY_MS = 3000
"""What a client is told to wait before it comes again."""
ASK_AGAIN = 30.0
"""Seconds after which it is asked anew whether whoever looks on still may."""
GATHER = 0.1
"""Seconds between two writes to one client: what happens meanwhile goes out together."""
MOST_OF_UNIT, MOST = 64, 2000
"""Streams of one unit, and of all units."""
_LONGEST_ID = 64

Welcome = Callable[[], Awaitable[bool]]
"""Whether whoever opened a stream still may look on."""


class Streams:
    """The open streams, counted; who comes when there are too many is told to come later.

    ``ended`` counts how often somebody may have been shut out: then all are asked anew before they see more.
    """

    def __init__(
        self,
        feed: Feed,
        most_of_unit: int = MOST_OF_UNIT,
        most: int = MOST,
        ended: Callable[[], int] = lambda: 0,
    ) -> None:
        self._feed = feed
        self._ended = ended
        self._most_of_unit, self._most = most_of_unit, most
        self._open: dict[UnitId | None, int] = {}
        self.count = 0

    def response(self, unit: UnitId | None, greet: Callable[[], object], welcome: Welcome) -> Response:
        """The events of a unit, or of all (None), as the answer to the present request.

        ``greet`` makes the data of the first event, ``hello``. Raises Problem where there are too many streams already.
        """
        if self.count >= self._most:
            raise Problem(
                503, "too_many_streams_in_all", "too many clients look on just now", retryable=True, retry_after=10
            )
        if self._open.get(unit, 0) >= self._most_of_unit:
            said = f"there are {self._most_of_unit} streams of this unit already; close some"
            raise Problem(429, "too_many_streams", said, retryable=True, retry_after=10)
        last_id = request.headers.get("Last-Event-ID") or request.args.get("lastEventId") or None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        kind = "text/event-stream; charset=utf-8"
        if request.method == "HEAD":  # has no body to wait for, and would wait for its end for ever
            return Response(b"", headers=headers, content_type=kind)
        body = self._stream(unit, last_id[:_LONGEST_ID] if last_id else None, greet, welcome)
        made = Response(body, headers=headers, content_type=kind)
        made.timeout = None
        return made

    async def _stream(
        self, unit: UnitId | None, last_id: str | None, greet: Callable[[], object], welcome: Welcome
    ) -> AsyncIterator[bytes]:
        with self._counted(unit), self._feed.watch(unit, last_id) as watcher:
            yield b"retry: %d\n\n" % RETRY_MS + _line(watcher.last_id, "hello", msgspec.json.encode(greet()))
            async with aclosing(self._chunks(watcher, welcome)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _chunks(self, watcher: Watcher, welcome: Welcome) -> AsyncGenerator[bytes, None]:
        ask_at, ended = trio.current_time() + ASK_AGAIN, self._ended()
        while True:
            await watcher.wait(HEARTBEAT)
            if self._feed.ended:
                return
            if trio.current_time() >= ask_at or self._ended() != ended:
                ended = self._ended()
                if not await _still(welcome):
                    return
                ask_at = trio.current_time() + ASK_AGAIN
            events = watcher.take()
            yield b"".join(map(_encoded, events)) if events else b": \n\n"
            await trio.sleep(GATHER)

    @contextmanager
    def _counted(self, unit: UnitId | None) -> Iterator[None]:
        self._open[unit] = self._open.get(unit, 0) + 1
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self._open[unit] -= 1
            if not self._open[unit]:
                del self._open[unit]


class Events:
    """``/units/{id}/events``."""

    def __init__(self, submit: Submit, streams: Streams, recognised: Callable[[], Welcome]) -> None:
        self._submit = submit
        self._streams = streams
        self._recognised = recognised
        """Makes of the present request what tells later whether its caller is still welcome."""

    def attach(self, routes: Routes) -> None:
        routes.add("GET", "/units/<uuid:unit>/events", "watch_unit", self.watch, Access.READ, _DOC)

    async def watch(self, unit: UUID) -> Response:
        return watch_unit(self._streams, self._submit, UnitId(unit), self._recognised())


def watch_unit(streams: Streams, submit: Submit, unit: UnitId, welcome: Welcome) -> Response:
    """The events of one unit, for whoever may see it. Raises UnknownUnit, Problem."""
    submit.find(unit)

    def greet() -> Hello:
        found = submit.find(unit)
        stored = found.state.stored if found.state is not None else None
        return hello(unit, stored, found.quarantined_at is not None, found.record.paused_at is not None)

    async def still() -> bool:
        try:
            submit.find(unit)
        except UnknownUnit:
            return False  # archived meanwhile
        return await welcome()

    return streams.response(unit, greet, still)


def watch_all(streams: Streams, welcome: Welcome) -> Response:
    """The events of all units together, for an administrator; the first one has no data. Raises Problem."""
    return streams.response(None, dict, welcome)


_DOC = Doc(
    summary="Watch a unit live: server-sent events",
    answers={200: "text/event-stream"},
    query=(Query("lastEventId", str, "Resume behind this event, for clients that cannot send Last-Event-ID."),),
    errors={"unit_not_found": 404, "too_many_streams": 429, "too_many_streams_in_all": 503},
)


async def _still(welcome: Welcome) -> bool:
    try:
        return await welcome()
    except RemoteError:
        return True  # nobody can tell just now, and the next request will be asked too


def _encoded(event: Event) -> bytes:
    return _line(event.id, event.kind.value, event.data)


def _line(id: str, kind: str, data: bytes) -> bytes:
    """JSON has no line ends of its own, so one data line holds it."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), kind.encode(), data)
