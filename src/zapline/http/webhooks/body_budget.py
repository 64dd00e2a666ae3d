"""Bounds the bytes of all bodies in flight, counted as they arrive, and leaves room for units that hold few of them."""

from collections import Counter, deque
from typing import Self

import trio

_SMALL_BODY = 65_536
"""Bytes of each body that come out of the small budget, so that small bodies do not wait for large ones."""
_SMALL_BUDGET = 128 * _SMALL_BODY


class ByteBudget:
    """Bytes of bodies in flight; a body without room waits, and TCP makes its sender wait.

    A unit may hold as much as is free: one alone gets half, each of two a third, and who has nothing in flight always
    finds room. One body at a time may go beyond, so that no two wait for each other.
    """

    def __init__(self, total: int) -> None:
        self.free = total
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[ShareOfBody, int, trio.Event]]] = {}  # bounded by the connections
        self._beyond: ShareOfBody | None = None

    @property
    def waiting(self) -> int:
        """Bodies that wait for room."""
        return sum(len(queue) for queue in self._waiting.values())

    async def take(self, share: "ShareOfBody", size: int) -> None:
        """Wait until ``size`` more bytes of a body have room; in order within a unit. Cancellation takes nothing."""
        if share is self._beyond or (share.unit not in self._waiting and self._fits(share.unit, size)):
            self._grant(share, size)
            return
        if self._beyond is None:
            self._beyond = share
            self._grant(share, size)
            return
        entry = (share, size, trio.Event())
        queue = self._waiting.setdefault(share.unit, deque())
        queue.append(entry)
        try:
            await entry[2].wait()
        except trio.Cancelled:
            if not entry[2].is_set():
                queue.remove(entry)
                if not queue:
                    del self._waiting[share.unit]
            raise

    def give_back(self, share: "ShareOfBody") -> None:
        """The body of ``share`` is not in flight any more."""
        if not share.size:
            return
        self.free += share.size
        self._held[share.unit] -= share.size
        if not self._held[share.unit]:
            del self._held[share.unit]
        share.size = 0
        if self._beyond is share:
            self._beyond = None
        self._admit()

    def _fits(self, unit: str, size: int) -> bool:
        return self._held[unit] + size <= self.free

    def _grant(self, share: "ShareOfBody", size: int) -> None:
        self.free -= size
        self._held[share.unit] += size
        share.size += size

    def _admit(self) -> None:
        for unit in list(self._waiting):
            while unit in self._waiting and self._fits(unit, self._waiting[unit][0][1]):
                self._wake(unit)
        if self._beyond is None and self._waiting:
            least = min(self._waiting, key=lambda unit: self._held[unit])
            self._beyond = self._waiting[least][0][0]
            self._wake(least)

    def _wake(self, unit: str) -> None:
        queue = self._waiting[unit]
        share, size, woken = queue.popleft()
        if not queue:
            del self._waiting[unit]
        self._grant(share, size)
        woken.set()


class ShareOfBody:
    """What one body holds of a budget."""

    __slots__ = ("size", "unit")

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.size = 0


class BodyBudget:
    """The budget of bodies: their first 64 KiB come out of 8 MiB of their own, the rest out of ``total``."""

    def __init__(self, total: int) -> None:
        self.small = ByteBudget(_SMALL_BUDGET)
        self.large = ByteBudget(total)

    def body(self, unit: str) -> "BodyInFlight":
        """A body of ``unit``, as a context: what it holds is free again at its end."""
        return BodyInFlight(self, unit)


class BodyInFlight:
    """Counts the bytes of one body."""

    __slots__ = ("_budget", "_large", "_small")

    def __init__(self, budget: BodyBudget, unit: str) -> None:
        self._budget = budget
        self._small, self._large = ShareOfBody(unit), ShareOfBody(unit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.give_back()

    async def take(self, size: int) -> None:
        """Wait until these bytes, which have arrived, have room."""
        small = self._small.size + size <= _SMALL_BODY and not self._large.size
        budget, share = (self._budget.small, self._small) if small else (self._budget.large, self._large)
        await budget.take(share, size)

    def give_back(self) -> None:
        """The bytes are not kept any more."""
        self._budget.small.give_back(self._small)
        self._budget.large.give_back(self._large)
