"""What breaks an open line, what that costs, and how it comes back, in virtual time."""

from itertools import pairwise

import pytest
from support.virtual_line import (
    HOUR,
    VirtualLine,
    call_count,
    open_line,
    pairing_line,
    phase_and_reason,
    reset_counters,
)

from zapline.domain.line import events
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.transitions import LineAction


def test_a_quiet_open_line_is_only_probed() -> None:
    line = open_line()
    reset_counters(line)
    line.run(24 * HOUR)
    assert set(line.calls) == {LineAction.OBSERVE, LineAction.CHECK}
    assert line.calls[LineAction.OBSERVE] <= 24 * 16
    assert line.calls[LineAction.CHECK] <= line.calls[LineAction.OBSERVE]
    assert line.rows == 0


def test_an_open_but_dead_line_is_found_by_the_probe_and_connected_again() -> None:
    line = open_line()
    line.evolution.state = "close"  # and no webhook says so
    line.loss = 1.0
    line.run_until(lambda: line.phase is not Phase.OPEN, 400)
    assert line.run_until(lambda: line.phase is Phase.OPEN, 60) < 60


@pytest.mark.parametrize("session_lives", [True, False])
def test_an_hour_without_evolution_costs_few_calls_and_ends_by_itself(session_lives: bool) -> None:
    line = open_line()
    reset_counters(line)
    line.evolution.reachable = False
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.EVOLUTION_UNAVAILABLE)
    assert call_count(line) <= 40
    assert line.rows == 1
    line.evolution.reachable = True
    line.loss = 1.0
    if not session_lives:
        line.evolution.state = "close"
    assert line.run_until(lambda: line.phase is Phase.OPEN, 400) <= 320


def test_a_short_pause_of_evolution_does_not_close_an_open_line() -> None:
    line = open_line()
    reset_counters(line)
    line.feed(events.ConnectingSeen())
    line.evolution.reachable = False
    line.run(15)
    line.evolution.reachable = True
    line.run(HOUR)
    assert (line.phase, line.dropped) == (Phase.OPEN, 0)


def test_a_line_comes_back_after_evolution_was_restarted() -> None:
    line = open_line()
    line.evolution.open_after = 20.0
    line.evolution.restart()
    line.run(120)
    assert phase_and_reason(line) == (Phase.OPEN, Reason.SCAN_COMPLETED)


def test_a_storm_of_a_minute_writes_two_rows_and_makes_few_calls() -> None:
    line = open_line()
    reset_counters(line)
    line.evolution.storm(60)
    line.run(180)
    assert line.phase is Phase.OPEN
    assert line.rows <= 4
    assert call_count(line) <= 12


@pytest.mark.slow
def test_a_storm_over_a_line_that_is_observed_open_never_closes_it() -> None:
    line = open_line()
    reset_counters(line)
    for number in range(4 * 1800):
        line.after(number / 4, lambda: line.feed(events.ConnectingSeen()))
    line.run(1800)
    assert (line.phase, line.rows, line.dropped) == (Phase.OPEN, 0, 0)
    assert line.calls[LineAction.OBSERVE] <= 45


@pytest.mark.slow
def test_a_line_that_opens_and_closes_twice_a_second_costs_a_call_a_minute() -> None:
    line = open_line()
    reset_counters(line)

    def flap(number: int) -> None:
        line.evolution.state = "open" if number % 2 else "connecting"
        line.webhook(events.Opened() if number % 2 else events.ConnectingSeen())
        line.after(0.4, lambda: flap(number + 1))

    flap(0)
    line.run(HOUR)
    assert call_count(line) <= 80
    assert line.rows <= 140


def test_a_late_connecting_is_observed_and_changes_nothing() -> None:
    line = open_line()
    reset_counters(line)
    line.feed(events.ConnectingSeen())
    line.run(30)
    assert (line.phase, line.rows, line.calls[LineAction.OBSERVE]) == (Phase.OPEN, 0, 1)


@pytest.mark.parametrize("late", [events.QrLimitReached(), events.QrOffered("old"), events.InstanceRemoved()])
def test_a_late_report_of_the_pairing_does_not_close_an_open_line(late: events.ConnectionEvent) -> None:
    line = open_line()
    reset_counters(line)
    line.feed(late)
    line.run(HOUR)
    assert (line.phase, line.rows) == (Phase.OPEN, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(401, Reason.LOGGED_OUT), (406, Reason.LOGGED_OUT), (402, Reason.BANNED), (403, Reason.BANNED)],
)
def test_an_ended_session_is_reported_and_not_reconnected(code: int, reason: Reason) -> None:
    line = open_line()
    reset_counters(line)
    line.evolution.end_session(code)
    line.run(1)
    line.feed(events.ConnectingSeen())  # a stray one follows
    line.run(24 * HOUR)
    assert phase_and_reason(line) == (Phase.LOGGED_OUT, reason)
    assert set(line.calls) == {LineAction.OBSERVE}
    assert line.evolution.pairings_started == 1


def test_a_late_401_on_a_living_line_is_healed_even_if_the_first_observation_fails() -> None:
    line = open_line()
    line.evolution.reachable = False
    line.feed(events.Closed(401))
    line.run(90)
    assert line.phase is Phase.LOGGED_OUT
    line.evolution.reachable = True
    assert line.run_until(lambda: line.phase is Phase.OPEN, 200) <= 200


@pytest.mark.parametrize("code", [401, 403])
def test_a_late_open_after_the_session_ended_does_not_open_the_line(code: int) -> None:
    line = open_line()
    line.evolution.end_session(code)
    line.run(30)
    line.feed(events.Opened())
    assert line.phase is Phase.LOGGED_OUT
    line.run(HOUR)
    assert line.phase is Phase.LOGGED_OUT
    assert line.evolution.pairings_started == 1


def test_a_close_of_every_code_as_in_1_x_is_answered_by_reconnecting() -> None:
    for code in (408, 428, 500, 503, 515, None):
        line = open_line()
        line.evolution.state = "close"
        line.feed(events.Closed(code))
        assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.DISCONNECTED)
        assert line.run_until(lambda line=line: line.phase is Phase.OPEN, 30) < 10


def test_a_session_taken_over_is_not_fought_for_in_a_tight_loop() -> None:
    line = open_line()
    reset_counters(line)

    def kick() -> None:
        if line.evolution.state == "open":
            line.evolution.state = "close"
            line.webhook(events.Closed(440))
        line.after(2, kick)

    kick()
    line.run(24 * HOUR)
    assert line.calls[LineAction.CONNECT] <= 24 * 18
    assert call_count(line) <= 24 * 60
    line.run_until(lambda: line.phase is Phase.BACKING_OFF, 600)
    assert line.stored.reason is Reason.REPLACED_ELSEWHERE


def test_a_line_that_cannot_connect_is_tried_with_growing_delays_of_at_most_five_minutes() -> None:
    line = open_line()
    reset_counters(line)
    line.evolution.connect_fails = True
    line.evolution.state = "close"
    line.feed(events.Closed(428))
    line.run(24 * HOUR)
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.SESSION_STUCK)
    gaps = [later - earlier for earlier, later in pairwise(line.connects)]
    assert max(gaps) <= 310
    assert all(later > earlier for earlier, later in pairwise(gaps[:6]))
    assert min(gaps[8:]) >= 200
    assert call_count(line) <= 24 * 60


def test_a_connecting_that_our_own_connect_causes_does_not_shorten_the_delay() -> None:
    line = open_line()
    line.evolution.state = "close"
    line.evolution.connect_fails = True
    line.feed(events.Closed(428))
    line.run(2 * HOUR)
    reset_counters(line)
    for second in range(3600):
        line.after(float(second), lambda: line.feed(events.ConnectingSeen()))
    line.run(HOUR)
    assert line.calls[LineAction.CONNECT] <= 18


@pytest.mark.parametrize("phase", ["open", "new"])
def test_a_wrong_key_is_reported_and_causes_few_calls(phase: str) -> None:
    line = open_line() if phase == "open" else VirtualLine()
    reset_counters(line)
    line.evolution.key_valid = False
    if phase == "new":
        line.feed(events.ConnectAsked())
    line.run(24 * HOUR)
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.EVOLUTION_REFUSED)
    assert call_count(line) <= 24 * 20
    line.evolution.key_valid = True
    line.run_until(lambda: line.phase in (Phase.OPEN, Phase.PAIRING), 400)


@pytest.mark.parametrize("silent", [True, False])
def test_an_instance_deleted_on_evolution_is_reported_and_not_recreated(silent: bool) -> None:
    line = open_line()
    line.loss = 1.0 if silent else 0.0
    line.lateness = 2.0
    line.evolution.delete()
    line.run(24 * HOUR)
    assert phase_and_reason(line) == (Phase.IDLE, Reason.INSTANCE_REMOVED)
    assert line.evolution.state == "missing"
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING


def test_evolution_that_answers_is_no_longer_blamed() -> None:
    line = open_line()
    line.evolution.reachable = False
    line.run(HOUR)
    line.evolution.reachable, line.evolution.state, line.evolution.connect_fails = True, "close", True
    line.run(400)
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.DISCONNECTED)


def test_a_new_secret_reaches_evolution_though_it_was_away() -> None:
    line = open_line()
    line.evolution.reachable = False
    line.feed(events.RegistrationOutdated())
    line.run(15)
    line.evolution.reachable = True
    reset_counters(line)
    line.run(300)
    assert line.calls[LineAction.REGISTER] == 1


def test_a_line_observed_open_has_its_webhook_verified() -> None:
    line = open_line()
    line.evolution.reachable = False
    line.run(HOUR)
    reset_counters(line)
    line.evolution.reachable = True
    line.run(400)
    assert line.calls[LineAction.REGISTER] == 1


def test_a_line_that_never_stays_open_is_tried_with_growing_delays() -> None:
    line = open_line()

    def kick() -> None:
        if line.evolution.state == "open":
            line.evolution.state = "close"
            line.webhook(events.Closed(428))
        line.after(2, kick)

    kick()
    line.run(HOUR)
    reset_counters(line)
    line.run(HOUR)
    assert line.calls[LineAction.CONNECT] <= 18


def test_the_first_try_after_a_take_over_waits_some_minutes() -> None:
    line = open_line()
    reset_counters(line)
    line.evolution.state = "close"
    line.feed(events.Closed(440))
    line.run(200)
    assert call_count(line) == 0
    line.run(120)
    assert line.phase is Phase.OPEN


def test_an_observation_requested_too_early_is_pending_and_made_later() -> None:
    line = open_line()
    line.evolution.end_session(401)
    reset_counters(line)
    line.run_until(lambda: line.calls[LineAction.OBSERVE] == 1, 10)
    line.run(0.5)
    line.evolution.state = "open"
    line.feed(events.Opened())
    assert line.phase is Phase.LOGGED_OUT
    assert line.run_until(lambda: line.phase is Phase.OPEN, 10) < 5


def test_after_a_storm_a_quiet_hour_makes_observations_quick_again() -> None:
    line = open_line()
    line.evolution.storm(900)
    line.run(1000 + HOUR)
    line.feed(events.ConnectingSeen())
    line.run(3)
    line.evolution.state = "connecting"
    line.feed(events.ConnectingSeen())
    assert line.run_until(lambda: line.phase is Phase.CONNECTING, 20) < 15


def test_a_late_open_while_backing_off_is_accepted_until_the_observation() -> None:
    line = open_line()
    line.evolution.connect_fails, line.evolution.state = True, "close"
    line.feed(events.Closed(428))
    line.run(HOUR)
    line.feed(events.Opened())
    assert line.run_until(lambda: line.phase is Phase.BACKING_OFF, 10) < 8


def test_a_code_that_nobody_reported_is_fetched_for_who_looks_though_the_line_backs_off() -> None:
    line = open_line()
    line.loss, line.evolution.session, line.evolution.first_code = 1.0, False, 20.0
    line.evolution.state = "close"
    line.feed(events.Closed(428))
    line.watch(120)
    line.run(120)
    assert line.phase is Phase.PAIRING


def test_a_fresh_code_is_observed_a_few_times_and_an_expired_one_before_it_is_pulled() -> None:
    line = pairing_line()
    reset_counters(line)
    line.watch(30)
    line.run(30)
    assert set(line.calls) == {LineAction.OBSERVE}
    assert call_count(line) <= 6
    line.loss = 1.0
    line.run_until(lambda: call_count(line) > 0, 60)
    assert set(line.calls) == {LineAction.OBSERVE}
