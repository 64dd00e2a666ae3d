"""Counts events: totals for Prometheus, and sliding windows for the health verdict."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

_SLOT = 10.0
"""Seconds per slot of a window: five minutes take thirty numbers, whatever the load."""


@dataclass(slots=True)
class SlidingWindow:
    """A sum over the last ``seconds``, in slots of ten seconds."""

    seconds: float
    _slots: deque[tuple[int, float]] = field(default_factory=deque)

    def add(self, now: float, amount: float = 1.0) -> None:
        slot = int(now // _SLOT)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1] = (slot, self._slots[-1][1] + amount)
        else:
            self._slots.append((slot, amount))
            self._drop(now)

    def total(self, now: float) -> float:
        self._drop(now)
        return sum(amount for _, amount in self._slots)

    def _drop(self, now: float) -> None:
        oldest = int((now - self.seconds) // _SLOT)
        while self._slots and self._slots[0][0] <= oldest:
            self._slots.popleft()


RATE_WINDOW = 300.0
"""Seconds over which the rates of the health verdict are computed."""

RATED_COUNTERS = (
    "webhooks",
    "webhook_errors",
    "unknown_instances",
    "messages_seen",
    "duplicates",
    "unexpected_disconnects",
    "lost",
    "sent_twice",
    "messages_refused",
    "repairs_unexplained",
    "registrations_restored",
)
"""Counters that also have a window."""


class Counters:
    """Totals by name and label, and a window for each rated counter. One instance per process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.totals: Counter[tuple[str, str]] = Counter()
        self._windows = {name: SlidingWindow(RATE_WINDOW) for name in RATED_COUNTERS}

    def add(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count; ``label`` must come from a bounded set (a reason, an event, a phase), never from a caller."""
        self.totals[name, label] += amount
        window = self._windows.get(name)
        if window is not None:
            window.add(self._clock(), amount)

    def total(self, name: str) -> int:
        return sum(count for (counted, _), count in self.totals.items() if counted == name)

    def recent(self, name: str) -> float:
        """The sum over the last five minutes."""
        return self._windows[name].total(self._clock())
