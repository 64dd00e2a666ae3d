"""Routes of the alarms, for administrators: to whom they go, a test, and the incidents that there were."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.alarms.destinations import (
    LANGUAGES,
    MAX_TARGET,
    DestinationKind,
    InvalidDestination,
)
from zapline.domain.alarms.incidents import Member
from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.audit_trail import add_audit_detail
from zapline.http.api.framework.json_bodies import (
    RequestBody,
    ResponseBody,
    Timestamp,
    json_response,
    one_of,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, Seq, page_query, split_page
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.health.alarms import Destination, PastIncident
from zapline.supervisors.alarms.alarm_commands import (
    MAX_UNITS,
    AlarmCommands,
    AskedDestination,
    TestResult,
    TooManyDestinations,
    UnknownDestination,
)

PROBLEMS: ProblemTypes = {
    UnknownDestination: ProblemType(404, "alarm_destination_not_found"),
    TooManyDestinations: ProblemType(409, "too_many_alarm_destinations"),
    InvalidDestination: ProblemType(422, "invalid_alarm_destination"),
}
_Language = Annotated[str, one_of(LANGUAGES, "In which its alarms are written.")]


class _AfterIncident(Position, frozen=True, tag="a"):
    number: Seq


class NewAlarmDestination(RequestBody, frozen=True):
    """Body of ``POST /alarms/destinations``."""

    kind: DestinationKind
    to: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_TARGET,
            description="An e-mail address, a URL, or the phone that the message goes to. Stored encrypted.",
        ),
    ]
    language: _Language = "en"
    units: Annotated[
        tuple[UUID, ...],
        Meta(
            max_length=MAX_UNITS,
            description="Of a `line`: the units whose lines may tell it. The first that is open and is not itself "
            "down does.",
        ),
    ] = ()


class AlarmDestinationBody(ResponseBody, frozen=True, kw_only=True):
    """To whom alarms go."""

    id: UUID
    kind: DestinationKind
    to: Annotated[str, Meta(description="Enough of the address to know it again.")]
    language: str
    units: list[UnitId]
    created_at: Timestamp | None
    tried_at: Annotated[Timestamp | None, Meta(description="When it was told, or a test was made, last.")]
    error: Annotated[str | None, Meta(description="Why the last try failed, as a word; null: it was told.")]


class AlarmDestinationsBody(ResponseBody, frozen=True):
    """All of them, the oldest first."""

    items: list[AlarmDestinationBody]


class MadeAlarmDestinationBody(ResponseBody, frozen=True):
    """A new destination. ``secret`` is shown once."""

    destination: AlarmDestinationBody
    secret: Annotated[
        str | None, Meta(description="Of a webhook: it signs each call as Standard Webhooks have it; null for others.")
    ]


class AlarmTestBody(ResponseBody, frozen=True):
    """How a test ended."""

    id: UUID
    error: Annotated[str | None, Meta(description="Why it failed, as a word; null: it was taken.")]


class IncidentMemberBody(ResponseBody, frozen=True, kw_only=True):
    """Something that was wrong."""

    key: Annotated[str, Meta(description="`line:` and a unit's id, or `check:` and a check of `/health`.")]
    name: str
    reason: Annotated[str | None, Meta(description="Of a line: as its status says.")]
    since: Timestamp | None
    well_since: Annotated[Timestamp | None, Meta(description="Null: it is still wrong.")]
    falls: Annotated[int, Meta(description="How often it began anew.")]


class IncidentBody(ResponseBody, frozen=True, kw_only=True):
    """What went wrong together, and was told in one alarm and one all-clear."""

    id: UUID
    opened_at: Timestamp | None
    closed_at: Annotated[Timestamp | None, Meta(description="Null: it goes on.")]
    notices: Annotated[int, Meta(description="How often it was told: alarm, updates, reminders, all-clear.")]
    undelivered: Annotated[int, Meta(description="Of these, what was given up for a destination.")]
    members: Sequence[IncidentMemberBody]


class IncidentPage(Page[IncidentBody], frozen=True):
    """Incidents, the latest first."""


_NOT_FOUND = {"alarm_destination_not_found": 404}
_LIST = RouteDoc("To whom alarms go", {200: AlarmDestinationsBody})
_ADD = RouteDoc(
    "Have alarms go to somebody",
    {201: MadeAlarmDestinationBody},
    body=NewAlarmDestination,
    errors={"too_many_alarm_destinations": 409, "invalid_alarm_destination": 422, "unit_not_found": 404},
    example={"kind": "email", "to": "oncall@example.com", "language": "pt-BR"},
    detail="What goes wrong together is one incident: one alarm, updates if more falls, reminders, one all-clear. An "
    "e-mail needs an SMTP server in the daemon's settings. A webhook is a POST of JSON with `type`, `title` and "
    "`body`, which Apprise's API takes as it is, and with the incident for programs; `webhook-id` is the same at every "
    "try. A `line` is a WhatsApp message by a unit's own line, at its pace.",
    headers={"Location": "Where the destination is."},
)
_REMOVE = RouteDoc("Have no more alarms go to somebody", {204: None}, errors=_NOT_FOUND)
_TEST = RouteDoc(
    "Send a test to a destination, now",
    {200: AlarmTestBody},
    errors=_NOT_FOUND,
    detail="Takes up to a minute where the destination does not answer.",
)
_INCIDENTS = RouteDoc(
    "The incidents that were told",
    {200: IncidentPage},
    query=PAGED,
    detail="Kept for 90 days. What was too short to be told is in each line's history.",
)


class AlarmRoutes:
    """``/alarms``."""

    def __init__(self, alarms: AlarmCommands) -> None:
        self._alarms = alarms

    def attach(self, routes: RouteTable) -> None:
        path, one = "/alarms/destinations", "/alarms/destinations/<uuid:destination>"
        routes.add("GET", path, "list_alarm_destinations", self.list, Access.ADMIN, _LIST)
        routes.add("POST", path, "add_alarm_destination", self.add, Access.ADMIN, _ADD)
        routes.add("DELETE", one, "remove_alarm_destination", self.remove, Access.ADMIN, _REMOVE)
        routes.add("POST", f"{one}/test", "test_alarm_destination", self.test, Access.ADMIN, _TEST)
        routes.add("GET", "/alarms/incidents", "list_alarm_incidents", self.incidents, Access.ADMIN, _INCIDENTS)

    async def list(self) -> Response:
        return json_response(AlarmDestinationsBody([_body(each) for each in await self._alarms.destinations()]))

    async def add(self) -> Response:
        body = await read_body(NewAlarmDestination)
        units = tuple(map(UnitId, body.units))
        made, secret = await self._alarms.add(AskedDestination(body.kind, body.to, body.language, units))
        add_audit_detail(kind=made.kind.value, to=made.shown)
        response = json_response(MadeAlarmDestinationBody(_body(made), secret), 201)
        response.headers["Location"] = f"/alarms/destinations/{made.id}"
        return response

    async def remove(self, destination: UUID) -> Response:
        add_audit_detail(destination=str(destination))
        await self._alarms.remove(destination)
        return Response(b"", 204)

    async def test(self, destination: UUID) -> Response:
        add_audit_detail(destination=str(destination))
        (result,) = await self._alarms.test(destination)
        return json_response(_test_body(result))

    async def incidents(self) -> Response:
        limit, after = page_query(_AfterIncident)
        rows = await self._alarms.incidents(after.number if after is not None else None, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda past: _AfterIncident(past.number))
        return json_response(IncidentPage([_incident(past) for past in page], next_cursor))


def _body(to: Destination) -> AlarmDestinationBody:
    return AlarmDestinationBody(
        id=to.id,
        kind=to.kind,
        to=to.shown,
        language=to.language,
        units=list(to.units),
        created_at=iso(to.created_at),
        tried_at=iso(to.tried_at),
        error=to.error,
    )


def _test_body(result: TestResult) -> AlarmTestBody:
    return AlarmTestBody(result.destination.id, result.error)


def _incident(past: PastIncident) -> IncidentBody:
    incident = past.incident
    return IncidentBody(
        id=incident.id,
        opened_at=iso(incident.opened_at),
        closed_at=iso(incident.closed_at),
        notices=incident.said,
        undelivered=past.failed,
        members=[_member(each) for each in incident.members],
    )


def _member(member: Member) -> IncidentMemberBody:
    return IncidentMemberBody(
        key=member.key,
        name=member.trouble.name,
        reason=member.trouble.reason or None,
        since=iso(member.trouble.since),
        well_since=iso(member.well_since),
        falls=member.falls,
    )
