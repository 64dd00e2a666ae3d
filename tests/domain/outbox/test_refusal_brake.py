"""When WhatsApp has refused too much, campaigns stop; before that they go on one at a time."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from zapline.domain.messages.delivery_status import REFUSED, REFUSED_TOO_MANY
from zapline.domain.outbox.refusal_brake import (
    MAX_CONSECUTIVE,
    MAX_OF_JUDGED,
    MAX_OPEN,
    MAX_SILENT,
    NO_RECEIPTS,
    OPEN_SECONDS,
    SILENCE,
    TAKEN_AFTER,
    BrakeDecision,
    RecentSend,
    decide,
)

NOW = 1_795_364_000.0


def sent(ago: float, outcome: str = "", *, campaign: bool = True) -> RecentSend:
    """A message of so many seconds ago; ``outcome``: refused, confirmed, or nothing known."""
    refusal = REFUSED if outcome == "refused" else None
    return RecentSend(NOW - ago, campaign, outcome == "confirmed", refusal)


SENDS = st.lists(
    st.builds(
        sent,
        st.floats(0, 3600),
        st.sampled_from(["", "refused", "confirmed"]),
        campaign=st.booleans(),
    ),
    max_size=40,
)


def test_refusals_in_a_row_hold_campaigns() -> None:
    row = [sent(ago, "refused") for ago in range(MAX_CONSECUTIVE)]
    assert decide(row, NOW).held == REFUSED
    assert decide([*row[1:], sent(60, "confirmed")], NOW).held is None
    assert decide([replace(row[0], refusal=REFUSED_TOO_MANY), *row[1:]], NOW).held == REFUSED_TOO_MANY


def test_frequent_refusals_hold_campaigns_too() -> None:
    mixed = [sent(ago, "confirmed" if ago % 3 else "refused") for ago in range(3 * MAX_OF_JUDGED)]
    assert decide(mixed, NOW).held == REFUSED
    assert decide([sent(ago, "refused" if ago % 7 == 3 else "confirmed") for ago in range(40)], NOW).held is None


def test_after_a_refusal_each_message_is_a_trial_of_its_own() -> None:
    assert decide([sent(5, "refused")], NOW) == BrakeDecision()
    assert decide([sent(5, "refused"), sent(2)], NOW) == BrakeDecision(wait_until=NOW - 2 + TAKEN_AFTER)
    assert decide([sent(5, "refused"), sent(2, "confirmed")], NOW) == BrakeDecision()
    assert decide([sent(50, "refused"), sent(TAKEN_AFTER)], NOW) == BrakeDecision()


def test_what_is_under_way_is_bounded() -> None:
    many = [sent(ago / 10) for ago in range(MAX_OPEN)]
    assert decide(many, NOW).wait_until is not None
    assert decide(many[1:], NOW) == BrakeDecision()
    assert decide([replace(send, started_at=send.started_at - OPEN_SECONDS) for send in many], NOW) == BrakeDecision()


def test_silence_is_waited_for_and_then_holds_campaigns() -> None:
    def silent(newest: float) -> list[RecentSend]:
        return [sent(newest + 10 * ago) for ago in range(MAX_SILENT)]

    assert decide(silent(5), NOW, NOW - 3600) == BrakeDecision(wait_until=NOW - 5 + SILENCE)
    assert decide(silent(SILENCE), NOW, NOW - 3600) == BrakeDecision(held=NO_RECEIPTS)
    assert decide(silent(SILENCE), NOW) == BrakeDecision(), "the server tells of no message whether it has arrived"
    assert decide(silent(SILENCE), NOW, NOW - 5) == BrakeDecision(wait_until=NOW - 5 + SILENCE), "the line was away"
    for heard in ([sent(90, "confirmed")], [sent(90, "refused")]):
        assert decide([*silent(SILENCE)[:-1], *heard], NOW, NOW - 3600).held is None
    replies = [sent(ago, campaign=False) for ago in range(60, 60 + MAX_SILENT)]
    assert decide([*silent(SILENCE)[1:], *replies], NOW, NOW - 3600) == BrakeDecision()


def test_replies_that_arrive_prove_nothing_and_refused_ones_count() -> None:
    strangers = [sent(ago, "refused", campaign=False) for ago in range(MAX_CONSECUTIVE)]
    replies = [sent(ago + 0.5, "confirmed", campaign=False) for ago in range(30)]
    assert decide([*strangers, *replies], NOW).held == REFUSED
    assert decide(replies, NOW) == BrakeDecision()


@given(SENDS, st.randoms(use_true_random=False))
def test_the_order_of_what_is_known_does_not_matter(sends: list[RecentSend], shuffled: object) -> None:
    other = list(sends)
    shuffled.shuffle(other)  # type: ignore[attr-defined]
    assert decide(other, NOW) == decide(sends, NOW)


@given(SENDS, st.floats(0, 600))
def test_what_is_heard_later_never_brings_a_hold_for_silence_nearer(sends: list[RecentSend], ago: float) -> None:
    """More that has arrived, or a line that was opened later, gives no reason to stop for silence."""
    if decide(sends, NOW, NOW - ago).held != NO_RECEIPTS:
        better = [replace(send, confirmed=True) if send.refusal is None else send for send in sends[: len(sends) // 2]]
        assert decide([*better, *sends[len(better) :]], NOW, NOW - ago).held != NO_RECEIPTS
        assert decide(sends, NOW, NOW - ago / 2).held != NO_RECEIPTS


@given(SENDS)
def test_without_a_refusal_nothing_is_held(sends: list[RecentSend]) -> None:
    assert decide([send for send in sends if send.refusal is None], NOW).held is None


@given(SENDS, st.floats(0, 3600))
def test_another_refusal_never_lifts_a_hold(sends: list[RecentSend], ago: float) -> None:
    if decide(sends, NOW).held is not None and len(sends) < 20:
        newest = min((NOW - send.started_at for send in sends), default=0.0)
        assert decide([*sends, sent(min(ago, newest), "refused")], NOW).held is not None


@settings(deadline=None, max_examples=40)
@given(
    good=st.integers(0, 30),
    gap=st.floats(0.05, 3.0),
    latency=st.floats(0.05, OPEN_SECONDS - 0.5),
)
def test_few_leave_after_the_first_that_is_refused(good: int, gap: float, latency: float) -> None:
    """Whatever the pace, and however long refusals take (within ten seconds)."""
    sends: list[tuple[float, bool]] = []
    now = NOW
    while len(sends) < 200:
        known = [
            RecentSend(at, True, confirmed=not bad and heard, refusal=REFUSED if bad and heard else None)
            for at, bad in sends[-64:]
            for heard in [now - at >= latency]
        ]
        decision = decide(known, now)
        if decision.held is not None:
            break
        if decision.wait_until is None:
            sends.append((now, len(sends) >= good))
        now += gap
    assert sum(bad for _, bad in sends) <= MAX_OPEN + 1
