"""One conversation: its messages with the newest at the bottom, and what can be done in it."""

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
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.message_labels import clean_name
from zapline.http.console.framework.session_guard import LIVE_HEADER
from zapline.http.console.framework.translation import _, ngettext
from zapline.http.console.inbox.conversation_list import conversation_title
from zapline.http.console.inbox.message_view import message_views
from zapline.http.console.inbox.reply import ReplyDraft, ReplyForm
from zapline.http.console.units.sending_hold import unit_hold_reason
from zapline.sql.conversations import conversations, inbox
from zapline.sql.conversations.inbox import ChatHeader
from zapline.sql.conversations.list_conversations import Message
from zapline.sql.postgres.pool import Pool
from zapline.sql.units.units import UnitRecord
from zapline.supervisors.outbound.read_receipts import ReadReceipts
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 40
_MOST = 300
"""Messages that a page keeps live; who reads further back than that reads pages that stand still."""


class _InThread(Position, frozen=True, tag="tt"):
    at: Annotated[datetime, Meta(tz=True)]
    seq: Seq


class ThreadPages:
    """``/console/units/{unit}/conversations/{conversation}``."""

    def __init__(
        self,
        layout: Layout,
        commands: UnitCommands,
        pool: Pool,
        outgoing: Submissions | None,
        receipts: ReadReceipts | None,
    ) -> None:
        self._layout = layout
        self._commands = commands
        self._pool = pool
        self._outgoing = outgoing
        self._receipts = receipts
        self._replies = ReplyForm(layout, outgoing) if outgoing is not None else None

    def attach(self) -> None:
        one = "/console/units/<uuid:unit>/conversations/<uuid:conversation>"
        self._layout.get(one, "thread", self.show)
        self._layout.get(f"{one}/part", "thread_part", self.part)
        self._layout.get(f"{one}/older", "thread_older", self.older)
        self._layout.get("/console/units/<uuid:unit>/part/waits", "unit_waits", self.waits)
        if self._receipts is not None:
            self._layout.post(f"{one}/read", "thread_read", self.mark_read)
        if self._replies is not None:
            self._layout.post(f"{one}/reply", "thread_reply", self.reply)
            self._layout.post(f"{one}/cancel/<uuid:message>", "thread_cancel", self.cancel)

    # -- looking ---------------------------------------------------------------------------------------------

    async def show(self, unit: UUID, conversation: UUID) -> Response:
        """The newest messages, or those before ``cursor``."""
        record, head = await self._head(unit, conversation)
        return await self._page(record, head, ReplyDraft.fresh())

    async def part(self, unit: UUID, conversation: UUID) -> Response:
        """The messages from ``from`` on, as they are now."""
        record, head = await self._head(unit, conversation)
        since = query_cursor(_InThread, "from")
        found = await conversations.list_thread(self._pool, record.id, head.id, None, _MOST) or []
        kept = [one for one in found if since is None or (one.sent_at, one.seq) >= (since.at, since.seq)]
        return self._layout.render("thread_messages.html", **await self._shown(record, head, kept))

    async def waits(self, unit: UUID) -> Response:
        """Why a reply would have to wait; from memory alone."""
        return self._layout.render("thread_waits.html", waits=unit_hold_reason(self._commands.find(UnitId(unit))))

    async def older(self, unit: UUID, conversation: UUID) -> Response:
        """A page before ``cursor``, to be put above the others."""
        record, head = await self._head(unit, conversation)
        return self._layout.render("thread_older.html", **await self._older(record, head))

    async def _older(self, record: UnitRecord, head: ChatHeader) -> dict[str, Any]:
        after = query_cursor(_InThread)
        place = (after.at, after.seq) if after is not None else None
        found = await conversations.list_thread(self._pool, record.id, head.id, place, _PAGE + 1) or []
        page, more = found[:_PAGE], len(found) > _PAGE
        base = f"/console/units/{record.id}/conversations/{head.id}"
        values = await self._shown(record, head, page)
        query = urlencode({"cursor": encode_cursor(_InThread(page[-1].sent_at, page[-1].seq))}) if page else ""
        return values | {
            "older": f"{base}?{query}" if more else None,
            "older_part": f"{base}/older?{query}" if more else None,
            "first": encode_cursor(_InThread(page[-1].sent_at, page[-1].seq)) if page else "",
            "back": after is not None,
        }

    async def _shown(self, record: UnitRecord, head: ChatHeader, newest_first: list[Message]) -> dict[str, Any]:
        messages = newest_first[::-1]
        quoted = {one.quoted_id for one in messages if one.quoted_id is not None}
        ours = [one.id for one in messages if one.client_message_id is not None]
        told, works = await inbox.load_thread_extras(self._pool, record.id, sorted(quoted), ours)
        group = head.kind == AddressKind.GROUP
        made = message_views(messages, told, works, record.time_zone, datetime.now(UTC), group=group)
        return {
            "unit": record,
            "chat": head,
            "bubbles": list(made),
            "zone": record.time_zone,
            "base": f"/console/units/{record.id}/conversations/{head.id}",
        }

    async def _page(self, record: UnitRecord, head: ChatHeader, draft: ReplyDraft, status: int = 200) -> Response:
        values = await self._older(record, head)
        newest = next((one for one in reversed(values["message_views"]) if not one.ours), None)
        return self._layout.render(
            "thread.html",
            status,
            at="conversations",
            events=unit_events_path(record.id),
            name=clean_name(head.name or "") or head.phone or conversation_title(head.kind, head.name, head.phone),
            draft=draft,
            waits=unit_hold_reason(self._commands.find(record.id)),
            can_reply=self._replies is not None and head.kind in (AddressKind.PERSON, AddressKind.GROUP),
            can_read=self._receipts is not None and newest is not None,
            **values,
        )

    async def _head(self, unit: UUID, conversation: UUID) -> tuple[UnitRecord, ChatHeader]:
        record = self._commands.find(UnitId(unit)).record
        head = await inbox.find_chat(self._pool, record.id, conversation)
        if head is None:
            raise Problem(404, "conversation_not_found", "the unit has no such conversation")
        return record, head

    # -- doing -----------------------------------------------------------------------------------------------

    async def reply(self, unit: UUID, conversation: UUID) -> Response:
        """Send what was typed; where that cannot be, the box comes back as it was, with the reason beside it."""
        assert self._replies is not None
        record, head = await self._head(unit, conversation)
        draft = await self._replies.send(record.id, head.id)
        if LIVE_HEADER in request.headers:
            values = {"unit": record, "base": f"/console/units/{record.id}/conversations/{head.id}", "draft": draft}
            return self._layout.render("thread_reply.html", 422 if draft.error else 200, **values)
        if draft.error:
            return await self._page(record, head, draft, 422)
        return self._layout.redirect(f"/console/units/{record.id}/conversations/{head.id}#end")

    async def mark_read(self, unit: UUID, conversation: UUID) -> Response:
        assert self._receipts is not None
        record, head = await self._head(unit, conversation)
        here = f"/console/units/{record.id}/conversations/{head.id}"
        try:
            async with self._layout.audited("mark_read", record.id, str(head.id)):
                marked = await self._receipts.mark_read(self._commands.find(record.id), head.id)
        except ZaplineError as error:
            return self._layout.redirect(
                here, Tone.BAD, _("The read receipts could not be sent: {why}", why=_(str(error)))
            )
        if marked.skipped_lid:
            return self._layout.redirect(
                here, Tone.WARN, _("Marked as read here. WhatsApp takes no receipt for this contact.")
            )
        said = ngettext("{count} message marked as read.", "{count} messages marked as read.", marked.marked)
        return self._layout.redirect(here, Tone.GOOD, said)

    async def cancel(self, unit: UUID, conversation: UUID, message: UUID) -> Response:
        """Take a queued message back."""
        assert self._outgoing is not None
        record, head = await self._head(unit, conversation)
        async with self._layout.audited("cancel_message", record.id, str(message)):
            await self._outgoing.cancel(record.id, message)
        if LIVE_HEADER in request.headers:
            return Response(b"", 204)
        return self._layout.redirect(f"/console/units/{record.id}/conversations/{head.id}#end")
