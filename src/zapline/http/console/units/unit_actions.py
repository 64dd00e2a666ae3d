"""The forms of a unit's page: connect, pause, log out, rotate the secret, end quarantine, archive; each audited."""

from dataclasses import dataclass
from functools import partial
from uuid import UUID

from quart import Response

from zapline.domain.contacts.phone_numbers import InvalidPhone, pairing_number
from zapline.domain.ids import UnitId
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Change, Layout
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.unit_page import PATH
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle, UnitSettingsChange

_MAX_GENERATION = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A page that asks for confirmation; with ``typed`` the operator must type the unit's name."""

    title: str
    text: str
    button: str
    typed: bool = False


CONFIRMATIONS = {
    "disconnect": Confirmation(
        N_("Log out?"),
        N_(
            "The phone is unlinked. Nothing comes in and nothing is sent until somebody connects the line again and "
            "scans a new code. Messages that wait stay."
        ),
        N_("Log out"),
    ),
    "renew": Confirmation(
        N_("Make the instance anew?"),
        N_(
            "The line's instance on Evolution is deleted and created again: for a line that never opens any more. The "
            "phone scans a new code. Conversations and messages that wait stay."
        ),
        N_("Make it anew"),
    ),
    "rotate-secret": Confirmation(
        N_("Give it a new webhook secret?"),
        N_(
            "Zapline tells Evolution the new address by itself. The old one is accepted for a while, for webhooks "
            "that are on their way."
        ),
        N_("Rotate the secret"),
    ),
    "archive": Confirmation(
        N_("Close this unit?"),
        N_(
            "Its phone is unlinked, nothing is sent any more, and its webhooks are refused. Its conversations stay in "
            "the database. This cannot be taken back."
        ),
        N_("Close the unit"),
        typed=True,
    ),
}


class UnitActions:
    """The forms below ``/console/units/{unit}``."""

    def __init__(self, layout: Layout, commands: UnitCommands, changes: UnitLifecycle, region: str) -> None:
        self._region = region
        self._layout = layout
        self._commands = commands
        self._changes = changes

    def attach(self) -> None:
        for name in CONFIRMATIONS:
            self._layout.get(f"{PATH}/{name}", f"confirm_{name}", partial(self._confirm_page, name))
        for name, handler in (
            ("connect", self.connect),
            ("renew", self.renew),
            ("webhook-registration", self.registration),
            ("disconnect", self.disconnect),
            ("pause", self.pause),
            ("resume", self.resume),
            ("rotate-secret", self.rotate),
            ("release", self.release),
            ("release-campaigns", self.release_campaigns),
            ("archive", self.archive),
        ):
            self._layout.post(f"{PATH}/{name}", f"unit_{name}", handler)

    async def _confirm_page(self, name: str, unit: UUID) -> Response:
        return self._confirm(name, UnitId(unit))

    def _confirm(self, name: str, unit: UnitId, error: str = "", status: int = 200) -> Response:
        record, confirmation = self._commands.find(unit).record, CONFIRMATIONS[name]
        return self._layout.render(
            "confirm.html", status, at="unit", unit=record, name=name, confirmation=confirmation, error=error
        )

    async def connect(self, unit: UUID) -> Response:
        """Start pairing or reconnect; with a phone number, request a pairing code too."""
        text = (await read_form()).text("number", 80)
        try:
            number = pairing_number(text, self._region) if text else None
        except InvalidPhone as refused:
            return self._layout.redirect(_page(unit), Tone.BAD, error_text(refused))
        return await self._perform(unit, "connect", partial(self._commands.connect, UnitId(unit), number), "")

    async def renew(self, unit: UUID) -> Response:
        """Delete the instance, create it again and connect it."""
        done = _("The instance is being made anew; scan the code when it comes.")
        return await self._perform(unit, "renew", partial(self._commands.renew, UnitId(unit)), done)

    async def registration(self, unit: UUID) -> Response:
        """Choose what is done about a webhook that somebody changes on Evolution."""
        enforce = (await read_form()).text("mode", 20) == WebhookRegistrationMode.ENFORCE
        mode = WebhookRegistrationMode.ENFORCE if enforce else WebhookRegistrationMode.OBSERVE
        change = partial(self._changes.change, UnitId(unit), UnitSettingsChange(webhook_registration=mode))
        done = _("A changed webhook is set again.") if enforce else _("A changed webhook is only told.")
        return await self._perform(unit, "change_unit", change, done)

    async def disconnect(self, unit: UUID) -> Response:
        change = partial(self._commands.disconnect, UnitId(unit))
        return await self._perform(unit, "disconnect", change, _("The phone is being unlinked."))

    async def pause(self, unit: UUID) -> Response:
        change = partial(self._changes.pause, UnitId(unit))
        return await self._perform(unit, "pause_unit", change, _("Nothing is sent until you resume."))

    async def resume(self, unit: UUID) -> Response:
        change = partial(self._changes.resume, UnitId(unit))
        return await self._perform(unit, "resume_unit", change, _("Sending goes on."))

    async def rotate(self, unit: UUID) -> Response:
        """Rotate the secret. By its generation a repeated form does not revoke the one that Evolution still uses."""
        generation = (await read_form()).integer("generation", 1, _MAX_GENERATION)
        done = _("The unit has a new webhook secret; Evolution is being told.")
        change = partial(self._changes.rotate_secret, UnitId(unit), generation)
        return await self._perform(unit, "rotate_secret", change, done)

    async def release(self, unit: UUID) -> Response:
        async def change() -> None:
            self._changes.release(UnitId(unit))

        return await self._perform(unit, "release_unit", change, _("The quarantine is over; the unit is tried again."))

    async def release_campaigns(self, unit: UUID) -> Response:
        change = partial(self._changes.release_campaigns, UnitId(unit))
        return await self._perform(unit, "release_campaigns", change, _("The campaigns go on."))

    async def archive(self, unit: UUID) -> Response:
        name = (await read_form()).text("name", 200)
        record = self._commands.find(UnitId(unit)).record
        if name != record.name.strip():
            return self._confirm("archive", record.id, _("This is not the unit's name."), 422)
        async with self._layout.audited("archive_unit", record.id):
            await self._changes.archive(record.id)
        return self._layout.redirect("/console/", Tone.GOOD, _("{name} is closed.", name=name))

    async def _perform(self, unit: UUID, action: str, change: Change, done: str) -> Response:
        return await self._layout.perform(action, unit, None, change, _page(unit), done)


def _page(unit: UUID) -> str:
    return f"/console/units/{unit}"
