"""Wakes many waiting tasks at their times from one task, so that none of them needs a cancel scope to wait."""

import heapq
from collections.abc import Callable
from itertools import count

import trio


class AlarmClock:
    """Alarms in trio's time; they ring while ``run`` runs. One instance per process."""

    def __init__(self) -> None:
        self._alarms: list[tuple[float, int, Callable[[float], None]]] = []  # bounded by who sets one after another
        self._number = count()
        self._next = float("inf")
        self._asleep: trio.CancelScope | None = None

    def set(self, at: float, ring: Callable[[float], None]) -> None:
        """Call ``ring(at)`` once it is ``at`` (seconds of trio's clock). It must not raise; it is not taken back."""
        heapq.heappush(self._alarms, (at, next(self._number), ring))
        if at < self._next:
            self._next = at
            if self._asleep is not None:
                self._asleep.deadline = at

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            self._next = self._alarms[0][0] if self._alarms else float("inf")
            with trio.CancelScope(deadline=self._next) as self._asleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._alarms and self._alarms[0][0] <= now:
                at, _, ring = heapq.heappop(self._alarms)
                ring(at)
