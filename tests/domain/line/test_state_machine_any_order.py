"""What holds for the connection machine whatever happens, in whatever order."""

import random
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.property_examples import examples
from support.virtual_line import HOUR, VirtualLine

from zapline.domain.line import events
from zapline.domain.line.reasons import STATUS_OF_PHASE, Phase, Reason
from zapline.domain.line.signals import classify_event
from zapline.domain.line.state import LineState, PairingProgress, StoredLineState
from zapline.domain.line.state_machine import step
from zapline.domain.line.transitions import SIGNALS_OF_SOME_PHASES, TRANSITIONS, LineAction, LineSignal
from zapline.domain.timestamps import Moment

EVENTS: list[events.ConnectionEvent] = [
    events.QrOffered("a"),
    events.QrOffered("b", "PAIR"),
    events.QrLimitReached(),
    events.ConnectingSeen(),
    events.Opened(),
    events.Opened("5511999990000@s.whatsapp.net", "Loja"),
    *(events.Closed(code) for code in (None, 401, 402, 403, 406, 408, 428, 440, 500, 515)),
    events.Closed(408, final=True),
    events.PasskeyAsked(),
    events.LoggedOutSeen(),
    events.InstanceCreated(),
    events.InstanceRemoved(),
    events.Started(),
    events.TimerFired(),
    events.QrWanted(),
    events.ConnectAsked(),
    events.ConnectAsked("5511999990000"),
    events.RenewAsked(),
    events.DisconnectAsked(),
    *(events.StateObserved(state) for state in ("open", "connecting", "close", "missing", "refused")),
    events.RegistrationOutdated(),
    events.ServerReturned(),
    events.Registered(),
    events.RegistrationChecked(),
    events.RegistrationChecked(("url",), restored=True),
    events.ConnectStarted(),
    events.LogoutDone(),
    events.CallFailed("connect", "unreachable"),
    events.CallFailed("connect", "operation_failed"),
    events.CallFailed("connect", "not_licensed"),
    events.CallFailed("register", "unauthorized", retryable=False),
]
SETTERS = {LineAction.REGISTER, LineAction.CONNECT, LineAction.RENEW_PAIRING, LineAction.RECREATE, LineAction.CHECK}
"""Calls that change something on Evolution, for a line that is wanted."""
CALLS = SETTERS | {LineAction.OBSERVE, LineAction.LOGOUT}
LATER = st.sampled_from([0.0, 0.25, 1.0, 7.0, 50.0, 400.0])


def test_the_table_has_a_transition_for_every_signal_in_every_phase_where_it_occurs() -> None:
    assert set(TRANSITIONS) == set(Phase)
    for phase in Phase:
        partial = {signal for signal in LineSignal if phase in SIGNALS_OF_SOME_PHASES.get(signal, frozenset(Phase))}
        assert partial - set(TRANSITIONS[phase]) == set(), phase


@pytest.mark.slow
def test_every_move_of_the_table_can_be_reached_and_no_event_makes_a_signal_without_one() -> None:
    reached = set()
    at = Moment(0.0, 1000.0)
    volatile = [
        {},
        {"doubted_until": 999.0},
        {"refused_at": 999.0},
        {"requested_at": 999.0},
        {"echo_until": 1001.0},
        {"not_open_since": 900.0},
        {"fruitless_connects": 9},
        {"pairing": PairingProgress(scan_seen=True)},
        {"pairing": PairingProgress(watched_codes=9)},
        {"pairing": PairingProgress(pairing_code_due=999.0)},
        {"pairing": PairingProgress(pairing_code_due=999.0, renewed=True)},
        {"qr_fresh_until": 1010.0, "watched_until": 1010.0},
        {"qr_fresh_until": 1010.0, "watched_until": 1010.0, "pairing": PairingProgress(closed_since=990.0)},
    ]
    for phase in Phase:
        for reason in Reason:
            for wanted, pending in ((True, False), (False, False), (False, True)):
                stored = StoredLineState(phase=phase, reason=reason, wanted=wanted, logout_pending=pending)
                for more in volatile:
                    state = replace(LineState(stored=stored), **more)
                    reached |= {(phase, classify_event(event, state, at)) for event in EVENTS}
    written = {(phase, signal) for phase, moves in TRANSITIONS.items() for signal in moves}
    assert reached - written == set()
    assert written - reached == set()


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), LATER), max_size=60),
    st.floats(0, 1),
    st.sampled_from(list(Phase)),
    st.booleans(),
)
def test_no_sequence_of_events_breaks_what_must_hold(
    happened: list[tuple[events.ConnectionEvent, float]], spread: float, phase: Phase, wanted: bool
) -> None:
    begun = StoredLineState(
        phase=phase, reason=Reason.DISCONNECTED, wanted=wanted or phase is Phase.OPEN, connected_at=1.0
    )
    state = LineState(stored=begun if phase is not Phase.IDLE else StoredLineState())
    now = 1000.0
    for event, later in happened:
        now += later
        before = state.stored
        result = step(state, event, Moment(now + 1e9, now), spread)
        state, stored = result.state, result.state.stored
        assert result.unexpected is None
        assert set(result.calls) <= CALLS
        assert len(result.calls) == len(set(result.calls))
        assert state.wake_at is None or state.wake_at > now
        assert stored.status == STATUS_OF_PHASE[stored.phase]
        if stored.phase is Phase.OPEN:
            assert stored.connected_at is not None
            assert stored.wanted
        if stored.phase is not Phase.PAIRING:
            assert stored.qr_code is None
            assert stored.pairing_code is None
        if stored.logout_pending:
            assert (stored.phase, stored.wanted) == (Phase.IDLE, False)
        if not stored.wanted:
            assert not SETTERS & set(result.calls)
        if stored.wanted or stored.logout_pending or stored.phase in (Phase.CONNECTING, Phase.PAIRING):
            assert state.wake_at is not None, "nothing would ever ask again"
        requested = isinstance(event, events.ConnectAsked | events.RenewAsked | events.DisconnectAsked)
        assert (stored.updated_at == now + 1e9) == (
            requested or differs(before, stored) or before.updated_at == now + 1e9
        )
        assert result.dropped == (
            before.phase is Phase.OPEN
            and stored.phase is not Phase.OPEN
            and not isinstance(event, events.DisconnectAsked | events.RenewAsked)
            and stored.reason is not Reason.EVOLUTION_UNAVAILABLE
        )
        if result.opened:
            assert stored.phase is Phase.OPEN
            assert state.doubted_until is None or before.phase is not Phase.OPEN
        assert result.opened or before.phase is Phase.OPEN or stored.phase is not Phase.OPEN


def differs(one: StoredLineState, other: StoredLineState) -> bool:
    return any(
        getattr(one, f.name) != getattr(other, f.name) for f in fields(StoredLineState) if f.name != "updated_at"
    )


HAPPENINGS = [
    *("away", "back", "key_wrong", "key_right", "connect_fails", "connect_works", "lose_all", "lose_none"),
    *("ask", "stop", "look", "scan", "crash", "late"),
    *("storm", "end401", "end403", "taken", "delete", "restart", "restart_cold", "lost_open"),
]


def happen(line: VirtualLine, what: str) -> None:
    """One thing that goes right or wrong outside."""
    evolution = line.evolution
    match what:
        case "away" | "back":
            evolution.reachable = what == "back"
        case "key_wrong" | "key_right":
            evolution.key_valid = what == "key_right"
        case "storm":
            evolution.storm(30)
        case "end401" | "end403" if evolution.state != "missing":
            evolution.end_session(int(what[3:]))
        case "taken" if evolution.state == "open":
            evolution.state = "close"
            line.webhook(events.Closed(440))
        case "delete":
            evolution.delete()
        case "restart":
            evolution.restart()
        case "restart_cold" if evolution.state != "missing":
            evolution.session = False
            evolution.restart()
        case "ask":
            line.feed(events.ConnectAsked())
        case "stop":
            line.feed(events.DisconnectAsked())
        case "crash":
            line.crash()
        case "scan" if evolution.state == "connecting" and evolution.whatsapp_up:
            evolution.scan()
        case "lose_all" | "lose_none":
            line.loss = 1.0 if what == "lose_all" else 0.0
        case "late":
            line.feed(line.rng.choice([event for event in EVENTS if not isinstance(event, events.Started)][:20]))
        case "look":
            line.watch(60)
        case "lost_open" if evolution.state == "open":
            evolution.state = "connecting"
        case "connect_fails" | "connect_works":
            evolution.connect_fails = what == "connect_fails"
        case _:
            pass


def pair(line: VirtualLine) -> None:
    """A person asks, takes the phone, and scans."""
    line.feed(events.ConnectAsked())
    line.run(10)
    if line.phase is Phase.PAIRING:
        happen(line, "scan")
        line.run(5)


HISTORY = st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.sampled_from([0.0, 0.5, 3.0, 40.0, 400.0])), max_size=25)


def lived(history: list[tuple[str, float]], seed: int) -> VirtualLine:
    line = VirtualLine(seed)
    line.feed(events.ConnectAsked())
    if seed % 2:
        pair(line)
    line.duplication = 0.2
    line.lateness = 5.0
    for what, later in history:
        happen(line, what)
        line.run(later)
    evolution = line.evolution
    evolution.reachable = evolution.key_valid = evolution.whatsapp_up = True
    evolution.connect_fails = False
    line.run(60)  # what is still on its way arrives
    return line


@settings(max_examples=examples(120), deadline=None)
@given(HISTORY, st.integers(0, 2**16))
def test_a_wanted_line_that_evolution_says_is_open_becomes_open_whatever_happened(
    history: list[tuple[str, float]], seed: int
) -> None:
    line = lived(history, seed)
    if not line.stored.wanted:
        return
    line.loss = 1.0
    line.evolution.state, line.evolution.session = "open", True
    assert line.run_until(lambda: line.phase is Phase.OPEN and line.stored.wanted, 900) <= 460
    line.run(1000)
    assert line.phase is Phase.OPEN


@pytest.mark.slow
@settings(max_examples=examples(120), deadline=None)
@given(HISTORY, st.integers(0, 2**16))
def test_a_wanted_line_that_evolution_says_is_closed_is_tried_for_ever_unless_a_person_must_act(
    history: list[tuple[str, float]], seed: int
) -> None:
    line = lived(history, seed)
    evolution = line.evolution
    evolution.state, evolution.connect_fails, evolution.first_code = "close", True, float("inf")
    evolution._pairing += 1
    line.run(HOUR)
    if line.phase in (Phase.IDLE, Phase.LOGGED_OUT, Phase.REFUSED):
        return
    assert line.phase is Phase.BACKING_OFF
    line.connects.clear()
    line.run(2 * HOUR)
    assert 24 <= len(line.connects) <= 36
    assert line.phase is Phase.BACKING_OFF


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_day_of_random_faults_costs_a_bounded_number_of_steps_and_calls(seed: int) -> None:
    line, chance = VirtualLine(seed), random.Random(seed)
    line.duplication, line.lateness = 0.2, 20.0
    line.feed(events.ConnectAsked())
    webhooks = 0

    def counted(event: events.ConnectionEvent, put: object = line.webhook) -> None:
        nonlocal webhooks
        webhooks += 1
        put(event)  # type: ignore[operator]

    line.webhook = counted  # type: ignore[method-assign]
    end = line.now + 24 * HOUR
    happened = 0
    while line.now < end:
        line.loss = chance.choice([0.0, 0.1, 1.0])
        happen(line, chance.choice(HAPPENINGS))
        if line.phase is not Phase.OPEN and chance.random() < 0.3:
            line.loss = 0.0
            for healed in ("back", "key_right", "connect_works"):
                happen(line, healed)
            pair(line)
        happened += 1
        line.run(chance.expovariate(1 / 300))
    calls = sum(line.calls.values())
    assert line.unexpected == 0
    # A step is caused by a webhook (some twice), an answer, an ask, or a timer; a timer comes with few of them.
    assert line.events_fed <= 1.3 * webhooks + 4 * calls + 25 * happened
    assert calls <= 24 * 120
    assert line.calls[LineAction.CONNECT] <= 24 * 25
