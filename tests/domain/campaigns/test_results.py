"""What becomes of a campaign's recipients is summed up over time, whatever the order of what is counted."""

from hypothesis import given
from hypothesis import strategies as st

from zapline.domain.campaigns.results import MOST_STEPS, Outcome, OutcomeCount, Steps, summarize

NOW = 1_795_364_000.0
COUNTS = st.lists(
    st.builds(OutcomeCount, st.integers(0, 2), st.sampled_from(Outcome), st.integers(-1, 60), st.integers(1, 9))
)


def test_results_are_told_in_percent_of_what_was_sent() -> None:
    steps = Steps.between(NOW - 1000, NOW)
    counts = [
        OutcomeCount(0, Outcome.SENT, 0, 2),
        OutcomeCount(1, Outcome.SENT, 1, 1),
        OutcomeCount(0, Outcome.READ, 3, 1),
    ]
    results = summarize(counts, steps, ("a", "b"), NOW)
    assert (results.total.percent(Outcome.READ), results.total.percent(Outcome.REPLIED)) == (33.3, 0.0)
    assert [(text, each.percent(Outcome.READ)) for text, each in results.wordings] == [("a", 50.0), ("b", 0.0)]
    assert [figures[Outcome.SENT] for _, figures in results.timeline] == [2, 3, 3, 3]
    assert [at - NOW for at, _ in results.timeline] == [-700, -400, -100, 0]
    assert summarize([], steps, (), NOW).total.percent(Outcome.DELIVERED) is None


@given(st.floats(-100, 400 * 86_400))
def test_there_are_few_steps_and_the_last_one_holds_the_end(span: float) -> None:
    steps = Steps.between(NOW, NOW + span)
    assert 1 <= steps.count <= MOST_STEPS + 10
    assert steps.ends()[-1] > NOW + span
    assert steps.ends() == sorted(steps.ends())


@given(COUNTS, st.randoms(use_true_random=False))
def test_nothing_is_lost_or_counted_twice_and_nothing_is_taken_back(counts: list[OutcomeCount], chance: object) -> None:
    results = summarize(counts, Steps(NOW, 300, 12), "abc", NOW + 3600)
    other = list(counts)
    chance.shuffle(other)  # type: ignore[attr-defined]
    assert summarize(other, Steps(NOW, 300, 12), "abc", NOW + 3600) == results
    for outcome in Outcome:
        told = [figures[outcome] for _, figures in results.timeline]
        assert told == sorted(told)
        expected = sum(each.recipients for each in counts if each.outcome is outcome)
        assert results.total[outcome] == told[-1] == expected == sum(each[outcome] for _, each in results.wordings)
