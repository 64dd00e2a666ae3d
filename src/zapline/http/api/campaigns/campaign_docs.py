"""What the API's document says of the routes of campaigns."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from zapline.domain.campaigns.states import Ask
from zapline.http.api.campaigns.campaign_requests import MoreRecipients, NewCampaign
from zapline.http.api.campaigns.campaign_responses import (
    STATES,
    CampaignBody,
    CampaignPage,
    ForecastBody,
    LoadedBody,
    RecipientPage,
    SteeredCampaignBody,
)
from zapline.http.api.framework.json_bodies import Body, one_of
from zapline.http.api.framework.paging import CURSOR, PAGED
from zapline.http.api.framework.routes import Doc, Query

_EXAMPLE = {
    "clientCampaignId": "june-2026",
    "name": "Junho",
    "text": "Olá {{nome}}, a promoção de junho começou!",
    "recipients": [{"to": "(11) 99999-0001", "nome": "Ana"}],
    "window": {"from": "09:00", "until": "18:00"},
    "start": False,
}
_UNKNOWN = {"campaign_not_found": 404}
_INVALID = dict.fromkeys(
    (
        *("invalid_campaign", "invalid_template", "invalid_recipients", "invalid_phone"),
        *("invalid_media_url", "media_url_refused", "media_url_unresolvable"),
    ),
    422,
)
CREATE = Doc(
    "Make a campaign",
    {201: CampaignBody, 200: CampaignBody},
    body=NewCampaign,
    errors={"client_campaign_id_taken": 409, "campaign_state": 409, "no_recipients": 409, **_INVALID},
    example=_EXAMPLE,
    detail="""\
It has exactly one of `text`, `image`, `video`, `audio` and `document`; text and caption may hold variables as
`{{nome}}`, which are columns of the list. `recipients` may be given at once or be added later; `start` starts it at
once, or at `startAt`.

Give `clientCampaignId` to be sure that a repeated request makes no second campaign: the same again answers 200 with the
campaign that is there, and another one under the same id 409.""",
    headers={"Location": "Where the campaign is."},
)
TRY = Doc(
    "Try a campaign out: what would become of it",
    {200: ForecastBody},
    body=NewCampaign,
    errors=_INVALID,
    example=_EXAMPLE,
    detail="Counts who would be written to and who would be skipped, shows some messages, and when it would end.",
)
_FEW = Query("limit", Annotated[int, Meta(ge=1, le=50)], "How many at most; 20 unless told.")
LIST = Doc("Campaigns, newest first", {200: CampaignPage}, query=(_FEW, CURSOR), polled=True)
GET = Doc(
    "One campaign, with how many of its recipients stand where", {200: CampaignBody}, errors=_UNKNOWN, polled=True
)
_DRY = Query("dryRun", Literal["true", "false"], "`true`: only say what the list would come to.")
ADD = Doc(
    "Add a list of recipients",
    {200: (LoadedBody, ForecastBody)},
    body=MoreRecipients,
    other_bodies=("text/csv",),
    query=(_DRY,),
    errors={**_UNKNOWN, "campaign_state": 409, "busy": 503, **_INVALID},
    example={"recipients": [{"to": "(11) 99999-0001", "nome": "Ana"}]},
    detail="""\
As JSON (1 MiB) or as CSV with a header line (32 MiB, 100,000 lines; comma or semicolon; UTF-8, or as the charset of
the `Content-Type` says). The column `to` has the phones, all others are variables. All of the list is taken, or
nothing.""",
)
RECIPIENTS = Doc(
    "Recipients, in the order of the list",
    {200: RecipientPage},
    query=(Query("state", Annotated[str, one_of(STATES)], "Only those that stand so."), *PAGED),
    errors=_UNKNOWN,
)
FAILURES = Doc(
    "Whoever was not written to, or not surely, as CSV",
    {200: "text/csv"},
    errors=_UNKNOWN,
    detail="It can be mended and sent in again as a list.",
    headers={"Content-Disposition": "The file's name."},
)


def _steer(summary: str, detail: str, **errors: int) -> Doc:
    told = {**_UNKNOWN, "campaign_state": 409, **errors}
    return Doc(summary, {200: SteeredCampaignBody}, body=Body, errors=told, detail=detail)


_AGAIN = "May be repeated: what is so already is no error."
STEER: Mapping[Ask, Doc] = {
    Ask.START: _steer("Start a campaign", f"At once, or at its `startAt`. {_AGAIN}", no_recipients=409),
    Ask.PAUSE: _steer("Pause a campaign", f"What is on its way still goes. {_AGAIN}"),
    Ask.RESUME: _steer("Go on with a campaign", _AGAIN),
    Ask.CANCEL: _steer("Cancel a campaign", f"What has not been sent never will be. {_AGAIN}"),
    Ask.RETRY_FAILED: _steer("Try again whoever failed", "Nobody is written to who may have got the message."),
}
