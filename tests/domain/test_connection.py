"""The connection machine against a model of Evolution, in virtual time: one sentence a test."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from support.virtual_line import HOUR, VirtualLine, opened

from zapline.domain import events
from zapline.domain.connection import Action, Stored
from zapline.domain.reasons import Phase, Reason


def shown(line: VirtualLine) -> tuple[Phase, Reason]:
    return line.stored.phase, line.stored.reason


def made(line: VirtualLine) -> int:
    return sum(line.calls.values())


def begin_counting(line: VirtualLine) -> None:
    line.calls.clear()
    line.connects.clear()
    line.turns = line.rows = line.dropped = 0


def pairing(seed: int = 1) -> VirtualLine:
    line = VirtualLine(seed)
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING
    return line


# -- the way to an open line -------------------------------------------------------------------------------


def test_asking_registers_then_connects_and_a_scan_opens_the_line() -> None:
    line = VirtualLine()
    line.feed(events.ConnectAsked())
    assert shown(line) == (Phase.CONNECTING, Reason.CONNECTING)
    line.run(10)
    assert shown(line) == (Phase.PAIRING, Reason.WAITING_SCAN)
    assert line.stored.qr_code is not None
    assert (line.calls[Action.REGISTER], line.calls[Action.CONNECT]) == (1, 1)
    line.evolution.scan()
    line.run(1)
    assert shown(line) == (Phase.OPEN, Reason.SCAN_COMPLETED)
    assert (line.stored.qr_code, line.stored.profile_name) == (None, "Loja")


def test_a_pairing_needs_no_webhook_while_somebody_looks() -> None:
    line = VirtualLine()
    line.loss = 1.0
    line.feed(events.ConnectAsked())
    line.watch(600)
    line.run(150)
    assert line.stored.qr_updated_at is not None
    assert line.now - (line.stored.qr_updated_at - 1_800_000_000.0) < 60
    line.evolution.scan()
    assert line.run_until(lambda: line.phase is Phase.OPEN, 60) < 60


def test_a_slow_registration_does_not_show_a_line_as_dropped() -> None:
    line = VirtualLine()
    seen = set()
    line.evolution.first_code = 8.0
    line.feed(events.ConnectAsked())
    for _ in range(40):
        line.feed(events.QrWanted())
        line.run(0.5)
        seen.add(line.phase)
    assert seen == {Phase.CONNECTING, Phase.PAIRING}


def test_an_answer_without_a_code_is_asked_again_with_growing_pauses_while_somebody_looks() -> None:
    line = VirtualLine()
    line.evolution.first_code = float("inf")
    line.feed(events.ConnectAsked())
    line.watch(HOUR)
    line.run(HOUR)
    assert line.phase is Phase.CONNECTING
    assert 5 < line.calls[Action.CONNECT] <= 25
    assert made(line) <= 100


def test_an_answer_without_a_code_is_only_observed_when_nobody_looks() -> None:
    line = VirtualLine()
    line.evolution.first_code = float("inf")
    line.feed(events.ConnectAsked())
    line.run(HOUR)
    assert line.calls[Action.CONNECT] <= 6
    line.evolution.session = True
    line.evolution.scan()
    assert line.run_until(lambda: line.phase is Phase.OPEN, 60) <= 60


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
@pytest.mark.parametrize("loss", [0.0, 1.0], ids=["webhooks", "no-webhooks"])
def test_codes_end_at_the_limit_and_never_begin_anew_by_themselves(watched: bool, loss: float) -> None:
    line = VirtualLine()
    line.loss = loss
    line.feed(events.ConnectAsked())
    if watched:
        line.watch(8 * HOUR)
    line.run(8 * HOUR)
    assert shown(line) == (Phase.REFUSED, Reason.QR_LIMIT_REACHED)
    assert line.stored.qr_code is None
    assert line.evolution.rounds == 1
    assert line.calls[Action.CONNECT] <= 31
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING
    assert line.evolution.rounds == 2


def test_asking_again_right_after_the_limit_is_not_stopped_by_the_limit_s_second_webhook() -> None:
    line = VirtualLine()
    line.evolution.code_limit = 1
    line.lateness = 0.0
    line.feed(events.ConnectAsked())
    line.run_until(lambda: line.phase is Phase.REFUSED, 120)
    line.feed(events.ConnectAsked())
    line.run(0.01)
    line.feed(events.QrLimitReached())
    line.run(10)
    assert line.phase is Phase.PAIRING


def test_a_code_overtaken_by_the_limit_is_not_shown() -> None:
    line = pairing()
    line.run(60)
    line.feed(events.QrLimitReached())
    line.feed(events.QrOffered("overtaken"))
    assert line.phase is Phase.REFUSED


def test_a_repeated_code_does_not_live_longer() -> None:
    line = pairing()
    code, known_since = line.stored.qr_code, line.stored.qr_updated_at
    assert code is not None
    fresh_until = line.state.qr_fresh_until
    line.run(20)
    line.feed(events.QrOffered(code))
    assert (line.stored.qr_updated_at, line.state.qr_fresh_until) == (known_since, fresh_until)


@pytest.mark.parametrize("code", [408, 428, 515])
def test_a_close_during_pairing_does_not_begin_codes_again_for_nobody(code: int) -> None:
    line = pairing()
    line.evolution.state = "close"
    line.feed(events.Closed(code))
    line.run(6 * HOUR)
    assert shown(line) == (Phase.REFUSED, Reason.QR_LIMIT_REACHED)
    assert line.evolution.rounds == 1


def test_the_restart_after_a_scan_is_no_end_of_the_pairing() -> None:
    line = pairing()
    line.feed(events.Closed(515))
    line.run(0.5)
    line.evolution.scan()
    line.run(5)
    assert line.phase is Phase.OPEN


# -- what breaks an open line, and how it comes back -------------------------------------------------------


def test_a_quiet_open_line_is_only_probed() -> None:
    line = opened()
    begin_counting(line)
    line.run(24 * HOUR)
    assert set(line.calls) == {Action.OBSERVE}
    assert made(line) <= 24 * 16
    assert line.rows == 0


def test_an_open_but_dead_line_is_found_by_the_probe_and_connected_again() -> None:
    line = opened()
    line.evolution.state = "close"  # and no webhook says so
    line.loss = 1.0
    line.run_until(lambda: line.phase is not Phase.OPEN, 400)
    assert line.run_until(lambda: line.phase is Phase.OPEN, 60) < 60


@pytest.mark.parametrize("session_lives", [True, False])
def test_an_hour_without_evolution_costs_few_calls_and_ends_by_itself(session_lives: bool) -> None:
    line = opened()
    begin_counting(line)
    line.evolution.reachable = False
    line.run(HOUR)
    assert shown(line) == (Phase.BACKING_OFF, Reason.EVOLUTION_UNAVAILABLE)
    assert made(line) <= 40
    assert line.rows == 1
    line.evolution.reachable = True
    line.loss = 1.0
    if not session_lives:
        line.evolution.state = "close"
    assert line.run_until(lambda: line.phase is Phase.OPEN, 400) <= 320


def test_a_short_pause_of_evolution_does_not_close_an_open_line() -> None:
    line = opened()
    begin_counting(line)
    line.feed(events.ConnectingSeen())
    line.evolution.reachable = False
    line.run(15)
    line.evolution.reachable = True
    line.run(HOUR)
    assert (line.phase, line.dropped) == (Phase.OPEN, 0)


def test_a_line_comes_back_after_evolution_was_restarted() -> None:
    line = opened()
    line.evolution.open_after = 20.0
    line.evolution.restart()
    line.run(120)
    assert shown(line) == (Phase.OPEN, Reason.SCAN_COMPLETED)


def test_a_storm_of_a_minute_writes_two_rows_and_makes_few_calls() -> None:
    line = opened()
    begin_counting(line)
    line.evolution.storm(60)
    line.run(180)
    assert line.phase is Phase.OPEN
    assert line.rows <= 4
    assert made(line) <= 12


def test_a_storm_over_a_line_that_is_observed_open_never_closes_it() -> None:
    line = opened()
    begin_counting(line)
    for number in range(4 * 1800):
        line.after(number / 4, lambda: line.feed(events.ConnectingSeen()))
    line.run(1800)
    assert (line.phase, line.rows, line.dropped) == (Phase.OPEN, 0, 0)
    assert made(line) <= 45


def test_a_line_that_opens_and_closes_twice_a_second_costs_a_call_a_minute() -> None:
    line = opened()
    begin_counting(line)

    def flap(number: int) -> None:
        line.evolution.state = "open" if number % 2 else "connecting"
        line.webhook(events.Opened() if number % 2 else events.ConnectingSeen())
        line.after(0.4, lambda: flap(number + 1))

    flap(0)
    line.run(HOUR)
    assert made(line) <= 80
    assert line.rows <= 140


def test_a_late_connecting_is_observed_and_changes_nothing() -> None:
    line = opened()
    begin_counting(line)
    line.feed(events.ConnectingSeen())
    line.run(30)
    assert (line.phase, line.rows, made(line)) == (Phase.OPEN, 0, 1)


@pytest.mark.parametrize("late", [events.QrLimitReached(), events.QrOffered("old"), events.InstanceRemoved()])
def test_a_late_word_of_the_pairing_does_not_close_an_open_line(late: events.ConnectionEvent) -> None:
    line = opened()
    begin_counting(line)
    line.feed(late)
    line.run(HOUR)
    assert (line.phase, line.rows) == (Phase.OPEN, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(401, Reason.LOGGED_OUT), (406, Reason.LOGGED_OUT), (402, Reason.BANNED), (403, Reason.BANNED)],
)
def test_an_ended_session_is_told_and_not_connected_again(code: int, reason: Reason) -> None:
    line = opened()
    begin_counting(line)
    line.evolution.end(code)
    line.run(1)
    line.feed(events.ConnectingSeen())  # a stray one follows
    line.run(24 * HOUR)
    assert shown(line) == (Phase.LOGGED_OUT, reason)
    assert set(line.calls) == {Action.OBSERVE}
    assert line.evolution.rounds == 1


def test_a_late_401_on_a_living_line_is_healed_even_if_the_first_observation_fails() -> None:
    line = opened()
    line.evolution.reachable = False
    line.feed(events.Closed(401))
    line.run(90)
    assert line.phase is Phase.LOGGED_OUT
    line.evolution.reachable = True
    assert line.run_until(lambda: line.phase is Phase.OPEN, 200) <= 200


@pytest.mark.parametrize("code", [401, 403])
def test_a_late_open_after_the_session_ended_does_not_open_the_line(code: int) -> None:
    line = opened()
    line.evolution.end(code)
    line.run(30)
    line.feed(events.Opened())
    assert line.phase is Phase.LOGGED_OUT
    line.run(HOUR)
    assert line.phase is Phase.LOGGED_OUT
    assert line.evolution.rounds == 1


def test_a_close_of_every_code_as_in_1_x_is_answered_by_reconnecting() -> None:
    for code in (408, 428, 500, 503, 515, None):
        line = opened()
        line.evolution.state = "close"
        line.feed(events.Closed(code))
        assert shown(line) == (Phase.BACKING_OFF, Reason.DISCONNECTED)
        assert line.run_until(lambda line=line: line.phase is Phase.OPEN, 30) < 10


def test_a_session_taken_over_is_not_fought_for_in_a_tight_loop() -> None:
    line = opened()
    begin_counting(line)

    def kick() -> None:
        if line.evolution.state == "open":
            line.evolution.state = "close"
            line.webhook(events.Closed(440))
        line.after(2, kick)

    kick()
    line.run(24 * HOUR)
    assert line.calls[Action.CONNECT] <= 24 * 18
    assert made(line) <= 24 * 60
    line.run_until(lambda: line.phase is Phase.BACKING_OFF, 600)
    assert line.stored.reason is Reason.REPLACED_ELSEWHERE


def test_a_line_that_cannot_connect_is_tried_with_growing_delays_of_at_most_five_minutes() -> None:
    line = opened()
    begin_counting(line)
    line.evolution.connect_fails = True
    line.evolution.state = "close"
    line.feed(events.Closed(428))
    line.run(24 * HOUR)
    assert shown(line) == (Phase.BACKING_OFF, Reason.DISCONNECTED)
    gaps = [later - earlier for earlier, later in pairwise(line.connects)]
    assert max(gaps) <= 310
    assert all(later > earlier for earlier, later in pairwise(gaps[:6]))
    assert min(gaps[8:]) >= 200
    assert made(line) <= 24 * 60


def test_a_connecting_that_our_own_connect_causes_does_not_shorten_the_delay() -> None:
    line = opened()
    line.evolution.state = "close"
    line.evolution.connect_fails = True
    line.feed(events.Closed(428))
    line.run(2 * HOUR)
    begin_counting(line)
    for second in range(3600):
        line.after(float(second), lambda: line.feed(events.ConnectingSeen()))
    line.run(HOUR)
    assert line.calls[Action.CONNECT] <= 18


@pytest.mark.parametrize("phase", ["open", "new"])
def test_a_wrong_key_is_told_and_makes_few_calls(phase: str) -> None:
    line = opened() if phase == "open" else VirtualLine()
    begin_counting(line)
    line.evolution.key_right = False
    if phase == "new":
        line.feed(events.ConnectAsked())
    line.run(24 * HOUR)
    assert shown(line) == (Phase.BACKING_OFF, Reason.EVOLUTION_REFUSED)
    assert made(line) <= 24 * 20
    line.evolution.key_right = True
    line.run_until(lambda: line.phase in (Phase.OPEN, Phase.PAIRING), 400)


@pytest.mark.parametrize("silent", [True, False])
def test_an_instance_deleted_on_evolution_is_told_and_not_made_again(silent: bool) -> None:
    line = opened()
    line.loss = 1.0 if silent else 0.0
    line.lateness = 2.0
    line.evolution.delete()
    line.run(24 * HOUR)
    assert shown(line) == (Phase.IDLE, Reason.INSTANCE_REMOVED)
    assert line.evolution.state == "missing"
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING


def test_evolution_that_answers_is_no_longer_blamed() -> None:
    line = opened()
    line.evolution.reachable = False
    line.run(HOUR)
    line.evolution.reachable, line.evolution.state, line.evolution.connect_fails = True, "close", True
    line.run(400)
    assert shown(line) == (Phase.BACKING_OFF, Reason.DISCONNECTED)


def test_a_new_secret_reaches_evolution_though_it_was_away() -> None:
    line = opened()
    line.evolution.reachable = False
    line.feed(events.RegistrationOutdated())
    line.run(15)
    line.evolution.reachable = True
    begin_counting(line)
    line.run(300)
    assert line.calls[Action.REGISTER] == 1


def test_a_line_found_open_has_its_webhook_looked_at() -> None:
    line = opened()
    line.evolution.reachable = False
    line.run(HOUR)
    begin_counting(line)
    line.evolution.reachable = True
    line.run(400)
    assert line.calls[Action.REGISTER] == 1


# -- people ------------------------------------------------------------------------------------------------


def test_disconnecting_logs_out_and_the_echoes_change_nothing() -> None:
    line = opened()
    begin_counting(line)
    line.feed(events.DisconnectAsked())
    assert (line.phase, line.dropped) == (Phase.IDLE, 0)
    line.run(HOUR)
    assert shown(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert (line.stored.wanted, line.stored.logout_pending) == (False, False)
    assert made(line) == line.calls[Action.LOGOUT] == 1


def test_disconnecting_while_pairing_ends_it_though_codes_come_late() -> None:
    line = pairing()
    line.feed(events.DisconnectAsked())
    line.feed(events.QrOffered("late"))
    line.feed(events.ConnectingSeen())
    line.run(HOUR)
    assert shown(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert not line.stored.wanted
    assert line.evolution.state == "close"


def test_the_answer_of_a_connect_under_way_does_not_undo_a_disconnect() -> None:
    line = VirtualLine()
    line.feed(events.ConnectAsked())
    line.run(0.5)
    assert line.calls[Action.CONNECT] == 1
    line.feed(events.DisconnectAsked())
    line.run(HOUR)
    assert shown(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert line.evolution.state == "close"


def test_a_late_open_after_a_disconnect_is_observed_and_connects_nothing() -> None:
    line = opened()
    line.feed(events.DisconnectAsked())
    line.run(60)
    line.feed(events.Opened())
    line.run(HOUR)
    assert shown(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert line.evolution.rounds == 1


def test_a_logout_that_fails_is_repeated_through_a_crash_until_it_is_answered() -> None:
    line = opened()
    begin_counting(line)
    line.evolution.reachable = False
    line.feed(events.DisconnectAsked())
    line.run(HOUR)
    line.crash()
    line.run(HOUR)
    assert (line.phase, line.stored.logout_pending) == (Phase.IDLE, True)
    assert made(line) <= 60
    line.evolution.reachable = True
    line.run(320)
    assert (line.evolution.state, line.stored.logout_pending) == ("close", False)


def test_an_open_line_that_is_to_be_logged_out_stays_idle() -> None:
    line = opened()
    line.evolution.key_right = False
    line.feed(events.DisconnectAsked())
    line.run(10)
    line.feed(events.StateObserved("open"))
    line.feed(events.Opened())
    line.run(HOUR)
    assert (line.phase, line.stored.wanted) == (Phase.IDLE, False)


def test_connecting_right_after_disconnecting_is_not_ended_by_the_echo_of_the_logout() -> None:
    line = opened()
    line.lateness = 8.0
    line.feed(events.DisconnectAsked())
    line.run(1)
    line.feed(events.ConnectAsked())
    line.run(20)
    assert shown(line) == (Phase.PAIRING, Reason.WAITING_SCAN)


IN_EVERY_PHASE: dict[str, Callable[[], VirtualLine]] = {
    "idle": VirtualLine,
    "connecting": lambda: _put(Phase.CONNECTING),
    "pairing": pairing,
    "backing_off": lambda: _put(Phase.BACKING_OFF),
    "logged_out": lambda: _put(Phase.LOGGED_OUT),
    "refused": lambda: _put(Phase.REFUSED),
}


def _put(phase: Phase) -> VirtualLine:
    line = VirtualLine(stored=Stored(phase=phase, reason=Reason.DISCONNECTED, wanted=True))
    line.evolution.state = "close"
    return line


@pytest.mark.parametrize("place", IN_EVERY_PHASE)
def test_asking_to_connect_leads_to_a_code_from_every_phase(place: str) -> None:
    line = IN_EVERY_PHASE[place]()
    line.feed(events.ConnectAsked())
    line.feed(events.ConnectAsked())
    assert line.stored.wanted
    line.run(15)
    assert line.phase is Phase.PAIRING


def test_asking_to_connect_an_open_line_verifies_it() -> None:
    line = opened()
    begin_counting(line)
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.OPEN
    assert set(line.calls) == {Action.REGISTER, Action.OBSERVE}


def test_a_line_that_others_pair_is_shown_but_never_connected_by_us() -> None:
    line = VirtualLine()
    line.evolution.state = "close"
    line.evolution.begin()
    line.watch(HOUR)
    line.run(600)
    assert line.phase is Phase.PAIRING
    line.run(HOUR)
    assert (line.stored.wanted, line.evolution.rounds) == (False, 1)
    assert set(line.calls) <= {Action.OBSERVE}


def test_a_storm_over_a_line_that_nobody_asked_for_ends_idle() -> None:
    line = VirtualLine()
    line.evolution.reachable = False
    for number in range(4 * 600):
        line.after(number / 4, lambda: line.feed(events.ConnectingSeen()))
    line.run(HOUR)
    assert line.phase is Phase.IDLE
    assert line.rows <= 3
    assert made(line) <= 40


# -- crashes -----------------------------------------------------------------------------------------------


def _ask(line: VirtualLine) -> None:
    line.feed(events.ConnectAsked())


def _stop(line: VirtualLine) -> None:
    line.feed(events.DisconnectAsked())


def _close(line: VirtualLine) -> None:
    line.evolution.state = "close"
    line.feed(events.Closed(428))


def _doubt(line: VirtualLine) -> None:
    line.evolution.state = "connecting"
    line.feed(events.ConnectingSeen())


def _end(line: VirtualLine) -> None:
    line.evolution.end(401)
    line.run(1)


def _delete(line: VirtualLine) -> None:
    line.evolution.delete()
    line.run(1)


CRASHES: dict[str, tuple[Callable[[], VirtualLine], Callable[[VirtualLine], None], float]] = {
    "registering": (VirtualLine, _ask, 0.01),
    "connecting": (VirtualLine, _ask, 1.0),
    "showing a code": (VirtualLine, _ask, 10.0),
    "logging out": (opened, _stop, 0.01),
    "logging out of a pairing": (pairing, _stop, 0.01),
    "waiting to reconnect": (opened, _close, 1.0),
    "reconnecting": (opened, _close, 4.0),
    "in doubt": (opened, _doubt, 0.01),
    "ended": (opened, _end, 0.1),
    "removed": (opened, _delete, 0.1),
}


@pytest.mark.parametrize("moment", CRASHES)
def test_what_is_stored_alone_leads_to_the_same_end_after_a_crash(moment: str) -> None:
    make, happen, later = CRASHES[moment]
    ends = []
    for crashed in (False, True):
        line = make()
        happen(line)
        line.run(later)
        if crashed:
            line.crash()
        line.run(900)
        if line.evolution.state == "connecting" and line.phase is not Phase.PAIRING:
            line.evolution.scan()
        line.run(900)
        ends.append((*shown(line), line.stored.wanted, line.stored.logout_pending, line.evolution.state))
    assert ends[0] == ends[1]
