"""Routes of a campaign's recipients: load a list from JSON or CSV, list them, and export the failed ones as CSV."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.campaigns.recipients_csv import CHARSETS
from zapline.domain.ids import UnitId
from zapline.http.api.campaigns.campaign_requests import MoreRecipients
from zapline.http.api.campaigns.campaign_responses import (
    STATES,
    ForecastBody,
    LoadedBody,
    RecipientPage,
    campaign_body,
    forecast_body,
    recipient_body,
    tally_body,
)
from zapline.http.api.framework.csv_bodies import csv_bytes
from zapline.http.api.framework.json_bodies import decode_body, json_response, one_of
from zapline.http.api.framework.paging import PAGED, Position, page_query, query_bool, split_page
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.campaigns import campaigns as stored
from zapline.sql.campaigns.campaigns import Campaign, Recipient
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import Campaigns, UnknownCampaign
from zapline.supervisors.campaigns.recipient_loading import RecipientCsv, RecipientRows
from zapline.supervisors.units.unit_commands import UnitCommands

MAX_LIST = 32 * 1024 * 1024
"""Bytes of a CSV: a hundred thousand lines of three hundred."""
_MAX_JSON = 1024 * 1024
"""Bytes of a list as JSON, which is read at once."""
LIST_PATH = re.compile(r"/units/[^/]+/campaigns/[^/]+/recipients/?")
"""Where lists are posted; all other paths have the API's own limit."""
_FAILED_STATES = ("failed", "undelivered", "uncertain", "skipped")
_EXPORT_BATCH = 2000
"""Rows of an export that are read at a time."""


class _InRecipients(Position, frozen=True, tag="r"):
    number: Annotated[int, Meta(ge=0, le=2**31 - 1)]


NOT_FOUND = {"campaign_not_found": 404}
INVALID = dict.fromkeys(
    (
        *("invalid_campaign", "invalid_template", "invalid_recipients", "invalid_phone"),
        *("invalid_media_url", "media_url_refused", "media_url_unresolvable"),
    ),
    422,
)
"""Problem codes of campaigns and of their recipients, with their status."""
_DRY_RUN = QueryParameter("dryRun", Literal["true", "false"], "`true`: only say what the list would come to.")
CHECK_NUMBERS = QueryParameter(
    "checkNumbers",
    Literal["true", "false"],
    "`true`: leave out (`not_on_whatsapp`) who is not on WhatsApp, as far as that is known; of up to fifty others "
    "it is asked, if the unit may ask now.",
)
_ADD = RouteDoc(
    "Add a list of recipients",
    {200: (LoadedBody, ForecastBody)},
    body=MoreRecipients,
    other_media=("text/csv",),
    query=(_DRY_RUN, CHECK_NUMBERS),
    errors={**NOT_FOUND, "campaign_state": 409, "busy": 503, **INVALID},
    example={"recipients": [{"to": "(11) 99999-0001", "nome": "Ana"}]},
    detail="""\
As JSON (1 MiB) or as CSV with a header line (32 MiB, 100,000 lines; comma or semicolon; UTF-8, or as the charset of
the `Content-Type` says). The column `to` has the phones, all others are variables. All of the list is taken, or
nothing.""",
)
_LIST = RouteDoc(
    "Recipients, in the order of the list",
    {200: RecipientPage},
    query=(QueryParameter("state", Annotated[str, one_of(STATES)], "Only those that stand so."), *PAGED),
    errors=NOT_FOUND,
)
_FAILURES = RouteDoc(
    "Whoever was not written to, or not surely, as CSV",
    {200: "text/csv"},
    errors=NOT_FOUND,
    detail="It can be mended and sent in again as a list.",
    headers={"Content-Disposition": "The file's name."},
)


class RecipientRoutes:
    """``/units/{id}/campaigns/{id}/recipients`` and ``.../failures.csv``."""

    def __init__(self, commands: UnitCommands, campaigns: Campaigns, pool: Pool) -> None:
        self._commands = commands
        self._campaigns = campaigns
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        campaign = "/units/<uuid:unit>/campaigns/<uuid:campaign>"
        routes.add("POST", f"{campaign}/recipients", "add_recipients", self.add, Access.CAMPAIGN, _ADD)
        routes.add("GET", f"{campaign}/recipients", "list_recipients", self.list, Access.READ, _LIST)
        routes.add("GET", f"{campaign}/failures.csv", "export_failures", self.failures, Access.READ, _FAILURES)

    async def add(self, unit: UUID, campaign: UUID) -> Response:
        """Load a list from ``text/csv`` or JSON, all or nothing; ``?dryRun=true`` stores nothing."""
        dry_run, check = query_bool("dryRun"), query_bool("checkNumbers")
        async with aclosing(_body_chunks()) as chunks:
            source = await _recipient_list(chunks)
            if dry_run:
                found = await self._campaigns.forecast_load(UnitId(unit), campaign, source, check_numbers=check)
                return json_response(forecast_body(found))
            tally = await self._campaigns.load(UnitId(unit), campaign, source, check_numbers=check)
        row = await find_campaign(self._pool, UnitId(unit), campaign, fresh=True)
        return json_response(LoadedBody(tally_body(tally), campaign_body(row)))

    async def list(self, unit: UUID, campaign: UUID) -> Response:
        """In the order of the list; in one ``state``, or all."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InRecipients)
        state = request.args.get("state")
        if state is not None and state not in STATES:
            raise invalid("state", f"is one of {', '.join(STATES)}")
        await self._require_campaign(id, campaign)
        states, number = (state,) if state is not None else None, after.number if after is not None else 0
        rows = await stored.list_recipients(self._pool, id, campaign, states, number, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InRecipients(row.number))
        return json_response(RecipientPage([recipient_body(row) for row in page], next_cursor))

    async def failures(self, unit: UUID, campaign: UUID) -> Response:
        """Recipients that failed or are uncertain, as CSV that can be corrected and loaded again."""
        id = self._commands.find(UnitId(unit)).id
        await self._require_campaign(id, campaign)
        columns = sorted(await stored.list_variables(self._pool, id, campaign))
        response = Response(self._export(id, campaign, columns), 200, content_type="text/csv; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="failures-{campaign}.csv"'
        return response

    async def _export(self, unit: UnitId, campaign: UUID, columns: Iterable[str]) -> AsyncIterator[bytes]:
        names = [name for name in columns if name not in _OWN_COLUMNS]
        yield csv_bytes([[*_OWN_COLUMNS, *names]])
        after = 0
        while page := await stored.list_recipients(self._pool, unit, campaign, _FAILED_STATES, after, _EXPORT_BATCH):
            yield csv_bytes([_csv_cells(recipient, names) for recipient in page])
            after = page[-1].number

    async def _require_campaign(self, unit: UnitId, id: UUID) -> None:
        if not await stored.has_campaign(self._pool, unit, id):
            raise UnknownCampaign("the unit has no such campaign")


async def find_campaign(pool: Pool, unit: UnitId, id: UUID, *, fresh: bool = False) -> Campaign:
    """The campaign with its counts, as they are now where they are to be ``fresh``. Raises UnknownCampaign."""
    campaign = await stored.find_campaign(pool, unit, id, fresh=fresh)
    if campaign is None:
        raise UnknownCampaign("the unit has no such campaign")
    return campaign


async def _body_chunks() -> AsyncGenerator[bytes, None]:
    """The request's body as it arrives. Raises Problem 413."""
    size = 0
    async for chunk in request.body:
        size += len(chunk)
        if size > MAX_LIST:
            raise Problem(413, "body_too_large", f"a list has at most {MAX_LIST:,} bytes")
        yield chunk


async def _recipient_list(chunks: AsyncIterator[bytes]) -> RecipientCsv | RecipientRows:
    """The list in the request's body. Raises Problem 413, 415 and 422."""
    if request.mimetype == "text/csv":
        charset = request.mimetype_params.get("charset", "utf-8").lower()
        if charset not in CHARSETS:
            raise invalid("Content-Type", f"has a charset of {', '.join(sorted(CHARSETS))}")
        return RecipientCsv(chunks, charset)
    if request.mimetype in ("application/json", ""):
        raw = bytearray()
        async for chunk in chunks:
            raw += chunk
            if len(raw) > _MAX_JSON:
                raise Problem(413, "body_too_large", "a list of this size is sent as text/csv")
        return decode_body(bytes(raw), MoreRecipients).recipients
    raise Problem(415, "unsupported_media_type", "a list is text/csv or application/json")


_OWN_COLUMNS = ("number", "to", "state", "reason", "detail")


def _csv_cells(recipient: Recipient, names: Iterable[str]) -> list[str]:
    # Without its plus a phone is no formula, and is still read back.
    to = recipient.recipient.removeprefix("+")
    own = [str(recipient.number), to, recipient.state, recipient.reason or "", recipient.detail or ""]
    return [*own, *(recipient.values.get(name, "") for name in names)]
