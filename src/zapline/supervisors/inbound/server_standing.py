"""What is known of an Evolution server, and what a line that lives on it shows because of it."""

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import trio

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.evolution.client.rest_client import EvolutionClient

_NEEDS_SERVER = frozenset({Phase.OPEN, Phase.CONNECTING, Phase.PAIRING, Phase.BACKING_OFF})


@dataclass(slots=True, eq=False, weakref_slot=True)
class ServerStanding:
    """One for each server, changed by its watch only. Times are UTC seconds."""

    away_since: float | None = None
    """None: it answers, or nothing is known yet."""
    unknown: bool = False
    """Nothing is known yet: its watch has just begun."""
    version: str | None = None
    name: str | None = None
    """None: the server that the environment names."""
    client: EvolutionClient | None = None
    """None: the environment's, which everybody has."""
    key_lost: bool = False
    """Its stored key cannot be read."""

    def shown(self, stored: StoredLineState) -> StoredLineState:
        """The line as it is shown: one whose server is away says so, whatever was last heard of it."""
        if self.away_since is None or not _needs_server(stored):
            return stored
        return replace(
            stored,
            phase=Phase.BACKING_OFF,
            reason=Reason.EVOLUTION_UNAVAILABLE,
            disconnected_at=stored.disconnected_at or self.away_since,
            qr_code=None,
            pairing_code=None,
        )

    def leaves_open(self, stored: StoredLineState) -> bool:
        """Whether nobody knows yet what the line shows: that follows from the watch's first verdict."""
        return self.unknown and _needs_server(stored)


class PerServer:
    """So much at a time at each server: one that hangs holds up no other's units."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._limiters: WeakKeyDictionary[ServerStanding, trio.CapacityLimiter] = WeakKeyDictionary()

    def of(self, server: ServerStanding) -> trio.CapacityLimiter:
        """The limiter of a server, whatever its address and key are."""
        limiter = self._limiters.get(server)
        if limiter is None:
            limiter = self._limiters[server] = trio.CapacityLimiter(self._size)
        return limiter


def _needs_server(stored: StoredLineState) -> bool:
    return stored.wanted and stored.phase in _NEEDS_SERVER


@dataclass(frozen=True, slots=True)
class LineSettingsReport:
    """What the last check of a line's settings has found. Times are UTC seconds."""

    checked_at: float
    version: int
    """Of what the unit wanted then; it grows with each change."""
    differences: tuple[str, ...] = ()
    """Evolution's names of what is not as wanted, and ``proxy``."""
    restored_at: float | None = None
    """When somebody's change was last set back."""
    error: str | None = None
    """Why the proxy could not be set."""
    refused_at: float = 0.0
    """Since when it is known."""


@dataclass(frozen=True, slots=True)
class RegistrationReport:
    """What the last check of a line's webhook found. Times are UTC seconds."""

    checked_at: float
    differences: tuple[str, ...] = ()
    """What somebody has changed and is still so."""
    restored_at: float | None = None
    """When it was last set again."""
