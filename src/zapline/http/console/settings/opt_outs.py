"""A unit's opt-outs: contacts that no campaign is sent to, listed, added and removed by hand."""

from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, query_text
from zapline.http.console.framework.translation import _
from zapline.http.console.units.unit_page import PATH
from zapline.sql.inbound.opt_outs import list_suppressions
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.campaigns.campaign_commands import Campaigns
from zapline.supervisors.units.unit_commands import UnitCommands

_PAGE = 50


class OptOutsPage:
    """``/console/units/{unit}/opt-outs``."""

    def __init__(self, layout: Layout, commands: UnitCommands, campaigns: Campaigns, pool: Pool) -> None:
        self._layout = layout
        self._commands = commands
        self._campaigns = campaigns
        self._pool = pool

    def attach(self) -> None:
        self._layout.get(f"{PATH}/opt-outs", "opt_outs", self.show)
        self._layout.post(f"{PATH}/opt-outs", "add_opt_out", self.add)
        self._layout.post(f"{PATH}/opt-outs/release", "release_opt_out", self.release)

    async def show(self, unit: UUID) -> Response:
        record = self._commands.find(UnitId(unit)).record
        rows = await list_suppressions(self._pool, record.id, _before(), _PAGE + 1)
        older = None
        if len(rows) > _PAGE:
            last = rows[_PAGE - 1]
            position = {"before": last.created_at.isoformat(), "contact": last.canonical}
            older = f"/console/units/{unit}/opt-outs?{urlencode(position)}"
        return self._layout.render("opt_outs.html", at="settings", unit=record, rows=rows[:_PAGE], older=older)

    async def add(self, unit: UUID) -> Response:
        to = (await read_form()).text("to", 80)
        try:
            async with self._layout.audited("suppress", UnitId(unit), to):
                await self._campaigns.suppressions.add(UnitId(unit), to)
        except LocalError as refused:
            return self._back(unit, Tone.BAD, _(str(refused)))
        return self._back(unit, Tone.GOOD, _("No campaign is written to this contact any more."))

    async def release(self, unit: UUID) -> Response:
        contact = (await read_form()).text("contact", 80)
        try:
            async with self._layout.audited("release_suppression", UnitId(unit), contact):
                await self._campaigns.suppressions.remove(UnitId(unit), contact)
        except LocalError as refused:
            return self._back(unit, Tone.BAD, _(str(refused)))
        return self._back(unit, Tone.GOOD, _("Campaigns may be written to this contact again."))

    def _back(self, unit: UUID, tone: Tone, text: str) -> Response:
        return self._layout.redirect(f"/console/units/{unit}/opt-outs", tone, text)


def _before() -> tuple[datetime, str] | None:
    """The position in the query; None for an invalid one."""
    try:
        at = datetime.fromisoformat(query_text("before"))
    except ValueError:
        return None
    return (at, query_text("contact")) if at.tzinfo is not None else None
