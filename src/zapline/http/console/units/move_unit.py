"""The guided step that moves a unit to another Evolution server."""

from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.line.evolution_servers import ENVIRONMENT
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.translation import _
from zapline.http.console.units.unit_page import PATH
from zapline.supervisors.servers.server_commands import ServerCommands
from zapline.supervisors.units.unit_commands import UnitCommands


class MoveUnitPage:
    """``/console/units/{unit}/move``."""

    def __init__(self, layout: Layout, commands: UnitCommands, servers: ServerCommands) -> None:
        self._layout = layout
        self._commands = commands
        self._servers = servers

    def attach(self) -> None:
        self._layout.get(f"{PATH}/move", "move_unit_page", self.show)
        self._layout.post(f"{PATH}/move", "move_unit", self.move)

    async def show(self, unit: UUID) -> Response:
        return self._page(UnitId(unit), 200)

    async def move(self, unit: UUID) -> Response:
        form = await read_form()
        server, leave = form.text("server", 40), form.checked("leave_behind")
        id = self._commands.find(UnitId(unit)).id
        try:
            async with self._layout.audited("move_unit", id) as line:
                line.note(server=server, leaveBehind=leave)
                await self._servers.move(id, server, leave)
        except LocalError as refused:
            return self._page(id, 422, server, error_text(refused))
        done = _("The unit lives on {name} now; scan the code when it comes.", name=server)
        return self._layout.redirect(f"/console/units/{unit}", Tone.GOOD, done)

    def _page(self, id: UnitId, status: int, chosen: str = "", error: str = "") -> Response:
        unit = self._commands.find(id)
        lives_on = unit.record.evolution_server or ENVIRONMENT
        others = [server for server in self._servers.list() if server.name != lives_on and server.paused_at is None]
        return self._layout.render(
            "move_unit.html",
            status,
            at="unit",
            unit=unit.record,
            lives_on=lives_on,
            others=others,
            chosen=chosen,
            error=error,
        )
