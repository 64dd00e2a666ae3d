"""Defines the transition table of a line: for each phase and signal the next phase, the reason and the actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from zapline.domain.line.reasons import Phase, Reason


class LineSignal(StrEnum):
    """A connection event, classified as far as the table needs; see ``zapline.domain.line.signals``."""

    STARTED = "daemon started"
    CONNECT_ASKED = "connect asked"
    PAIRING_CODE_ASKED = "pairing code asked while a QR code is shown"
    PAIRING_CODE_REFUSED = "no pairing code came"
    RENEW_ASKED = "renewal of the instance asked"
    DISCONNECT_ASKED = "disconnect asked"
    OUTDATED = "webhook secret or address changed"
    REGISTERED = "instance and webhook registered"
    CHECKED = "webhook read back"
    SERVER_RETURNED = "server answers again"
    CONNECT_STARTED = "connect answered without a code"
    LOGOUT_DONE = "logout answered"
    CALL_FAILED = "call failed"
    """Evolution cannot be reached or is not ready; the same call may work later."""
    CALL_REFUSED = "call refused"
    """Evolution refuses the call: the key or the request is wrong."""
    UNLICENSED = "server not licensed"
    LINE_FAILED = "line failed"
    """Evolution answered that the line cannot do it."""
    TIMER = "timer fired"
    DOUBT_EXPIRED = "no observation in time"
    QR_WANTED = "somebody looks at the code"
    QR_OFFERED = "QR code offered"
    QR_AGAIN = "QR code offered in a pairing with a known trouble"
    QR_UNTAKEN = "QR code offered after several that were watched in vain"
    QR_AFTER_SCAN = "QR code offered after signs of a scan"
    STALE_QR = "QR code of a pairing that is over"
    QR_LIMIT = "QR limit reached"
    STALE_LIMIT = "QR limit of an earlier pairing"
    PAIRING_OVER = "pairing with a known trouble ended"
    PASSKEY_ASKED = "passkey asked"
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
    OPEN_IN_QUESTION = "observed not open for a moment"
    CLOSED_ONCE = "observed close while the code is fresh"
    CLOSED_EARLY = "observed close again while the code is fresh"
    CLOSED_AGAIN = "observed close after several calls of connect"
    ENDED_UNASKED = "ended unasked"


class LineAction(Enum):
    """What a transition requires. Seven are calls to Evolution; the others lead to one, or to a time to wake up."""

    REGISTER = "register"
    """Create the instance if needed, set and verify its webhook. Repeated until answered."""
    CONNECT = "connect"
    OBSERVE = "observe"
    """Read ``connectionState``; coalesced: at most one call in a growing interval, then the call is pending."""
    CHECK = "check"
    """Read the webhook back; set it again if somebody has changed it and the unit does not say otherwise."""
    RENEW_PAIRING = "renew pairing"
    """Log out of the pairing that is under way, so that the next connect begins another. Answered as REGISTER."""
    RECREATE = "recreate"
    """Delete the instance and create it again. Answered as REGISTER."""
    LOGOUT = "logout"
    RETRY = "retry"
    """REGISTER once the delay is over, and take the next, longer delay."""
    PULL_QR = "pull QR"
    """CONNECT, if the shown code has expired and somebody looks at it; each pull waits longer."""
    FRESHEN = "freshen"
    """OBSERVE, because somebody looks at the code: only a pairing that is still under way is pulled."""
    DOUBT = "doubt"
    """OBSERVE, and leave the phase if no observation succeeds in time."""
    BACK_OFF = "back off"
    """Wake up after the next, longer delay, unless a delay is running already."""
    STAND_BACK = "stand back"
    """Wake up after the longest delay."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The effect of a signal in a phase; ``reason`` None keeps the reason."""

    to: Phase
    reason: Reason | None = None
    do: tuple[LineAction, ...] = ()


def _stay(phase: Phase, signals: str, *do: LineAction) -> dict[LineSignal, Transition]:
    return {LineSignal[name]: Transition(phase, do=do) for name in signals.split()}


_TO_OPEN = Transition(Phase.OPEN, Reason.SCAN_COMPLETED)
# No webhook reported it: perhaps the webhook is not ours, so it is verified.
_OBSERVED_OPEN = Transition(Phase.OPEN, Reason.SCAN_COMPLETED, (LineAction.REGISTER,))
_TO_PAIRING = Transition(Phase.PAIRING, Reason.WAITING_SCAN)
_AFTER_SCAN = Transition(Phase.PAIRING, Reason.LINK_NOT_COMPLETED)
# An end is accepted at once, and observed a little later, when Evolution itself has settled.
_TO_REFUSED = Transition(Phase.REFUSED, Reason.QR_LIMIT_REACHED, (LineAction.BACK_OFF,))
_TO_LOGGED_OUT = Transition(Phase.LOGGED_OUT, Reason.LOGGED_OUT, (LineAction.BACK_OFF,))
_TO_BANNED = Transition(Phase.LOGGED_OUT, Reason.BANNED, (LineAction.BACK_OFF,))
_TO_REPLACED = Transition(Phase.BACKING_OFF, Reason.REPLACED_ELSEWHERE, (LineAction.STAND_BACK,))
_TO_DROPPED = Transition(Phase.BACKING_OFF, Reason.DISCONNECTED, (LineAction.BACK_OFF,))
_TO_REMOVED = Transition(Phase.IDLE, Reason.INSTANCE_REMOVED)
_START = Transition(Phase.CONNECTING, Reason.CONNECTING, (LineAction.REGISTER,))
_RENEW = Transition(Phase.CONNECTING, Reason.CONNECTING, (LineAction.RECREATE,))
_STOP = Transition(Phase.IDLE, Reason.DISCONNECTED, (LineAction.LOGOUT,))
_ENDED = Transition(Phase.IDLE, Reason.DISCONNECTED)
_UNAVAILABLE = Transition(Phase.BACKING_OFF, Reason.EVOLUTION_UNAVAILABLE, (LineAction.BACK_OFF,))
_UNLICENSED = Transition(Phase.BACKING_OFF, Reason.EVOLUTION_UNLICENSED, (LineAction.BACK_OFF,))
_REFUSED_CALL = Transition(Phase.BACKING_OFF, Reason.EVOLUTION_REFUSED, (LineAction.BACK_OFF,))

# Most phases handle these alike; each phase below overrides what differs.
_COMMON: Mapping[LineSignal, Transition] = {
    LineSignal.CONNECT_ASKED: _START,
    LineSignal.RENEW_ASKED: _RENEW,
    LineSignal.DISCONNECT_ASKED: _STOP,
    LineSignal.QR_OFFERED: _TO_PAIRING,
    LineSignal.QR_LIMIT: _TO_REFUSED,
    LineSignal.OPENED: _TO_OPEN,
    LineSignal.OBSERVED_OPEN: _OBSERVED_OPEN,
    LineSignal.LOGGED_OUT: _TO_LOGGED_OUT,
    LineSignal.BANNED: _TO_BANNED,
    LineSignal.REPLACED: _TO_REPLACED,
    LineSignal.DROPPED: _TO_DROPPED,
    LineSignal.REMOVED: _TO_REMOVED,
}


def _ended_phase(phase: Phase, no_effect: str) -> dict[LineSignal, Transition]:
    """The row of a phase that only a person, a code or an open line ends."""
    return {
        **_COMMON,
        **_stay(phase, "STARTED OUTDATED REGISTERED CONNECT_STARTED LOGOUT_DONE QR_WANTED CREATED CONNECTING"),
        **_stay(phase, "CHECKED PASSKEY_ASKED SERVER_RETURNED"),
        **_stay(phase, "DROPPED OBSERVED_CONNECTING OBSERVED_CLOSE OBSERVED_MISSING QR_LIMIT STALE_LIMIT"),
        **_stay(phase, no_effect),
        # A late `open` from before the end must not open the line: the observation decides.
        **_stay(phase, "TIMER OPENED", LineAction.OBSERVE),
        **_stay(phase, "CALL_FAILED CALL_REFUSED LINE_FAILED UNLICENSED", LineAction.BACK_OFF),
    }


TRANSITIONS: Mapping[Phase, Mapping[LineSignal, Transition]] = {
    Phase.IDLE: {
        **_COMMON,
        **_stay(Phase.IDLE, "STARTED OUTDATED REGISTERED CONNECT_STARTED LOGOUT_DONE QR_WANTED LOGOUT_ECHO CREATED"),
        **_stay(Phase.IDLE, "OBSERVED_CONNECTING OBSERVED_CLOSE OBSERVED_MISSING STALE_QR STALE_LIMIT"),
        **_stay(Phase.IDLE, "CHECKED PASSKEY_ASKED SERVER_RETURNED"),
        **_stay(Phase.IDLE, "TIMER CONNECTING_UNASKED OPENED_UNASKED", LineAction.OBSERVE),
        **_stay(Phase.IDLE, "CALL_FAILED CALL_REFUSED LINE_FAILED UNLICENSED OPEN_UNWANTED", LineAction.BACK_OFF),
        LineSignal.CONNECTING: Transition(Phase.CONNECTING, Reason.CONNECTING, (LineAction.OBSERVE,)),
        LineSignal.DROPPED: _ENDED,
        LineSignal.REPLACED: Transition(Phase.IDLE, Reason.REPLACED_ELSEWHERE),
    },
    Phase.CONNECTING: {
        **_COMMON,
        **_stay(Phase.CONNECTING, "CREATED LOGOUT_DONE CHECKED PASSKEY_ASKED"),
        **_stay(Phase.CONNECTING, "SERVER_RETURNED", LineAction.OBSERVE),
        **_stay(Phase.CONNECTING, "STARTED OUTDATED OBSERVED_MISSING", LineAction.REGISTER),
        # A late report from before the request must not cancel the request: the observation decides.
        **_stay(Phase.CONNECTING, "TIMER CONNECTING LOGOUT_ECHO STALE_LIMIT REMOVED", LineAction.OBSERVE),
        LineSignal.REGISTERED: Transition(Phase.CONNECTING, do=(LineAction.CONNECT,)),
        LineSignal.QR_AFTER_SCAN: _AFTER_SCAN,
        LineSignal.CONNECT_STARTED: Transition(Phase.CONNECTING, do=(LineAction.BACK_OFF,)),
        LineSignal.QR_WANTED: Transition(Phase.CONNECTING, do=(LineAction.FRESHEN,)),
        LineSignal.OBSERVED_CONNECTING: Transition(Phase.CONNECTING, do=(LineAction.PULL_QR,)),
        LineSignal.OBSERVED_CLOSE: _TO_DROPPED,
        LineSignal.LINE_FAILED: _TO_DROPPED,
        LineSignal.CALL_FAILED: _UNAVAILABLE,
        LineSignal.UNLICENSED: _UNLICENSED,
        LineSignal.CALL_REFUSED: _REFUSED_CALL,
        LineSignal.ENDED_UNASKED: _ENDED,
    },
    Phase.PAIRING: {
        **_COMMON,
        **_stay(Phase.PAIRING, "CREATED LOGOUT_DONE REGISTERED CONNECT_STARTED CHECKED QR_AGAIN"),
        **_stay(Phase.PAIRING, "SERVER_RETURNED CLOSED_ONCE", LineAction.OBSERVE),
        **_stay(Phase.PAIRING, "TIMER CONNECTING LOGOUT_ECHO STALE_LIMIT REMOVED", LineAction.OBSERVE),
        **_stay(Phase.PAIRING, "CALL_FAILED CALL_REFUSED LINE_FAILED UNLICENSED", LineAction.BACK_OFF),
        LineSignal.QR_UNTAKEN: Transition(Phase.PAIRING, Reason.CODES_NOT_TAKEN),
        LineSignal.QR_AFTER_SCAN: _AFTER_SCAN,
        LineSignal.PASSKEY_ASKED: Transition(Phase.PAIRING, Reason.PASSKEY_ASKED),
        LineSignal.PAIRING_OVER: Transition(Phase.REFUSED, do=(LineAction.BACK_OFF,)),
        # No phone was linked yet, so none has unlinked: from 2.4 on the end of the codes is told like a logout.
        LineSignal.LOGGED_OUT: _TO_REFUSED,
        # A scan whose last step Evolution has not made (2.4, after a logout): another connect makes it.
        LineSignal.CLOSED_EARLY: Transition(Phase.CONNECTING, Reason.CONNECTING, (LineAction.CONNECT,)),
        LineSignal.PAIRING_CODE_ASKED: Transition(Phase.CONNECTING, Reason.CONNECTING, (LineAction.RENEW_PAIRING,)),
        LineSignal.PAIRING_CODE_REFUSED: Transition(Phase.PAIRING, Reason.NO_PAIRING_CODE),
        LineSignal.STARTED: Transition(Phase.PAIRING, do=(LineAction.REGISTER, LineAction.OBSERVE)),
        LineSignal.OUTDATED: Transition(Phase.PAIRING, do=(LineAction.REGISTER,)),
        LineSignal.CONNECT_ASKED: Transition(
            Phase.PAIRING, Reason.WAITING_SCAN, (LineAction.REGISTER, LineAction.CONNECT)
        ),
        LineSignal.QR_WANTED: Transition(Phase.PAIRING, do=(LineAction.FRESHEN,)),
        LineSignal.OBSERVED_CONNECTING: Transition(Phase.PAIRING, do=(LineAction.PULL_QR,)),
        # A close is part of every scan (515), and of the end of all codes (408); the state a moment later decides.
        LineSignal.DROPPED: Transition(Phase.PAIRING, do=(LineAction.BACK_OFF,)),
        # After the limit Evolution goes to close without a report (contract, section 2).
        LineSignal.OBSERVED_CLOSE: _TO_REFUSED,
        LineSignal.OBSERVED_MISSING: _TO_REMOVED,
        LineSignal.ENDED_UNASKED: _ENDED,
    },
    Phase.OPEN: {
        **_COMMON,
        **_stay(Phase.OPEN, "OPENED OBSERVED_OPEN QR_WANTED CREATED REGISTERED CONNECT_STARTED LOGOUT_DONE"),
        **_stay(Phase.OPEN, "CHECKED PASSKEY_ASKED"),
        # A restart of the server: closed or connecting for a moment. The next observation decides.
        **_stay(Phase.OPEN, "SERVER_RETURNED OPEN_IN_QUESTION", LineAction.OBSERVE),
        # A report that may be late or transient must not close an open line: the observation decides.
        **_stay(Phase.OPEN, "CONNECTING QR_OFFERED QR_LIMIT STALE_LIMIT REMOVED", LineAction.DOUBT),
        **_stay(Phase.OPEN, "CALL_FAILED CALL_REFUSED LINE_FAILED UNLICENSED", LineAction.DOUBT),
        **_stay(Phase.OPEN, "STARTED CONNECT_ASKED", LineAction.REGISTER, LineAction.OBSERVE),
        LineSignal.OUTDATED: Transition(Phase.OPEN, do=(LineAction.REGISTER,)),
        LineSignal.TIMER: Transition(Phase.OPEN, do=(LineAction.OBSERVE,)),
        LineSignal.DOUBT_EXPIRED: _UNAVAILABLE,
        LineSignal.OBSERVED_CONNECTING: Transition(Phase.CONNECTING, Reason.CONNECTING, (LineAction.BACK_OFF,)),
        LineSignal.OBSERVED_CLOSE: _TO_DROPPED,
        LineSignal.OBSERVED_MISSING: _TO_REMOVED,
    },
    Phase.BACKING_OFF: {
        **_COMMON,
        **_stay(Phase.BACKING_OFF, "QR_WANTED CREATED LOGOUT_DONE CONNECT_STARTED DROPPED CHECKED PASSKEY_ASKED"),
        **_stay(Phase.BACKING_OFF, "STARTED TIMER CONNECTING STALE_LIMIT SERVER_RETURNED", LineAction.OBSERVE),
        **_stay(Phase.BACKING_OFF, "LINE_FAILED", LineAction.BACK_OFF),
        **_stay(Phase.BACKING_OFF, "OBSERVED_CONNECTING", LineAction.BACK_OFF, LineAction.PULL_QR),
        # The phase stays until the state is known, so that a server without WhatsApp costs no row per attempt.
        **_stay(Phase.BACKING_OFF, "OBSERVED_CLOSE OBSERVED_MISSING", LineAction.RETRY),
        LineSignal.CLOSED_AGAIN: Transition(Phase.BACKING_OFF, Reason.SESSION_STUCK, (LineAction.RETRY,)),
        LineSignal.REGISTERED: Transition(Phase.BACKING_OFF, do=(LineAction.CONNECT,)),
        LineSignal.OUTDATED: Transition(Phase.BACKING_OFF),
        # Perhaps a late `open`: accepted, and observed.
        LineSignal.OPENED: Transition(Phase.OPEN, Reason.SCAN_COMPLETED, (LineAction.DOUBT,)),
        LineSignal.CALL_FAILED: _UNAVAILABLE,
        LineSignal.UNLICENSED: _UNLICENSED,
        LineSignal.CALL_REFUSED: _REFUSED_CALL,
        LineSignal.ENDED_UNASKED: _ENDED,
    },
    Phase.LOGGED_OUT: _ended_phase(Phase.LOGGED_OUT, "REPLACED LOGGED_OUT"),
    # Logged out: no phone was linked, or the pairing's end is told twice.
    Phase.REFUSED: _ended_phase(Phase.REFUSED, "REPLACED STALE_QR LOGGED_OUT"),
}

_STARTED_PHASES = frozenset({Phase.CONNECTING, Phase.PAIRING, Phase.BACKING_OFF})

SIGNALS_OF_SOME_PHASES: Mapping[LineSignal, frozenset[Phase]] = {
    LineSignal.DOUBT_EXPIRED: frozenset({Phase.OPEN}),
    LineSignal.OPEN_IN_QUESTION: frozenset({Phase.OPEN}),
    LineSignal.CLOSED_AGAIN: frozenset({Phase.BACKING_OFF}),
    LineSignal.QR_AFTER_SCAN: frozenset({Phase.CONNECTING, Phase.PAIRING}),
    **dict.fromkeys(
        (
            LineSignal.QR_AGAIN,
            LineSignal.QR_UNTAKEN,
            LineSignal.PAIRING_OVER,
            LineSignal.PAIRING_CODE_ASKED,
            LineSignal.PAIRING_CODE_REFUSED,
            LineSignal.CLOSED_ONCE,
            LineSignal.CLOSED_EARLY,
        ),
        frozenset({Phase.PAIRING}),
    ),
    LineSignal.STALE_QR: frozenset({Phase.IDLE, Phase.REFUSED}),
    LineSignal.CONNECTING_UNASKED: frozenset({Phase.IDLE}),
    LineSignal.OPENED_UNASKED: frozenset({Phase.IDLE}),
    LineSignal.OPEN_UNWANTED: frozenset({Phase.IDLE}),
    LineSignal.LOGOUT_ECHO: frozenset({Phase.IDLE, Phase.CONNECTING, Phase.PAIRING}),
    LineSignal.ENDED_UNASKED: _STARTED_PHASES,
}
"""Signals that occur in some phases only; every other signal has a transition in every phase."""
