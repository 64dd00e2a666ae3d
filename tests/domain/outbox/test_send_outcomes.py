from uuid import uuid4

import pytest

from zapline.domain.ids import ExternalId
from zapline.domain.messages.facts import MessageKind, SendAnswered
from zapline.domain.outbox.contents import Content, File, Reaction, Text
from zapline.domain.outbox.send_outcomes import (
    CAMPAIGN_PAUSE,
    LINE_PAUSE,
    SendCall,
    SendFailure,
    after_crash,
    after_failure,
    after_success,
    campaign_pause,
    line_pause,
)
from zapline.domain.outbox.work_states import MAX_TRIES, WORK_TRANSITIONS, WorkState
from zapline.evolution.client.failures import ALL_FAILURES, FailureVerdict

NOW = 1_795_364_000.0


def send_call(tries: int = 0, content: Content | None = None, address: str = "5511999990001") -> SendCall:
    return SendCall(uuid4(), uuid4(), 3, tries, address, content or Text("oi"))


def outcome_of(answer: SendAnswered) -> tuple[object, ...]:
    """What follows, times as seconds from now."""
    due = answer.due_at - NOW if answer.due_at is not None else None
    look = answer.look_at - NOW if answer.look_at is not None else None
    return answer.outcome, answer.move, answer.tries, due, look


def failed(code: str, verdict: str, retry_after: float | None = None) -> SendFailure:
    return SendFailure(code, verdict, "said so", retry_after)


def test_an_answer_names_its_call_and_why_it_failed() -> None:
    call = send_call()
    answer = after_failure(call, SendFailure("server_error", "retry", "with a \x00 in it"), NOW, 0.5)
    assert (answer.attempt, answer.message, answer.fence) == (call.attempt, call.message, 3)
    assert (answer.failure, answer.detail, answer.ended_at) == ("server_error", "with a  in it", NOW)
    assert after_failure(call, SendFailure("server_error", "retry"), NOW, 0.5).detail is None


def test_the_lines_fault_costs_no_try_and_leaves_the_message_where_it_was() -> None:
    for tries in (0, 2):
        answer = after_failure(send_call(tries), failed("unreachable", "line", 30.0), NOW, 0.5)
        assert outcome_of(answer) == ("not_sent", "queued", 0, None, None)


def test_the_messages_own_faults_are_three_at_most_with_growing_delays() -> None:
    first = after_failure(send_call(0), failed("server_error", "retry"), NOW, 0.0)
    assert outcome_of(first) == ("not_sent", "queued", 1, 2.0, None)
    second = after_failure(send_call(1), failed("media_unreachable", "retry"), NOW, 0.0)
    assert outcome_of(second) == ("not_sent", "queued", 1, 8.0, None)
    assert after_failure(send_call(1), failed("server_error", "retry"), NOW, 1.0).due_at == pytest.approx(NOW + 5.6)
    third = after_failure(send_call(MAX_TRIES - 1), failed("server_error", "retry"), NOW, 0.0)
    assert outcome_of(third) == ("not_sent", "dead", 1, None, None)


def test_a_retry_waits_as_long_as_evolution_asks_but_no_longer_than_an_hour() -> None:
    assert after_failure(send_call(), failed("server_error", "retry", 60.0), NOW, 0.0).due_at == NOW + 60
    assert after_failure(send_call(), failed("server_error", "retry", 0.5), NOW, 0.0).due_at == NOW + 2
    assert after_failure(send_call(), failed("server_error", "retry", 999_999.0), NOW, 0.0).due_at == NOW + 3600


def test_a_refused_message_is_dead_at_once_but_a_missing_number_is_tried_once_more() -> None:
    assert outcome_of(after_failure(send_call(), failed("invalid_request", "rejected"), NOW, 0.0)) == (
        "rejected", "dead", 0, None, None,
    )  # fmt: skip
    missing = failed("number_not_on_whatsapp", "rejected")
    assert outcome_of(after_failure(send_call(0), missing, NOW, 0.0)) == ("rejected", "queued", 1, 20.0, None)
    assert outcome_of(after_failure(send_call(1), missing, NOW, 0.0)) == ("rejected", "dead", 0, None, None)


@pytest.mark.parametrize("code", ["no_answer", "timed_out_after_relay", "gateway_failed", "bad_answer"])
@pytest.mark.parametrize("content", [Text("oi"), File(MessageKind.IMAGE, "https://x.example/a.jpg")])
def test_a_message_that_may_have_been_delivered_is_looked_up_and_not_sent_again(code: str, content: Content) -> None:
    answer = after_failure(send_call(0, content), failed(code, "uncertain"), NOW, 0.5)
    assert outcome_of(answer) == ("uncertain", "uncertain", 0, None, 8.0)


def test_a_reaction_may_be_sent_again_since_the_later_replaces_the_earlier() -> None:
    reaction = Reaction("👍", ExternalId("X"), "5511999990001@s.whatsapp.net", False)
    lost = failed("no_answer", "uncertain")
    assert outcome_of(after_failure(send_call(0, reaction), lost, NOW, 0.0)) == ("uncertain", "queued", 1, 2.0, None)
    assert outcome_of(after_failure(send_call(2, reaction), lost, NOW, 0.0)) == ("uncertain", "dead", 1, None, None)


def test_a_call_that_a_crash_has_cut_may_have_been_delivered() -> None:
    answer = after_crash(send_call(), NOW)
    assert outcome_of(answer) == ("uncertain", "uncertain", 0, None, 8.0)
    assert answer.failure == "crashed"


@pytest.mark.parametrize(
    ("address", "answered", "learnt"),
    [
        ("5511999990001", "111222333444555@lid", "111222333444555@lid 5511999990001@s.whatsapp.net"),
        ("5511999990001", "551199990001@s.whatsapp.net", None),
        ("111222333444555@lid", "111222333444555@lid", None),
        ("120363000000000001@g.us", "120363000000000001@g.us", None),
        ("5511999990001", None, None),
    ],
)
def test_the_lid_of_a_phone_is_learnt_from_the_response(address: str, answered: str | None, learnt: str | None) -> None:
    answer = after_success(send_call(address=address), ExternalId("X"), answered, NOW)
    assert outcome_of(answer) == ("sent", "settled", 0, None, None)
    assert (answer.external_id, answer.remote_jid) == ("X", learnt)


def test_every_failure_leads_to_an_allowed_transition() -> None:
    assert {verdict.value for verdict in FailureVerdict} == {"line", "retry", "rejected", "uncertain"}
    for kind in ALL_FAILURES:
        for tries in range(MAX_TRIES):
            answer = after_failure(send_call(tries), SendFailure(kind.code, kind.verdict.value), NOW, 0.5)
            assert WorkState(answer.move) in WORK_TRANSITIONS[WorkState.LEASED]
            assert tries + answer.tries <= MAX_TRIES
            assert (answer.move == "uncertain") == (kind.verdict is FailureVerdict.UNCERTAIN)
            assert (answer.look_at is not None) == (answer.move == "uncertain")


def test_a_line_pauses_longer_each_time_and_at_least_for_retry_after() -> None:
    down = failed("unreachable", "line")
    assert [line_pause(down, number, 0.0) for number in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, LINE_PAUSE.cap]
    slow = failed("throttled", "line", 45.0)
    assert line_pause(slow, 1, 0.5) == 45.0
    assert campaign_pause(slow, 1, 0.0) == 45.0
    assert [campaign_pause(slow, number, 0.0) for number in (2, 3, 20)] == [60.0, 120.0, CAMPAIGN_PAUSE.cap]


def test_only_failures_without_a_response_are_probed() -> None:
    unanswered = {kind.code for kind in ALL_FAILURES if SendFailure(kind.code, kind.verdict.value).no_response}
    assert unanswered == {"no_answer", "gateway_failed", "bad_answer"}
    assert not SendFailure("no_answer", "line").no_response
