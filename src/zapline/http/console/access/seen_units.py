"""Shows the pages of a request the units in which its person may see them, and no other."""

from collections.abc import Container

from quart import g

from zapline.domain.ids import UnitId
from zapline.sql.postgres.row_level_security import limit_to
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster


class SeenRoster(Roster):
    """The roster as pages read it: in it are only units that the present request shows (``show_units``)."""

    def __init__(self, whole: Roster) -> None:
        self._whole = whole

    def get(self, unit: UnitId) -> Unit | None:
        return self._whole.get(unit) if _is_shown(unit) else None

    def units(self) -> list[Unit]:
        return [unit for unit in self._whole.units() if _is_shown(unit.id)]


def show_units(units: frozenset[UnitId] | None) -> None:
    """From now on, the roster and the queries of this request show these units alone; None: all."""
    g.shown_units = units
    limit_to(units)


def _is_shown(unit: UnitId) -> bool:
    shown: Container[UnitId] | None = g.get("shown_units", ())
    return shown is None or unit in shown
