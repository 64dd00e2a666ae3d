"""Tells a connection event apart by its content and by what the line's state makes of it."""

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
"""Failures in which Evolution itself answered: it is not what is unavailable."""

_STALE_QR_FOR = 10.0
"""Seconds after the limit in which a code is an older webhook overtaken by the limit's."""
_STALE_LIMIT_FOR = 30.0
"""Seconds after an ask in which a limit belongs to an earlier pairing: one code alone lives longer."""

_OBSERVED = {
    "open": LineSignal.OBSERVED_OPEN,
    "connecting": LineSignal.OBSERVED_CONNECTING,
    "close": LineSignal.OBSERVED_CLOSE,
    "missing": LineSignal.OBSERVED_MISSING,
}

_PLAIN: Mapping[type[ConnectionEvent], LineSignal] = {
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
_UNASKED = {
    Phase.CONNECTING: _ENDS | _FAILURES,
    Phase.PAIRING: _ENDS,
    Phase.BACKING_OFF: _ENDS | _FAILURES,
}
"""What ends a line that nobody asked for: it is not ours to connect again."""


def classify_event(event: ConnectionEvent, state: LineState, at: Moment) -> LineSignal:
    """Tell an event apart by its content and by what this state makes of it."""
    signal = _signal(event, state, at)
    if not state.stored.wanted and signal in _UNASKED.get(state.stored.phase, ()):
        return LineSignal.ENDED_UNASKED
    return signal


def _signal(event: ConnectionEvent, state: LineState, at: Moment) -> LineSignal:
    stored = state.stored
    # An idle line with a past: what is heard now may come from that past.
    retired = stored.phase is Phase.IDLE and stored.reason is not Reason.NEVER_CONNECTED
    match event:
        case events.Closed(code=code):
            return _closed(code, state, at)
        case events.LoggedOutSeen():
            return _closed(401, state, at)
        case events.StateObserved(state=seen):
            signal = _OBSERVED.get(seen, LineSignal.OBSERVED_CLOSE)
            unwanted = stored.phase is Phase.IDLE and stored.logout_pending
            return LineSignal.OPEN_UNWANTED if unwanted and signal is LineSignal.OBSERVED_OPEN else signal
        case events.ConnectingSeen():
            return LineSignal.CONNECTING_UNASKED if retired else LineSignal.CONNECTING
        case events.Opened():
            return LineSignal.OPENED_UNASKED if retired else LineSignal.OPENED
        case events.QrOffered():
            return LineSignal.STALE_QR if retired or _overtaken(state, at) else LineSignal.QR_OFFERED
        case events.QrLimitReached():
            return (
                LineSignal.STALE_LIMIT
                if retired or at.mono < state.asked_at + _STALE_LIMIT_FOR
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
            return _PLAIN[type(event)]


def _closed(code: int | None, state: LineState, at: Moment) -> LineSignal:
    stored = state.stored
    if stored.phase is Phase.IDLE:
        left = not stored.wanted and stored.reason is Reason.DISCONNECTED
        if left or stored.reason is Reason.INSTANCE_REMOVED:
            return LineSignal.LOGOUT_ECHO
    if code in _LOGGED_OUT_CODES:
        echo = at.mono < state.echo_until and stored.phase in (Phase.CONNECTING, Phase.PAIRING)
        return LineSignal.LOGOUT_ECHO if echo else LineSignal.LOGGED_OUT
    if code in _BANNED_CODES:
        return LineSignal.BANNED
    return LineSignal.REPLACED if code == _REPLACED_CODE else LineSignal.DROPPED


def _overtaken(state: LineState, at: Moment) -> bool:
    """Whether a code was sent before the limit that came before it. The answer to an ask never was."""
    if state.stored.phase is not Phase.REFUSED or at.mono >= state.refused_at + _STALE_QR_FOR:
        return False
    return state.asked_at + _STALE_LIMIT_FOR <= state.refused_at
