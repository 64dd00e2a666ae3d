"""What is known of the Evolution server that all lines share, and what a line shows because of it."""

from dataclasses import dataclass, replace

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState

_NEEDS_SERVER = frozenset({Phase.OPEN, Phase.CONNECTING, Phase.PAIRING, Phase.BACKING_OFF})


@dataclass(slots=True)
class ServerStanding:
    """One for the process, changed by its server watch only. Times are UTC seconds."""

    away_since: float | None = None
    """None: it answers, or nothing is known yet."""
    version: str | None = None

    def shown(self, stored: StoredLineState) -> StoredLineState:
        """The line as it is shown: one whose server is away says so, whatever was last heard of it."""
        if self.away_since is None or not stored.wanted or stored.phase not in _NEEDS_SERVER:
            return stored
        return replace(
            stored,
            phase=Phase.BACKING_OFF,
            reason=Reason.EVOLUTION_UNAVAILABLE,
            disconnected_at=stored.disconnected_at or self.away_since,
            qr_code=None,
            pairing_code=None,
        )


@dataclass(frozen=True, slots=True)
class RegistrationReport:
    """What the last check of a line's webhook found. Times are UTC seconds."""

    checked_at: float
    differences: tuple[str, ...] = ()
    """What somebody has changed and is still so."""
    restored_at: float | None = None
    """When it was last set again."""
