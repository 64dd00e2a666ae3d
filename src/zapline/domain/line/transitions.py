"""The transition table of a unit's connection: which signal leads from which phase where, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from zapline.domain.line.reasons import Phase, Reason


class Signal(StrEnum):
    """A connection event, told apart as far as the table needs."""

    STARTED = "daemon started"
    CONNECT_ASKED = "connect asked"
    DISCONNECT_ASKED = "disconnect asked"
    OUTDATED = "webhook secret or address changed"
    REGISTERED = "instance and webhook registered"
    CONNECT_STARTED = "connect answered without a code"
    LOGOUT_DONE = "logout answered"
    CALL_FAILED = "call failed"
    """Evolution cannot be reached or is not ready; the same call may work later."""
    CALL_REFUSED = "call refused"
    """Evolution does not want the call: the key or the request is wrong."""
    LINE_FAILED = "line failed"
    """Evolution answered that its line cannot do it."""
    TIMER = "timer fired"
    DOUBT_EXPIRED = "no observation in time"
    QR_WANTED = "somebody looks at the code"
    QR_OFFERED = "QR code offered"
    STALE_QR = "QR code of a pairing that is over"
    QR_LIMIT = "QR limit reached"
    STALE_LIMIT = "QR limit of an earlier pairing"
    CONNECTING = "connecting reported"
    CONNECTING_UNASKED = "connecting reported unasked"
    OPENED = "open reported"
    OPENED_UNASKED = "open reported unasked"
    DROPPED = "closed with the session kept"
    LOGGED_OUT = "closed with the session gone"
    LOGOUT_ECHO = "closed as expected"
    BANNED = "closed with the number refused"
    REPLACED = "closed with the session taken over"
    REMOVED = "instance removed"
    CREATED = "instance created"
    OBSERVED_OPEN = "observed open"
    OPEN_UNWANTED = "observed open before our logout"
    OBSERVED_CONNECTING = "observed connecting"
    OBSERVED_CLOSE = "observed close"
    OBSERVED_MISSING = "observed missing"
    ENDED_UNASKED = "ended unasked"


class Action(Enum):
    """What a move asks for. The first four are calls to Evolution; the others become one, or a time to wake up."""

    REGISTER = "register"
    """Create the instance if needed, set and verify its webhook. Repeated until answered."""
    CONNECT = "connect"
    OBSERVE = "observe"
    """Ask for ``connectionState``; coalesced: at most one call in a growing interval, then the call is owed."""
    LOGOUT = "logout"
    RETRY = "retry"
    """REGISTER once the delay is over, and take the next, longer delay."""
    PULL_QR = "pull QR"
    """CONNECT, if the shown code has outlived its life and somebody looks at it; each pull waits longer."""
    FRESHEN = "freshen"
    """OBSERVE, if the shown code has outlived its life: only a pairing that is still under way is pulled."""
    DOUBT = "doubt"
    """OBSERVE, and leave the phase if no observation comes in time."""
    BACK_OFF = "back off"
    """Wake up after the next, longer delay, unless a delay is running already."""
    STAND_BACK = "stand back"
    """Wake up after the longest delay."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where a signal leads; ``reason`` None keeps the reason."""

    to: Phase
    reason: Reason | None = None
    do: tuple[Action, ...] = ()


def _stay(phase: Phase, signals: str, *do: Action) -> dict[Signal, Move]:
    return {Signal[name]: Move(phase, do=do) for name in signals.split()}


_TO_OPEN = Move(Phase.OPEN, Reason.SCAN_COMPLETED)
# Nobody told us: perhaps because the webhook is not ours, so it is looked at.
_FOUND_OPEN = Move(Phase.OPEN, Reason.SCAN_COMPLETED, (Action.REGISTER,))
_TO_PAIRING = Move(Phase.PAIRING, Reason.WAITING_SCAN)
# An end is believed at once and observed a little later, when Evolution itself has settled.
_TO_REFUSED = Move(Phase.REFUSED, Reason.QR_LIMIT_REACHED, (Action.BACK_OFF,))
_TO_LOGGED_OUT = Move(Phase.LOGGED_OUT, Reason.LOGGED_OUT, (Action.BACK_OFF,))
_TO_BANNED = Move(Phase.LOGGED_OUT, Reason.BANNED, (Action.BACK_OFF,))
_TO_REPLACED = Move(Phase.BACKING_OFF, Reason.REPLACED_ELSEWHERE, (Action.STAND_BACK,))
_TO_DROPPED = Move(Phase.BACKING_OFF, Reason.DISCONNECTED, (Action.BACK_OFF,))
_TO_REMOVED = Move(Phase.IDLE, Reason.INSTANCE_REMOVED)
_START = Move(Phase.CONNECTING, Reason.CONNECTING, (Action.REGISTER,))
_STOP = Move(Phase.IDLE, Reason.DISCONNECTED, (Action.LOGOUT,))
_ENDED = Move(Phase.IDLE, Reason.DISCONNECTED)
_UNAVAILABLE = Move(Phase.BACKING_OFF, Reason.EVOLUTION_UNAVAILABLE, (Action.BACK_OFF,))
_REFUSED_CALL = Move(Phase.BACKING_OFF, Reason.EVOLUTION_REFUSED, (Action.BACK_OFF,))

# Most phases answer these alike; each phase below says where it differs.
_COMMON: Mapping[Signal, Move] = {
    Signal.CONNECT_ASKED: _START,
    Signal.DISCONNECT_ASKED: _STOP,
    Signal.QR_OFFERED: _TO_PAIRING,
    Signal.QR_LIMIT: _TO_REFUSED,
    Signal.OPENED: _TO_OPEN,
    Signal.OBSERVED_OPEN: _FOUND_OPEN,
    Signal.LOGGED_OUT: _TO_LOGGED_OUT,
    Signal.BANNED: _TO_BANNED,
    Signal.REPLACED: _TO_REPLACED,
    Signal.DROPPED: _TO_DROPPED,
    Signal.REMOVED: _TO_REMOVED,
}


def _ended(phase: Phase, besides: str) -> dict[Signal, Move]:
    """The two phases that a person must end alike: only a person, a code or an open line leads out."""
    return {
        **_COMMON,
        **_stay(phase, "STARTED OUTDATED REGISTERED CONNECT_STARTED LOGOUT_DONE QR_WANTED CREATED CONNECTING"),
        **_stay(phase, "DROPPED OBSERVED_CONNECTING OBSERVED_CLOSE OBSERVED_MISSING QR_LIMIT STALE_LIMIT"),
        **_stay(phase, besides),
        # A late `open` from before the end must not open the line: the observation decides.
        **_stay(phase, "TIMER OPENED", Action.OBSERVE),
        **_stay(phase, "CALL_FAILED CALL_REFUSED LINE_FAILED", Action.BACK_OFF),
    }


TRANSITIONS: Mapping[Phase, Mapping[Signal, Move]] = {
    Phase.IDLE: {
        **_COMMON,
        **_stay(Phase.IDLE, "STARTED OUTDATED REGISTERED CONNECT_STARTED LOGOUT_DONE QR_WANTED LOGOUT_ECHO CREATED"),
        **_stay(Phase.IDLE, "OBSERVED_CONNECTING OBSERVED_CLOSE OBSERVED_MISSING STALE_QR STALE_LIMIT"),
        **_stay(Phase.IDLE, "TIMER CONNECTING_UNASKED OPENED_UNASKED", Action.OBSERVE),
        **_stay(Phase.IDLE, "CALL_FAILED CALL_REFUSED LINE_FAILED OPEN_UNWANTED", Action.BACK_OFF),
        Signal.CONNECTING: Move(Phase.CONNECTING, Reason.CONNECTING, (Action.OBSERVE,)),
        Signal.DROPPED: _ENDED,
        Signal.REPLACED: Move(Phase.IDLE, Reason.REPLACED_ELSEWHERE),
    },
    Phase.CONNECTING: {
        **_COMMON,
        **_stay(Phase.CONNECTING, "CREATED LOGOUT_DONE"),
        **_stay(Phase.CONNECTING, "STARTED OUTDATED OBSERVED_MISSING", Action.REGISTER),
        # A late word from before the ask must not stop what a person has asked for: the observation decides.
        **_stay(Phase.CONNECTING, "TIMER CONNECTING LOGOUT_ECHO STALE_LIMIT REMOVED", Action.OBSERVE),
        Signal.REGISTERED: Move(Phase.CONNECTING, do=(Action.CONNECT,)),
        Signal.CONNECT_STARTED: Move(Phase.CONNECTING, do=(Action.BACK_OFF,)),
        Signal.QR_WANTED: Move(Phase.CONNECTING, do=(Action.FRESHEN,)),
        Signal.OBSERVED_CONNECTING: Move(Phase.CONNECTING, do=(Action.PULL_QR,)),
        Signal.OBSERVED_CLOSE: _TO_DROPPED,
        Signal.LINE_FAILED: _TO_DROPPED,
        Signal.CALL_FAILED: _UNAVAILABLE,
        Signal.CALL_REFUSED: _REFUSED_CALL,
        Signal.ENDED_UNASKED: _ENDED,
    },
    Phase.PAIRING: {
        **_COMMON,
        **_stay(Phase.PAIRING, "CREATED LOGOUT_DONE REGISTERED CONNECT_STARTED"),
        **_stay(Phase.PAIRING, "TIMER CONNECTING LOGOUT_ECHO STALE_LIMIT REMOVED", Action.OBSERVE),
        **_stay(Phase.PAIRING, "CALL_FAILED CALL_REFUSED LINE_FAILED", Action.BACK_OFF),
        Signal.STARTED: Move(Phase.PAIRING, do=(Action.REGISTER, Action.OBSERVE)),
        Signal.OUTDATED: Move(Phase.PAIRING, do=(Action.REGISTER,)),
        Signal.CONNECT_ASKED: Move(Phase.PAIRING, do=(Action.REGISTER, Action.CONNECT)),
        Signal.QR_WANTED: Move(Phase.PAIRING, do=(Action.FRESHEN,)),
        Signal.OBSERVED_CONNECTING: Move(Phase.PAIRING, do=(Action.PULL_QR,)),
        # A close is part of every scan (515), and of the end of all codes (408); a moment later the state tells.
        Signal.DROPPED: Move(Phase.PAIRING, do=(Action.BACK_OFF,)),
        # After the limit Evolution goes to close without a further word (contract, section 2).
        Signal.OBSERVED_CLOSE: _TO_REFUSED,
        Signal.OBSERVED_MISSING: _TO_REMOVED,
        Signal.ENDED_UNASKED: _ENDED,
    },
    Phase.OPEN: {
        **_COMMON,
        **_stay(Phase.OPEN, "OPENED OBSERVED_OPEN QR_WANTED CREATED REGISTERED CONNECT_STARTED LOGOUT_DONE"),
        # What may be late, or may pass, must not close an open line: it raises a doubt, the observation decides.
        **_stay(Phase.OPEN, "CONNECTING QR_OFFERED QR_LIMIT STALE_LIMIT REMOVED", Action.DOUBT),
        **_stay(Phase.OPEN, "CALL_FAILED CALL_REFUSED LINE_FAILED", Action.DOUBT),
        **_stay(Phase.OPEN, "STARTED CONNECT_ASKED", Action.REGISTER, Action.OBSERVE),
        Signal.OUTDATED: Move(Phase.OPEN, do=(Action.REGISTER,)),
        Signal.TIMER: Move(Phase.OPEN, do=(Action.OBSERVE,)),
        Signal.DOUBT_EXPIRED: _UNAVAILABLE,
        Signal.OBSERVED_CONNECTING: Move(Phase.CONNECTING, Reason.CONNECTING, (Action.BACK_OFF,)),
        Signal.OBSERVED_CLOSE: _TO_DROPPED,
        Signal.OBSERVED_MISSING: _TO_REMOVED,
    },
    Phase.BACKING_OFF: {
        **_COMMON,
        **_stay(Phase.BACKING_OFF, "QR_WANTED CREATED LOGOUT_DONE CONNECT_STARTED DROPPED"),
        **_stay(Phase.BACKING_OFF, "STARTED TIMER CONNECTING STALE_LIMIT", Action.OBSERVE),
        **_stay(Phase.BACKING_OFF, "LINE_FAILED", Action.BACK_OFF),
        **_stay(Phase.BACKING_OFF, "OBSERVED_CONNECTING", Action.BACK_OFF, Action.PULL_QR),
        # The phase stays until something is known, so that a server without WhatsApp costs no row a try.
        **_stay(Phase.BACKING_OFF, "OBSERVED_CLOSE OBSERVED_MISSING", Action.RETRY),
        Signal.REGISTERED: Move(Phase.BACKING_OFF, do=(Action.CONNECT,)),
        Signal.OUTDATED: Move(Phase.BACKING_OFF),
        # Perhaps an old `open`: believed, and observed.
        Signal.OPENED: Move(Phase.OPEN, Reason.SCAN_COMPLETED, (Action.DOUBT,)),
        Signal.CALL_FAILED: _UNAVAILABLE,
        Signal.CALL_REFUSED: _REFUSED_CALL,
        Signal.ENDED_UNASKED: _ENDED,
    },
    Phase.LOGGED_OUT: _ended(Phase.LOGGED_OUT, "REPLACED LOGGED_OUT"),
    Phase.REFUSED: _ended(Phase.REFUSED, "REPLACED STALE_QR"),
}

_ASKED_FOR = frozenset({Phase.CONNECTING, Phase.PAIRING, Phase.BACKING_OFF})

ONLY_IN: Mapping[Signal, frozenset[Phase]] = {
    Signal.DOUBT_EXPIRED: frozenset({Phase.OPEN}),
    Signal.STALE_QR: frozenset({Phase.IDLE, Phase.REFUSED}),
    Signal.CONNECTING_UNASKED: frozenset({Phase.IDLE}),
    Signal.OPENED_UNASKED: frozenset({Phase.IDLE}),
    Signal.OPEN_UNWANTED: frozenset({Phase.IDLE}),
    Signal.LOGOUT_ECHO: frozenset({Phase.IDLE, Phase.CONNECTING, Phase.PAIRING}),
    Signal.ENDED_UNASKED: _ASKED_FOR,
}
"""Signals that are told apart in some phases only; each other signal has a move in every phase."""
