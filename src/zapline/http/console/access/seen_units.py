"""Shows the pages of a request the units that its person sees, and no other."""

from quart import g

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.roster import Roster


class SeenRoster(Roster):
    """The roster as pages read it: units that the person of the present request does not see are not in it."""

    def __init__(self, whole: Roster) -> None:
        self._whole = whole

    def get(self, unit: UnitId) -> Unit | None:
        return self._whole.get(unit) if _sees(unit) else None

    def units(self) -> list[Unit]:
        return [unit for unit in self._whole.units() if _sees(unit.id)]


def _sees(unit: UnitId) -> bool:
    principal: Principal | None = g.get("principal")
    return principal is not None and principal.sees(unit)
