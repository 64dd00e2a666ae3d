"""Who of a unit's contacts wants no campaigns: listed, added and taken off by hand."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import Answer, Body, Moment, read_body, reply
from zapline.http.api.framework.paging import PAGED, Page, Position, cursor, encode, limit
from zapline.http.api.framework.routes import Access, Doc, Routes
from zapline.sql.inbound.opt_outs import Suppression, list_suppressions
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.units.unit_commands import Submit


class NewSuppression(Body, frozen=True):
    """Body of ``POST /units/{id}/suppressions``: a phone in any usual form, or ``lid:`` and its digits."""

    to: Annotated[str, Meta(min_length=1, max_length=80)]


class _InList(Position, frozen=True, tag="s"):
    at: Annotated[datetime, Meta(tz=True)]
    contact: str


class SuppressionBody(Answer, frozen=True):
    """A contact that gets no campaigns."""

    contact: Annotated[str, Meta(description="Names it in the path: a phone with its plus, or `lid:` and digits.")]
    phone: str | None
    lid: str | None
    name: str | None
    needs_person: Annotated[bool, Meta(description="Only a LID is known; somebody must find out whose it is.")]
    reason: Annotated[str, Meta(description="Why: the contact said so, or somebody added it.")]
    word: Annotated[str | None, Meta(description="What the contact wrote.")]
    external_id: Annotated[str | None, Meta(description="WhatsApp's id of the message in which it did.")]
    created_at: Moment | None


class SuppressionPage(Page[SuppressionBody], frozen=True):
    """Contacts that get no campaigns, the latest first."""


_LIST = Doc("Who wants no campaigns", {200: SuppressionPage}, query=PAGED)
_ADD = Doc(
    "Write no campaigns to a contact",
    {201: SuppressionBody, 200: SuppressionBody},
    body=NewSuppression,
    errors={"invalid_phone": 422},
    example={"to": "(11) 99999-0001"},
    detail="200 where it was so already. Replies are not touched by it.",
)
_RELEASE = Doc(
    "Let campaigns be written to a contact again",
    {204: None},
    errors={"suppression_not_found": 404, "invalid_phone": 422},
    detail="By its phone and by its LIDs.",
)


class Suppressions:
    """``/units/{id}/suppressions``."""

    def __init__(self, submit: Submit, campaigns: Campaigns, pool: Pool) -> None:
        self._submit = submit
        self._campaigns = campaigns
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        all_ = "/units/<uuid:unit>/suppressions"
        routes.add("GET", all_, "list_suppressions", self.list, Access.READ, _LIST)
        routes.add("POST", all_, "suppress", self.add, Access.SEND, _ADD)
        routes.add("DELETE", f"{all_}/<string:contact>", "release_suppression", self.release, Access.SEND, _RELEASE)

    async def list(self, unit: UUID) -> Response:
        """The latest first. ``needsPerson``: only a LID is known, and somebody must find out whose it is."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InList)
        found = await list_suppressions(self._pool, id, (after.at, after.contact) if after else None, most + 1)
        page = found[:most]
        more = encode(_InList(page[-1].created_at, page[-1].canonical)) if len(found) > most else None
        return reply(SuppressionPage([_suppression(one) for one in page], more))

    async def add(self, unit: UUID) -> Response:
        """201, or 200 where it was so already."""
        asked = await read_body(NewSuppression)
        canonical, fresh = await self._campaigns.suppress(UnitId(unit), asked.to)
        (stored,) = await list_suppressions(self._pool, UnitId(unit), None, 1, canonical)
        return reply(_suppression(stored), 201 if fresh else 200)

    async def release(self, unit: UUID, contact: str) -> Response:
        """The contact may be written to again, by its phone and by its LIDs."""
        await self._campaigns.release(UnitId(unit), contact)
        return Response(b"", 204)


def _suppression(one: Suppression) -> SuppressionBody:
    return SuppressionBody(
        contact=one.canonical,
        phone=one.phone,
        lid=one.lid,
        name=one.name,
        needs_person=one.phone is None,
        reason=one.reason,
        word=one.word,
        external_id=one.external_id,
        created_at=iso(one.created_at),
    )
