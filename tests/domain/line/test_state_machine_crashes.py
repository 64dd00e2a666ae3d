"""What is stored alone must lead to the same end after a crash."""

from collections.abc import Callable

import pytest
from support.virtual_line import VirtualLine, open_line, pairing_line, phase_and_reason

from zapline.domain.line import events
from zapline.domain.line.reasons import Phase


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
    line.evolution.end_session(401)
    line.run(1)


def _delete(line: VirtualLine) -> None:
    line.evolution.delete()
    line.run(1)


CRASHES: dict[str, tuple[Callable[[], VirtualLine], Callable[[VirtualLine], None], float]] = {
    "registering": (VirtualLine, _ask, 0.01),
    "connecting": (VirtualLine, _ask, 1.0),
    "showing a code": (VirtualLine, _ask, 10.0),
    "logging out": (open_line, _stop, 0.01),
    "logging out of a pairing": (pairing_line, _stop, 0.01),
    "waiting to reconnect": (open_line, _close, 1.0),
    "reconnecting": (open_line, _close, 4.0),
    "in doubt": (open_line, _doubt, 0.01),
    "ended": (open_line, _end, 0.1),
    "removed": (open_line, _delete, 0.1),
}


@pytest.mark.parametrize("moment", CRASHES)
def test_the_stored_state_alone_leads_to_the_same_end_after_a_crash(moment: str) -> None:
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
        ends.append((*phase_and_reason(line), line.stored.wanted, line.stored.logout_pending, line.evolution.state))
    assert ends[0] == ends[1]
