"""Reacts to a message of a thread by an emoji, or takes the unit's reaction back."""

import secrets
from uuid import UUID

from quart import Response, request

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text, sentence
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.session_guard import LIVE_HEADER
from zapline.http.console.framework.translation import _
from zapline.supervisors.outbound.message_composition import InvalidMessage, ReactionRequest, SendRequest
from zapline.supervisors.outbound.submission import Submissions

EMOJIS = ("👍", "❤️", "😂", "😮", "😢", "🙏")
"""Those that WhatsApp offers first."""


class ReactionForm:
    """``/console/units/{unit}/conversations/{conversation}/react/{message}``."""

    def __init__(self, layout: Layout, submissions: Submissions) -> None:
        self._layout = layout
        self._submissions = submissions

    def attach(self) -> None:
        path = "/console/units/<uuid:unit>/conversations/<uuid:conversation>/react/<uuid:message>"
        self._layout.post(path, "thread_react", self.react)

    async def react(self, unit: UUID, conversation: UUID, message: UUID) -> Response:
        """Send the reaction. A form that comes twice says the same twice, which at WhatsApp is one reaction."""
        emoji = (await read_form()).text("emoji", 16)
        if emoji and emoji not in EMOJIS:
            raise Problem(422, "invalid_request", "the form is not one of this page; open it again")
        page = f"/console/units/{unit}/conversations/{conversation}#m{message}"
        asked = SendRequest(
            f"console:react:{secrets.token_urlsafe(18)}", ReactionRequest(emoji, message), conversation=conversation
        )
        try:
            async with self._layout.audited("send_message", UnitId(unit), str(conversation)):
                await self._submissions.send(UnitId(unit), asked)
        except LocalError as refused:
            why = sentence(_(refused.message)) if isinstance(refused, InvalidMessage) else error_text(refused)
            if LIVE_HEADER in request.headers:
                return Response(why, 422, content_type="text/plain; charset=utf-8")
            return self._layout.redirect(page, Tone.BAD, why)
        return Response(b"", 204) if LIVE_HEADER in request.headers else self._layout.redirect(page)
