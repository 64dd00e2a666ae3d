"""Routes of a unit's sending limits: read with the defaults filled in, and replaced."""

import re
from collections.abc import Sequence
from datetime import time
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.outbox.pacing import (
    DEFAULT_BURST,
    DEFAULT_CAMPAIGN_SECONDS,
    DEFAULT_PER_MINUTE,
    DEFAULT_RECIPIENT_GAP,
)
from zapline.domain.outbox.typing_time import DEFAULT_TYPING_LONGEST, MAX_SPEED, MAX_TYPING, MIN_SPEED
from zapline.domain.outbox.work_states import Lane
from zapline.domain.text import Sentence
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, json_response, read_body
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.outbound.unit_pace import PaceSettings, find_pace
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownUnit

_HOUR = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_COUNT = Meta(ge=1, le=1_000_000)


_PER_MINUTE = Meta(description="Messages a minute, in the long run.")
_BURST = Meta(description="How many may go at once after a pause.")
_GAP = Meta(description="Seconds between two messages to the same recipient.")
_CAP = Meta(description="Messages a day at most, replies too; null: no cap.")
_WARM_UP = Meta(description="Messages of campaigns on the first day, doubled every day; null: no warm-up.")
_QUIET_FROM = Meta(description="From this hour no campaign is sent, as 21:30 in the unit's time zone.")
_QUIET_UNTIL = Meta(description="Until this hour.")
_CAMPAIGN_SECONDS = Meta(description="Seconds between two messages of campaigns.")
_RESEND = Meta(description="Lanes in which an uncertain message is sent once more by itself; it may arrive twice.")


_TYPING = Meta(
    description="Characters a second at which typing is shown before a text; null: nothing is shown. It takes its time "
    "of the pace."
)
_TYPING_LONGEST = Meta(description="Seconds for which typing is shown at most.")


class NewPace(RequestBody, frozen=True):
    """The limits as they shall be; what is left out gets its default."""

    per_minute: Annotated[float, Meta(ge=0.1, le=6000), _PER_MINUTE] = DEFAULT_PER_MINUTE
    burst: Annotated[int, Meta(ge=1, le=1000), _BURST] = DEFAULT_BURST
    gap_seconds: Annotated[float, Meta(ge=0, le=3600), _GAP] = DEFAULT_RECIPIENT_GAP
    daily_cap: Annotated[Annotated[int, _COUNT] | None, _CAP] = None
    warm_up_first: Annotated[Annotated[int, _COUNT] | None, _WARM_UP] = None
    quiet_from: Annotated[str | None, _QUIET_FROM] = None
    quiet_until: Annotated[str | None, _QUIET_UNTIL] = None
    campaign_seconds: Annotated[float, Meta(ge=0.001, le=3600), _CAMPAIGN_SECONDS] = DEFAULT_CAMPAIGN_SECONDS
    resend_lanes: Annotated[tuple[str, ...], _RESEND] = ()
    typing_speed: Annotated[Annotated[float, Meta(ge=MIN_SPEED, le=MAX_SPEED)] | None, _TYPING] = None
    typing_longest: Annotated[float, Meta(ge=1, le=MAX_TYPING), _TYPING_LONGEST] = DEFAULT_TYPING_LONGEST


class PaceBody(ResponseBody, frozen=True):
    """A unit's limits for sending, with the defaults filled in."""

    per_minute: Annotated[float, _PER_MINUTE]
    burst: Annotated[int, _BURST]
    gap_seconds: Annotated[float, _GAP]
    daily_cap: Annotated[int | None, _CAP]
    warm_up_first: Annotated[int | None, _WARM_UP]
    quiet_from: Annotated[str | None, _QUIET_FROM]
    quiet_until: Annotated[str | None, _QUIET_UNTIL]
    campaign_seconds: Annotated[float, _CAMPAIGN_SECONDS]
    resend_lanes: Annotated[Sequence[Lane], _RESEND]
    typing_speed: Annotated[float | None, _TYPING]
    typing_longest: Annotated[float, _TYPING_LONGEST]
    time_zone: str


_GET = RouteDoc("The unit's limits for sending", {200: PaceBody})
_PUT = RouteDoc(
    "Replace the unit's limits for sending",
    {200: PaceBody},
    body=NewPace,
    errors={"above_ceiling": 422},
    example={"perMinute": 20, "gapSeconds": 2, "dailyCap": 1000, "quietFrom": "20:00", "quietUntil": "08:00"},
    detail="What is left out gets its default. It holds for what is sent from now on. A token sets no faster pace "
    "than the operator lets it, or than there is already.",
)


class PaceRoutes:
    """``/units/{id}/pace``."""

    def __init__(self, commands: UnitCommands, outgoing: Submissions, pool: Pool) -> None:
        self._commands = commands
        self._outgoing = outgoing
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        routes.add("GET", "/units/<uuid:unit>/pace", "get_pace", self.get, Access.READ, _GET)
        routes.add("PUT", "/units/<uuid:unit>/pace", "put_pace", self.put, Access.CONTROL, _PUT)

    async def get(self, unit: UUID) -> Response:
        return json_response(await self._pace_body(self._commands.find(UnitId(unit)).id))

    async def put(self, unit: UUID) -> Response:
        body = await read_body(NewPace)
        id = self._commands.find(UnitId(unit)).id
        await self._outgoing.set_pace(id, limits_of(body), for_tenant=not current_principal().is_person)
        return json_response(await self._pace_body(id))

    async def _pace_body(self, unit: UnitId) -> PaceBody:
        row = await find_pace(self._pool, unit)
        if row is None:
            raise UnknownUnit("there is no such unit")
        return PaceBody(
            per_minute=DEFAULT_PER_MINUTE if row.per_minute is None else row.per_minute,
            burst=DEFAULT_BURST if row.burst is None else row.burst,
            gap_seconds=DEFAULT_RECIPIENT_GAP if row.gap_seconds is None else row.gap_seconds,
            daily_cap=row.daily_cap,
            warm_up_first=row.warm_up_first,
            quiet_from=_hour(row.quiet_from),
            quiet_until=_hour(row.quiet_until),
            campaign_seconds=DEFAULT_CAMPAIGN_SECONDS if row.campaign_seconds is None else row.campaign_seconds,
            resend_lanes=row.resend_lanes,
            typing_speed=row.typing_speed,
            typing_longest=DEFAULT_TYPING_LONGEST if row.typing_longest is None else row.typing_longest,
            time_zone=row.time_zone,
        )


def limits_of(body: NewPace) -> PaceSettings:
    """The limits of a request. Raises Problem 422 for what the types do not check."""
    quiet_from, quiet_until = _time("quietFrom", body.quiet_from), _time("quietUntil", body.quiet_until)
    if (quiet_from is None) is not (quiet_until is None):
        raise invalid("quietUntil" if quiet_until is None else "quietFrom", "is missing: quiet hours have two ends")
    if quiet_from is not None and quiet_from == quiet_until:
        raise invalid("quietUntil", "is the same as quietFrom; leave both out for no quiet hours")
    return PaceSettings(
        per_minute=body.per_minute,
        burst=body.burst,
        gap_seconds=body.gap_seconds,
        daily_cap=body.daily_cap,
        warm_up_first=body.warm_up_first,
        quiet_from=quiet_from,
        quiet_until=quiet_until,
        campaign_seconds=body.campaign_seconds,
        resend_lanes=_lanes(body.resend_lanes),
        typing_speed=body.typing_speed,
        typing_longest=body.typing_longest,
    )


def _lanes(names: tuple[str, ...]) -> tuple[Lane, ...]:
    try:
        return tuple(dict.fromkeys(Lane(lane) for lane in names))
    except ValueError:
        raise invalid("resendLanes", Sentence("holds some of {lanes}", lanes=", ".join(Lane))) from None


def _time(field: str, text: str | None) -> time | None:
    if text is None:
        return None
    match = _HOUR.fullmatch(text)
    if match is None or not text.isascii():
        raise invalid(field, "is an hour of the day, as 21:30")
    return time(int(match[1]), int(match[2]))


def _hour(at: time | None) -> str | None:
    return at.strftime("%H:%M") if at is not None else None
