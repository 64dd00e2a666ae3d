"""Pauses, resumes or connects several units at once, and walks from code to code while somebody scans."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import trio
from quart import Response

from zapline.domain.errors import ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.line.reasons import Phase
from zapline.http.api.framework.problems import invalid
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import read_form
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.live_updates import ALL_UNITS_EVENTS
from zapline.http.console.framework.translation import _, ngettext
from zapline.http.console.units.line_status import line_status
from zapline.http.console.units.scan_code import scan_values
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster
from zapline.supervisors.units.unit_commands import UnitCommands
from zapline.supervisors.units.unit_lifecycle import UnitLifecycle

_MOST = 500
"""Units of one form."""
_AT_ONCE = 8
SCAN_PATH = "/console/scan"
_ACTIONS = {"connect": "connect", "pause": "pause_unit", "resume": "resume_unit"}


class BulkActions:
    """``/console/units/several``, and ``/console/scan`` with its live part."""

    def __init__(self, layout: Layout, roster: Roster, commands: UnitCommands, changes: UnitLifecycle) -> None:
        self._layout = layout
        self._roster = roster
        self._commands = commands
        self._changes = changes

    def attach(self) -> None:
        self._layout.post("/console/units/several", "several_units", self.change)
        self._layout.get(SCAN_PATH, "scan_queue", self.show)
        self._layout.get(f"{SCAN_PATH}/part", "scan_queue_part", self.part)

    async def change(self) -> Response:
        """Do the same to each chosen unit; each is audited by itself, and what one refuses stops no other."""
        form = await read_form()
        act, ids = form.text("act", 20), list(dict.fromkeys(form.fields.getlist("unit")))
        if act not in _ACTIONS or len(ids) > _MOST:
            raise invalid("act", "is not an action for several units")
        if not ids:
            return self._layout.redirect("/console/", Tone.WARN, _("Choose the units first."))
        units = [self._commands.find(UnitId(_uuid(id))) for id in ids]
        refused: list[str] = []
        limit = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for unit in units:
                nursery.start_soon(self._change_one, act, unit, refused, limit)
        done = len(units) - len(refused)
        if refused:
            text = _("Of {all} units {done} are done. {why}", all=len(units), done=done, why=" ".join(refused[:3]))
            return self._layout.redirect("/console/", Tone.WARN, text)
        if act == "connect":
            return self._layout.redirect(SCAN_PATH)
        texts = {
            "pause": ngettext("{count} unit sends nothing now.", "{count} units send nothing now.", done),
            "resume": ngettext("{count} unit sends again.", "{count} units send again.", done),
        }
        return self._layout.redirect("/console/", Tone.GOOD, texts[act])

    async def _change_one(self, act: str, unit: Unit, refused: list[str], limit: trio.CapacityLimiter) -> None:
        changes: dict[str, Callable[[], Awaitable[object]]] = {
            "connect": partial(self._commands.connect, unit.id, None),
            "pause": partial(self._changes.pause, unit.id),
            "resume": partial(self._changes.resume, unit.id),
        }
        async with limit:
            try:
                async with self._layout.audited(_ACTIONS[act], unit.id):
                    await changes[act]()
            except ZaplineError as error:
                refused.append(f"{unit.record.name}: {error_text(error)}")

    # -- the codes to scan, one after the other --------------------------------------------------------------

    async def show(self) -> Response:
        return self._layout.render("scan.html", at="overview", events=ALL_UNITS_EVENTS, **self._values())

    async def part(self) -> Response:
        return self._layout.render("scan_part.html", **self._values())

    def _values(self) -> dict[str, Any]:
        """The first line that has a code, by name; looking at it keeps its code fresh."""
        waiting = [unit for unit in self._roster.units() if _waits_for_scan(unit)]
        waiting.sort(key=lambda unit: (unit.shown is None or unit.shown.qr_code is None, unit.record.name.casefold()))
        first = waiting[0] if waiting else None
        if first is not None:
            self._commands.keep_qr_fresh(first)
        return {
            "first": first,
            "line": line_status(first) if first is not None else None,
            "waiting": waiting[1:],
            **scan_values(first.shown if first is not None else None),
        }


def _waits_for_scan(unit: Unit) -> bool:
    shown = unit.shown
    return unit.quarantined_at is None and shown is not None and shown.phase in (Phase.PAIRING, Phase.CONNECTING)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid("unit", "is not an id") from None
