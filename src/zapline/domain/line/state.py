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
class PairingProgress:
    """What was seen of the pairing since it was requested; times are monotonic."""

    watched_codes: int = 0
    """Codes that were replaced while somebody looked at them."""
    shown_at: float = NEVER
    """When the current code came."""
    connecting_seen: int = 0
    """Reports of ``connecting`` in the middle of the current code's life."""
    scan_seen: bool = False
    """A sign that a scan has begun: Evolution's socket to WhatsApp was replaced in the middle of a code's life."""
    closed_since: float | None = None
    """First observation of ``close`` in the current code's life."""
    revived: bool = False
    """Connect was called again after such a close."""
    pairing_code_due: float | None = None
    """Until when the pairing code that was asked for may still come."""
    renewed: bool = False
    """The pairing was closed and begun anew because a pairing code was asked for."""


@dataclass(frozen=True, slots=True)
class LineState:
    """The stored part and the part that a crash may lose (its times are monotonic)."""

    stored: StoredLineState = StoredLineState()
    probe_every: float = 90.0
    """Seconds between observations of a line without events, and between checks of an open line's webhook."""
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
    not_open_since: float | None = None
    """First of the observations in a row by which an open line is not open."""
    returned_at: float = NEVER
    """When the server answered again; NEVER once the line has been observed open."""
    opened_at: float = NEVER
    requested_at: float = NEVER
    watched_until: float = NEVER
    qr_fresh_until: float = NEVER
    pulls: int = 0
    pull_after: float = NEVER
    refused_at: float = NEVER
    echo_until: float = NEVER
    pairing: PairingProgress = PairingProgress()
    fruitless_connects: int = 0
    """Calls of connect since the last code or open line."""
    check_at: float = NEVER
    """When to read the webhook back."""
    register_at: float | None = NEVER
    """When to register (again); None: it is registered. Each start of the process checks once."""
