"""Who of a unit's contacts wants no campaigns: listed, added and taken off by hand."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.paging import Position, cursor, encode, limit
from zapline.http.routes import Access, Routes
from zapline.http.wire import Body, iso, read_body, reply
from zapline.sql.opt_outs import Suppression, list_suppressions
from zapline.sql.pool import Pool
from zapline.supervisors.campaigns import Campaigns
from zapline.supervisors.submit import Submit


class NewSuppression(Body, frozen=True):
    """Body of ``POST /units/{id}/suppressions``: a phone in any usual form, or ``lid:`` and its digits."""

    to: Annotated[str, Meta(min_length=1, max_length=80)]


class _InList(Position, frozen=True, tag="s"):
    at: Annotated[datetime, Meta(tz=True)]
    contact: str


class Suppressions:
    """``/units/{id}/suppressions``."""

    def __init__(self, submit: Submit, campaigns: Campaigns, pool: Pool) -> None:
        self._submit = submit
        self._campaigns = campaigns
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        all_ = "/units/<uuid:unit>/suppressions"
        routes.add("GET", all_, "list_suppressions", self.list, Access.READ)
        routes.add("POST", all_, "suppress", self.add, Access.SEND)
        routes.add("DELETE", f"{all_}/<string:contact>", "release_suppression", self.release, Access.SEND)

    async def list(self, unit: UUID) -> Response:
        """The latest first. ``needsPerson``: only a LID is known, and somebody must find out whose it is."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InList)
        found = await list_suppressions(self._pool, id, (after.at, after.contact) if after else None, most + 1)
        page = found[:most]
        more = encode(_InList(page[-1].created_at, page[-1].canonical)) if len(found) > most else None
        return reply({"items": [_suppression(one) for one in page], "nextCursor": more})

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


def _suppression(one: Suppression) -> dict[str, object]:
    return {
        "contact": one.canonical,
        "phone": one.phone,
        "lid": one.lid,
        "name": one.name,
        "needsPerson": one.phone is None,
        "reason": one.reason,
        "word": one.word,
        "externalId": one.external_id,
        "createdAt": iso(one.created_at),
    }
