"""The connection state machine of a unit: one transition table, and a pure step over it.

Webhooks come late, twice and unordered, so no single one is believed for ever: whatever raises a doubt asks
for an observation (``connectionState``), and the observation decides. What is not in the table is counted
by the caller, never raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from zapline.domain import events
from zapline.domain.events import ConnectionEvent
from zapline.domain.reasons import STATUS, Phase, Reason
from zapline.domain.retry import Backoff


class Signal(StrEnum):
    """A connection event, told apart as far as the table needs."""

    STARTED = "daemon started"
    CONNECT_ASKED = "connect asked"
    DISCONNECT_ASKED = "disconnect asked"
    OUTDATED = "webhook secret or address changed"
    REGISTERED = "instance and webhook registered"
    CONNECT_STARTED = "connect answered without a code"
    LOGOUT_DONE = "logout answered"
    CALL_FAILED = "call failed, may work later"
    CALL_REFUSED = "call refused"
    TIMER = "timer fired"
    QR_WANTED = "somebody looks at the code"
    QR_OFFERED = "QR code offered"
    STALE_QR = "QR code from before the limit"
    QR_LIMIT = "QR limit reached"
    CONNECTING = "connecting reported"
    CONNECTING_AGAIN = "connecting reported, nobody asked"
    OPENED = "open reported"
    DROPPED = "close reported, session kept"
    LOGGED_OUT = "close reported, session gone"
    LOGOUT_ECHO = "close reported after our logout"
    BANNED = "close reported, number refused"
    REPLACED = "close reported, session taken over"
    REMOVED = "instance removed"
    CREATED = "instance created"
    OBSERVED_OPEN = "observed open"
    OBSERVED_CONNECTING = "observed connecting"
    OBSERVED_CLOSE = "observed close"
    OBSERVED_MISSING = "observed missing"
    ENDED_UNASKED = "closed, nobody asked"


class Action(Enum):
    """What a move asks for. All but REST and DOUBT are calls to Evolution."""

    REGISTER = "register"
    """Create the instance if needed, set and verify its webhook."""
    CONNECT = "connect"
    OBSERVE = "observe"
    """Ask for ``connectionState``; coalesced: at most one call in a growing interval."""
    LOGOUT = "logout"
    PULL_QR = "pull QR"
    """CONNECT, if the shown code has outlived its life and somebody looks at it; else OBSERVE."""
    DOUBT = "doubt"
    """OBSERVE, and leave the phase if no observation confirms it in time."""
    BACK_OFF = "back off"
    """Wake up after the next, longer delay."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where a signal leads; ``reason`` None keeps the reason."""

    to: Phase
    reason: Reason | None = None
    do: tuple[Action, ...] = ()


def _registers(phase: Phase) -> dict[Signal, Move]:
    return {Signal.OUTDATED: Move(phase, do=(Action.REGISTER,))}


def _stay(phase: Phase, signals: str) -> dict[Signal, Move]:
    return {Signal[name]: Move(phase) for name in signals.split()}


_TO_OPEN = Move(Phase.OPEN, Reason.SCAN_COMPLETED)
_TO_PAIRING = Move(Phase.PAIRING, Reason.WAITING_SCAN)
_TO_REFUSED = Move(Phase.REFUSED, Reason.QR_LIMIT_REACHED)
_TO_LOGGED_OUT = Move(Phase.LOGGED_OUT, Reason.LOGGED_OUT, (Action.OBSERVE,))
_TO_BANNED = Move(Phase.LOGGED_OUT, Reason.BANNED, (Action.OBSERVE,))
_TO_REPLACED = Move(Phase.BACKING_OFF, Reason.REPLACED_ELSEWHERE, (Action.BACK_OFF,))
_TO_DROPPED = Move(Phase.BACKING_OFF, Reason.DISCONNECTED, (Action.BACK_OFF,))
_TO_REMOVED = Move(Phase.IDLE, Reason.INSTANCE_REMOVED)
_START = Move(Phase.CONNECTING, Reason.CONNECTING, (Action.REGISTER,))
_STOP = Move(Phase.IDLE, Reason.DISCONNECTED, (Action.LOGOUT,))
_UNAVAILABLE = Move(Phase.BACKING_OFF, Reason.EVOLUTION_UNAVAILABLE, (Action.BACK_OFF,))
_REFUSED_CALL = Move(Phase.BACKING_OFF, Reason.EVOLUTION_REFUSED, (Action.BACK_OFF,))

# Most phases answer these alike; each phase below says where it differs.
_COMMON: Mapping[Signal, Move] = {
    Signal.CONNECT_ASKED: _START,
    Signal.DISCONNECT_ASKED: _STOP,
    Signal.QR_OFFERED: _TO_PAIRING,
    Signal.QR_LIMIT: _TO_REFUSED,
    Signal.OPENED: _TO_OPEN,
    Signal.LOGGED_OUT: _TO_LOGGED_OUT,
    Signal.BANNED: _TO_BANNED,
    Signal.REPLACED: _TO_REPLACED,
    Signal.DROPPED: _TO_DROPPED,
    Signal.REMOVED: _TO_REMOVED,
    Signal.OBSERVED_OPEN: _TO_OPEN,
}

TRANSITIONS: Mapping[Phase, Mapping[Signal, Move]] = {
    Phase.IDLE: {
        **_COMMON,
        **_stay(Phase.IDLE, "OUTDATED"),
        **_stay(Phase.IDLE, "STARTED REGISTERED CONNECT_STARTED LOGOUT_DONE TIMER QR_WANTED LOGOUT_ECHO CREATED"),
        **_stay(Phase.IDLE, "OBSERVED_CONNECTING OBSERVED_CLOSE OBSERVED_MISSING CALL_REFUSED"),
        Signal.CONNECTING_AGAIN: Move(Phase.IDLE, do=(Action.OBSERVE,)),
        Signal.CALL_FAILED: Move(Phase.IDLE, do=(Action.BACK_OFF,)),
        Signal.CONNECTING: Move(Phase.CONNECTING, Reason.CONNECTING, (Action.OBSERVE,)),
        Signal.DROPPED: Move(Phase.IDLE, Reason.DISCONNECTED),
    },
    Phase.CONNECTING: {
        **_COMMON,
        **_registers(Phase.CONNECTING),
        **_stay(Phase.CONNECTING, "QR_WANTED CREATED LOGOUT_DONE"),
        Signal.STARTED: Move(Phase.CONNECTING, do=(Action.REGISTER,)),
        Signal.REGISTERED: Move(Phase.CONNECTING, do=(Action.CONNECT,)),
        Signal.CONNECT_STARTED: Move(Phase.CONNECTING, do=(Action.BACK_OFF,)),
        Signal.TIMER: Move(Phase.CONNECTING, do=(Action.OBSERVE,)),
        Signal.CONNECTING: Move(Phase.CONNECTING, do=(Action.OBSERVE,)),
        Signal.OBSERVED_CONNECTING: Move(Phase.CONNECTING, do=(Action.PULL_QR,)),
        Signal.OBSERVED_CLOSE: _TO_DROPPED,
        Signal.ENDED_UNASKED: Move(Phase.IDLE, Reason.DISCONNECTED),
        Signal.OBSERVED_MISSING: Move(Phase.CONNECTING, do=(Action.REGISTER,)),
        Signal.CALL_FAILED: _UNAVAILABLE,
        Signal.CALL_REFUSED: _REFUSED_CALL,
    },
    Phase.PAIRING: {
        **_COMMON,
        **_registers(Phase.PAIRING),
        **_stay(Phase.PAIRING, "CREATED OBSERVED_CONNECTING CALL_FAILED CALL_REFUSED LOGOUT_DONE REGISTERED"),
        Signal.STARTED: Move(Phase.PAIRING, do=(Action.REGISTER, Action.OBSERVE)),
        Signal.CONNECT_ASKED: Move(Phase.PAIRING, do=(Action.REGISTER, Action.PULL_QR)),
        Signal.CONNECT_STARTED: Move(Phase.PAIRING, do=(Action.OBSERVE,)),
        Signal.TIMER: Move(Phase.PAIRING, do=(Action.PULL_QR,)),
        Signal.QR_WANTED: Move(Phase.PAIRING, do=(Action.PULL_QR,)),
        Signal.CONNECTING: Move(Phase.PAIRING, do=(Action.OBSERVE,)),
        # After the limit Evolution goes to close without a further word (contract, section 2).
        Signal.OBSERVED_CLOSE: _TO_REFUSED,
        Signal.OBSERVED_MISSING: _TO_REMOVED,
    },
    Phase.OPEN: {
        **_COMMON,
        **_registers(Phase.OPEN),
        **_stay(Phase.OPEN, "OPENED OBSERVED_OPEN QR_WANTED CREATED REGISTERED CONNECT_STARTED LOGOUT_DONE"),
        **_stay(Phase.OPEN, "CALL_FAILED CALL_REFUSED"),
        Signal.STARTED: Move(Phase.OPEN, do=(Action.REGISTER, Action.OBSERVE)),
        Signal.CONNECT_ASKED: Move(Phase.OPEN, do=(Action.REGISTER, Action.OBSERVE)),
        # A late `connecting` or code must not close an open line: it raises a doubt, the observation decides.
        Signal.CONNECTING: Move(Phase.OPEN, do=(Action.DOUBT,)),
        Signal.QR_OFFERED: Move(Phase.OPEN, do=(Action.DOUBT,)),
        Signal.TIMER: Move(Phase.OPEN, do=(Action.OBSERVE,)),
        Signal.OBSERVED_CONNECTING: Move(Phase.CONNECTING, Reason.CONNECTING, (Action.BACK_OFF,)),
        Signal.OBSERVED_CLOSE: _TO_DROPPED,
        Signal.OBSERVED_MISSING: _TO_REMOVED,
    },
    Phase.BACKING_OFF: {
        **_COMMON,
        **_registers(Phase.BACKING_OFF),
        **_stay(Phase.BACKING_OFF, "QR_WANTED CREATED LOGOUT_DONE CONNECT_STARTED DROPPED"),
        Signal.STARTED: Move(Phase.BACKING_OFF, do=(Action.OBSERVE,)),
        # The phase stays until something is known, so that a server without WhatsApp costs no row a try.
        Signal.REGISTERED: Move(Phase.BACKING_OFF, do=(Action.CONNECT, Action.BACK_OFF)),
        Signal.TIMER: Move(Phase.BACKING_OFF, do=(Action.OBSERVE,)),
        Signal.CONNECTING: Move(Phase.BACKING_OFF, do=(Action.OBSERVE,)),
        Signal.OBSERVED_CONNECTING: Move(Phase.BACKING_OFF, do=(Action.BACK_OFF,)),
        Signal.OBSERVED_CLOSE: Move(Phase.BACKING_OFF, do=(Action.REGISTER,)),
        Signal.OBSERVED_MISSING: Move(Phase.BACKING_OFF, do=(Action.REGISTER,)),
        Signal.CALL_FAILED: _UNAVAILABLE,
        Signal.CALL_REFUSED: _REFUSED_CALL,
    },
    Phase.LOGGED_OUT: {
        **_COMMON,
        **_registers(Phase.LOGGED_OUT),
        **_stay(Phase.LOGGED_OUT, "STARTED TIMER QR_WANTED CONNECTING CREATED REGISTERED CONNECT_STARTED"),
        **_stay(Phase.LOGGED_OUT, "LOGOUT_DONE DROPPED LOGGED_OUT REPLACED OBSERVED_CONNECTING OBSERVED_CLOSE"),
        **_stay(Phase.LOGGED_OUT, "OBSERVED_MISSING CALL_FAILED CALL_REFUSED"),
    },
    Phase.REFUSED: {
        **_COMMON,
        **_registers(Phase.REFUSED),
        **_stay(Phase.REFUSED, "STARTED TIMER QR_WANTED CONNECTING CREATED REGISTERED CONNECT_STARTED"),
        **_stay(Phase.REFUSED, "LOGOUT_DONE DROPPED QR_LIMIT STALE_QR OBSERVED_CONNECTING OBSERVED_CLOSE"),
        **_stay(Phase.REFUSED, "OBSERVED_MISSING CALL_FAILED CALL_REFUSED"),
    },
}

# Close codes (contract, section 3, point 7): 401 and 406 end the session, 402 and 403 refuse the number,
# 440 says that another program took the session; all others leave the session as it is.
_LOGGED_OUT_CODES = frozenset({401, 406})
_BANNED_CODES = frozenset({402, 403})
_REPLACED_CODE = 440

QR_LIFE = 45.0
"""Seconds a code can be scanned (contract, section 2)."""
_QR_GRACE = 5.0
"""Evolution itself sends the next code; only when it is this late do we ask."""
_WATCHED_FOR = 60.0
"""Seconds for which a look at the code counts as somebody waiting: pages look again every few seconds."""
_DOUBT_FOR = 15.0
"""Seconds an open line may stay unconfirmed: a call with its retries takes at most 10."""
_STALE_QR_FOR = 10.0
"""Seconds after the limit in which a code is an older webhook overtaken by the limit's."""
_FIRST_OBSERVE_GAP = 1.0
_LAST_OBSERVE_GAP = 60.0
"""The gap between observations doubles between these, so that a storm of 4 events a second costs little."""
RECONNECT = Backoff(base=3.0, factor=2.0, cap=300.0, jitter=0.3)


@dataclass(frozen=True, slots=True)
class Moment:
    """``wall``: seconds since the epoch, for times shown; ``mono``: the monotonic clock, for delays."""

    wall: float
    mono: float


@dataclass(frozen=True, slots=True)
class Stored:
    """The part of the connection's state that outlives the process; one row of the database."""

    phase: Phase = Phase.IDLE
    reason: Reason = Reason.NEVER_CONNECTED
    wanted: bool = False
    number: str | None = None
    logout_pending: bool = False
    connected_at: float | None = None
    disconnected_at: float | None = None
    qr_updated_at: float | None = None
    qr_code: str | None = None
    pairing_code: str | None = None
    owner_jid: str | None = None
    profile_name: str | None = None
    updated_at: float | None = None

    @property
    def status(self) -> str:
        return STATUS[self.phase]


@dataclass(frozen=True, slots=True)
class Connection:
    """The whole state: what is stored, and what may be forgotten at a crash (monotonic times)."""

    stored: Stored = Stored()
    wake_at: float | None = None
    failures: int = 0
    observed_at: float | None = None
    observe_gap: float = _FIRST_OBSERVE_GAP
    doubted_until: float | None = None
    watched_until: float = float("-inf")
    qr_fresh_until: float = float("-inf")
    refused_at: float | None = None
    probe_every: float = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """What a step leads to. ``unexpected`` names a signal that the table does not know in that phase."""

    state: Connection
    calls: tuple[Action, ...] = ()
    unexpected: Signal | None = None
    dropped: bool = False
    """An open line was lost without anybody having asked."""


def signal_of(event: ConnectionEvent, state: Connection, at: Moment) -> Signal:
    """Tell an event apart by its content and by what this state makes of it."""
    stored = state.stored
    unasked = stored.phase is Phase.CONNECTING and not stored.wanted
    match event:
        case events.Closed(code=code):
            signal = _closed(code, stored)
            return Signal.ENDED_UNASKED if unasked and signal is Signal.DROPPED else signal
        case events.LoggedOutSeen():
            return _closed(401, stored)
        case events.StateObserved(state=seen):
            signal = _OBSERVED.get(seen, Signal.OBSERVED_CLOSE)
            return Signal.ENDED_UNASKED if unasked and signal is Signal.OBSERVED_CLOSE else signal
        case events.ConnectingSeen():
            again = stored.phase is Phase.IDLE and stored.reason is not Reason.NEVER_CONNECTED
            return Signal.CONNECTING_AGAIN if again else Signal.CONNECTING
        case events.QrOffered():
            stale = state.refused_at is not None and at.mono - state.refused_at < _STALE_QR_FOR
            return Signal.STALE_QR if stale and stored.phase is Phase.REFUSED else Signal.QR_OFFERED
        case events.CallFailed(retryable=retryable):
            return Signal.CALL_FAILED if retryable else Signal.CALL_REFUSED
        case _:
            return _PLAIN[type(event)]


def _closed(code: int | None, stored: Stored) -> Signal:
    if stored.phase is Phase.IDLE and not stored.wanted and stored.reason is Reason.DISCONNECTED:
        return Signal.LOGOUT_ECHO
    if code in _LOGGED_OUT_CODES:
        return Signal.LOGGED_OUT
    if code in _BANNED_CODES:
        return Signal.BANNED
    return Signal.REPLACED if code == _REPLACED_CODE else Signal.DROPPED


_OBSERVED = {
    "open": Signal.OBSERVED_OPEN,
    "connecting": Signal.OBSERVED_CONNECTING,
    "close": Signal.OBSERVED_CLOSE,
    "missing": Signal.OBSERVED_MISSING,
}

_PLAIN: Mapping[type[ConnectionEvent], Signal] = {
    events.QrLimitReached: Signal.QR_LIMIT,
    events.Opened: Signal.OPENED,
    events.InstanceCreated: Signal.CREATED,
    events.InstanceRemoved: Signal.REMOVED,
    events.Started: Signal.STARTED,
    events.TimerFired: Signal.TIMER,
    events.QrWanted: Signal.QR_WANTED,
    events.ConnectAsked: Signal.CONNECT_ASKED,
    events.DisconnectAsked: Signal.DISCONNECT_ASKED,
    events.RegistrationOutdated: Signal.OUTDATED,
    events.Registered: Signal.REGISTERED,
    events.ConnectStarted: Signal.CONNECT_STARTED,
    events.LogoutDone: Signal.LOGOUT_DONE,
}


def step(state: Connection, event: ConnectionEvent, at: Moment, spread: float) -> Step:
    """Decide what ``event`` makes of ``state``. ``spread`` in 0..1 is drawn by the caller for jitter."""
    signal = signal_of(event, state, at)
    move = TRANSITIONS[state.stored.phase].get(signal)
    if move is None:
        return Step(state, unexpected=signal)
    if signal is Signal.TIMER and _doubt_expired(state, at):
        move = TRANSITIONS[Phase.OPEN][Signal.OBSERVED_CONNECTING]
    was_open = state.stored.phase is Phase.OPEN
    state = _learn(_enter(state, move, at), event, signal, at)
    state, calls = _plan(state, move, at, spread)
    if state.stored.logout_pending and Action.LOGOUT not in calls and signal in _LOGOUT_AGAIN:
        calls = (*calls, Action.LOGOUT)
    dropped = was_open and move.to is not Phase.OPEN and signal is not Signal.DISCONNECT_ASKED
    return Step(state, calls, dropped=dropped)


_LOGOUT_AGAIN = frozenset({Signal.STARTED, Signal.TIMER})


def _doubt_expired(state: Connection, at: Moment) -> bool:
    doubted = state.doubted_until
    return state.stored.phase is Phase.OPEN and doubted is not None and at.mono >= doubted


def _enter(state: Connection, move: Move, at: Moment) -> Connection:
    """What entering and leaving a phase changes, whatever led there."""
    before = state.stored
    after = replace(before, phase=move.to, reason=move.reason or before.reason)
    if after.phase is not before.phase:
        state = replace(state, wake_at=None, doubted_until=None)
        if before.phase is Phase.OPEN:
            after = replace(after, disconnected_at=at.wall)
        if before.phase is Phase.PAIRING:
            after = replace(after, qr_code=None, pairing_code=None)
        if after.phase is Phase.OPEN:
            after = replace(after, connected_at=at.wall, disconnected_at=None, number=None, wanted=True)
            state = replace(state, failures=0, observe_gap=_FIRST_OBSERVE_GAP)
        if after.phase is Phase.REFUSED:
            state = replace(state, refused_at=at.mono)
        if after.phase in (Phase.LOGGED_OUT, Phase.REFUSED) and before.phase is not Phase.OPEN:
            after = replace(after, disconnected_at=after.disconnected_at or at.wall)
    if after != before:
        after = replace(after, updated_at=at.wall)
    return replace(state, stored=after)


def _learn(state: Connection, event: ConnectionEvent, signal: Signal, at: Moment) -> Connection:
    """What the event itself tells, beyond where it leads."""
    stored = state.stored
    match event:
        case events.QrOffered(code=code, pairing_code=pairing) if stored.phase is Phase.PAIRING:
            state = replace(state, qr_fresh_until=at.mono + QR_LIFE, failures=0, wake_at=None)
            if (code, pairing) != (stored.qr_code, stored.pairing_code):
                stored = replace(
                    stored,
                    qr_code=code,
                    pairing_code=pairing,
                    qr_updated_at=at.wall,
                    wanted=True,
                    updated_at=at.wall,
                )
        case events.Opened(owner_jid=owner, profile_name=name):
            seen = (owner or stored.owner_jid, name or stored.profile_name)
            if seen != (stored.owner_jid, stored.profile_name):
                stored = replace(stored, owner_jid=seen[0], profile_name=seen[1], updated_at=at.wall)
        case events.ConnectAsked(number=number):
            stored = replace(stored, wanted=True, number=number, logout_pending=False, updated_at=at.wall)
            state = replace(state, failures=0, watched_until=at.mono + _WATCHED_FOR, observe_gap=_FIRST_OBSERVE_GAP)
        case events.DisconnectAsked():
            stored = replace(stored, wanted=False, logout_pending=True, updated_at=at.wall)
        case events.LogoutDone():
            stored = replace(stored, logout_pending=False)
        case events.QrWanted():
            state = replace(state, watched_until=at.mono + _WATCHED_FOR)
        case events.StateObserved():
            state = replace(state, doubted_until=None, failures=0 if signal is Signal.OBSERVED_OPEN else state.failures)
        case _:
            pass
    return replace(state, stored=stored)


def _plan(state: Connection, move: Move, at: Moment, spread: float) -> tuple[Connection, tuple[Action, ...]]:
    """Turn the actions of a move into calls to make now and a time to wake up."""
    calls: list[Action] = []
    for action in move.do:
        if action is Action.PULL_QR:
            expired = at.mono >= state.qr_fresh_until + _QR_GRACE
            watched = at.mono < state.watched_until
            action = Action.CONNECT if expired and watched else Action.OBSERVE
        if action in (Action.REGISTER, Action.CONNECT) and not state.stored.wanted:
            action = Action.OBSERVE
        if action is Action.DOUBT:
            state = replace(state, doubted_until=state.doubted_until or at.mono + _DOUBT_FOR)
            action = Action.OBSERVE
        if action is Action.BACK_OFF:
            delay = RECONNECT.delay(state.failures + 1, spread)
            state = replace(state, failures=state.failures + 1, wake_at=at.mono + delay)
        elif action is Action.OBSERVE:
            state, now = _observe(state, at)
            calls.extend([Action.OBSERVE] if now else [])
        else:
            calls.append(action)
    return replace(state, wake_at=_wake(state, at, spread)), tuple(calls)


def _observe(state: Connection, at: Moment) -> tuple[Connection, bool]:
    due = state.observed_at is None or at.mono >= state.observed_at + state.observe_gap
    if not due:
        return state, False
    gap = min(state.observe_gap * 2, _LAST_OBSERVE_GAP)
    return replace(state, observed_at=at.mono, observe_gap=gap), True


def _wake(state: Connection, at: Moment, spread: float) -> float | None:
    """The next time at which the state wants to be asked again, or None."""
    stored = state.stored
    kept = state.wake_at if state.wake_at is not None and state.wake_at > at.mono else None
    observe_at = max((state.observed_at or at.mono) + state.observe_gap, at.mono + _FIRST_OBSERVE_GAP)
    match stored.phase:
        case Phase.OPEN:
            # Spread, so that the lines of a large house are not all probed in the same second.
            probe = kept or at.mono + state.probe_every * (0.75 + 0.5 * spread)
            return probe if state.doubted_until is None else min(probe, observe_at, state.doubted_until)
        case Phase.CONNECTING | Phase.BACKING_OFF:
            return kept or observe_at
        case Phase.PAIRING:
            # The code's end; once it is over, look with the growing gap of observations.
            fresh = state.qr_fresh_until + _QR_GRACE
            return kept or (fresh if fresh > at.mono else observe_at)
        case _:
            return kept or (at.mono + RECONNECT.cap if stored.logout_pending else None)
