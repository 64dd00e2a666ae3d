"""Whatever a check of health finds, its text says what to do; what was answered 200 and is not safe is never a pass."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import StoredLineState
from zapline.sql.notifications.crm_webhooks import HookTotals
from zapline.supervisors.counters import Counters
from zapline.supervisors.health.check_result import HealthCheck, Verdict
from zapline.supervisors.health.durability_checks import DurabilityReport, check_durability
from zapline.supervisors.health.inbound_checks import inbound_rates
from zapline.supervisors.health.line_checks import SLOW_AFTER, check_lines, check_tally, tally_lines
from zapline.supervisors.health.notification_checks import NotificationReport, check_notifications
from zapline.supervisors.health.outbound_checks import NO_OUTBOUND, OutboundReport, check_outbound
from zapline.supervisors.health.process_checks import ProcessReport, check_process
from zapline.supervisors.inbound.pending_writes import LaneState, RecorderStatistics
from zapline.supervisors.leadership import LeadershipStatus
from zapline.supervisors.outbound.outbox_monitor import OutboxTotals

ACTION = re.compile(
    r"\b(start|stop|mend|free|set|run|look|see|wait|keep|restart|replay\w*|write to|release|decides|enable)\b"
)
"""What a person is told to do."""


def process(**facts: Any) -> list[HealthCheck]:
    states = facts.pop("states", (LaneState.IDLE, LaneState.WORKING))
    sound: dict[str, Any] = {
        "standing": LeadershipStatus.LEADING,
        "answers": True,
        "recorder": RecorderStatistics(0, states, "disk full" if LaneState.STOPPED in states else None, 0, 0.0),
        **dict.fromkeys(("journal_age", "lost", "quarantined", "paused", "stuck", "loop_lag", "skew"), 0),
        "lost_recently": False,
        "clocks_agree": True,
    }
    return check_process(ProcessReport(**sound | facts))


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("standing", LeadershipStatus)
def test_a_database_that_is_not_led_or_does_not_answer_is_no_pass(standing: LeadershipStatus, answered: bool) -> None:
    check = process(standing=standing, answers=answered)[0]
    sound = standing is LeadershipStatus.LEADING and answered
    assert (check.verdict is Verdict.PASS) == sound
    assert sound or (ACTION.search(check.explanation) and check.detail != LeadershipStatus.LEADING.value)


def test_whatever_a_check_finds_its_text_says_what_to_do() -> None:
    counters = Counters(lambda: 0.0)
    for name, amount in (("webhooks", 1000), ("webhook_errors", 900), ("messages_seen", 1000), ("duplicates", 900)):
        counters.add(name, amount=amount)
    for name in ("unknown_instances", "unexpected_disconnects", "sent_twice", "messages_refused"):
        counters.add(name)
    for name in ("repairs_unexplained", "registrations_restored"):
        counters.add(name)
    totals = OutboxTotals({("waits_for_person", "reply"): 1, ("stalled", "reply"): 1}, 10**6)
    found = [
        *inbound_rates(counters),
        *check_durability(DurabilityReport("the disk is full", 3, 1.0, 4, 5)),
        *check_lines([], counters),
        *check_outbound(OutboundReport(totals, 1, 1, 1, 1, sends_held=True), counters),
        *check_notifications(NotificationReport(HookTotals(oldest=1.0, dead=1, disabled=1), at=10**6)),
        *process(
            states=(LaneState.STOPPED, LaneState.RETRYING),
            standing=LeadershipStatus.UNREACHABLE,
            skew=86_400.0,
            clocks_agree=False,
            **dict.fromkeys(("journal_age", "lost", "quarantined", "stuck", "loop_lag"), 10**6),
        ),
    ]
    told = {check.name: check for check in found}
    assert len(told) == len(found)
    passing = {name for name, check in told.items() if check.verdict is Verdict.PASS}
    assert passing <= {"pausedUnits", "linesWithoutServer"}, passing
    assert {name: check.text for name, check in told.items() if not ACTION.search(check.explanation)} == {
        "pausedUnits": "a person has paused their sending"
    }


def test_a_loss_fails_for_an_hour_and_warns_until_the_next_start() -> None:
    verdicts = [
        check.verdict
        for ago in (None, 0.0, 3599.0, 3601.0, 10**6)
        for check in check_durability(DurabilityReport(lost_ago=ago))
        if check.name == "journalLosses"
    ]
    assert verdicts == [Verdict.PASS, Verdict.FAIL, Verdict.FAIL, Verdict.WARN, Verdict.WARN]


def test_a_lost_webhook_fails_for_a_while_and_warns_until_the_next_start() -> None:
    for lost, recently, verdict in ((0, False, Verdict.PASS), (2, True, Verdict.FAIL), (2, False, Verdict.WARN)):
        (check,) = [each for each in process(lost=lost, lost_recently=recently) if each.name == "lostWebhooks"]
        assert (check.value, check.verdict) == (lost, verdict)


def test_nothing_to_tell_is_a_pass() -> None:
    found = [*process(), *check_durability(DurabilityReport()), *check_outbound(NO_OUTBOUND, Counters(lambda: 0.0))]
    assert {check.verdict for check in found} == {Verdict.PASS}


NOW = 1_795_364_451.0


def lines(*states: tuple[Phase, Reason, float | None]) -> Any:
    """Units whose lines are in these phases, for these reasons, since so many seconds."""
    stored = [
        StoredLineState(phase, reason, disconnected_at=None if since is None else NOW - since)
        for phase, reason, since in states
    ]
    return [SimpleNamespace(shown=each) for each in stored]


def test_lines_decide_the_verdict() -> None:
    connected = [(Phase.OPEN, Reason.SCAN_COMPLETED, None)] * 35
    out = [
        (Phase.LOGGED_OUT, Reason.LOGGED_OUT, 5.0),
        (Phase.LOGGED_OUT, Reason.BANNED, 5.0),
        (Phase.REFUSED, Reason.QR_LIMIT_REACHED, 5.0),
    ]
    slow = [
        (Phase.CONNECTING, Reason.CONNECTING, SLOW_AFTER + 1),
        (Phase.BACKING_OFF, Reason.DISCONNECTED, SLOW_AFTER + 1),
    ]
    quick = [(phase, reason, 10.0) for phase, reason, _ in slow]
    off = [(Phase.IDLE, Reason.NEVER_CONNECTED, None), (Phase.IDLE, Reason.DISCONNECTED, 10**6)]
    for states, verdict, value in (
        (connected + off, Verdict.PASS, 0),
        (connected + quick, Verdict.PASS, 0),
        (connected + slow, Verdict.WARN, 2),
        (connected + out, Verdict.FAIL, 3),
        (connected + out + slow, Verdict.FAIL, 5),
        *(([each], Verdict.FAIL, 1) for each in out),
        *(([each], Verdict.WARN, 1) for each in slow),
    ):
        check = check_tally(tally_lines(lines(*states), NOW))
        assert (check.verdict, check.value) == (verdict, value), states
    told = check_tally(tally_lines(lines(*connected, *out, *slow), NOW)).explanation
    assert told.startswith("3 out, 2 reconnecting, 35 connected; ")
    assert ACTION.search(told)
    assert check_tally(tally_lines([SimpleNamespace(shown=None)], NOW)).verdict is Verdict.PASS  # type: ignore[list-item]
