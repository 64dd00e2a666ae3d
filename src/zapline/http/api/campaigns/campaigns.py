"""Campaigns of a unit: make, fill from JSON or CSV, try out, start and stop, and see how each recipient stands."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.campaigns.recipients_csv import CHARSETS, InvalidRecipients
from zapline.domain.campaigns.states import Ask, WrongCampaignState
from zapline.domain.campaigns.text_templates import InvalidTemplate
from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.ids import UnitId
from zapline.http.api.campaigns import campaign_docs as docs
from zapline.http.api.campaigns.campaign_requests import (
    OWN_COLUMNS,
    MoreRecipients,
    NewCampaign,
    cells_of,
    csv_of,
    plan_of,
)
from zapline.http.api.campaigns.campaign_responses import (
    STATES,
    CampaignPage,
    LoadedBody,
    RecipientPage,
    campaign_body,
    forecast_body,
    recipient_body,
    steered_body,
    tally_body,
)
from zapline.http.api.framework.json_bodies import Body, decode_body, read_body, reply
from zapline.http.api.framework.paging import Position, cursor, encode, limit, number
from zapline.http.api.framework.problems import Known, Problem, Register, invalid
from zapline.http.api.framework.routes import Access, Routes
from zapline.sql.campaigns import campaigns as stored
from zapline.sql.campaigns.campaigns import Campaign
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import (
    CampaignConflict,
    Campaigns,
    InvalidCampaign,
    NoRecipients,
    NotFillable,
    UnknownCampaign,
    UnknownSuppression,
)
from zapline.supervisors.campaigns.recipient_loading import Csv, Listed, TooManyLists
from zapline.supervisors.units.unit_commands import Submit

PROBLEMS: Register = {
    UnknownCampaign: Known(404, "campaign_not_found"),
    UnknownSuppression: Known(404, "suppression_not_found"),
    CampaignConflict: Known(409, "client_campaign_id_taken"),
    WrongCampaignState: Known(409, "campaign_state"),
    NotFillable: Known(409, "campaign_state"),
    NoRecipients: Known(409, "no_recipients"),
    InvalidCampaign: Known(422, "invalid_campaign"),
    InvalidTemplate: Known(422, "invalid_template"),
    InvalidRecipients: Known(422, "invalid_recipients", field="recipients"),
    InvalidPhone: Known(422, "invalid_phone", field="to"),
    TooManyLists: Known(503, "busy", retryable=True),
}
"""What the errors of campaigns are to a caller."""
MAX_LIST = 32 * 1024 * 1024
"""Bytes of a CSV: a hundred thousand lines of three hundred."""
_MAX_JSON = 1024 * 1024
"""Bytes of a list as JSON, which is read at once."""
LIST_PATH = re.compile(r"/units/[^/]+/campaigns/[^/]+/recipients/?")
"""Where such a body is posted; everywhere else the API's own limit holds."""
_FAILURES = ("failed", "undelivered", "uncertain", "skipped")
_PAGE = 2000
"""Rows of an export that are read at a time."""
_Moment = Annotated[datetime, Meta(tz=True)]


class _InList(Position, frozen=True, tag="g"):
    at: _Moment
    id: UUID


class _InRecipients(Position, frozen=True, tag="r"):
    number: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class CampaignPages:
    """``/units/{id}/campaigns``."""

    def __init__(self, submit: Submit, campaigns: Campaigns, pool: Pool) -> None:
        self._submit = submit
        self._campaigns = campaigns
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        all_, one = "/units/<uuid:unit>/campaigns", "/units/<uuid:unit>/campaigns/<uuid:campaign>"
        routes.add("POST", all_, "create_campaign", self.create, Access.SEND, docs.CREATE)
        routes.add("POST", f"{all_}/dry-run", "try_campaign", self.try_out, Access.SEND, docs.TRY, audited=False)
        routes.add("GET", all_, "list_campaigns", self.list, Access.READ, docs.LIST)
        routes.add("GET", one, "get_campaign", self.get, Access.READ, docs.GET)
        routes.add("POST", f"{one}/recipients", "add_recipients", self.add, Access.SEND, docs.ADD)
        routes.add("GET", f"{one}/recipients", "list_recipients", self.recipients, Access.READ, docs.RECIPIENTS)
        routes.add("GET", f"{one}/failures.csv", "export_failures", self.failures, Access.READ, docs.FAILURES)
        for ask in Ask:
            name = f"{ask.value.replace('-', '_')}_campaign"
            routes.add("POST", f"{one}/{ask.value}", name, self._asking(ask), Access.SEND, docs.STEER[ask])

    async def create(self, unit: UUID) -> Response:
        """201 with the campaign; 200 where the same was asked for under this ``clientCampaignId`` before."""
        plan = plan_of(await read_body(NewCampaign))
        id, fresh = await self._campaigns.create(UnitId(unit), plan)
        made = await self._shown(UnitId(unit), id, 201 if fresh else 200)
        made.headers["Location"] = f"/units/{unit}/campaigns/{id}"
        return made

    async def try_out(self, unit: UUID) -> Response:
        """What would become of such a campaign; nothing is stored."""
        plan = plan_of(await read_body(NewCampaign))
        return reply(forecast_body(await self._campaigns.try_out(UnitId(unit), plan)))

    async def list(self, unit: UUID) -> Response:
        """Newest first. Few at a time: the recipients of each are counted."""
        id, most, after = self._submit.find(UnitId(unit)).id, number("limit", 20, 1, 50), cursor(_InList)
        found = await stored.list_campaigns(self._pool, id, (after.at, after.id) if after else None, most + 1)
        page = found[:most]
        more = encode(_InList(page[-1].created_at, page[-1].id)) if len(found) > most else None
        return reply(CampaignPage([campaign_body(one) for one in page], more))

    async def get(self, unit: UUID, campaign: UUID) -> Response:
        return await self._shown(self._submit.find(UnitId(unit)).id, campaign)

    async def add(self, unit: UUID, campaign: UUID) -> Response:
        """A list as ``text/csv`` or JSON, all of it or nothing; ``?dryRun=true`` stores nothing."""
        dry = request.args.get("dryRun", "false")
        if dry not in ("true", "false"):
            raise invalid("dryRun", "is true or false")
        async with aclosing(_chunks()) as chunks:
            source = await _source(chunks)
            if dry == "true":
                return reply(forecast_body(await self._campaigns.try_list(UnitId(unit), campaign, source)))
            tally = await self._campaigns.load(UnitId(unit), campaign, source)
        found = await self._find(UnitId(unit), campaign)
        return reply(LoadedBody(tally_body(tally), campaign_body(found)))

    async def recipients(self, unit: UUID, campaign: UUID) -> Response:
        """In the order of the list; in one ``state``, or all."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InRecipients)
        state = request.args.get("state")
        if state is not None and state not in STATES:
            raise invalid("state", f"is one of {', '.join(STATES)}")
        await self._look_for(id, campaign)
        states = (state,) if state is not None else None
        behind = after.number if after is not None else 0
        found = await stored.recipients(self._pool, id, campaign, states, behind, most + 1)
        page = found[:most]
        more = encode(_InRecipients(page[-1].number)) if len(found) > most else None
        return reply(RecipientPage([recipient_body(one) for one in page], more))

    async def failures(self, unit: UUID, campaign: UUID) -> Response:
        """Whoever was not written to, or not surely, as CSV: it can be mended and sent in again as a list."""
        id = self._submit.find(UnitId(unit)).id
        await self._look_for(id, campaign)
        columns = sorted(await stored.variables(self._pool, id, campaign))
        exported = Response(self._export(id, campaign, columns), 200, content_type="text/csv; charset=utf-8")
        exported.headers["Content-Disposition"] = f'attachment; filename="failures-{campaign}.csv"'
        return exported

    async def _export(self, unit: UnitId, campaign: UUID, columns: Iterable[str]) -> AsyncIterator[bytes]:
        names = [name for name in columns if name not in OWN_COLUMNS]
        yield csv_of([[*OWN_COLUMNS, *names]])
        after = 0
        while page := await stored.recipients(self._pool, unit, campaign, _FAILURES, after, _PAGE):
            yield csv_of([cells_of(one, names) for one in page])
            after = page[-1].number

    def _asking(self, ask: Ask) -> Callable[[UUID, UUID], Awaitable[Response]]:
        async def asked(unit: UUID, campaign: UUID) -> Response:
            await read_body(Body)
            count = await self._campaigns.ask(UnitId(unit), campaign, ask)
            found = await self._find(UnitId(unit), campaign)
            return reply(steered_body(found, count) if ask is Ask.RETRY_FAILED else steered_body(found))

        return asked

    async def _look_for(self, unit: UnitId, id: UUID) -> None:
        if not await stored.has_campaign(self._pool, unit, id):
            raise UnknownCampaign("the unit has no such campaign")

    async def _find(self, unit: UnitId, id: UUID) -> Campaign:
        found = await stored.find_campaign(self._pool, unit, id)
        if found is None:
            raise UnknownCampaign("the unit has no such campaign")
        return found

    async def _shown(self, unit: UnitId, id: UUID, status: int = 200) -> Response:
        return reply(campaign_body(await self._find(unit, id)), status)


# -- a list ---------------------------------------------------------------------------------------------------


async def _chunks() -> AsyncGenerator[bytes, None]:
    """The request's body as it comes in. Raises Problem 413."""
    size = 0
    async for chunk in request.body:
        size += len(chunk)
        if size > MAX_LIST:
            raise Problem(413, "body_too_large", f"a list has at most {MAX_LIST:,} bytes")
        yield chunk


async def _source(chunks: AsyncIterator[bytes]) -> Csv | Listed:
    """The list that the request's body is. Raises Problem 415 and 422."""
    if request.mimetype == "text/csv":
        charset = request.mimetype_params.get("charset", "utf-8").lower()
        if charset not in CHARSETS:
            raise invalid("Content-Type", f"has a charset of {', '.join(sorted(CHARSETS))}")
        return Csv(chunks, charset)
    if request.mimetype in ("application/json", ""):
        raw = bytearray()
        async for chunk in chunks:
            raw += chunk
            if len(raw) > _MAX_JSON:
                raise Problem(413, "body_too_large", "a list of this size is sent as text/csv")
        return decode_body(bytes(raw), MoreRecipients).recipients
    raise Problem(415, "unsupported_media_type", "a list is text/csv or application/json")
