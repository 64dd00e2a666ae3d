"""Holds what is known of a unit's line: what is stored, and what may be forgotten at a crash."""

from dataclasses import dataclass

from zapline.domain.line.reasons import STATUS_OF_PHASE, Phase, Reason
from zapline.domain.timestamps import NEVER

FIRST_OBSERVE_GAP = 1.0


@dataclass(frozen=True, slots=True)
class StoredLineState:
    """The part of the connection's state that outlives the process; one row of the database."""

    phase: Phase = Phase.IDLE
    reason: Reason = Reason.NEVER_CONNECTED
    wanted: bool = False
    """A person asked to connect, or the line was seen open; only then do we connect by ourselves."""
    number: str | None = None
    logout_pending: bool = False
    """A person asked to disconnect, and Evolution has not yet answered."""
    connected_at: float | None = None
    disconnected_at: float | None = None
    qr_updated_at: float | None = None
    qr_code: str | None = None
    pairing_code: str | None = None
    owner_jid: str | None = None
    profile_name: str | None = None
    updated_at: float | None = None
    """When anything of this changed, or a person asked for a change."""

    @property
    def status(self) -> str:
        return STATUS_OF_PHASE[self.phase]


@dataclass(frozen=True, slots=True)
class LineState:
    """The whole state: what is stored, and what may be forgotten at a crash (monotonic times)."""

    stored: StoredLineState = StoredLineState()
    probe_every: float = 300.0
    """Seconds between observations of a line about which nothing is heard."""
    wake_at: float | None = None
    """When to send TimerFired; None: not before another event."""
    failures: int = 0
    retry_at: float = NEVER
    """End of the delay that is running."""
    observed_at: float | None = None
    observe_gap: float = FIRST_OBSERVE_GAP
    observe_owed: bool = False
    """An observation was asked for before the gap was over."""
    doubted_until: float | None = None
    opened_at: float = NEVER
    asked_at: float = NEVER
    watched_until: float = NEVER
    qr_fresh_until: float = NEVER
    pulls: int = 0
    pull_after: float = NEVER
    refused_at: float = NEVER
    echo_until: float = NEVER
    register_at: float | None = NEVER
    """When to register (again); None: it is registered. Each life of the process looks once."""
