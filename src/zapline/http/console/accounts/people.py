"""People: who may sign in with which role in which units, and invitations by a link that works once."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Role
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import Form, read_form, refusal_text
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.translation import N_, _
from zapline.sql.accounts.invitations import Rights
from zapline.supervisors.accounts.people import INVITATION_LASTS, People
from zapline.supervisors.accounts.second_factors import SecondFactors
from zapline.supervisors.units.roster import Roster

PATH = "/console/people"
INVITATION_PATH = "/console/invitation"
_PERSON = f"{PATH}/<uuid:person>"
ROLES = {
    Role.ATTENDANT: N_("Attendant: conversations"),
    Role.OPERATOR: N_("Operator: lines, settings, campaigns"),
    Role.ADMIN: N_("Administrator: everything"),
}


class PeoplePages:
    """``/console/people``."""

    def __init__(self, layout: Layout, people: People, factors: SecondFactors, roster: Roster, base_url: str) -> None:
        self._factors = factors
        self._layout = layout
        self._people = people
        self._roster = roster
        self._base_url = base_url.rstrip("/")

    def attach(self) -> None:
        self._layout.get(PATH, "people", self.show)
        self._layout.post(PATH, "invite_person", self.invite)
        self._layout.post(f"{PATH}/second-factor", "require_second_factor", self.require)
        self._layout.post(f"{PATH}/invitations/<uuid:invitation>/withdraw", "withdraw_invitation", self.withdraw)
        self._layout.post(f"{_PERSON}/rights", "change_rights", self.change_rights)
        self._layout.post(f"{_PERSON}/disable", "disable_person", partial(self._set_enabled, False))
        self._layout.post(f"{_PERSON}/enable", "enable_person", partial(self._set_enabled, True))
        self._layout.add_section(NavigationLink("people", N_("People"), PATH, 85))

    async def show(self) -> Response:
        return await self._page()

    async def invite(self) -> Response:
        """Only the answer to this form shows the link."""
        form = await read_form()
        try:
            email, rights = form.text("email", 300), _rights(form)
            async with self._layout.audited("invite_person", target=email) as line:
                line.note(role=form.text("role", 20), units=len(rights.units))
                code = await self._people.invite(email, rights, current_principal())
        except (LocalError, Problem) as refused:
            return await self._page(error=refusal_text(refused), email=form.fields.get("email", "")[:300])
        # Behind the # it stays in the browser: no server and no log ever gets it.
        return await self._page(link=f"{self._base_url}{INVITATION_PATH}#{code}")

    async def require(self) -> Response:
        form = await read_form()
        roles = frozenset(role for role in Role if form.checked(role.value))
        me = await self._factors.factor(current_principal().id)
        if Role.ADMIN in roles and not me.confirmed:
            text = _("Set up one-time codes for yourself first: you would be kept out, too.")
            return self._layout.redirect(PATH, Tone.BAD, text)
        async with self._layout.audited("require_second_factor") as line:
            line.note(roles=sorted(role.value for role in roles))
            await self._factors.require(roles)
        return self._layout.redirect(PATH, Tone.GOOD, _("Saved."))

    async def withdraw(self, invitation: UUID) -> Response:
        change = partial(self._people.withdraw, invitation)
        return await self._perform("withdraw_invitation", invitation, change, _("The link opens nothing any more."))

    async def change_rights(self, person: UUID) -> Response:
        form = await read_form()
        try:
            rights = _rights(form)
        except Problem as refused:
            return self._layout.redirect(PATH, Tone.BAD, refusal_text(refused))
        note: dict[str, str | int] = {"role": form.text("role", 20), "units": len(rights.units)}
        change = partial(self._people.change_rights, person, rights)
        return await self._perform("change_rights", person, change, _("Saved."), **note)

    async def _set_enabled(self, enabled: bool, person: UUID) -> Response:
        action, change = "enable_person" if enabled else "disable_person", self._people.set_enabled
        done = _("May sign in again.") if enabled else _("Is kept out, and what was signed in is ended.")
        return await self._perform(action, person, partial(change, person, enabled), done)

    async def _perform(
        self, action: str, target: UUID, change: Callable[[], Awaitable[str]], done: str, **note: str | int
    ) -> Response:
        try:
            async with self._layout.audited(action, target=str(target)) as line:
                line.note(**note)
                line.note(email=await change())
        except LocalError as refused:
            return self._layout.redirect(PATH, Tone.BAD, error_text(refused))
        return self._layout.redirect(PATH, Tone.GOOD, done)

    async def _page(self, error: str = "", email: str = "", link: str = "") -> Response:
        names = {str(unit.id): unit.record.name for unit in self._roster.units()}
        people: list[dict[str, Any]] = [
            {
                "person": person,
                "role": Role(person.role or next(iter(person.unit_roles.values()), Role.ATTENDANT)),
                "units": [names.get(unit, unit) for unit in person.unit_roles],
            }
            for person in await self._people.accounts()
        ]
        return self._layout.render(
            "people.html",
            422 if error else 200,
            at="people",
            people=people,
            invitations=await self._people.invitations(),
            roles=[(role.value, _(label)) for role, label in ROLES.items()],
            names=names,
            required={role.value for role in await self._factors.required_roles()},
            error=error,
            email=email,
            link=link,
            days=round(INVITATION_LASTS / 86400),
            me=current_principal().id,
        )


def _rights(form: Form) -> Rights:
    """The role and units that were chosen; an administrator is one everywhere. Raises Problem 422."""
    try:
        role = Role(form.text("role", 20))
        units = [UnitId(UUID(text)) for text in form.fields.getlist("unit")]
    except ValueError:
        raise invalid("role", "is not one of the roles") from None
    if role is Role.ADMIN or form.text("where", 10) != "units":
        return Rights(role, {})
    return Rights(None, dict.fromkeys(units, role))
