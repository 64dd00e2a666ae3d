"""A unit's own limits for sending: shown with the defaults filled in, and replaced."""

import re
from collections.abc import Sequence
from datetime import time
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.outbox.pacing import BURST, CAMPAIGN_SECONDS, GAP, PER_MINUTE
from zapline.domain.outbox.work_states import Lane
from zapline.http.api.framework.json_bodies import Answer, Body, read_body, reply
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.routes import Access, Doc, Routes
from zapline.sql.conversations import conversations
from zapline.sql.outbound.outbox import Limits
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.submission import Outgoing
from zapline.supervisors.units.unit_commands import Submit, UnknownUnit

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


class NewPace(Body, frozen=True):
    """The limits as they shall be; what is left out gets its default."""

    per_minute: Annotated[float, Meta(ge=0.1, le=6000), _PER_MINUTE] = PER_MINUTE
    burst: Annotated[int, Meta(ge=1, le=1000), _BURST] = BURST
    gap_seconds: Annotated[float, Meta(ge=0, le=3600), _GAP] = GAP
    daily_cap: Annotated[Annotated[int, _COUNT] | None, _CAP] = None
    warm_up_first: Annotated[Annotated[int, _COUNT] | None, _WARM_UP] = None
    quiet_from: Annotated[str | None, _QUIET_FROM] = None
    quiet_until: Annotated[str | None, _QUIET_UNTIL] = None
    campaign_seconds: Annotated[float, Meta(ge=0.001, le=3600), _CAMPAIGN_SECONDS] = CAMPAIGN_SECONDS
    resend_lanes: Annotated[tuple[str, ...], _RESEND] = ()


class PaceBody(Answer, frozen=True):
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
    time_zone: str


_GET = Doc("The unit's limits for sending", {200: PaceBody})
_PUT = Doc(
    "Replace the unit's limits for sending",
    {200: PaceBody},
    body=NewPace,
    example={"perMinute": 20, "gapSeconds": 2, "dailyCap": 1000, "quietFrom": "20:00", "quietUntil": "08:00"},
    detail="What is left out gets its default. It holds for what is sent from now on.",
)


class Paces:
    """``/units/{id}/pace``."""

    def __init__(self, submit: Submit, outgoing: Outgoing, pool: Pool) -> None:
        self._submit = submit
        self._outgoing = outgoing
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        routes.add("GET", "/units/<uuid:unit>/pace", "get_pace", self.get, Access.READ, _GET)
        routes.add("PUT", "/units/<uuid:unit>/pace", "put_pace", self.put, Access.CONTROL, _PUT)

    async def get(self, unit: UUID) -> Response:
        return reply(await self._shown(self._submit.find(UnitId(unit)).id))

    async def put(self, unit: UUID) -> Response:
        asked = await read_body(NewPace)
        id = self._submit.find(UnitId(unit)).id
        await self._outgoing.set_pace(id, limits_of(asked))
        return reply(await self._shown(id))

    async def _shown(self, unit: UnitId) -> PaceBody:
        row = await conversations.pace(self._pool, unit)
        if row is None:
            raise UnknownUnit("there is no such unit")
        return PaceBody(
            per_minute=PER_MINUTE if row.per_minute is None else row.per_minute,
            burst=BURST if row.burst is None else row.burst,
            gap_seconds=GAP if row.gap_seconds is None else row.gap_seconds,
            daily_cap=row.daily_cap,
            warm_up_first=row.warm_up_first,
            quiet_from=_hour(row.quiet_from),
            quiet_until=_hour(row.quiet_until),
            campaign_seconds=CAMPAIGN_SECONDS if row.campaign_seconds is None else row.campaign_seconds,
            resend_lanes=row.resend_lanes,
            time_zone=row.time_zone,
        )


def limits_of(asked: NewPace) -> Limits:
    """The limits that were asked for. Raises Problem 422 for what no type can tell."""
    quiet_from, quiet_until = _time("quietFrom", asked.quiet_from), _time("quietUntil", asked.quiet_until)
    if (quiet_from is None) is not (quiet_until is None):
        raise invalid("quietUntil" if quiet_until is None else "quietFrom", "is missing: quiet hours have two ends")
    if quiet_from is not None and quiet_from == quiet_until:
        raise invalid("quietUntil", "is the same as quietFrom; leave both out for no quiet hours")
    return Limits(
        per_minute=asked.per_minute,
        burst=asked.burst,
        gap_seconds=asked.gap_seconds,
        daily_cap=asked.daily_cap,
        warm_up_first=asked.warm_up_first,
        quiet_from=quiet_from,
        quiet_until=quiet_until,
        campaign_seconds=asked.campaign_seconds,
        resend_lanes=_lanes(asked.resend_lanes),
    )


def _lanes(asked: tuple[str, ...]) -> tuple[Lane, ...]:
    try:
        return tuple(dict.fromkeys(Lane(lane) for lane in asked))
    except ValueError:
        raise invalid("resendLanes", f"holds some of {', '.join(Lane)}") from None


def _time(field: str, given: str | None) -> time | None:
    if given is None:
        return None
    read = _HOUR.fullmatch(given)
    if read is None or not given.isascii():
        raise invalid(field, "is an hour of the day, as 21:30")
    return time(int(read[1]), int(read[2]))


def _hour(at: time | None) -> str | None:
    return at.strftime("%H:%M") if at is not None else None
