"""What a seed draws, and how the plan of a failing seed becomes smaller."""

import json

import msgspec
import pytest
from sim.plan import CHANCES, Death, Plan, draw
from sim.planted import PLANTED
from sim.proof import BEGIN, DOCUMENT, END, counted, figures
from sim.shrink import changed, differences, shrink
from sim.simulation import Result


def test_a_seed_always_draws_the_same_plan_and_most_faults_are_off_in_it() -> None:
    assert draw(7) == draw(7)
    plans = [draw(seed) for seed in range(300)]
    for name in CHANCES:
        assert 60 < sum(bool(getattr(plan, name)) for plan in plans) < 150


def test_some_worlds_are_calm_but_for_a_noisy_unit_and_in_some_an_outage_outlives_three_kills() -> None:
    plans = [draw(seed) for seed in range(1, 501)]
    assert 10 < sum(plan.noise > 300 and plan.units > 1 and not plan.delays_storing for plan in plans) < 40
    assert 10 < sum(plan.outlives_starts and plan.inbound >= 200 for plan in plans) < 40


def test_what_differs_from_a_seeds_plan_is_told_in_one_line_and_read_back() -> None:
    plan = changed(draw(7), '{"inbound": 3, "deaths": [{"at": 1.0, "kind": "kill", "after": 2.0}]}')
    assert (plan.inbound, plan.deaths) == (3, [Death(1.0, "kill", 2.0)])
    assert changed(draw(7), differences(plan, draw(7))) == plan
    with pytest.raises(msgspec.ValidationError):
        changed(draw(7), '{"nothing": 1}')


def test_a_plan_is_made_smaller_down_to_what_it_needs_to_fail() -> None:
    deaths = [Death(at, "kill", 1.0) for at in (1.0, 2.0, 3.0)]
    plan = Plan(units=4, inbound=100, outbound=20, deaths=deaths, cut_before=0.1, slow=0.1, sends={"late": 0.1})

    def fails(smaller: Plan) -> bool:
        return deaths[1] in smaller.deaths and smaller.inbound > 10 and smaller.slow > 0

    found = shrink(plan, fails)
    assert fails(found)
    assert (found.units, found.outbound, found.deaths, found.sends) == (1, 0, [deaths[1]], {})
    assert (found.cut_before, found.inbound) == (0.0, 12)


def test_each_planted_bug_shows_under_its_plan_and_in_worlds_that_seeds_draw_and_is_told_in_the_document() -> None:
    text = DOCUMENT.read_text("utf-8")
    plans = [draw(seed) for seed in range(1, 501)]
    for name, bug in PLANTED.items():
        with pytest.MonkeyPatch.context() as patch:
            bug.plant(patch)  # raises where the program has no longer what is taken away
        assert bug.shows(bug.plan), name
        assert any(map(bug.shows, plans)), name
        sentence = (bug.plant.__doc__ or "").strip().rstrip(".")
        assert f"| `{name}` | {sentence} |" in text


def test_the_figures_tell_what_was_run_and_how_often_each_fault_struck() -> None:
    struck = {"kill": 2, "slow statement": 1000}
    results = {seed: Result(seed, Plan(), [], "", 10, 3600.0, 1.0, 7.0, struck, webhooks=600) for seed in (5, 3, 9)}
    results[5].violations.append("I1: something is missing")
    runs = [
        {"seconds": 60.0, "processes": 2} | json.loads(json.dumps(counted([results[seed] for seed in seeds])))
        for seeds in ((5, 3), (9,))
    ]
    told = figures(runs)
    rows = [("seeds", "3, from 3 to 5, 9 to 9"), ("seeds that failed", "5"), ("webhooks answered 200", "1,800")]
    for name, figure in rows:
        assert f"| {name} | {figure} |" in told
    assert "| slow statement | 3,000 |" in told
    text = DOCUMENT.read_text("utf-8")
    assert text.index(BEGIN) < text.index(END)
