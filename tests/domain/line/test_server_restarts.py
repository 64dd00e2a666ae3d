"""A restart of the server is no disconnection; ``open`` on an open line is news; who returns is asked at once."""

import pytest
from support.virtual_line import VirtualLine, open_line, phase_and_reason, reset_counters

from zapline.domain.line import events
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state_machine import Step, step
from zapline.domain.line.transitions import LineAction
from zapline.domain.timestamps import Moment


def feed(line: VirtualLine, event: events.ConnectionEvent) -> Step:
    """The step that the event makes, which is then applied."""
    result = step(line.state, event, Moment(1_800_000_000.0 + line.now, line.now), 0.5)
    line.feed(event)
    return result


@pytest.mark.parametrize("seen", [("connecting", "open"), ("open", "connecting"), ("connecting",), ("open",), ()])
@pytest.mark.parametrize("away", [0.2, 3.0, 30.0])
def test_a_restart_counts_no_disconnection_whatever_is_lost(seen: tuple[str, ...], away: float) -> None:
    line = open_line()
    reset_counters(line)
    line.loss = 1.0
    line.evolution.reachable = False
    line.run(away)
    line.evolution.reachable, line.evolution.open_after = True, 0.8
    line.evolution.restart()
    for word in seen:
        line.feed(events.Opened() if word == "open" else events.ConnectingSeen())
        line.run(0.3)
    line.feed(events.ServerReturned())
    line.run(120)
    assert (phase_and_reason(line), line.dropped) == ((Phase.OPEN, Reason.SCAN_COMPLETED), 0)
    assert line.rows == 0, "nothing was ever shown as lost"


@pytest.mark.parametrize("state", ["close", "connecting", "missing"])
def test_a_line_that_is_really_lost_is_so_after_a_few_seconds(state: str) -> None:
    line = open_line()
    line.loss, line.evolution.state, line.evolution.session = 1.0, state, False
    line.feed(events.ConnectingSeen())
    assert line.run_until(lambda: line.phase is not Phase.OPEN, 30) < 15
    assert line.dropped == 1


def test_an_open_on_an_open_line_clears_the_doubt_and_is_news() -> None:
    line = open_line()
    line.evolution.reachable = False
    line.feed(events.ConnectingSeen())
    assert line.state.doubted_until is not None
    news = feed(line, events.Opened())
    assert news.opened
    assert line.state.doubted_until is None
    line.evolution.reachable = True
    line.run(70)
    assert line.phase is Phase.OPEN


def test_an_observation_that_only_confirms_is_no_news() -> None:
    line = open_line()
    quiet = feed(line, events.StateObserved("open"))
    assert not quiet.opened


def test_an_observation_after_a_failed_send_does_not_end_the_sender_s_rest() -> None:
    """Evolution may call a line open whose socket is dead: only the sender's own probe finds out."""
    line = open_line()
    line.feed(events.CallFailed("send", "not_connected"))
    assert not feed(line, events.StateObserved("open")).opened


@pytest.mark.parametrize("before", [events.StateObserved("connecting"), events.ServerReturned()])
def test_an_observation_that_ends_an_absence_says_so(before: events.ConnectionEvent) -> None:
    line = open_line()
    line.feed(before)
    ended = feed(line, events.StateObserved("open"))
    assert (line.phase, ended.opened) == (Phase.OPEN, True)


def test_a_server_that_returns_is_asked_at_once_however_long_it_was_away() -> None:
    line = open_line()
    line.evolution.reachable = False
    line.run(7200)
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.EVOLUTION_UNAVAILABLE)
    assert line.dropped == 0, "the server was away, no line was lost"
    line.evolution.reachable, line.loss = True, 1.0
    line.feed(events.ServerReturned())
    assert line.run_until(lambda: line.phase is Phase.OPEN, 10) < 2


def test_a_server_without_a_licence_is_told_apart() -> None:
    line = VirtualLine()
    line.feed(events.ConnectAsked())
    line.feed(events.CallFailed("register", "not_licensed"))
    assert phase_and_reason(line) == (Phase.BACKING_OFF, Reason.EVOLUTION_UNLICENSED)
    line.feed(events.Registered())
    assert line.stored.reason is Reason.DISCONNECTED


def test_the_webhook_of_an_open_line_is_read_back_within_two_minutes() -> None:
    line = open_line()
    line.state = line.state.__class__(stored=line.stored)  # the daemon's own interval
    line.feed(events.Started())
    line.run(150)
    reset_counters(line)
    for _ in range(20):
        line.run(120)
        assert line.calls[LineAction.CHECK] >= 1
        assert line.calls[LineAction.CHECK] <= 2
        reset_counters(line)
