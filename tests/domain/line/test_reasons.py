"""Every reason of a line has an explanation in plain words with the next step."""

import re

import pytest

from zapline.domain.line.reasons import EXPLANATIONS, STATUS_OF_PHASE, Phase, Reason
from zapline.domain.line.transitions import TRANSITIONS

JARGON = re.compile(
    r"\b(socket|payload|websocket|null|none|retry|backoff|handshake|exception|timeout|boom|baileys|http|rest|endpoint|"
    r"actor|mailbox|daemon|phase|e\.g|i\.e|please)\b",
    re.IGNORECASE,
)
STEPS = re.compile(
    r"^(Ask|Scan|Check|Find|Open|Take|Wait|On the unit's phone open|If a person|Nothing to do)\b", re.IGNORECASE
)


def test_every_reason_and_every_phase_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)
    assert set(STATUS_OF_PHASE) == set(Phase)
    assert set(STATUS_OF_PHASE.values()) == {"connected", "connecting", "disconnected"}


def test_only_an_open_line_is_called_connected() -> None:
    assert [phase for phase in Phase if STATUS_OF_PHASE[phase] == "connected"] == [Phase.OPEN]


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_is_one_short_plain_sentence_and_a_next_step(reason: Reason) -> None:
    explanation = EXPLANATIONS[reason]
    assert re.fullmatch(r"[A-Z][^.!?]*\.", explanation.sentence), "one sentence"
    assert len(explanation.sentence) <= 90
    assert explanation.advice.endswith(".")
    assert len(explanation.advice) <= 160
    assert STEPS.match(explanation.advice), "begins with what to do"
    for text in (explanation.sentence, explanation.advice):
        assert not JARGON.search(text)
        assert text.isascii()
        assert max(len(part.split()) for part in re.split(r"[.;:]", text)) <= 22


def test_no_two_reasons_say_the_same() -> None:
    assert len({explanation.sentence for explanation in EXPLANATIONS.values()}) == len(Reason)


@pytest.mark.parametrize("reason", [Reason.LOGGED_OUT, Reason.QR_LIMIT_REACHED, Reason.INSTANCE_REMOVED])
def test_where_a_person_must_link_the_phone_again_the_advice_says_so(reason: Reason) -> None:
    advice = EXPLANATIONS[reason].advice.lower()
    assert "ask to connect" in advice
    assert "scan" in advice


def test_every_reason_but_the_first_is_reached_by_a_move() -> None:
    reached = {move.reason for moves in TRANSITIONS.values() for move in moves.values()}
    assert set(Reason) - reached == {Reason.NEVER_CONNECTED}


@pytest.mark.parametrize("phase", list(Phase))
def test_connecting_and_waiting_are_shown_only_in_phases_where_they_are_true(phase: Phase) -> None:
    led = {move.reason for moves in TRANSITIONS.values() for move in moves.values() if move.to is phase}
    assert (Reason.WAITING_SCAN in led) == (phase is Phase.PAIRING)
    assert (Reason.SCAN_COMPLETED in led) == (phase is Phase.OPEN)
    assert (Reason.CONNECTING in led) == (phase is Phase.CONNECTING)
