"""Where a message is: one verdict for each state of its rows, and its steps in the order of their times."""

from dataclasses import replace
from typing import Any

import pytest

from zapline.domain.journeys.journey import (
    Call,
    Finding,
    LineNow,
    StepKind,
    Told,
    Trace,
    Verdict,
    Work,
    judge,
    steps_of,
)
from zapline.domain.journeys.journey_texts import EXPLANATIONS, STEP_TEXTS, finding_reason, step_reason, step_sentence
from zapline.domain.line.history import LineChange
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.outbox.work_states import Lane, WorkState

NOW = 1_000_000.0
OPEN = LineNow(open=True, reason="scan_completed")
WORK = Work(
    *(WorkState.QUEUED, Lane.REPLY, NOW - 60, 0, 0, 0, None, None),
    *(None, None, None, False, None),
)
OURS = Trace(
    from_me=True,
    written_at=NOW - 60,
    received_at=NOW - 60,
    stored_at=NOW - 60,
    backfilled=False,
    origin="sent",
    delivery="queued",
    refusal=None,
    refused_at=None,
    edited_at=None,
    deleted_at=None,
    work=WORK,
)
THEIRS = replace(OURS, from_me=False, origin="live", delivery=None, work=None)
SETTLED: dict[str, Any] = {"state": WorkState.SETTLED, "settled_at": NOW - 50}
CASES: list[tuple[Verdict, dict[str, Any], dict[str, Any], LineNow]] = [
    (Verdict.SENT, SETTLED, {"delivery": "sent"}, OPEN),
    (Verdict.DELIVERED, SETTLED, {"delivery": "delivered"}, OPEN),
    (Verdict.READ, SETTLED, {"delivery": "played"}, OPEN),
    (Verdict.UNCONFIRMED, SETTLED | {"stalled_at": NOW - 1}, {"delivery": "sent"}, OPEN),
    (Verdict.RESENT, SETTLED | {"resends": 1}, {"delivery": "read"}, OPEN),
    (Verdict.TWICE, SETTLED | {"resends": 1, "twice": True}, {"delivery": "read"}, OPEN),
    (Verdict.REFUSED, SETTLED, {"delivery": "failed"}, OPEN),
    (Verdict.UNCERTAIN, {"state": WorkState.UNCERTAIN, "failure": "no_answer"}, {}, OPEN),
    (Verdict.SEARCHING, {"state": WorkState.UNCERTAIN, "failure": "no_answer", "look_at": NOW + 9}, {}, OPEN),
    (Verdict.SENDING, {"state": WorkState.LEASED}, {}, OPEN),
    (Verdict.NOT_SENT, {"state": WorkState.DEAD, "failure": "too_large"}, {}, OPEN),
    (Verdict.EXPIRED, {"state": WorkState.EXPIRED, "failure": "expired"}, {}, OPEN),
    (Verdict.CANCELLED, {"state": WorkState.CANCELLED, "failure": "cancelled"}, {}, OPEN),
    (Verdict.GIVEN_UP, {"state": WorkState.CANCELLED, "failure": "given_up"}, {}, OPEN),
    (Verdict.PAUSED, {}, {}, replace(OPEN, paused=True)),
    (Verdict.WAITING_FOR_LINE, {}, {}, LineNow(open=False, reason="logged_out")),
    (Verdict.WAITING_FOR_PACE, {}, {}, replace(OPEN, waits=True, pace="rate", pace_until=NOW + 3)),
    (Verdict.WAITING_FOR_PACE, {"lane": Lane.CAMPAIGN}, {}, replace(OPEN, waits=True, pace="quiet_hours")),
    (Verdict.WAITING_FOR_TURN, {}, {}, replace(OPEN, waits=True, pace="quiet_hours")),
    (Verdict.WAITING_FOR_CAMPAIGN, {"lane": Lane.CAMPAIGN, "campaign_state": "paused"}, {}, OPEN),
    (
        Verdict.HELD,
        {"lane": Lane.CAMPAIGN, "campaign_state": "running"},
        {},
        replace(OPEN, held="whatsapp_refused_463"),
    ),
    (Verdict.PLANNED, {"due_at": NOW + 60}, {}, OPEN),
    (Verdict.WAITING_FOR_RETRY, {"due_at": NOW + 60, "tries": 1, "failure": "server_error"}, {}, OPEN),
    (Verdict.WAITING_FOR_TURN, {}, {}, OPEN),
]
ARRIVED: list[tuple[Verdict, dict[str, Any]]] = [
    (Verdict.STORED, {}),
    (Verdict.STORED_LATE, {"backfilled": True}),
    (Verdict.STORED_SLOWLY, {"stored_at": NOW + 100}),
    (Verdict.FROM_HISTORY, {"origin": "history"}),
    (Verdict.SENT_ELSEWHERE, {"from_me": True, "delivery": "sent"}),
]


def test_every_state_of_the_rows_has_its_verdict_and_every_verdict_its_words() -> None:
    reached = {verdict for verdict, *_ in CASES} | {verdict for verdict, _ in ARRIVED}
    assert reached == set(Verdict) == set(EXPLANATIONS)
    for verdict, work, trace, line in CASES:
        finding = judge(replace(OURS, **trace, work=replace(WORK, **work)), line, NOW)
        assert finding.verdict is verdict, (work, trace, line)
        assert finding.reason is None or "by its code alone" not in (finding_reason(finding) or ""), finding
    for verdict, trace in ARRIVED:
        assert judge(replace(THEIRS, **trace), OPEN, NOW) == Finding(verdict)


def told(trace: Trace) -> list[tuple[StepKind, float, float | None, str | None]]:
    return [(step.kind, step.at - NOW, step.until and step.until - NOW, step.reason) for step in steps_of(trace, NOW)]


def test_the_steps_of_a_message_that_waited_was_uncertain_and_arrived_twice() -> None:
    line = [
        LineChange(1, NOW - 900, Phase.OPEN, Reason.SCAN_COMPLETED),
        LineChange(2, NOW - 500, Phase.LOGGED_OUT, Reason.LOGGED_OUT),
        LineChange(3, NOW - 300, Phase.PAIRING, Reason.WAITING_SCAN),
        LineChange(4, NOW - 290, Phase.OPEN, Reason.SCAN_COMPLETED),
    ]
    calls = [
        Call(NOW - 280, NOW - 270, "sent", "no_answer", "echo", True),
        Call(NOW - 200, NOW - 199, "sent", None, "reply", False),
    ]
    hooks = [Told("message.delivery", "delivered", NOW - 199, NOW - 198, 2, 200, None)]
    work = replace(WORK, **SETTLED, resends=1, twice=True)
    trace = replace(
        OURS,
        received_at=NOW - 400,
        work=work,
        calls=calls,
        hooks=hooks,
        line=line,
        told={DeliveryStatus.READ: NOW - 20, DeliveryStatus.SENT: NOW - 198.5},
    )
    assert told(trace) == [
        (StepKind.ACCEPTED, -400, None, None),
        (StepKind.WAITED_FOR_LINE, -400, -300, "logged_out"),
        (StepKind.WAITED_FOR_LINE, -300, -290, "waiting_scan"),
        (StepKind.CALLED, -280, None, None),
        (StepKind.ANSWER_UNCERTAIN, -270, None, "no_answer"),
        (StepKind.PROVEN_ECHO, -270, None, None),
        (StepKind.SECOND, -270, None, None),
        (StepKind.CALLED, -200, None, None),
        (StepKind.ANSWER_SENT, -199, None, None),
        (StepKind.HOOK_DELIVERED, -199, -198, None),
        (StepKind.TOLD_SENT, -198.5, None, None),
        (StepKind.TOLD_READ, -20, None, None),
    ]
    for step in steps_of(trace, NOW):
        assert "{" not in step_sentence(step)
        assert step.kind is not StepKind.ANSWER_UNCERTAIN or "may have been delivered" in (step_reason(step) or "")


@pytest.mark.parametrize("state", list(WorkState))
def test_what_still_waits_for_the_line_has_no_end_and_what_is_over_has(state: WorkState) -> None:
    line = [LineChange(1, NOW - 900, Phase.LOGGED_OUT, Reason.LOGGED_OUT)]
    over = state in (WorkState.EXPIRED, WorkState.CANCELLED, WorkState.DEAD)
    work = replace(WORK, state=state, ended_at=NOW - 10 if over else None)
    waits = [step for step in steps_of(replace(OURS, work=work, line=line), NOW) if step.reason == "logged_out"]
    assert [step.until for step in waits] == [NOW - 10 if over else None]


def test_the_steps_of_what_came_late() -> None:
    trace = replace(THEIRS, written_at=NOW - 900, backfilled=True, stored_at=NOW - 60.5, deleted_at=NOW)
    assert [step.kind.value for step in steps_of(trace, NOW)] == ["written", "read_back", "stored", "deleted"]
    assert set(STEP_TEXTS) == set(StepKind)
