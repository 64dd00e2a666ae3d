"""One simulated world: its clock, its chance, its scheduler, and the trace of what happened in it.

All chance of a run comes from its seed, and all time from trio's virtual clock. The parts of the daemon read both
through the standard library, so the world takes the place of ``time.time``, ``time.monotonic`` and ``os.urandom``
for the run; ``random`` is seeded.
"""

import datetime as datetime_module
import hashlib
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest
import segno
import trio
import trio.testing
from trio._core import _run as scheduler

ON_MACHINE: ContextVar[bool] = ContextVar("on the daemon's machine", default=False)
"""Whether a task is the daemon's, whose machine may have a wrong clock. Tasks inherit it from who starts them."""
EPOCH = 1_800_000_000.0
"""Wall time at the start of each run, in UTC seconds: 15 January 2027, 08:00."""
_PICTURE = segno.make("a code")
HISTORY = 400
"""Lines of history that are kept for a failing seed."""


@dataclass(slots=True)
class WrongClock:
    """A clock that was wrong by so many seconds ``by``. ``since`` and ``until`` are true wall times in UTC seconds."""

    whose: str
    by: float
    since: float
    until: float = inf


class World:
    """Draws chance by stream, so that a decision of one part does not move the dice of another."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps = 0
        self.struck: Counter[str] = Counter()
        """How often each kind of fault has struck."""
        self.history: deque[str] = deque(maxlen=HISTORY)
        self.recording: list[str] | None = None
        """All steps, where somebody wants to compare two runs."""
        self.skews = {"machine": 0.0, "database": 0.0}
        """Seconds by which these clocks are wrong."""
        self.wrong: list[WrongClock] = []
        """When a clock was wrong, and by how much."""
        self._trace = hashlib.sha256()

    def stream(self, name: str) -> random.Random:
        """A generator of its own for one part of the world."""
        return random.Random(f"{self.seed}/{name}")

    @property
    def now(self) -> float:
        """The true wall time in UTC seconds."""
        try:
            return EPOCH + trio.current_time()
        except RuntimeError:  # before the loop runs, and after
            return EPOCH

    def wall(self) -> float:
        """What the clock shows to whoever asks: the daemon's machine may have a wrong one."""
        return self.now + self.skews["machine"] if ON_MACHINE.get() else self.now

    def set_skew(self, whose: str, by: float) -> None:
        """Have a clock be wrong by so many seconds from now on; 0: it is right."""
        for clock in self.wrong:
            if clock.whose == whose and clock.until == inf:
                clock.until = self.now
        if by:
            self.wrong.append(WrongClock(whose, by, self.now))
        self.skews[whose] = by

    def step(self, *what: object) -> None:
        """Add a step to the trace."""
        self.steps += 1
        told = repr((round(self.now - EPOCH, 9), *what))
        self._trace.update(told.encode())
        if self.recording is not None:
            self.recording.append(told)

    def tell(self, text: str) -> None:
        """Add a line to the history, and to the trace."""
        self.history.append(f"{self.now - EPOCH:10.4f}  {text}")
        self.step(text)

    def strike(self, fault: str, detail: str = "") -> None:
        """Note that a fault has struck."""
        self.struck[fault] += 1
        self.tell(f"fault: {fault} {detail}".rstrip())

    @property
    def trace(self) -> str:
        """Digest of all steps until now."""
        return self._trace.hexdigest()[:16]


class _VirtualDatetime(datetime_module.datetime):
    """``datetime`` whose ``now`` is the world's; only for modules that read the wall clock through it."""

    world: World

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime_module.datetime.fromtimestamp(cls.world.now, tz)


@contextmanager
def installed(world: World) -> Iterator[pytest.MonkeyPatch]:
    """Put the world's clock, chance and scheduler in the place of the real ones until the block ends."""
    chance = world.stream("chance")
    saved = random.getstate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        scheduler._r.seed(world.stream("scheduler").random())
        patch.setattr(time, "time", world.wall)
        patch.setattr(time, "monotonic", lambda: world.now - EPOCH)
        patch.setattr(time, "clock_gettime", lambda _: world.now - EPOCH)
        patch.setattr(os, "urandom", chance.randbytes)
        patch.setattr(random, "_urandom", chance.randbytes)
        random.seed(world.stream("random").random())
        _patch_datetime(world, patch)
        _patch_threads(world, patch)
        _patch_pictures(patch)
        try:
            yield patch
        finally:
            random.setstate(saved)


def _patch_datetime(world: World, patch: pytest.MonkeyPatch) -> None:
    from zapline.sandbox.simulator.state import instances, server_state

    virtual = type("VirtualDatetime", (_VirtualDatetime,), {"world": world})
    for module in (instances, server_state):
        patch.setattr(module, "datetime", virtual)


def _patch_pictures(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the simulated Evolution's codes, and to draw one costs as much as twenty messages."""
    patch.setattr(segno, "make", lambda *what, **options: _PICTURE)


def _patch_threads(world: World, patch: pytest.MonkeyPatch) -> None:
    """Run what the daemon gives to threads in the loop, after a delay that the seed draws."""
    delays = world.stream("threads")

    async def run_sync(function: Callable[..., Any], *args: Any, limiter: Any = None, **options: Any) -> Any:
        async def run() -> Any:
            await trio.sleep(delays.uniform(0.0001, 0.003))
            return function(*args)

        if limiter is None:
            return await run()
        async with limiter:
            return await run()

    patch.setattr(trio.to_thread, "run_sync", run_sync)


def _still_clock() -> trio.testing.MockClock:
    """A clock that stands while a task can run, and goes to the next deadline at once when none can.

    No task waits for anything outside the process, so there is nothing to look for before that. The class may not be
    derived from, and its own methods look at the real clock at each call.
    """
    clock = trio.testing.MockClock()
    now = 0.0

    def current_time() -> float:
        return now

    def deadline_to_sleep_time(deadline: float) -> float:
        nonlocal now
        if deadline == inf:
            return inf
        now = max(now, deadline)
        return 0.0

    for method in (current_time, deadline_to_sleep_time):
        setattr(clock, method.__name__, method)
    return clock


def run(world: World, main: Callable[[], Any]) -> Any:
    """Run ``main`` in the world's virtual time."""
    return trio.run(main, clock=_still_clock())
