"""Makes the account of somebody who was invited: the link's code and a password of his own."""

from quart import Response

from zapline.domain.errors import LocalError
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.problems import Problem
from zapline.http.console.accounts.people import INVITATION_PATH
from zapline.http.console.framework.formatting import error_text, sentence
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.session_guard import Transport, set_session_cookie
from zapline.http.console.framework.translation import _
from zapline.supervisors.accounts.people import People

MIN_PASSWORD = 12


class InvitationPage:
    """``/console/invitation``. The code stands behind the # of the link, which the script puts into the form."""

    def __init__(self, layout: Layout, people: People, sessions: PasswordSignIn) -> None:
        self._layout = layout
        self._people = people
        self._sessions = sessions

    def attach(self) -> None:
        self._layout.get(INVITATION_PATH, "invitation", self.show, public=True)
        self._layout.post(INVITATION_PATH, "accept_invitation", self.accept, public=True)

    async def show(self) -> Response:
        return self._page(200)

    async def accept(self) -> Response:
        if self._layout.origin.transport() is Transport.PLAIN:
            return self._page(403)
        form, source = await read_form(), self._layout.client_address()
        code, password = form.text("code", 200), form.secret("password")
        if len(password) < MIN_PASSWORD:
            return self._page(422, code, _("A password has at least {n} characters.", n=MIN_PASSWORD))
        if password != form.secret("again"):
            return self._page(422, code, _("The two passwords differ."))
        try:
            people = self._people
            token, ends = await self._sessions.open_new_account(code, password, source, people.invited, people.accept)
        except Problem as problem:
            if problem.status != 429:
                raise
            return self._page(problem.status, code, sentence(_(problem.detail)))
        except LocalError as refused:
            return self._page(422, "", error_text(refused))
        answer = self._layout.redirect("/console/")
        set_session_cookie(answer, self._layout.origin, token, ends)
        return answer

    def _page(self, status: int, code: str = "", error: str = "") -> Response:
        plain = self._layout.origin.transport() is Transport.PLAIN
        return self._layout.render("invitation.html", status, code=code, error=error, plain=plain, least=MIN_PASSWORD)
