"""A unit's opt-outs: contacts that no campaign is sent to, listed, added and removed by hand."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from urllib.parse import urlencode
from uuid import UUID

from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout, query_text
from zapline.http.console.framework.translation import _
from zapline.http.console.units.unit_page import PATH
from zapline.sql.campaigns.opt_outs import list_suppressions
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
        change, done = self._campaigns.suppressions.add, _("No campaign is written to this contact any more.")
        return await self._perform("suppress", unit, to, change, done)

    async def release(self, unit: UUID) -> Response:
        contact = (await read_form()).text("contact", 80)
        change, done = self._campaigns.suppressions.remove, _("Campaigns may be written to this contact again.")
        return await self._perform("release_suppression", unit, contact, change, done)

    async def _perform(
        self, action: str, unit: UUID, contact: str, change: Callable[[UnitId, str], Awaitable[object]], done: str
    ) -> Response:
        page = f"/console/units/{unit}/opt-outs"
        return await self._layout.perform(action, unit, contact, partial(change, UnitId(unit), contact), page, done)


def _before() -> tuple[datetime, str] | None:
    """The position in the query; None for an invalid one."""
    try:
        at = datetime.fromisoformat(query_text("before"))
    except ValueError:
        return None
    return (at, query_text("contact")) if at.tzinfo is not None else None
