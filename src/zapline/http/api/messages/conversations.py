"""Routes of a unit's conversations and their messages; merged conversations are shown as one."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.contacts.addresses import AddressKind
from zapline.domain.ids import UnitId
from zapline.domain.timestamps import iso
from zapline.http.api.framework.json_bodies import (
    AwareDatetime,
    RequestBody,
    ResponseBody,
    Timestamp,
    json_response,
    one_of,
    read_body,
)
from zapline.http.api.framework.paging import (
    BIGINT,
    LIMIT,
    PAGED,
    PHONE,
    Page,
    Position,
    Seq,
    page_query,
    query_datetime,
    query_int,
    query_limit,
    query_phone,
    split_page,
)
from zapline.http.api.framework.problems import Problem
from zapline.http.api.framework.route_table import Access, QueryParameter, RouteDoc, RouteTable
from zapline.http.api.messages.message_responses import ArrivedBody, ThreadPage, message_body
from zapline.sql.conversations import conversations
from zapline.sql.conversations.conversations import Conversation
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.read_receipts import ReadReceipts
from zapline.supervisors.units.unit_commands import UnitCommands


class _InList(Position, frozen=True, tag="c"):
    at: AwareDatetime
    id: UUID


class _InThread(Position, frozen=True, tag="m"):
    at: AwareDatetime
    seq: Seq


class LastMessageBody(ResponseBody, frozen=True):
    """The last message of a conversation."""

    id: UUID
    from_me: bool
    kind: str
    text: Annotated[str | None, Meta(description="Its text or caption, at most 200 characters; null if deleted.")]
    sent_at: Timestamp | None


class ConversationBody(ResponseBody, frozen=True):
    """A conversation with all that was merged into it."""

    id: UUID
    kind: Annotated[str, one_of(AddressKind)]
    contact: Annotated[str, Meta(description="Names the chat: a phone with its plus, or `lid:` and digits.")]
    phone: str | None
    lid: Annotated[str | None, Meta(description="WhatsApp's id of a person who hides the phone.")]
    name: Annotated[str | None, Meta(description="A group's subject, or what a person was called last.")]
    username: Annotated[str | None, Meta(description="WhatsApp's name of a person without a phone, without its `@`.")]
    last_message_at: Timestamp | None
    last_message: LastMessageBody | None
    unread_count: Annotated[int, Meta(description="Messages that nobody has read or answered; 30: as many, or more.")]
    created_at: Timestamp | None


class ConversationPage(Page[ConversationBody], frozen=True):
    """Conversations, the one with the latest message first."""


class ReadBody(ResponseBody, frozen=True):
    """What became of the read receipts."""

    marked: Annotated[int, Meta(description="Messages whose senders were told.")]
    skipped_lid: Annotated[int, Meta(description="Messages of senders who cannot be told.")]
    read_up_to: Annotated[int | None, Meta(description="`seq` of the newest message that counts as read.")]


class UnreadBody(ResponseBody, frozen=True):
    """Whether anything has changed."""

    marked: Annotated[bool, Meta(description="False: the newest message that came in is unread already, or none came.")]


_NOT_FOUND = {"conversation_not_found": 404}
_SINCE = QueryParameter(
    "updatedSince", AwareDatetime, "Only those with a message after this time, as `lastMessageAt` shows it."
)
_LIST = RouteDoc("Conversations, the latest first", {200: ConversationPage}, query=(_SINCE, PHONE, *PAGED), polled=True)
_THREAD = RouteDoc(
    "A conversation's messages, newest first", {200: ThreadPage}, query=PAGED, errors=_NOT_FOUND, polled=True
)
_ARRIVED = RouteDoc(
    "What has arrived since",
    {200: ArrivedBody},
    query=(QueryParameter("afterSeq", Seq, "Only what arrived after this `seq`; 0 unless told."), LIMIT),
    detail="For a CRM that polls. Ask with the last answer's `nextAfterSeq`: nothing is left out, and no message comes "
    "twice in `items`. A message from before that was reacted to, voted on, edited or deleted since is in `changed`.",
    polled=True,
)
_READ = RouteDoc(
    "Tell the senders that what came in was read",
    {200: ReadBody},
    body=RequestBody,
    errors={**_NOT_FOUND, "evolution_failed": 502, "unit_not_ready": 503},
)


_UNREAD = RouteDoc(
    "Count the newest message that came in as unread again",
    {200: UnreadBody},
    body=RequestBody,
    errors=_NOT_FOUND,
    detail="In Zapline alone: its sender was told that it was read, which nobody can take back.",
)


class ConversationRoutes:
    """``/units/{id}/conversations`` and the reading side of ``.../messages``. Without ``receipts`` there is no
    ``mark_read``. ``region``: of phones without a country code."""

    def __init__(self, commands: UnitCommands, pool: Pool, receipts: ReadReceipts | None, region: str) -> None:
        self._region = region
        self._commands = commands
        self._pool = pool
        self._receipts = receipts

    def attach(self, routes: RouteTable) -> None:
        unit = "/units/<uuid:unit>"
        routes.add("GET", f"{unit}/conversations", "list_conversations", self.list, Access.READ, _LIST)
        routes.add(
            "GET",
            f"{unit}/conversations/<uuid:conversation>/messages",
            "list_thread",
            self.thread,
            Access.READ,
            _THREAD,
        )
        routes.add("GET", f"{unit}/messages", "list_messages", self.messages, Access.READ, _ARRIVED)
        if self._receipts is not None:
            path = f"{unit}/conversations/<uuid:conversation>/read"
            routes.add("POST", path, "mark_read", self.mark_read, Access.SEND, _READ, audited=False)
            path = f"{unit}/conversations/<uuid:conversation>/unread"
            routes.add("POST", path, "mark_unread", self.mark_unread, Access.SEND, _UNREAD)

    async def list(self, unit: UUID) -> Response:
        """Latest message first."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InList)
        position, since = (after.at, after.id) if after else None, query_datetime("updatedSince")
        phone = query_phone(self._region)
        if phone is not None:
            found = await conversations.find_conversation_of_phone(self._pool, id, phone)
            wanted = found is not None and (since is None or found.last_message_at > since)
            return json_response(ConversationPage([_conversation_body(found)] if found and wanted else [], None))
        rows = await conversations.list_conversations(self._pool, id, position, limit + 1, since)
        page, next_cursor = split_page(rows, limit, lambda row: _InList(row.last_message_at, row.id))
        return json_response(ConversationPage([_conversation_body(row) for row in page], next_cursor))

    async def thread(self, unit: UUID, conversation: UUID) -> Response:
        """Newest first, by (sentAt, seq)."""
        id, (limit, after) = self._commands.find(UnitId(unit)).id, page_query(_InThread)
        position = (after.at, after.seq) if after else None
        rows = await conversations.list_thread(self._pool, id, conversation, position, limit + 1)
        if rows is None:
            raise Problem(404, "conversation_not_found", "the unit has no such conversation")
        page, next_cursor = split_page(rows, limit, lambda row: _InThread(row.sent_at, row.seq))
        return json_response(ThreadPage([message_body(row) for row in page], next_cursor))

    async def messages(self, unit: UUID) -> Response:
        """In order of arrival after ``afterSeq``; clients continue with ``nextAfterSeq``."""
        id, limit = self._commands.find(UnitId(unit)).id, query_limit()
        after = query_int("afterSeq", 0, 0, BIGINT)
        page = await conversations.list_messages_after(self._pool, id, after, limit)
        if page is None:  # a slow transaction is still writing
            return json_response(ArrivedBody([], [], after, True))
        items, changed = map(message_body, page.messages), map(message_body, page.changed)
        return json_response(ArrivedBody(list(items), list(changed), page.last_seq, page.more))

    async def mark_read(self, unit: UUID, conversation: UUID) -> Response:
        """Send read receipts for what came in; ``skippedLid`` counts senders who cannot get one."""
        assert self._receipts is not None
        await read_body(RequestBody)
        result = await self._receipts.mark_read(self._commands.find(UnitId(unit)), conversation)
        return json_response(ReadBody(result.marked, result.skipped_lid, result.read_up_to))

    async def mark_unread(self, unit: UUID, conversation: UUID) -> Response:
        """Here alone; WhatsApp is told nothing."""
        assert self._receipts is not None
        await read_body(RequestBody)
        marked = await self._receipts.mark_unread(self._commands.find(UnitId(unit)), conversation)
        return json_response(UnreadBody(marked))


def _conversation_body(conversation: Conversation) -> ConversationBody:
    return ConversationBody(
        id=conversation.id,
        kind=conversation.kind,
        contact=conversation.canonical,
        phone=conversation.phone,
        lid=conversation.lid,
        name=conversation.name,
        username=conversation.username,
        last_message_at=iso(conversation.last_message_at),
        last_message=_last_message(conversation),
        unread_count=conversation.unread,
        created_at=iso(conversation.created_at),
    )


def _last_message(conversation: Conversation) -> LastMessageBody | None:
    if conversation.message is None:
        return None
    return LastMessageBody(
        id=conversation.message,
        from_me=conversation.from_me is True,
        kind=conversation.message_kind or "",
        text=conversation.text,
        sent_at=iso(conversation.sent_at),
    )
