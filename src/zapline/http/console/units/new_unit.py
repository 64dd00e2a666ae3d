"""Makes a unit."""

from quart import Response

from zapline.domain.errors import LocalError
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.layout import Frame
from zapline.http.console.framework.translation import _
from zapline.http.console.units.time_zones import ZONES
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import is_time_zone

_USUAL = "America/Sao_Paulo"


class NewUnit:
    """``/console/units/new``."""

    def __init__(self, frame: Frame, commands: UnitCommands) -> None:
        self._frame = frame
        self._commands = commands

    def attach(self) -> None:
        self._frame.get("/console/units/new", "new_unit", self.show)
        self._frame.post("/console/units/new", "make_unit", self.make)

    async def show(self) -> Response:
        return self._page(200, "", "", _USUAL)

    async def make(self) -> Response:
        form = await self._frame.form()
        name, instance = form.text("name"), form.text("instance", 80)
        zone = form.text("time_zone", 64) or _USUAL
        if not is_time_zone(zone):
            return self._page(422, name, instance, zone, _("There is no such time zone."))
        try:
            async with self._frame.audited("create_unit") as line:
                line.note(name=name, instance=instance, timeZone=zone)
                made = await self._commands.create_unit(name, instance or None, zone)
                line.note(made=str(made.id))
        except LocalError as refused:
            return self._page(422, name, instance, zone, _(str(refused)))
        said = _("{name} is made. Connect it now: have the unit's phone at hand.", name=made.record.name)
        return self._frame.go(f"/console/units/{made.id}", Tone.GOOD, said)

    def _page(self, status: int, name: str, instance: str, zone: str, error: str = "") -> Response:
        return self._frame.render(
            "new_unit.html",
            status,
            at="overview",
            name=name,
            instance=instance,
            zone=zone,
            zones=ZONES,
            error=error,
        )
