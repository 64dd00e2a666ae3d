"""Shows one conversation, the newest messages at the bottom; sends replies, cancels them and marks as read."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Meta
from quart import Response, request

from zapline.domain.contacts.addresses import AddressKind
from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.paging import Position, Seq, encode_cursor, query_cursor
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.layout import Layout, query_text
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.message_labels import clean_name, message_summary
from zapline.http.console.framework.session_guard import LIVE_HEADER
from zapline.http.console.framework.translation import _, ngettext
from zapline.http.console.inbox.conversation_list import conversation_title, newest_conversations, shown_username
from zapline.http.console.inbox.message_view import message_views
from zapline.http.console.inbox.reactions import EMOJIS
from zapline.http.console.inbox.reply import ReplyForm
from zapline.http.console.inbox.send_draft import SendDraft
from zapline.http.console.units.sending_hold import unit_hold_reason
from zapline.sql.conversations import conversations, inbox
from zapline.sql.conversations.conversations import Message
from zapline.sql.conversations.inbox import ChatHeader
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.outbound.message_composition import InvalidMessage
from zapline.supervisors.outbound.read_receipts import ReadReceipts
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 40
_MAX_LIVE = 300
"""Messages that a page updates; older pages are not live."""


class _ThreadPosition(Position, frozen=True, tag="tt"):
    at: Annotated[datetime, Meta(tz=True)]
    seq: Seq


def place_in_thread(unit: UUID, conversation: UUID, message: UUID, sent_at: datetime, seq: int) -> str:
    """The page of a conversation that ends with a message."""
    cursor = encode_cursor(_ThreadPosition(sent_at, seq + 1))
    return f"/console/units/{unit}/conversations/{conversation}?{urlencode({'cursor': cursor})}#m{message}"


class ThreadPages:
    """``/console/units/{unit}/conversations/{conversation}``."""

    def __init__(
        self,
        layout: Layout,
        commands: UnitCommands,
        pool: Pool,
        submissions: Submissions | None,
        receipts: ReadReceipts | None,
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._pool = pool
        self._submissions = submissions
        self._receipts = receipts
        self._reply_form = ReplyForm(layout, submissions) if submissions is not None else None

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/conversations/<uuid:conversation>"
        self._layout.get(path, "thread", self.show)
        self._layout.get(f"{path}/part", "thread_part", self.part)
        self._layout.get(f"{path}/older", "thread_older", self.older)
        self._layout.get("/console/units/<uuid:unit>/part/hold", "unit_hold", self.hold)
        if self._receipts is not None:
            self._layout.post(f"{path}/read", "thread_read", self.mark_read)
            self._layout.post(f"{path}/unread", "thread_unread", self.mark_unread)
        if self._reply_form is not None:
            self._layout.post(f"{path}/reply", "thread_reply", self.reply)
            self._layout.post(f"{path}/cancel/<uuid:message>", "thread_cancel", self.cancel)

    # -- pages -----------------------------------------------------------------------------------------------

    async def show(self, unit: UUID, conversation: UUID) -> Response:
        """The newest messages, or those before ``cursor``."""
        record, head = await self._head(unit, conversation)
        draft = replace(SendDraft.fresh(), reply_to=query_text("reply", 64))
        return await self._page(record, head, await self._with_answered(record, draft))

    async def part(self, unit: UUID, conversation: UUID) -> Response:
        """The messages from the position ``from`` on, for the live part."""
        record, head = await self._head(unit, conversation)
        since = query_cursor(_ThreadPosition, "from")
        newest = await conversations.list_thread(self._pool, record.id, head.id, None, _MAX_LIVE) or []
        live = [each for each in newest if since is None or (each.sent_at, each.seq) >= (since.at, since.seq)]
        return self._layout.render("thread_messages.html", **await self._message_values(record, head, live))

    async def hold(self, unit: UUID) -> Response:
        """Why a reply would have to wait; from memory."""
        return self._layout.render("thread_hold.html", hold=unit_hold_reason(self._commands.find(UnitId(unit))))

    async def older(self, unit: UUID, conversation: UUID) -> Response:
        """The messages before ``cursor``, which the script puts above the others."""
        record, head = await self._head(unit, conversation)
        return self._layout.render("thread_older.html", **await self._older(record, head))

    async def _with_answered(self, record: UnitRecord, draft: SendDraft) -> SendDraft:
        """The draft with what it answers on one line; without it where the unit has no such message."""
        try:
            id = draft.replied()
        except InvalidMessage:
            id = None
        found = await conversations.find_message(self._pool, record.id, id) if id is not None else None
        if found is None:
            return replace(draft, reply_to="", answered="")
        deleted = found.message.deleted_at is not None
        return replace(draft, answered=message_summary(found.message.kind, found.message.text, deleted=deleted))

    async def _older(self, record: UnitRecord, head: ChatHeader) -> dict[str, Any]:
        after = query_cursor(_ThreadPosition)
        position = (after.at, after.seq) if after is not None else None
        messages = await conversations.list_thread(self._pool, record.id, head.id, position, _PAGE + 1) or []
        page, more = messages[:_PAGE], len(messages) > _PAGE
        base = f"/console/units/{record.id}/conversations/{head.id}"
        values = await self._message_values(record, head, page)
        query = urlencode({"cursor": encode_cursor(_ThreadPosition(page[-1].sent_at, page[-1].seq))}) if page else ""
        return values | {
            "older": f"{base}?{query}" if more else None,
            "older_part": f"{base}/older?{query}" if more else None,
            "first": encode_cursor(_ThreadPosition(page[-1].sent_at, page[-1].seq)) if page else "",
            "back": after is not None,
        }

    async def _message_values(
        self, record: UnitRecord, head: ChatHeader, newest_first: list[Message]
    ) -> dict[str, Any]:
        messages = newest_first[::-1]
        quoted_ids = {each.quoted_id for each in messages if each.quoted_id is not None}
        ours = [each.id for each in messages if each.client_message_id is not None]
        quoted, works = await inbox.load_thread_extras(self._pool, record.id, sorted(quoted_ids), ours)
        group = head.kind == AddressKind.GROUP
        views = message_views(messages, quoted, works, record.time_zone, datetime.now(UTC), group=group)
        return {
            "unit": record,
            "chat": head,
            "messages": list(views),
            "zone": record.time_zone,
            "base": f"/console/units/{record.id}/conversations/{head.id}",
            "can_reply": self._can_reply(head),
            "emojis": EMOJIS,
        }

    def _can_reply(self, head: ChatHeader) -> bool:
        return self._reply_form is not None and head.kind in (AddressKind.PERSON, AddressKind.GROUP)

    async def _page(self, record: UnitRecord, head: ChatHeader, draft: SendDraft, status: int = 200) -> Response:
        values = await self._older(record, head) | await newest_conversations(self._pool, record.id, head.id)
        messages = values["messages"]
        awaits = self._receipts is not None and bool(messages) and not messages[-1].ours
        read = awaits and messages[-1].seq <= head.read_up_to
        return self._layout.render(
            "thread.html",
            status,
            at="conversations",
            events=f"{unit_events_path(record.id)}?conversation={head.id}",
            name=clean_name(head.name or "") or head.phone or conversation_title(head),
            username=shown_username(head),
            draft=draft,
            hold=unit_hold_reason(self._commands.find(record.id)),
            can_read=awaits and not read,
            can_unread=read,
            **values,
        )

    async def _head(self, unit: UUID, conversation: UUID) -> tuple[UnitRecord, ChatHeader]:
        record = self._commands.find(UnitId(unit)).record
        head = await inbox.find_chat(self._pool, record.id, conversation)
        if head is None:
            raise Problem(404, "conversation_not_found", "the unit has no such conversation")
        return record, head

    # -- forms -----------------------------------------------------------------------------------------------

    async def reply(self, unit: UUID, conversation: UUID) -> Response:
        """Send the reply; a refused one comes back in the form, with the reason."""
        assert self._reply_form is not None
        record, head = await self._head(unit, conversation)
        draft = await self._reply_form.send(record.id, head.id)
        if draft.error:
            draft = await self._with_answered(record, draft)
        if LIVE_HEADER in request.headers:
            values = {"unit": record, "base": f"/console/units/{record.id}/conversations/{head.id}", "draft": draft}
            return self._layout.render("thread_reply.html", 422 if draft.error else 200, **values)
        if draft.error:
            return await self._page(record, head, draft, 422)
        return self._layout.redirect(f"/console/units/{record.id}/conversations/{head.id}#end")

    async def mark_read(self, unit: UUID, conversation: UUID) -> Response:
        assert self._receipts is not None
        record, head = await self._head(unit, conversation)
        page = f"/console/units/{record.id}/conversations/{head.id}"
        try:
            async with self._layout.audited("mark_read", record.id, str(head.id)):
                marked = await self._receipts.mark_read(self._commands.find(record.id), head.id)
        except ZaplineError as error:
            return self._layout.redirect(
                page, Tone.BAD, _("The read receipts could not be sent: {why}", why=error_text(error))
            )
        if marked.skipped_lid:
            return self._layout.redirect(
                page, Tone.WARN, _("Marked as read here. WhatsApp takes no receipt for this contact.")
            )
        done = ngettext("{count} message marked as read.", "{count} messages marked as read.", marked.marked)
        return self._layout.redirect(page, Tone.GOOD, done)

    async def mark_unread(self, unit: UUID, conversation: UUID) -> Response:
        """Count the newest message as unread again, and go back to the list."""
        assert self._receipts is not None
        record, head = await self._head(unit, conversation)
        async with self._layout.audited("mark_unread", record.id, str(head.id)):
            await self._receipts.mark_unread(self._commands.find(record.id), head.id)
        return self._layout.redirect(f"/console/units/{record.id}/conversations")

    async def cancel(self, unit: UUID, conversation: UUID, message: UUID) -> Response:
        """Cancel a queued message."""
        assert self._submissions is not None
        record, head = await self._head(unit, conversation)
        async with self._layout.audited("cancel_message", record.id, str(message)):
            await self._submissions.cancel(record.id, message)
        if LIVE_HEADER in request.headers:
            return Response(b"", 204)
        return self._layout.redirect(f"/console/units/{record.id}/conversations/{head.id}#end")
