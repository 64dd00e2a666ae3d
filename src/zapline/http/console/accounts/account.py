"""A person's own account: one-time codes and recovery codes, and what is signed in, which is ended here."""

from uuid import UUID

from quart import Response, g
from werkzeug.exceptions import NotFound

from zapline.domain.errors import LocalError
from zapline.domain.privacy.one_time_codes import app_address, secret_text
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.problems import Problem
from zapline.http.api.units.qr_codes import QrPictures
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text, sentence
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import _, ngettext
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.second_factors import SecondFactors

PATH = "/console/account"


class AccountPage:
    """``/console/account``."""

    def __init__(
        self, layout: Layout, factors: SecondFactors, identity: Authentication, sessions: PasswordSignIn
    ) -> None:
        self._layout = layout
        self._sessions = sessions
        self._factors = factors
        self._identity = identity
        self._pictures = QrPictures()

    def attach(self) -> None:
        self._layout.get(PATH, "account", self.show)
        self._layout.get(f"{PATH}/qr.svg", "account_qr", self.picture)
        self._layout.post(f"{PATH}/codes", "start_codes", self.start)
        self._layout.post(f"{PATH}/codes/confirm", "confirm_codes", self.confirm)
        self._layout.post(f"{PATH}/codes/remove", "remove_codes", self.remove)
        self._layout.post(f"{PATH}/sessions/<uuid:session>/end", "end_session", self.end)
        self._layout.post(f"{PATH}/sessions/end-others", "end_other_sessions", self.end_others)

    async def show(self) -> Response:
        return await self._page()

    async def picture(self) -> Response:
        """The QR code for the app, while the secret waits to be confirmed."""
        me = current_principal()
        secret = await self._factors.unconfirmed_secret(me.id)
        if secret is None:
            raise NotFound
        picture = await self._pictures.svg(app_address(secret, me.name))
        return Response(picture, content_type="image/svg+xml")

    async def start(self) -> Response:
        try:
            async with self._layout.audited("start_codes"):
                await self._factors.start(current_principal().id)
        except LocalError as refused:
            return self._layout.redirect(PATH, Tone.BAD, error_text(refused))
        return self._layout.redirect(PATH)

    async def confirm(self) -> Response:
        """Only the answer to this form shows the recovery codes."""
        code = (await read_form()).text("code", 20)
        try:
            async with self._layout.audited("confirm_codes"):
                recovery = await self._factors.confirm(current_principal().id, code)
        except LocalError as refused:
            return await self._page(error=error_text(refused))
        return await self._page(recovery=recovery)

    async def remove(self) -> Response:
        """It takes a code, so that nobody does it at a screen that was left alone; guesses count as at signing in."""
        me, code = current_principal(), (await read_form()).text("code", 100)
        try:
            async with self._layout.audited("remove_codes"):
                await self._sessions.check_code(me, code, self._layout.client_address())
                await self._factors.remove(me.id)
        except Problem as refused:
            if refused.status not in (401, 429):
                raise
            return await self._page(error=sentence(_(refused.detail)))
        return self._layout.redirect(PATH, Tone.GOOD, _("Signing in needs the password alone again."))

    async def end(self, session: UUID) -> Response:
        try:
            async with self._layout.audited("end_session", target=str(session)):
                await self._identity.revoke_admin_token(current_principal().id, session)
        except LocalError as refused:
            return self._layout.redirect(PATH, Tone.BAD, error_text(refused))
        return self._layout.redirect(PATH, Tone.GOOD, _("It is signed out."))

    async def end_others(self) -> Response:
        async with self._layout.audited("end_other_sessions") as line:
            ended = await self._factors.end_others(current_principal().id, g.session)
            line.note(ended=ended)
        text = ngettext("{count} other is signed out.", "{count} others are signed out.", ended)
        return self._layout.redirect(PATH, Tone.GOOD, text)

    async def _page(self, error: str = "", recovery: list[str] | None = None) -> Response:
        me = current_principal()
        factor = await self._factors.factor(me.id)
        secret = await self._factors.unconfirmed_secret(me.id)
        return self._layout.render(
            "account.html",
            422 if error else 200,
            at="account",
            me=me,
            factor=factor,
            secret=secret_text(secret) if secret is not None else None,
            sessions=await self._factors.sessions(me.id, g.session),
            recovery=recovery,
            error=error,
        )
