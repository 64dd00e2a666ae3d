"""Streams a unit's live events as server-sent events; each stream holds little more than a position in the feed."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from uuid import UUID

import msgspec
import trio
from quart import Response, request

from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.supervisors.notifications.event_payloads import HelloPayload, hello_payload
from zapline.supervisors.notifications.live_feed import EventKind, LiveEvent, LiveFeed, Watcher
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownUnit

HEARTBEAT = 15.0
"""Seconds without events after which a comment is sent: proxies close connections that are silent for a minute."""
RETRY_MS = 3000
RETRY_LINE = b"retry: %d\n\n" % RETRY_MS
"""How long a client is told to wait before it reconnects."""
RECHECK_ACCESS = 30.0
"""Seconds between two checks whether the client may still watch."""
BATCH_SECONDS = 0.1
"""Seconds between two writes to one client; events in between are sent together."""
MAX_STREAMS_PER_UNIT, MAX_STREAMS_PER_PERSON, MAX_STREAMS = 64, 8, 2000
"""Streams of one unit, those over all units of one person, and in all."""
_MAX_ID = 64

AccessCheck = Callable[[], Awaitable[bool]]
"""Whether the client that opened a stream may still watch."""


class EventStreams:
    """The open streams; above a limit new ones are refused.

    ``revocations`` counts events that may have ended somebody's access: then every stream checks before it sends more.
    """

    def __init__(
        self,
        feed: LiveFeed,
        max_per_unit: int = MAX_STREAMS_PER_UNIT,
        max_total: int = MAX_STREAMS,
        max_per_person: int = MAX_STREAMS_PER_PERSON,
        revocations: Callable[[], int] = lambda: 0,
    ) -> None:
        self._feed = feed
        self.revocations = revocations
        self._max_per_unit, self._max_per_person, self._max_total = max_per_unit, max_per_person, max_total
        self._open: dict[UUID, int] = {}
        """By the unit or the organization that is watched, or the person who watches all units."""
        self.count = 0

    def response(
        self,
        unit: UnitId,
        first_event: Callable[[], object],
        access_check: AccessCheck,
        presence: AbstractContextManager[None] | None = None,
    ) -> Response:
        """A response that streams the events of a unit.

        ``first_event`` makes the data of the event ``hello``; ``presence`` is held while the stream is open, and only
        then it has the events about people. Raises Problem 429 and 503 above the limits.
        """
        self.require_room(unit)
        return stream_response(self._stream(unit, unit, _last_id(), first_event, access_check, presence, None))

    def response_of_all(
        self, person: UUID, access_check: AccessCheck, seen: Container[UnitId] | None = None
    ) -> Response:
        """The same of all units, or as far as they are ``seen``; counted for the ``person`` who watches."""
        self.require_room(person, self._max_per_person)
        return stream_response(self._stream(None, person, _last_id(), dict, access_check, None, seen))

    def require_room(self, watched: UUID, most: int | None = None) -> None:
        """Raises Problem 429 and 503 where one more stream would be too many; ``most``: of this one."""
        most = self._max_per_unit if most is None else most
        if self.count >= self._max_total:
            raise Problem(
                503, "too_many_streams_in_all", "too many clients look on just now", retryable=True, retry_after=10
            )
        if self._open.get(watched, 0) >= most:
            detail = f"there are {most} streams of this already; close some"
            raise Problem(429, "too_many_streams", detail, retryable=True, retry_after=10)

    async def _stream(
        self,
        unit: UnitId | None,
        counted_for: UUID,
        last_id: str | None,
        first_event: Callable[[], object],
        access_check: AccessCheck,
        presence: AbstractContextManager[None] | None,
        seen: Container[UnitId] | None,
    ) -> AsyncIterator[bytes]:
        people = presence is not None
        with self.count_stream(counted_for), self._feed.watch(unit, last_id) as watcher, presence or nullcontext():
            yield RETRY_LINE + encode_event(watcher.last_id, "hello", msgspec.json.encode(first_event()))
            async with aclosing(self._chunks(watcher, access_check, seen, people=people)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _chunks(
        self, watcher: Watcher, access_check: AccessCheck, seen: Container[UnitId] | None, *, people: bool
    ) -> AsyncGenerator[bytes, None]:
        recheck_at, revocations = trio.current_time() + RECHECK_ACCESS, self.revocations()
        while True:
            await watcher.wait(HEARTBEAT)
            if self._feed.closed:
                return
            if trio.current_time() >= recheck_at or self.revocations() != revocations:
                revocations = self.revocations()
                if not await _check_access(access_check):
                    return
                recheck_at = trio.current_time() + RECHECK_ACCESS
            events = [event for event in watcher.take() if people or event.kind is not EventKind.PRESENCE]
            if seen is not None:
                events = [shown for event in events if (shown := event.seen_by(seen)) is not None]
            yield b"".join(map(_encode_event, events)) if events else b": \n\n"
            await trio.sleep(BATCH_SECONDS)

    @contextmanager
    def count_stream(self, watched: UUID) -> Iterator[None]:
        """Count an open stream."""
        self._open[watched] = self._open.get(watched, 0) + 1
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self._open[watched] -= 1
            if not self._open[watched]:
                del self._open[watched]


class LiveEventRoutes:
    """``/units/{id}/events``."""

    def __init__(self, commands: UnitCommands, streams: EventStreams, access_check: Callable[[], AccessCheck]) -> None:
        self._commands = commands
        self._streams = streams
        self._access_check = access_check
        """Makes an access check for the caller of the present request."""

    def attach(self, routes: RouteTable) -> None:
        routes.add("GET", "/units/<uuid:unit>/events", "watch_unit", self.watch, Access.READ, _DOC)

    async def watch(self, unit: UUID) -> Response:
        return watch_unit(self._streams, self._commands, UnitId(unit), self._access_check())


def watch_unit(
    streams: EventStreams,
    commands: UnitCommands,
    unit: UnitId,
    access_check: AccessCheck,
    presence: AbstractContextManager[None] | None = None,
) -> Response:
    """Stream the events of one unit to a caller who may see it; ``presence`` as in ``EventStreams.response``.

    Raises UnknownUnit, Problem.
    """
    commands.find(unit)

    def first_event() -> HelloPayload:
        record = commands.find(unit)
        stored = record.shown
        unit_row = record.record
        quarantined, paused = record.quarantined_at is not None, unit_row.paused_at is not None
        return hello_payload(unit, stored, quarantined, paused, unit_row.campaigns_held_reason)

    async def is_still_allowed() -> bool:
        try:
            commands.find(unit)
        except UnknownUnit:
            return False  # archived meanwhile
        return await access_check()

    return streams.response(unit, first_event, is_still_allowed, presence)


_DOC = RouteDoc(
    summary="Watch a unit live: server-sent events",
    responses={200: "text/event-stream"},
    query=(
        QueryParameter("lastEventId", str, "Resume behind this event, for clients that cannot send Last-Event-ID."),
    ),
    errors={"unit_not_found": 404, "too_many_streams": 429, "too_many_streams_in_all": 503},
)


def _last_id() -> str | None:
    """The event behind which the client wants to go on."""
    last_id = request.headers.get("Last-Event-ID") or request.args.get("lastEventId") or None
    return last_id[:_MAX_ID] if last_id else None


async def _check_access(access_check: AccessCheck) -> bool:
    try:
        return await access_check()
    except RemoteError:
        return True  # the database is away; the next request is checked again


def _encode_event(event: LiveEvent) -> bytes:
    return encode_event(event.id, event.kind.value, event.data)


def stream_response(body: AsyncIterator[bytes]) -> Response:
    """A response that streams, to a HEAD without its body, which would never end."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    content = b"" if request.method == "HEAD" else body
    response = Response(content, headers=headers, content_type="text/event-stream; charset=utf-8")
    response.timeout = None
    return response


def encode_event(id: str, kind: str, data: bytes) -> bytes:
    """An event of a stream. JSON has no line breaks, so one data line holds it."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), kind.encode(), data)
