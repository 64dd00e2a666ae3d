"""Defines the state of a unit's line: the stored part, and the part that a crash may lose."""

from dataclasses import dataclass

from zapline.domain.line.reasons import STATUS_OF_PHASE, Phase, Reason
from zapline.domain.timestamps import NEVER

FIRST_OBSERVE_GAP = 1.0


@dataclass(frozen=True, slots=True)
class StoredLineState:
    """The part of a line's state that outlives the process: one row of the database."""

    phase: Phase = Phase.IDLE
    reason: Reason = Reason.NEVER_CONNECTED
    wanted: bool = False
    """A person requested a connection, or the line was seen open; only then does Zapline connect it by itself."""
    number: str | None = None
    logout_pending: bool = False
    """A person requested a disconnect that Evolution has not answered yet."""
    connected_at: float | None = None
    disconnected_at: float | None = None
    qr_updated_at: float | None = None
    qr_code: str | None = None
    pairing_code: str | None = None
    owner_jid: str | None = None
    profile_name: str | None = None
    updated_at: float | None = None
    """When any of this changed, or a person requested a change."""

    @property
    def status(self) -> str:
        return STATUS_OF_PHASE[self.phase]


@dataclass(frozen=True, slots=True)
class LineState:
    """The stored part and the part that a crash may lose (its times are monotonic)."""

    stored: StoredLineState = StoredLineState()
    probe_every: float = 300.0
    """Seconds between observations of a line without events."""
    wake_at: float | None = None
    """When to send ``TimerFired``; None: not before another event."""
    failures: int = 0
    retry_at: float = NEVER
    """End of the delay that is running."""
    observed_at: float | None = None
    observe_gap: float = FIRST_OBSERVE_GAP
    observe_pending: bool = False
    """An observation was requested before the gap was over, and follows when it is."""
    doubted_until: float | None = None
    opened_at: float = NEVER
    requested_at: float = NEVER
    watched_until: float = NEVER
    qr_fresh_until: float = NEVER
    pulls: int = 0
    pull_after: float = NEVER
    refused_at: float = NEVER
    echo_until: float = NEVER
    register_at: float | None = NEVER
    """When to register (again); None: it is registered. Each start of the process checks once."""
