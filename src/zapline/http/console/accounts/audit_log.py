"""The audit log: who changed what, when, from where, and what came of it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from quart import Response

from zapline.domain.ids import UnitId
from zapline.http.console.framework.layout import Layout, NavigationLink, query_number, query_text
from zapline.http.console.framework.translation import N_, _
from zapline.sql.accounts.audit_log import AuditEntry, AuditFilter, list_entries_for_admin
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster

_PAGE = 50
ACTOR_KINDS = {
    "admin": N_("administrator"),
    "unit_token": N_("token"),
    "command": N_("command line"),
    "system": N_("Zapline itself"),
}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A line as the page shows it."""

    line: AuditEntry
    kind: str
    unit: str
    tone: str
    word: str
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
        chosen = self._unit(unit)
        before = query_number("before", 0, 2**62) or None
        rows: list[AuditEntry] = []
        if not unit or chosen is not None:
            wanted = AuditFilter(chosen, actor or None, action or None)
            rows = list(await list_entries_for_admin(self._pool, wanted, before, _PAGE + 1))
        query = {name: value for name, value in (("unit", unit), ("actor", actor), ("action", action)) if value}
        older = urlencode({**query, "before": rows[_PAGE - 1].id}) if len(rows) > _PAGE else None
        return self._layout.render(
            "audit.html",
            at="audit",
            rows=[self._shown(line) for line in rows[:_PAGE]],
            units=sorted(found.record.name for found in self._roster.units())[:500],
            zone=self._zone(chosen),
            wanted_unit=unit,
            wanted_actor=actor,
            wanted_action=action,
            older=f"/console/audit?{older}" if older else None,
            newer=f"/console/audit?{urlencode(query)}" if before is not None else None,
        )

    def _zone(self, chosen: UnitId | None) -> str:
        """One for the page: that of the chosen unit, else that of most units."""
        found = self._roster.get(chosen) if chosen is not None else None
        if found is not None:
            return found.record.time_zone
        common = Counter(unit.record.time_zone for unit in self._roster.units()).most_common(1)
        return common[0][0] if common else "UTC"

    def _unit(self, text: str) -> UnitId | None:
        """The unit of this name or id; a closed one by its id alone."""
        try:
            return UnitId(UUID(text))
        except ValueError:
            named = [found.id for found in self._roster.units() if found.record.name == text]
            return named[0] if named else None

    def _shown(self, line: AuditEntry) -> AuditRow:
        found = self._roster.get(line.unit) if line.unit is not None else None
        tone, word = _outcome(line.outcome)
        return AuditRow(
            line=line,
            kind=_(ACTOR_KINDS[line.actor_kind]) if line.actor_kind in ACTOR_KINDS else line.actor_kind,
            unit=found.record.name if found is not None else str(line.unit or ""),
            tone=tone,
            word=word,
            detail=", ".join(f"{name}: {_detail_text(value)}" for name, value in line.detail.items()),
        )


def _outcome(status: int | None) -> tuple[str, str]:
    if status is None:
        return "warn", _("outcome unknown")
    if status < 400:
        return "good", _("done")
    return "bad", _("refused ({status})", status=status)


def _detail_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
