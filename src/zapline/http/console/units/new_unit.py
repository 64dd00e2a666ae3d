"""The form that creates a unit."""

from quart import Response

from zapline.domain.errors import LocalError
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import _
from zapline.http.console.units.time_zones import ZONES
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import is_time_zone

_DEFAULT_ZONE = "America/Sao_Paulo"


class NewUnitPage:
    """``/console/units/new``."""

    def __init__(self, layout: Layout, commands: UnitCommands) -> None:
        self._layout = layout
        self._commands = commands

    def attach(self) -> None:
        self._layout.get("/console/units/new", "new_unit", self.show)
        self._layout.post("/console/units/new", "create_unit", self.create)

    async def show(self) -> Response:
        return self._page(200, "", "", _DEFAULT_ZONE)

    async def create(self) -> Response:
        form = await read_form()
        name, instance = form.text("name"), form.text("instance", 80)
        zone = form.text("time_zone", 64) or _DEFAULT_ZONE
        if not is_time_zone(zone):
            return self._page(422, name, instance, zone, _("There is no such time zone."))
        try:
            async with self._layout.audited("create_unit") as line:
                line.note(name=name, instance=instance, timeZone=zone)
                unit = await self._commands.create_unit(name, instance or None, zone)
                line.note(made=str(unit.id))
        except LocalError as refused:
            return self._page(422, name, instance, zone, error_text(refused))
        done = _("{name} is made. Connect it now: have the unit's phone at hand.", name=unit.record.name)
        return self._layout.redirect(f"/console/units/{unit.id}", Tone.GOOD, done)

    def _page(self, status: int, name: str, instance: str, zone: str, error: str = "") -> Response:
        return self._layout.render(
            "new_unit.html",
            status,
            at="overview",
            name=name,
            instance=instance,
            zone=zone,
            zones=ZONES,
            error=error,
        )
