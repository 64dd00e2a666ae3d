"""Routes that change messages which were sent: edit, delete for everyone, and what was asked for."""

from collections.abc import Awaitable, Sequence
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
    one_of,
    read_body,
)
from zapline.http.api.framework.paging import PAGED, Page, Position, page_query, split_page
from zapline.http.api.framework.problems import Problem, ProblemType, ProblemTypes
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.http.api.messages.message_responses import WatchedMessageBody, watched_body
from zapline.sql.conversations import conversations
from zapline.sql.outbound import message_changes
from zapline.sql.outbound.message_changes import ChangeKind, ChangeState
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.changes.message_changes import (
    LONGEST_TEXT,
    Asked,
    ChangesHeld,
    ChangesTooFast,
    ChangeUnderWay,
    MessageChanges,
    NotChangeable,
)
from zapline.supervisors.outbound.submission import UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands

PROBLEMS: ProblemTypes = {
    NotChangeable: ProblemType(409, "not_changeable"),
    ChangeUnderWay: ProblemType(409, "change_under_way", retryable=True),
    ChangesHeld: ProblemType(409, "changes_held", retryable=True),
}


class EditMessage(RequestBody, frozen=True):
    """The new text of a message, or the new caption of its picture or video."""

    text: Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]


class MessageChangeBody(ResponseBody, frozen=True):
    """An edit or a deletion that was asked for."""

    id: UUID
    kind: Annotated[str, one_of(ChangeKind)]
    state: Annotated[
        str,
        one_of(
            ChangeState,
            "`uncertain`: Evolution has not answered. `unknown`: nobody could tell, only the phone shows it.",
        ),
    ]
    asked_at: Timestamp
    ended_at: Timestamp | None
    failure: Annotated[str | None, Meta(description="Code of the failure of the call.")]


class MessageChangePage(Page[MessageChangeBody], frozen=True):
    """What was asked to be changed of a message, the latest first."""


class _InChanges(Position, frozen=True, tag="mc"):
    at: AwareDatetime
    id: UUID


_ERRORS = {
    "message_not_found": 404,
    "not_changeable": 409,
    "change_under_way": 409,
    "changes_held": 409,
    "changes_too_fast": 429,
    "evolution_failed": 502,
}
_CERTAIN = (
    "200: the message is so. 202: Evolution has not answered in time; it is not asked again, its echo or its store "
    "tells, and `.../changes` shows it. 502: certainly nothing was changed. 429: a unit changes a few messages at "
    "once, then one each five seconds; nothing was asked."
)
_EDIT = RouteDoc(
    "Edit a message that was sent",
    {200: WatchedMessageBody, 202: WatchedMessageBody},
    body=EditMessage,
    errors=_ERRORS,
    example={"text": "Seu pedido sai às 15 h."},
    detail=f"A text of the unit's own, or the caption of its picture or video, for 15 minutes. {_CERTAIN} The same "
    "request again sends nothing. Hooks hear of it by `message.edited`.",
)
_DELETE = RouteDoc(
    "Delete a message for everyone",
    {200: WatchedMessageBody, 202: WatchedMessageBody},
    errors=_ERRORS,
    detail=f"A message of the unit's own, for two and a half days. {_CERTAIN} The same request again sends nothing. "
    "Hooks hear of it by `message.deleted`.",
)
_CHANGES = RouteDoc(
    "What was asked to be changed of a message",
    {200: MessageChangePage},
    query=PAGED,
    errors={"message_not_found": 404},
    polled=True,
)


class MessageChangeRoutes:
    """``PATCH`` and ``DELETE`` of ``/units/{id}/messages/{message}``, and ``.../changes``."""

    def __init__(self, commands: UnitCommands, changes: MessageChanges, pool: Pool) -> None:
        self._commands = commands
        self._changes = changes
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        message = "/units/<uuid:unit>/messages/<uuid:message>"
        routes.add("PATCH", message, "edit_message", self.edit, Access.SEND, _EDIT)
        routes.add("DELETE", message, "delete_message", self.delete, Access.SEND, _DELETE)
        routes.add("GET", f"{message}/changes", "list_message_changes", self.list, Access.READ, _CHANGES)

    async def edit(self, unit: UUID, message: UUID) -> Response:
        """The message: 200 where it is edited, 202 where that is not known yet."""
        body = await read_body(EditMessage)
        return await _answer(self._changes.edit(self._commands.find(UnitId(unit)), message, body.text))

    async def delete(self, unit: UUID, message: UUID) -> Response:
        """The message: 200 where it is deleted, 202 where that is not known yet."""
        return await _answer(self._changes.delete(self._commands.find(UnitId(unit)), message))

    async def list(self, unit: UUID, message: UUID) -> Response:
        """The latest first."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InChanges)
        if await conversations.find_message(self._pool, id, message) is None:
            raise UnknownMessage("the unit has no such message")
        before = (after.at, after.id) if after else None
        rows = await message_changes.list_changes(self._pool, id, message, before, limit + 1)
        page, next_cursor = split_page(rows, limit, lambda row: _InChanges(row.asked_at, row.id))
        items: Sequence[MessageChangeBody] = [body_from(MessageChangeBody, row) for row in page]
        return json_response(MessageChangePage(items, next_cursor))


async def _answer(change: Awaitable[Asked]) -> Response:
    try:
        asked = await change
    except ChangesTooFast as held:
        raise Problem(429, "changes_too_fast", held.sentence, retryable=True, retry_after=held.wait) from held
    return json_response(watched_body(asked.message), 200 if asked.certain else 202)
