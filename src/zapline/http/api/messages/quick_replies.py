"""Routes of a unit's quick replies: texts that its people answer with again and again."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.api.framework.json_bodies import (
    RequestBody,
    ResponseBody,
    Timestamp,
    body_from,
    json_response,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, page_query, split_page
from zapline.http.api.framework.problems import ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.sql.conversations import quick_replies
from zapline.sql.conversations.quick_replies import QuickReply
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.conversations.quick_replies import (
    LONGEST_TEXT,
    InvalidQuickReply,
    QuickReplies,
    TooManyQuickReplies,
    UnknownQuickReply,
)
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    InvalidQuickReply: ProblemType(422, "invalid_quick_reply"),
    TooManyQuickReplies: ProblemType(409, "too_many_quick_replies"),
    UnknownQuickReply: ProblemType(404, "quick_reply_not_found"),
}


class NewQuickReply(RequestBody, frozen=True):
    """Body of ``PUT /units/{unit}/quick-replies/{shortcut}``."""

    text: Annotated[
        Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)],
        Meta(description="What is put into the message, with WhatsApp's own marks."),
    ]


class _InList(Position, frozen=True, tag="q"):
    shortcut: str


class QuickReplyBody(ResponseBody, frozen=True):
    """A quick reply."""

    shortcut: Annotated[str, Meta(description="What is typed behind the `/`: small letters, digits, `-` and `_`.")]
    text: str
    changed_at: Timestamp | None


class QuickReplyPage(Page[QuickReplyBody], frozen=True):
    """Quick replies in the order of their shortcuts."""


_LIST = RouteDoc("The unit's quick replies, by their shortcuts", {200: QuickReplyPage}, query=PAGED)
_PUT = RouteDoc(
    "Add a quick reply, or change its text",
    {201: QuickReplyBody, 200: QuickReplyBody},
    body=NewQuickReply,
    errors={"invalid_quick_reply": 422, "too_many_quick_replies": 409, "quick_reply_not_found": 404},
    example={"text": "Abrimos de segunda a sábado, das 9h às 18h."},
    detail="200 where there was one with this shortcut. In the console people choose it by a `/` in the message.",
)
_DELETE = RouteDoc("Remove a quick reply", {204: None}, errors={"quick_reply_not_found": 404})


class QuickReplyRoutes:
    """``/units/{id}/quick-replies``."""

    def __init__(self, commands: UnitCommands, replies: QuickReplies, pool: Pool) -> None:
        self._commands = commands
        self._replies = replies
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        path = "/units/<uuid:unit>/quick-replies"
        routes.add("GET", path, "list_quick_replies", self.list, Access.READ, _LIST)
        routes.add("PUT", f"{path}/<string:shortcut>", "put_quick_reply", self.put, Access.SEND, _PUT)
        routes.add("DELETE", f"{path}/<string:shortcut>", "delete_quick_reply", self.delete, Access.SEND, _DELETE)

    async def list(self, unit: UUID) -> Response:
        """By shortcut."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InList)
        rows = await quick_replies.list_replies(self._pool, id, after.shortcut if after else "", limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InList(row.shortcut))
        return json_response(QuickReplyPage([_body(row) for row in page], next_cursor))

    async def put(self, unit: UUID, shortcut: str) -> Response:
        """201, or 200 if there was one."""
        body = await read_body(NewQuickReply)
        name, fresh = await self._replies.put(UnitId(unit), shortcut, body.text)
        stored = await quick_replies.find_reply(self._pool, UnitId(unit), name)
        if stored is None:  # removed by somebody else meanwhile
            raise UnknownQuickReply("the unit has no such quick reply")
        return json_response(_body(stored), 201 if fresh else 200)

    async def delete(self, unit: UUID, shortcut: str) -> Response:
        """Remove it."""
        await self._replies.remove(UnitId(unit), shortcut)
        return Response(b"", 204)


def _body(reply: QuickReply) -> QuickReplyBody:
    return body_from(QuickReplyBody, reply)
