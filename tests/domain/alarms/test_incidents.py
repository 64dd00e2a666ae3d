"""Which troubles are one incident, and what is said of it: examples, and what holds whatever happens in any order."""

import itertools
import random
from collections import Counter
from uuid import UUID

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from support.property_examples import examples

from zapline.domain.alarms.incidents import (
    AlarmPolicy,
    Incident,
    NoticeKind,
    Saying,
    Seen,
    Trouble,
    step,
)

POLICY = AlarmPolicy(after=120, gather=30, calm=180, gap=60, update=300, remind=3600, join=1800)
LINES = [f"line:{number}" for number in range(6)]


class World:
    """Time, what is wrong in it, and what was said."""

    def __init__(self, policy: AlarmPolicy = POLICY) -> None:
        self.now, self.policy, self.number = 1_000_000.0, policy, 0
        self.wrong: dict[str, float] = {}
        self.unknown: set[str] = set()
        self.incidents: tuple[Incident, ...] = ()
        self.said: list[tuple[float, Saying]] = []

    def fall(self, *keys: str) -> None:
        for key in keys:
            self.wrong.setdefault(key, self.now)

    def heal(self, *keys: str) -> None:
        for key in keys:
            self.wrong.pop(key, None)

    def new_id(self) -> UUID:
        self.number += 1
        return UUID(int=self.number)

    def look(self) -> None:
        troubles = {key: Trouble(key, since) for key, since in self.wrong.items() if key not in self.unknown}
        done = step(self.incidents, Seen(troubles, self.unknown), self.now, self.policy, self.new_id)
        self.incidents = done.incidents
        if done.saying is not None:
            self.said.append((self.now, done.saying))

    def run(self, seconds: float, every: float = 5.0) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += every
            self.look()

    @property
    def kinds(self) -> list[str]:
        return [saying.kind.value for _, saying in self.said]

    def named(self, number: int) -> list[str]:
        return [member.key for member in self.said[number][1].incident.members]


def test_six_lines_that_fall_within_the_window_are_one_alarm_that_names_them_and_one_all_clear() -> None:
    world = World()
    for line in LINES:
        world.fall(line)
        world.run(5)
    world.run(600)
    assert world.kinds == ["alarm"]
    assert world.named(0) == LINES
    world.heal(*LINES[:5])
    world.run(900)
    assert world.kinds == ["alarm"], "one is still out"
    world.heal(LINES[5])
    world.run(900)
    assert world.kinds == ["alarm", "all_clear"]
    assert world.said[0][1].incident.id == world.said[1][1].incident.id


def test_more_falls_update_and_do_not_repeat() -> None:
    world = World()
    world.fall(LINES[0])
    world.run(300)
    for line in LINES[1:]:
        world.fall(line)
        world.run(20)
    world.run(600)
    assert world.kinds == ["alarm", "update"]
    assert world.named(1) == LINES


def test_what_comes_back_soon_is_not_worth_an_alarm() -> None:
    world = World()
    for _ in range(50):
        world.fall(LINES[0])
        world.run(100)
        world.heal(LINES[0])
        world.run(20)
    assert world.kinds == []


def test_a_line_that_comes_and_goes_is_one_incident() -> None:
    world = World()
    for _ in range(12):
        world.fall(LINES[0])
        world.run(200)
        world.heal(LINES[0])
        world.run(150)
    assert world.kinds == ["alarm", "reminder"]
    world.run(180 * 8 + 60)
    assert world.kinds == ["alarm", "reminder", "all_clear"]


def test_a_line_that_falls_again_after_the_all_clear_has_to_stay_well_for_longer() -> None:
    world = World()
    for _ in range(2):
        world.fall(LINES[0])
        world.run(300)
        world.heal(LINES[0])
        world.run(250)
    assert world.kinds == ["alarm", "all_clear", "alarm"]
    world.run(200)
    assert world.kinds[3:] == ["all_clear"]


def test_a_line_of_which_nothing_is_known_is_neither_down_nor_well() -> None:
    world = World()
    world.fall(LINES[0])
    world.run(200)
    world.unknown.add(LINES[0])
    world.run(900)
    assert world.kinds == ["alarm"]


def test_what_falls_long_after_is_an_incident_of_its_own_with_an_all_clear_of_its_own() -> None:
    world = World(AlarmPolicy(**{name: getattr(POLICY, name) for name in POLICY.__slots__} | {"remind": float("inf")}))
    world.fall(LINES[0])
    world.run(7200)
    world.fall(*LINES[1:3])
    world.run(600)
    world.heal(*LINES[1:3])
    world.run(600)
    assert world.kinds == ["alarm", "alarm", "all_clear"]
    assert world.named(2) == LINES[1:3]


def test_whoever_does_nothing_is_reminded() -> None:
    world = World()
    world.fall(LINES[0])
    world.run(3600 * 2 + 400)
    assert world.kinds == ["alarm", "reminder", "reminder"]


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["fall", "heal", "hide", "show", "wait"]),
        st.sampled_from(LINES),
        st.sampled_from([5.0, 40.0, 130.0, 400.0, 2000.0]),
    ),
    max_size=40,
)


def play(world: World, moves: list[tuple[str, str, float]], seed: int | None = None, *, restarts: bool = False) -> None:
    """Play what happens. ``seed``: the order in which troubles are seen; ``restarts``: the state is stored and read."""
    for move, line, seconds in moves:
        match move:
            case "fall":
                world.fall(line)
            case "heal":
                world.heal(line)
            case "hide":
                world.unknown.add(line)
            case "show":
                world.unknown.discard(line)
        if seed is not None:
            order = list(world.wrong.items())
            random.Random(seed).shuffle(order)
            world.wrong = dict(order)
        world.run(seconds, every=min(seconds, 20.0))
        if restarts:
            text = msgspec.json.encode([each for each in world.incidents if each.said])
            stored = msgspec.json.decode(text, type=tuple[Incident, ...])
            world.incidents = (*stored, *(each for each in world.incidents if not each.said))


@settings(max_examples=examples(70), deadline=None)
@given(moves=MOVES)
def test_whatever_happens_there_is_one_alarm_and_at_most_one_all_clear_of_an_incident(
    moves: list[tuple[str, str, float]],
) -> None:
    world = World()
    play(world, moves)
    times = [at for at, _ in world.said]
    assert all(later - earlier >= POLICY.gap for earlier, later in itertools.pairwise(times))
    counts = Counter((saying.incident.id, saying.kind) for _, saying in world.said)
    order: dict[UUID, list[NoticeKind]] = {}
    for _, saying in world.said:
        order.setdefault(saying.incident.id, []).append(saying.kind)
    for incident, kinds in order.items():
        assert kinds[0] is NoticeKind.ALARM
        assert counts[incident, NoticeKind.ALARM] == 1
        assert NoticeKind.ALL_CLEAR not in kinds[:-1]
    for _, saying in world.said:
        assert (saying.kind is NoticeKind.ALL_CLEAR) == (not saying.incident.wrong)
    held = [member.key for each in world.incidents if each.closed_at is None for member in each.members]
    assert len(held) == len(set(held)), "a trouble belongs to one incident"
    before = world.incidents, len(world.said)
    world.look()
    world.look()
    assert (world.incidents, len(world.said)) == before, "the same seen again changes nothing"


@settings(max_examples=examples(40), deadline=None)
@given(moves=MOVES, seed=st.integers(0, 1000))
def test_neither_the_order_in_which_troubles_are_seen_nor_a_restart_changes_what_is_said(
    moves: list[tuple[str, str, float]], seed: int
) -> None:
    plain, other = World(), World()
    play(plain, moves)
    play(other, moves, seed, restarts=True)
    assert other.said == plain.said


@settings(max_examples=examples(40), deadline=None)
@given(moves=MOVES, line=st.sampled_from(LINES))
def test_what_stays_wrong_is_told_in_the_end(moves: list[tuple[str, str, float]], line: str) -> None:
    world = World()
    play(world, moves)
    world.unknown.clear()
    world.fall(line)
    world.run(3600, every=20)
    (member,) = [each for incident in world.incidents for each in incident.wrong if each.key == line]
    assert member.told
