"""Routes of campaigns: create, try out, list, show, and start, pause, resume, cancel or retry."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta
from quart import Response

from zapline.domain.campaigns.recipients_csv import InvalidRecipients
from zapline.domain.campaigns.states import CampaignCommand, WrongCampaignState
from zapline.domain.campaigns.text_templates import InvalidTemplate
from zapline.domain.contacts.phone_numbers import InvalidPhone
from zapline.domain.ids import UnitId
from zapline.http.api.campaigns.campaign_requests import NewCampaign, plan_of
from zapline.http.api.campaigns.campaign_responses import (
    CampaignBody,
    CampaignPage,
    ForecastBody,
    SteeredCampaignBody,
    campaign_body,
    forecast_body,
    steered_body,
)
from zapline.http.api.campaigns.campaign_results import ResultRoutes
from zapline.http.api.campaigns.recipients import CHECK_NUMBERS, INVALID, NOT_FOUND, RecipientRoutes, find_campaign
from zapline.http.api.framework.json_bodies import AwareDatetime, RequestBody, json_response, read_body
from zapline.http.api.framework.paging import CURSOR, Position, query_bool, query_cursor, query_int, split_page
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.sql.campaigns import campaigns as stored
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import (
    CampaignConflict,
    Campaigns,
    InvalidCampaign,
    NoRecipients,
    NotFillable,
    UnknownCampaign,
)
from zapline.supervisors.campaigns.recipient_loading import TooManyLists
from zapline.supervisors.campaigns.suppressions import UnknownSuppression
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    UnknownCampaign: ProblemType(404, "campaign_not_found"),
    UnknownSuppression: ProblemType(404, "suppression_not_found"),
    CampaignConflict: ProblemType(409, "client_campaign_id_taken"),
    WrongCampaignState: ProblemType(409, "campaign_state"),
    NotFillable: ProblemType(409, "campaign_state"),
    NoRecipients: ProblemType(409, "no_recipients"),
    InvalidCampaign: ProblemType(422, "invalid_campaign"),
    InvalidTemplate: ProblemType(422, "invalid_template"),
    InvalidRecipients: ProblemType(422, "invalid_recipients", field="recipients"),
    InvalidPhone: ProblemType(422, "invalid_phone", field="to"),
    TooManyLists: ProblemType(503, "busy", retryable=True),
}


class _InList(Position, frozen=True, tag="g"):
    at: AwareDatetime
    id: UUID


_EXAMPLE = {
    "clientCampaignId": "june-2026",
    "name": "Junho",
    "text": "Olá {{nome}}, a promoção de junho começou!",
    "recipients": [{"to": "(11) 99999-0001", "nome": "Ana"}],
    "window": {"from": "09:00", "until": "18:00"},
    "start": False,
}
_CREATE = RouteDoc(
    "Make a campaign",
    {201: CampaignBody, 200: CampaignBody},
    body=NewCampaign,
    errors={"client_campaign_id_taken": 409, "campaign_state": 409, "no_recipients": 409, **INVALID},
    example=_EXAMPLE,
    detail="""\
It has exactly one of `text`, `image`, `video`, `audio` and `document`; text and caption may hold variables as
`{{nome}}`, which are columns of the list. `recipients` may be given at once or be added later; `start` starts it at
once, or at `startAt`.

Give `clientCampaignId` to be sure that a repeated request makes no second campaign: the same again answers 200 with the
campaign that is there, and another one under the same id 409.""",
    headers={"Location": "Where the campaign is."},
)
_TRY = RouteDoc(
    "Try a campaign out: what would become of it",
    {200: ForecastBody},
    body=NewCampaign,
    query=(CHECK_NUMBERS,),
    errors=INVALID,
    example=_EXAMPLE,
    detail="Counts who would be written to and who would be skipped, shows some messages, and when it would end.",
)
_LIMIT = QueryParameter("limit", Annotated[int, Meta(ge=1, le=50)], "How many at most; 20 unless told.")
_COUNTED = """\
Of a campaign with more than 5,000 recipients the counts may be up to five seconds old, but never older than its latest
change of state. The answers to commands, and those to new lists, are counted at that moment."""
_LIST = RouteDoc("Campaigns, newest first", {200: CampaignPage}, query=(_LIMIT, CURSOR), polled=True, detail=_COUNTED)
_GET = RouteDoc(
    "One campaign, with how many of its recipients stand where",
    {200: CampaignBody},
    errors=NOT_FOUND,
    polled=True,
    detail=_COUNTED,
)


def _command_doc(summary: str, detail: str, **errors: int) -> RouteDoc:
    all_errors = {**NOT_FOUND, "campaign_state": 409, **errors}
    return RouteDoc(summary, {200: SteeredCampaignBody}, body=RequestBody, errors=all_errors, detail=detail)


_REPEATABLE = "May be repeated: what is so already is no error."
_COMMANDS: Mapping[CampaignCommand, RouteDoc] = {
    CampaignCommand.START: _command_doc(
        "Start a campaign", f"At once, or at its `startAt`. {_REPEATABLE}", no_recipients=409
    ),
    CampaignCommand.PAUSE: _command_doc("Pause a campaign", f"What is on its way still goes. {_REPEATABLE}"),
    CampaignCommand.RESUME: _command_doc("Go on with a campaign", _REPEATABLE),
    CampaignCommand.CANCEL: _command_doc("Cancel a campaign", f"What has not been sent never will be. {_REPEATABLE}"),
    CampaignCommand.RETRY_FAILED: _command_doc(
        "Try again whoever failed", "Nobody is written to who may have got the message."
    ),
}


class CampaignRoutes:
    """``/units/{id}/campaigns``."""

    def __init__(self, commands: UnitCommands, campaigns: Campaigns, pool: Pool) -> None:
        self._commands = commands
        self._campaigns = campaigns
        self._pool = pool
        self._recipients = RecipientRoutes(commands, campaigns, pool)
        self._results = ResultRoutes(commands, pool)

    def attach(self, routes: RouteTable) -> None:
        campaigns, campaign = "/units/<uuid:unit>/campaigns", "/units/<uuid:unit>/campaigns/<uuid:campaign>"
        routes.add("POST", campaigns, "create_campaign", self.create, Access.CAMPAIGN, _CREATE)
        routes.add("POST", f"{campaigns}/dry-run", "try_campaign", self.try_out, Access.CAMPAIGN, _TRY, audited=False)
        routes.add("GET", campaigns, "list_campaigns", self.list, Access.READ, _LIST)
        routes.add("GET", campaign, "get_campaign", self.get, Access.READ, _GET)
        self._recipients.attach(routes)
        self._results.attach(routes)
        for command, doc in _COMMANDS.items():
            name = f"{command.value.replace('-', '_')}_campaign"
            routes.add("POST", f"{campaign}/{command.value}", name, self._command(command), Access.CAMPAIGN, doc)

    async def create(self, unit: UUID) -> Response:
        """201 with the campaign; 200 for a repeated request with the same ``clientCampaignId``."""
        plan = plan_of(await read_body(NewCampaign))
        id, fresh = await self._campaigns.create(UnitId(unit), plan)
        campaign = await find_campaign(self._pool, UnitId(unit), id, fresh=True)
        response = json_response(campaign_body(campaign), 201 if fresh else 200)
        response.headers["Location"] = f"/units/{unit}/campaigns/{id}"
        return response

    async def try_out(self, unit: UUID) -> Response:
        """The forecast of such a campaign; nothing is stored."""
        plan, check = plan_of(await read_body(NewCampaign)), query_bool("checkNumbers")
        return json_response(forecast_body(await self._campaigns.forecast(UnitId(unit), plan, check_numbers=check)))

    async def list(self, unit: UUID) -> Response:
        """Newest first. Pages are small because the recipients of each campaign are counted."""
        id, limit, after = self._commands.find(UnitId(unit)).id, query_int("limit", 20, 1, 50), query_cursor(_InList)
        rows = await stored.list_campaigns(self._pool, id, (after.at, after.id) if after else None, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InList(row.created_at, row.id))
        return json_response(CampaignPage([campaign_body(row) for row in page], next_cursor))

    async def get(self, unit: UUID, campaign: UUID) -> Response:
        return json_response(
            campaign_body(await find_campaign(self._pool, self._commands.find(UnitId(unit)).id, campaign))
        )

    def _command(self, command: CampaignCommand) -> Callable[[UUID, UUID], Awaitable[Response]]:
        async def handler(unit: UUID, campaign: UUID) -> Response:
            await read_body(RequestBody)
            retried = await self._campaigns.change_state(UnitId(unit), campaign, command)
            row = await find_campaign(self._pool, UnitId(unit), campaign, fresh=True)
            return json_response(steered_body(row, retried if command is CampaignCommand.RETRY_FAILED else UNSET))

        return handler
