"""Routes of suppressions: contacts that get no campaigns; listed, added and removed."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.framework.json_bodies import (
    AwareDatetime,
    RequestBody,
    ResponseBody,
    Timestamp,
    body_from,
    json_response,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, page_query, split_page
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.campaigns.opt_outs import Suppression, list_suppressions
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.units.unit_commands import UnitCommands


class NewSuppression(RequestBody, frozen=True):
    """Body of ``POST /units/{id}/suppressions``: a phone in any usual form, or ``lid:`` and its digits."""

    to: Annotated[str, Meta(min_length=1, max_length=80)]


class _InList(Position, frozen=True, tag="s"):
    at: AwareDatetime
    contact: str


class SuppressionBody(ResponseBody, frozen=True):
    """A contact that gets no campaigns."""

    contact: Annotated[str, Meta(description="Names it in the path: a phone with its plus, or `lid:` and digits.")]
    phone: str | None
    lid: str | None
    name: str | None
    needs_person: Annotated[bool, Meta(description="Only a LID is known; somebody must find out whose it is.")]
    reason: Annotated[str, Meta(description="Why: the contact said so, or somebody added it.")]
    word: Annotated[str | None, Meta(description="What the contact wrote.")]
    external_id: Annotated[str | None, Meta(description="WhatsApp's id of the message in which it did.")]
    created_at: Timestamp | None


class SuppressionPage(Page[SuppressionBody], frozen=True):
    """Contacts that get no campaigns, the latest first."""


_LIST = RouteDoc("Who wants no campaigns", {200: SuppressionPage}, query=PAGED)
_ADD = RouteDoc(
    "Write no campaigns to a contact",
    {201: SuppressionBody, 200: SuppressionBody},
    body=NewSuppression,
    errors={"invalid_phone": 422},
    example={"to": "(11) 99999-0001"},
    detail="200 where it was so already. Replies are not touched by it.",
)
_RELEASE = RouteDoc(
    "Let campaigns be written to a contact again",
    {204: None},
    errors={"suppression_not_found": 404, "invalid_phone": 422},
    detail="By its phone and by its LIDs.",
)


class SuppressionRoutes:
    """``/units/{id}/suppressions``."""

    def __init__(self, commands: UnitCommands, campaigns: Campaigns, pool: Pool) -> None:
        self._commands = commands
        self._campaigns = campaigns
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/suppressions"
        routes.add("GET", path, "list_suppressions", self.list, Access.READ, _LIST)
        routes.add("POST", path, "suppress", self.add, Access.SEND, _ADD)
        routes.add("DELETE", f"{path}/<string:contact>", "release_suppression", self.release, Access.SEND, _RELEASE)

    async def list(self, unit: UUID) -> Response:
        """Latest first. ``needsPerson``: only a LID is known, and somebody must find out whose it is."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InList)
        rows = await list_suppressions(self._pool, id, (after.at, after.contact) if after else None, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InList(row.created_at, row.canonical))
        return json_response(SuppressionPage([_suppression_body(row) for row in page], next_cursor))

    async def add(self, unit: UUID) -> Response:
        """201, or 200 if the contact was suppressed already."""
        body = await read_body(NewSuppression)
        canonical, fresh = await self._campaigns.suppressions.add(UnitId(unit), body.to)
        (stored,) = await list_suppressions(self._pool, UnitId(unit), None, 1, canonical)
        return json_response(_suppression_body(stored), 201 if fresh else 200)

    async def release(self, unit: UUID, contact: str) -> Response:
        """Allow campaigns to the contact again, by its phone and LIDs."""
        await self._campaigns.suppressions.remove(UnitId(unit), contact)
        return Response(b"", 204)


def _suppression_body(suppression: Suppression) -> SuppressionBody:
    contact, needs_person = suppression.canonical, suppression.phone is None
    return body_from(SuppressionBody, suppression, contact=contact, needs_person=needs_person)
