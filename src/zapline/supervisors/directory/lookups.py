"""What all questions to WhatsApp have in common: they need a line that is open, and are not asked too fast."""

from math import ceil

from zapline.domain.errors import LocalError
from zapline.domain.line.reasons import Phase
from zapline.supervisors.inbound.unit_state import Unit


class LineNotConnected(LocalError):
    """The line has no connection to WhatsApp, so nothing can be asked of it."""


class LookupsHeld(LocalError):
    """The unit may not ask WhatsApp for so much now. ``wait``: seconds after which it may."""

    def __init__(self, what: str, wait: float) -> None:
        super().__init__(what)
        self.wait = max(1, ceil(wait))


def require_open_line(unit: Unit) -> None:
    """Raises LineNotConnected."""
    if unit.shown is None or unit.shown.phase is not Phase.OPEN:
        raise LineNotConnected("the line is not connected to WhatsApp, so it cannot be asked")
