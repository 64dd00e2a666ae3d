"""Classifies connection events into the signals of the transition table, by content and the line's state."""

from collections.abc import Mapping

from zapline.domain.line import events
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import LineState
from zapline.domain.line.transitions import LineSignal
from zapline.domain.timestamps import NEVER, Moment

# Close codes (contract, section 3, point 7): 401 and 406 end the session, 402 and 403 refuse the number,
# 440 says that another program took the session; all others leave the session as it is.
_LOGGED_OUT_CODES = frozenset({401, 406})
_BANNED_CODES = frozenset({402, 403})
_REPLACED_CODE = 440
_LINE_CODES = frozenset({"operation_failed", "not_connected"})
"""Failures that Evolution itself answered, so Evolution is available."""
_UNLICENSED_CODE = "not_licensed"

_STALE_QR_FOR = 10.0
"""Seconds after the QR limit in which a code is taken for an older webhook that the limit's has overtaken."""
_STALE_LIMIT_FOR = 30.0
"""Seconds after a connect request in which a QR limit belongs to an earlier pairing: one code lives longer."""

NOT_OPEN_FOR = 5.0
"""Seconds of observations that an open line is not open, until it is taken for lost: a restart takes less."""
_NOT_OPEN_AFTER_RETURN = 20.0
"""The same while a server that has just returned opens its lines."""
_FEW_RECONNECTS = 2
"""Reports of ``connecting`` in the middle of a code's life that a scan may cause; more are a storm."""
_CLOSED_FOR = 1.5
"""Seconds between two observations of ``close`` that rule out a reconnect under way."""
_STUCK_AFTER = 4
"""Calls of connect after which a line that only closes again is called stuck."""
_MANY_CODES = 3
"""Codes that ran out under somebody's eyes until that is worth a remark: two minutes."""

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
    events.DisconnectAsked: LineSignal.DISCONNECT_ASKED,
    events.RegistrationOutdated: LineSignal.OUTDATED,
    events.RenewAsked: LineSignal.RENEW_ASKED,
    events.ServerReturned: LineSignal.SERVER_RETURNED,
    events.PasskeyAsked: LineSignal.PASSKEY_ASKED,
    events.Registered: LineSignal.REGISTERED,
    events.RegistrationChecked: LineSignal.CHECKED,
    events.ConnectStarted: LineSignal.CONNECT_STARTED,
    events.LogoutDone: LineSignal.LOGOUT_DONE,
}

_ENDS = frozenset({LineSignal.DROPPED, LineSignal.REPLACED, LineSignal.OBSERVED_CLOSE, LineSignal.OBSERVED_MISSING})
_FAILURES = frozenset({LineSignal.CALL_FAILED, LineSignal.CALL_REFUSED, LineSignal.LINE_FAILED, LineSignal.UNLICENSED})
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
        case events.Closed():
            return _closed_signal(event, state, at)
        case events.LoggedOutSeen():
            return _closed_signal(events.Closed(401), state, at)
        case events.StateObserved(state=observed):
            return _observed_signal(_OBSERVED.get(observed, LineSignal.OBSERVED_CLOSE), state, at)
        case events.ConnectAsked(number=number):
            return _connect_signal(number, state)
        case events.ConnectingSeen():
            return LineSignal.CONNECTING_UNASKED if has_past else LineSignal.CONNECTING
        case events.Opened():
            return LineSignal.OPENED_UNASKED if has_past else LineSignal.OPENED
        case events.QrOffered():
            return LineSignal.STALE_QR if has_past or _overtaken(state, at) else _code_signal(event, state)
        case events.QrLimitReached():
            stale = has_past or at.mono < state.requested_at + _STALE_LIMIT_FOR
            return LineSignal.STALE_LIMIT if stale else _over(LineSignal.QR_LIMIT, state)
        case events.TimerFired():
            return _timer_signal(state, at)
        case events.CallFailed(code=code, retryable=retryable):
            if not retryable:
                return LineSignal.CALL_REFUSED
            if code == _UNLICENSED_CODE:
                return LineSignal.UNLICENSED
            return LineSignal.LINE_FAILED if code in _LINE_CODES else LineSignal.CALL_FAILED
        case _:
            return _BY_TYPE[type(event)]


def _observed_signal(signal: LineSignal, state: LineState, at: Moment) -> LineSignal:
    """What an observation means in this state."""
    stored, pairing = state.stored, state.pairing
    if signal is LineSignal.OBSERVED_OPEN:
        return LineSignal.OPEN_UNWANTED if stored.phase is Phase.IDLE and stored.logout_pending else signal
    if stored.phase is Phase.OPEN:
        patience = _NOT_OPEN_AFTER_RETURN if state.returned_at > NEVER else NOT_OPEN_FOR
        since = max(state.not_open_since, state.returned_at) if state.not_open_since is not None else at.mono
        return LineSignal.OPEN_IN_QUESTION if at.mono < since + patience else signal
    if signal is not LineSignal.OBSERVED_CLOSE or not stored.wanted:
        return signal
    if stored.phase is Phase.BACKING_OFF and state.fruitless_connects >= _STUCK_AFTER:
        return LineSignal.CLOSED_AGAIN
    if stored.phase is not Phase.PAIRING:
        return signal
    fresh, watched = at.mono < state.qr_fresh_until, at.mono < state.watched_until
    if fresh and watched and not pairing.revived:
        settled = pairing.closed_since is not None and at.mono >= pairing.closed_since + _CLOSED_FOR
        return LineSignal.CLOSED_EARLY if settled else LineSignal.CLOSED_ONCE
    return _over(signal, state)


def _connect_signal(number: str | None, state: LineState) -> LineSignal:
    """Evolution hears a number only when it begins a pairing, so one that shows a QR code must be closed first."""
    stored = state.stored
    if number is None or stored.phase is not Phase.PAIRING:
        return LineSignal.CONNECT_ASKED
    shown = stored.pairing_code is not None and stored.number == number
    return LineSignal.CONNECT_ASKED if shown else LineSignal.PAIRING_CODE_ASKED


def _code_signal(offered: events.QrOffered, state: LineState) -> LineSignal:
    """What a code tells of the codes before it."""
    stored, pairing = state.stored, state.pairing
    if stored.phase is not Phase.PAIRING:
        begun = stored.phase is Phase.CONNECTING and pairing.scan_seen
        return LineSignal.QR_AFTER_SCAN if begun else LineSignal.QR_OFFERED
    if stored.reason is Reason.NO_PAIRING_CODE and offered.pairing_code is not None:
        return LineSignal.QR_OFFERED
    if offered.code == stored.qr_code or stored.reason is Reason.PASSKEY_ASKED:
        return LineSignal.QR_AGAIN
    if pairing.scan_seen or 1 <= pairing.connecting_seen <= _FEW_RECONNECTS:
        return LineSignal.QR_AFTER_SCAN
    if stored.reason is not Reason.WAITING_SCAN:
        return LineSignal.QR_AGAIN
    return LineSignal.QR_UNTAKEN if pairing.watched_codes >= _MANY_CODES - 1 else LineSignal.QR_OFFERED


def _over(signal: LineSignal, state: LineState) -> LineSignal:
    """The end of a pairing: what was already said of its cause stays said."""
    told = state.stored.phase is Phase.PAIRING and state.stored.reason is not Reason.WAITING_SCAN
    return LineSignal.PAIRING_OVER if told else signal


def _timer_signal(state: LineState, at: Moment) -> LineSignal:
    stored, pairing = state.stored, state.pairing
    if stored.phase is Phase.OPEN and state.doubted_until is not None and at.mono >= state.doubted_until:
        return LineSignal.DOUBT_EXPIRED
    due = pairing.pairing_code_due
    if stored.phase is Phase.PAIRING and stored.wanted and due is not None and at.mono >= due:
        return LineSignal.PAIRING_CODE_REFUSED if pairing.renewed else LineSignal.PAIRING_CODE_ASKED
    return LineSignal.TIMER


def _closed_signal(closed: events.Closed, state: LineState, at: Moment) -> LineSignal:
    stored, code = state.stored, closed.code
    if stored.phase is Phase.IDLE:
        disconnected = not stored.wanted and stored.reason is Reason.DISCONNECTED
        if disconnected or stored.reason is Reason.INSTANCE_REMOVED:
            return LineSignal.LOGOUT_ECHO
    if code in _BANNED_CODES:
        return LineSignal.BANNED
    if code in _LOGGED_OUT_CODES or closed.final:
        echo = at.mono < state.echo_until and stored.phase in (Phase.CONNECTING, Phase.PAIRING)
        return LineSignal.LOGOUT_ECHO if echo else _over(LineSignal.LOGGED_OUT, state)
    return LineSignal.REPLACED if code == _REPLACED_CODE else LineSignal.DROPPED


def _overtaken(state: LineState, at: Moment) -> bool:
    """Whether a code was sent before the limit that arrived before it. A code after a connect request never was."""
    if state.stored.phase is not Phase.REFUSED or at.mono >= state.refused_at + _STALE_QR_FOR:
        return False
    return state.requested_at + _STALE_LIMIT_FOR <= state.refused_at
