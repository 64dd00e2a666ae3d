"""Runs the connection state machine of a line: a pure step over the transition table.

Webhooks come late, twice and unordered, so no single one is final: a doubtful one leads to an observation
(``connectionState``), which decides. A signal that is not in the table is returned for counting, never raised.
"""

from dataclasses import dataclass, replace

from zapline.domain.line import events
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.signals import classify_event
from zapline.domain.line.state import FIRST_OBSERVE_GAP, LineState, PairingProgress, StoredLineState
from zapline.domain.line.transitions import TRANSITIONS, LineAction, LineSignal, Transition
from zapline.domain.retry_policy import Backoff
from zapline.domain.timestamps import NEVER, Moment

QR_LIFE = 45.0
"""Seconds a code can be scanned (contract, section 2)."""
_QR_GRACE = 5.0
"""Seconds after which we request a code: normally Evolution sends the next one by itself."""
_WATCHED_FOR = 60.0
"""Seconds for which a view of the code counts as somebody waiting; pages repeat it every few seconds."""
_DOUBT_FOR = 60.0
"""Seconds that an open line may stay unconfirmed; a call with its retries takes at most 40."""
_ECHO_FOR = 30.0
"""Seconds after a logout in which a close is its echo, even if a connection was requested again."""
_SETTLED_AFTER = 120.0
"""Seconds that a line must have been open before its next loss counts as the first."""
_REGISTER_AGAIN = 120.0
"""Seconds until an unanswered registration is repeated; an old secret stays valid for 30 minutes."""
_LAST_OBSERVE_GAP = 60.0
"""Seconds up to which the gap between observations doubles, so that a storm of 4 events a second costs little."""
_SCAN_ENDS = 515
"""The close by which a scan ends; Evolution reconnects, unless something is wrong."""
_MIDDLE = (5.0, 40.0)
"""Seconds of a code's age at which no ``connecting`` belongs to this code or the next."""
_PAIRING_CODE_AFTER = 5.0
"""Seconds after a QR code in which the pairing code that was asked for may still come."""
_QUIET_AFTER = 65.0
"""Seconds without an observation after which the gap is short again; a storm is observed more often than that."""
RECONNECT_BACKOFF = Backoff(base=3.0, factor=2.0, cap=300.0, jitter=0.3)
"""Delays of our connect calls: a short network failure costs 3 s, a day without WhatsApp 12 attempts an hour."""


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a step. ``unexpected`` is a signal that the table does not have in that phase."""

    state: LineState
    calls: tuple[LineAction, ...] = ()
    unexpected: LineSignal | None = None
    dropped: bool = False
    """An open line was lost, and nobody had requested it; a server that is away is no such loss."""
    opened: bool = False
    """The line is open after an absence, told or not: what waits may leave, and webhooks may be missing."""


def step(state: LineState, event: ConnectionEvent, at: Moment, spread: float) -> Step:
    """Apply ``event`` to ``state``. ``spread`` in 0..1 is drawn by the caller for jitter."""
    signal = classify_event(event, state, at)
    earlier, before = state, state.stored
    move = TRANSITIONS[before.phase].get(signal)
    if move is None:
        return Step(state, unexpected=signal)
    state = _apply_event(_apply_transition(state, move, at), event, signal, at)
    requested = signal in _REQUESTS
    if state.stored != before or requested:
        state = replace(state, stored=replace(state.stored, updated_at=at.wall))
    state, calls = _plan(state, move, signal, at, spread)
    lost = before.phase is Phase.OPEN and move.to is not Phase.OPEN
    dropped = lost and signal not in _NO_LOSS
    return Step(state, calls, dropped=dropped, opened=_ends_absence(earlier, signal, move))


_REQUESTS = frozenset(
    {
        LineSignal.CONNECT_ASKED,
        LineSignal.PAIRING_CODE_ASKED,
        LineSignal.RENEW_ASKED,
        LineSignal.DISCONNECT_ASKED,
    }
)
_NO_LOSS = _REQUESTS | {LineSignal.DOUBT_EXPIRED}


def _ends_absence(earlier: LineState, signal: LineSignal, move: Transition) -> bool:
    if move.to is not Phase.OPEN:
        return False
    # An `open` on a line thought open is news: it was away, and the webhook that said so was lost.
    unheard = earlier.not_open_since is not None or earlier.returned_at > NEVER
    opened = signal is LineSignal.OPENED or (signal is LineSignal.OBSERVED_OPEN and unheard)
    return opened or earlier.stored.phase is not Phase.OPEN


# -- changes of the state ----------------------------------------------------------------------------------


def _apply_transition(state: LineState, move: Transition, at: Moment) -> LineState:
    """Apply what entering and leaving a phase changes, whatever the event."""
    before = state.stored
    after = replace(before, phase=move.to, reason=move.reason or before.reason)
    if after.phase is not before.phase:
        state = replace(state, wake_at=None, retry_at=NEVER, doubted_until=None, not_open_since=None)
        if before.phase is Phase.OPEN:
            after = replace(after, disconnected_at=at.wall)
            if at.mono >= state.opened_at + _SETTLED_AFTER:
                state = replace(state, failures=0)
        if before.phase is Phase.PAIRING:
            after = replace(after, qr_code=None, pairing_code=None)
            state = replace(state, qr_fresh_until=NEVER)
        if after.phase is Phase.OPEN:
            after = replace(after, connected_at=at.wall, disconnected_at=None, number=None, wanted=True)
            state = replace(state, opened_at=at.mono, pairing=PairingProgress(), fruitless_connects=0)
        if after.phase is Phase.REFUSED:
            state = replace(state, refused_at=at.mono)
        if after.phase in (Phase.LOGGED_OUT, Phase.REFUSED):
            after = replace(after, disconnected_at=after.disconnected_at or at.wall)
    return replace(state, stored=after)


def _apply_event(state: LineState, event: ConnectionEvent, signal: LineSignal, at: Moment) -> LineState:
    """Apply the content of the event, apart from its transition."""
    stored = state.stored
    match event:
        case events.QrOffered() if stored.phase is Phase.PAIRING:
            return _apply_code(state, event, at)
        case events.Opened(owner_jid=owner, profile_name=name):
            known = stored.owner_jid, stored.profile_name
            stored = replace(stored, owner_jid=owner or known[0], profile_name=name or known[1])
            if signal is LineSignal.OPENED and stored.phase is Phase.OPEN:
                # The next probe counts from here.
                state = replace(state, doubted_until=None, not_open_since=None, returned_at=NEVER, wake_at=None)
        case events.ConnectAsked() | events.RenewAsked():
            number = event.number if isinstance(event, events.ConnectAsked) else None
            stored = replace(stored, wanted=True, number=number, logout_pending=False)
            state = replace(state, failures=0, retry_at=NEVER, wake_at=None, observe_gap=FIRST_OBSERVE_GAP)
            state = replace(state, requested_at=at.mono, watched_until=at.mono + _WATCHED_FOR, pulls=0)
            state = replace(state, pairing=PairingProgress(), fruitless_connects=0)
        case events.ConnectingSeen() if stored.phase is Phase.PAIRING:
            state = replace(state, pairing=_count_connecting(state.pairing, at))
        case events.Closed(code=code) if stored.phase is Phase.PAIRING and code == _SCAN_ENDS:
            state = replace(state, pairing=replace(state.pairing, scan_seen=True))
        case events.ServerReturned():
            state = _apply_return(state, at)
        case events.DisconnectAsked():
            stored = replace(stored, wanted=False, logout_pending=True)
            state = replace(state, failures=0, register_at=None, echo_until=at.mono + _ECHO_FOR)
        case events.LogoutDone():
            stored = replace(stored, logout_pending=False)
            state = replace(state, echo_until=at.mono + _ECHO_FOR, wake_at=None)
        case events.QrWanted():
            state = replace(state, watched_until=at.mono + _WATCHED_FOR)
        case events.StateObserved():
            state = _apply_observation(state, signal, at)
        case events.CallFailed():
            state = replace(state, observe_pending=False)
        case events.RegistrationOutdated():
            state = replace(state, register_at=at.mono)
        case events.Registered():
            state = replace(state, register_at=None)
        case _:
            pass
    if signal is LineSignal.PAIRING_CODE_ASKED:
        state = replace(state, pairing=PairingProgress(renewed=True), echo_until=at.mono + _ECHO_FOR)
    elif signal is LineSignal.RENEW_ASKED:
        state = replace(state, echo_until=at.mono + _ECHO_FOR)
    if stored.reason in _SERVER_REASONS and signal in (LineSignal.REGISTERED, LineSignal.OBSERVED_CONNECTING):
        stored = replace(stored, reason=Reason.DISCONNECTED)  # Evolution is there and takes our key
    return replace(state, stored=stored)


_SERVER_REASONS = frozenset({Reason.EVOLUTION_UNAVAILABLE, Reason.EVOLUTION_UNLICENSED, Reason.EVOLUTION_REFUSED})


def _apply_observation(state: LineState, signal: LineSignal, at: Moment) -> LineState:
    # The next probe of an open line counts from here.
    wake_at = None if state.stored.phase is Phase.OPEN else state.wake_at
    state = replace(state, doubted_until=None, observe_pending=False, wake_at=wake_at)
    pairing = state.pairing
    match signal:
        case LineSignal.OBSERVED_OPEN:
            return replace(state, not_open_since=None, returned_at=NEVER)
        case LineSignal.OPEN_IN_QUESTION:
            return replace(state, not_open_since=at.mono if state.not_open_since is None else state.not_open_since)
        case LineSignal.CLOSED_ONCE:
            since = at.mono if pairing.closed_since is None else pairing.closed_since
            return replace(state, pairing=replace(pairing, closed_since=since))
        case LineSignal.CLOSED_EARLY:
            return replace(state, pairing=replace(pairing, scan_seen=True, revived=True))
        case _:
            return state


def _apply_return(state: LineState, at: Moment) -> LineState:
    """The server answers again: what was put off because of it is due now."""
    state = replace(state, returned_at=at.mono, observed_at=None, observe_gap=FIRST_OBSERVE_GAP)
    if state.stored.phase is Phase.BACKING_OFF and state.stored.reason in _SERVER_REASONS:
        return replace(state, failures=0, retry_at=NEVER, wake_at=None)
    return state


def _count_connecting(pairing: PairingProgress, at: Moment) -> PairingProgress:
    """Evolution reports ``connecting`` beside a new code; in the middle of a code's life its socket was replaced."""
    age = at.mono - pairing.shown_at
    return replace(pairing, connecting_seen=pairing.connecting_seen + (_MIDDLE[0] <= age <= _MIDDLE[1]))


def _apply_code(state: LineState, offered: events.QrOffered, at: Moment) -> LineState:
    """Store a code, new or known: the response of connect repeats the current one, which may be about to expire."""
    stored = state.stored
    if offered.code == stored.qr_code:
        pairing_code = offered.pairing_code or stored.pairing_code
        due = state.pairing.pairing_code_due if pairing_code is None else None
        state = replace(state, pairing=replace(state.pairing, pairing_code_due=due))
        return replace(state, stored=replace(stored, pairing_code=pairing_code))
    ignored = stored.number is not None and stored.wanted and offered.pairing_code is None
    pairing = PairingProgress(
        watched_codes=state.pairing.watched_codes + (stored.qr_code is not None and at.mono < state.watched_until),
        shown_at=at.mono,
        revived=state.pairing.revived,
        pairing_code_due=at.mono + _PAIRING_CODE_AFTER if ignored else None,
        renewed=state.pairing.renewed,
    )
    return replace(
        state,
        stored=replace(stored, qr_code=offered.code, pairing_code=offered.pairing_code, qr_updated_at=at.wall),
        qr_fresh_until=at.mono + QR_LIFE,
        pairing=pairing,
        fruitless_connects=0,
        pulls=0,
        pull_after=NEVER,
        failures=0,
        wake_at=None,
        observe_gap=FIRST_OBSERVE_GAP,
    )


# -- calls and timers --------------------------------------------------------------------------------------


def _plan(
    state: LineState, move: Transition, signal: LineSignal, at: Moment, spread: float
) -> tuple[LineState, tuple[LineAction, ...]]:
    """Turn the actions of a transition into calls to make now and a time to wake up."""
    calls: list[LineAction] = []
    if signal in (LineSignal.REGISTERED, LineSignal.CHECKED):
        state = replace(state, check_at=_next_probe(state, at, spread))
    for action in (*move.do, *_pending_actions(state, signal, at)):
        state, call = _call_for(state, action, at, spread)
        if call is not None and call not in calls:
            calls.append(call)
    return replace(state, wake_at=_wake(state, at, spread)), tuple(calls)


def _pending_actions(state: LineState, signal: LineSignal, at: Moment) -> tuple[LineAction, ...]:
    """The actions of earlier transitions that a start or a timer must repeat."""
    if signal not in (LineSignal.STARTED, LineSignal.TIMER, LineSignal.SERVER_RETURNED):
        return ()
    if state.stored.logout_pending:
        return (LineAction.LOGOUT,)
    if not _keeps_registered(state.stored):
        return ()
    if state.register_at is not None:
        return (LineAction.REGISTER,) if at.mono >= state.register_at else ()
    # Together with the probe of the line, which may be due a little earlier.
    due = NEVER < state.check_at <= at.mono + state.probe_every / 4
    return (LineAction.CHECK,) if due and state.stored.phase is Phase.OPEN else ()


def _next_probe(state: LineState, at: Moment, spread: float) -> float:
    """Spread, so that many lines are not all probed in the same second."""
    return at.mono + state.probe_every * (0.75 + 0.5 * spread)


def _keeps_registered(stored: StoredLineState) -> bool:
    return stored.wanted and stored.phase in (Phase.OPEN, Phase.PAIRING)


def _call_for(state: LineState, action: LineAction, at: Moment, spread: float) -> tuple[LineState, LineAction | None]:
    """The call that an action leads to now, if any."""
    wanted, expired = state.stored.wanted, at.mono >= state.qr_fresh_until + _QR_GRACE
    match action:
        case LineAction.BACK_OFF:
            return (_back_off(state, at, spread), None) if at.mono >= state.retry_at else (state, None)
        case LineAction.STAND_BACK:
            until = at.mono + RECONNECT_BACKOFF.cap * (1 - RECONNECT_BACKOFF.jitter * spread)
            return replace(state, retry_at=until, wake_at=until), None
        case LineAction.RETRY if at.mono >= state.retry_at:
            return _call_for(_back_off(state, at, spread), LineAction.REGISTER, at, spread)
        case LineAction.PULL_QR if wanted and expired and state.pull_after <= at.mono < state.watched_until:
            pause = RECONNECT_BACKOFF.delay(state.pulls + 1, spread)
            return replace(state, pulls=state.pulls + 1, pull_after=at.mono + pause), LineAction.CONNECT
        case LineAction.RETRY | LineAction.PULL_QR:
            return state, None
        case LineAction.FRESHEN:
            looked_at = expired or state.stored.phase is Phase.PAIRING
            return _observe(state, at) if looked_at else (state, None)
        case LineAction.REGISTER | LineAction.CONNECT if not wanted:
            return _observe(state, at)
        case LineAction.REGISTER | LineAction.RENEW_PAIRING | LineAction.RECREATE:
            return replace(state, register_at=at.mono + _REGISTER_AGAIN), action
        case LineAction.CHECK:
            return replace(state, check_at=_next_probe(state, at, spread)), LineAction.CHECK
        case LineAction.CONNECT:
            return replace(state, fruitless_connects=state.fruitless_connects + 1), LineAction.CONNECT
        case LineAction.OBSERVE:
            return _observe(state, at)
        case LineAction.DOUBT:
            due = max(at.mono, _observe_due(state))
            return _observe(replace(state, doubted_until=state.doubted_until or due + _DOUBT_FOR), at)
        case LineAction.LOGOUT:
            return state, action


def _back_off(state: LineState, at: Moment, spread: float) -> LineState:
    until = at.mono + RECONNECT_BACKOFF.delay(state.failures + 1, spread)
    return replace(state, failures=state.failures + 1, retry_at=until, wake_at=until)


def _observe_due(state: LineState) -> float:
    return state.observed_at + state.observe_gap if state.observed_at is not None else NEVER


def _observe(state: LineState, at: Moment) -> tuple[LineState, LineAction | None]:
    registering = state.register_at is not None and at.mono < state.register_at
    if state.stored.logout_pending or (registering and state.stored.phase is Phase.CONNECTING):
        return state, None  # the result of the logout, or of the connect that follows, will show the state
    if at.mono < _observe_due(state):
        return replace(state, observe_pending=True), None
    quiet = state.observed_at is None or at.mono >= state.observed_at + _QUIET_AFTER
    gap = min((FIRST_OBSERVE_GAP if quiet else state.observe_gap) * 2, _LAST_OBSERVE_GAP)
    return replace(state, observed_at=at.mono, observe_gap=gap, observe_pending=False), LineAction.OBSERVE


def _wake(state: LineState, at: Moment, spread: float) -> float | None:
    """The next time at which the state needs a ``TimerFired``, always later than now; None: no timer."""
    stored = state.stored
    soon = at.mono + FIRST_OBSERVE_GAP
    observe_at = max(_observe_due(state), soon)
    times = [observe_at] if state.observe_pending else []
    register_at = state.register_at if state.register_at is not None else NEVER
    if register_at > NEVER and _keeps_registered(stored):
        times.append(max(register_at, soon))
    running = state.wake_at if state.wake_at is not None and state.wake_at > at.mono else None
    match stored.phase:
        case Phase.CONNECTING:
            times.append(running or max(observe_at, register_at))
        case Phase.BACKING_OFF:
            times.append(running or max(state.retry_at, observe_at))
        case Phase.PAIRING:
            # The code's end; after it, the growing gap of observations.
            fresh = state.qr_fresh_until + _QR_GRACE
            watched = at.mono < state.watched_until
            late = max(observe_at, state.pull_after) if watched else observe_at
            times.append(running or (fresh if fresh > at.mono else late))
            if state.pairing.pairing_code_due is not None:
                times.append(max(state.pairing.pairing_code_due, soon))
        case _ if stored.logout_pending:
            times.append(running or at.mono + RECONNECT_BACKOFF.cap)
        case _ if stored.wanted:
            times.append(running or _next_probe(state, at, spread))
            if stored.phase is Phase.OPEN and state.check_at > NEVER:
                times.append(max(state.check_at, soon))
        case _ if running is not None:
            times.append(running)
    if state.doubted_until is not None:
        times.append(max(state.doubted_until, soon))
    return min(times, default=None)
