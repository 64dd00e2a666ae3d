"""Routes of outgoing messages: send, show, cancel, decide an uncertain one, and the outbox."""

from typing import Literal
from uuid import UUID

from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.domain.outbox.work_states import WorkState
from zapline.http.api.framework.json_bodies import RequestBody, json_response, read_body
from zapline.http.api.framework.paging import PAGED, Position, Seq, page_query, split_page
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.messages.message_requests import NewMessage, send_request
from zapline.http.api.messages.message_responses import OutboxPage, WatchedMessageBody, watched_body
from zapline.sql.conversations import conversations
from zapline.sql.conversations.conversations import TrackedMessage
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.submission import Decision, Submissions, UnknownMessage
from zapline.supervisors.units.unit_commands import UnitCommands


class Release(RequestBody, frozen=True):
    """What becomes of an uncertain message."""

    decision: Literal["resend", "giveUp"]


_DECISIONS = {"resend": Decision.RESEND, "giveUp": Decision.GIVE_UP}
_UNFINISHED = (WorkState.QUEUED, WorkState.LEASED, WorkState.UNCERTAIN)
_STALLED = "stalled"


class _InOutbox(Position, frozen=True, tag="o"):
    seq: Seq


_EXAMPLE = {"clientMessageId": "order-4711", "to": "(11) 99999-0001", "text": "Seu pedido saiu para entrega."}
_NOT_FOUND = {"message_not_found": 404}
_SEND = RouteDoc(
    "Send a message",
    {202: WatchedMessageBody},
    body=NewMessage,
    errors={
        **_NOT_FOUND,
        "conversation_not_found": 404,
        "client_message_id_taken": 409,
        **dict.fromkeys(("invalid_media_url", "media_url_refused", "media_url_unresolvable"), 422),
        **dict.fromkeys(("target_not_found", "target_not_sent", "target_elsewhere", "not_writable"), 422),
        "upload_not_found": 422,
    },
    example=_EXAMPLE,
    detail="""\
Name `to` or `conversationId`, and exactly one of `text`, `image`, `video`, `audio`, `document`, `location`, `contact`,
`reaction` and `poll`. It is stored before the answer, and sent as soon as line and pace allow.

The same `clientMessageId` is the same message: a repeated request sends nothing and answers how the message stands;
with another content it is refused (409). So repeat a request without an answer as often as you like.""",
    headers={"Location": "Where the message is."},
)
_GET = RouteDoc("One message, and how the work on it stands", {200: WatchedMessageBody}, errors=_NOT_FOUND, polled=True)
_CANCEL = RouteDoc(
    "Take a message back that has not been sent",
    {200: WatchedMessageBody},
    body=RequestBody,
    errors={**_NOT_FOUND, "not_cancellable": 409},
)
_RELEASE = RouteDoc(
    "Decide an uncertain message",
    {200: WatchedMessageBody},
    body=Release,
    errors={**_NOT_FOUND, "not_uncertain": 409},
    example={"decision": "giveUp"},
    detail="Look at the phone first: `resend` sends it again, and if it had arrived it will be there twice.",
)
_STATE = QueryParameter(
    "state",
    Literal["queued", "leased", "uncertain", "settled", "dead", "cancelled", "expired", "stalled"],
    "Only those; without it all that is not done. `stalled`: taken by Evolution and confirmed by nobody in time.",
)
_OUTBOX = RouteDoc(
    "What is to be sent, and what waits for a person", {200: OutboxPage}, query=(_STATE, *PAGED), polled=True
)


class MessageRoutes:
    """The sending side of ``/units/{id}/messages``, and ``/units/{id}/outbox``."""

    def __init__(self, commands: UnitCommands, outgoing: Submissions, pool: Pool) -> None:
        self._commands = commands
        self._outgoing = outgoing
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        unit = "/units/<uuid:unit>"
        message = f"{unit}/messages/<uuid:message>"
        routes.add("POST", f"{unit}/messages", "send_message", self.send, Access.SEND, _SEND, audited=False)
        routes.add("GET", message, "get_message", self.get, Access.READ, _GET)
        routes.add("POST", f"{message}/cancel", "cancel_message", self.cancel, Access.SEND, _CANCEL)
        routes.add("POST", f"{message}/release", "release_message", self.release, Access.SEND, _RELEASE)
        routes.add("GET", f"{unit}/outbox", "list_outbox", self.outbox, Access.READ, _OUTBOX)

    async def send(self, unit: UUID) -> Response:
        """202 with the message and its state; the same response for a repeated request."""
        id = self._commands.find(UnitId(unit)).id
        stored, _ = await self._outgoing.send(id, send_request(await read_body(NewMessage)))
        response = json_response(watched_body(stored), 202)
        response.headers["Location"] = message_location(unit, stored.message.id)
        return response

    async def get(self, unit: UUID, message: UUID) -> Response:
        stored = await conversations.find_message(self._pool, self._commands.find(UnitId(unit)).id, message)
        if stored is None:
            raise UnknownMessage("the unit has no such message")
        return json_response(watched_body(stored))

    async def cancel(self, unit: UUID, message: UUID) -> Response:
        await read_body(RequestBody)
        id = self._commands.find(UnitId(unit)).id
        return json_response(watched_body(await self._outgoing.cancel(id, message)))

    async def release(self, unit: UUID, message: UUID) -> Response:
        body = await read_body(Release)
        decision = _DECISIONS[body.decision]
        id = self._commands.find(UnitId(unit)).id
        return json_response(watched_body(await self._outgoing.release(id, message, decision)))

    async def outbox(self, unit: UUID) -> Response:
        """Newest request first; messages of one work ``state``, or ``list_stalled`` ones, or all unfinished."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InOutbox)
        before = after.seq if after else None
        state = request.args.get("state")
        if state == _STALLED:
            messages = await conversations.list_stalled(self._pool, id, before, limit + 1)
        else:
            messages = await conversations.list_outbox(self._pool, id, _states(state), before, limit + 1)
        page, next_cursor = split_page(messages, limit, _outbox_position)
        return json_response(OutboxPage([watched_body(message) for message in page], next_cursor))


def message_location(unit: UUID, message: UUID) -> str:
    """Where a message is, as the answer to its request says."""
    return f"/units/{unit}/messages/{message}"


def _outbox_position(message: TrackedMessage) -> _InOutbox:
    return _InOutbox(message.sending.seq if message.sending is not None else 0)


def _states(state: str | None) -> tuple[WorkState, ...]:
    if state is None:
        return _UNFINISHED
    try:
        return (WorkState(state),)
    except ValueError:
        raise invalid("state", f"is one of {', '.join([*WorkState, _STALLED])}") from None
