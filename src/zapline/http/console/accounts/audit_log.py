"""The audit log: who changed what, when, from where, and with which outcome."""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.console.accounts.audit_actions import action_choices, action_label
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.translation import N_, _
from zapline.sql.accounts.audit_log import AuditEntry, AuditFilter, list_entries_for_admin
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster

_PAGE = 50
ACTOR_KINDS = {
    "admin": N_("administrator"),
    "unit_token": N_("token"),
    "organization_token": N_("organization's token"),
    "command": N_("command line"),
    "system": N_("Zapline itself"),
}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry as the page shows it."""

    entry: AuditEntry
    kind: str
    action: str
    unit_id: UnitId | None
    unit: str
    tone: str
    label: str
    detail: str


class AuditPage:
    """``/console/audit``."""

    def __init__(self, layout: Layout, roster: Roster, pool: Pool) -> None:
        self._layout = layout
        self._roster = roster
        self._pool = pool

    def attach(self) -> None:
        self._layout.get("/console/audit", "audit", self.show)
        self._layout.add_section(NavigationLink("audit", N_("Audit"), "/console/audit", 90))

    async def show(self) -> Response:
        unit, actor, action = query_text("unit", 200), query_text("actor", 254), query_text("action")
        chosen = self._unit_id(unit)
        before = query_number("before", 0, 2**62) or None
        rows: list[AuditEntry] = []
        if not unit or chosen is not None:
            criteria = AuditFilter(chosen, actor or None, action or None)
            rows = list(await list_entries_for_admin(self._pool, criteria, before, _PAGE + 1))
        query = {name: value for name, value in (("unit", unit), ("actor", actor), ("action", action)) if value}
        older = urlencode({**query, "before": rows[_PAGE - 1].id}) if len(rows) > _PAGE else None
        return self._layout.render(
            "audit.html",
            at="audit",
            rows=[self._row(entry) for entry in rows[:_PAGE]],
            units=sorted(unit.record.name for unit in self._roster.units())[:500],
            zone=self._zone(chosen),
            wanted_unit=unit,
            wanted_actor=actor,
            wanted_action=action,
            actions=action_choices(action),
            older=f"/console/audit?{older}" if older else None,
            newer=f"/console/audit?{urlencode(query)}" if before is not None else None,
        )

    def _zone(self, chosen: UnitId | None) -> str:
        """The time zone of the page: that of the chosen unit, else that of most units."""
        unit = self._roster.get(chosen) if chosen is not None else None
        if unit is not None:
            return unit.record.time_zone
        common = Counter(unit.record.time_zone for unit in self._roster.units()).most_common(1)
        return common[0][0] if common else "UTC"

    def _unit_id(self, text: str) -> UnitId | None:
        """The id of the unit with this name or id; an archived unit is known by its id only."""
        try:
            return UnitId(UUID(text))
        except ValueError:
            return next((unit.id for unit in self._roster.units() if unit.record.name == text), None)

    def _row(self, entry: AuditEntry) -> AuditRow:
        id = entry.unit if entry.unit is not None else _made_unit(entry)
        unit = self._roster.get(id) if id is not None else None
        tone, label = _outcome(entry.outcome)
        return AuditRow(
            entry=entry,
            kind=_(ACTOR_KINDS[entry.actor_kind]) if entry.actor_kind in ACTOR_KINDS else entry.actor_kind,
            action=action_label(entry.action),
            unit_id=id,
            unit=unit.record.name if unit is not None else str(id or ""),
            tone=tone,
            label=label,
            detail=", ".join(
                f"{name}: {_detail_text(value)}" for name, value in entry.detail.items() if name != "made"
            ),
        )


def _made_unit(entry: AuditEntry) -> UnitId | None:
    """The unit that the action made: it had no id when the entry was begun."""
    made = entry.detail.get("made")
    try:
        return UnitId(UUID(made)) if entry.action == "create_unit" and isinstance(made, str) else None
    except ValueError:
        return None


def _outcome(status: int | None) -> tuple[str, str]:
    if status is None:
        return "warn", _("outcome unknown")
    if status < 400:
        return "good", _("done")
    return "bad", _("refused ({status})", status=status)


def _detail_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
