"""Routes that find messages by their words."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.http.api.framework.json_bodies import json_response
from zapline.http.api.framework.paging import PAGED, Position, Seq, encode_cursor, page_query, split_page
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.messages.message_responses import FoundPage, message_body
from zapline.sql.conversations.message_search import MAX_WORDS, search_messages
from zapline.sql.conversations.search_places import SearchPlaces
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.unit_commands import UnitCommands

_LONGEST = 200


class _Found(Position, frozen=True, tag="f"):
    seq: Seq


_QUERY = QueryParameter(
    "q",
    Annotated[str, Meta(min_length=1, max_length=_LONGEST)],
    f"Words, of which the first {MAX_WORDS} count: all must be there, and a word may lack its last letters.",
    required=True,
)
_SEARCH = RouteDoc(
    "Find messages by their words",
    {200: FoundPage},
    query=(_QUERY, *PAGED),
    errors={"searches_held": 429, "search_not_ready": 503},
    detail="Accents, capitals and signs do not count: `acao` finds *Ação!*. Searched is what a message says now (an "
    "edited one by its new text, a deleted one not at all), its caption and the name of its file. The latest arrival "
    "comes first. A search that takes longer than three seconds ends there: its page may hold few messages or none, "
    "and `nextCursor` goes on. A few searches are made at a time, of each unit one: where others search, the answer is "
    "429. After an upgrade of a large database the index of words is built while everything else goes on; until it is "
    "there, the answer is 503.",
)


class MessageSearchRoutes:
    """``/units/{id}/messages/search``."""

    def __init__(self, commands: UnitCommands, pool: Pool, places: SearchPlaces) -> None:
        self._commands = commands
        self._pool = pool
        self._places = places

    def attach(self, routes: RouteTable) -> None:
        routes.add("GET", "/units/<uuid:unit>/messages/search", "search_messages", self.search, Access.READ, _SEARCH)

    async def search(self, unit: UUID) -> Response:
        """Latest arrival first; 422 for a text without a letter or digit."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_Found)
        text = request.args.get("q", "")
        if len(text) > _LONGEST or "\0" in text:
            raise invalid("q", "is at most 200 characters of text")
        async with self._places.take(id):
            found = await search_messages(self._pool, id, text, after.seq if after else None, limit + 1)
        if found is None:
            raise invalid("q", "has no letter and no digit")
        page, next_cursor = split_page(found.items, limit, lambda message: _Found(message.seq))
        if found.stop is not None:
            next_cursor = encode_cursor(_Found(found.stop.seq))
        return json_response(FoundPage([message_body(message) for message in page], next_cursor))
