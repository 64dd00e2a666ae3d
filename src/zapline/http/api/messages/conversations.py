"""Conversations and messages of a unit, as pages; a conversation is shown with all that was merged into it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.contacts.phone_numbers import AddressKind
from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import Answer, Body, Moment, one_of, read_body, reply
from zapline.http.api.framework.paging import (
    BIGINT,
    LIMIT,
    PAGED,
    Page,
    Position,
    Seq,
    cursor,
    encode,
    limit,
    moment,
    number,
)
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.routes import Access, Doc, Query, Routes
from zapline.http.api.messages.message_schemas import ArrivedBody, ThreadPage, message_body
from zapline.sql.conversations import conversations
from zapline.sql.conversations.conversations import Conversation
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.read_receipts import Receipts
from zapline.supervisors.units.unit_commands import Submit

_At = Annotated[datetime, Meta(tz=True)]


class _InList(Position, frozen=True, tag="c"):
    at: _At
    id: UUID


class _InThread(Position, frozen=True, tag="m"):
    at: _At
    seq: Seq


class ConversationBody(Answer, frozen=True):
    """A conversation with all that was merged into it."""

    id: UUID
    kind: Annotated[str, one_of(AddressKind)]
    contact: Annotated[str, Meta(description="Names the chat: a phone with its plus, or `lid:` and digits.")]
    phone: str | None
    lid: Annotated[str | None, Meta(description="WhatsApp's id of a person who hides the phone.")]
    name: str | None
    last_message_at: Moment | None
    created_at: Moment | None


class ConversationPage(Page[ConversationBody], frozen=True):
    """Conversations, the one with the latest message first."""


class ReadBody(Answer, frozen=True):
    """What became of the read receipts."""

    marked: Annotated[int, Meta(description="Messages whose senders were told.")]
    skipped_lid: Annotated[int, Meta(description="Messages of senders who cannot be told.")]
    read_up_to: Annotated[int | None, Meta(description="`seq` of the newest message that counts as read.")]


_UNKNOWN = {"conversation_not_found": 404}
_SINCE = Query("updatedSince", _At, "Only those with a message after this time, as `lastMessageAt` shows it.")
_LIST = Doc("Conversations, the latest first", {200: ConversationPage}, query=(_SINCE, *PAGED), polled=True)
_THREAD = Doc("A conversation's messages, newest first", {200: ThreadPage}, query=PAGED, errors=_UNKNOWN, polled=True)
_ARRIVED = Doc(
    "What has arrived since",
    {200: ArrivedBody},
    query=(Query("afterSeq", Seq, "Only what arrived after this `seq`; 0 unless told."), LIMIT),
    detail="For a CRM that polls. Ask with the last answer's `nextAfterSeq`: nothing is left out, nothing comes twice.",
    polled=True,
)
_READ = Doc(
    "Tell the senders that what came in was read",
    {200: ReadBody},
    body=Body,
    errors={**_UNKNOWN, "evolution_failed": 502, "unit_not_ready": 503},
)


class Conversations:
    """``/units/{id}/conversations`` and messages; reads one unit a transaction. Without ``receipts`` it only reads."""

    def __init__(self, submit: Submit, pool: Pool, receipts: Receipts | None = None) -> None:
        self._submit = submit
        self._pool = pool
        self._receipts = receipts

    def attach(self, routes: Routes) -> None:
        one = "/units/<uuid:unit>"
        routes.add("GET", f"{one}/conversations", "list_conversations", self.list, Access.READ, _LIST)
        routes.add(
            "GET", f"{one}/conversations/<uuid:conversation>/messages", "list_thread", self.thread, Access.READ, _THREAD
        )
        routes.add("GET", f"{one}/messages", "list_messages", self.messages, Access.READ, _ARRIVED)
        if self._receipts is not None:
            path = f"{one}/conversations/<uuid:conversation>/read"
            routes.add("POST", path, "mark_read", self.mark_read, Access.SEND, _READ, audited=False)

    async def list(self, unit: UUID) -> Response:
        """Latest message first."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InList)
        position = (after.at, after.id) if after else None
        found = await conversations.conversations(self._pool, id, position, most + 1, moment("updatedSince"))
        page = found[:most]
        more = encode(_InList(page[-1].last_message_at, page[-1].id)) if len(found) > most else None
        return reply(ConversationPage([_conversation(one) for one in page], more))

    async def thread(self, unit: UUID, conversation: UUID) -> Response:
        """Newest first, by (sentAt, seq)."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InThread)
        found = await conversations.thread(
            self._pool, id, conversation, (after.at, after.seq) if after else None, most + 1
        )
        if found is None:
            raise Problem(404, "conversation_not_found", "the unit has no such conversation")
        page = found[:most]
        more = encode(_InThread(page[-1].sent_at, page[-1].seq)) if len(found) > most else None
        return reply(ThreadPage([message_body(one) for one in page], more))

    async def messages(self, unit: UUID) -> Response:
        """In the order of arrival after ``afterSeq``; ask again with ``nextAfterSeq``, whatever came."""
        id, most = self._submit.find(UnitId(unit)).id, limit()
        after = number("afterSeq", 0, 0, BIGINT)
        found = await conversations.messages_after(self._pool, id, after, most + 1)
        if found is None:  # somebody writes and takes long over it
            return reply(ArrivedBody([], after, True))
        page = found[:most]
        last = page[-1].seq if page else after
        return reply(ArrivedBody([message_body(one) for one in page], last, len(found) > most))

    async def mark_read(self, unit: UUID, conversation: UUID) -> Response:
        """Tell the senders that what came in was read; ``skippedLid``: those who cannot be told."""
        assert self._receipts is not None
        await read_body(Body)
        found = await self._receipts.mark_read(self._submit.find(UnitId(unit)), conversation)
        return reply(ReadBody(found.marked, found.skipped_lid, found.read_up_to))


def _conversation(one: Conversation) -> ConversationBody:
    return ConversationBody(
        id=one.id,
        kind=one.kind,
        contact=one.canonical,
        phone=one.phone,
        lid=one.lid,
        name=one.name,
        last_message_at=iso(one.last_message_at),
        created_at=iso(one.created_at),
    )
