"""A unit's settings: name, time zone, retention, pace and quiet hours."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from quart import Response

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.outbox.pacing import (
    DEFAULT_BURST,
    DEFAULT_CAMPAIGN_SECONDS,
    DEFAULT_PER_MINUTE,
    DEFAULT_RECIPIENT_GAP,
)
from zapline.domain.outbox.typing_time import DEFAULT_TYPING_LONGEST, MAX_SPEED, MAX_TYPING, MIN_SPEED
from zapline.domain.outbox.work_states import Lane
from zapline.http.api.framework.problems import Problem
from zapline.http.api.units.pace import NewPace, limits_of
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.forms import Form, field_of, read_form, refusal_text
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.units.time_zones import ZONES
from zapline.http.console.units.unit_page import PATH
from zapline.sql.outbound.unit_pace import find_pace
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.outbound.submission import Submissions
from zapline.supervisors.units.unit_commands import UnitCommands, UnknownUnit
from zapline.supervisors.units.unit_lifecycle import MAX_RETENTION_DAYS, UnitLifecycle, UnitSettingsChange

_RESEND = {lane: f"resend_{lane.value}" for lane in Lane}
"""The checkboxes of what is sent again by itself."""


@dataclass(eq=False, repr=False)
class SettingsPage:
    """``/console/units/{unit}/settings``."""

    _layout: Layout
    _commands: UnitCommands
    _changes: UnitLifecycle
    _submissions: Submissions
    _pool: Pool

    def attach(self) -> None:
        self._layout.get(f"{PATH}/settings", "settings", self.show)
        self._layout.post(f"{PATH}/settings", "change_settings", self.change)
        self._layout.post(f"{PATH}/settings/pace", "change_pace", self.pace)
        self._layout.add_tab(NavigationLink("settings", N_("Settings"), "/console/units/{unit}/settings", 90))

    async def show(self, unit: UUID) -> Response:
        return await self._page(self._commands.find(UnitId(unit)))

    async def change(self, unit: UUID) -> Response:
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        try:
            days = form.integer("retention_days", 1, MAX_RETENTION_DAYS)
            name, zone = form.text("name"), form.text("time_zone", 64)
            wanted = UnitSettingsChange(name=name, time_zone=zone, retention_days=days, keep_retention=False)
            async with self._layout.audited("change_unit", owner.id) as line:
                line.note(name=name, timeZone=zone, retentionDays=days)
                await self._changes.change(owner.id, wanted)
        except (LocalError, Problem) as refused:
            return await self._page(owner, refusal_text(refused), form.typed(), field_of(refused))
        return self._layout.redirect(f"/console/units/{unit}/settings", Tone.GOOD, _("Saved."))

    async def pace(self, unit: UUID) -> Response:
        owner, form = self._commands.find(UnitId(unit)), await read_form()
        try:
            limits = limits_of(_pace(form))
            async with self._layout.audited("put_pace", owner.id) as line:
                line.note(perMinute=limits.per_minute, dailyCap=limits.daily_cap)
                await self._submissions.set_pace(owner.id, limits)
        except (LocalError, Problem) as refused:
            return await self._page(owner, refusal_text(refused), form.typed(*_RESEND.values()), field_of(refused))
        return self._layout.redirect(
            f"/console/units/{unit}/settings", Tone.GOOD, _("Saved. It holds for what is sent from now on.")
        )

    async def _page(
        self, unit: Unit, error: str = "", typed: dict[str, str | bool] | None = None, field: str = ""
    ) -> Response:
        row = await find_pace(self._pool, unit.id)
        if row is None:
            raise UnknownUnit("there is no such unit")
        record = unit.record
        values: dict[str, Any] = {
            "name": record.name,
            "time_zone": record.time_zone,
            "retention_days": record.retention_days or "",
            "per_minute": f"{DEFAULT_PER_MINUTE if row.per_minute is None else row.per_minute:g}",
            "burst": DEFAULT_BURST if row.burst is None else row.burst,
            "gap_seconds": f"{DEFAULT_RECIPIENT_GAP if row.gap_seconds is None else row.gap_seconds:g}",
            "campaign_seconds": f"{row.campaign_seconds or DEFAULT_CAMPAIGN_SECONDS:g}",
            "daily_cap": row.daily_cap or "",
            "warm_up_first": row.warm_up_first or "",
            "typing_speed": f"{row.typing_speed:g}" if row.typing_speed is not None else "",
            "typing_longest": f"{DEFAULT_TYPING_LONGEST if row.typing_longest is None else row.typing_longest:g}",
            "quiet_from": f"{row.quiet_from:%H:%M}" if row.quiet_from is not None else "",
            "quiet_until": f"{row.quiet_until:%H:%M}" if row.quiet_until is not None else "",
        }
        values |= {box: lane in row.resend_lanes for lane, box in _RESEND.items()} | (typed or {})
        return self._layout.render(
            "settings.html",
            422 if error else 200,
            at="settings",
            unit=record,
            values=values,
            zones=ZONES,
            max_days=MAX_RETENTION_DAYS,
            error=error,
            wrong=field,
        )


def _pace(form: Form) -> NewPace:
    """The pace in the form, in the API's ranges. Raises Problem 422."""

    def number(name: str, minimum: float, maximum: float, default: float) -> float:
        value = form.number(name, minimum, maximum)
        return default if value is None else value

    return NewPace(
        per_minute=number("per_minute", 0.1, 6000, DEFAULT_PER_MINUTE),
        burst=form.integer("burst", 1, 1000) or DEFAULT_BURST,
        gap_seconds=number("gap_seconds", 0, 3600, DEFAULT_RECIPIENT_GAP),
        daily_cap=form.integer("daily_cap", 1, 1_000_000),
        warm_up_first=form.integer("warm_up_first", 1, 1_000_000),
        typing_speed=form.number("typing_speed", MIN_SPEED, MAX_SPEED),
        typing_longest=number("typing_longest", 1, MAX_TYPING, DEFAULT_TYPING_LONGEST),
        quiet_from=form.text("quiet_from", 5) or None,
        quiet_until=form.text("quiet_until", 5) or None,
        campaign_seconds=number("campaign_seconds", 0.001, 3600, DEFAULT_CAMPAIGN_SECONDS),
        resend_lanes=tuple(lane.value for lane in Lane if form.checked(_RESEND[lane])),
    )
