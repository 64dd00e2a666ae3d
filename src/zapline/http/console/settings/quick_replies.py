"""A unit's quick replies: listed, written and removed, and offered to the composer of a conversation."""

from functools import partial
from uuid import UUID

from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import _
from zapline.http.console.units.unit_page import PATH
from zapline.sql.conversations import quick_replies
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.conversations.quick_replies import LONGEST_SHORTCUT, LONGEST_TEXT, MOST, QuickReplies
from zapline.supervisors.units.unit_commands import UnitCommands


class QuickRepliesPage:
    """``/console/units/{unit}/quick-replies``."""

    def __init__(self, layout: Layout, commands: UnitCommands, replies: QuickReplies, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._replies = replies
        self._pool = pool

    def attach(self) -> None:
        self._layout.get(f"{PATH}/quick-replies", "quick_replies", self.show)
        self._layout.get(f"{PATH}/quick-replies/options", "quick_reply_options", self.options)
        self._layout.post(f"{PATH}/quick-replies", "put_quick_reply", self.put)
        self._layout.post(f"{PATH}/quick-replies/remove", "remove_quick_reply", self.remove)

    async def show(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        rows = await quick_replies.list_replies(self._pool, record.id, "", MOST)
        limits = {"longest_shortcut": LONGEST_SHORTCUT, "longest_text": LONGEST_TEXT}
        return self._layout.render("quick_replies.html", at="settings", unit=record, rows=rows, **limits)

    async def options(self, unit: UUID) -> Response:
        """All of them, for the list behind the slash."""
        record = self._commands.find(UnitId(unit)).record
        rows = await quick_replies.list_replies(self._pool, record.id, "", MOST)
        return self._layout.render("quick_reply_options.html", rows=rows)

    async def put(self, unit: UUID) -> Response:
        form = await read_form()
        shortcut, text = form.text("shortcut", 80), form.text("reply_text", LONGEST_TEXT)
        change = partial(self._replies.put, UnitId(unit), shortcut, text)
        page = f"/console/units/{unit}/quick-replies"
        return await self._layout.perform("put_quick_reply", unit, shortcut, change, page, _("Saved."))

    async def remove(self, unit: UUID) -> Response:
        shortcut = (await read_form()).text("shortcut", 80)
        change = partial(self._replies.remove, UnitId(unit), shortcut)
        page = f"/console/units/{unit}/quick-replies"
        return await self._layout.perform("delete_quick_reply", unit, shortcut, change, page, _("Removed."))
