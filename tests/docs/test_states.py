"""docs/states.md is what the tables say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.transitions import SIGNALS_OF_SOME_PHASES, TRANSITIONS, LineAction, LineSignal
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.outbox.work_states import WORK_TRANSITIONS, WorkState
from zapline.domain.states_document import states_page

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_is_printed_from_the_tables_as_they_are_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == states_page(), "print it anew: make docs"


def test_the_command_prints_the_page() -> None:
    command = [sys.executable, "-m", "zapline.domain.states_document"]
    printed = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert printed.stdout.decode() == states_page()
    assert printed.stderr == b""


@pytest.mark.parametrize("phase", list(Phase))
def test_every_move_of_a_phase_stands_in_its_section(phase: Phase) -> None:
    title = phase.replace("_", " ").capitalize()
    section = states_page().split(f"\n## {title}\n")[1].split("\n## ")[0]
    for word in ("**In:**", "**Out:**", "**Crash:**"):
        assert word in section
    silent = section.split("Changes nothing: ")[1].rstrip(".\n").split(", ")
    rows = re.findall(r"^\| ([^|]+?) \| ", section, re.MULTILINE)[2:]
    assert sorted([*silent, *rows]) == sorted(signal.value for signal in TRANSITIONS[phase])


def test_the_chart_draws_every_way_from_phase_to_phase_and_no_other() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+): ", states_page(), re.MULTILINE))
    moves = {(phase, move.to) for phase in Phase for move in TRANSITIONS[phase].values() if move.to is not phase}
    assert drawn == moves


def test_every_word_of_the_tables_is_explained() -> None:
    page = states_page()
    for action in LineAction:
        assert f"\n| {action.value} | " in page.split("## What a move asks for")[1]
    for signal, phases in SIGNALS_OF_SOME_PHASES.items():
        assert phases != frozenset(Phase)
        assert f"\n| {signal.value} | " in page.split("## Signals of some phases only")[1]
    for reason in Reason:
        assert f"\n| `{reason}` | " in page.split("## Reasons")[1]
    for delivery in DeliveryStatus:
        assert f"\n| **{delivery.label}** | " in page.split("## Delivery")[1]


def test_the_words_of_signals_can_be_listed() -> None:
    assert all("," not in signal and "|" not in signal for signal in LineSignal)


def test_every_work_state_and_every_move_of_a_message_is_told() -> None:
    section = states_page().split("\n## Work on an outgoing message\n")[1].split("\n## ")[0]
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", section, re.MULTILINE))
    assert drawn == {(work, to) for work in WorkState for to in WORK_TRANSITIONS[work]}
    for work in WorkState:
        assert f"\n### {work.capitalize()}\n" in section
