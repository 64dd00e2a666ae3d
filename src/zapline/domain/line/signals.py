"""Classifies connection events into the signals of the transition table, by content and the line's state."""

from collections.abc import Mapping

from zapline.domain.line import events
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import LineState
from zapline.domain.line.transitions import LineSignal
from zapline.domain.timestamps import Moment

# Close codes (contract, section 3, point 7): 401 and 406 end the session, 402 and 403 refuse the number,
# 440 says that another program took the session; all others leave the session as it is.
_LOGGED_OUT_CODES = frozenset({401, 406})
_BANNED_CODES = frozenset({402, 403})
_REPLACED_CODE = 440
_LINE_CODES = frozenset({"operation_failed", "not_connected"})
"""Failures that Evolution itself answered, so Evolution is available."""

_STALE_QR_FOR = 10.0
"""Seconds after the QR limit in which a code is taken for an older webhook that the limit's has overtaken."""
_STALE_LIMIT_FOR = 30.0
"""Seconds after a connect request in which a QR limit belongs to an earlier pairing: one code lives longer."""

_OBSERVED = {
    "open": LineSignal.OBSERVED_OPEN,
    "connecting": LineSignal.OBSERVED_CONNECTING,
    "close": LineSignal.OBSERVED_CLOSE,
    "missing": LineSignal.OBSERVED_MISSING,
}

_BY_TYPE: Mapping[type[ConnectionEvent], LineSignal] = {
    events.InstanceCreated: LineSignal.CREATED,
    events.InstanceRemoved: LineSignal.REMOVED,
    events.Started: LineSignal.STARTED,
    events.QrWanted: LineSignal.QR_WANTED,
    events.ConnectAsked: LineSignal.CONNECT_ASKED,
    events.DisconnectAsked: LineSignal.DISCONNECT_ASKED,
    events.RegistrationOutdated: LineSignal.OUTDATED,
    events.Registered: LineSignal.REGISTERED,
    events.ConnectStarted: LineSignal.CONNECT_STARTED,
    events.LogoutDone: LineSignal.LOGOUT_DONE,
}

_ENDS = frozenset({LineSignal.DROPPED, LineSignal.REPLACED, LineSignal.OBSERVED_CLOSE, LineSignal.OBSERVED_MISSING})
_FAILURES = frozenset({LineSignal.CALL_FAILED, LineSignal.CALL_REFUSED, LineSignal.LINE_FAILED})
_ENDS_UNWANTED = {
    Phase.CONNECTING: _ENDS | _FAILURES,
    Phase.PAIRING: _ENDS,
    Phase.BACKING_OFF: _ENDS | _FAILURES,
}
"""Signals that end a line that nobody wants: Zapline does not reconnect it."""


def classify_event(event: ConnectionEvent, state: LineState, at: Moment) -> LineSignal:
    """The signal of an event in this state."""
    signal = _signal(event, state, at)
    if not state.stored.wanted and signal in _ENDS_UNWANTED.get(state.stored.phase, ()):
        return LineSignal.ENDED_UNASKED
    return signal


def _signal(event: ConnectionEvent, state: LineState, at: Moment) -> LineSignal:
    stored = state.stored
    # An idle line with a past: an event may be a late one of that past.
    has_past = stored.phase is Phase.IDLE and stored.reason is not Reason.NEVER_CONNECTED
    match event:
        case events.Closed(code=code):
            return _closed_signal(code, state, at)
        case events.LoggedOutSeen():
            return _closed_signal(401, state, at)
        case events.StateObserved(state=observed):
            signal = _OBSERVED.get(observed, LineSignal.OBSERVED_CLOSE)
            unwanted = stored.phase is Phase.IDLE and stored.logout_pending
            return LineSignal.OPEN_UNWANTED if unwanted and signal is LineSignal.OBSERVED_OPEN else signal
        case events.ConnectingSeen():
            return LineSignal.CONNECTING_UNASKED if has_past else LineSignal.CONNECTING
        case events.Opened():
            return LineSignal.OPENED_UNASKED if has_past else LineSignal.OPENED
        case events.QrOffered():
            return LineSignal.STALE_QR if has_past or _overtaken(state, at) else LineSignal.QR_OFFERED
        case events.QrLimitReached():
            return (
                LineSignal.STALE_LIMIT
                if has_past or at.mono < state.requested_at + _STALE_LIMIT_FOR
                else LineSignal.QR_LIMIT
            )
        case events.TimerFired():
            doubted = state.doubted_until if stored.phase is Phase.OPEN else None
            return LineSignal.DOUBT_EXPIRED if doubted is not None and at.mono >= doubted else LineSignal.TIMER
        case events.CallFailed(code=code, retryable=retryable):
            if not retryable:
                return LineSignal.CALL_REFUSED
            return LineSignal.LINE_FAILED if code in _LINE_CODES else LineSignal.CALL_FAILED
        case _:
            return _BY_TYPE[type(event)]


def _closed_signal(code: int | None, state: LineState, at: Moment) -> LineSignal:
    stored = state.stored
    if stored.phase is Phase.IDLE:
        disconnected = not stored.wanted and stored.reason is Reason.DISCONNECTED
        if disconnected or stored.reason is Reason.INSTANCE_REMOVED:
            return LineSignal.LOGOUT_ECHO
    if code in _LOGGED_OUT_CODES:
        echo = at.mono < state.echo_until and stored.phase in (Phase.CONNECTING, Phase.PAIRING)
        return LineSignal.LOGOUT_ECHO if echo else LineSignal.LOGGED_OUT
    if code in _BANNED_CODES:
        return LineSignal.BANNED
    return LineSignal.REPLACED if code == _REPLACED_CODE else LineSignal.DROPPED


def _overtaken(state: LineState, at: Moment) -> bool:
    """Whether a code was sent before the limit that arrived before it. A code after a connect request never was."""
    if state.stored.phase is not Phase.REFUSED or at.mono >= state.refused_at + _STALE_QR_FOR:
        return False
    return state.requested_at + _STALE_LIMIT_FOR <= state.refused_at
