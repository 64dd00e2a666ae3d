"""Routes of what an operator lets tenants set."""

from dataclasses import asdict
from typing import Annotated

from msgspec import Meta
from quart import Response

from zapline.domain.tenants.ceilings import AboveCeiling, Ceilings
from zapline.http.api.framework.json_bodies import RequestBody, ResponseBody, json_response, read_body
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.supervisors.accounts.tenant_ceilings import TenantCeilings
from zapline.supervisors.notifications.crm_webhook_commands import MAX_HOOKS

PROBLEMS: ProblemTypes = {AboveCeiling: ProblemType(422, "above_ceiling")}
MAX_COUNT = 1_000_000

_PerMinute = Annotated[
    Annotated[float, Meta(ge=0.1, le=6000)] | None, Meta(description="Messages a minute that a token may set at most.")
]
_Burst = Annotated[
    Annotated[int, Meta(ge=1, le=1000)] | None, Meta(description="Messages at once that a token may set at most.")
]
_Gap = Annotated[
    Annotated[float, Meta(ge=0, le=3600)] | None,
    Meta(description="Seconds between two messages to one recipient that a token may set at least."),
]
_CampaignSeconds = Annotated[
    Annotated[float, Meta(ge=0.001, le=3600)] | None,
    Meta(description="Seconds between two messages of campaigns that a token may set at least."),
]
_DailyCap = Annotated[
    Annotated[int, Meta(ge=1, le=MAX_COUNT)] | None, Meta(description="Messages a day that a token may set at most.")
]
_Hooks = Annotated[
    Annotated[int, Meta(ge=0, le=MAX_HOOKS)] | None,
    Meta(description="Hooks of a unit, or of an organization, up to which its tokens may make more."),
]
_Tokens = Annotated[
    Annotated[int, Meta(ge=1, le=MAX_COUNT)] | None,
    Meta(description="Valid tokens that a unit, or an organization, may have, whoever makes them."),
]
_Requests = Annotated[
    Annotated[int, Meta(ge=1, le=MAX_COUNT)] | None,
    Meta(description="Requests a minute of each token of units that has no limit of its own."),
]


class NewCeilings(RequestBody, frozen=True):
    """The ceilings as they shall be; null, or left out: none."""

    per_minute: _PerMinute = None
    burst: _Burst = None
    gap_seconds: _Gap = None
    campaign_seconds: _CampaignSeconds = None
    daily_cap: _DailyCap = None
    hooks: _Hooks = None
    tokens: _Tokens = None
    requests_per_minute: _Requests = None


class CeilingsBody(ResponseBody, frozen=True):
    """What the operator lets tenants set; null: no ceiling."""

    per_minute: _PerMinute
    burst: _Burst
    gap_seconds: _Gap
    campaign_seconds: _CampaignSeconds
    daily_cap: _DailyCap
    hooks: _Hooks
    tokens: _Tokens
    requests_per_minute: _Requests


_GET = RouteDoc("What tenants' tokens may set at most", {200: CeilingsBody})
_PUT = RouteDoc(
    "Replace what tenants' tokens may set at most",
    {200: CeilingsBody},
    body=NewCeilings,
    example={"perMinute": 30, "campaignSeconds": 5, "hooks": 3, "requestsPerMinute": 600},
    detail="It holds for what tokens of units and organizations set from now on (`above_ceiling`), and not for "
    "administrators; what is set already stays. `tokens` holds for everybody. `requestsPerMinute` holds at once, for "
    "each daemon by itself.",
)


class CeilingRoutes:
    """``/admin/ceilings``, for administrators."""

    def __init__(self, ceilings: TenantCeilings) -> None:
        self._ceilings = ceilings

    def attach(self, routes: RouteTable) -> None:
        routes.add("GET", "/admin/ceilings", "get_ceilings", self.get, Access.ADMIN, _GET)
        routes.add("PUT", "/admin/ceilings", "put_ceilings", self.put, Access.ADMIN, _PUT)

    async def get(self) -> Response:
        return json_response(CeilingsBody(**asdict(await self._ceilings.load())))

    async def put(self) -> Response:
        body = await read_body(NewCeilings)
        wanted = Ceilings(**{name: getattr(body, name) for name in NewCeilings.__struct_fields__})
        await self._ceilings.replace(wanted)
        return json_response(CeilingsBody(**asdict(wanted)))
