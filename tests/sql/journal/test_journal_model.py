"""The journal against a model in memory, over chance interleavings and restarts."""

import os
import tempfile
from pathlib import Path
from uuid import UUID

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support.property_examples import examples

from zapline.domain.ids import Seq, UnitId
from zapline.sql.journal.journal import Journal
from zapline.sql.journal.schema import Arrival, Entry

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Spares the disk hundreds of fsyncs."""
UNITS = [UnitId(UUID(int=n)) for n in range(3)]

append = st.tuples(st.just("append"), st.integers(0, 2), st.binary(max_size=40))
group = st.tuples(st.just("group"), st.integers(0, 2), st.integers(1, 9))
done = st.tuples(st.just("done"), st.integers(0, 30), st.integers(1, 4))
replay = st.tuples(st.just("replay"), st.integers(0, 30), st.just(0))
prune = st.tuples(st.just("prune"), st.integers(0, 30), st.just(0))
stop = st.tuples(st.just("stop"), st.just(0), st.just(0))
lives = st.lists(st.lists(append | group | done | replay | prune | stop, max_size=12), min_size=1, max_size=4)


class Model:
    """What the journal should hold; time is the number of arrivals so far."""

    def __init__(self) -> None:
        self.history: dict[int, Entry] = {}
        self.unfinished: dict[int, tuple[int, bool]] = {}
        self.reported: list[int] = []
        self.clock = 0
        self.stopped = True
        """The life before ended as it was told to."""

    def arrival(self, unit: int, body: bytes) -> Arrival:
        self.clock += 1
        return Arrival(UNITS[unit], "event", float(self.clock), body)

    def stored(self, seq: Seq, arrival: Arrival) -> None:
        assert seq > max(self.history, default=0)
        self.history[seq] = Entry(seq, arrival.unit_id, arrival.event, arrival.received_at, arrival.body)
        self.unfinished[seq] = (0, False)

    def expected(self, unit: UnitId | None = None) -> list[tuple[int, bytes, int, bool]]:
        return [
            (seq, self.history[seq].body, *self.unfinished[seq])
            for seq in sorted(self.unfinished)
            if unit in (None, self.history[seq].unit_id)
        ]


async def act(journal: Journal, model: Model, kind: str, a: int, b: bytes | int) -> None:
    if kind == "append":
        assert isinstance(b, bytes)
        arrival = model.arrival(a, b)
        model.stored(await journal.append(arrival), arrival)
    elif kind == "group":
        arrivals = [model.arrival(a, b"%d" % n) for n in range(int(b))]
        for seq, arrival in zip(await journal.append_many(arrivals), arrivals, strict=True):
            model.stored(seq, arrival)
    elif kind == "done":
        picked = [Seq(seq) for seq in list(model.history)[a : a + int(b)]]
        journal.mark_done(picked)
        for seq in picked:
            model.unfinished.pop(seq, None)
    elif kind == "stop":
        model.stopped = True
        await journal.note_orderly_stop()
    elif kind == "replay":
        await journal.flush()
        back = [s for s, e in model.history.items() if e.received_at >= a and s not in model.unfinished]
        assert await journal.replay(float(a)) == len(back)
        model.unfinished.update(dict.fromkeys(back, (0, True)))
    else:
        await journal.flush()
        gone = [s for s, e in model.history.items() if e.received_at < a and s not in model.unfinished]
        assert (await journal.prune(float(a), 10**9, ())).removed == len(gone)
        for seq in gone:
            del model.history[seq]


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(lives)
async def test_any_interleaving_and_restart_ends_as_the_model_says(
    lives: list[list[tuple[str, int, bytes | int]]],
) -> None:
    model = Model()

    def report(entries: list[Entry]) -> None:
        model.reported += [entry.seq for entry in entries]

    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory, trio.fail_after(30):
        for life in lives:
            counts, model.stopped = not model.stopped, False
            model.unfinished = {seq: (seen + counts, again) for seq, (seen, again) in model.unfinished.items()}
            async with Journal.open(Path(directory), on_committed=report) as journal:
                assert journal.statistics().depth == len(model.unfinished)
                for step in life:
                    await act(journal, model, *step)
                await journal.flush()
                for unit in (None, *UNITS):
                    found = await journal.unfinished(Seq(0), 999, unit)
                    assert [(e.seq, e.body, e.starts_seen, e.replayed) for e in found] == model.expected(unit)
                oldest = min(model.unfinished, default=None)
                statistics = journal.statistics()
                assert statistics.depth == len(model.unfinished)
                assert statistics.oldest == (model.history[oldest].received_at if oldest else None)
        assert model.reported == sorted(model.reported)
