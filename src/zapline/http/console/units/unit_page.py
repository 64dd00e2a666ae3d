"""A unit's page, live: its line with the QR code, its sending and reconciliation, and its recent activity."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from quart import Response
from werkzeug.exceptions import NotFound

from zapline.domain.ids import UnitId
from zapline.domain.line.evolution_servers import ENVIRONMENT
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.server_versions import version_notes
from zapline.domain.line.state import StoredLineState
from zapline.domain.outbox.failure_texts import failure_text, hold_text
from zapline.http.api.units.qr_codes import QrPictures
from zapline.http.api.units.unit_responses import OutboundBody, SendingBody
from zapline.http.console.framework.counts import read_if_available
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.live_updates import unit_events_path
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.line_history import week_of
from zapline.http.console.units.line_status import line_status, registration_text
from zapline.http.console.units.recent_activity import recent_activity
from zapline.http.console.units.scan_code import scan_values
from zapline.http.console.units.sending_hold import unit_hold_reason
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import unit_totals
from zapline.sql.units.unit_totals import UnitTotals
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.notifications.live_feed import LiveFeed
from zapline.supervisors.units.unit_commands import UnitCommands

Sending = Callable[[UnitId], OutboundBody | None]
PATH = "/console/units/<uuid:unit>"
SENDER_STATES = {
    "idle": ("good", N_("Nothing waits to be sent")),
    "pacing": ("busy", N_("Waits for its pace")),
    "calling": ("busy", N_("Is sending")),
    "paused": ("warn", N_("Rests for a while")),
}
"""What the unit's sender does, by its state."""


_RENEWABLE = frozenset({Reason.SESSION_STUCK, Reason.LINK_NOT_COMPLETED})
"""Reasons for which the page offers to make the instance anew."""


class UnitPage:
    """``/console/units/{unit}`` and its live parts."""

    def __init__(
        self,
        layout: Layout,
        commands: UnitCommands,
        pool: Pool,
        feed: LiveFeed | None,
        sending: Sending,
        several_servers: Callable[[], bool] = lambda: False,
    ) -> None:
        """``several_servers``: whether there is any Evolution server beside the environment's."""
        self._layout = layout
        self._several = several_servers
        self._commands = commands
        self._pool = pool
        self._feed = feed
        self._sending = sending
        self._pictures = QrPictures()

    def attach(self) -> None:
        self._layout.get(PATH, "unit", self.show)
        self._layout.get(f"{PATH}/part/line", "unit_line", self.line)
        self._layout.get(f"{PATH}/part/work", "unit_work", self.work)
        self._layout.get(f"{PATH}/part/activity", "unit_activity", self.activity)
        self._layout.get(f"{PATH}/qr.svg", "unit_qr", self.qr)
        self._layout.add_tab(NavigationLink("unit", N_("Line"), "/console/units/{unit}", 0))

    async def show(self, unit: UUID) -> Response:
        owner = self._commands.find(UnitId(unit))
        values = {**self._line_values(owner), **await self._work_values(owner), **self._activity_values(owner)}
        values["days"] = await week_of(self._pool, owner, time.time())
        return self._layout.render(
            "unit.html", at="unit", unit=owner.record, events=unit_events_path(owner.id), **values
        )

    async def line(self, unit: UUID) -> Response:
        return self._layout.render("unit_line.html", **self._line_values(self._commands.find(UnitId(unit))))

    async def work(self, unit: UUID) -> Response:
        return self._layout.render("unit_work.html", **await self._work_values(self._commands.find(UnitId(unit))))

    async def activity(self, unit: UUID) -> Response:
        return self._layout.render("unit_activity.html", **self._activity_values(self._commands.find(UnitId(unit))))

    async def qr(self, unit: UUID) -> Response:
        """The QR code to scan; requesting the page keeps it fresh."""
        state = self._commands.find(UnitId(unit)).state
        stored = state.stored if state is not None else None
        if stored is None or stored.phase is not Phase.PAIRING or stored.qr_code is None:
            raise NotFound
        return Response(await self._pictures.svg(stored.qr_code), content_type="image/svg+xml")

    def _line_values(self, unit: Unit) -> dict[str, Any]:
        stored = unit.shown or StoredLineState()
        if stored.phase in (Phase.CONNECTING, Phase.PAIRING):
            self._commands.keep_qr_fresh(unit)
        return {
            "record": unit.record,
            **scan_values(stored),
            "line": line_status(unit),
            "phase": stored.phase.value,
            "quarantined": unit.quarantined_at is not None,
            "renewable": stored.reason in _RENEWABLE,
            "banned": stored.reason is Reason.BANNED,
            "registration": registration_text(unit),
            "evolution": unit.server.version,
            "server": unit.record.evolution_server or (ENVIRONMENT if self._several() else None),
            "notes": [(note.sentence, note.advice) for note in version_notes(unit.server.version)],
        }

    async def _work_values(self, unit: Unit) -> dict[str, Any]:
        totals = await read_if_available(lambda: unit_totals.load_totals(self._pool, unit.id))
        outbound = self._sending(unit.id)
        return {
            "record": unit.record,
            "totals": totals,
            "held": _(failure_text(unit.record.campaigns_held_reason)) if unit.record.campaigns_held_reason else "",
            "sender": _sender_view(unit, outbound.sending if outbound is not None else None, totals),
            "reconciliation": outbound.reconciliation if outbound is not None else None,
        }

    def _activity_values(self, unit: Unit) -> dict[str, Any]:
        return {
            "record": unit.record,
            "activities": recent_activity(self._feed, unit.id) if self._feed is not None else [],
        }


def _sender_view(unit: Unit, sending: SendingBody | None, totals: UnitTotals | None) -> dict[str, Any]:
    """The state of sending: tone, label and reason."""
    if unit.record.paused_at is not None:
        reason = _("What waits stays; what comes in is stored.")
        return {"tone": "warn", "label": _("Paused by a person"), "reason": reason, "since": unit.record.paused_at}
    state = sending.state if sending is not None else "idle"
    if state == "idle" and totals is not None and totals.queued:
        if hold := unit_hold_reason(unit):
            return {"tone": "warn", "label": _("Waits for the line"), "reason": hold, "since": None}
        return {"tone": "busy", "label": _("What waits is about to be sent"), "reason": "", "since": None}
    tone, label = SENDER_STATES[state]
    reason = _(hold_text(sending.reason)) if sending is not None and sending.reason else ""
    return {"tone": tone, "label": _(label), "reason": reason, "since": None}
