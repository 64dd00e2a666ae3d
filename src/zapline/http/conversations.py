"""Conversations and messages of a unit, as pages; a conversation is shown with all that was merged into it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.paging import BIGINT, Position, Seq, cursor, encode, limit, number
from zapline.http.problems import Problem
from zapline.http.routes import Access, Routes
from zapline.http.wire import Body, iso, read_body, reply
from zapline.sql import reading
from zapline.sql.pool import Pool
from zapline.sql.reading import Conversation, Message, Said
from zapline.supervisors.receipts import Receipts
from zapline.supervisors.submit import Submit

_Moment = Annotated[datetime, Meta(tz=True)]


class _InList(Position, frozen=True, tag="c"):
    at: _Moment
    id: UUID


class _InThread(Position, frozen=True, tag="m"):
    at: _Moment
    seq: Seq


class Conversations:
    """``/units/{id}/conversations`` and messages; reads one unit a transaction. Without ``receipts`` it only reads."""

    def __init__(self, submit: Submit, pool: Pool, receipts: Receipts | None = None) -> None:
        self._submit = submit
        self._pool = pool
        self._receipts = receipts

    def attach(self, routes: Routes) -> None:
        one = "/units/<uuid:unit>"
        routes.add("GET", f"{one}/conversations", "list_conversations", self.list, Access.READ)
        routes.add("GET", f"{one}/conversations/<uuid:conversation>/messages", "list_thread", self.thread, Access.READ)
        routes.add("GET", f"{one}/messages", "list_messages", self.messages, Access.READ)
        if self._receipts is not None:
            routes.add(
                "POST", f"{one}/conversations/<uuid:conversation>/read", "mark_read", self.mark_read, Access.SEND
            )

    async def list(self, unit: UUID) -> Response:
        """Latest message first."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InList)
        found = await reading.conversations(self._pool, id, (after.at, after.id) if after else None, most + 1)
        page = found[:most]
        more = encode(_InList(page[-1].last_message_at, page[-1].id)) if len(found) > most else None
        return reply({"items": [_conversation(one) for one in page], "nextCursor": more})

    async def thread(self, unit: UUID, conversation: UUID) -> Response:
        """Newest first, by (sentAt, seq)."""
        id, most, after = self._submit.find(UnitId(unit)).id, limit(), cursor(_InThread)
        found = await reading.thread(self._pool, id, conversation, (after.at, after.seq) if after else None, most + 1)
        if found is None:
            raise Problem(404, "conversation_not_found", "the unit has no such conversation")
        page = found[:most]
        more = encode(_InThread(page[-1].sent_at, page[-1].seq)) if len(found) > most else None
        return reply({"items": _messages(page), "nextCursor": more})

    async def messages(self, unit: UUID) -> Response:
        """In the order of arrival after ``afterSeq``; ask again with ``nextAfterSeq``, whatever came."""
        id, most = self._submit.find(UnitId(unit)).id, limit()
        after = number("afterSeq", 0, 0, BIGINT)
        found = await reading.messages_after(self._pool, id, after, most + 1)
        if found is None:  # somebody writes and takes long over it
            return reply({"items": [], "nextAfterSeq": after, "hasMore": True})
        page = found[:most]
        last = page[-1].seq if page else after
        return reply({"items": _messages(page), "nextAfterSeq": last, "hasMore": len(found) > most})

    async def mark_read(self, unit: UUID, conversation: UUID) -> Response:
        """Tell the senders that what came in was read; ``skippedLid``: those who cannot be told."""
        assert self._receipts is not None
        await read_body(Body)
        found = await self._receipts.mark_read(self._submit.find(UnitId(unit)), conversation)
        return reply({"marked": found.marked, "skippedLid": found.skipped_lid, "readUpTo": found.read_up_to})


def _conversation(one: Conversation) -> dict[str, object]:
    return {
        "id": str(one.id),
        "kind": one.kind,
        "contact": one.canonical,
        "phone": one.phone,
        "lid": one.lid,
        "name": one.name,
        "lastMessageAt": iso(one.last_message_at),
        "createdAt": iso(one.created_at),
    }


def _messages(page: Sequence[Message]) -> list[dict[str, object]]:
    return [message_body(one) for one in page]


def message_body(one: Message) -> dict[str, object]:
    """A message as every list shows it; ``workState`` is null for what we did not send."""
    return {
        "id": str(one.id),
        "seq": one.seq,
        "conversationId": str(one.conversation_id),
        "externalId": one.external_id,
        "clientMessageId": one.client_message_id,
        "fromMe": one.from_me,
        "kind": one.kind,
        "text": one.text,
        "editedAt": iso(one.edited_at),
        "deletedAt": iso(one.deleted_at),
        "media": one.media,
        "detail": one.detail,
        "sender": one.sender,
        "senderName": one.sender_name,
        "quotedId": one.quoted_id,
        "forwarded": one.forwarded,
        "viewOnce": one.view_once,
        "expiresAfter": one.expires_after,
        "deliveryStatus": one.delivery,
        "workState": one.work_state,
        "reactions": [{"actor": said.actor, "emoji": said.emoji} for said in one.reactions],
        "votes": [_vote(said) for said in one.votes],
        "sentAt": iso(one.sent_at),
        "receivedAt": iso(one.received_at),
        "origin": one.origin,
        "backfilled": one.backfilled,
    }


def _vote(said: Said) -> dict[str, object]:
    """``options`` null: the vote is encrypted, and Evolution has not told what it says."""
    return {"actor": said.actor, "options": said.options}
