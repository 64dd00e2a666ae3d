"""Forms of a thread that change what was sent: a new text, or deleted for everyone."""

from collections.abc import Awaitable
from uuid import UUID

from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.text import clean_text
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import _
from zapline.supervisors.outbound.changes.message_changes import LONGEST_TEXT, Asked, MessageChanges
from zapline.supervisors.units.unit_commands import UnitCommands


class MessageChangeForms:
    """``/console/units/{unit}/conversations/{conversation}/edit/{message}`` and ``.../delete/{message}``."""

    def __init__(self, layout: Layout, commands: UnitCommands, changes: MessageChanges) -> None:
        self._layout = layout
        self._commands = commands
        self._changes = changes

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/conversations/<uuid:conversation>"
        self._layout.post(f"{path}/edit/<uuid:message>", "thread_edit", self.edit)
        self._layout.post(f"{path}/delete/<uuid:message>", "thread_delete", self.delete)

    async def edit(self, unit: UUID, conversation: UUID, message: UUID) -> Response:
        """Edit a message; an empty text changes nothing."""
        form, found = await read_form(), self._commands.find(UnitId(unit))
        text = clean_text(form.fields.get("new_text", "").replace("\r\n", "\n")).strip()[:LONGEST_TEXT]
        if not text:
            return self._layout.redirect(f"/console/units/{unit}/conversations/{conversation}#m{message}")
        return await self._perform(
            "edit_message", found.id, conversation, message, self._changes.edit(found, message, text)
        )

    async def delete(self, unit: UUID, conversation: UUID, message: UUID) -> Response:
        """Delete a message for everyone."""
        found = self._commands.find(UnitId(unit))
        return await self._perform(
            "delete_message", found.id, conversation, message, self._changes.delete(found, message)
        )

    async def _perform(
        self, action: str, unit: UnitId, conversation: UUID, message: UUID, change: Awaitable[Asked]
    ) -> Response:
        page = f"/console/units/{unit}/conversations/{conversation}#m{message}"
        try:
            async with self._layout.audited(action, unit, str(message)):
                asked = await change
        except ZaplineError as error:
            return self._layout.redirect(page, Tone.BAD, _("It could not be changed: {why}", why=error_text(error)))
        if asked.certain:
            return self._layout.redirect(page)
        told = _("Evolution has not answered. It is not asked again: the message shows it once it is known.")
        return self._layout.redirect(page, Tone.WARN, told)
