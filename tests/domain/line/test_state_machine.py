"""How a line opens, and what people ask of it: the machine against a model of Evolution, in virtual time."""

from collections.abc import Callable

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
from zapline.domain.line.state import StoredLineState
from zapline.domain.line.transitions import LineAction


def test_asking_registers_then_connects_and_a_scan_opens_the_line() -> None:
    line = VirtualLine()
    line.feed(events.ConnectAsked())
    assert phase_and_reason(line) == (Phase.CONNECTING, Reason.CONNECTING)
    line.run(10)
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.WAITING_SCAN)
    assert line.stored.qr_code is not None
    assert (line.calls[LineAction.REGISTER], line.calls[LineAction.CONNECT]) == (1, 1)
    line.evolution.scan()
    line.run(1)
    assert phase_and_reason(line) == (Phase.OPEN, Reason.SCAN_COMPLETED)
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


def test_connect_without_a_code_is_repeated_with_growing_pauses_while_somebody_looks() -> None:
    line = VirtualLine()
    line.evolution.first_code = float("inf")
    line.feed(events.ConnectAsked())
    line.watch(HOUR)
    line.run(HOUR)
    assert line.phase is Phase.CONNECTING
    assert 5 < line.calls[LineAction.CONNECT] <= 25
    assert call_count(line) <= 100


def test_an_answer_without_a_code_is_only_observed_when_nobody_looks() -> None:
    line = VirtualLine()
    line.evolution.first_code = float("inf")
    line.feed(events.ConnectAsked())
    line.run(HOUR)
    assert line.calls[LineAction.CONNECT] <= 6
    line.evolution.session = True
    line.evolution.scan()
    assert line.run_until(lambda: line.phase is Phase.OPEN, 60) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
@pytest.mark.parametrize("loss", [0.0, 1.0], ids=["webhooks", "no-webhooks"])
def test_codes_end_at_the_limit_and_never_begin_anew_by_themselves(watched: bool, loss: float) -> None:
    line = VirtualLine()
    line.loss = loss
    line.feed(events.ConnectAsked())
    if watched:
        line.watch(8 * HOUR)
    line.run(8 * HOUR)
    # Whether nobody scanned is known to nobody; what was shown under somebody's eyes in vain is.
    told = Reason.CODES_NOT_TAKEN if watched else Reason.QR_LIMIT_REACHED
    assert phase_and_reason(line) == (Phase.REFUSED, told)
    assert line.stored.qr_code is None
    assert line.evolution.pairings_started == 1
    assert line.calls[LineAction.CONNECT] <= 31
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING
    assert line.evolution.pairings_started == 2


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
    line = pairing_line()
    line.run(60)
    line.feed(events.QrLimitReached())
    line.feed(events.QrOffered("overtaken"))
    assert line.phase is Phase.REFUSED


def test_a_repeated_code_does_not_live_longer() -> None:
    line = pairing_line()
    code, known_since = line.stored.qr_code, line.stored.qr_updated_at
    assert code is not None
    fresh_until = line.state.qr_fresh_until
    line.run(20)
    line.feed(events.QrOffered(code))
    assert (line.stored.qr_updated_at, line.state.qr_fresh_until) == (known_since, fresh_until)


def test_viewing_a_pairing_whose_end_was_not_reported_does_not_start_another() -> None:
    line = pairing_line()
    line.evolution.reachable = False
    line.run(60)
    line.evolution.reachable, line.evolution.state = True, "close"
    line.feed(events.QrWanted())
    line.run(30)
    assert phase_and_reason(line) == (Phase.REFUSED, Reason.QR_LIMIT_REACHED)
    assert line.evolution.pairings_started == 1


@pytest.mark.parametrize("code", [408, 428, 515])
def test_a_close_during_pairing_does_not_begin_codes_again_for_nobody(code: int) -> None:
    line = pairing_line()
    line.run(75)  # who asked has gone
    line.evolution.state = "close"
    line.feed(events.Closed(code))
    line.run(6 * HOUR)
    assert phase_and_reason(line) == (Phase.REFUSED, Reason.QR_LIMIT_REACHED)
    assert line.evolution.pairings_started == 1


def test_the_restart_after_a_scan_is_no_end_of_the_pairing() -> None:
    line = pairing_line()
    line.feed(events.Closed(515))
    line.run(0.5)
    line.evolution.scan()
    line.run(5)
    assert line.phase is Phase.OPEN


def test_disconnecting_logs_out_and_the_echoes_change_nothing() -> None:
    line = open_line()
    reset_counters(line)
    line.feed(events.DisconnectAsked())
    assert (line.phase, line.dropped) == (Phase.IDLE, 0)
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert (line.stored.wanted, line.stored.logout_pending) == (False, False)
    assert call_count(line) == line.calls[LineAction.LOGOUT] == 1


def test_disconnecting_while_pairing_ends_it_though_codes_come_late() -> None:
    line = pairing_line()
    line.feed(events.DisconnectAsked())
    line.feed(events.QrOffered("late"))
    line.feed(events.ConnectingSeen())
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert not line.stored.wanted
    assert line.evolution.state == "close"


def test_the_answer_of_a_connect_under_way_does_not_undo_a_disconnect() -> None:
    line = VirtualLine()
    line.feed(events.ConnectAsked())
    line.run(0.5)
    assert line.calls[LineAction.CONNECT] == 1
    line.feed(events.DisconnectAsked())
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert line.evolution.state == "close"


def test_a_late_open_after_a_disconnect_is_observed_and_connects_nothing() -> None:
    line = open_line()
    line.feed(events.DisconnectAsked())
    line.run(60)
    line.feed(events.Opened())
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.IDLE, Reason.DISCONNECTED)
    assert line.evolution.pairings_started == 1


def test_a_logout_that_fails_is_repeated_through_a_crash_until_it_is_answered() -> None:
    line = open_line()
    reset_counters(line)
    line.evolution.reachable = False
    line.feed(events.DisconnectAsked())
    line.run(HOUR)
    line.crash()
    line.run(HOUR)
    assert (line.phase, line.stored.logout_pending) == (Phase.IDLE, True)
    assert call_count(line) <= 60
    line.evolution.reachable = True
    line.run(320)
    assert (line.evolution.state, line.stored.logout_pending) == ("close", False)


def test_an_open_line_that_is_to_be_logged_out_stays_idle() -> None:
    line = open_line()
    line.evolution.key_valid = False
    line.feed(events.DisconnectAsked())
    line.run(10)
    line.feed(events.StateObserved("open"))
    line.feed(events.Opened())
    line.run(HOUR)
    assert (line.phase, line.stored.wanted) == (Phase.IDLE, False)


def test_connecting_right_after_disconnecting_is_not_ended_by_the_echo_of_the_logout() -> None:
    line = open_line()
    line.lateness = 8.0
    line.feed(events.DisconnectAsked())
    line.run(1)
    line.feed(events.ConnectAsked())
    line.run(20)
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.WAITING_SCAN)


IN_EVERY_PHASE: dict[str, Callable[[], VirtualLine]] = {
    "idle": VirtualLine,
    "connecting": lambda: _put(Phase.CONNECTING),
    "pairing": pairing_line,
    "backing_off": lambda: _put(Phase.BACKING_OFF),
    "logged_out": lambda: _put(Phase.LOGGED_OUT),
    "refused": lambda: _put(Phase.REFUSED),
}


def _put(phase: Phase) -> VirtualLine:
    line = VirtualLine(stored=StoredLineState(phase=phase, reason=Reason.DISCONNECTED, wanted=True))
    line.evolution.state = "close"
    return line


@pytest.mark.parametrize("phase", IN_EVERY_PHASE)
def test_asking_to_connect_leads_to_a_code_from_every_phase(phase: str) -> None:
    line = IN_EVERY_PHASE[phase]()
    line.feed(events.ConnectAsked())
    line.feed(events.ConnectAsked())
    assert line.stored.wanted
    line.run(15)
    assert line.phase is Phase.PAIRING


def test_asking_to_connect_an_open_line_verifies_it() -> None:
    line = open_line()
    reset_counters(line)
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.OPEN
    assert set(line.calls) == {LineAction.REGISTER, LineAction.OBSERVE}


def test_a_line_that_others_pair_is_shown_but_never_connected_by_us() -> None:
    line = VirtualLine()
    line.evolution.state = "close"
    line.evolution.connect()
    line.watch(HOUR)
    line.run(600)
    assert line.phase is Phase.PAIRING
    line.run(HOUR)
    assert (line.stored.wanted, line.evolution.pairings_started) == (False, 1)
    assert set(line.calls) <= {LineAction.OBSERVE}


@pytest.mark.parametrize("code", [428, 440])
def test_a_close_of_an_unwanted_line_is_only_reported(code: int) -> None:
    line = VirtualLine()
    line.feed(events.Closed(code))
    line.run(HOUR)
    assert line.phase is Phase.IDLE
    assert call_count(line) == 0


def test_a_storm_on_an_unwanted_line_ends_idle() -> None:
    line = VirtualLine()
    line.evolution.reachable = False
    for number in range(4 * 600):
        line.after(number / 4, lambda: line.feed(events.ConnectingSeen()))
    line.run(HOUR)
    assert line.phase is Phase.IDLE
    assert line.rows <= 3
    assert call_count(line) <= 40
