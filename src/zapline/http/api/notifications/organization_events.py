"""Streams the events of an organization's units as server-sent events, from any place in the log of events on."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Annotated
from uuid import UUID

import msgspec
import trio
from msgspec import Meta
from quart import Response, request

from zapline.domain.crm_webhooks import CrmWebhookEvent
from zapline.domain.errors import RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.paging import BIGINT, Seq
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.notifications.live_events import (
    BATCH_SECONDS,
    HEARTBEAT,
    RECHECK_ACCESS,
    RETRY_LINE,
    EventStreams,
    encode_event,
    stream_response,
)
from zapline.sql.accounts.organizations import load_organization
from zapline.sql.notifications.events import EventFilter
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.organizations import UnknownOrganization
from zapline.supervisors.notifications.event_log import EventLog

CallerCheck = Callable[[], Awaitable[Principal | None]]
"""Who watches, as he stands now; None: he may not watch any more."""


class StreamHello(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``hello``: the place behind which the stream begins; ``units``: which the caller sees now."""

    organization_id: UUID
    seq: int
    units: list[UUID] | None


class StreamReset(msgspec.Struct, frozen=True, rename="camel"):
    """Data of ``reset``: events are missing.

    ``reason``: ``too_old`` (they were deleted for their age), or ``ahead`` (the database was set back).
    """

    reason: str
    seq: int


_DOC = RouteDoc(
    summary="Watch all units of an organization: server-sent events, from any place on",
    responses={200: "text/event-stream"},
    query=(
        QueryParameter("afterSeq", Seq, "Begin behind this place: the `id` of the last event that you have."),
        QueryParameter("lastEventId", Seq, "The same, for clients that reconnect by themselves."),
        QueryParameter("events", Annotated[str, Meta(max_length=1000)], "Only these kinds, with commas between."),
        QueryParameter("unitIds", Annotated[str, Meta(max_length=4000)], "Only these units, with commas between."),
    ),
    errors={"too_many_streams": 429, "too_many_streams_in_all": 503, "invalid_request": 422},
    detail="""\
Each event has the name and the body that a hook gets, and as `id` its place in the log, which only grows. Without a
place the stream begins now; `hello` comes first, with the place. Events of a conversation come in the order in which
they were stored, and are kept for three days: whoever comes back later gets `reset`, and goes on with the oldest.""",
)


class OrganizationEventRoutes:
    """``/organizations/{organization}/events``."""

    def __init__(self, log: EventLog, streams: EventStreams, pool: Pool, check: Callable[[], CallerCheck]) -> None:
        self._log = log
        self._streams = streams
        self._pool = pool
        self._check = check
        """Makes a check for the caller of the present request."""

    def attach(self, routes: RouteTable) -> None:
        path = "/organizations/<uuid:organization>/events"
        routes.add("GET", path, "watch_organization", self.watch, Access.READ, _DOC)

    async def watch(self, organization: UUID) -> Response:
        caller = current_principal()
        if await load_organization(self._pool, organization, caller.grant) is None:
            raise UnknownOrganization("there is no such organization")
        wanted = EventFilter(organization, _kinds(), _units())
        self._streams.require_room(organization)
        return stream_response(self._stream(wanted, caller, _after(), self._check()))

    async def _stream(
        self, wanted: EventFilter, caller: Principal, after: int | None, check: CallerCheck
    ) -> AsyncIterator[bytes]:
        log = self._log
        with self._streams.count_stream(wanted.organization), log.reading() as reader:
            yield RETRY_LINE
            while not log.is_fresh(reader) and not log.closed:
                if not await self._wait(HEARTBEAT):
                    yield b": \n\n"
            position, first = self._begin(wanted, caller, after, log.pruned_through)
            yield first
            recheck_at, revocations = trio.current_time() + RECHECK_ACCESS, self._streams.revocations()
            while not log.closed:
                if trio.current_time() >= recheck_at or self._streams.revocations() != revocations:
                    revocations = self._streams.revocations()
                    current = await _current(check, caller)
                    if current is None:
                        return
                    caller, recheck_at = current, trio.current_time() + RECHECK_ACCESS
                through = log.through or 0
                if position > through:
                    position, first = self._begin(wanted, caller, position, log.pruned_through)
                    yield first
                if position < through and not log.concerns(position, wanted.organization, _seen(wanted, caller)):
                    position = through
                if position >= through:
                    if not await self._wait(HEARTBEAT):
                        yield b"id: %d\n: \n\n" % position
                    continue
                try:
                    page = await log.read(wanted, caller.grant, position)
                except RemoteError:
                    yield b": \n\n"
                    await self._wait(HEARTBEAT)
                    continue
                if position < page.pruned_through:
                    position, first = self._begin(wanted, caller, position, page.pruned_through)
                    yield first
                    continue
                position = page.after
                if page.events:
                    yield b"".join(encode_event(str(each.seq), each.kind, each.body) for each in page.events)
                else:
                    yield b"id: %d\n: \n\n" % position
                await trio.sleep(BATCH_SECONDS)

    def _begin(self, wanted: EventFilter, caller: Principal, after: int | None, pruned: int) -> tuple[int, bytes]:
        """The place to begin behind, and the first events. ``pruned``: up to where events were deleted."""
        through = self._log.through or 0
        position = through if after is None else after
        reset = None
        if position > through:
            position, reset = through, "ahead"
        elif position < pruned:
            position, reset = pruned, "too_old"
        units: list[UUID] | None = sorted(caller.grant.units) if caller.grant is not None else None
        hello = StreamHello(wanted.organization, position, units)
        first = encode_event(str(position), "hello", msgspec.json.encode(hello))
        if reset is not None:
            first += encode_event(str(position), "reset", msgspec.json.encode(StreamReset(reset, position)))
        return position, first

    async def _wait(self, seconds: float) -> bool:
        """Whether the log has moved within the time."""
        with trio.move_on_after(seconds):
            await self._log.moved.wait()
            return True
        return False


def _seen(wanted: EventFilter, caller: Principal) -> Collection[UnitId] | None:
    """The units that the stream tells of; None: all of the organization."""
    if caller.grant is None or wanted.units is None:
        return caller.grant.units if caller.grant is not None else wanted.units
    return caller.grant.units.intersection(wanted.units)


async def _current(check: CallerCheck, caller: Principal) -> Principal | None:
    try:
        return await check()
    except RemoteError:
        return caller  # the database is away; it is asked again later


def _after() -> int | None:
    """The place behind which the client wants to begin; the header of a browser counts first. Raises Problem."""
    header, query = request.headers.get("Last-Event-ID"), request.args.get("lastEventId")
    for name, text in (("lastEventId", header), ("lastEventId", query), ("afterSeq", request.args.get("afterSeq"))):
        if text:
            if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= BIGINT):
                raise invalid(name, "is the id of an event")
            return int(text)
    return None


def _kinds() -> tuple[str, ...] | None:
    text = request.args.get("events")
    if text is None:
        return None
    try:
        return tuple(CrmWebhookEvent(kind) for kind in text.split(","))
    except ValueError:
        raise invalid("events", f"holds some of {', '.join(CrmWebhookEvent)}") from None


def _units() -> tuple[UnitId, ...] | None:
    text = request.args.get("unitIds")
    if text is None:
        return None
    try:
        return tuple(UnitId(UUID(id)) for id in text.split(","))
    except ValueError:
        raise invalid("unitIds", "holds ids of units") from None
