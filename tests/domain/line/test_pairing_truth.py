"""What is said of a pairing is true: who scanned is known only by signs, and each way out is tried or told."""

from dataclasses import replace

import pytest
from support.virtual_line import HOUR, VirtualLine, open_line, pairing_line, phase_and_reason

from zapline.domain.line import events
from zapline.domain.line.reasons import EXPLANATIONS, Phase, Reason
from zapline.domain.line.transitions import LineAction

NUMBER = "5511977770500"


def next_code(line: VirtualLine, after: float = 45.0) -> None:
    """Wait for the next code's time, and have it come by webhook; the model offers none of its own."""
    line.evolution.fall_silent()
    line.run(after)
    line.feed(events.QrOffered(f"later-{line.now}"))


@pytest.mark.parametrize("reason", list(Reason))
def test_nothing_claims_that_nobody_scanned(reason: Reason) -> None:
    explanation = EXPLANATIONS[reason]
    assert "nobody" not in f"{explanation.sentence} {explanation.advice}".lower()


def test_codes_that_run_out_under_somebody_s_eyes_are_told_while_they_are_shown_and_afterwards() -> None:
    line = pairing_line()
    line.watch(HOUR)
    line.run(50)
    assert line.stored.reason is Reason.WAITING_SCAN
    line.run(100)
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.CODES_NOT_TAKEN)
    line.run(2 * HOUR)
    assert phase_and_reason(line) == (Phase.REFUSED, Reason.CODES_NOT_TAKEN)
    assert "passkey" in EXPLANATIONS[line.stored.reason].advice
    line.feed(events.ConnectAsked())
    line.run(10)
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.WAITING_SCAN)


def test_a_reconnect_in_the_middle_of_a_code_s_life_is_a_sign_of_a_scan() -> None:
    line = pairing_line()
    line.run(20)
    line.feed(events.ConnectingSeen())
    assert line.stored.reason is Reason.WAITING_SCAN, "it may end well"
    next_code(line, 3)
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.LINK_NOT_COMPLETED)
    line.feed(events.QrLimitReached())
    line.run(60)
    assert line.stored.reason is Reason.LINK_NOT_COMPLETED


def test_a_scan_that_ends_well_leaves_no_trace() -> None:
    line = pairing_line()
    line.run(20)
    line.feed(events.ConnectingSeen())
    line.evolution.scan()
    line.run(1)
    assert phase_and_reason(line) == (Phase.OPEN, Reason.SCAN_COMPLETED)


def test_a_storm_while_a_code_is_shown_is_no_sign_of_a_scan() -> None:
    line = pairing_line()
    line.run(10)
    for _ in range(40):
        line.feed(events.ConnectingSeen())
        line.run(0.5)
    next_code(line, 5)
    assert line.stored.reason is Reason.WAITING_SCAN


@pytest.mark.parametrize("around", [-0.4, 0.4])
def test_the_connecting_beside_each_code_is_no_sign_of_a_scan(around: float) -> None:
    line = pairing_line()
    line.evolution.fall_silent()
    line.feed(events.QrOffered("first"))
    line.run(45)
    if around < 0:
        line.feed(events.ConnectingSeen())
    line.feed(events.QrOffered("second"))
    if around > 0:
        line.run(around)
        line.feed(events.ConnectingSeen())
    next_code(line, 45 - around)
    assert line.stored.reason is not Reason.LINK_NOT_COMPLETED


def test_a_passkey_that_evolution_names_is_told_until_the_line_opens_or_is_asked_for_anew() -> None:
    line = pairing_line()
    line.feed(events.PasskeyAsked())
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.PASSKEY_ASKED)
    next_code(line)
    line.feed(events.QrLimitReached())
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.REFUSED, Reason.PASSKEY_ASKED)


def test_a_scan_without_the_reconnect_that_ends_it_is_finished_by_another_connect() -> None:
    """2.4 after a logout: 515, and nothing follows and nothing is told."""
    line = pairing_line()
    connects = line.calls[LineAction.CONNECT]
    line.watch(60)
    line.run(10)
    line.evolution.session, line.evolution.state = True, "close"
    assert line.run_until(lambda: line.phase is Phase.OPEN, 30) < 25
    assert line.calls[LineAction.CONNECT] == connects + 1


def test_codes_that_begin_anew_after_such_a_scan_say_so_and_it_is_tried_once() -> None:
    line = pairing_line()
    line.watch(HOUR)
    line.run(10)
    for _ in range(3):
        line.evolution.state = "close"
        line.run(30)
    assert line.evolution.pairings_started == 2
    assert phase_and_reason(line) == (Phase.REFUSED, Reason.LINK_NOT_COMPLETED)


def test_the_end_of_the_codes_that_is_told_like_a_logout_is_no_logout() -> None:
    """2.4: 408 is final, with status.instance, logout.instance and close, in any order."""
    told = [events.Closed(408, final=True), events.LoggedOutSeen(), events.Closed(408)]
    for first in range(3):
        line = pairing_line()
        line.run(75)
        line.evolution.state = "close"
        for event in (*told[first:], *told[:first]):
            line.feed(event)
        line.run(HOUR)
        assert phase_and_reason(line) == (Phase.REFUSED, Reason.QR_LIMIT_REACHED)


def test_a_final_close_of_an_open_line_ends_its_session_whatever_the_code() -> None:
    line = open_line()
    line.evolution.session, line.evolution.state = False, "close"
    line.feed(events.Closed(408, final=True))
    line.run(HOUR)
    assert phase_and_reason(line) == (Phase.LOGGED_OUT, Reason.LOGGED_OUT)
    assert line.evolution.pairings_started == 1


# -- a pairing code while a QR code is shown ---------------------------------------------------------------------


def test_a_pairing_code_asked_while_a_qr_code_is_shown_closes_the_pairing_and_begins_another() -> None:
    line = pairing_line()
    line.feed(events.ConnectAsked(NUMBER))
    assert phase_and_reason(line) == (Phase.CONNECTING, Reason.CONNECTING)
    line.run(30)
    assert line.stored.pairing_code == "ABCD1234"
    assert (line.calls[LineAction.RENEW_PAIRING], line.evolution.pairings_started) == (1, 2)


def test_the_same_number_asked_again_keeps_the_code_that_is_shown() -> None:
    line = pairing_line()
    line.feed(events.ConnectAsked(NUMBER))
    line.run(10)
    line.feed(events.ConnectAsked(NUMBER))
    line.run(5)
    assert line.stored.pairing_code == "ABCD1234"
    assert line.calls[LineAction.RENEW_PAIRING] == 1
    line.feed(events.ConnectAsked("5511977770501"))
    line.run(5)
    assert line.calls[LineAction.RENEW_PAIRING] == 2


def test_evolution_that_was_pairing_unknown_to_us_and_ignores_the_number_is_asked_anew_once() -> None:
    line = VirtualLine()
    line.loss = 1.0
    line.evolution.state = "close"
    line.evolution.connect()  # by somebody else, without a number
    line.run(5)
    line.feed(events.ConnectAsked(NUMBER))
    line.run(20)
    assert line.calls[LineAction.RENEW_PAIRING] == 1
    assert (line.phase, line.stored.pairing_code) == (Phase.PAIRING, "ABCD1234")


def test_evolution_that_gives_no_pairing_code_at_all_is_told_so() -> None:
    line = VirtualLine()
    line.evolution.knows_numbers = False
    line.feed(events.ConnectAsked(NUMBER))
    line.run(HOUR / 6)
    assert line.calls[LineAction.RENEW_PAIRING] == 1
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.NO_PAIRING_CODE)
    line.feed(events.QrOffered("late", "ABCD1234"))
    assert (line.stored.reason, line.stored.pairing_code) == (Reason.WAITING_SCAN, "ABCD1234")


# -- a line that never opens -------------------------------------------------------------------------------------


def test_a_line_that_only_closes_again_is_called_stuck_and_renewed_by_a_person_alone() -> None:
    line = open_line()
    line.evolution.connect_fails, line.evolution.state = True, "close"
    line.feed(events.Closed(428))
    line.run(240)
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.SESSION_STUCK)
    assert line.calls[LineAction.RECREATE] == 0
    line.evolution.connect_fails = False
    line.feed(events.RenewAsked())
    line.run(10)
    assert line.calls[LineAction.RECREATE] == 1
    assert phase_and_reason(line) == (Phase.PAIRING, Reason.WAITING_SCAN)
    line.evolution.scan()
    line.run(30)
    assert phase_and_reason(line) == (Phase.OPEN, Reason.SCAN_COMPLETED)


def test_a_renewal_that_a_crash_interrupts_ends_in_a_pairing() -> None:
    line = open_line()
    line.feed(events.RenewAsked())
    line.crash()
    line.run(30)
    assert line.phase in (Phase.OPEN, Phase.PAIRING)


def test_the_progress_of_a_pairing_is_forgotten_with_it() -> None:
    line = pairing_line()
    line.watch(200)
    line.run(150)
    assert line.state.pairing.watched_codes > 0
    line.evolution.scan()
    line.run(1)
    assert line.state.pairing == replace(line.state.pairing, watched_codes=0, shown_at=float("-inf"))
