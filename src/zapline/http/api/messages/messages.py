"""Outgoing messages: asking for one, looking at it, taking it back, deciding an uncertain one, and the outbox."""

from typing import Literal
from uuid import UUID

from quart import Response, request

from zapline.domain.ids import UnitId
from zapline.domain.outbox.work_states import Work
from zapline.http.api.framework.json_bodies import Body, read_body, reply
from zapline.http.api.framework.paging import PAGED, Position, Seq, cursor, encode, limit
from zapline.http.api.framework.problems import invalid
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.http.api.messages.message_schemas import OutboxPage, WatchedMessageBody, watched_body
from zapline.http.api.messages.send_requests import NewMessage, send_asked
from zapline.sql.conversations import conversations
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.submission import Decision, Outgoing, UnknownMessage
from zapline.supervisors.units.unit_commands import Submit


class Release(Body, frozen=True):
    """What becomes of an uncertain message."""

    decision: Literal["resend", "giveUp"]


_DECISIONS = {"resend": Decision.RESEND, "giveUp": Decision.GIVE_UP}
_AT_WORK = (Work.QUEUED, Work.LEASED, Work.UNCERTAIN)
_STALLED = "stalled"


class _InOutbox(Position, frozen=True, tag="o"):
    seq: Seq


_EXAMPLE = {"clientMessageId": "order-4711", "to": "(11) 99999-0001", "text": "Seu pedido saiu para entrega."}
_NOT_FOUND = {"message_not_found": 404}
_SEND = Doc(
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
_GET = Doc("One message, and how the work on it stands", {200: WatchedMessageBody}, errors=_NOT_FOUND, polled=True)
_CANCEL = Doc(
    "Take a message back that has not been sent",
    {200: WatchedMessageBody},
    body=Body,
    errors={**_NOT_FOUND, "not_cancellable": 409},
)
_RELEASE = Doc(
    "Decide an uncertain message",
    {200: WatchedMessageBody},
    body=Release,
    errors={**_NOT_FOUND, "not_uncertain": 409},
    example={"decision": "giveUp"},
    detail="Look at the phone first: `resend` sends it again, and if it had arrived it will be there twice.",
)
_STATE = Query(
    "state",
    Literal["queued", "leased", "uncertain", "settled", "dead", "cancelled", "expired", "stalled"],
    "Only those; without it all that is not done. `stalled`: taken by Evolution and confirmed by nobody in time.",
)
_OUTBOX = Doc("What is to be sent, and what waits for a person", {200: OutboxPage}, query=(_STATE, *PAGED), polled=True)


class Messages:
    """``/units/{id}/messages`` as far as it is about sending, and ``/units/{id}/outbox``."""

    def __init__(self, submit: Submit, outgoing: Outgoing, pool: Pool) -> None:
        self._submit = submit
        self._outgoing = outgoing
        self._pool = pool

    def attach(self, routes: Routes) -> None:
        unit = "/units/<uuid:unit>"
        one = f"{unit}/messages/<uuid:message>"
        routes.add("POST", f"{unit}/messages", "send_message", self.send, Access.SEND, _SEND, audited=False)
        routes.add("GET", one, "get_message", self.get, Access.READ, _GET)
        routes.add("POST", f"{one}/cancel", "cancel_message", self.cancel, Access.SEND, _CANCEL)
        routes.add("POST", f"{one}/release", "release_message", self.release, Access.SEND, _RELEASE)
        routes.add("GET", f"{unit}/outbox", "list_outbox", self.outbox, Access.READ, _OUTBOX)

    async def send(self, unit: UUID) -> Response:
        """202 with the message as it stands; the same for a request that was made before."""
        id = self._submit.find(UnitId(unit)).id
        stored, _ = await self._outgoing.send(id, send_asked(await read_body(NewMessage)))
        made = reply(watched_body(stored), 202)
        made.headers["Location"] = f"/units/{unit}/messages/{stored.message.id}"
        return made

    async def get(self, unit: UUID, message: UUID) -> Response:
        found = await conversations.message(self._pool, self._submit.find(UnitId(unit)).id, message)
        if found is None:
            raise UnknownMessage("the unit has no such message")
        return reply(watched_body(found))

    async def cancel(self, unit: UUID, message: UUID) -> Response:
        await read_body(Body)
        id = self._submit.find(UnitId(unit)).id
        return reply(watched_body(await self._outgoing.cancel(id, message)))

    async def release(self, unit: UUID, message: UUID) -> Response:
        asked = await read_body(Release)
        decision = _DECISIONS[asked.decision]
        id = self._submit.find(UnitId(unit)).id
        return reply(watched_body(await self._outgoing.release(id, message, decision)))

    async def outbox(self, unit: UUID) -> Response:
        """Those asked for last first; in one ``state`` of work, or ``stalled``, or all that is not done."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InOutbox)
        before = after.seq if after else None
        state = request.args.get("state")
        if state == _STALLED:
            found = await conversations.stalled(self._pool, id, before, most + 1)
        else:
            found = await conversations.outbox(self._pool, id, _states(state), before, most + 1)
        page = found[:most]
        last = page[-1].sending.seq if page and page[-1].sending is not None else 0
        more = encode(_InOutbox(last)) if len(found) > most else None
        return reply(OutboxPage([watched_body(one) for one in page], more))


def _states(state: str | None) -> tuple[Work, ...]:
    if state is None:
        return _AT_WORK
    try:
        return (Work(state),)
    except ValueError:
        raise invalid("state", f"is one of {', '.join([*Work, _STALLED])}") from None
