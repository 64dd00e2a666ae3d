"""Reports about a message may come late, twice and in any order, and end at the same status."""

import re
from importlib import resources
from itertools import permutations, product

from hypothesis import given
from hypothesis import strategies as st
from support.many_cases import in_one_test

from zapline.domain.messages.delivery_status import EVOLUTION_STATUSES, DeliveryStatus, merge_statuses

ANY = [None, *DeliveryStatus]
REPORTS = st.lists(st.sampled_from(ANY), max_size=12)


@in_one_test(product(ANY, ANY))
def test_merging_is_commutative_and_idempotent_and_never_lowers(
    one: DeliveryStatus | None, other: DeliveryStatus | None
) -> None:
    merged = merge_statuses(one, other)
    assert merged == merge_statuses(other, one)
    assert merge_statuses(merged, other) == merge_statuses(merged, one) == merged
    assert merged in (one, other)
    for part in (one, other):
        assert part is None or (merged is not None and merged >= part)


def test_merging_is_associative() -> None:
    for one, two, three in product(ANY, ANY, ANY):
        assert merge_statuses(merge_statuses(one, two), three) == merge_statuses(one, merge_statuses(two, three))


@given(REPORTS, st.randoms(use_true_random=False))
def test_reports_in_any_order_and_number_end_at_the_highest(
    reports: list[DeliveryStatus | None], chance: object
) -> None:
    shuffled = reports + reports[::2]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    ends = []
    for order in (reports, shuffled):
        known: DeliveryStatus | None = None
        for report in order:
            known = merge_statuses(known, report)
        ends.append(known)
    assert ends[0] == ends[1] == max((report for report in reports if report is not None), default=None)


def test_failed_overrides_sent_and_yields_to_any_proof_of_arrival() -> None:
    for known in (DeliveryStatus.QUEUED, DeliveryStatus.SENT):
        assert merge_statuses(known, DeliveryStatus.FAILED) is DeliveryStatus.FAILED
    for proof in (DeliveryStatus.DELIVERED, DeliveryStatus.READ, DeliveryStatus.PLAYED):
        for order in permutations((DeliveryStatus.FAILED, proof, DeliveryStatus.SENT)):
            known = None
            for report in order:
                known = merge_statuses(known, report)
            assert known is proof


def test_evolutions_names_cover_every_status_once_and_deleted_is_not_among_them() -> None:
    assert sorted(EVOLUTION_STATUSES.values()) == list(DeliveryStatus)
    assert "DELETED" not in EVOLUTION_STATUSES


def test_the_database_ranks_the_statuses_in_the_same_order() -> None:
    migrations = resources.files("zapline.sql").joinpath("migrations").iterdir()
    sql = "\n".join(path.read_text(encoding="utf-8") for path in sorted(migrations, key=lambda path: path.name))
    match = re.search(r"create type zapline\.delivery as enum\s*\(([^)]*)\)", sql)
    assert match is not None
    assert re.findall(r"'(\w+)'", match[1]) == [delivery.label for delivery in DeliveryStatus]
    assert "alter type zapline.delivery" not in sql
