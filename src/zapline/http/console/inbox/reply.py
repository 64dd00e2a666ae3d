"""Sends what the reply form of a conversation holds, exactly once however often the form comes."""

import re
from dataclasses import replace
from uuid import UUID

from zapline.domain.errors import DatabaseUnavailable, LocalError
from zapline.domain.ids import UnitId
from zapline.http.console.framework.formatting import sentence
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.inbox.send_draft import MAX_TEXT, SendDraft
from zapline.supervisors.outbound.message_composition import InvalidMessage, SendRequest
from zapline.supervisors.outbound.submission import ClientIdTaken, Submissions

REPLY_PATH = re.compile(r"/console/units/[^/]+/conversations/[^/]+/reply")
"""Where the form may hold a file."""
_DATABASE_AWAY = N_("It could not be stored: the database is away. Nothing was sent; send it again in a moment.")


class ReplyForm:
    """Handles the form. Each one carries an id made by the server, so a double submit is one message."""

    def __init__(self, layout: Layout, submissions: Submissions) -> None:
        self._layout = layout
        self._submissions = submissions

    async def send(self, unit: UnitId, conversation: UUID) -> SendDraft:
        """Return a fresh draft once the message is stored, else the same one with its error."""
        form = await read_form()
        draft, file = SendDraft.read(form), form.files.get("file")
        if len(draft.text) > MAX_TEXT:
            return replace(draft, error=_("The text is longer than {n} characters.", n=MAX_TEXT))
        if not draft.text and file is None and not draft.upload:
            return replace(draft, error=_("Type a message, or choose a file."))
        try:
            if file is not None:
                draft = await draft.store_file(self._submissions, unit, file)
            message = SendRequest(draft.key, draft.content(), conversation=conversation, reply_to=draft.replied())
            async with self._layout.audited("send_message", unit, str(conversation)):
                await self._submissions.send(unit, message)
        except ClientIdTaken:
            # The first of two tabs, or a text that was changed after it had been sent: this one was not.
            error = _("This form was sent before with another text. Send again.")
            return replace(draft, key=SendDraft.fresh().key, error=error)
        except DatabaseUnavailable:
            return replace(draft, error=_(_DATABASE_AWAY))
        except LocalError as refused:
            return replace(
                draft, error=sentence(_(refused.message if isinstance(refused, InvalidMessage) else str(refused)))
            )
        return SendDraft.fresh()
