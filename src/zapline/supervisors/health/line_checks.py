"""Checks the lines: how many are out, the Evolution server that serves them, and the webhooks it is asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import HealthCheck, Verdict, expect_none
from zapline.supervisors.inbound.unit_state import Unit

_SERVER_REASONS = frozenset({Reason.EVOLUTION_UNAVAILABLE, Reason.EVOLUTION_UNLICENSED, Reason.EVOLUTION_REFUSED})

SLOW_AFTER = 120.0
"""Seconds that a line may take to come back by itself before somebody should look."""


MOST_NAMED = 100
"""Units that are named as the cause of a finding."""


class LineStanding(StrEnum):
    """Where a line stands for whoever keeps it running."""

    OUT = "out"
    """Only a person brings it back: logged out, refused, banned."""
    RECONNECTING = "reconnecting"
    CONNECTED = "connected"
    OFF = "off"
    """Nobody wants it connected."""
    UNREAD = "unread"


_STANDINGS = {
    Phase.IDLE: LineStanding.OFF,
    Phase.CONNECTING: LineStanding.RECONNECTING,
    Phase.PAIRING: LineStanding.RECONNECTING,
    Phase.OPEN: LineStanding.CONNECTED,
    Phase.BACKING_OFF: LineStanding.RECONNECTING,
    Phase.LOGGED_OUT: LineStanding.OUT,
    Phase.REFUSED: LineStanding.OUT,
}


def line_standing(stored: StoredLineState | None) -> LineStanding:
    """The standing of a line as it is shown; None: not read yet."""
    return _STANDINGS[stored.phase] if stored is not None else LineStanding.UNREAD


def missing_since(stored: StoredLineState | None) -> float | None:
    """Since when a line that should be open is not, in UTC seconds; None if it is open, off or unread."""
    if stored is None or line_standing(stored) not in (LineStanding.OUT, LineStanding.RECONNECTING):
        return None
    return stored.disconnected_at if stored.disconnected_at is not None else stored.updated_at


@dataclass(frozen=True, slots=True)
class LineTally:
    """How many lines stand where. ``slow``: of those that reconnect, the ones that take over ``SLOW_AFTER``."""

    out: int = 0
    reconnecting: int = 0
    connected: int = 0
    off: int = 0
    slow: int = 0


def tally_lines(units: Iterable[Unit], now: float) -> LineTally:
    """Count the lines by their standing. ``now``: UTC seconds."""
    counts = dict.fromkeys(LineStanding, 0)
    slow = 0
    for unit in units:
        standing, since = line_standing(unit.shown), missing_since(unit.shown)
        counts[standing] += 1
        slow += standing is LineStanding.RECONNECTING and since is not None and now - since > SLOW_AFTER
    return LineTally(
        counts[LineStanding.OUT],
        counts[LineStanding.RECONNECTING],
        counts[LineStanding.CONNECTED],
        counts[LineStanding.OFF],
        slow,
    )


def check_tally(tally: LineTally) -> HealthCheck:
    """Lines decide: one that only a person brings back fails, one that takes long to come back warns."""
    verdict = Verdict.FAIL if tally.out else Verdict.WARN if tally.slow else Verdict.PASS
    told = f"{tally.out} out, {tally.reconnecting} reconnecting, {tally.connected} connected"
    advice = "look at the units: each line that is out says why, and waits for a person to connect it"
    return HealthCheck("linesDown", tally.out + tally.slow, "0", verdict, f"{told}; {advice}")


def check_lines(units: Sequence[Unit], counters: Counters) -> list[HealthCheck]:
    """Check what surrounds the lines; their own standing is :func:`check_tally`."""
    without = tuple(unit.id for unit in units if _lacks_server(unit))
    changed = tuple(unit.id for unit in units if unit.registration is not None and unit.registration.differences)
    restored = counters.recent("registrations_restored")
    return [
        expect_none(
            "linesWithoutServer",
            len(without),
            "their Evolution server does not answer, has no licence, or refuses the key; start it or mend that",
            units=without[:MOST_NAMED],
        ),
        expect_none(
            "changedWebhooks",
            len(changed) + restored,
            "somebody changed the webhook of these lines on Evolution; look who it is: it is set again, "
            "unless the unit says otherwise",
            units=changed[:MOST_NAMED],
        ),
    ]


def _lacks_server(unit: Unit) -> bool:
    shown = unit.shown
    return shown is not None and shown.wanted and shown.reason in _SERVER_REASONS
