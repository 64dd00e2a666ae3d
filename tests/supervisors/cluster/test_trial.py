"""Webhooks that a dead node had in hand are read in a process of their own before this one reads them."""

from collections.abc import Callable, Sequence
from uuid import uuid4

import msgspec
import pytest
from support.recorded_webhooks import BODIES

from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.schema import Entry
from zapline.supervisors.cluster import trial


def entry(body: bytes, event: str = "messages.upsert") -> Entry:
    return Entry(Seq(0), UnitId(uuid4()), event, 1_795_364_000.0, body)


@pytest.mark.parametrize("deadly", [set(), {0}, {6}, {2, 5}, set(range(7))])
async def test_each_that_ends_its_process_is_found_and_no_other(
    deadly: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry(b"%d" % place) for place in range(7)]

    async def survives(some: Sequence[Entry]) -> bool:
        return not any(int(each.body) in deadly for each in some)

    monkeypatch.setattr(trial, "_survives", survives)  # nothing here ends a process for real
    assert await trial.find_deadly(entries) == deadly


@pytest.mark.parametrize("dies", [lambda trials, some: trials < 4, lambda trials, some: trials == 3])
async def test_a_death_counts_twice_and_only_where_a_process_that_reads_nothing_lives(
    dies: Callable[[int, Sequence[Entry]], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries, trials = [entry(b"1"), entry(b"2")], list[int]()

    async def survives(some: Sequence[Entry]) -> bool:
        """Whatever is read, processes die for a while; or once over one that is harmless."""
        trials.append(len(some))
        return not (dies(len(trials), some) or (len(trials) == 1 and some))

    monkeypatch.setattr(trial, "_survives", survives)
    monkeypatch.setattr(trial, "_RETRY_PAUSE", 0.0)
    assert await trial.find_deadly(entries) == set()


def test_what_was_recorded_is_read_to_its_end() -> None:
    some = [*BODIES.values(), b"", b"{", b"[]", b"\xff\0"]
    tried = [trial._Tried(uuid4(), "messages.upsert", 1.0, body) for body in some]
    trial.read_all(msgspec.msgpack.encode(tried))


@pytest.mark.long
async def test_what_is_harmless_is_survived_by_a_real_process() -> None:
    assert await trial.find_deadly([entry(next(iter(BODIES.values()))), entry(b"{")]) == set()
