"""Stores a browser's language and theme in cookies; no session is needed."""

from quart import Response

from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import THEME_COOKIE, THEMES, Layout
from zapline.http.console.framework.session_guard import Transport, safe_return_path
from zapline.http.console.framework.translation import COOKIE, LANGUAGES

_YEAR = 365 * 86400


class PreferenceForm:
    """``POST /console/preferences``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def attach(self) -> None:
        self._layout.post("/console/preferences", "preferences", self.store, public=True)

    async def store(self) -> Response:
        form = await read_form()
        answer = self._layout.redirect(safe_return_path(form.text("back", 600)))
        for field, cookie, known in (("language", COOKIE, LANGUAGES), ("look", THEME_COOKIE, THEMES)):
            chosen = form.text(field, 20)
            if chosen in known:
                secure = self._layout.origin.transport() is Transport.HTTPS
                answer.set_cookie(cookie, chosen, _YEAR, path="/", secure=secure, httponly=True, samesite="Lax")
        return answer
