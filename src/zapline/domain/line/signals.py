"""Tells a connection event apart by its content and by what the line's state makes of it."""

from collections.abc import Mapping

from zapline.domain.line import events
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import Connection
from zapline.domain.line.transitions import Signal
from zapline.domain.timestamps import Moment

# Close codes (contract, section 3, point 7): 401 and 406 end the session, 402 and 403 refuse the number,
# 440 says that another program took the session; all others leave the session as it is.
_LOGGED_OUT_CODES = frozenset({401, 406})
_BANNED_CODES = frozenset({402, 403})
_REPLACED_CODE = 440
_LINE_CODES = frozenset({"operation_failed", "not_connected"})
"""Failures in which Evolution itself answered: it is not what is unavailable."""

_STALE_QR_FOR = 10.0
"""Seconds after the limit in which a code is an older webhook overtaken by the limit's."""
_STALE_LIMIT_FOR = 30.0
"""Seconds after an ask in which a limit belongs to an earlier pairing: one code alone lives longer."""

_OBSERVED = {
    "open": Signal.OBSERVED_OPEN,
    "connecting": Signal.OBSERVED_CONNECTING,
    "close": Signal.OBSERVED_CLOSE,
    "missing": Signal.OBSERVED_MISSING,
}

_PLAIN: Mapping[type[ConnectionEvent], Signal] = {
    events.InstanceCreated: Signal.CREATED,
    events.InstanceRemoved: Signal.REMOVED,
    events.Started: Signal.STARTED,
    events.QrWanted: Signal.QR_WANTED,
    events.ConnectAsked: Signal.CONNECT_ASKED,
    events.DisconnectAsked: Signal.DISCONNECT_ASKED,
    events.RegistrationOutdated: Signal.OUTDATED,
    events.Registered: Signal.REGISTERED,
    events.ConnectStarted: Signal.CONNECT_STARTED,
    events.LogoutDone: Signal.LOGOUT_DONE,
}

_ENDS = frozenset({Signal.DROPPED, Signal.REPLACED, Signal.OBSERVED_CLOSE, Signal.OBSERVED_MISSING})
_FAILURES = frozenset({Signal.CALL_FAILED, Signal.CALL_REFUSED, Signal.LINE_FAILED})
_UNASKED = {
    Phase.CONNECTING: _ENDS | _FAILURES,
    Phase.PAIRING: _ENDS,
    Phase.BACKING_OFF: _ENDS | _FAILURES,
}
"""What ends a line that nobody asked for: it is not ours to connect again."""


def signal_of(event: ConnectionEvent, state: Connection, at: Moment) -> Signal:
    """Tell an event apart by its content and by what this state makes of it."""
    signal = _signal(event, state, at)
    if not state.stored.wanted and signal in _UNASKED.get(state.stored.phase, ()):
        return Signal.ENDED_UNASKED
    return signal


def _signal(event: ConnectionEvent, state: Connection, at: Moment) -> Signal:
    stored = state.stored
    # An idle line with a past: what is heard now may come from that past.
    retired = stored.phase is Phase.IDLE and stored.reason is not Reason.NEVER_CONNECTED
    match event:
        case events.Closed(code=code):
            return _closed(code, state, at)
        case events.LoggedOutSeen():
            return _closed(401, state, at)
        case events.StateObserved(state=seen):
            signal = _OBSERVED.get(seen, Signal.OBSERVED_CLOSE)
            unwanted = stored.phase is Phase.IDLE and stored.logout_pending
            return Signal.OPEN_UNWANTED if unwanted and signal is Signal.OBSERVED_OPEN else signal
        case events.ConnectingSeen():
            return Signal.CONNECTING_UNASKED if retired else Signal.CONNECTING
        case events.Opened():
            return Signal.OPENED_UNASKED if retired else Signal.OPENED
        case events.QrOffered():
            return Signal.STALE_QR if retired or _overtaken(state, at) else Signal.QR_OFFERED
        case events.QrLimitReached():
            return Signal.STALE_LIMIT if retired or at.mono < state.asked_at + _STALE_LIMIT_FOR else Signal.QR_LIMIT
        case events.TimerFired():
            doubted = state.doubted_until if stored.phase is Phase.OPEN else None
            return Signal.DOUBT_EXPIRED if doubted is not None and at.mono >= doubted else Signal.TIMER
        case events.CallFailed(code=code, retryable=retryable):
            if not retryable:
                return Signal.CALL_REFUSED
            return Signal.LINE_FAILED if code in _LINE_CODES else Signal.CALL_FAILED
        case _:
            return _PLAIN[type(event)]


def _closed(code: int | None, state: Connection, at: Moment) -> Signal:
    stored = state.stored
    if stored.phase is Phase.IDLE:
        left = not stored.wanted and stored.reason is Reason.DISCONNECTED
        if left or stored.reason is Reason.INSTANCE_REMOVED:
            return Signal.LOGOUT_ECHO
    if code in _LOGGED_OUT_CODES:
        echo = at.mono < state.echo_until and stored.phase in (Phase.CONNECTING, Phase.PAIRING)
        return Signal.LOGOUT_ECHO if echo else Signal.LOGGED_OUT
    if code in _BANNED_CODES:
        return Signal.BANNED
    return Signal.REPLACED if code == _REPLACED_CODE else Signal.DROPPED


def _overtaken(state: Connection, at: Moment) -> bool:
    """Whether a code was sent before the limit that came before it. The answer to an ask never was."""
    if state.stored.phase is not Phase.REFUSED or at.mono >= state.refused_at + _STALE_QR_FOR:
        return False
    return state.asked_at + _STALE_LIMIT_FOR <= state.refused_at
