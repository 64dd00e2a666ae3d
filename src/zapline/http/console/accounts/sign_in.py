"""Signs operators in and out."""

from urllib.parse import quote, urlencode

from quart import Response, g, request

from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.problems import Problem
from zapline.http.console.framework.formatting import sentence
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, query_text
from zapline.http.console.framework.session_guard import (
    Transport,
    delete_session_cookie,
    presented_session,
    safe_return_path,
    set_session_cookie,
)
from zapline.http.console.framework.translation import _
from zapline.supervisors.accounts.second_factors import SecondFactors

PATH = "/console/sign-in"
CODE_PATH = "/console/sign-in/code"
SIGN_OUT = "/console/sign-out"


def sign_in_path() -> str:
    """The sign-in page that leads back to the current one; after a form it says that nothing came of it."""
    if request.method != "GET":
        return PATH if request.path == SIGN_OUT else f"{PATH}?undone=1"
    back = safe_return_path(request.full_path.rstrip("?"))
    return PATH if back == "/console/" else f"{PATH}?next={quote(back, safe='')}"


class SignInPages:
    """``/console/sign-in`` and ``/console/sign-out``."""

    def __init__(self, layout: Layout, sessions: PasswordSignIn, factors: SecondFactors) -> None:
        self._factors = factors
        self._layout = layout
        self._sessions = sessions

    def attach(self) -> None:
        self._layout.get(PATH, "sign_in", self.show, public=True)
        self._layout.post(PATH, "sign_in_form", self.sign_in, public=True)
        self._layout.get(CODE_PATH, "sign_in_code", self.ask_code, public=True)
        self._layout.post(CODE_PATH, "take_code", self.take_code, public=True)
        self._layout.post(SIGN_OUT, "sign_out", self.sign_out)

    async def show(self) -> Response:
        if g.principal is not None:
            return self._layout.redirect(safe_return_path(query_text("next", 600)))
        undone = _("Your session is over, so nothing came of what you sent. Sign in and send it again.")
        return self._page(
            200, safe_return_path(query_text("next", 600)), error=undone if query_text("undone", 1) else ""
        )

    async def sign_in(self) -> Response:
        form = await read_form()
        back, email = safe_return_path(form.text("next", 600)), form.text("email", 254)
        if self._layout.origin.transport() is Transport.PLAIN:
            return self._page(403, back, email)
        password = form.secret("password")
        if not email or not password:
            return self._page(422, back, email, _("Enter your e-mail address and your password."))
        try:
            token, ends, half = await self._sessions.open_session(email, password, self._layout.client_address())
        except Problem as problem:
            if problem.status not in (401, 429):
                raise
            answer = self._page(problem.status, back, email, sentence(_(problem.detail)))
            if problem.retry_after is not None:
                answer.headers["Retry-After"] = str(problem.retry_after)
            return answer
        answer = self._layout.redirect(f"{CODE_PATH}?{urlencode({'next': back})}" if half else back)
        set_session_cookie(answer, self._layout.origin, token, ends)
        if not half:
            await self._note_place(token)
        return answer

    async def _note_place(self, token: str) -> None:
        agent = request.headers.get("User-Agent", "")
        await self._factors.note_place(token, self._layout.client_address(), agent)

    async def ask_code(self) -> Response:
        token = presented_session(self._layout.origin)
        if token is None or await self._sessions.half_session(token) is None:
            return self._layout.redirect(PATH)
        return self._layout.render("sign_in_code.html", back=safe_return_path(query_text("next", 600)), error="")

    async def take_code(self) -> Response:
        form, token = await read_form(), presented_session(self._layout.origin)
        if token is None or await self._sessions.half_session(token) is None:
            return self._layout.redirect(PATH)
        back = safe_return_path(form.text("next", 600))
        try:
            opened, ends = await self._sessions.finish(token, form.text("code", 100), self._layout.client_address())
        except Problem as problem:
            if problem.status not in (401, 429):
                raise
            text = sentence(_(problem.detail))
            return self._layout.render("sign_in_code.html", problem.status, back=back, error=text)
        await self._note_place(opened)
        answer = self._layout.redirect(back)
        set_session_cookie(answer, self._layout.origin, opened, ends)
        return answer

    async def sign_out(self) -> Response:
        await self._sessions.close(g.session, current_principal(), self._layout.client_address())
        self._layout.flashes.take(g.session)
        answer = self._layout.redirect(PATH)
        delete_session_cookie(answer, self._layout.origin)
        return answer

    def _page(self, status: int, back: str, email: str = "", error: str = "") -> Response:
        plain = self._layout.origin.transport() is Transport.PLAIN
        return self._layout.render("sign_in.html", status, back=back, email=email, error=error, plain=plain)
