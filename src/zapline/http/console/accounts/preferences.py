"""Remembers how a browser wants its pages: in which language, light or dark. No session is needed for that."""

from quart import Response

from zapline.http.console.framework.layout import LOOK_COOKIE, LOOKS, Frame
from zapline.http.console.framework.session_guard import Carriage, own_path
from zapline.http.console.framework.translation import COOKIE, LANGUAGES

_YEAR = 365 * 86400


class Preferences:
    """``POST /console/preferences``."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def attach(self) -> None:
        self._frame.post("/console/preferences", "preferences", self.choose, open=True)

    async def choose(self) -> Response:
        form = await self._frame.form()
        answer = self._frame.go(own_path(form.text("back", 600)))
        for field, cookie, known in (("language", COOKIE, LANGUAGES), ("look", LOOK_COOKIE, LOOKS)):
            chosen = form.text(field, 20)
            if chosen in known:
                secure = self._frame.front.carriage() is Carriage.HTTPS
                answer.set_cookie(cookie, chosen, _YEAR, path="/", secure=secure, httponly=True, samesite="Lax")
        return answer
